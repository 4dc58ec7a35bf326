"""The configuration that is proposed, as TOML that `telltale run` takes as it stands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from monitor.config.options import Config

_WHOLE = 1e15  # whole numbers below are written without a point
_BARE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def toml(sections: Mapping[str, Mapping[str, Any]], comments: Mapping[str, str]) -> str:
    """Sections of options; `comments` by "section.option" stand behind their line."""
    lines: list[str] = []
    for section, options in sections.items():
        if not options:
            continue
        lines += [*([""] if lines else []), f"[{section}]"]
        written = [f"{_key(name)} = {_value(value)}" for name, value in options.items()]
        width = max((len(line) for line in written if len(line) <= 60), default=0)
        for name, line in zip(options, written, strict=True):
            said = comments.get(f"{section}.{name}", "")
            lines.append(f"{line.ljust(width)}  # {said}" if said else line)
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if name and set(name) <= _BARE else _text(name)


def _text(text: str) -> str:
    """A basic string; what can't be printed stands as an escape, as a terminal may see it."""
    written = json.dumps(text, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in written)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_value(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE:
        return str(int(value))
    return repr(value)


def changed(config: Config, section: str, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """The options of a section that are not at their defaults, without secrets."""
    document = config.model_dump(mode="json", exclude_defaults=True).get(section, {})
    return {name: value for name, value in document.items() if name not in without and name != "password"}
