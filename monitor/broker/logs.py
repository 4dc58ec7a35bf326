"""Finds out from a broker's log why it failed.

Rules of this file: pure functions of the log's text. Messages of Kafka and Java are quoted, with a remedy if one is
known.
"""

from __future__ import annotations

import re
from pathlib import Path

QUOTED_LINES = 8
QUOTED_WIDTH = 300
READ_BYTES = 1 << 20

_LOG_LINE = re.compile(r"^\[[\d-]+ [\d:,]+\] (?P<level>[A-Z]+) (?P<message>.*)$")
_STACK_LINE = re.compile(r"^\s+(at |\.\.\. \d+ more)")
_JAVA_LINE = re.compile(
    r"^(Error|Exception|Caused by|Terminating due to|#? ?There is insufficient memory|Unrecognized|Could not|Invalid"
    r"|[\w.$]+(Exception|Error)\b|OpenJDK .* warning: .*failed|sh: |\S*java: )"
)

# The first that matches is used. Patterns match messages of Kafka, Java and the system.
_REMEDIES = (
    (
        r"OutOfMemoryError|Could not (reserve enough|allocate)|insufficient memory|Cannot allocate|nvalid maximum heap",
        "Java did not get its memory: close other programs, or choose another --heap (512m is the default)",
    ),
    (r"Address already in use", "another program has the port: choose another with --port, or --port 0 for a free one"),
    (
        r"No space left on device|Disk quota exceeded",
        "the disk is full: free space, or choose another --data",
    ),
    (
        r"Permission denied|AccessDenied|Read-only file system|Operation not permitted",
        "the data directory can't be written: name another one with --data",
    ),
    (r"Failed to acquire lock on file", "another Kafka uses the same data: stop that one, or name another --data"),
    (r"InconsistentClusterId|Invalid cluster\.?id|but expected .*cluster", "the data belong to another cluster"),
    (r"ConfigException|Invalid value .* for configuration", "a setting is wrong: see what was given with --set"),
    (r"UnsupportedClassVersionError|GLIBC_", "the Java runtime does not fit: pip install -U 'telltale-kafka[broker]'"),
)


def read_since(log: Path, offset: int) -> str:
    """The log's text from an offset on (its last MiB); from the beginning if it was rotated since."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            start = offset if offset <= size else 0
            file.seek(max(start, size - READ_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def cause(text: str) -> str:
    """The lines that say why, indented, with a remedy if one is known; empty if there are none."""
    quoted = _relevant_lines(text)
    if not quoted:
        return ""
    shown = "\n".join(f"    {line[:QUOTED_WIDTH]}" for line in quoted)
    whole = "\n".join(quoted)
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, whole):
            return f"{shown}\n  {remedy[0].upper()}{remedy[1:]}."
    return shown


def _relevant_lines(text: str) -> list[str]:
    """Errors, and their exceptions without stack traces; the last lines if there are none."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    relevant: list[str] = []
    in_error = False
    for line in lines:
        match = _LOG_LINE.match(line)
        if match is not None:
            in_error = match["level"] in ("ERROR", "FATAL")
            if in_error:
                relevant.append(match["message"])
        elif not _STACK_LINE.match(line) and (in_error or _JAVA_LINE.match(line)):
            relevant.append(line)
    return list(dict.fromkeys(relevant))[:QUOTED_LINES] or lines[-QUOTED_LINES:]
