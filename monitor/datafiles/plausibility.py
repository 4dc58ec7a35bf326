"""Channels that may be none, and numbers that may mean that one is missing. Reported, never changed: who can know?

A clock or a counter among the channels leaves what was learnt from at once, and every window is an anomaly; -9999 in a
channel of 0 to 5 makes its scale useless. Both look like any number.

Rules of this file: pure. It looks at numbers, and at names only for what they add.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from monitor.datafiles.clocks import is_epoch
from monitor.datafiles.tables import SeriesTable, WindowTable
from monitor.detector.arrays import Float64Array
from monitor.detector.times import compact_dates

Table = SeriesTable | WindowTable
_FEWEST_ROWS = 30  # that show what a column is
_FEWEST_VALUES = 20  # of a meter, and not of a state that was switched once
# What is called so may begin again at 0, when what counts is started again: it still is a running total.
_CALLED_TOTAL = re.compile(
    r"(^|[._ -])(total|count|counter|sum|bytes|octets|packets|requests|errors|energy|[km]?wh|odometer|mileage|uptime|"
    r"(run|operating)_?(time|hours))($|[._ -])",
    re.IGNORECASE,
)
_AGAIN = 0.05  # of the steps of such a total, at most, begin again
_SAME = 1e-6  # relative difference of steps that are equal
_COUNTS = 0.9  # of a counter's steps, at least, that are its usual one
_NEAR = 0.05  # of a counter's range: so near its first number it begins again, as one of 8 bits, an hour, a cycle
_NAMED = 8  # channels in one note
# Far from the others is so many of their ranges: a marker that is known as one, and any number that comes again.
_FAR_KNOWN, _FAR = 2.0, 3.0
_FEWEST_REPEATS, _MOST_MARKERS = 3, 6
_NINES = re.compile(r"-?(?:9{2,}(?:\.9+)?|9\.9+e\+?\d+)")
# Fill values of int16, uint16, int32 and uint32, with a decimal too, and what a DS18B20 says of itself.
_MARKERS = frozenset(
    f"{value:.7g}"
    for value in (32767, 32766, -32768, 65535, 2147483647, -2147483648, 4294967295, 3276.7, -3276.8, 6553.5, -127)
)
_WRITTEN_OUT = 1e15
_LARGEST = 1e19  # what is larger measures nothing: fill values of netCDF, GRIB and of float32


class Marker(NamedTuple):
    """A number that may mean that one is missing: how often it is there, the lowest and highest of the others.

    `is_known`: it is known to be written for this.
    """

    value: float
    seen: int
    low: float
    high: float
    is_known: bool

    @property
    def ranges(self) -> float:
        """How far it is from the others, in ranges of theirs."""
        distance = max(self.low - self.value, self.value - self.high)
        return distance / (self.high - self.low) if self.high > self.low else math.inf


def unsuited(name: str, columns: Sequence[Float64Array]) -> str:
    """What a channel is that is none to watch, a clock, a counter or a running total; its numbers, series by series."""
    return next((what for what, is_one in _UNSUITED.items() if _mostly(name, columns, is_one)), "")


def notes(tables: Sequence[Table]) -> Iterator[str]:
    """What a person should know of the channels of `tables`, all the same ones, before training on them."""
    series = [table for table in tables if isinstance(table, SeriesTable)]
    for is_one, what, remedy in (
        (_is_clock, "hold times", "where that is the samples' time, use --time-column"),
        (_is_counter, "count or tell the time", "they go on by even steps; where that is the time, use --time-column"),
        (_is_meter, "only rise or only fall", "what is learnt holds only for these values; watch what changes instead"),
    ):
        if found := _channels(series, is_one):
            listed = ",".join(found[:_NAMED])
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            yield f"channels that {what}: {listed}{more}; {remedy}, or --drop={shlex.quote(listed)}"
    yield from markers(tables)


def markers(tables: Sequence[Table]) -> Iterator[str]:
    """Which numbers of `tables` may mean that one is missing, a line for each channel and number."""
    for at, name in enumerate(tables[0].channels if tables else ()):
        column = np.concatenate([_column(table, at) for table in tables if at < len(table.channels)])
        column = column[~np.isnan(column)]
        for value, count, low, high, _ in markers_of(column):
            yield (
                f"channel {name}: {count} of {len(column)} numbers are {plain(value)}, far from the others ({low:.6g} "
                f"to {high:.6g}); if that means a missing number, say so with --missing={plain(value)}"
            )


def _channels(tables: Sequence[SeriesTable], is_one: Callable[[str, Float64Array], bool]) -> list[str]:
    """The channels that are something in most tables that show it."""
    found = []
    for at, name in enumerate(tables[0].channels if tables else ()):
        shown = [_column(table, at) for table in tables if table.channels == tables[0].channels]
        if _mostly(name, shown, is_one):
            found.append(name)
    return found


def _mostly(name: str, columns: Sequence[Float64Array], is_one: Callable[[str, Float64Array], bool]) -> bool:
    """Whether a channel is something in most series, of those that are long enough to show it; a column each."""
    known = [column[np.isfinite(column)] for column in columns]
    said = [is_one(name, column) for column in known if len(column) >= _FEWEST_ROWS]
    return 2 * sum(said) > len(said)


def _column(table: Table, at: int) -> Float64Array:
    if isinstance(table, WindowTable):
        numbers = table.windows if table.exact is None else table.exact
        return np.asarray(numbers[:, :, at], dtype=np.float64).ravel()
    return np.asarray((table.samples if table.exact is None else table.exact)[:, at], dtype=np.float64)


def _is_clock(name: str, column: Float64Array) -> bool:
    """Times since 1970, or dates such as 20260131."""
    if (np.diff(column) < 0).mean() > 1 - _COUNTS or column.min() == column.max():
        return False
    dates = compact_dates(column)
    return is_epoch(name, column) or (dates is not None and bool(dates[1].all()))


def _is_counter(name: str, column: Float64Array) -> bool:
    """Numbers that go on by one step, but where they begin again."""
    steps = np.diff(column)
    usual = float(np.median(steps))
    rounding = float(np.spacing(np.float32(np.median(np.abs(column)))))
    on = np.sign(steps) == np.sign(usual)
    is_usual = on & (np.abs(steps - usual) <= max(_SAME * abs(usual), 2 * rounding))
    if not usual or is_usual.mean() < _COUNTS or _is_clock(name, column):
        return False
    after = column[1:][np.sign(steps) == -np.sign(usual)]
    first = float(column.min() if usual > 0 else column.max())
    return bool((np.abs(after - first) <= _NEAR * float(np.ptp(column))).all())


def _is_meter(name: str, column: Float64Array) -> bool:
    """Numbers that only rise, or only fall, and are no counter; what is called a total may begin again."""
    steps = np.diff(column)
    rises, falls = int((steps > 0).sum()), int((steps < 0).sum())
    again = min(rises, falls)
    if again and not (_CALLED_TOTAL.search(name) and again <= _AGAIN * max(rises, falls)):
        return False
    return len(np.unique(column)) >= _FEWEST_VALUES and not (_is_counter(name, column) or _is_clock(name, column))


def markers_of(column: Float64Array, *, far: float = _FAR_KNOWN) -> Iterator[Marker]:
    """Numbers at an end of all others (n,); those known to mean missing `far` of their ranges away at least."""
    known: list[float] = []
    rest = column
    while len(known) < _MOST_MARKERS and len(rest):
        end = next((each for each in (float(rest.min()), float(rest.max())) if _is_marker(each)), None)
        if end is None:
            break
        known.append(end)
        rest = rest[rest != end]
    if not len(rest):
        return
    low, high = float(rest.min()), float(rest.max())
    for value in known:
        found = Marker(value, int((column == value).sum()), low, high, is_known=True)
        if found.ranges > far:
            yield found
    for value in (low, high):
        yield from _repeated(rest, value)


def _repeated(column: Float64Array, value: float) -> Iterator[Marker]:
    """An end of a column that comes again and again, far from the rest, which varies."""
    rest = column[column != value]
    count = len(column) - len(rest)
    if count < _FEWEST_REPEATS or count > len(rest) or not len(rest):
        return
    found = Marker(value, count, float(rest.min()), float(rest.max()), is_known=False)
    if _FAR < found.ranges < math.inf and len(np.unique(rest)) >= _FEWEST_VALUES:
        yield found


def _is_marker(value: float) -> bool:
    """Whether a number is known to be written where one is missing."""
    short = f"{value:.7g}"  # as float32 keeps it
    return abs(value) >= _LARGEST or short in _MARKERS or (abs(value) >= 99 and _NINES.fullmatch(short) is not None)


def plain(value: float) -> str:
    """A number as it was written, also where float32 made 999.900024 of it."""
    if value.is_integer() and abs(value) < _WRITTEN_OUT:
        return str(int(value))
    with np.errstate(over="ignore"):
        narrow = np.float32(value)
    return str(narrow) if float(narrow) == value else repr(value)


_UNSUITED = {"clock": _is_clock, "counter": _is_counter, "running total": _is_meter}
