"""Which columns of a table hold its times, and what they say.

A column that the caller names is taken; else one that has a usual name; else one that holds nothing but times, if it is
the only one. What only looks like times stays a channel, and is reported by the trainer.

Rules of this file: pure. Every error names file, row or line, and column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from monitor.datafiles import dates, parts
from monitor.datafiles.cells import as_number, is_number
from monitor.datafiles.columns import Array, Columns, find
from monitor.detector.arrays import Float64Array, Int64Array
from monitor.detector.times import NEWEST_US, NO_TIME, OLDEST_US, UNIT_US, Unit, compact_dates, numbers_us, unit_of
from monitor.errors import DataError

# Names of time columns, unless they are given.
TIME_NAMES = ("timestamp", "@timestamp", "datetime", "time", "date", "ts", "_time")
_LOOK_AT = 200  # cells
# Words of names that speak of times; `_epoch_like` asks less of such columns.
_SPEAKS_OF_TIME = re.compile(r"time|date|stamp|epoch|clock|utc|(?:^|[^a-z])(?:ts|t)(?:$|[^a-z])", re.IGNORECASE)
# As instruments call the time since they began, with its unit.
_COUNTED = re.compile(
    r"(?:(?:elapsed|relative|rel|test|run|total)[ _.]*)?(?:time|elapsed|t)[ _.,]*[\[(/]? *"
    r"(s|secs?|seconds?|ms|msecs?|milliseconds?|us|µs|μs|microseconds?|ns|nanoseconds?)[\])]?",
    re.IGNORECASE,
)
_UNITS: tuple[tuple[str, Unit], ...] = (
    ("ms", "ms"), ("mil", "ms"), ("us", "us"), ("µ", "us"), ("μ", "us"), ("mic", "us"), ("n", "ns"), ("s", "s"),
)  # fmt: skip
_SHORTEST_US = 0.99  # between samples: times are kept in whole µs
_DAY_US = 86_400_000_000
_LAST_US = 4_102_444_800_000_000  # 2100: counters that happen to be as large as later times are no times
_FIRST_EPOCH = OLDEST_US / 1e6  # in seconds
_EVEN = 0.9  # of the steps of a clock, those that are the usual one
_RISING = 0.99
_FEWEST = 10
_CELL = "2026-01-31T12:00:00Z"


@dataclass(frozen=True, slots=True)
class Reading:
    """How times are read: `unit` of numbers, and whether days come before months (None: as the column shows)."""

    unit: Unit = "auto"
    day_first: bool | None = None


AS_FOUND = Reading()


@dataclass(frozen=True, slots=True)
class Clock:
    """The columns that hold the times: one, or one of dates and one of times of day; none.

    `note` says why these, `unit` in which they count, where their name does. Columns `beside` only say the day again.
    `parts`: what of the time each column says, "date" for a whole one, where they are numbers in parts of it.
    """

    columns: tuple[int, ...] = ()
    note: str = ""
    unit: Unit = "auto"
    beside: tuple[int, ...] = ()
    parts: tuple[str, ...] = ()


def find_clock(
    path: Path, columns: Columns, wanted: str | None, taken: Collection[int | None], channels: Collection[str] = ()
) -> Clock:
    """The columns with the times; those `taken`, and `channels`, are no candidates, unless they are `wanted`.

    Raises:
        DataError: there is no column `wanted`.
    """
    names = columns.called
    if wanted == "none" and "none" not in names:
        return Clock()
    if wanted is not None and wanted not in names and len(two := wanted.split(",")) == 2:
        both = [find(path, names, each.strip(), ()) for each in two]
        return Clock(tuple(at for at in both if at is not None))
    named = find(path, names, wanted, TIME_NAMES)
    chosen = {*taken, *(at for at, name in enumerate(names) if name in channels)}
    if named is None or named in taken:
        return _by_content(columns, chosen)
    return Clock((named,)) if wanted is not None else _around(columns, named, taken, chosen)


def _around(columns: Columns, named: int, taken: Collection[int | None], chosen: set[int | None]) -> Clock:
    """A column by its usual name, with those that say the rest of the time."""
    halves = _with_its_other_half(columns, named, taken)
    if len(halves) == 1 and (in_parts := _in_parts(columns, chosen, named)) is not None:
        return in_parts
    if halves == (named,) and _repeats_days(columns, named):
        other = _by_content(columns, chosen | {named})
        return replace(other, beside=halves) if other.columns else Clock(halves)
    return Clock(halves)


def _repeats_days(columns: Columns, at: int) -> bool:
    """Whether a column of dates alone has one several times: another may say the time of day too."""
    texts = columns.texts.get(at, ())[:_LOOK_AT]
    return _all(columns, at, dates.is_date) and len({*texts}) < len(texts)


def _with_its_other_half(columns: Columns, named: int, taken: Collection[int | None]) -> tuple[int, ...]:
    """A column by its name; where it holds only dates, or only times of day, with the one that holds the others."""
    days = [at for at in _candidates(columns, taken) if _all(columns, at, dates.is_date) or _compact(columns, at)]
    clocks = [at for at in columns.texts if at not in taken and _all(columns, at, dates.is_time_of_day)]
    if named in clocks and len(days) == 1:
        return (days[0], named)
    if named in days and len(clocks) == 1:
        return (named, clocks[0])
    return (named,)


def _in_parts(columns: Columns, taken: set[int | None], named: int | None = None) -> Clock | None:
    """Year, month and day, or the only column of dates, which come again, with what says the time of day.

    `named`: a column that must be one of them.
    """
    days = [at for at in range(columns.numbers.shape[1]) if at not in taken and _says_days(columns, at)]
    hours = parts.of_day(columns, {*taken, *days}) if len(days) == 1 else {}
    found = {"date": days[0], **hours} if hours else parts.of_date(columns, taken)
    return _parted(columns, found) if found and (named is None or named in found.values()) else None


def _says_days(columns: Columns, at: int) -> bool:
    """Whether a column holds dates alone, one of them several times."""
    if at in columns.times_us:
        times_us = columns.times_us[at][:_LOOK_AT]
        return len(np.unique(times_us)) < len(times_us) and not (times_us % _DAY_US).any()
    values = columns.texts[at][:_LOOK_AT] if at in columns.texts else columns.numbers[:_LOOK_AT, at].tolist()
    is_one = _all(columns, at, dates.is_date) or _compact(columns, at)
    return is_one and len({*values}) < len(values)


def _parted(columns: Columns, found: dict[str, int]) -> Clock:
    names = ", ".join(columns.called[at] for at in found.values())
    return Clock(tuple(found.values()), f"columns {names} are taken as the time", parts=tuple(found))


def _by_content(columns: Columns, taken: set[int | None]) -> Clock:
    names = columns.called
    times = [at for at in columns.times_us if at not in taken]
    times += [at for at in columns.texts if at not in taken and _all(columns, at, dates.looks_like_time)]
    found = times
    if len(times) > 1:  # of _start, _stop and _time the one that says so, if only one does
        found = [at for at in times if names[at].lower().strip("_ ") in ("time", "timestamp", "datetime", "utc")]
    if len(found) == 1:
        (day,) = found
        clocks = [at for at in columns.texts if at not in taken and _all(columns, at, dates.is_time_of_day)]
        alone = len(clocks) == 1 and day in columns.texts and _all(columns, day, dates.is_date)
        return Clock((day, clocks[0]) if alone else (day,))
    if times or columns.times_us:
        return Clock()
    if (in_parts := _in_parts(columns, taken)) is not None:
        return in_parts
    rest = {*_candidates(columns, taken)}
    large = np.flatnonzero(columns.numbers[0] > _FIRST_EPOCH).tolist() if len(columns.numbers) else ()
    epochs = [at for at in large if at in rest and is_epoch(names[at], columns.numbers[:, at])]
    if not epochs:
        return _elapsed(columns, rest)
    if len(epochs) != 1:
        return Clock()
    note = f"column {names[epochs[0]]} holds times, so it is no channel; if it is a signal, use --time-column none"
    return Clock((epochs[0],), note)


def _elapsed(columns: Columns, rest: Collection[int]) -> Clock:
    """A column called `Time (s)`, `elapsed_ms` or the like that rises, as instruments count from 0."""
    found = [(at, said) for at in rest if (said := _COUNTED.fullmatch(columns.called[at])) is not None]
    if len(found) != 1 or not len(columns.numbers):
        return Clock()
    at, said = found[0]
    column = columns.numbers[:, at].astype(np.float64)
    unit = next(each for begins, each in _UNITS if said[1].lower().startswith(begins))
    steps_us = np.diff(column) * UNIT_US[unit]
    if at in columns.texts or not (column[0] >= 0 and np.isfinite(column).all() and (steps_us >= _SHORTEST_US).all()):
        return Clock()
    return Clock((at,), f"column {columns.called[at]} counts {unit}, and is taken as the time", unit)


def _candidates(columns: Columns, taken: Collection[int | None]) -> list[int]:
    return [at for at in range(columns.numbers.shape[1]) if at not in taken and at not in columns.times_us]


def _all(columns: Columns, at: int, test: Callable[[str], bool]) -> bool:
    """Whether a text column's first cells pass a test."""
    cells = [cell for cell in columns.texts.get(at, ())[:_LOOK_AT] if cell.strip()]
    return bool(cells) and all(map(test, cells))


