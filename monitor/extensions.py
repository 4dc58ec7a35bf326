"""What a name in the configuration stands for where anybody may add to it: ours, then what installed packages add.

A row of the table below is written as an entry point is. This is how a package adds `input.format = "avro"`, in its
pyproject.toml:

    [project.entry-points."telltale.formats"]
    avro = "telltale_avro:AvroFormat"

Entry points are looked for only where a name is none of ours, and code is imported only for the name that is used.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from monitor.errors import ConfigError

# Where each format of records is: a `FormatKind` of `monitor.formats.abstract`.
FORMATS = {
    "json": "monitor.formats.json_format:JsonFormat",
    "f32": "monitor.formats.f32:F32Format",
}
FORMAT_GROUP = "telltale.formats"


def load_format(name: str) -> Any:
    """The `FormatKind` that is called `name`.

    Raises:
        ConfigError: there is none, several packages add it, or it can't be imported; says which are known, or whose
            it is.
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
    """The distribution that an entry point belongs to, with its version."""
    return "a package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
