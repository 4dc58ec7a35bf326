"""From scores and findings to alerts: verdicts move incidents on, and what changed is written for the outbox.

Rules of this file: pure. Each partition is decided in the order of its log: a series that is forgotten at a record is
forgotten before that record's windows are looked at, however many wait for their scores at once.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.detector import decision
from monitor.detector.arrays import Float32Array, Float64Array, Int64Array
from monitor.detector.decision import Verdict
from monitor.detector.imputing import Imputed
from monitor.detector.incidents import SCORE_RULE, Incident, Policy, Status, step
from monitor.detector.spec import Manifest
from monitor.detector.times import FOREVER_US, NEVER_US
from monitor.detector.windows import Windows
from monitor.messages.alerts import AlertWriter, Cause, Ending
from monitor.messages.quality import Collected, Event, Finding, QualityAlert, QualityDigest, QualityWriter, Source
from monitor.processing import gates
from monitor.processing.checks import WHOLE_SERIES, Check, Found, Problem, QualityRules
from monitor.processing.counts import Counts, Example
from monitor.processing.labels import Labels
from monitor.processing.partition import PartitionState
from monitor.processing.silence import BY_SCORE, BY_SILENCE, Silence, due_us
from monitor.processing.work import Cut

# Windows (n, length, channels) to what the model expected instead.
Reconstruct = Callable[[Float32Array], Float32Array]


class Piece(NamedTuple):
    """Windows of one partition, and what was missing of them."""

    partition: PartitionState
    imputed: Imputed
    cut: Cut
    live: bool = True  # else decided before: followers only are moved on
    static: Float64Array | None = None  # (n,) thresholds that those in force follow from, where some follow
    own_scores: Float32Array | None = None  # (n,) before followers made something of them
    errors_before: Float32Array | None = None  # (n, channels) while the series was at rest; NaN where not known

    def followed(self, scores: Float32Array) -> tuple[Piece, Float32Array]:
        """The windows with what followers make of their thresholds and of these scores (n,)."""
        if self.partition.followers is None:
            return self, scores
        found = self.partition.followers.advance(self.windows, scores, self.thresholds)
        cut = self.cut._replace(thresholds=found.threshold)
        before = found.errors_before
        return self._replace(cut=cut, static=found.static, own_scores=scores, errors_before=before), found.score

    def static_threshold(self, row: int) -> float | None:
        """What the threshold of a window has risen from; None where it has not."""
        if self.static is None or self.thresholds[row] <= self.static[row]:
            return None
        return float(self.static[row])

    def before(self, row: int) -> Float32Array | None:
        """The channels' errors before a window; None where they are not known."""
        known = None if self.errors_before is None else self.errors_before[row]
        return None if known is None or np.isnan(known).any() else known

    @property
    def windows(self) -> Windows:
        return self.cut.windows

    @property
    def thresholds(self) -> Float64Array:
        return self.cut.thresholds

    def now_us(self, offset: int) -> int:
        """The partition's time after the record at an offset."""
        reached = None if self.cut.course is None else self.cut.course.reached
        return self.partition.time.reached_us if reached is None else int(reached.at(np.array([offset]))[0])

    def first_at(self, time_us: int) -> int:
        """The offset at which the partition's time came to `time_us`."""
        assert self.cut.course is not None
        reached = self.cut.course.reached
        return int(reached.positions[max(0, int(np.searchsorted(reached.newest_us, time_us)) - 1)])

    @property
    def until_us(self) -> int:
        """How far the partition's time came."""
        return NEVER_US if self.cut.course is None else int(self.cut.course.reached.newest_us[-1])

    @property
    def end(self) -> int | None:
        """The offset of the last record, where this part of the log ends with these windows; None: it does not."""
        if not self.cut.whole or self.cut.course is None:
            return None
        positions = self.cut.course.reached.positions
        return int(positions[-1]) if len(positions) else None


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows to score: `values` is (n, length, channels); `pieces` say whose they are."""

    values: Float32Array
    pieces: list[Piece]


class _Step(NamedTuple):
    """What a window, or a finding, does to an incident at input offset `offset`.

    `cause` makes, from the series' name, what an alert says.
    """

    series: int
    watched: tuple[str, str]  # rule and channel
    policy: Policy
    verdict: int
    ratio: float
    start_us: int
    end_us: int
    offset: int
    cause: Callable[[str], Cause | Finding]


class _Change(NamedTuple):
    """What is to be published of an incident as it was after one step."""

    status: Status
    incident: Incident
    cause: Cause | Finding


_News = tuple[Piece, int, _Change | Event | None]  # at an offset; None: time has come there


class Decider:
    """Moves the incidents of all partitions on, and puts the alerts into their outboxes."""

    def __init__(
        self,
        writer: AlertWriter,
        quality: QualityWriter,
        policy: Policy,
        rules: QualityRules,
        checks: Mapping[str, Check],
        manifest: Manifest,
        counts: Counts,
    ) -> None:
        """`policy` is that of the score's incidents; `manifest` the artifact's."""
        self._writer = writer
        self._quality = quality
        self._policy = policy
        self._channels = [channel.name for channel in manifest.channels]
        self._longest_runs = _longest_runs(manifest)
        self._by_number = list(checks.items())
        self._counts = counts
        self._stages = gates.stages()
        self._silent_us = rules.no_data_resolves_after_ms * 1000

    def decide(self, batch: Batch, scores: Float32Array, reconstruct: Reconstruct) -> None:
        """Decides on every window of `batch`; `reconstruct` is asked for those that are published, a few at a time."""
        ends = np.cumsum([len(piece.windows) for piece in batch.pieces])
        found = [
            piece.followed(own) for piece, own in zip(batch.pieces, np.split(scores, ends[:-1]), strict=bool(len(ends)))
        ]
        found = [(piece, own) for piece, own in found if piece.live]
        scores = np.concatenate([scores[:0], *(own for _, own in found)])
        known = [np.empty(0), *(piece.thresholds for piece, _ in found)]
        thresholds = np.concatenate(known).astype(np.float32)  # as scores are
        verdicts = decision.decide(scores, thresholds)
        self._counts.scored(scores, verdicts, thresholds)
        news: list[_News] = []
        first = 0
        for piece, _ in found:
            rows = slice(first, first + len(piece.windows))
            first += len(piece.windows)
            if piece.imputed.missing_ratio.any():
                self._note_unscorable(piece, verdicts[rows])
            news += [(piece, *each) for each in self._decide(piece, scores[rows], verdicts[rows])]
        self._publish(news, reconstruct)

    def publish_ends(self, partition: PartitionState) -> None:
        """Publishes incidents of a partition that ended without a window: by its time, as far as that is known."""
        now_us = max([partition.time.reached_us, *(ending.at_us for _, ending in partition.ended)])
        for each in self._take_ends(partition):
            self._put(partition, each, now_us, partition.offset)

    def publish_waiting(self, partition: PartitionState) -> None:
        """Publishes alerts of a partition that wait for others like them, as if their time had come."""
        while partition.digests.due_us < FOREVER_US:
            found = partition.digests.take_due(len(partition.series))
            self._put_out(partition, found, partition.offset)

    def _take_ends(self, partition: PartitionState) -> list[Event]:
        ended: list[Event] = [
            (self._writer if ending.rule == SCORE_RULE else self._quality).end(incident, ending)
            for incident, ending in partition.ended
        ]
        partition.ended.clear()
        return ended

    def _note_unscorable(self, piece: Piece, verdicts: NDArray[np.int8]) -> None:
        found = np.flatnonzero(verdicts == Verdict.UNSCORABLE)
        if len(found):
            row = found[-1]
            name = piece.partition.series.names.get(int(piece.windows.series[row]), "")  # forgotten meanwhile
            detail = f"series {name!r}: {piece.imputed.missing_ratio[row]:.0%} of the window ending here is missing"
            offset = int(piece.windows.last_offset[row])
            self._counts.examples["unscorable"] = Example(piece.partition.name, offset, detail)

    def _decide(
        self, piece: Piece, scores: Float32Array, verdicts: NDArray[np.int8]
    ) -> Iterator[tuple[int, _Change | Event | None]]:
        """Moves the incidents of a piece's series on, in the order of the log; what is to be published of it."""
        partition, silence = piece.partition, Silence(piece.partition, self._silent_us)
        steps: Iterable[tuple[int, _Step]] = self._of_windows(piece, scores, verdicts)
        if piece.cut.found is not None:
            steps = heapq.merge(self._of_findings(partition, piece.cut.found), steps, key=itemgetter(0))
        for _, each in steps:
            yield from self._silent(piece, silence, each.offset - 1)
            yield from self._gone(partition, each.offset)
            change = self._move(partition, each)
            if change is not None:
                yield each.offset, change
                if change.status is Status.FIRING:
                    silence.note(each.series)
                    yield from self._says_silent(partition, each)
        if piece.end is not None:
            yield from self._silent(piece, silence, piece.end)
            yield from self._gone(partition, piece.end)
            yield piece.end, None

    def due_us(self, partition: PartitionState) -> int:
        """The partition's time at which an incident of the score ends by time alone, if no record comes before."""
        return due_us(partition, self._silent_us)

    def _silent(self, piece: Piece, silence: Silence, offset: int) -> Iterator[tuple[int, Event]]:
        """Ends the incidents of series that have stayed silent, up to an offset; after what happened at the same."""
        partition = piece.partition
        while silence.due_us <= piece.until_us and (at := piece.first_at(silence.due_us)) <= offset:
            serial = silence.take()
            yield from self._gone(partition, at)
            partition.give_up(serial, BY_SCORE, at, piece.now_us(at), "no_data")
            yield from ((at, each) for each in self._take_ends(partition))

    def _says_silent(self, partition: PartitionState, at: _Step) -> Iterator[tuple[int, Event]]:
        """An update of the incident of the score whose series has fallen silent."""
        incident = partition.incidents[BY_SCORE].get(at.series)
        if at.watched == BY_SILENCE and incident is not None and incident.open and self._policy.update_every:
            incident.quiet = 0
            name = partition.series.names[at.series]
            partition.outbox.changed.add((name.encode(), *BY_SCORE))
            found = Ending(
                partition=partition.name,
                series=name,
                rule=SCORE_RULE,
                offset=at.offset,
                at_us=at.end_us,
                reason="no_data",
                quality=partition.reported(at.series),
            )
            yield at.offset, self._writer.fall_silent(incident, found, at.start_us)

    def _gone(self, partition: PartitionState, offset: int) -> Iterator[tuple[int, Event]]:
        """Ends what is left of series that were forgotten up to an offset, each at its own."""
        while partition.leaving and (at := partition.leaving[0].offset) <= offset:
            partition.let_go(at)
            yield from ((at, each) for each in self._take_ends(partition))

    def _of_windows(
        self, piece: Piece, scores: Float32Array, verdicts: NDArray[np.int8], rule: str = SCORE_RULE
    ) -> Iterator[tuple[int, _Step]]:
        """What windows do to incidents, each with the number of windows that come before it."""
        windows, policy = piece.windows, self._policy
        watched = rule, ""
        rows = _moving(piece.partition.incidents[watched], windows.series, verdicts)
        said, frozen = verdicts.copy(), self._frozen(windows.values, rows)
        said[frozen] = np.where(verdicts[frozen] == Verdict.NORMAL, Verdict.UNSCORABLE, verdicts[frozen])
        columns: list[NDArray[Any]] = [windows.series, said, scores, piece.thresholds]
        columns += [windows.start_us, windows.end_us, windows.placed_at]
        listed = zip(rows, *(column[rows].tolist() for column in columns), strict=True)
        for row, series, verdict, score, threshold, start_us, end_us, offset in listed:
            cause = partial(self._cause, piece, row, score, rule)
            yield row, _Step(series, watched, policy, verdict, score / threshold, start_us, end_us, offset, cause)

    def _frozen(self, windows: Float32Array, rows: list[int]) -> list[int]:
        """Those of the `rows` of windows in which a channel stays at one value for longer than it ever did in training.

        A model may well reconstruct that; it says nothing of whether a fault is over.
        """
        long = windows.shape[1] > self._longest_runs
        some = ((windows[rows, 0] == windows[rows, -1]) & long).any(axis=1)  # few
        return [row for row in itertools.compress(rows, some) if ((np.ptp(windows[row], axis=0) == 0) & long).any()]

    def _cause(self, piece: Piece, row: int, score: float, rule: str, name: str) -> Cause:
        windows, throughout = piece.windows, piece.imputed.throughout
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
            static_threshold=piece.static_threshold(row),
            own_score=None if piece.own_scores is None else float(piece.own_scores[row]),
            missing_ratio=float(piece.imputed.missing_ratio[row]),
            filled_ratio=0.0 if windows.filled_ratio is None else float(windows.filled_ratio[row]),
            imputed=() if throughout is None else tuple(np.flatnonzero(throughout[row]).tolist()),
            values=windows.values[row],
            before=piece.before(row),
        )

    def _of_findings(self, partition: PartitionState, found: Found) -> Iterator[tuple[int, _Step]]:
        """What findings do to incidents, each with the number of windows that come before it."""
        findings = found.findings
        verdicts = np.where(findings.value > findings.threshold, Verdict.ANOMALY, Verdict.NORMAL).astype(np.int8)
        verdicts[np.isnan(findings.value)] = Verdict.UNSCORABLE
        moving: list[int] = []
        watched = found.rule * (len(self._channels) + 1) + findings.channel + 1
        for number in np.unique(watched).tolist():
            mine = np.flatnonzero(watched == number)
            incidents = partition.incidents[self._watched(found, int(mine[0]))]
            moving += mine[_moving(incidents, findings.series[mine], verdicts[mine])].tolist()
        for row in sorted(moving, key=partial(self._place, partition, found)):
            yield int(found.before[row]), self._of_finding(partition, found, row, int(verdicts[row]))

    def _watched(self, found: Found, row: int) -> tuple[str, str]:
        """The rule and the channel of a finding."""
        channel = int(found.findings.channel[row])
        return self._by_number[int(found.rule[row])][0], "" if channel == WHOLE_SERIES else self._channels[channel]

    def _place(self, partition: PartitionState, found: Found, row: int) -> tuple[int, int, int, int, str, int, int]:
        """Where a finding stands among all: numbers of series and rows would differ after a restore, names don't."""
        findings = found.findings
        name = partition.series.names.get(int(findings.series[row]), "")
        at, offset, index = int(findings.placed_at[row]), int(findings.offset[row]), int(findings.index[row])
        return int(found.before[row]), at, offset, index, name, int(found.rule[row]), int(findings.channel[row])

    def _of_finding(self, partition: PartitionState, found: Found, row: int, verdict: int) -> _Step:
        findings, (_, check) = found.findings, self._by_number[int(found.rule[row])]
        watched = rule, channel = self._watched(found, row)
        value, threshold, usual = float(findings.value[row]), float(findings.threshold[row]), float(findings.usual[row])
        start_us, end_us = int(findings.start_us[row]), int(findings.end_us[row])
        observed = math.nan if findings.observed is None else float(findings.observed[row])
        note = str(findings.note[row] or "") if findings.note is not None else ""
        return _Step(
            series=int(findings.series[row]),
            watched=watched,
            policy=check.policy,
            verdict=verdict,
            ratio=value / threshold,
            start_us=start_us,
            end_us=end_us,
            offset=int(findings.placed_at[row]),
            cause=lambda name: Finding(
                partition=partition.name,
                series=name,
                rule=rule,
                channel=channel,
                severity=check.severity,
                unit=check.unit,
                start_us=start_us,
                end_us=end_us,
                last_offset=int(findings.offset[row]),
                last_index=int(findings.index[row]),
                value=value,
                threshold=threshold,
                text=check.describe(Problem(channel, value, threshold, usual, start_us, end_us, observed, note)),
                recovered=check.recovered,
            ),
        )

    def _move(self, partition: PartitionState, at: _Step) -> _Change | None:
        """Moves one incident on; returns what is to be published of it."""
        incidents = partition.incidents[at.watched]
        incident, change = incidents.get(at.series), None
        name = partition.series.names.get(at.series)
        if name is None:  # forgotten at this record, or before; or never there
            return None
        if incident is None:
            if at.verdict != Verdict.ANOMALY:
                return None
            incident = incidents[at.series] = Incident()
        if at.watched == BY_SCORE and at.verdict == Verdict.NORMAL and partition.is_blind(at.series):
            return None  # what is frozen or missing is no proof that a fault is over
        status = step(incident, at.verdict, at.ratio, at.start_us, at.end_us, at.policy)
        partition.outbox.changed.add((name.encode(), *at.watched))
        if status is not None:
            cause = at.cause(name)
            if isinstance(cause, Cause):
                cause = replace(cause, quality=partition.reported(at.series))
            if status is Status.FIRING:
                incident.fingerprint = self._fingerprint(cause)
            change = _Change(status, msgspec.structs.replace(incident), cause)
        if status is Status.RESOLVED or not incident.active:
            del incidents[at.series]
        return change

    def _fingerprint(self, cause: Cause | Finding) -> str:
        if isinstance(cause, Finding):
            return self._quality.fingerprint(cause)
        return self._writer.fingerprint(cause)

    def _publish(self, news: Sequence[_News], reconstruct: Reconstruct) -> None:
        """Writes the alerts of what changed; all are reconstructed at once, for a call of the model may take long."""
        causes = [item.cause for *_, item in news if isinstance(item, _Change)]
        values = [cause.values for cause in causes if isinstance(cause, Cause)]
        expected = iter(reconstruct(np.stack(values)) if values else ())
        for piece, offset, item in news:
            event = self._written(item, expected) if isinstance(item, _Change) else item
            is_timed = isinstance(event, QualityAlert) or piece.partition.digests.due_us < FOREVER_US
            now_us = piece.now_us(offset) if is_timed else 0
            self._put_due(piece, now_us)
            if event is not None:
                self._put(piece.partition, event, now_us, offset)

    def _put_due(self, piece: Piece, now_us: int) -> None:
        """Puts out what waited until a time that is over."""
        digests, series = piece.partition.digests, piece.partition.series
        while digests.due_us <= now_us:
            offset = piece.first_at(digests.due_us)
            self._put_out(piece.partition, digests.take_due(series.known_at(offset)), offset)

    def _put(self, partition: PartitionState, event: Event, now_us: int, offset: int) -> None:
        if partition.labels is not None:
            event = _labelled(event, partition.labels)
        if isinstance(event, QualityAlert):
            partition.digests.note(event)
        for each in gates.admitted([event], self._stages, self._counts.suppressed):
            if isinstance(each, QualityAlert):
                found = partition.digests.put(each, now_us, partition.series.known_at(offset))
                self._put_out(partition, found, offset)
            else:
                partition.outbox.alerts.append(each)

    def _put_out(self, partition: PartitionState, found: Iterable[QualityAlert | Collected], offset: int) -> None:
        """Publishes alerts that have waited long enough, or at an offset what was collected of many."""
        for each in found:
            if isinstance(each, QualityAlert):
                partition.outbox.alerts.append(each)
                continue
            check = dict(self._by_number).get(each.rule)  # switched off meanwhile
            severity = "warning" if check is None else check.severity
            unit = "" if check is None else check.unit
            made = self._quality.digest(each, partition.name, offset, severity, unit)
            partition.outbox.alerts += gates.admitted([made], self._stages, self._counts.suppressed)

    def _written(self, change: _Change, expected: Iterator[Float32Array]) -> Event:
        status, incident, cause = change
        if isinstance(cause, Finding):
            return self._quality.write(status, incident, cause)
        return self._writer.write(status, incident, cause, next(expected))


