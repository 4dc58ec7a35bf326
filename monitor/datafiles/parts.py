"""Times in parts: columns of years, months, days, hours, minutes and seconds, or of times of day such as 140500.

Rules of this file: pure. Columns are parts of a time by what they are called and by what they hold, both.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np

from monitor.datafiles.columns import Columns
from monitor.detector.arrays import Float64Array, Int64Array
from monitor.detector.times import NO_TIME

_DAY = ("year", "month", "day")
_OF_DAY = ("hour", "minute", "second")
_CALLED = {
    "year": re.compile(r"#?(year|yyyy|yy|yr|jahr)", re.IGNORECASE),
    "month": re.compile(r"(?i:month|mon|mo|monat)|MM"),
    "day": re.compile(r"day|dd|dy|day_?of_?month|tag", re.IGNORECASE),
    "hour": re.compile(r"hour|hours|hh|hr|stunde", re.IGNORECASE),
    "minute": re.compile(r"(?i:minute|minutes|min|mn)|mm"),
    "second": re.compile(r"second|seconds|sec|ss|sekunde", re.IGNORECASE),
    "clock": re.compile(r"#?(time|time_?of_?day|hhmm(ss)?|clock|uhrzeit|zeit)([ _]?[\[(].*)?", re.IGNORECASE),
}
_RANGES = {"year": (0, 2199), "month": (1, 12), "day": (1, 31), "hour": (0, 24), "minute": (0, 59), "second": (0, 61)}
_SECONDS = {"hour": 3_600, "minute": 60, "second": 1}
_HHMM, _HHMMSS = 2_400, 240_000  # times of day are less


def is_called(name: str) -> bool:
    """Whether a column's name may be that of a part of a time."""
    return any(called.fullmatch(name.strip()) for called in _CALLED.values())


def of_date(columns: Columns, taken: Collection[int | None]) -> dict[str, int]:
    """The columns with year, month, day and, if they are there, hour, minute and second; empty, where one lacks."""
    found = _named(columns, (*_DAY, *_OF_DAY), taken)
    return found if found.keys() >= set(_DAY) else {}


def of_day(columns: Columns, taken: Collection[int | None]) -> dict[str, int]:
    """The columns with hour and, if they are there, minute and second, or that with times of day; empty for none."""
    found = _named(columns, _OF_DAY, taken)
    return found if "hour" in found else _named(columns, ("clock",), taken)


def _named(columns: Columns, parts: Collection[str], taken: Collection[int | None]) -> dict[str, int]:
    """The columns of these parts: the one that is called so, and holds such numbers."""
    found = {}
    for part in parts:
        those = [
            at
            for at, name in enumerate(columns.called)
            if at not in taken and at not in columns.times_us and _CALLED[part].fullmatch(name.strip())
            if _may_be(part, _numbers(columns, at))
        ]
        if len(those) == 1:
            found[part] = those[0]
    return found


def _numbers(columns: Columns, at: int) -> Float64Array:
    """A column's numbers, also where it is kept as text; NaN for what is none."""
    if at not in columns.texts:
        return columns.numbers[:, at].astype(np.float64)
    texts = map(str.strip, columns.texts[at])
    return np.array([float(text) if text.isascii() and text.isdecimal() else np.nan for text in texts])


def _may_be(part: str, column: Float64Array) -> bool:
    if not len(column) or not np.isfinite(column).all():
        return False
    if part == "clock":
        return _seconds_of(column) is not None
    low, high = _RANGES[part]
    whole = part == "second" or bool((column == np.rint(column)).all())
    return whole and bool(((column >= low) & (column <= high)).all())


def _seconds_of(column: Float64Array) -> Float64Array | None:
    """Times of day written as HHMM or HHMMSS, in seconds; None, where one is none."""
    if (column < 0).any() or (column != np.rint(column)).any() or column.max() >= _HHMMSS:
        return None
    digits = column if column.max() >= _HHMM else column * 100
    hours, minutes, seconds = digits // 10_000, digits // 100 % 100, digits % 100
    return None if (minutes > 59).any() or (seconds > 60).any() else hours * 3_600 + minutes * 60 + seconds


def dates_us(columns: Columns, parts: Mapping[str, int]) -> Int64Array:
    """The dates that year, month and day say, `NO_TIME` where there is none such."""
    year, month, day = (_numbers(columns, parts[part]).astype(np.int64) for part in _DAY)
    year = np.where(year < 100, year + np.where(year < 70, 2000, 1900), year)
    months = (year - 1970) * 12 + month - 1
    found = months.astype("datetime64[M]").astype("datetime64[D]") + (day - 1)
    is_date = found.astype("datetime64[M]").astype(np.int64) == months
    return np.where(is_date, found.astype("datetime64[us]").astype(np.int64), NO_TIME)


def time_of_day_us(columns: Columns, parts: Mapping[str, int]) -> Int64Array:
    """The times of day that the other parts say."""
    seconds = np.zeros(len(columns.numbers))
    for part, factor in _SECONDS.items():
        if part in parts:
            seconds += factor * _numbers(columns, parts[part])
    if "clock" in parts:
        found = _seconds_of(_numbers(columns, parts["clock"]))
        assert found is not None
        seconds += found
    return np.rint(seconds * 1e6).astype(np.int64)
