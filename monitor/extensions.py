"""Names in the configuration to which packages can add: ours first, then those of installed packages.

A row of the table below has the form of an entry point. A package adds `input.format = "avro"` with this in its
pyproject.toml:

    [project.entry-points."telltale.formats"]
    avro = "telltale_avro:AvroFormat"

Entry points are only searched for names that are not ours, and only the code of the name in use is imported.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from monitor.errors import ConfigError

# The record formats: each is a `FormatKind` of `monitor.formats.abstract`.
FORMATS = {
    "json": "monitor.formats.json_format:JsonFormat",
    "f32": "monitor.formats.f32:F32Format",
}
FORMAT_GROUP = "telltale.formats"


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
