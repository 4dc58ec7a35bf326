"""What a file holds, and the options of `telltale train` with which it can be learnt from.

Rules of this file: the file is read by the readers that training uses: all of its columns, to see what they are; then
with the options that are proposed, so that what is said of it is what training will read.
"""

from __future__ import annotations

import itertools
import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from monitor.datafiles import LABEL_NAMES, SeriesTable, WindowTable, parts, plausibility, read_series, read_windows
from monitor.datafiles.cells import CellError, Markers
from monitor.datafiles.clocks import Clock, Reading, clock_us, find_clock
from monitor.datafiles.columns import Columns
from monitor.datafiles.dates import looks_like_time
from monitor.datafiles.reading import series_columns
from monitor.detector.arrays import Float64Array, Int64Array
from monitor.detector.spec import Channel, WindowSpec
from monitor.detector.times import NO_TIME
from monitor.doctor import joins, readings, units, words
from monitor.doctor.fields import Content, Field, FieldLine, classify, counts, line_of, listed, time_rank
from monitor.doctor.trial import Order, declarable, order_of
from monitor.errors import DataError

Table = SeriesTable | WindowTable
Read = TypeVar("Read")
LOOKED_AT = 20_000  # rows
_LOOK_AT_TIMES = 50  # texts
_WIDE = 60  # columns without names, at least, that are samples of windows
_MIDDLE = 0.45, 0.8  # of a series' rows: what thresholds are chosen by
_LEAST_NORMAL = 0.3  # of those rows
_MOST_SERIES = 0.2  # of the rows, at most, are names of series
_HALVES = re.compile(r"\d ?[ap]\.?m", re.IGNORECASE)  # of a day: who writes them writes months first
_MOST_WORDS = 5  # that mean a missing number
_ITSELF = "none"  # as --time-column and --label-column call no column


class _Layout(NamedTuple):
    """What the reader is asked for, in place of an artifact's manifest. No channels: all."""

    window: WindowSpec
    channels: tuple[Channel, ...]
    training: Mapping[str, Any] = {}


@dataclass(slots=True, kw_only=True)
class FileDiagnosis:
    """What a file holds, and the options of `telltale train` that say how it is read, as far as it needs any.

    `channels` are those to watch, `named` whether they must be named. `time` is what the times are called, and
    `time_column` the option that finds them; `day_first` as in `Reading`. `missing_words` are what means a missing
    number, besides the usual. `orders` are by series, empty without times. `tables` is what training would read; empty
    where `problem` says why.
    """

    path: Path
    rows: int
    fields: list[FieldLine] = field(default_factory=list)
    channels: tuple[str, ...] = ()
    named: bool = False
    series: str = ""
    time: str = ""
    time_column: str = ""
    day_first: bool | None = None
    labels: str = ""
    label_column: str = ""
    missing_words: list[str] = field(default_factory=list)
    recipe: list[str] = field(default_factory=list)
    hold_ms: int = 0
    tables: list[Table] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)
    sentinels: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def are_windows(self) -> bool:
        """Whether its rows are windows."""
        return any(isinstance(table, WindowTable) for table in self.tables)

    @property
    def options(self) -> list[str]:
        """The options that say how the file is read."""
        said = {
            "--series-column": self.series,
            "--time-column": self.time_column,
            "--label-column": self.label_column,
            "--channels": ",".join(self.channels) if self.named else "",
        }
        options = [word for name, value in said.items() if value for word in (name, value)]
        if self.day_first is not None:
            options.append("--day-first" if self.day_first else "--month-first")
        if self.missing_words:
            options.append(f"--missing={','.join(self.missing_words)}")
        return options

    @property
    def command(self) -> str:
        """What to type next."""
        name = self.path.name.removesuffix(".gz").rsplit(".", 1)[0]
        recipe = [*self.recipe, *(["--max-hold-ms", str(self.hold_ms)] if self.hold_ms else [])]
        return shlex.join(["telltale", "train", str(self.path), *self.options, *recipe, "--out", f"{name}-model"])


