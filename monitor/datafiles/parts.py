"""Times in parts: columns of years, months, days, hours, minutes and seconds, or of times of day: 14:05, 1405, 140500.

Rules of this file: pure. Columns are parts of a time by what they are called and by what they hold, both.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping

import numpy as np

from monitor.datafiles import dates
from monitor.datafiles.columns import Columns
from monitor.detector.arrays import Float64Array, Int64Array
from monitor.detector.times import NO_TIME

_DAY = ("year", "month", "day")
_OF_DAY = ("hour", "minute", "second", "millisecond")  # none without the one before
_CALLED = {
    "year": re.compile(r"#?(year|yyyy|yy|yr|jahr)", re.IGNORECASE),
    "month": re.compile(r"(?i:month|mon|mo|monat)|MM"),
    "day": re.compile(r"day|dd|dy|day_?of_?month|tag", re.IGNORECASE),
    "hour": re.compile(r"hour|hours|hh|hr|stunde", re.IGNORECASE),
    "minute": re.compile(r"(?i:minute|minutes|min|mn)|mm"),
    "second": re.compile(r"second|seconds|sec|ss|sekunde", re.IGNORECASE),
    "millisecond": re.compile(r"millisecond|milliseconds|millis|msec|ms", re.IGNORECASE),
    "clock": re.compile(r"#?(time|time_?of_?day|hhmm(ss)?|clock|uhrzeit|zeit)([ _]?[\[(].*)?", re.IGNORECASE),
}
# Abbreviations of minutes mean something else too: the lowest of an hour, and a height of rain.
_LOWEST, _HIGHEST = re.compile(r"min", re.IGNORECASE), re.compile(r"max|maximum", re.IGNORECASE)
_MM, _HH = re.compile(r"mm"), re.compile(r"hh?", re.IGNORECASE)
_RANGES = {
    "year": (0, 2199), "month": (1, 12), "day": (1, 31), "hour": (0, 24), "minute": (0, 59), "second": (0, 61),
    "millisecond": (0, 1_000),
}  # fmt: skip
_IN_PARTS_OF_MS = ("second", "millisecond")  # the others are whole numbers
_SECONDS = {"hour": 3_600, "minute": 60, "second": 1, "millisecond": 0.001}
_HOURS, _MINUTES, _HHMM, _HHMMSS = 24, 60, 2_400, 240_000  # what times of day end with, and hours and minutes alone


def is_called(name: str) -> bool:
    """Whether a column's name may be that of a part of a time."""
    return any(called.fullmatch(name.strip()) for called in _CALLED.values())


def says_again(columns: Columns, at: int) -> bool:
    """Whether a column says a part of a time that another column says as a whole: its year, month, day or hour."""
    name = columns.called[at].strip()
    return any(_CALLED[part].fullmatch(name) and _may_be(part, columns, at) for part in (*_DAY, "hour"))


def of_date(columns: Columns, taken: Collection[int | None]) -> dict[str, int]:
    """The columns with year, month and day, and those of the time of day that are there; empty, where one lacks."""
    found = _named(columns, _DAY, taken)
    return found | of_day(columns, taken) if len(found) == len(_DAY) else {}


def of_day(columns: Columns, taken: Collection[int | None]) -> dict[str, int]:
    """The columns with hour and, if they are there, minute and second, or that with times of day; empty for none."""
    found = _named(columns, _OF_DAY, taken)
    if "minute" in found and _means_no_minute(columns, found):
        del found["minute"]
    known = {part: found[part] for part in itertools.takewhile(found.__contains__, _OF_DAY)}
    return known or _named(columns, ("clock",), taken)


def _means_no_minute(columns: Columns, found: Mapping[str, int]) -> bool:
    name = columns.called[found["minute"]].strip()
    hours = columns.called[found["hour"]].strip() if "hour" in found else ""
    has_highest = any(_HIGHEST.fullmatch(other.strip()) for other in columns.called)
    is_lowest = has_highest and _LOWEST.fullmatch(name) is not None
    return is_lowest or (_MM.fullmatch(name) is not None and _HH.fullmatch(hours) is None)


def _named(columns: Columns, parts: Collection[str], taken: Collection[int | None]) -> dict[str, int]:
    """The columns of these parts: the one that is called so, and holds such numbers."""
    found = {}
    for part in parts:
        those = [
            at
            for at, name in enumerate(columns.called)
            if at not in taken and at not in columns.times_us and _CALLED[part].fullmatch(name.strip())
            if _may_be(part, columns, at)
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


def _may_be(part: str, columns: Columns, at: int) -> bool:
    """Whether a column's numbers, as far as they are not missing, are those of a part."""
    if part == "clock":
        return _clock_s(columns, at) is not None
    column = _numbers(columns, at)
    there = column[np.isfinite(column)]
    if not len(there) or (at in columns.texts and len(there) < len(column)):
        return False
    low, high = _RANGES[part]
    whole = part in _IN_PARTS_OF_MS or bool((there == np.rint(there)).all())
    return whole and bool(((there >= low) & (there <= high)).all())


def _clock_s(columns: Columns, at: int) -> Float64Array | None:
    """Times of day in seconds: texts such as 14:05, or numbers; None, where one is none."""
    texts = columns.texts.get(at, ())
    if len(texts) and all(map(dates.is_time_of_day, texts)):
        found, _ = dates.column_us([f"1970-01-01 {text.strip()}" for text in texts])
        return None if (found == NO_TIME).any() else found / 1e6
    return _seconds_of(_numbers(columns, at))


def _seconds_of(column: Float64Array) -> Float64Array | None:
    """Times of day written as HH, HHMM or HHMMSS, in seconds; None, where one is none, or that is not clear."""
    if not len(column) or not np.isfinite(column).all() or (column < 0).any() or (column != np.rint(column)).any():
        return None
    last = column.max()
    if _HOURS < last < _MINUTES or last >= _HHMMSS:
        return None
    digits = column * (10_000 if last <= _HOURS else 100 if last <= _HHMM else 1)
    hours, minutes, seconds = digits // 10_000, digits // 100 % 100, digits % 100
    return None if (minutes > 59).any() or (seconds > 60).any() else hours * 3_600 + minutes * 60 + seconds


def dates_us(columns: Columns, parts: Mapping[str, int]) -> Int64Array:
    """The dates that year, month and day say, `NO_TIME` where there is none such."""
    said = np.stack([_numbers(columns, parts[part]) for part in _DAY])
    known = np.isfinite(said).all(axis=0)
    year, month, day = np.where(known, said, 1).astype(np.int64)
    year = np.where(year < 100, year + np.where(year < 70, 2000, 1900), year)
    months = (year - 1970) * 12 + month - 1
    found = months.astype("datetime64[M]").astype("datetime64[D]") + (day - 1)
    is_date = found.astype("datetime64[M]").astype(np.int64) == months
    return np.where(is_date & known, found.astype("datetime64[us]").astype(np.int64), NO_TIME)


def time_of_day_us(columns: Columns, parts: Mapping[str, int]) -> Int64Array:
    """The times of day that the other parts say; `NO_TIME` where one is missing."""
    seconds = np.zeros(len(columns.numbers))
    for part, factor in _SECONDS.items():
        if part in parts:
            seconds += factor * _numbers(columns, parts[part])
    if "clock" in parts:
        found = _clock_s(columns, parts["clock"])
        assert found is not None
        seconds += found
    known = np.isfinite(seconds)
    return np.where(known, np.rint(np.where(known, seconds, 0) * 1e6).astype(np.int64), NO_TIME)
