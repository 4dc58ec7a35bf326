"""When something was, as µs since 1970: one rule for the trainer's files, `replay` and the daemon's records.

A number counts from 1970 in s, ms, µs or ns, as its size shows; or is a date without separators (20260131,
202601312359, 20260131235959) where its size makes it no such time. A text is RFC 3339 or ISO 8601, UTC where it names
no zone: in upper or lower case, with T or a space, comma or point, any number of digits (what is finer than 1 µs is cut
off), offsets with or without a colon, second 60 (a leap second: the next second's 0), hour 24, a zone's name after its
offset.

Rules of this file: pure. Whole columns are read with NumPy; a text of no usual form is judged by `text_us`, one by one,
and both agree on every text.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import BoolArray, Float64Array, Int64Array

Unit = Literal["auto", "s", "ms", "us", "ns"]

# Stands in an array for a time that is not known, or can't be read.
NO_TIME = -(1 << 63)
# Before any event time: far enough from the int64's end that differences can't overflow.
NEVER_US = -(1 << 61)
FOREVER_US = 1 << 60  # after any event time
# No sensor reported to Kafka before it was there (2011), and numbers of other kinds would be taken for times of the
# nineties: of a clock never set (1970, 1980), the ticks of .NET (as ns, 1990), Apple's seconds since 2001 (1994).
OLDEST_TIME = "2000-01-01T00:00:00Z"
OLDEST_US = 946_684_800_000_000
NEWEST_US = 7_258_118_400_000_000  # the year 2200
# What `datetime`, and so an alert, can write: the years 1 and 9999.
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999

UNIT_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
# A number from here on is in the next unit: as s the year 5138, as ms 1973, and so on.
_NEXT_UNIT = np.array([1e11, 1e14, 1e17])
_FACTORS = np.array(list(UNIT_US.values()))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_EXPECTED = "expected RFC 3339, like 2026-11-21T08:22:07Z, or a number since 1970"
_USUAL = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?"
    r"(?: ?([Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?))?(?: UTC| GMT|\[[A-Za-z0-9/_+-]{1,40}\])?",
    re.ASCII,
)
_SHORTEST, _LONGEST = 19, 40  # of the usual forms
_DIGITS_AT = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]
_SEPARATORS = ((4, b"-"), (7, b"-"), (10, b"Tt "), (13, b":"), (16, b":"))
_POINT = (19, b".,")
_DATE_DIGITS = (8, 12, 14)
_TO_THE_HOUR = 10  # digits of a date and an hour, 2026013112; one alone is seconds since 1970, of 2030 and later


def numbers_us(numbers: Float64Array, unit: Unit = "auto") -> Int64Array:
    """µs since 1970 of numbers (n,), each in the unit of its own size, or all in `unit`; `NO_TIME` where it is none."""
    if not len(numbers):
        return np.empty(0, dtype=np.int64)
    factors: Float64Array | float
    if unit != "auto":
        factors = UNIT_US[unit]
    else:
        first, last = float(numbers.min()), float(numbers.max())
        factors = unit_of(last)
        if first * factors >= OLDEST_US and last * factors < NEWEST_US:  # the common case: all are in one unit
            return np.rint(numbers * factors).astype(np.int64)
        factors = _FACTORS[np.searchsorted(_NEXT_UNIT, np.abs(numbers), side="right")]
    with np.errstate(over="ignore", invalid="ignore"):
        exact = np.rint(numbers * factors)
        known = (exact >= _FIRST_US) & (exact <= _LAST_US)
    found = np.where(known, exact, 0).astype(np.int64)
    found[~known] = NO_TIME
    if unit == "auto":
        odd = np.flatnonzero(~known | (found < OLDEST_US) | (found >= NEWEST_US))
        for digits in _DATE_DIGITS if len(odd) else ():
            written = odd[(numbers[odd] >= 10 ** (digits - 1)) & (numbers[odd] < 10**digits)]
            written = written[numbers[written] == np.rint(numbers[written])]
            dates, _, there_are = _dates_us(numbers[written].astype(np.int64), digits)
            found[written[there_are]] = dates[there_are]
    return found


def unit_of(largest: float) -> float:
    """How many µs one step of a column is, by its largest number: the whole column is in one unit."""
    return float(_FACTORS[np.searchsorted(_NEXT_UNIT, abs(largest), side="right")])


def texts_us(texts: Sequence[str], unit: Unit | None = None) -> Int64Array:
    """µs since 1970 of each text, as `text_us` reads it alone, or `iso_us` without a unit; `NO_TIME` where it can't."""
    if unit is not None and (all_numbers := _all_numbers(texts)) is not None:
        return numbers_us(all_numbers, unit)
    found = np.full(len(texts), NO_TIME, dtype=np.int64)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    for length in np.unique(lengths).tolist():
        if _SHORTEST <= length <= _LONGEST:
            rows = np.flatnonzero(lengths == length)
            group = texts if len(rows) == len(texts) else [texts[row] for row in rows.tolist()]
            letters = np.frombuffer("".join(group).encode("ascii", "replace"), dtype=np.uint8)
            found[rows] = _usual_us(np.ascontiguousarray(letters.reshape(len(rows), length).T))
    rows_left = np.flatnonzero(found == NO_TIME).tolist()
    numbers = {} if unit is None else {row: number for row in rows_left if (number := _number(texts[row])) is not None}
    found[list(numbers)] = numbers_us(np.array(list(numbers.values()), dtype=np.float64), unit or "auto")
    for row in rows_left:
        if row not in numbers:
            with contextlib.suppress(ValueError):
                found[row] = iso_us(texts[row])
    return found


