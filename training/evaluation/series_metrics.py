"""Metrics of series that are labelled row by row: alerts against events, and the scores of rows, pooled over series.

Rules of this file: a row is judged by what the daemon knows at that row (`series.causal`), and an alert is an incident
that the daemon's policy opens. Events, alerts and time add up over series; average precision and VUS-PR are means over
the series that have them. No point adjustment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import BoolArray, FloatArray, Int64Array
from monitor.detector.decision import Verdict
from monitor.detector.incidents import Policy, Status, steps
from training.evaluation.scored import FlaggedScores
from training.metrics import baseline_scores, bootstrap, events, vus
from training.metrics.bootstrap import Interval
from training.metrics.events import Events
from training.metrics.series import PointMetrics, causal, point_metrics
from training.metrics.windows import ratio

RANDOM_DRAWS = 20
RANDOM_VOLUMES = 5  # over all series together
LEAST, MOST = 5, 100  # blocks of a series: fewer (or fewer events) say nothing of how they vary


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSeries:
    """One series of n rows: which are `anomalous` (n,), when each was taken, `times_secs` (n,) or None, the `period` of
    its first channel in rows, and the `first` and `last` row of its m windows, which are `windows` of all.
    """

    name: str
    anomalous: BoolArray
    times_secs: FloatArray | None
    period: int
    windows: slice
    first: Int64Array
    last: Int64Array


class Pooled(msgspec.Struct, frozen=True, kw_only=True):
    """One scorer on all series.

    Delays are in the unit that `OverSeries` says, misses being the longest; `missed` counts those. `normal_flagged` is
    the share of normal rows that are flagged: where it is large, events are found by chance.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    delay_median: float | None
    delay_p90: float | None
    missed: float
    false_alarms_per_day: float | None
    false_alarms_per_1000_rows: float | None
    normal_flagged: float | None
    average_precision: float | None
    vus_pr: float | None


WITH_INTERVALS = tuple(name for name in Pooled.__struct_fields__ if name != "missed")


class OfSeries(msgspec.Struct, frozen=True, kw_only=True):
    """One scorer on one series: `normal_flagged` of its `normal_rows` are. `metrics` is None where no row is scored."""

    name: str
    events: Events
    normal_rows: int
    normal_flagged: int
    metrics: PointMetrics | None


class OverSeries(msgspec.Struct, frozen=True, kw_only=True):
    """The detector on all series, `baselines` beside it, and each series by itself.

    `intervals` are of the detector's metrics of the same names, by drawing `drawn` again; empty where that is None, as
    one short series has nothing to draw.
    """

    series: int
    rows: int
    unscored_rows: int
    merge_gap: int
    tolerance: int
    delay_unit: str
    events: Events
    detector: Pooled
    drawn: str | None
    intervals: dict[str, Interval | None]
    baselines: dict[str, Pooled]
    each: tuple[OfSeries, ...]


class Alerted(msgspec.Struct, frozen=True, kw_only=True):
    """What the daemon would have published about series without labels.

    `days` are those in which any series had rows, each lasting the median step, and `per_day` counts the alerts of all;
    both None where the rows of one have no times of their own. `per_day_and_series` counts
    those of a series while it is there, None where rows have no times. `flagged` is the share of all rows. `each` adds
    up what has the same name.
    """

    series: int
    rows: int
    alerts: int
    days: float | None
    per_day: float | None
    per_day_and_series: float | None
    flagged: float | None
    each: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How windows become alerts: `hop` in rows, and the daemon's policy."""

    hop: int
    policy: Policy

    @property
    def merge_gap(self) -> int:
        return max(self.policy.close_after, 1) * self.hop

    @property
    def tolerance(self) -> int:
        return self.hop - 1


def over_series(
    series: Sequence[LabelledSeries],
    detector: FlaggedScores,
    baselines: Mapping[str, FlaggedScores],
    rules: Rules,
    *,
    block: int | None,
    seed: int = 0,
) -> OverSeries:
    """All metrics.

    Args:
        detector, baselines: the windows of all series as the detector and further scorers judge them.
        block: rows of a block to draw again where there is one series; None where that is too short.
    """
    each = [_of_series(one, detector, rules) for one in series]
    together = events.pool([one.events for one in each])
    assert together is not None, "one series at least"
    scored = ~np.isnan(detector.scores)
    everything = FlaggedScores(scores=np.where(scored, np.float32(1), np.float32(np.nan)), flagged=scored)
    beside = {**baselines, "flag_everything": everything}
    others = {name: _pooled([_of_series(one, judged, rules) for one in series]) for name, judged in beside.items()}
    drawn, intervals = None, dict[str, Interval | None]()
    if len(series) > 1:
        drawn, intervals = f"{len(series)} series", _over_drawn(each, seed)
    elif block is not None:
        drawn, intervals = f"blocks of {block} rows", _over_blocks(series[0], detector, rules, block, seed)
    return OverSeries(
        series=len(series),
        rows=sum(len(one.anomalous) for one in series),
        unscored_rows=sum(int(np.isnan(_points(one, detector.scores)).sum()) for one in series),
        merge_gap=rules.merge_gap,
        tolerance=rules.tolerance,
        delay_unit="rows" if together.delay_secs is None else "seconds",
        events=together,
        detector=_pooled(each),
        drawn=drawn,
        intervals=intervals,
        baselines={**others, "random": _random(series, detector, rules, seed)},
        each=tuple(each),
    )


