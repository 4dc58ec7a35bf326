"""Tables to which a file, or a package, adds something: formats, checks, and stages that alerts go through.

A row has the form of an entry point, so that the table imports nothing and only what is in use is imported. A package
adds `input.format = "protobuf"` with this in its pyproject.toml:

    [project.entry-points."telltale.formats"]
    protobuf = "telltale_protobuf:ProtobufFormat"

Entry points are only searched for names that are not ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from monitor.errors import ConfigError

# The record formats: each is a `FormatKind` of `monitor.formats.abstract`.
FORMATS = {
    "json": "monitor.formats.json_format:JsonFormat",
    "f32": "monitor.formats.f32:F32Format",
    "msgpack": "monitor.formats.msgpack_format:MsgpackFormat",
    "csv": "monitor.formats.csv_format:CsvFormat",
    "avro": "monitor.formats.avro:AvroFormat",
}
FORMAT_GROUP = "telltale.formats"
# The checks, by the name of their rule (letters, digits and "_", for ever: it is part of alerts' ids and of the keys of
# state records): each makes a `Check` of `monitor.processing.checks` from an artifact's manifest and the operator's
# `QualityRules`.
CHECKS: dict[str, str] = {
    "no_data": "monitor.processing.quality.no_data:NoData",
    "flatline": "monitor.processing.quality.flatline:Flatline",
    "nan_ratio": "monitor.processing.quality.nan_ratio:NanRatio",
    "out_of_range": "monitor.processing.quality.out_of_range:OutOfRange",
    "late_burst": "monitor.processing.quality.late_burst:LateBurst",
    "schema_mismatch": "monitor.processing.quality.schema_mismatch:SchemaMismatch",
    "drift": "monitor.processing.quality.drift:Drift",
}
# The stages that alerts go through, in this order; the name labels a metric: each is a `Stage` of
# `monitor.processing.gates`.
STAGES: dict[str, str] = {}


def load_rows(table: Mapping[str, str]) -> dict[str, Any]:
    """What the rows of a table name, by their names."""
    return {name: EntryPoint(name, value, "telltale").load() for name, value in table.items()}


def load_format(name: str) -> Any:
    """The `FormatKind` called `name`.

    Raises:
        ConfigError: there is none, several packages add it, or it can't be imported; the message lists the known
            ones, or names the packages.
    """
    if name in FORMATS:
        return EntryPoint(name, FORMATS[name], FORMAT_GROUP).load()
    added = entry_points(group=FORMAT_GROUP)
    found = [*added.select(name=name)]
    if not found:
        *names, last = map(repr, [*FORMATS, *sorted(added.names - FORMATS.keys())])
        raise ConfigError(f"input should be {', '.join(names)} or {last}")
    if len(found) > 1:
        raise ConfigError(f"{', '.join(map(_whose, found))} all add it; keep one of them")
    try:
        kind = found[0].load()
    except Exception as error:
        raise ConfigError(
            f"{_whose(found[0])} adds it, and can't be loaded: {type(error).__name__}: {error}; fix that package, or "
            "remove it"
        ) from error
    if not callable(kind) or not hasattr(kind, "names_fields"):
        raise ConfigError(f"{_whose(found[0])} adds it, but {found[0].value} is no format (monitor.formats.abstract)")
    return kind


def _whose(point: EntryPoint) -> str:
    """The distribution of an entry point, with its version."""
    return "a package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
