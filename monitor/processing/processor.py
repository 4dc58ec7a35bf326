"""The heart, without I/O: records in, batches out, scores in, alerts and positions out.

Rules of this file: no Kafka, no clock but event time, no logging. Every decision about the log's content is made in
here or below, so that the daemon, `replay` and the property tests can't differ. State is mutated in place; after an
abort the caller revokes the partition and assigns it again.

    processor.assign(partition, restored, start)      -> where to read from
    processor.receive(columns, now_us)
    while (batch := processor.next_batch()) is not None:
        processor.receive_scores(batch, scorer(batch.values), scorer.reconstruct)
    outputs = processor.take_outputs(checkpoints)     -> what to commit
    processor.committed(positions)

A damaged batch among the columns breaks the windows of all series of its partition, because any of them may have lost
samples there. Where the rules say not to pass it, nothing after it is read, and `held` says so.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from monitor.backends.abstract import Damaged, Position, RecordColumns, Restored, TopicPartition
from monitor.detector import windowing
from monitor.detector.arrays import Float32Array, Int64Array, aligned_empty
from monitor.detector.event_time import Reached
from monitor.detector.imputing import Imputer
from monitor.detector.incidents import SCORE_RULE, Policy
from monitor.detector.served import ServedModel
from monitor.detector.times import FOREVER_US, NEWEST_US, NO_TIME
from monitor.detector.windows import Appended, Samples, Windows
from monitor.errors import Reason
from monitor.formats.decoder import Decoded, Decoder, InputRules
from monitor.messages.alerts import AlertWriter
from monitor.messages.dead_letters import DeadLetter
from monitor.messages.quality import Event, QualityWriter
from monitor.processing.checks import QualityRules, checks_of
from monitor.processing.counts import Counts, Example
from monitor.processing.deciding import Batch, Decider, Piece, Reconstruct
from monitor.processing.followers import FollowOptions, followers_of
from monitor.processing.outbox import Outputs
from monitor.processing.partition import Halt, PartitionState
from monitor.processing.registry import Forgotten, segments_of
from monitor.processing.resuming import Resumed
from monitor.processing.turns import NOTHING_REFUSED, Course, Refused, Turn
from monitor.processing.work import Cut, Work, first_decided

# Gathered windows waiting for the scorer, at most: a slice of samples is as large as this allows in the worst case,
# that every sample closes a window.
PENDING_BYTES = 64 * 1024 * 1024
MAX_SLICE = 65_536
# One call of the scorer takes about 10 ms (the artifact's `batch_rows` is chosen so), and the caller watches the clock.
MOST_CALLS = 16


class Processor:
    """Decides on the records of any number of partitions by one model."""

    def __init__(
        self,
        model: ServedModel,
        writer: AlertWriter,
        quality_writer: QualityWriter,
        rules: InputRules,
        policy: Policy,
        quality: QualityRules,
        follow: FollowOptions,
    ) -> None:
        self.counts = Counts()
        self.model = model
        self._manifest = manifest = model.manifest
        self._checks = checks_of(manifest, quality)
        self._followers = followers_of(manifest, follow)
        self._decider = Decider(writer, quality_writer, policy, quality, self._checks, manifest, self.counts)
        self._decoder = Decoder(manifest, rules)
        self._impute = Imputer(model.artifact, model.scorer.reconstruct, rules.max_missing_ratio)
        self._rules = rules
        self._whole_records = windowing.whole_records(manifest.window.kind)
        self._damaged_batches = rules.damaged_batches
        self._partitions: dict[TopicPartition, PartitionState] = {}
        self._queue: deque[Work] = deque()
        self._passed: list[tuple[TopicPartition, Damaged, bool]] = []
        window_bytes = 4 * math.prod(manifest.window_shape)
        self._slice = max(1, min(MAX_SLICE, PENDING_BYTES // window_bytes))
        self.schemas, self.with_schemas = self._decoder.schemas, self._decoder.with_schemas
        self.max_series = rules.max_series
        self.partition_bytes = 0  # what the series of one partition may come to take; 0: not known

    @property
    def partitions(self) -> Collection[TopicPartition]:
        """The partitions that are assigned."""
        return self._partitions.keys()

    def series_count(self) -> int:
        """Series known in all assigned partitions."""
        return sum(len(partition.series) for partition in self._partitions.values())

    def wants_checkpoint(self, partition: TopicPartition) -> bool:
        """Whether a checkpoint would be both new and correct."""
        return self._partitions[partition].wants_checkpoint

    def checkpoint_bytes(self, partition: TopicPartition) -> int:
        """About the size of a partition's checkpoint."""
        return self._partitions[partition].checkpoint_bytes()

    def live_from(self, partition: TopicPartition) -> int:
        """The first offset of a partition that is decided; what lies before only refills windows."""
        return self._partitions[partition].live_from

    @property
    def settled(self) -> bool:
        """Everything that was received is decided."""
        return not self._queue

    @property
    def has_news(self) -> bool:
        """There is something to publish: an alert, or a record that could not be read."""
        return any(state.outbox.has_news and not state.withholding.withheld for state in self._partitions.values())

    @property
    def held(self) -> dict[TopicPartition, Halt]:
        """Partitions that take in nothing more, and why."""
        return {name: halt for name, state in self._partitions.items() if (halt := state.halt) is not None}

    @property
    def withheld(self) -> dict[TopicPartition, str]:
        """Partitions for which nothing is committed, because their records are refused; and why."""
        return {
            name: state.withholding.why_withheld
            for name, state in self._partitions.items()
            if state.withholding.withheld
        }

    @property
    def stopped(self) -> tuple[TopicPartition, Halt] | None:
        """A partition that takes in nothing more, where the rules say that the whole daemon stops then."""
        return next(((name, halt) for name, halt in self.held.items() if self._stops_at(halt)), None)

    def _stops_at(self, halt: Halt) -> bool:
        return (self._rules.on_rejected if halt.damaged is None else self._rules.damaged_batches) == "stop"

    def take_passed(self) -> list[tuple[TopicPartition, Damaged, bool]]:
        """Damaged batches passed since the last call; and whether for the first time, with a dead letter."""
        passed, self._passed = self._passed, []
        return passed

    def open_incidents(self) -> int:
        """Incidents open in all assigned partitions."""
        return sum(self.open_by_rule().values())

    def open_by_rule(self) -> Counter[str]:
        """Incidents open in all assigned partitions, by rule; 0 for those of which none is."""
        found = Counter(dict.fromkeys([SCORE_RULE, *self._checks], 0))
        for partition in self._partitions.values():
            found.update(partition.open_by_rule())
        return found

    def assign(self, partition: TopicPartition, restored: Restored, start: int) -> Resumed:
        """Takes a partition over as `restored` remembers it; `start` is where to begin if it remembers nothing.

        Raises:
            ConfigError: the log ends before the group's position, and `input.beyond_end` says to stop.
        """
        made, resumed = PartitionState.resume(
            partition, restored, start, self.model, self._rules, self._checks, self._followers
        )
        self._partitions[partition] = made
        self._count_unmatched(made, made.series.names.values())
        self._tick_again(made)
        self._decider.publish_ends(made)
        if resumed.state_lost:  # its time is not what it was, or lost: nothing can wait for it
            self._decider.publish_waiting(made)
            made.digests.begin()
        return resumed

    def _count_unmatched(self, partition: PartitionState, names: Iterable[str]) -> None:
        """Counts those of a partition's series that have no threshold of their own, though others have."""
        thresholds = self.model.thresholds
        if unmatched := thresholds.unmatched(names):
            self.counts.begun(partition.name, partition.read_to, unmatched, thresholds.chosen.series)

    def revoke(self, partition: TopicPartition) -> None:
        """Forgets a partition, and everything about it that was not taken yet."""
        gone = self._partitions.pop(partition, None)
        if gone is not None:
            self._unqueue(gone)

    def _unqueue(self, gone: PartitionState) -> None:
        self._queue = deque(item for item in self._queue if item.partition is not gone)

    def receive(self, columns: RecordColumns, now_us: int | None = None) -> None:
        """Takes records of an assigned partition in, in offset order.

        `now_us` is the reader's clock when they were read, µs since 1970; `stream_time` says what it is asked for.
        """
        partition = self._partitions[columns.partition]
        if partition.stopped_at is not None or partition.withholding.why:
            return
        if columns.damaged is not None:
            self._pass(partition, columns.damaged)
            return
        replayed = int(np.searchsorted(columns.offsets, partition.live_from))
        if replayed:
            self.counts.replayed += replayed
        until = partition.live_from if replayed < len(columns.offsets) else columns.next_offset
        self._read_again(partition, columns.rows(0, replayed), until, now_us)
        if replayed < len(columns.offsets):
            self._enqueue(partition, columns.rows(replayed, len(columns.offsets)), now_us, live=True)
        partition.advance(columns.next_offset)

    def _tick_again(self, partition: PartitionState) -> None:
        """Makes the ticks again that came right after the checkpoint, before any record."""
        nothing = np.empty(0, dtype=np.int64)
        others, self._queue = self._queue, deque()
        self._read_again(
            partition, RecordColumns(partition.name, nothing, nothing, [], [], 0), partition.read_to, now_us=None
        )
        while self._queue:
            _, cut, _ = self._next_cut()
            if len(cut.windows):  # for those who follow
                others.append(Work(partition, cut, live=False))
        self._queue = others

    def _read_again(self, partition: PartitionState, columns: RecordColumns, until: int, now_us: int | None) -> None:
        """Takes in records up to offset `until` that were decided before, and ticks where they came among them."""
        row = 0
        while partition.ticks_to_come and partition.ticks_to_come[0][0] <= until:
            offset, time_us = partition.ticks_to_come.popleft()
            first, row = row, int(np.searchsorted(columns.offsets, offset))
            if row > first:
                self._enqueue(partition, columns.rows(first, row), now_us, live=False)
            self._enqueue_tick(partition, offset, time_us, live=False)
        if row < len(columns.offsets):
            self._enqueue(partition, columns.rows(row, len(columns.offsets)), now_us, live=False)

    def time_us(self, name: TopicPartition) -> int:
        """How far a partition's time has come."""
        return self._partitions[name].time.reached_us

    def due_us(self, name: TopicPartition) -> int:
        """The time from which on there is something to decide in a partition, if no record comes before."""
        partition = self._partitions[name]
        idle = not (partition.refilling or partition.halt or partition.ticks_to_come or self._queue)
        idle &= partition.time.newest_us != NO_TIME
        return min(partition.due_us, self._decider.due_us(partition)) if idle else FOREVER_US

    def advance(self, name: TopicPartition, time_us: int) -> None:
        """Moves a partition's time on, as no record has come up to `time_us`: a tick. Next, call `next_batch`."""
        partition = self._partitions[name]
        if not partition.live:
            self._go_live(partition, partition.offset, time_us)
        partition.tick(time_us)
        self._enqueue_tick(partition, partition.offset, time_us, live=True)

    def _enqueue_tick(self, partition: PartitionState, offset: int, time_us: int, *, live: bool) -> None:
        reached = Reached(np.array([offset]), np.array([partition.time.reached_us, time_us]))
        partition.time.idle_us = time_us
        self._queue.append(Work(partition, self._nothing_taken(), live, course=Course(reached)))

    def _go_live(self, partition: PartitionState, offset: int, time_us: int) -> None:
        self._queue.append(Work(partition, None, live=True, segment=partition.go_live(offset, time_us)))
        self.counts.forgotten.update(gone.reason for gone in partition.leaving)

    def _pass(self, partition: PartitionState, damaged: Damaged) -> None:
        live = damaged.next_offset > partition.live_from or not damaged.passable
        if live and self._halts_at(damaged):
            partition.stopped_at = damaged
            return
        course = Course(Reached(np.empty(0, dtype=np.int64), np.array([partition.time.reached_us])))
        self._queue.append(Work(partition, self._nothing_taken(), live, course=course, emptied_at=damaged.first_offset))
        self._queue.append(Work(partition, None, live, broken=True))
        if live:
            first = max(damaged.first_offset, partition.live_from)  # what lies before was decided when it was whole
            letter = DeadLetter.of_batch(partition.name, replace(damaged, first_offset=first))
            partition.outbox.dead_letters.append(letter)
            self.counts.batches_damaged[partition.name.topic, damaged.reason.value] += 1
        self._passed.append((partition.name, damaged, live))
        partition.advance(damaged.next_offset)

    def _halts_at(self, damaged: Damaged) -> bool:
        if not damaged.passable or self._damaged_batches == "stop":
            return True
        return self._damaged_batches == "auto" and damaged.reason is Reason.CORRUPT_BATCH

    def _restart(self, partition: PartitionState, *, live: bool) -> None:
        """Every series may have lost samples in a damaged batch: no window is cut across it as if it were whole."""
        restarted = partition.windower.restart()
        partition.note_damage(Turn.of_damage(self._nothing_taken()))
        if live:
            self.counts.gaps += restarted

    def _enqueue(self, partition: PartitionState, columns: RecordColumns, now_us: int | None, *, live: bool) -> None:
        decoded = self._decoder.decode(columns, partition.time, now_us, live=live)
        if live and not partition.live and (first := first_decided(decoded)) is not None:
            self._go_live(partition, int(columns.offsets[first[0]]), first[1])
        offsets = columns.offsets[decoded.rows]
        known = len(partition.series) > 0
        numbered = partition.series.number(decoded.keys, decoded.rows, offsets, decoded.start_us)
        series = numbered.rows
        if numbered.rejected:
            good = ~np.isin(decoded.rows, [each.row for each in numbered.rejected])  # whole records
            decoded, series = decoded.where(good), series[good]
        if partition.labels is not None and decoded.labels is not None:
            names = partition.series.names
            gone = [(names[each.serial].encode(), each.offset) for each in numbered.forgotten]
            partition.labels.note(decoded.keys, columns.offsets[decoded.rows], decoded.labels, gone)
        self._note_forgotten(partition, numbered.forgotten, live=live)
        taken, refused = self._taken(partition, decoded, series, columns)
        newest_us = np.maximum(decoded.reached.newest_us, partition.time.idle_us)
        course = Course(Reached(columns.offsets[decoded.reached.positions], newest_us), refused)
        for part, begins, until in segments_of(numbered.segments, taken.offset):
            own, course = course.split(until)
            self._queue.append(Work(partition, taken[part], live, begins, course=own))
        if live:
            unnamed = {each.row: each for each in reversed(numbered.rejected)}  # one for each record
            rejected = sorted([*decoded.rejected, *unnamed.values()])
            partition.outbox.dead_letters += [DeadLetter.of(columns, *rejection) for rejection in rejected]
            self.counts.received(columns, rejected, decoded)
            partition.withholding.received(columns, rejected, decoded.ignored, known=known)
            if partition.withholding.why:
                self._unqueue(partition)

    def _taken(
        self, partition: PartitionState, decoded: Decoded, series: Int64Array, columns: RecordColumns
    ) -> tuple[Samples | Windows, Refused]:
        """What the records hold, for the windower, and which were refused, as far as their series is known.

        `series` (k,) are the rows of those in `decoded`. Among samples are those that refused records leave.
        """
        offsets = columns.offsets[decoded.rows]
        whole, channels = self._whole_records, len(self._manifest.channels)
        samples = None if whole else decoded.samples(series, offsets)
        refused = NOTHING_REFUSED
        if (holes := decoded.holes) is not None:
            hole_offsets = columns.offsets[holes.rows]
            rows = partition.series.rows_before(holes.keys, hole_offsets)
            refused = Refused.of(decoded.rejected, holes.rows, rows, hole_offsets)
            if samples is not None and len(left := holes.samples(rows, hole_offsets, channels)):
                samples = Samples.concatenate([samples, left]).in_log_order()
        if samples is None:
            return decoded.windows(series, offsets, self._manifest.window.length), refused
        return samples, refused

    def _nothing(self) -> Windows:
        none = np.empty(0, dtype=np.int64)
        values = np.empty((0, *self._manifest.window_shape), dtype=np.float32)
        return Windows(none, values, none, none, none, none, none)

    def _nothing_taken(self) -> Samples | Windows:
        none, values = np.empty(0, dtype=np.int64), np.empty((0, len(self._manifest.channels)), dtype=np.float32)
        return self._nothing() if self._whole_records else Samples(none, values, none, none, none > 0, none, none)

    def _note_forgotten(self, partition: PartitionState, forgotten: list[Forgotten], *, live: bool) -> None:
        if live:
            partition.leaving.extend(forgotten)
            self.counts.forgotten.update(gone.reason for gone in forgotten)
        else:  # what that meant was decided before
            for gone in forgotten:
                partition.series.release(gone.serial)

    def next_batch(self) -> Batch | None:
        """Cuts windows out of what was received, some whole batches of them; None when there are no more."""
        pieces: list[Piece] = []
        rows, batch_rows = 0, self._manifest.batch_rows
        while self._queue and rows < batch_rows:
            partition, cut, live = self._next_cut()
            whole = min((rows + len(cut.windows)) // batch_rows, MOST_CALLS) * batch_rows - rows
            if 0 < whole < len(cut.windows):  # the rest waits for the next batch, rather than be padded
                cut, rest = cut.split(whole)
                self._queue.appendleft(Work(partition, rest, live))
            if len(cut.windows) or (live and self._checks and cut.course is not None):
                imputed = self._impute(cut.windows.values)
                pieces.append(
                    Piece(partition, imputed, cut._replace(windows=replace(cut.windows, values=imputed.windows)), live)
                )
                rows += len(cut.windows)
        if not rows:  # what checks have found needs no scores
            nothing = np.empty((0, *self._manifest.window_shape), dtype=np.float32)
            self._decider.decide(Batch(nothing, pieces), nothing[:, 0, 0], np.copy)
            self._settle()
            return None
        values = pieces[0].cut.windows.values
        if len(pieces) > 1:
            values = aligned_empty((rows, *values.shape[1:]))
            np.concatenate([piece.cut.windows.values for piece in pieces], out=values)
        return Batch(values, pieces)

    def _next_cut(self) -> tuple[PartitionState, Cut, bool]:
        """The windows of the next that waits, as much of it as one slice holds."""
        partition, taken, live, segment, broken, course, out, emptied_at = self._queue.popleft()
        if segment is not None:
            partition.begin_segment(segment)
            names = partition.series.names
            self._count_unmatched(partition, [names.get(serial, "") for serial in segment.serials])
        if isinstance(taken, Cut):
            return partition, taken, live
        if broken:
            self._restart(partition, live=live)
        if taken is None:
            return partition, Cut(*partition.known(self._nothing())), live
        assert course is not None
        if out is None:
            reached = course.reached
            if emptied_at >= 0:
                reached = Reached(np.array([emptied_at]), np.array([reached.newest_us[0], NEWEST_US]))
            out = partition.windower.let_out(taken, reached)
            if emptied_at >= 0 and not len(out):
                return partition, Cut(*partition.known(self._nothing())), live
        if len(out) > self._slice:
            # Samples that took their place at one record are in order only all together: they are parted only where
            # they alone are too many.
            end = int(np.searchsorted(out.placed_at, out.placed_at[self._slice])) or self._slice
            until = int(out.placed_at[end - 1]) + 1
            course, later = course.split(until)
            rest = later_taken = out[end:]
            if out is not taken:
                later_taken = taken[int(np.searchsorted(taken.offset, until)) :]
            self._queue.appendleft(Work(partition, later_taken, live, course=later, out=rest))
            taken, out = taken[: len(taken) - len(later_taken)], out[:end]
        appended = self._append(partition, out, live=live)
        found = partition.check(Turn.of(taken, appended, course), appended.windows) if self._checks else None
        return partition, Cut(*partition.known(appended.windows), found if live else None, course), live

    def _settle(self) -> None:
        """Everything is decided: nothing refers to the series any more that were forgotten on the way."""
        for partition in self._partitions.values():
            if partition.leaving:
                partition.let_go(math.inf)
                self._decider.publish_ends(partition)
            partition.settle()

    def _append(self, partition: PartitionState, taken: Samples | Windows, *, live: bool) -> Appended:
        appended = partition.windower.append(taken, cut=live or partition.followers is not None)
        if live:
            self.counts.samples_duplicate += appended.duplicates
            self.counts.gaps += appended.gaps
            if (late := appended.too_late) is not None:
                self.counts.samples_late += len(late)
                detail = f"series {partition.name_at(int(late.series[0]))!r}"
                self.counts.examples["late"] = Example(partition.name, int(late.offset[0]), detail)
        return appended

    def receive_scores(self, batch: Batch, scores: Float32Array, reconstruct: Reconstruct) -> None:
        """Decides on every window of `batch` and moves the incidents on.

        `reconstruct` is asked for the windows that are published, a few at a time.
        """
        self._decider.decide(batch, scores, lambda windows: self._impute.expected(windows, reconstruct))

    def publish_waiting(self) -> None:
        """Publishes alerts that wait for others like them, where no more are to come: at the end of a file."""
        for partition in self._partitions.values():
            self._decider.publish_waiting(partition)

    def take_outputs(self, checkpoints: Collection[TopicPartition] = ()) -> Outputs:
        """Everything decided since the last call, and the whole state of the partitions in `checkpoints`.

        A partition whose windows are still being refilled gets no checkpoint: its last one stays valid. Nor does one
        that has not moved since its last. A partition that is held, or soon may be, has no outputs.
        Call it when `next_batch` has nothing left: positions stand for everything received.
        """
        if self._queue:
            raise RuntimeError("there are windows to score before positions mean anything")
        self._settle()
        checkpoints = {name for name in checkpoints if self.wants_checkpoint(name)}
        published = {name: state for name, state in self._partitions.items() if not state.withholding.withheld}
        taken = [partition.take_outbox() for partition in published.values()]
        return Outputs(
            alerts=[alert for outbox, _ in taken for alert in outbox.alerts],
            dead_letters=[letter for outbox, _ in taken for letter in outbox.dead_letters],
            state=[record for _, changes in taken for record in changes],
            checkpoints={name: self._partitions[name].checkpoint() for name in checkpoints},
            positions={
                name: partition.position(checkpointed=name in checkpoints)
                for name, partition in published.items()
                if partition.moved or name in checkpoints
            },
        )

    def committed(self, positions: Mapping[TopicPartition, Position], published: Sequence[Event] = ()) -> None:
        """Notes what became durable: how far, and which alerts."""
        self.counts.published(published)
        for name, position in positions.items():
            if name in self._partitions:
                self._partitions[name].committed(position)