def alerted(series: Sequence[LabelledSeries], detector: FlaggedScores, rules: Rules, *, by_clock: bool) -> Alerted:
    """The alerts in series of which nothing is labelled: each row counts as normal, whatever it is.

    `by_clock`: the times of all are of one clock, not rows by a rate.
    """
    each = [_of_series(one, detector, rules, only_flags=True) for one in series]
    pooled = _pooled(each)
    count = sum(one.events.alerts for one in each)
    counts = dict[str, int]()
    for one in each:
        counts[one.name] = counts.get(one.name, 0) + one.events.alerts
    days = _watched_days([one.times_secs for one in series if one.times_secs is not None]) if by_clock else None
    return Alerted(
        series=len(series),
        rows=sum(one.normal_rows for one in each),
        alerts=count,
        days=days,
        per_day=None if days is None else ratio(count, days),
        per_day_and_series=pooled.false_alarms_per_day,
        flagged=pooled.normal_flagged,
        each=counts,
    )


def _watched_days(times_secs: Sequence[FloatArray]) -> float:
    """The days in which any of the series has a row, each lasting its series' median step; a gap is not watched."""
    spans = [np.empty((0, 2))]
    for times in times_secs:
        steps = np.diff(times)
        step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
        spans.append(np.column_stack([times, times + step]))
    start, end = np.concatenate(spans).T
    order = np.argsort(start, kind="stable")
    start, reached = start[order], np.maximum.accumulate(end[order])
    return float((np.minimum(reached, np.append(start[1:], np.inf)) - start).sum()) / events.DAY_SECS