def _compact(columns: Columns, at: int) -> bool:
    """Whether a column of numbers holds dates such as 20260131."""
    if not len(columns.numbers):
        return False
    column = columns.numbers[:_LOOK_AT, at].astype(np.float64)
    if at in columns.texts:
        cells = columns.texts[at][:_LOOK_AT]
        column = np.array([float(cell) if cell.strip().isdecimal() else np.nan for cell in cells])
    if not np.isfinite(column).all() or len(str(int(abs(column.max())))) != 8:
        return False
    return (found := compact_dates(column)) is not None and bool(found[1].all())


def is_epoch(name: str, column: Array) -> bool:
    """Whether numbers are times since 1970 that rise: evenly, unless the column's name speaks of time."""
    numbers = column.astype(np.float64)
    if len(numbers) < 2 or not np.isfinite(numbers).all() or numbers.min() <= 0:
        return False
    factor = unit_of(float(numbers.max()))
    if numbers.min() * factor < OLDEST_US or numbers.max() * factor >= _LAST_US:
        return False
    steps = np.diff(numbers)
    if (steps >= 0).mean() < _RISING or not steps.any():
        return False
    if _SPEAKS_OF_TIME.search(name):
        return True
    usual = float(np.median(steps))
    return len(numbers) >= _FEWEST and usual > 0 and bool((np.abs(steps - usual) <= 0.01 * usual).mean() >= _EVEN)


