"""The heart, without I/O: records in, batches out, scores in, alerts and positions out.

Rules of this file: no Kafka, no clock but event time, no logging. Every decision about the log's content is made in
here or below, so that the daemon, `replay` and the property tests can't differ. State is mutated in place; after an
abort the caller revokes the partition and assigns it anew.

    processor.assign(partition, restored, start)      -> where to read from
    processor.receive(columns, now_us)
    while (batch := processor.next_batch()) is not None:
        processor.receive_scores(batch, *scorer(batch.values))
    outputs = processor.take_outputs(checkpoints)     -> what to commit
    processor.committed(positions)

A damaged batch among the columns breaks the windows of all series of its partition, because any of them may have lost
samples there. Where the rules say to stop at it, nothing behind it is read, and `stopped` says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor import alerts
from monitor.alerts import AlertWriter, Cause
from monitor.backends.abstract import Damaged, Position, RecordColumns, Restored, TopicPartition
from monitor.deadletters import DeadLetter
from monitor.detector import decision
from monitor.detector.decision import Incident, Policy, Status, Verdict
from monitor.detector.spec import Manifest
from monitor.detector.windowing import Samples, Windows, mend_missing
from monitor.errors import Reason
from monitor.partition import Counts, Example, PartitionState
from monitor.resuming import BeyondEnd, Resumed
from monitor.wire import Decoder, Holes, InputRules

Float32Array = NDArray[np.float32]

# Gathered windows waiting for the scorer, at most: a slice of samples is as large as this allows in the worst case,
# that every sample closes a window.
PENDING_BYTES = 64 * 1024 * 1024
MAX_SLICE = 65_536
# One call of the scorer takes about 10 ms (the artifact's `batch_rows` is chosen so), and whoever calls it has a clock.
MOST_CALLS = 16


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows to score: `values` is (n, length, channels); `pieces` say whose they are."""

    values: Float32Array
    pieces: list[tuple[PartitionState, Windows, Float32Array]]


@dataclass(frozen=True, slots=True)
class Outputs:
    """What there is to publish, in order, with the positions that it belongs to."""

    alerts: list[alerts.Alert]
    dead_letters: list[DeadLetter]
    state: list[tuple[TopicPartition, bytes, bytes | None]]
    checkpoints: dict[TopicPartition, list[tuple[bytes, bytes]]]
    positions: dict[TopicPartition, Position]


