"""One partition's state: series, incidents, windows, and how far it was decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monitor import state
from monitor.backends.abstract import NO_STATE, Position, RecordColumns, Restored, StateRecord, TopicPartition
from monitor.detector.decision import Incident, Verdict
from monitor.detector.spec import Manifest
from monitor.detector.windowing import SlidingWindower
from monitor.series import SeriesTable
from monitor.wire import Rejected

Float32Array = NDArray[np.float32]

# Score over threshold; 1.0 is the line
RATIO_BUCKETS = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.5, 2.0, 4.0, 8.0)


@dataclass(slots=True)
class Counts:
    """Everything that happened since the start, for telemetry. Only live records count, not those read again."""

    records: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    replayed: int = 0
    newest_ms: int = 0
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    samples: int = 0
    samples_missing: int = 0
    samples_late: int = 0
    gaps: int = 0
    windows: int = 0
    windows_anomalous: int = 0
    windows_unscorable: int = 0
    alerts: Counter[str] = field(default_factory=Counter)
    ratio_sum: float = 0.0
    ratios: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(RATIO_BUCKETS) + 1, dtype=np.int64))

    def received(self, columns: RecordColumns, rejected: Sequence[Rejected], values: Float32Array) -> None:
        """One poll's records of one partition, of which `rejected` were refused; `values` are the samples kept."""
        topic = columns.partition.topic
        self.records[topic] += len(columns.values)
        self.bytes += sum(map(len, filter(None, columns.values)))
        self.newest_ms = max(self.newest_ms, int(columns.timestamps_ms.max()))
        for rejection in rejected:
            self.rejected[topic, rejection.reason.value] += 1
        self.samples += len(values)
        self.samples_missing += int(np.isnan(values).any(axis=1).sum())

    def scored(self, scores: Float32Array, verdicts: NDArray[np.int8], lines: Float32Array) -> None:
        """One batch of windows; `lines` (n,) are their thresholds, as `decide` reads them."""
        self.windows += len(scores)
        self.windows_anomalous += int((verdicts == Verdict.ANOMALY).sum())
        self.windows_unscorable += int((verdicts == Verdict.UNSCORABLE).sum())
        # float64, because float32 can overflow here; the lines are `decide`'s, so that the bucket of 1.0 is exact
        scorable = verdicts != Verdict.UNSCORABLE
        ratios = scores[scorable].astype(np.float64) / lines[scorable]
        self.ratio_sum += float(ratios.sum())
        self.ratios += np.bincount(np.searchsorted(RATIO_BUCKETS, ratios), minlength=len(self.ratios))


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """How a partition was taken over.

    Reading begins at `begin`; records before `live_from` were decided before and only refill windows. `fresh`: the
    group never committed here. `lost` records were deleted, by retention, before they were decided. `cold` says why
    windows start empty although they should not, empty where they don't.
    """

    begin: int
    live_from: int
    fresh: bool = False
    lost: int = 0
    cold: str = ""


