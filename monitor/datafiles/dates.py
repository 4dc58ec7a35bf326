"""Times as people and their tools write them into files: 31.12.2026 14:00, 12/31/2026 2:00 PM, 01-Dec-26 14:00:00.

Where days come before months, and where after, is seen by the whole column: a part over 12 is no month. A point
between them means day first. Where both are possible the column is refused, unless only one of them gives even steps
of hours or less (of days and months, both may).

Rules of this file: pure. Records are read by `monitor.detector.times` alone: there nobody could ask.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

import numpy as np

from monitor.detector.arrays import Int64Array
from monitor.detector.times import NO_TIME, iso_us, texts_us

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_US = 86_400_000_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EVEN_STEPS = 1.01  # the longest step over the median one, of times that are read in the right order
_FEWEST_STEPS = 10
_CLOCK = r"(?P<hour>\d{1,2})[:.](?P<minute>\d\d)(?:[:.](?P<second>\d\d)(?:[.,:](?P<fraction>\d+))?)?"
_AFTER = r"(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?\s*(?P<zone>[Zz]|UTC|GMT|[+-]\d\d:?\d\d)?"
_NAME = "(?P<name>" + "|".join(_MONTHS) + r")[a-z]*\.?"
_DATES = (
    r"(?P<year>\d{4})([./_-])(?P<month>\d\d?)\2(?P<day>\d\d?)",
    r"(?P<first>\d\d?)([./-])(?P<other>\d\d?)\2(?P<year>\d{4}|\d\d)",
    rf"(?P<day>\d\d?)[ ./-]{_NAME}[ ./-](?P<year>\d{{4}}|\d\d)",
    rf"{_NAME} (?P<day>\d\d?),? (?P<year>\d{{4}})",
)
_THEN = rf"(?:(?:[t ,;_-]+|(?<=\d)[.:]){_CLOCK}{_AFTER})?"
_FORMS = [re.compile(rf"(?:[a-z]{{2,9}},? )?{form}{_THEN}", re.ASCII | re.IGNORECASE) for form in _DATES]
_DASHED = re.compile(r"(\d{4})([.-])(\d\d)\2(\d\d)\2(\d\d)\2(\d\d)\2(\d\d)", re.ASCII)
_TIME_OF_DAY = re.compile(_CLOCK + _AFTER, re.ASCII)
_LONGEST = 60


def looks_like_time(text: str) -> bool:
    """Whether a text is a time with a date; no number is."""
    text = text.strip()
    if not (8 <= len(text) <= _LONGEST and any(map(str.isdigit, text))) or text.isdigit():
        return False
    if _DASHED.fullmatch(text) or any(form.fullmatch(text) for form in _FORMS):
        return True
    try:
        iso_us(text)
    except ValueError:
        return False
    return True


def is_time_of_day(text: str) -> bool:
    """Whether a text is a time of day without a date, such as 14:00:05."""
    return len(text) <= _LONGEST and _TIME_OF_DAY.fullmatch(text.strip()) is not None and ":" in text


def is_date(text: str) -> bool:
    """Whether a text is a date without a time of day."""
    return looks_like_time(text) and ":" not in text and _DASHED.fullmatch(text.strip()) is None


def column_us(texts: Sequence[str], *, day_first: bool | None = None) -> tuple[Int64Array, str]:
    """µs since 1970 of a column of times, `NO_TIME` where one can't be read; and what a person should know of it.

    `day_first` says whether 1/2/2026 is in February; None: the column says it itself.

    Raises:
        ValueError: the column does not say whether days or months come first.
    """
    found = texts_us(texts)
    rows = np.flatnonzero(found == NO_TIME).tolist()
    if not rows:
        return found, ""
    parts = [_parts(texts[row]) for row in rows]
    day_first, note = _order(parts, day_first)
    for row, part in zip(rows, parts, strict=True):
        if part is not None:
            found[row] = _us(part, day_first=day_first)
    return found, note


def _parts(text: str) -> dict[str, str] | None:
    """What a text says, by name: `first` and `other` are day and month, in either order."""
    text = text.strip()
    if len(text) > _LONGEST:
        return None
    if dashed := _DASHED.fullmatch(text):
        names = ("year", "", "month", "day", "hour", "minute", "second")
        return {name: part for name, part in zip(names, dashed.groups(), strict=True) if name}
    for form in _FORMS:
        if made := form.fullmatch(text):
            said = {name: part for name, part in made.groupdict().items() if part is not None}
            return said | ({"point": ""} if "first" in said and made[2] == "." else {})
    return None


def _order(parts: Sequence[dict[str, str] | None], day_first: bool | None) -> tuple[bool, str]:
    """Whether days come first, and a note where that was found by the steps between times."""
    open_ones = [part for part in parts if part is not None and "first" in part]
    if day_first is not None or not open_ones or any("point" in part for part in open_ones):
        return day_first is not False, ""
    days_first = any(int(part["first"]) > 12 for part in open_ones)
    months_first = any(int(part["other"]) > 12 for part in open_ones)
    if days_first != months_first:
        return days_first, ""
    example = "/".join((open_ones[0]["first"], open_ones[0]["other"], open_ones[0]["year"]))
    if not days_first:
        even = [_is_even([_us(part, day_first=first) for part in open_ones]) for first in (True, False)]
        if even[0] != even[1]:
            return even[0], f"{example} is read {'day' if even[0] else 'month'} first, as only so the steps are even"
    raise ValueError(f"{example} may have its day or its month first: say --day-first or --month-first")


def _is_even(times_us: Sequence[int]) -> bool:
    steps = np.diff(np.array(times_us, dtype=np.float64))
    moving = steps[steps != 0]
    if len(moving) < _FEWEST_STEPS or moving.min() <= 0:
        return False
    return bool(moving.max() <= _EVEN_STEPS * np.median(moving) < _DAY_US)


def _us(part: dict[str, str], *, day_first: bool) -> int:
    """µs since 1970; `NO_TIME` where there is no such time."""
    day, month = (part["first"], part["other"]) if "first" in part else (part["day"], part.get("month", "0"))
    if "first" in part and not day_first:
        day, month = month, day
    if "name" in part:
        month = str(_MONTHS.index(part["name"].lower()) + 1)
    year = int(part["year"])
    if len(part["year"]) == 2:
        year += 2000 if year < 70 else 1900
    try:
        days = date(year, int(month), int(day)).toordinal() - _EPOCH_DAY
        return days * _DAY_US + _time_of_day_us(part)
    except ValueError:
        return NO_TIME


def _time_of_day_us(part: dict[str, str]) -> int:
    if "hour" not in part:
        return 0
    hour, minute, second = int(part["hour"]), int(part["minute"]), int(part.get("second", 0))
    if "half" in part:
        if not 1 <= hour <= 12:
            raise ValueError("no such hour")
        hour = hour % 12 + (12 if part["half"] in "pP" else 0)
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and (minute or second)):
        raise ValueError("no such time of day")
    zone, offset = part.get("zone", ""), 0
    if zone[:1] in ("+", "-") and zone:
        offset = (int(zone[1:3]) * 60 + int(zone[-2:])) * (1 if zone[0] == "+" else -1)
    fraction = int((part.get("fraction") or "")[:6].ljust(6, "0"))
    return ((hour * 60 + minute - offset) * 60 + second) * 1_000_000 + fraction
