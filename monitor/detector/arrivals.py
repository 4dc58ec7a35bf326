"""How samples come in: in order or not, whole or in parts. What is made of it is in order, and whole.

Rules of this file: where samples come whole and in order, nothing is done.
"""

from __future__ import annotations

from typing import NamedTuple

from monitor.detector.arrays import Int64Array
from monitor.detector.event_time import EventTime, Reached
from monitor.detector.joining import Joiner
from monitor.detector.times import FOREVER_US
from monitor.detector.waiting import Queue, waiting_bytes
from monitor.detector.windows import Samples, Waiting


class Order(NamedTuple):
    """How samples may come: so far out of order; in parts, each with some channels, so far apart."""

    grace_us: int = 0
    in_parts: bool = False
    join_tolerance_us: int = 0


AS_THEY_COME = Order()


class Arrivals:
    """What has come of many series and has no place in its series yet."""

    def __init__(self, order: Order, channels: int) -> None:
        self._order = order
        self._channels = channels
        self._rows = 0
        self._queue = self._new_queue() if order.grace_us else None
        self._joiner = self._new_joiner() if order.in_parts else None
        self._late: list[Samples] = []
        self._duplicates = 0
        self._handed_out = 0  # samples that were let out, and did not come back to be placed yet

    def _new_queue(self) -> Queue:
        made = Queue(self._order.grace_us, self._channels)
        made.grow(self._rows)
        return made

    def _new_joiner(self) -> Joiner:
        made = Joiner(self._order.join_tolerance_us, self._order.grace_us, self._channels)
        made.grow(self._rows)
        return made

    @property
    def row_bytes(self) -> int:
        """What a series takes in memory, beside what waits."""
        return 0 if self._joiner is None else waiting_bytes(self._channels)

    @property
    def waiting_bytes(self) -> int:
        """About what waits takes in a snapshot."""
        parts = [part for part in (self._queue, self._joiner) if part is not None]
        return sum(map(len, parts)) * waiting_bytes(self._channels)

    @property
    def due_us(self) -> int:
        """The partition's time from which on a sample leaves that waits, for its turn or for its channels.

        `FOREVER_US`: none waits, or for something else than time.
        """
        return min((part.due_us for part in (self._queue, self._joiner) if part is not None), default=FOREVER_US)

    def grow(self, rows: int) -> None:
        """Makes room for series 0 to `rows - 1`."""
        self._rows = rows
        for part in (self._queue, self._joiner):
            if part is not None:
                part.grow(rows)

    def clear(self, rows: Int64Array) -> None:
        """Forgets what waits in some rows."""
        for part in (self._queue, self._joiner):
            if part is not None:
                part.clear(rows)

    def let_out(self, taken: Samples, reached: Reached, time: EventTime) -> Samples:
        """The samples that take their places at the records of `reached`, in order; `taken` holds whole records'."""
        if self._joiner is None and taken.carried is not None:
            self._joiner = self._new_joiner()
        if self._queue is not None:
            taken = self._queue.let_out(taken, reached, time)
        if self._joiner is None:
            return taken
        joined = self._joiner.join(taken, reached, time)
        self._late.append(joined.late)
        self._duplicates += joined.duplicates
        self._handed_out = len(joined.samples)
        return joined.samples

    def take_dropped(self, placed: Samples) -> tuple[list[Samples], int]:
        """The readings that came after their sample had left, and how many came twice, up to where samples are placed.

        `placed` are the next of those that were let out; with the last of them comes all that is left.
        """
        self._handed_out -= len(placed)
        duplicates, self._duplicates = self._duplicates, 0
        late, self._late = self._late, []
        if self._handed_out > 0 and len(placed):
            until = int(placed.placed_at[-1])
            self._late = [each[each.placed_at > until] for each in late]
            late = [each[each.placed_at <= until] for each in late]
        return late, duplicates

    def snapshot(self, rows: Int64Array) -> Waiting | None:
        """What waits of the series `rows`, which are numbered as they stand there; None where nothing does."""
        parts = [part.snapshot(rows) for part in (self._queue, self._joiner) if part is not None]
        there_are = [part for part in parts if part is not None]
        return Waiting.concatenate(there_are) if there_are else None

    def restore(self, rows: Int64Array, waiting: Waiting) -> None:
        """Puts back what `snapshot` returned, of other rows; with another `Order`, too."""
        is_open = waiting.number == 0
        if not is_open.all():
            self._queue = self._new_queue() if self._queue is None else self._queue
            self._queue.restore(rows, waiting[~is_open])
        if is_open.any():
            self._joiner = self._new_joiner() if self._joiner is None else self._joiner
            self._joiner.restore(rows, waiting[is_open])