class PartitionState:
    """Everything remembered of one partition."""

    def __init__(self, name: TopicPartition, manifest: Manifest, max_series: int) -> None:
        window = manifest.window
        self.name = name
        self._channels = [channel.name for channel in manifest.channels]
        # Windows cost memory by series; whole records cost none, and forget their series in a restart.
        self.series = SeriesTable(max_series if manifest.window.kind == "sliding" else None)
        self.windower: SlidingWindower | None = None
        if window.kind == "sliding":
            gap_us = None if window.max_gap_ms is None else round(window.max_gap_ms * 1000)
            self.windower = SlidingWindower(window.length, window.hop, len(manifest.channels), gap_us)
        self.lines = np.empty(0, dtype=np.float32)  # thresholds of the series, where they have their own
        self.touched: set[int] = set()
        self.stored: set[int] = set()  # series whose incident record in the log is not a tombstone
        self.offset = 0  # first input offset not decided yet
        self.read_to = 0  # first input offset not read yet; behind `live_from` while windows are being refilled
        self.live_from = 0
        self.committed_offset = -1
        self._replay_from = 0
        self._state_from = 0
        self._checkpointed_at = -1  # offset that the newest checkpoint in the log stands for

    @classmethod
    def resume(
        cls, name: TopicPartition, restored: Restored, start: int, manifest: Manifest, max_series: int
    ) -> tuple[PartitionState, Resumed]:
        """A partition's state as the log remembers it; at `start`, and cold, where it can't be followed."""
        made = cls(name, manifest, max_series)
        position = restored.position
        if position is None:
            made._stand_at(start)
            return made, Resumed(begin=start, live_from=start, fresh=True)
        cold = ""
        try:
            for key, incident in state.decode_incidents(name, restored.state).items():
                made._remember(key, incident)
        except state.StateError as error:
            cold = str(error)
        if not restored.followable:
            lost = max(0, start - position.offset)
            made._stand_at(start)
            cold = cold or f"offset {position.offset} is no longer there ({restored.beginning} to {restored.end} are)"
            return made, Resumed(begin=start, live_from=start, lost=lost, cold=cold)
        made._stand_at(position.offset)
        made.committed_offset = position.offset
        made._replay_from, made._state_from = position.replay_from, position.state_from
        if position.state_from == NO_STATE:
            cold = "the group's offset was set by another tool, so its state belongs elsewhere"
        elif restored.beginning > position.replay_from:
            cold = cold or f"input from offset {position.replay_from} is no longer there"
        else:
            try:
                made._refill(position.replay_from, restored.state, manifest)
            except state.StateError as error:
                cold = cold or str(error)
            else:
                return made, Resumed(begin=position.replay_from, live_from=position.offset, cold=cold)
        return made, Resumed(begin=position.offset, live_from=position.offset, cold=cold)

    def _refill(self, replay_from: int, records: Sequence[StateRecord], manifest: Manifest) -> None:
        if self.windower is not None:
            length = manifest.window.length
            keys, tails = state.decode_checkpoint(
                self.name, replay_from, records, length=length, channels=self._channels
            )
            rows = np.fromiter(map(self.series.register, keys), np.int64, len(keys))
            self.windower.set_tails(rows, tails)
            self.read_to = self._checkpointed_at = replay_from

    def _stand_at(self, offset: int) -> None:
        self.offset = self.read_to = self.live_from = self._replay_from = offset

    @property
    def wants_checkpoint(self) -> bool:
        """Something was decided since the last one, and windows stand for it."""
        return not self.refilling and self._checkpointed_at != self.offset

    def checkpoint_bytes(self) -> int:
        """About the size of a checkpoint."""
        if self.windower is None:
            return 0
        return len(self.series) * (self.windower.length * (4 * len(self._channels) + 16) + 64)

    @property
    def refilling(self) -> bool:
        """Windows don't stand for `offset` yet, so a checkpoint would be a lie."""
        return self.read_to < self.live_from

    def advance(self, next_offset: int) -> None:
        """Notes how far the input was read."""
        self.read_to = next_offset
        self.offset = max(next_offset, self.live_from)

    def _remember(self, key: bytes, incident: Incident) -> None:
        number = self.series.register(key)
        self.series.incidents[number] = incident
        self.stored.add(number)

    def take_changes(self) -> list[tuple[TopicPartition, bytes, bytes | None]]:
        """Incident records of the series that were touched since the last call; a tombstone for one now at rest."""
        changes: list[tuple[TopicPartition, bytes, bytes | None]] = []
        for number in sorted(self.touched):
            incident = self.series.incidents.get(number)
            value = None if incident is None else state.encode_incident(incident)
            if value is None and number not in self.stored:
                continue
            changes.append((self.name, state.incident_key(self.name, self.series.keys[number]), value))
            if value is None:
                self.stored.discard(number)
            else:
                self.stored.add(number)
        self.touched.clear()
        return changes

    def checkpoint(self) -> list[tuple[bytes, bytes]]:
        """Records that stand for the whole state at `offset`: all windows, and every incident that is not at rest."""
        self._checkpointed_at = self.offset
        series = self.series
        incidents = [
            (state.incident_key(self.name, series.keys[number]), value)
            for number, incident in sorted(series.incidents.items())
            if (value := state.encode_incident(incident)) is not None
        ]
        # A record artifact has no windows to keep: an empty checkpoint still marks where the incidents begin.
        windower = self.windower or SlidingWindower(1, 1, 1)
        rows = np.arange(len(series) if self.windower is not None else 0)
        windower.grow(len(rows))
        keys = series.keys[: len(rows)]
        shards = state.encode_checkpoint(self.name, self.offset, self._channels, keys, windower.tails(rows))
        return [*shards, *incidents]

    def position(self, *, checkpointed: bool) -> Position:
        """What to commit."""
        replay_from = self.offset if checkpointed or self.windower is None else self._replay_from
        return Position(self.offset, replay_from, self._state_from)

    def committed(self, position: Position) -> None:
        """Notes what became durable."""
        self.committed_offset = position.offset
        self._replay_from, self._state_from = position.replay_from, position.state_from