def text_us(text: str, unit: Unit = "auto") -> int:
    """µs since 1970 of a number as text, or a time as text.

    Raises:
        ValueError: it is none; says what was expected.
    """
    number = _number(text)
    if number is None:
        return iso_us(text)
    found = int(numbers_us(np.array([number]), unit)[0])
    if found == NO_TIME:
        raise ValueError(f"no time; {_EXPECTED}")
    return found


def _all_numbers(texts: Sequence[str]) -> Float64Array | None:
    """All texts as numbers, as `_number` reads each; None where one may be another text."""
    try:
        numbers = np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        return None
    return None if "_" in "".join(texts) else numbers


def _number(text: str) -> float | None:
    """A number as text, NaN for Python's own form of 1_000, which is no number elsewhere; None for any other text."""
    try:
        number = float(text)
    except ValueError:
        return None
    return math.nan if "_" in text else number


def iso_us(text: str) -> int:
    """µs since 1970 of a time as text, no number. Raises ValueError as `text_us` does."""
    text = text.strip()
    usual = _USUAL.fullmatch(text)
    if usual is None:
        return _unusual_us(text)
    date, hour, minute, second, fraction, zone = usual.groups()
    past_us = ((int(hour) * 60 + int(minute)) * 60 + int(second)) * 1_000_000 + int((fraction or "")[:6].ljust(6, "0"))
    is_end_of_day = hour == "24" and past_us == 86_400_000_000
    if (int(hour) > 23 and not is_end_of_day) or int(minute) > 59 or int(second) > 60:
        raise ValueError(f"no such time of day; {_EXPECTED}")
    try:
        day = datetime.fromisoformat(date).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"no such day; {_EXPECTED}") from None
    return (day - _EPOCH).days * 86_400_000_000 + past_us - _zone_us(zone)


def _zone_us(zone: str | None) -> int:
    if zone is None or zone[0] not in "+-":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].removeprefix(":") or 0)
    if hours > 23 or minutes > 59:
        raise ValueError(f"no such offset; {_EXPECTED}")
    return (hours * 60 + minutes) * (-60_000_000 if zone[0] == "-" else 60_000_000)


def _unusual_us(text: str) -> int:
    """One of ISO 8601's rarer forms: a day alone, without separators, by weeks."""
    try:
        moment = datetime.fromisoformat(text.upper())
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise ValueError(f"no time; {_EXPECTED}") from None


def _usual_us(letters: NDArray[np.uint8]) -> Int64Array:
    """µs since 1970 of texts of one length, (length, n) of ASCII; `NO_TIME` where they are not of the first's form."""
    digits = letters - np.uint8(ord("0"))
    end, good = _fraction_end(letters), np.ones(letters.shape[1], dtype=np.bool_)
    offset_min = _offset_min(letters, digits, end, good)
    at = [*_DIGITS_AT, *range(20, end)]
    good &= (digits[at] < 10).all(axis=0)
    for index, allowed in (*_SEPARATORS, _POINT) if end > 19 else _SEPARATORS:
        good &= np.isin(letters[index], np.frombuffer(allowed, dtype=np.uint8))
    wide = digits.astype(np.int64)
    year = wide[0] * 1000 + wide[1] * 100 + wide[2] * 10 + wide[3]
    month, day = wide[5] * 10 + wide[6], wide[8] * 10 + wide[9]
    hour, minute, second = wide[11] * 10 + wide[12], wide[14] * 10 + wide[15], wide[17] * 10 + wide[18]
    micros = np.zeros(letters.shape[1], dtype=np.int64)
    for index in range(20, min(end, 26)):
        micros += wide[index] * 10 ** (25 - index)
    good &= (hour < 24) & (minute < 60) & (second < 61)
    days, there_is = _days(year, month, day)
    good &= there_is
    seconds = ((days * 24 + hour) * 60 + minute - offset_min) * 60 + second
    return np.where(good, seconds * 1_000_000 + micros, NO_TIME)