def _labelled(event: Event, known: Labels) -> Event:
    """The event with the labels of its series at its record; as it is, where there are none."""
    if isinstance(event, QualityDigest):
        return event
    kafka = event.data.kafka
    offset = kafka.offset if isinstance(kafka, Source) else kafka.last_offset
    gone = event.data.reason in ("forgotten", "silent")  # at that record, and its labels with it
    labels = known.at(event.data.series, offset - gone)
    if not labels:
        return event
    return msgspec.structs.replace(event, data=msgspec.structs.replace(event.data, labels=labels))


def _longest_runs(manifest: Manifest) -> Float64Array:
    """How many equal values in a row training saw of each channel; infinite, where it did not look."""
    if manifest.quality is None:
        return np.full(len(manifest.channels), np.inf)
    return np.array([each.longest_run for each in manifest.quality.channels], dtype=np.float64)


def _moving(incidents: Mapping[int, Incident], series: Int64Array, verdicts: NDArray[np.int8]) -> list[int]:
    """The rows that may move an incident: those of the series with one, or with a verdict that may open one."""
    over = verdicts == Verdict.ANOMALY
    if not over.any() and not incidents:
        return []
    candidates = set(incidents).union(series[over].tolist())
    rows: list[int] = np.flatnonzero(np.isin(series, list(candidates))).tolist()
    return rows
