"""What a file holds, and the options of `telltale train` with which it can be learnt from.

Rules of this file: the file is read by the readers that training uses, twice at most: all of its columns, to see what
they are; then with the options that are proposed, so that what is said of it is what training will read.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from monitor.datafiles import LABEL_NAMES, SeriesTable, WindowTable, read_series, read_windows
from monitor.datafiles.columns import Columns
from monitor.datafiles.dates import looks_like_time
from monitor.datafiles.reading import series_columns
from monitor.detector.spec import Channel, WindowSpec
from monitor.doctor.diagnosis import FieldLine, line_of
from monitor.doctor.fields import Content, Field, classify, counts, time_rank
from monitor.doctor.trial import Order, order_of, sentinels
from monitor.doctor.words import recipe_for
from monitor.errors import DataError

Table = SeriesTable | WindowTable
LOOKED_AT = 20_000  # rows
_LOOK_AT_TIMES = 50  # texts
_WIDE = 60  # columns without names, at least, that are samples of windows
_MIDDLE = 0.45, 0.8  # of a series' rows: what thresholds are chosen by
_LEAST_NORMAL = 0.3  # of those rows
_MOST_SERIES = 0.2  # of the rows, at most, are names of series


class _Layout(NamedTuple):
    """What the reader is asked for, in place of an artifact's manifest. No channels: all."""

    window: WindowSpec
    channels: tuple[Channel, ...]
    training: Mapping[str, Any] = {}


@dataclass(slots=True, kw_only=True)
class FileDiagnosis:
    """What a file holds: `words` are the options of `telltale train` that say how it is read, `recipe` those for what.

    `orders` are by series, empty without times. `tables` is what training would read; empty where `problem` says why.
    """

    path: Path
    rows: int
    fields: list[FieldLine] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    recipe: list[str] = field(default_factory=list)
    channels: tuple[str, ...] = ()
    tables: list[Table] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    time: str = ""
    series: str = ""
    labels: str = ""
    missing: dict[str, float] = field(default_factory=dict)
    sentinels: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def are_windows(self) -> bool:
        """Whether its rows are windows."""
        return any(isinstance(table, WindowTable) for table in self.tables)

    @property
    def command(self) -> str:
        """What to type next."""
        name = self.path.name.removesuffix(".gz").rsplit(".", 1)[0]
        return shlex.join(["telltale", "train", str(self.path), *self.words, *self.recipe, "--out", f"{name}-model"])


