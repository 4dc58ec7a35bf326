"""The kinds of windows: offline from a whole series, online from what a poll's records hold, with the same result.

A kind is a row of `KINDS`: what makes its windower, and whether its records are windows. Daemon, `replay` and trainer
ask the row, and no one else names a kind. A new one is a file beside this one, and its row here.

    sliding, length 4, hop 2    [0--1--2--3]
                                      [2--3--4--5]
                                            [4--5--6--7]      a restart cuts the same ones
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from monitor.detector.arrays import Int64Array
from monitor.detector.arrivals import AS_THEY_COME, Order
from monitor.detector.beats.windower import Beats
from monitor.detector.event_time import Reached
from monitor.detector.rings import RingWindower
from monitor.detector.spec import WindowSpec
from monitor.detector.times import FOREVER_US
from monitor.detector.windows import Appended, Ordered, Samples, Tails, Waiting, Windows
from monitor.errors import ArtifactFormatError


class Windower(Protocol):
    """Cuts windows out of what records hold, in log order, for many series; each has a row."""

    @property
    def row_bytes(self) -> int:
        """What a series takes in memory."""

    @property
    def snapshot_bytes(self) -> int:
        """What a series takes in a snapshot, at most."""

    @property
    def waiting_bytes(self) -> int:
        """About what waits takes in a snapshot, of all series."""

    def grow(self, rows: int, most: int | None = None) -> None:
        """Makes room for series 0 to `rows - 1`; for some more, but not beyond `most`, where that saves time."""

    def clear(self, rows: Int64Array) -> None:
        """Empties rows, for new series."""

    def restart(self) -> int:
        """Cuts no window across this point, at which any series may have lost samples; returns how many had begun."""

    @property
    def due_us(self) -> int:
        """The partition's time from which on a sample that waits leaves, whatever comes; `FOREVER_US`: none waits."""

    def let_out(self, taken: Samples | Windows, reached: Reached, /) -> Samples | Windows:
        """Of what records hold, and of what waited, that whose turn has come, in the order in which to append it.

        `taken` holds whole records; it may be empty, where only time moved on. `reached` is the partition's time from
        after the records before up to these, and of those without samples for this windower.
        """

    def append(self, taken: Samples | Windows, *, cut: bool = True) -> Appended:
        """Takes what was let out, and returns the windows now whole, in that order.

        Where `cut` is false they were decided before: none is returned.
        """

    def snapshot(self, rows: Int64Array) -> Tails:
        """All that the next windows of the series `rows` need, but what waits."""

    def waiting(self, rows: Int64Array) -> Waiting | None:
        """What waits of the series `rows`, whose numbers there are its `series`; None where nothing does."""

    def held(self, rows: Int64Array) -> bytes:
        """What the next windows need of numbers that are held, of the series `rows`, as many bytes of each."""

    def hold_again(self, rows: Int64Array, kept: bytes) -> None:
        """Puts back what `held` returned."""

    def problem(self, tails: Tails, /) -> str:
        """Why `tails` are no snapshot of such windows; empty where they are."""

    def restore(self, rows: Int64Array, tails: Tails, waiting: Waiting | None = None) -> None:
        """Puts back what `snapshot` and `waiting` returned, where there is no `problem` with it."""