def clock_us(path: Path, columns: Columns, clock: Clock, reading: Reading) -> tuple[Int64Array | None, str]:
    """The times that a clock's columns say, in µs since 1970, and what a person should know; None without a clock.

    Raises:
        DataError: one is no time, or the columns do not say whether days or months come first.
    """
    if not clock.columns:
        return None, ""
    if clock.parts:
        return _of_parts(path, columns, clock, reading), clock.note
    if len(clock.columns) == 1:
        reading = reading if reading.unit != "auto" else replace(reading, unit=clock.unit)
        found, note = times(path, columns, clock.columns[0], reading)
        return found, "; ".join(filter(None, (clock.note, note)))
    day, hours = clock.columns
    if hours not in columns.texts:
        raise DataError(f"{path}: column {columns.called[hours]} holds no times of day; name others with --time-column")
    both = zip(_days(columns, day), columns.texts[hours], strict=True)
    return _of_texts(path, columns, [f"{first} {second.strip()}" for first, second in both], hours, reading)


def _of_parts(path: Path, columns: Columns, clock: Clock, reading: Reading) -> Int64Array:
    said = dict(zip(clock.parts, clock.columns, strict=True))
    if "date" in said:
        days, _ = times(path, columns, said["date"], reading)
    else:
        days = parts.dates_us(columns, said)
    hours = parts.time_of_day_us(columns, said)
    for found, what, at in ((days, "date", clock.columns[0]), (hours, "time of day", clock.columns[-1])):
        if (found == NO_TIME).any():
            row = int(np.argmax(found == NO_TIME))
            raise DataError(f"{path}, {columns.location(row, at)}: there is no such {what}; correct or drop the row")
    return days + hours