def _fraction_end(letters: NDArray[np.uint8]) -> int:
    """Where the first text's fraction of a second ends: 19 where it has none."""
    first = letters[:, 0].tobytes()
    if len(first) < 21 or first[19:20] not in (b".", b","):
        return 19
    return len(first) - len(first[20:].lstrip(b"0123456789"))


def _offset_min(letters: NDArray[np.uint8], digits: NDArray[np.uint8], end: int, good: BoolArray) -> Int64Array | int:
    """The zones' offsets after `end`, which must be written alike; clears `good` where they are not."""
    length = len(letters)
    if length == end:
        return 0
    if length == end + 1:
        good &= (letters[end] | 0x20) == ord("z")
        return 0
    colon = length == end + 6
    if not colon and length != end + 5:
        good[:] = False
        return 0
    minutes_at = end + 4 if colon else end + 3
    if colon:
        good &= letters[end + 3] == ord(":")
    good &= (letters[end] == ord("+")) | (letters[end] == ord("-"))
    good &= (digits[[end + 1, end + 2, minutes_at, minutes_at + 1]] < 10).all(axis=0)
    wide = digits.astype(np.int64)
    hours = wide[end + 1] * 10 + wide[end + 2]
    minutes = wide[minutes_at] * 10 + wide[minutes_at + 1]
    good &= (hours < 24) & (minutes < 60)
    offsets: Int64Array = np.where(letters[end] == ord("-"), -1, 1) * (hours * 60 + minutes)
    return offsets


def _days(year: Int64Array, month: Int64Array, day: Int64Array) -> tuple[Int64Array, BoolArray]:
    """Days since 1970, and which of them there are."""
    there_are = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    months = np.where(there_are, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + np.where(there_are, day - 1, 0)
    return days.astype(np.int64), there_are & (days.astype("datetime64[M]") == months)


def compact_dates(numbers: Float64Array) -> tuple[Int64Array, BoolArray] | None:
    """µs since 1970 of dates without separators, with or without a time of day, and which of those there are.

    None unless most numbers look like one: among them 20260230, or 20260132, is a mistake, and not a number of seconds.
    All must look like one where they may be seconds, being dates with hours.
    """
    if not numbers.size or (numbers != np.rint(numbers)).any() or numbers.min() < 0 or numbers.max() >= 1e14:
        return None
    digits = len(str(int(numbers.max())))
    if digits not in (*_DATE_DIGITS, _TO_THE_HOUR):
        return None
    found, look, there_are = _dates_us(numbers.astype(np.int64), digits)
    are_dates = look.all() if digits == _TO_THE_HOUR else 2 * look.sum() > len(look)
    return (found, there_are) if are_dates else None


def _dates_us(numbers: Int64Array, digits: int) -> tuple[Int64Array, BoolArray, BoolArray]:
    """Numbers of so many digits as µs since 1970, which of them look like dates, and which of those there are."""
    dates, clock = np.divmod(numbers * 10 ** (14 - digits), 1_000_000)
    year, month, day = dates // 10_000, dates // 100 % 100, dates % 100
    hours, minutes, seconds = clock // 10_000, clock // 100 % 100, clock % 100
    look = (year >= 1900) & (year < 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    look &= (hours < 24) & (minutes < 60) & (seconds < 60)
    days, there_are = _days(year, month, day)
    return (days * 86_400 + hours * 3600 + minutes * 60 + seconds) * 1_000_000, look, look & there_are


def written(time_us: int) -> str:
    """A time as text, for a message."""
    try:
        moment = _EPOCH + timedelta(microseconds=int(time_us))
    except OverflowError:
        return f"{time_us} us since 1970"
    return moment.isoformat().replace("+00:00", "Z")


def duration(seconds: float) -> str:
    """A time span in words: 12.3 s, 45 min, 3 h 20 min, 30 days, 66 years."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    days = minutes / 1440
    if days < 3:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{days:.3g} days" if days < 1000 else f"{days / 365.25:.3g} years"
