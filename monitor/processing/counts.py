"""What happened since the start, as telemetry and the log count it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monitor.backends.abstract import RecordColumns, TopicPartition
from monitor.detector.arrays import Float32Array
from monitor.detector.decision import Verdict
from monitor.formats.decoder import Decoded, Rejected
from monitor.messages.alerts import ENDINGS, Alert
from monitor.messages.quality import Event

# Score over threshold; 1.0 is the threshold
RATIO_BUCKETS = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.5, 2.0, 4.0, 8.0)


# Series that are remembered as unmatched; those after them are not counted.
MOST_UNMATCHED = 100_000
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Example:
    """Where something was found, and what was wrong with it."""

    partition: TopicPartition
    offset: int
    detail: str


@dataclass(slots=True)
class Counts:
    """Everything that happened since the start, for telemetry. Only live records count, not those read again."""

    records: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    replayed: int = 0
    newest_ms: int = 0
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)  # records of no channel, by topic
    readings_ignored: int = 0
    samples: int = 0
    samples_missing: int = 0
    samples_late: int = 0
    samples_duplicate: int = 0
    gaps: int = 0
    windows: int = 0
    windows_anomalous: int = 0
    windows_unscorable: int = 0
    batches_damaged: Counter[tuple[str, str]] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    quality: Counter[tuple[str, str]] = field(default_factory=Counter)  # alerts of data quality, by rule and status
    suppressed: Counter[tuple[str, str]] = field(default_factory=Counter)  # alerts, by stage and reason
    abandoned: Counter[str] = field(default_factory=Counter)
    forgotten: Counter[str] = field(default_factory=Counter)
    unmatched: set[str] = field(default_factory=set)  # series without a threshold of their own, though others have one
    examples: dict[str, Example] = field(default_factory=dict)  # by reason (or late, unscorable, ignored): the newest
    ratio_sum: float = 0.0
    ratios: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(RATIO_BUCKETS) + 1, dtype=np.int64))

    def received(self, columns: RecordColumns, rejected: Sequence[Rejected], decoded: Decoded) -> None:
        """One poll's records of one partition, of which `rejected` were refused; `decoded` are those kept."""
        topic = columns.partition.topic
        self.records[topic] += len(columns.values)
        self.bytes += int(columns.sizes.sum())
        taken_ms = columns.timestamps_ms
        if rejected:
            taken_ms = np.delete(taken_ms, [each.row for each in rejected])
        self.newest_ms = max(self.newest_ms, int(taken_ms.max(initial=0)))
        for rejection in rejected:
            self.rejected[topic, rejection.reason.value] += 1
        for rejection in {rejection.reason: rejection for rejection in rejected}.values():
            offset = int(columns.offsets[rejection.row])
            self.examples[rejection.reason.value] = Example(columns.partition, offset, rejection.detail)
        self.samples += len(decoded.values)
        missing = np.isnan(decoded.values)
        if decoded.carried is not None:
            missing &= decoded.carried
        if missing.any():
            self.samples_missing += int(missing.any(axis=1).sum())
        ignored = decoded.ignored
        self.readings_ignored += ignored.readings
        if ignored.rows:
            self.ignored[topic] += len(ignored.rows)
            self.examples["ignored"] = Example(
                columns.partition, int(columns.offsets[ignored.rows[0]]), ignored.example
            )

    def begun(self, partition: TopicPartition, offset: int, names: Sequence[str], own: Collection[str]) -> None:
        """Series at an offset, of which `names` have no threshold of their own, though the series `own` have."""
        new = [name for name in names if name not in self.unmatched]
        if not new or len(self.unmatched) >= MOST_UNMATCHED:
            return
        self.unmatched.update(new)
        listed = ", ".join(map(repr, new[:_NAMED]))
        known = ", ".join(map(repr, itertools.islice(own, _NAMED)))
        detail = f"series {listed}; the artifact has thresholds of {len(own)} series: {known}"
        self.examples["unmatched"] = Example(partition, offset, detail)

    def published(self, events: Sequence[Event]) -> None:
        """Alerts that became durable."""
        alerts = [event for event in events if isinstance(event, Alert)]
        self.alerts.update(alert.data.status for alert in alerts)
        ended = [alert.data.reason for alert in alerts if alert.data.status == "resolved"]
        self.abandoned.update(reason for reason in ended if reason in ENDINGS)
        self.quality.update((each.data.rule, each.data.status) for each in events if not isinstance(each, Alert))

    def scored(self, scores: Float32Array, verdicts: NDArray[np.int8], thresholds: Float32Array) -> None:
        """One batch of windows; `thresholds` (n,) are theirs, as `decide` reads them."""
        self.windows += len(scores)
        self.windows_anomalous += int((verdicts == Verdict.ANOMALY).sum())
        self.windows_unscorable += int((verdicts == Verdict.UNSCORABLE).sum())
        # float64, because float32 can overflow here; the thresholds are `decide`'s, so that the bucket of 1.0 is exact
        scorable = verdicts != Verdict.UNSCORABLE
        ratios = scores[scorable].astype(np.float64) / thresholds[scorable]
        self.ratio_sum += float(ratios.sum())
        self.ratios += np.bincount(np.searchsorted(RATIO_BUCKETS, ratios), minlength=len(self.ratios))