def _days(columns: Columns, at: int) -> Sequence[str]:
    if at in columns.texts:
        written = [text.strip() for text in columns.texts[at]]
    else:
        written = [f"{number:08.0f}" for number in columns.numbers[:, at]]
    return [f"{text[:4]}-{text[4:6]}-{text[6:]}" if text.isdecimal() else text for text in written]


def times(path: Path, columns: Columns, at: int, reading: Reading = AS_FOUND) -> tuple[Int64Array, str]:
    """A column as µs since 1970, and a note: texts of times, or numbers, see `_of_numbers`.

    Raises:
        DataError: one is no time; says where.
    """
    if at in columns.times_us:
        return columns.times_us[at], ""
    if texts := columns.texts.get(at):
        if not is_number(texts[0]):
            return _of_texts(path, columns, texts, at, reading)
        numbers = np.array([_as_number(path, columns, text, row, at) for row, text in enumerate(texts)])
        return _of_numbers(path, columns, numbers, at, reading), ""
    return _of_numbers(path, columns, columns.numbers[:, at].astype(np.float64), at, reading), ""


def _as_number(path: Path, columns: Columns, text: str, row: int, at: int) -> float:
    try:
        return as_number(text)
    except ValueError:
        raise _no_time(path, columns, text, row, at) from None


def _of_texts(path: Path, columns: Columns, texts: Sequence[str], at: int, reading: Reading) -> tuple[Int64Array, str]:
    try:
        found, note = dates.column_us(texts, day_first=reading.day_first)
    except ValueError as error:
        raise DataError(f"{path}, column {columns.called[at]}: {error}") from None
    if (found == NO_TIME).any():
        row = int(np.argmax(found == NO_TIME))
        raise _no_time(path, columns, texts[row], row, at)
    return found, note and f"column {columns.called[at]}: {note}; --day-first or --month-first say it"


def _of_numbers(path: Path, columns: Columns, numbers: Float64Array, at: int, reading: Reading) -> Int64Array:
    """Numbers since 1970 in `reading.unit`; by default each in the unit of its size, if all are times then, else all in
    the unit of the largest (files may count from 0). Those that mostly look like dates, 20260131, 2026013123,
    202601312359 or 20260131235959, are dates.
    """
    if not (known := np.abs(numbers) < 9e18).all():
        row = int(np.argmin(known))
        raise DataError(
            f"{path}, {columns.location(row, at)}: {numbers[row]} is not a time; correct it or drop the row"
        )
    if reading.unit != "auto":
        found = numbers_us(numbers, reading.unit)
        if (found == NO_TIME).any():
            row = int(np.argmax(found == NO_TIME))
            what = f"{path}, {columns.location(row, at)}: {numbers[row]:g} is no time in {reading.unit}"
            raise DataError(f"{what}; choose another --time-unit")
        return found
    if (compact := compact_dates(numbers)) is not None:
        found, there_are = compact
        if not there_are.all():
            row = int(np.argmin(there_are))
            raise DataError(
                f"{path}, {columns.location(row, at)}: {numbers[row]:.0f} is not a date, although most are dates "
                "written without separators; correct it or drop the row"
            )
        return found
    each = numbers_us(numbers)
    if len(each) and each.min() >= OLDEST_US and each.max() < NEWEST_US:
        return each
    return np.rint(numbers * unit_of(float(np.abs(numbers).max()))).astype(np.int64)


def _no_time(path: Path, columns: Columns, text: str, row: int, at: int) -> DataError:
    what = f"{path}, {columns.location(row, at)}: {text[:40]!r} is not a time"
    if dates.is_time_of_day(text):
        return DataError(
            f"{what} with its date; name the dates' column too, --time-column DATE,{columns.called[at]}, or read the "
            "file without times, --time-column none"
        )
    return DataError(f"{what}; expected ISO 8601 ({_CELL}) or a number since 1970, the same form in the whole column")
