"""What can be said about a source when it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from monitor.datafiles import SeriesTable, WindowTable
from monitor.datafiles.cells import Markers
from monitor.datafiles.clocks import AS_FOUND, Reading
from monitor.errors import DataError

Table = SeriesTable | WindowTable
Kind = Literal["windows", "series"]  # of the tables that a source is read as
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a source is read; what is None is found out.

    `channels` are chosen, and ordered, by name; where a source names none, these are their names. `time_column` and
    `label_column` as in `monitor.datafiles.read_series` and `read_windows`. `series_column` makes it the long form: a
    table per series. `labels` is a file, see `labels`. `image_shape` (height, width) of windows that are images.
    `annotator` and `beat_margin_s` are for WFDB records: the annotation file's extension, and how many seconds on both
    sides of an abnormal beat's annotation belong to it. For Kafka topics: `config`, a daemon's configuration, whose
    sections `kafka`, `input` and `schema_registry` say how to connect and how records are written; `window_length`
    of records that are windows, and `sampling_rate_hz` of samples inside a record that says none. `missing` are
    texts and numbers that mean a missing number, besides the usual words; columns `dropped` are no channels;
    `times` says how times are read.
    `levels` of an artifact's channels are taken off; `exact`: numbers are kept in float64 too.
    """

    channels: tuple[str, ...] | None = None
    time_column: str | None = None
    label_column: str | None = None
    series_column: str | None = None
    labels: Path | None = None
    image_shape: tuple[int, int] | None = None
    annotator: str = "atr"
    beat_margin_s: float = 0.3
    config: Path | None = None
    window_length: int | None = None
    sampling_rate_hz: float | None = None
    levels: tuple[float, ...] | None = None
    exact: bool = False
    missing: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    times: Reading = AS_FOUND

    @property
    def markers(self) -> Markers:
        """What means a missing number, besides the usual words."""
        return Markers.of(self.missing)

    @property
    def keeps_digits(self) -> bool:
        """Whether tables are read in float64 whether or not their numbers seem to need it."""
        return self.exact or self.levels is not None

    def __post_init__(self) -> None:
        if self.channels is not None and (not self.channels or len(set(self.channels)) < len(self.channels)):
            raise DataError(f"channels {', '.join(self.channels) or '(none)'}: name at least one, and each once")
        if both := sorted({*(self.channels or ())} & {*self.dropped}):
            raise DataError(f"channel {both[0]!r} is to be watched and to be dropped? say one of them")
        if self.image_shape is not None and min(self.image_shape) < 1:
            raise DataError(f"image shape {self.image_shape}: expected (height, width), both 1 or more")
        if self.labels is not None and self.label_column not in (None, "none"):
            raise DataError(f"labels from column {self.label_column!r}, or from {self.labels}? say one of them")
        if not 0 <= self.beat_margin_s <= 10:
            raise DataError(f"beat margin {self.beat_margin_s} s: expected 0 to 10 s on either side of a beat")
