"""Alerts against labelled events: how many were found, how soon, and how often nothing was there.

Rules of this file: only flagged rows count. A row between two flags may join them into one alert, but it finds nothing;
an event that was touched at one row is found, not filled in (no point adjustment). A miss is a delay longer than any,
never a delay left out. Rows count from 0, and an interval holds its last row.

    truth     ....[=======]..........[====]....
    flagged   ..!....!!.!.....!!...............
    alerts    ..|....|--|.....||...............     merge_gap 2: three alerts, one of them true
                  ^--^                              found 3 rows after it began; the other event is missed
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import BoolArray, Int64Array
from monitor.errors import DataError
from training.metrics.windows import ratio

DAY_SECS = 86_400.0


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """From an event's first row to the first flag in it, in one unit, over *all* events.

    `median` is the least delay within which at least half of them were found, `p90` nine tenths; None where so many
    were never found. `missed` counts those.
    """

    unit: str
    median: float | None
    p90: float | None
    missed: int


class Events(msgspec.Struct, frozen=True, kw_only=True):
    """Event-level metrics of one series, or of several pooled; alerts are the incidents that are published.

    `found_after` holds one delay in rows for each event, None for a miss; `found_after_secs` the same in seconds, empty
    where rows have no time. Rates of false alarms count normal rows only: `normal_rows`, `normal_days`.
    """

    events: int
    found: int
    alerts: int
    true_alerts: int
    false_alarms: int
    precision: float | None
    recall: float | None
    f1: float | None
    delay: Delays
    delay_secs: Delays | None
    normal_rows: int
    normal_days: float | None
    false_alarms_per_day: float | None
    false_alarms_per_1000_rows: float | None
    merge_gap: int
    tolerance: int
    found_after: tuple[int | None, ...]
    found_after_secs: tuple[float | None, ...]


def intervals(marked: BoolArray, *, gap: int = 1) -> Int64Array:
    """The runs of True in (n,), as (k, 2) first and last row; fewer than `gap` False rows between two join them."""
    edges = np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8))
    first, last = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    apart = first[1:] - last[:-1] - 1 >= max(gap, 1)
    kept_first, kept_last = np.concatenate([[True], apart]), np.concatenate([apart, [True]])
    if not len(first):
        return np.empty((0, 2), dtype=np.int64)
    return np.column_stack([first[kept_first], last[kept_last]]).astype(np.int64)


def report(
    anomalous: BoolArray,
    flagged: BoolArray,
    *,
    merge_gap: int = 1,
    tolerance: int = 0,
    times_secs: NDArray[np.floating] | None = None,
    alerts: Int64Array | None = None,
) -> Events:
    """Events of one series.

    Args:
        anomalous: (n,) labelled rows; each run is an event.
        flagged: (n,) rows over the threshold; an unscorable row is not flagged.
        merge_gap: alerts with fewer unflagged rows between them are one alert.
        tolerance: so many rows after an event's end still belong to it, though not those of the next event. A causal
            window that ends every `hop` rows can't flag an event's last row before `hop - 1` rows later.
        times_secs: (n,) when each row was taken, for delays in seconds and false alarms a day. The time of a row is the
            median step, so that a gap in the data counts as unwatched; a step back counts as no delay.
        alerts: (k, 2) first and last row of each alert, where more than `merge_gap` decides which flags are one.

    Raises:
        DataError: the arrays don't belong together, or a time is not a number.
    """
    (whole,) = segments(
        anomalous,
        flagged,
        starts=np.zeros(1, dtype=np.int64),
        merge_gap=merge_gap,
        tolerance=tolerance,
        times_secs=times_secs,
        alerts=alerts,
    )
    return whole


def segments(
    anomalous: BoolArray,
    flagged: BoolArray,
    *,
    starts: Int64Array,
    merge_gap: int = 1,
    tolerance: int = 0,
    times_secs: NDArray[np.floating] | None = None,
    alerts: Int64Array | None = None,
) -> list[Events]:
    """`report` in pieces that pool to it: of the segments that begin at the rows `starts` (s,), rising from 0.

    Nothing is cut: an event, and an alert, belongs whole to the segment in which it begins.
    """
    lengths = {len(anomalous), len(flagged)} | (set() if times_secs is None else {len(times_secs)})
    if len(lengths) > 1:
        raise DataError(f"events: labels, flags and times have {sorted(lengths)} rows; they must be of the same rows")
    if times_secs is not None and not np.isfinite(times_secs).all():
        raise DataError(f"events: {int((~np.isfinite(times_secs)).sum())} rows have no time; give a time for every row")
    labelled = intervals(anomalous)
    reach = np.minimum(labelled[:, 1] + tolerance, np.append(labelled[1:, 0], len(anomalous)) - 1)
    belongs = np.zeros(len(anomalous) + 1, dtype=np.int64)
    np.add.at(belongs, labelled[:, 0], 1)
    np.add.at(belongs, reach + 1, -1)
    within: BoolArray = np.cumsum(belongs)[:-1] > 0

    rows = np.flatnonzero(flagged)
    # the first flag at or after each event's start, len(flagged) where there is none
    first = np.append(rows, len(flagged))[np.searchsorted(rows, labelled[:, 0])]
    hit = first <= reach
    after = [int(d) if h else None for d, h in zip(first - labelled[:, 0], hit, strict=True)]
    seconds: list[float | None] = []
    if times_secs is not None:
        seconds = [
            max(float(times_secs[at] - times_secs[start]), 0.0) if h else None
            for at, start, h in zip(first, labelled[:, 0], hit, strict=True)
        ]

    alerts = intervals(flagged, gap=merge_gap) if alerts is None else alerts
    hits = np.concatenate([[0], np.cumsum(flagged & within)])
    true = np.concatenate([[0], np.cumsum(hits[alerts[:, 1] + 1] > hits[alerts[:, 0]])])
    normal = np.concatenate([[0], np.cumsum(~within)])
    bounds = np.append(starts, len(anomalous))
    of_event, of_alert = np.searchsorted(labelled[:, 0], bounds), np.searchsorted(alerts[:, 0], bounds)
    step = None if times_secs is None else _step(times_secs)
    made = []
    for part in range(len(starts)):
        mine = slice(of_event[part], of_event[part + 1])
        count = int(normal[bounds[part + 1]] - normal[bounds[part]])
        made.append(
            _metrics(
                after=tuple(after[mine]),
                seconds=tuple(seconds[mine]),
                alerts=int(of_alert[part + 1] - of_alert[part]),
                true_alerts=int(true[of_alert[part + 1]] - true[of_alert[part]]),
                normal_rows=count,
                normal_days=None if step is None else count * step / DAY_SECS,
                merge_gap=merge_gap,
                tolerance=tolerance,
            )
        )
    return made


def pool(reports: Sequence[Events]) -> Events | None:
    """Several series as one: counts, delays and normal time add up, so rates are those of one stream (a day *each*).

    None without any.

    Raises:
        DataError: they were made with different `merge_gap` or `tolerance`, or not all have times.
    """
    if not reports:
        return None
    rules = {(each.merge_gap, each.tolerance, each.normal_days is None) for each in reports}
    if len(rules) > 1:
        raise DataError(f"events: reports made by different rules can't be pooled (gap, tolerance, no time): {rules}")
    days = [each.normal_days for each in reports if each.normal_days is not None]
    return _metrics(
        after=tuple(delay for each in reports for delay in each.found_after),
        seconds=tuple(delay for each in reports for delay in each.found_after_secs),
        alerts=sum(each.alerts for each in reports),
        true_alerts=sum(each.true_alerts for each in reports),
        normal_rows=sum(each.normal_rows for each in reports),
        normal_days=math.fsum(days) if days else None,
        merge_gap=reports[0].merge_gap,
        tolerance=reports[0].tolerance,
    )


def delays(after: Sequence[float | None], unit: str) -> Delays:
    """Quantiles with misses as the longest delays (the inverted distribution function; no interpolation)."""
    ordered = sorted(math.inf if delay is None else float(delay) for delay in after)

    def within(share: float) -> float | None:
        value = ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else math.inf
        return None if math.isinf(value) else value

    return Delays(unit=unit, median=within(0.5), p90=within(0.9), missed=sum(delay is None for delay in after))


def _metrics(
    *,
    after: tuple[int | None, ...],
    seconds: tuple[float | None, ...],
    alerts: int,
    true_alerts: int,
    normal_rows: int,
    normal_days: float | None,
    merge_gap: int,
    tolerance: int,
) -> Events:
    found, false = sum(delay is not None for delay in after), alerts - true_alerts
    precision, recall = ratio(true_alerts, alerts), ratio(found, len(after))
    f1 = None if recall is None else 0.0
    if precision and recall:
        f1 = 2 * precision * recall / (precision + recall)
    return Events(
        events=len(after),
        found=found,
        alerts=alerts,
        true_alerts=true_alerts,
        false_alarms=false,
        precision=precision,
        recall=recall,
        f1=f1,
        delay=delays(after, "rows"),
        delay_secs=None if normal_days is None else delays(seconds, "seconds"),
        normal_rows=normal_rows,
        normal_days=normal_days,
        false_alarms_per_day=None if normal_days is None else ratio(false, normal_days),
        false_alarms_per_1000_rows=ratio(1000 * false, normal_rows),
        merge_gap=merge_gap,
        tolerance=tolerance,
        found_after=after,
        found_after_secs=seconds,
    )


def _step(times_secs: NDArray[np.floating]) -> float:
    """The time of a row: the median step, or a share of one where most rows share a time; 0 where times run back."""
    steps = np.diff(times_secs.astype(np.float64))
    forward = steps[steps > 0]
    if not len(forward):
        return 0.0
    median = float(np.median(steps))
    return max(median, 0.0) if median else float(np.median(forward)) * len(forward) / len(steps)