class Record:
    """Each record is a window and stands alone: nothing is remembered, nothing is late."""

    row_bytes = snapshot_bytes = waiting_bytes = 0
    due_us = FOREVER_US

    def __init__(self, _window: WindowSpec, channels: int, _order: Order) -> None:
        self._channels = channels

    def grow(self, rows: int, most: int | None = None) -> None:
        """There is nothing to make room for."""

    def clear(self, rows: Int64Array) -> None:
        """There is nothing to clear."""

    def restart(self) -> int:
        """No window is cut across anything."""
        return 0

    def let_out(self, taken: Samples | Windows, _reached: Reached, /) -> Samples | Windows:
        """All: none waits for another."""
        return taken

    def append(self, taken: Samples | Windows, *, cut: bool = True) -> Appended:
        """The records' windows, as they are."""
        assert isinstance(taken, Windows)
        return Appended(taken if cut else taken[:0])

    def snapshot(self, rows: Int64Array) -> Tails:
        """No samples."""
        return Tails.nothing(len(rows), self._channels)

    def waiting(self, _rows: Int64Array) -> None:
        """None does."""

    def held(self, _rows: Int64Array) -> bytes:
        """No numbers are."""
        return b""

    def hold_again(self, rows: Int64Array, kept: bytes) -> None:
        """There is nothing to put back."""

    def problem(self, _tails: Tails, /) -> str:
        """Any will do: they are not looked at."""
        return ""

    def restore(self, rows: Int64Array, tails: Tails, waiting: Waiting | None = None) -> None:
        """There is nothing to put back."""


class Sliding(RingWindower):
    """`length` samples every `hop` samples, aligned to the series' own sample index."""

    def closing(self, _ordered: Ordered, index: Int64Array, /) -> Int64Array:
        """The sample with index `length - 1`, then every `hop` further."""
        start = index + 1 - self.length
        return np.flatnonzero((start >= 0) & (start % self.hop == 0))


class WindowKind(NamedTuple):
    """A kind of window: its windower, and what its records hold.

    It is made for windows of an artifact, a number of channels, and what is allowed for samples out of order.

    `whole_records`: each record is one window of `length` samples. Else a record holds any number of samples, which
    continue its series; one that is refused leaves a hole there. `about_events`: windows are where something happens,
    such as a heartbeat, and last as long whatever the sampling rate, which has to be known. `problems` says what keeps
    such windows from being cut.
    """

    windower: Callable[[WindowSpec, int, Order], Windower]
    whole_records: bool = False
    about_events: bool = False
    problems: Callable[[WindowSpec], list[str]] = lambda _window: []


KINDS = {
    "record": WindowKind(Record, whole_records=True),
    "sliding": WindowKind(Sliding),
    "beats": WindowKind(Beats, about_events=True, problems=Beats.problems),
}


def windower(window: WindowSpec, channels: int, order: Order = AS_THEY_COME) -> Windower:
    """What cuts such windows; it has room for no series yet."""
    return KINDS[window.kind].windower(window, channels, order)


def whole_records(kind: str) -> bool:
    """Whether each record is a window."""
    return KINDS[kind].whole_records


def about_events(kind: str) -> bool:
    """Whether windows are where something happens, rather than one after the other."""
    return KINDS[kind].about_events


def goes_on(kind: str) -> bool:
    """Whether windows are of a state that goes on, so that what was usual in the last day is so now."""
    return not whole_records(kind) and not about_events(kind)


def described(window: WindowSpec) -> str:
    """What windows there are, in a few words."""
    if not about_events(window.kind):
        return f"{window.kind}, {window.length} samples every {window.hop}"
    learnt = f", after {window.template_beats} that are learnt from" if window.template_beats else ""
    return f"{window.kind}, {window.length} samples, {window.before} before each{learnt}"


def overlap(window: WindowSpec) -> float:
    """How many windows cover a sample, 1 for records and events: so many in a row are about one observation."""
    return 1.0 if whole_records(window.kind) or about_events(window.kind) else window.length / window.hop


def problems(kind: str) -> list[str]:
    """What is wrong with the name of a kind, if anything."""
    known = ", ".join(KINDS)
    return [] if kind in KINDS else [f"window.kind is {kind!r}, must be one of {known}"]


def check(window: WindowSpec) -> None:
    """Refuses windows of a kind that is not known here, or that can't be cut.

    Raises:
        ArtifactFormatError: says which kinds are known, or all that is wrong with these.
    """
    if found := problems(window.kind) or KINDS[window.kind].problems(window):
        raise ArtifactFormatError("manifest: " + "; ".join(found))