class Processor:
    """Decides on the records of any number of partitions with one artifact."""

    def __init__(self, manifest: Manifest, writer: AlertWriter, rules: InputRules, policy: Policy) -> None:
        self.counts = Counts()
        self._manifest = manifest
        self._writer = writer
        self._policy = policy
        self._decoder = Decoder(manifest, rules)
        self._max_series = rules.max_series
        self._damaged_batches = rules.damaged_batches
        self._partitions: dict[TopicPartition, PartitionState] = {}
        # None stands for a damaged batch
        self._queue: deque[tuple[PartitionState, Samples | Windows | None, bool]] = deque()
        self._passed: list[tuple[TopicPartition, Damaged, bool]] = []
        window_bytes = 4 * manifest.window.length * len(manifest.channels)
        self._slice = max(1, min(MAX_SLICE, PENDING_BYTES // window_bytes))
        self._alerts: list[alerts.Alert] = []
        self._dead_letters: list[DeadLetter] = []
        self.wants_headers = self._decoder.wants_headers
        self.threshold = writer.threshold
        self.series_thresholds = writer.series_thresholds

    @property
    def partitions(self) -> Collection[TopicPartition]:
        """The partitions that are assigned."""
        return self._partitions.keys()

    def series_count(self) -> int:
        """Series known in all assigned partitions."""
        return sum(len(partition.series) for partition in self._partitions.values())

    def wants_checkpoint(self, partition: TopicPartition) -> bool:
        """Whether a checkpoint would say anything new, and the truth."""
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
        """There is something to tell: an alert, or a record that could not be read."""
        return bool(self._alerts or self._dead_letters)

    @property
    def stopped(self) -> tuple[TopicPartition, Damaged] | None:
        """A partition that is not read any further, and the damaged batch there; everything before it is decided."""
        found = ((name, state.stopped_at) for name, state in self._partitions.items())
        return next(((name, damaged) for name, damaged in found if damaged is not None), None)

    def take_passed(self) -> list[tuple[TopicPartition, Damaged, bool]]:
        """Damaged batches passed since the last call; and whether for the first time, with a dead letter."""
        passed, self._passed = self._passed, []
        return passed

    def open_incidents(self) -> int:
        """Incidents open in all assigned partitions."""
        return sum(i.open for partition in self._partitions.values() for i in partition.series.incidents.values())

    def assign(
        self, partition: TopicPartition, restored: Restored, start: int, beyond_end: BeyondEnd = "stop"
    ) -> Resumed:
        """Takes a partition over as `restored` remembers it; `start` is where to begin if it remembers nothing.

        Raises:
            ConfigError: the log ends before the group's position, and `beyond_end` says to stop.
        """
        made, resumed = PartitionState.resume(partition, restored, start, beyond_end, self._manifest, self._max_series)
        self._partitions[partition] = made
        self._alerts += [self._writer.end(*ended) for ended in made.ended]
        made.ended.clear()
        return resumed

    def revoke(self, partition: TopicPartition) -> None:
        """Forgets a partition, and everything about it that was not taken yet."""
        gone = self._partitions.pop(partition, None)
        if gone is None:
            return
        self._queue = deque(item for item in self._queue if item[0] is not gone)
        place = (partition.topic, partition.partition)
        self._alerts = [a for a in self._alerts if (a.data.kafka.topic, a.data.kafka.partition) != place]
        self._dead_letters = [d for d in self._dead_letters if d.partition != partition]

    def receive(self, columns: RecordColumns, now_us: int | None = None) -> None:
        """Takes records of an assigned partition in, in offset order.

        `now_us` is the reader's clock when they were read, µs since 1970; `stream_time` says what it is asked for.
        """
        partition = self._partitions[columns.partition]
        if partition.stopped_at is not None:
            return
        if columns.damaged is not None:
            self._pass(partition, columns.damaged)
            return
        replayed = int(np.searchsorted(columns.offsets, partition.live_from))
        if replayed:
            self.counts.replayed += replayed
            self._enqueue(partition, columns.rows(0, replayed), now_us, live=False)
        if replayed < len(columns.offsets):
            self._enqueue(partition, columns.rows(replayed, len(columns.offsets)), now_us, live=True)
        partition.advance(columns.next_offset)

    def _pass(self, partition: PartitionState, damaged: Damaged) -> None:
        live = damaged.next_offset > partition.live_from or not damaged.passable
        if live and self._stops_at(damaged):
            partition.stopped_at = damaged
            return
        if partition.windower is not None:
            self._queue.append((partition, None, live))
        if live:
            first = max(damaged.first_offset, partition.live_from)  # what lies before was decided when it was whole
            self._dead_letters.append(DeadLetter.of_batch(partition.name, replace(damaged, first_offset=first)))
            self.counts.batches_damaged[partition.name.topic, damaged.reason.value] += 1
        self._passed.append((partition.name, damaged, live))
        partition.advance(damaged.next_offset)

    def _stops_at(self, damaged: Damaged) -> bool:
        if not damaged.passable or self._damaged_batches == "stop":
            return True
        return self._damaged_batches == "auto" and damaged.reason is Reason.CORRUPT_BATCH

    def _restart(self, partition: PartitionState, *, live: bool) -> None:
        """Every series may have lost samples in a damaged batch: no window is cut across it as if it were whole."""
        assert partition.windower is not None
        restarted = partition.windower.restart()
        if live:
            self.counts.gaps += restarted

    def _enqueue(self, partition: PartitionState, columns: RecordColumns, now_us: int | None, *, live: bool) -> None:
        decoded = self._decoder.decode(columns, partition.time, now_us, live=live)
        series, refused = partition.series.number(decoded.keys, decoded.rows)
        if refused:
            decoded, series = decoded.where(series >= 0), series[series >= 0]
        offsets = columns.offsets[decoded.rows]
        if partition.windower is not None:
            partition.windower.grow(len(partition.series))
            samples = decoded.samples(series, offsets)
            if decoded.holes is not None:
                samples = self._with_holes(partition, samples, decoded.holes, columns)
            self._queue.append((partition, samples, live))
        elif live:
            self._queue.append((partition, decoded.windows(series, offsets, self._manifest.window.length), live))
        if live:
            rejected = sorted(decoded.rejected + refused)
            self._dead_letters += [DeadLetter.of(columns, *rejection) for rejection in rejected]
            self.counts.received(columns, rejected, decoded.values)

    def _with_holes(self, partition: PartitionState, samples: Samples, holes: Holes, columns: RecordColumns) -> Samples:
        """`samples` and what records leave that were refused, as far as their series is known, in log order."""
        series = partition.series.known(holes.keys)
        left = holes.samples(series, columns.offsets[holes.rows], len(self._manifest.channels))
        return Samples.concatenate([samples, left]).in_log_order() if len(left) else samples

    def next_batch(self) -> Batch | None:
        """Cuts windows out of what was received, some whole batches of them; None when there are no more."""
        pieces: list[tuple[PartitionState, Windows, Float32Array]] = []
        rows, batch_rows = 0, self._manifest.batch_rows
        while self._queue and rows < batch_rows:
            partition, taken, live = self._queue.popleft()
            if taken is None:
                self._restart(partition, live=live)
                continue
            if len(taken) > self._slice:
                self._queue.appendleft((partition, taken[self._slice :], live))
                taken = taken[: self._slice]
            windows = taken if isinstance(taken, Windows) else self._cut(partition, taken, live=live)
            whole = min((rows + len(windows)) // batch_rows, MOST_CALLS) * batch_rows - rows
            if 0 < whole < len(windows):  # what is over waits for the next batch, rather than to be padded
                self._queue.appendleft((partition, windows[whole:], live))
                windows = windows[:whole]
            if len(windows):
                values, missing_ratio = mend_missing(windows.values, self._manifest.window.max_missing_ratio)
                pieces.append((partition, replace(windows, values=values), missing_ratio))
                rows += len(windows)
        if not pieces:
            return None
        values = pieces[0][1].values if len(pieces) == 1 else np.concatenate([piece[1].values for piece in pieces])
        return Batch(values, pieces)

    def _cut(self, partition: PartitionState, samples: Samples, *, live: bool) -> Windows:
        assert partition.windower is not None
        appended = partition.windower.append(samples, cut=live)
        if live:
            self.counts.samples_late += appended.late
            self.counts.gaps += appended.gaps
            if appended.late_at is not None:
                series, offset = appended.late_at
                detail = f"series {partition.series.names[series]!r}"
                self.counts.examples["late"] = Example(partition.name, offset, detail)
        return appended.windows

    def receive_scores(self, batch: Batch, scores: Float32Array, reconstructions: Float32Array) -> None:
        """Decides on every window of `batch` and moves the incidents on."""
        lines = np.concatenate([self._lines(partition, windows) for partition, windows, _ in batch.pieces])
        verdicts = decision.decide(scores, lines)
        self.counts.scored(scores, verdicts, lines)
        first = 0
        for partition, windows, missing_ratio in batch.pieces:
            rows = slice(first, first + len(windows))
            first += len(windows)
            if missing_ratio.any():
                self._note_unscorable(partition, windows, missing_ratio, verdicts[rows])
            self._decide(partition, windows, missing_ratio, scores[rows], verdicts[rows], reconstructions[rows])

    def _note_unscorable(
        self, partition: PartitionState, windows: Windows, missing_ratio: Float32Array, verdicts: NDArray[np.int8]
    ) -> None:
        found = np.flatnonzero(verdicts == Verdict.UNSCORABLE)
        if len(found):
            row = found[-1]
            name = partition.series.names[int(windows.series[row])]
            detail = f"series {name!r}: {missing_ratio[row]:.0%} of the window ending here is missing"
            self.counts.examples["unscorable"] = Example(partition.name, int(windows.last_offset[row]), detail)

    def _lines(self, partition: PartitionState, windows: Windows) -> Float32Array:
        """The threshold of each window: its series' own, or the artifact's."""
        if not self.series_thresholds:
            return np.full(len(windows), self.threshold, dtype=np.float32)
        fresh = partition.series.names[len(partition.lines) :]
        if fresh:
            lines = np.fromiter(map(self._writer.line, fresh), np.float32, len(fresh))
            partition.lines = np.concatenate([partition.lines, lines])
        return partition.lines[windows.series]

    def _decide(
        self,
        partition: PartitionState,
        windows: Windows,
        missing_ratio: Float32Array,
        scores: Float32Array,
        verdicts: NDArray[np.int8],
        reconstructions: Float32Array,
    ) -> None:
        incidents = partition.series.incidents
        over = verdicts == Verdict.ANOMALY
        if not over.any() and not incidents:
            return
        # Only the series with an incident, or a window over the threshold, have anything to decide.
        restless = set(incidents).union(windows.series[over].tolist())
        for row in np.flatnonzero(np.isin(windows.series, list(restless))).tolist():
            series = int(windows.series[row])
            incident = incidents.get(series)
            if incident is None:
                if not over[row]:
                    continue
                incident = incidents[series] = Incident()
            score = float(scores[row])
            start_us, end_us = int(windows.start_us[row]), int(windows.end_us[row])
            threshold = self._writer.line(partition.series.names[series])
            ratio = score / threshold
            status = decision.step(incident, int(verdicts[row]), ratio, start_us, end_us, self._policy)
            partition.touched.add(partition.series.keys[series])
            if status is not None:
                cause = Cause(
                    partition=partition.name,
                    series=partition.series.names[series],
                    start_us=start_us,
                    end_us=end_us,
                    first_offset=int(windows.first_offset[row]),
                    last_offset=int(windows.last_offset[row]),
                    last_index=int(windows.last_index[row]),
                    score=score,
                    threshold=threshold,
                    missing_ratio=float(missing_ratio[row]),
                    values=windows.values[row],
                    reconstruction=reconstructions[row],
                )
                self._tell(status, incident, cause)
            if status is Status.RESOLVED or incident.at_rest:
                del incidents[series]

    def _tell(self, status: Status, incident: Incident, cause: Cause) -> None:
        if status is Status.FIRING:
            incident.fingerprint = self._writer.fingerprint(cause)
        self._alerts.append(self._writer.write(status, incident, cause))

    def take_outputs(self, checkpoints: Collection[TopicPartition] = ()) -> Outputs:
        """Everything decided since the last call, and the whole state of the partitions in `checkpoints`.

        A partition whose windows are still being refilled gets no checkpoint: the one before stands for it. Nor does
        one that has not moved since its last.
        Call it when `next_batch` has nothing left: positions stand for everything received.
        """
        if self._queue:
            raise RuntimeError("there are windows to score before positions mean anything")
        checkpoints = {name for name in checkpoints if self.wants_checkpoint(name)}
        outputs = Outputs(
            alerts=self._alerts,
            dead_letters=self._dead_letters,
            state=[record for partition in self._partitions.values() for record in partition.take_changes()],
            checkpoints={name: self._partitions[name].checkpoint() for name in checkpoints},
            positions={
                name: partition.position(checkpointed=name in checkpoints)
                for name, partition in self._partitions.items()
                if partition.offset != partition.committed_offset or name in checkpoints
            },
        )
        self._alerts, self._dead_letters = [], []
        return outputs

    def committed(self, positions: Mapping[TopicPartition, Position], told: Sequence[alerts.Alert] = ()) -> None:
        """Notes what became durable: how far, and which alerts."""
        self.counts.published(told)
        for name, position in positions.items():
            if name in self._partitions:
                self._partitions[name].committed(position)
