"""Texts that say that a number is missing: one set for the trainer's files, `replay` and the daemon's records.

Nobody writes these for a number that is there: spreadsheets, databases, historians and the runtimes of programming
languages print them. What only some systems mean by a text (`Bad`), or by a number (`-9999`), is declared by those who
know.

Rules of this file: pure.
"""

from __future__ import annotations

import re

# In lower case, and apart from NaN
MISSING_WORDS = frozenset(
    {
        "",
        "null",
        "none",
        "nil",
        "na",
        "n/a",
        "n.a.",
        "#n/a",
        "#n/a n/a",
        "<na>",
        "nat",
        "\\n",
        "undefined",
        "undef",
        "unavailable",
        "unknown",
        "missing",
        "no data",
        "nodata",
        "no_data",
        "no value",
        "no sample",
        "?",
        "-",
        "...",
        "<null>",
        "(null)",
        "[null]",
        "#null!",
        "#div/0!",
        "#value!",
        "#ref!",
        "#num!",
        "#name?",
    }
)
# As C, Python, R, Java and JavaScript print it.
NAN = r"[+-]?(?:nan(?:\(\w*\))?|1\.#(?:qnan|snan|ind)\d*)"
_NAN = re.compile(NAN, re.ASCII | re.IGNORECASE)
_DASHES = re.compile(r"-*\.?-*")  # also ---.-


def is_missing(text: str) -> bool:
    """Whether a text says that a number is missing."""
    word = text.strip().lower()
    return word in MISSING_WORDS or _NAN.fullmatch(word) is not None or _DASHES.fullmatch(word) is not None