def block_rows(series: Sequence[LabelledSeries], length: int) -> int | None:
    """Rows of a block of the only series: a hundredth of it, but over a window's `length` and the longest event.

    None where it has under five such blocks or events, or there are several series.
    """
    if len(series) != 1:
        return None
    truth = series[0].anomalous
    labelled = events.intervals(truth)
    longest = int(np.diff(labelled, axis=1).max(initial=0)) + 1
    block = max(length + 1, longest + 1, len(truth) // MOST)
    return block if len(labelled) >= LEAST and LEAST * block <= len(truth) else None


def alerts(one: LabelledSeries, judged: FlaggedScores, rules: Rules) -> Int64Array:
    """The incidents of one series as (k, 2) rows: from the one at which it opens, until the window after its last one
    over the threshold closes."""
    flagged = judged.flagged[one.windows]
    verdicts = np.where(flagged, Verdict.ANOMALY, Verdict.NORMAL)
    verdicts[np.isnan(judged.scores[one.windows])] = Verdict.UNSCORABLE
    found, over = steps(verdicts, rules.policy), np.flatnonzero(verdicts == Verdict.ANOMALY)
    opened = found[Status.FIRING]
    until = np.append(found[Status.RESOLVED], len(verdicts))[: len(opened)]
    newest = over[np.searchsorted(over, until) - 1] if len(over) else opened
    ends = np.append(one.last, len(one.anomalous))[newest + 1] - 1
    return np.column_stack([one.last[opened], ends])


def _points(one: LabelledSeries, values: FloatArray) -> NDArray[np.float64]:
    return causal(values[one.windows], one.first, one.last, len(one.anomalous)).values


def _flags(one: LabelledSeries, judged: FlaggedScores) -> BoolArray:
    """Which rows are flagged, (n,)."""
    return np.asarray(_points(one, np.where(np.isnan(judged.scores), np.nan, judged.flagged)) == 1)


def _of_series(one: LabelledSeries, judged: FlaggedScores, rules: Rules, *, only_flags: bool = False) -> OfSeries:
    points = causal(judged.scores[one.windows], one.first, one.last, len(one.anomalous))
    (whole,) = _segments(one, judged, rules, np.zeros(1, dtype=np.int64))
    if only_flags or bool(np.isnan(points.values).all()):
        return whole
    return msgspec.structs.replace(whole, metrics=point_metrics(one.anomalous, points, window=one.period))


def _segments(one: LabelledSeries, judged: FlaggedScores, rules: Rules, starts: Int64Array) -> list[OfSeries]:
    """What alerts and flags give in the segments of a series that begin at the rows `starts`."""
    flags, normal = _flags(one, judged), ~one.anomalous
    opened = alerts(one, judged, rules)
    found = events.segments(
        one.anomalous,
        flags & _within(opened, len(flags)),
        starts=starts,
        merge_gap=rules.merge_gap,
        tolerance=rules.tolerance,
        times_secs=one.times_secs,
        alerts=opened,
    )
    each = zip(found, np.split(normal, starts[1:]), np.split(flags & normal, starts[1:]), strict=True)
    return [
        OfSeries(
            name=one.name,
            events=part,
            normal_rows=int(of_normal.sum()),
            normal_flagged=int(over.sum()),
            metrics=None,
        )
        for part, of_normal, over in each
    ]


def _within(spans: Int64Array, count: int) -> BoolArray:
    """Which of `count` rows lie in any of the (k, 2) `spans`: where no incident is open, nobody is alerted."""
    edges = np.zeros(count + 1, dtype=np.int64)
    np.add.at(edges, spans[:, 0], 1)
    np.add.at(edges, spans[:, 1] + 1, -1)
    return np.asarray(np.cumsum(edges)[:-1] > 0)


def _pooled(each: Sequence[OfSeries]) -> Pooled:
    found = events.pool([one.events for one in each])
    assert found is not None
    delay = found.delay if found.delay_secs is None else found.delay_secs
    metrics = [one.metrics for one in each if one.metrics is not None]
    return Pooled(
        precision=found.precision,
        recall=found.recall,
        f1=found.f1,
        delay_median=delay.median,
        delay_p90=delay.p90,
        missed=delay.missed,
        false_alarms_per_day=found.false_alarms_per_day,
        false_alarms_per_1000_rows=found.false_alarms_per_1000_rows,
        normal_flagged=ratio(sum(one.normal_flagged for one in each), sum(one.normal_rows for one in each)),
        average_precision=_mean([of.average_precision for of in metrics]),
        vus_pr=_mean([None if of.volume is None else of.volume.vus_pr for of in metrics]),
    )


def _random(series: Sequence[LabelledSeries], detector: FlaggedScores, rules: Rules, seed: int) -> Pooled:
    """As many windows as the detector flags, anywhere: the events of several draws together. Random scores' average
    precision is exact, their VUS-PR a mean over draws."""
    rng = np.random.default_rng(seed)
    scored = np.flatnonzero(~np.isnan(detector.scores))
    drawn = []
    for _ in range(RANDOM_DRAWS):
        flagged = np.zeros(len(detector.scores), dtype=np.bool_)
        flagged[scored] = rng.permutation(detector.flagged[scored])
        judged = FlaggedScores(scores=detector.scores, flagged=flagged)
        drawn += [_of_series(one, judged, rules, only_flags=True) for one in series]
    averages, volumes = [], []
    for number, one in enumerate(series):
        truth = one.anomalous[~np.isnan(_points(one, detector.scores))]
        if not len(truth):
            continue
        averages.append(baseline_scores.random_average_precision(len(truth), int(truth.sum())))
        draws = math.ceil(RANDOM_VOLUMES / len(series))
        found = vus.random_volume(one.anomalous, one.period, seed=seed + number, draws=draws)
        volumes.append(None if found is None else found.vus_pr)
    pooled = _pooled(drawn)
    return msgspec.structs.replace(
        pooled, missed=pooled.missed / RANDOM_DRAWS, average_precision=_mean(averages), vus_pr=_mean(volumes)
    )


def _over_drawn(each: Sequence[OfSeries], seed: int) -> dict[str, Interval | None]:
    found = bootstrap.over_draws(
        lambda drawn: _numbers(_pooled([each[index] for index in drawn])),
        bootstrap.series_draws(np.arange(len(each)), seed=seed),
    )
    return dict(zip(WITH_INTERVALS, found, strict=True))


def _over_blocks(
    one: LabelledSeries, detector: FlaggedScores, rules: Rules, block: int, seed: int
) -> dict[str, Interval | None]:
    """Alerts and events are not cut: segments are drawn with what begins in them. Ranks of rows are by moving blocks;
    a volume has no interval, as labels would have edges where blocks meet."""
    count = len(one.anomalous)
    starts = np.arange(count // block, dtype=np.int64) * block
    ranked = bootstrap.of_draws(
        one.anomalous,
        _points(one, detector.scores),
        _flags(one, detector),
        bootstrap.block_draws(count, block, seed=seed),
    )
    intervals = _over_drawn(_segments(one, detector, rules, starts), seed)
    return {**intervals, "average_precision": ranked.average_precision}


def _numbers(pooled: Pooled) -> list[float | None]:
    """The metrics that have intervals. A delay that a draw does not have is longer than any: NaN, and no interval."""
    found = {name: getattr(pooled, name) for name in WITH_INTERVALS}
    return [math.nan if value is None and name.startswith("delay") else value for name, value in found.items()]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
