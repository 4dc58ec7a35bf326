"""From scores to alerts: verdicts move incidents on, and what changed is written down for the partition's outbox.

Rules of this file: pure. Each partition is decided in the order of its log: a series that is forgotten at a record is
forgotten before that record's windows are looked at, however many wait for their scores at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.alerts import Alert, AlertWriter, Cause
from monitor.arrays import Float32Array, Float64Array
from monitor.detector import decision
from monitor.detector.decision import Verdict
from monitor.detector.incidents import SCORE_RULE, Incident, Policy, Status, step
from monitor.detector.windows import Windows
from monitor.partition import Counts, Example, PartitionState

# Windows (n, length, channels) to what was expected in their place.
Reconstruct = Callable[[Float32Array], Float32Array]


class Piece(NamedTuple):
    """Windows of one partition, each one's threshold and its share of missing numbers."""

    partition: PartitionState
    windows: Windows
    thresholds: Float64Array
    missing_ratio: Float32Array


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows to score: `values` is (n, length, channels); `pieces` say whose they are."""

    values: Float32Array
    pieces: list[Piece]


class _Change(NamedTuple):
    """What is to be published of an incident as it was after one window."""

    status: Status
    incident: Incident
    cause: Cause


_News = tuple[PartitionState, _Change | Alert]


class Decider:
    """Moves the incidents of all partitions on, and puts the alerts into their outboxes."""

    def __init__(self, writer: AlertWriter, policy: Policy, counts: Counts) -> None:
        self._writer = writer
        self._policy = policy
        self._counts = counts

    def decide(self, batch: Batch, scores: Float32Array, reconstruct: Reconstruct) -> None:
        """Decides on every window of `batch`; `reconstruct` is asked for those that are published, a few at a time."""
        thresholds = np.concatenate([piece.thresholds for piece in batch.pieces]).astype(np.float32)  # as scores are
        verdicts = decision.decide(scores, thresholds)
        self._counts.scored(scores, verdicts, thresholds)
        news: list[_News] = []
        first = 0
        for piece in batch.pieces:
            rows = slice(first, first + len(piece.windows))
            first += len(piece.windows)
            if piece.missing_ratio.any():
                self._note_unscorable(piece, verdicts[rows])
            news += [(piece.partition, each) for each in self._decide(piece, scores[rows], verdicts[rows])]
        self._publish(news, reconstruct)

    def publish_ends(self, partition: PartitionState) -> None:
        """Publishes that incidents of a partition ended without a window."""
        partition.outbox.alerts += self._take_ends(partition)

    def _take_ends(self, partition: PartitionState) -> list[Alert]:
        ended = [self._writer.end(*each) for each in partition.ended]
        partition.ended.clear()
        return ended

    def _note_unscorable(self, piece: Piece, verdicts: NDArray[np.int8]) -> None:
        found = np.flatnonzero(verdicts == Verdict.UNSCORABLE)
        if len(found):
            row = found[-1]
            name = piece.partition.series.names[int(piece.windows.series[row])]
            detail = f"series {name!r}: {piece.missing_ratio[row]:.0%} of the window ending here is missing"
            offset = int(piece.windows.last_offset[row])
            self._counts.examples["unscorable"] = Example(piece.partition.name, offset, detail)

    def _decide(self, piece: Piece, scores: Float32Array, verdicts: NDArray[np.int8]) -> Iterator[_Change | Alert]:
        """Moves the incidents of a piece's series on, in the order of its windows; what is to be published of it."""
        partition, windows = piece.partition, piece.windows
        incidents = partition.incidents[SCORE_RULE]
        over = verdicts == Verdict.ANOMALY
        if not over.any() and not incidents:
            return
        # Only the series with an incident, or a window over the threshold, have anything to decide.
        active = set(incidents).union(windows.series[over].tolist())
        for row in np.flatnonzero(np.isin(windows.series, list(active))).tolist():
            if partition.leaving:
                partition.let_go(int(windows.last_offset[row]))
                yield from self._take_ends(partition)
            change = self.move(piece, row, SCORE_RULE, float(scores[row]), int(verdicts[row]))
            if change is not None:
                yield change

    def move(self, piece: Piece, row: int, rule: str, score: float, verdict: int) -> _Change | None:
        """Moves the incident that a window's series has by `rule` on; returns what is to be published of it."""
        partition, windows = piece.partition, piece.windows
        series, incidents = int(windows.series[row]), partition.incidents[rule]
        incident = incidents.get(series)
        if incident is None:
            if verdict != Verdict.ANOMALY:
                return None
            incident = incidents[series] = Incident()
        name, change = partition.series.names[series], None
        start_us, end_us = int(windows.start_us[row]), int(windows.end_us[row])
        status = step(incident, verdict, score / float(piece.thresholds[row]), start_us, end_us, self._policy)
        partition.outbox.changed.add((name.encode(), rule))
        if status is not None:
            cause = self._cause(piece, row, name, rule, score)
            if status is Status.FIRING:
                incident.fingerprint = self._writer.fingerprint(cause)
            change = _Change(status, msgspec.structs.replace(incident), cause)
        if status is Status.RESOLVED or incident.at_rest:
            del incidents[series]
        return change

    def _cause(self, piece: Piece, row: int, name: str, rule: str, score: float) -> Cause:
        windows = piece.windows
        return Cause(
            partition=piece.partition.name,
            series=name,
            rule=rule,
            start_us=int(windows.start_us[row]),
            end_us=int(windows.end_us[row]),
            first_offset=int(windows.first_offset[row]),
            last_offset=int(windows.last_offset[row]),
            last_index=int(windows.last_index[row]),
            score=score,
            threshold=float(piece.thresholds[row]),
            missing_ratio=float(piece.missing_ratio[row]),
            values=windows.values[row],
        )

    def _publish(self, news: Sequence[_News], reconstruct: Reconstruct) -> None:
        """Writes the alerts of what changed; all are reconstructed at once, for a call of the model may take long."""
        values = [change.cause.values for _, change in news if isinstance(change, _Change)]
        expected = iter(reconstruct(np.stack(values)) if values else ())
        for partition, item in news:
            alert = self._writer.write(*item, next(expected)) if isinstance(item, _Change) else item
            partition.outbox.alerts.append(alert)