def examine(path: Path) -> FileDiagnosis:
    """Looks at a file.

    Raises:
        DataError: it can't be read; says why.
    """
    found = FileDiagnosis(path=path, rows=0)
    columns = _columns(path)
    if columns is not None:
        found.rows = len(columns.numbers)
        found.notes += columns.notes
        _choose(found, columns)
    _verify(found)
    _measure(found)
    _look_at_labels(found)
    for line in found.fields:
        if line.role == "series" and found.tables:
            line.seen = f"{len(found.tables)} of them"
    if not found.recipe and found.tables:
        lengths = sorted(len(_numbers(table)) for table in found.tables)
        steps = [order.step_us for order in found.orders.values() if order.step_us]
        found.recipe = recipe_for(lengths[len(lengths) // 2], len(found.channels), float(np.median(steps or [0])))
    return found


def _columns(path: Path) -> Columns | None:
    """All columns of a file of text or of NumPy's formats, None for others."""
    try:
        return series_columns(path)
    except DataError:
        return None


def _choose(found: FileDiagnosis, columns: Columns) -> None:
    """Which columns are what, as options."""
    names = columns.called
    if columns.names is None and len(names) >= _WIDE and not columns.texts:
        found.recipe = ["--recipe", "beats-dense"]
        return
    fields = {name: _field(columns, at, name) for at, name in enumerate(names)}
    series, owners = _series(fields)
    classify(fields.values(), owners)
    if series:
        fields[series].role = "series"
        found.series = series
        found.words += ["--series-column", series]
    _time(found, fields)
    labels = [name for name, each in fields.items() if each.role == "label"]
    usual = [name for name in labels if name.lower() in LABEL_NAMES]
    if labels:
        found.labels = (usual or labels)[0]
        if not usual:
            found.words += ["--label-column", found.labels]
    channels = [name for name, each in fields.items() if each.role == "channel"]
    if not channels:
        channels = [name for name, each in fields.items() if each.role == "constant"]
    found.channels = tuple(channels)
    left = [each for each in fields.values() if each.path not in (series, found.time, found.labels)]
    if {each.path for each in left} - {*channels}:
        found.words += ["--channels", ",".join(channels)]
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


def _series(fields: dict[str, Field]) -> tuple[str, list[Any]]:
    """The column that names each row's series, if one does, and its values."""
    for name, each in fields.items():
        content = Content(each)
        distinct = len(content.distinct)
        if not 2 <= distinct <= _MOST_SERIES * len(content.values):
            continue
        if content.texts and not content.is_text_number and content.time_share < 0.5:
            return name, [str(value) for value in each.values]
        if _restarts(each, content, fields):
            return name, [str(value) for value in each.values]
    return "", []


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


def _time(found: FileDiagnosis, fields: dict[str, Field]) -> None:
    times = sorted((each for each in fields.values() if each.role == "time"), key=time_rank)
    for other in times[1:]:
        other.role = "clock"
    if not times:
        return
    found.time = times[0].path
    found.words += ["--time-column", found.time]


def _verify(found: FileDiagnosis) -> None:
    """Reads the file as training would; without options that it does not need."""
    options = _Reader(found.path, of_windows=bool(found.recipe))
    try:
        found.tables = options.read(found)
    except DataError as error:
        found.problem = str(error)
        return
    if "--time-column" in found.words and _same(found.tables, options.read_without_time(found)):
        at = found.words.index("--time-column")
        del found.words[at : at + 2]
    if not found.channels:
        found.channels = found.tables[0].channels
    found.rows = found.rows or sum(len(_numbers(table)) for table in found.tables)


class _Reader:
    def __init__(self, path: Path, *, of_windows: bool) -> None:
        self._path = path
        self._of_windows = of_windows
        entry = next(iter(entry_points(group="telltale.readers", name="files")), None)
        self._tables_for: Callable[..., list[Table]] | None = None if entry is None else entry.load()

    def read(self, found: FileDiagnosis, *, time_column: str | None = "") -> list[Table]:
        """The tables that training would read. Raises `DataError`."""
        time_column = (found.time or None) if time_column == "" else time_column
        labels = found.labels or None
        if self._tables_for is None:
            if self._of_windows:
                return [read_windows(self._path)]
            return [
                read_series(self._path, channels=found.channels or None, time_column=time_column, label_column=labels)
            ]
        kind, length = ("record", 2) if self._of_windows else ("sliding", 1)
        layout = _Layout(WindowSpec(kind=kind, length=length, hop=length), tuple(map(_channel, found.channels)))
        return self._tables_for(
            layout,
            str(self._path),
            label_column=labels,
            time_column=time_column,
            series_column=found.series or None,
            note=found.notes.append,
        )

    def read_without_time(self, found: FileDiagnosis) -> list[Table]:
        """As `read`, but the column of times is found by its name; nothing where that fails."""
        before = [*found.notes]
        try:
            return self.read(found, time_column=None)
        except DataError:
            return []
        finally:
            found.notes[:] = before


def _channel(name: str) -> Channel:
    return Channel(name=name)


def _same(tables: Sequence[Table], others: Sequence[Table]) -> bool:
    return len(tables) == len(others) and all(
        isinstance(one, SeriesTable)
        and isinstance(other, SeriesTable)
        and one.time_us is not None
        and other.time_us is not None
        and np.array_equal(one.time_us, other.time_us)
        for one, other in zip(tables, others, strict=True)
    )


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
        if "--label-column" in found.words:
            at = found.words.index("--label-column")
            del found.words[at : at + 2]
        found.words += ["--label-column", "none"]


def _measure(found: FileDiagnosis) -> None:
    """Times, missing numbers, and numbers that may mean missing."""
    series = [table for table in found.tables if isinstance(table, SeriesTable)]
    names = Counter(table.series for table in series)
    for table in series:
        if table.time_us is not None and len(table.time_us):
            name = table.series if names[table.series] == 1 else f"{table.series} ({table.source})"
            found.orders[name] = order_of(table.time_us)
    if not series:
        return
    together = np.concatenate([table.samples if table.exact is None else table.exact for table in series])
    for at, name in enumerate(series[0].channels):
        if ratio := float(np.isnan(together[:, at]).mean()):
            found.missing[name] = ratio
        if likely := sentinels(together[:, at].astype(np.float64)):
            found.sentinels[name] = likely