def examine(path: Path) -> FileDiagnosis:
    """Looks at a file.

    Raises:
        DataError: it can't be read; says why.
    """
    found = FileDiagnosis(path=path, rows=0)
    columns = _columns(found)
    if columns is not None:
        found.rows = len(columns.numbers)
        found.notes += columns.notes
        _choose(found, columns)
    if not found.problem:
        _verify(found)
    _declare_missing(found)
    _leave_out(found)
    _measure(found)
    _look_at_labels(found)
    for line in found.fields:
        if line.role == "series" and found.tables:
            line.seen = f"{len(found.tables)} of them"
    if not found.recipe and found.tables:
        lengths = sorted(len(_numbers(table)) for table in found.tables)
        found.notes += words.few(lengths[-1])
        steps = [order.step_us for order in found.orders.values() if order.step_us]
        found.recipe = words.recipe_for(lengths[len(lengths) // 2], len(found.channels), float(np.median(steps or [0])))
        _hold(found)
    return found


def _columns(found: FileDiagnosis) -> Columns | None:
    """All columns of a file of text or of NumPy's formats, None for others; words among numbers are noted as such."""
    try:
        return _declaring(found, lambda: series_columns(found.path, markers=Markers.of(found.missing_words)))
    except DataError:
        return None


def _declaring(found: FileDiagnosis, read: Callable[[], Read]) -> Read:
    """What `read` makes of the file, with the words declared that stand among numbers and may mean missing."""
    while True:
        try:
            return read()
        except CellError as error:
            word = error.cell.strip()
            if not error.may_mean_missing or word in found.missing_words or len(found.missing_words) == _MOST_WORDS:
                raise
            found.missing_words.append(word)
            found.notes.append(f"{word!r} stands among numbers, so --missing below declares that it means missing")


def _choose(found: FileDiagnosis, columns: Columns) -> None:
    """Which columns are what, as options."""
    names = columns.called
    if columns.names is None and len(names) >= _WIDE and not columns.texts:
        found.recipe = ["--recipe", "beats-dense"]
        return
    fields = {name: _field(columns, at, name) for at, name in enumerate(names)}
    clock = find_clock(found.path, columns, None, ())
    for at in (*clock.columns, *clock.beside):
        fields[names[at]].role, fields[names[at]].why = "time", fields[names[at]].why or "times"
    for at, name in enumerate(names):
        if clock.columns and not fields[name].role and parts.says_again(columns, at):
            fields[name].role, fields[name].why = "clock", "a part of the time"
    series, owners = _series(fields, _read_times(found, columns, clock, Reading())[0])
    classify(fields.values(), owners)
    if series:
        fields[series].role = "series"
        found.series = series
    _time(found, fields, columns, clock)
    reading = readings.choose([*fields.values()], [owners] if series else [])
    if reading is not None:
        found.problem = (
            f"column {reading[0].path} names what the number of each row is ({listed(Content(reading[0]))}): one "
            "reading a row, which training does not read from files. Write a column for each (in pandas: pivot), or "
            "send the rows to a topic, where input.channel_field reads them"
        )
    if qualities := [name for name, each in fields.items() if each.role == "quality"]:
        found.notes.append(
            f"{words.listing(qualities)} holds qualities, which training does not read from files: numbers of a bad "
            "quality are taken as they are; leave their cells empty"
        )
    labels = [name for name, each in fields.items() if each.role == "label"]
    usual = [name for name in labels if name.lower() in LABEL_NAMES]
    if labels:
        found.labels = (usual or labels)[0]
        found.label_column = "" if usual else found.labels
    channels = [name for name, each in fields.items() if each.role == "channel"]
    if not channels:
        channels = [name for name, each in fields.items() if each.role == "constant"]
    found.channels = tuple(channels)
    times = {names[at] for at in (*clock.columns, *clock.beside)} | {found.time}
    found.named = bool(set(fields) - times - {series, found.labels} - {*channels})
    found.fields = [line_of(each) for each in fields.values()]


def _field(columns: Columns, at: int, name: str) -> Field:
    """One column's first values, as a record's field has them."""
    rows = slice(0, LOOKED_AT)
    if at in columns.times_us:
        return Field(name, [int(time) for time in columns.times_us[at][rows].tolist()], role="time", why="times")
    if at in columns.texts:
        texts = [*columns.texts[at][rows]]
        said = [text for text in texts[:_LOOK_AT_TIMES] if text.strip()]
        if said and all(map(looks_like_time, said)):
            return Field(name, texts, role="time", why=f"text, as {said[0][:40]}")
        return Field(name, texts)
    numbers = columns.numbers[rows, at].astype(np.float64)
    return Field(name, [None if math.isnan(number) else number for number in numbers.tolist()])


def _series(fields: dict[str, Field], time_us: Int64Array | None) -> tuple[str, list[Any]]:
    """The column that names each row's series, if one does, and its values; days and hours name none."""
    for name, each in fields.items():
        content = Content(each)
        if each.role == "time" or parts.is_called(name):
            continue
        if time_us is not None and _changes_in_time(content, time_us[: len(content.values)]):
            continue
        distinct = len(content.distinct)
        if not 2 <= distinct <= _MOST_SERIES * len(content.values):
            continue
        if content.texts and not content.is_text_number and content.time_share < 0.5:
            return name, [str(value) for value in each.values]
        if _restarts(each, content, fields):
            return name, [str(value) for value in each.values]
    return "", []


def _changes_in_time(content: Content, time_us: Int64Array) -> bool:
    """Whether a column is a state that comes and goes: no time is there twice, and its values form no blocks."""
    if len(np.unique(time_us)) < len(time_us):
        return False
    values = [str(value) for value in content.values]
    blocks = 1 + sum(one != other for one, other in itertools.pairwise(values))
    return blocks > len(set(values))


def _restarts(each: Field, content: Content, fields: dict[str, Field]) -> bool:
    """Whether a column of whole numbers stays the same for blocks of rows, in each of which another counts anew."""
    numbers = content.numbers
    if np.isnan(numbers).any() or (numbers != np.rint(numbers)).any():
        return False
    blocks = 1 + int((np.diff(numbers) != 0).sum())
    if blocks != len(content.distinct):
        return False
    owners = numbers.tolist()
    for other in fields.values():
        steps = np.diff(Content(other).numbers)
        if other is not each and int((steps < 0).sum()) == blocks - 1 and counts(Content(other), owners):
            return True
    return False


def _time(found: FileDiagnosis, fields: dict[str, Field], columns: Columns, clock: Clock) -> None:
    """The columns with the times: those that training finds by itself, or else the likeliest, by an option."""
    times = sorted((each for each in fields.values() if each.role == "time"), key=time_rank)
    named = [columns.called[at] for at in clock.columns] or [each.path for each in times[:1]]
    for other in times:
        if other.path not in named:
            other.role = "clock"
    if not named:
        return
    found.time = ",".join(named)
    if not clock.columns:
        clock, found.time_column = Clock((columns.called.index(named[0]),)), found.time
    _day_first(found, columns, clock)


def _day_first(found: FileDiagnosis, columns: Columns, clock: Clock) -> None:
    """Says whether days or months come first, where the times themselves don't say it clearly."""
    first, other = (_read_times(found, columns, clock, Reading(day_first=way)) for way in (True, False))
    as_found, note = _read_times(found, columns, clock, Reading())
    if as_found is not None:
        if note != clock.note:  # it was concluded from the steps between times
            found.day_first = first[0] is not None and np.array_equal(as_found, first[0])
        return
    if first[0] is None or other[0] is None:
        return
    odd = [order_of(times_us) for times_us in (first[0], other[0])]
    american = any(_HALVES.search(columns.texts[at][0]) for at in clock.columns if columns.texts.get(at))
    found.day_first = (odd[0].late, odd[0].odd, odd[0].gaps, american) <= (odd[1].late, odd[1].odd, odd[1].gaps, False)
    found.notes.append(
        f"column {found.time} may have its days or its months first, and its times don't show it: the command below "
        f"takes {'days' if found.day_first else 'months'} to be first; if that is wrong, use "
        f"{'--month-first' if found.day_first else '--day-first'}"
    )


def _read_times(
    found: FileDiagnosis, columns: Columns, clock: Clock, reading: Reading
) -> tuple[Int64Array | None, str]:
    """The times of a clock's columns by a reading, None where some are none; and what is to be known of them."""
    try:
        times_us, note = clock_us(found.path, columns, clock, reading)
    except DataError:
        return None, ""
    if times_us is None or not len(times_us) or (times_us == NO_TIME).any():
        return None, ""
    return times_us, note


def _verify(found: FileDiagnosis) -> None:
    """Reads the file as training would."""
    reader = _Reader(found.path, of_windows=bool(found.recipe))
    try:
        found.tables = _declaring(found, lambda: reader.read(found))
        if found.time and not found.time_column and not any(_times(table) is not None for table in found.tables):
            found.time_column = found.time  # where --channels hides it from whoever looks for times
            found.tables = reader.read(found)
    except DataError as error:
        found.problem = str(error)
        return
    if not found.channels:
        found.channels = found.tables[0].channels
    found.rows = found.rows or sum(len(_numbers(table)) for table in found.tables)


class _Reader:
    """Reads the file as `telltale train` would by the options found so far."""

    def __init__(self, path: Path, *, of_windows: bool) -> None:
        self._path = path
        self._of_windows = of_windows
        entry = next(iter(entry_points(group="telltale.readers", name="files")), None)
        self._tables_for: Callable[..., list[Table]] | None = None if entry is None else entry.load()

    def read(self, found: FileDiagnosis) -> list[Table]:
        """The tables that training would read. Raises `DataError`."""
        labels, times = found.label_column or None, found.time_column or None
        if self._tables_for is None:
            if self._of_windows:
                return [read_windows(self._path)]
            channels, missing = found.channels or None, found.missing_words
            return [read_series(self._path, channels=channels, time_column=times, label_column=labels, missing=missing)]
        kind, length = ("record", 2) if self._of_windows else ("sliding", 1)
        layout = _Layout(WindowSpec(kind=kind, length=length, hop=length), tuple(map(_channel, found.channels)))
        notes: list[str] = []
        tables = self._tables_for(
            layout,
            str(self._path),
            label_column=labels,
            time_column=times,
            series_column=found.series or None,
            missing=",".join(found.missing_words) or None,
            day_first=found.day_first,
            note=notes.append,
        )
        found.notes += [note for note in notes if note not in found.notes]
        return tables


def _channel(name: str) -> Channel:
    return Channel(name=name)


def _times(table: Table) -> Int64Array | None:
    return table.time_us if isinstance(table, SeriesTable) else None


def _numbers(table: Table) -> np.ndarray:
    return table.windows if isinstance(table, WindowTable) else table.samples


def _look_at_labels(found: FileDiagnosis) -> None:
    """Says that a file holds anomalies; where hardly anything else is left to learn from, it is read without labels."""
    labelled = [table.labels for table in found.tables if isinstance(table, SeriesTable) and table.labels is not None]
    anomalous = np.concatenate([labels != 0 for labels in labelled] or [np.empty(0, dtype=np.bool_)])
    if not anomalous.any():
        return
    found.notes.append(
        f"{anomalous.mean():.1%} of the rows are labelled as anomalies (column {found.labels}): `telltale evaluate` "
        "measures on such a file how well an artifact finds them; one learns best from a file without"
    )
    middle = [labels[int(_MIDDLE[0] * len(labels)) : int(_MIDDLE[1] * len(labels))] == 0 for labels in labelled]
    if float(np.concatenate(middle).mean()) < _LEAST_NORMAL:
        found.notes.append("so many of them would leave too little to learn from, so the command below ignores labels")
        found.label_column = _ITSELF


def _declare_missing(found: FileDiagnosis) -> None:
    """Declares numbers that seem to mean missing, and reads the file without them."""
    found.sentinels, others = declarable({name: np.concatenate(each) for name, each in _by_channel(found).items()})
    found.notes += [words.ambiguous(*each) for each in others.items()]
    likely = sorted({each for values in found.sentinels.values() for each in values})
    if likely:
        found.missing_words += map(plausibility.plain, likely)
        _verify(found)


def _leave_out(found: FileDiagnosis) -> None:
    """Leaves out channels that tell the time or only rise, as long as others are left."""
    columns = _by_channel(found)
    odd = {name: what for name in columns if (what := plausibility.unsuited(name, columns[name]))}
    found.notes += words.left_out(odd)
    if not odd or len(odd) == len(columns):
        return
    for line in found.fields:
        line.role = odd.get(line.path, line.role)
    found.channels, found.named = tuple(name for name in columns if name not in odd), True
    _verify(found)


def _hold(found: FileDiagnosis) -> None:
    """Has numbers hold where too many are missing for whole windows."""
    series = [
        (table.time_us, ~np.isnan(table.samples))
        for table in found.tables
        if isinstance(table, SeriesTable) and table.time_us is not None
    ]
    length = words.window_length(found.recipe)
    found.hold_ms, share = joins.hold_for(series, length)
    if found.hold_ms:
        found.notes.append(words.held(found.hold_ms, share, length))


def _by_channel(found: FileDiagnosis) -> dict[str, list[Float64Array]]:
    """The numbers of each channel, series by series; nothing where rows are windows."""
    series = [table for table in found.tables if isinstance(table, SeriesTable)]
    whole = [np.asarray(table.samples if table.exact is None else table.exact, dtype=np.float64) for table in series]
    return {name: [each[:, at] for each in whole] for at, name in enumerate(series[0].channels if series else ())}


def _measure(found: FileDiagnosis) -> None:
    """Times, missing numbers, and units."""
    series = [table for table in found.tables if isinstance(table, SeriesTable)]
    names = Counter(table.series for table in series)
    for table in series:
        if table.time_us is not None and len(table.time_us):
            name = table.series if names[table.series] == 1 else f"{table.series} ({table.source})"
            found.orders[name] = order_of(table.time_us)
    for name, columns in _by_channel(found).items():
        if ratio := float(np.isnan(np.concatenate(columns)).mean()):
            found.missing[name] = ratio
        by_series = {table.series: each[~np.isnan(each)] for table, each in zip(series, columns, strict=True)}
        if remark := units.of_numbers(name, by_series):
            found.notes.append(remark)
