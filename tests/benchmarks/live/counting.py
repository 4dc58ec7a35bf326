"""What the alerts of a stream were worth: events found, false alarms, how long incidents were open, and baselines.

Rules of this file: nothing is point-adjusted. An incident is open from the event time of its first alert to that of its
last, or to the end of the stream. An event is touched where an incident is open at one of its rows, or up to a window's
length after it; `own` is stricter: an incident *opened* there, for one that never closes touches everything. Delays are
from an event's first row to the first such opening, a miss being longer than any. An incident that touches no event is
a false alarm. Rows after an event count as normal.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.datafiles import SeriesTable
from monitor.detector.arrays import BoolArray, Int64Array
from monitor.detector.incidents import Policy, Status, steps
from monitor.detector.times import iso_us
from monitor.messages.alerts import TYPE
from training.metrics import events

DAY_US = 86_400_000_000
Spans = dict[str, list[tuple[int, int]]]  # by series: when each incident opened, and when it was resolved
Quality = tuple[str, str]  # rule, channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Of all series of a stream. `share` is of normal rows, under an open incident; delays are in seconds."""

    events: int
    touched: float
    own: float
    incidents: float
    false_alarms: float
    per_day: float
    share: float
    median_delay_s: float | None = None
    longest_delay_s: float | None = None


def incidents(alerts: Iterable[Mapping[str, Any]], ends_us: Mapping[str, int]) -> tuple[Spans, Counter[Quality]]:
    """The score's incidents by series, which `ends_us` says the end of; and how many those of data quality opened."""
    spans: dict[tuple[str, str], list[int]] = {}
    openings: Counter[Quality] = Counter()
    for alert in alerts:
        data, at_us = alert["data"], iso_us(alert["time"])
        incident = data["series"], data["fingerprint"]
        if alert["type"] != TYPE:
            openings[data["rule"], data["channel"] or ""] += data["status"] == "firing"
        elif data["status"] == "firing":
            spans[incident] = [at_us, max(at_us, ends_us[data["series"]])]
        elif data["status"] == "resolved":
            spans[incident][1] = max(at_us, spans[incident][0])
    by_series: Spans = defaultdict(list)
    for (series, _), (first, last) in spans.items():
        by_series[series].append((first, last))
    return dict(by_series), +openings


def count(tables: Sequence[SeriesTable], spans: Mapping[str, Sequence[tuple[int, int]]], window_length: int) -> Counts:
    """How the incidents `spans` meet the tables' labels."""
    touched, own, under, normal = [], [], 0, 0
    for table in map(in_time, tables):
        assert table.labels is not None
        assert table.time_us is not None
        truth, seconds = table.labels == 1, table.time_us / 1e6
        rows = _rows(table.time_us, spans.get(table.series, ()))
        is_open = covered(rows, len(truth))
        opened = np.zeros(len(truth), dtype=np.bool_)
        opened[rows[:, 0]] = True
        touched.append(events.report(truth, is_open, alerts=rows, tolerance=window_length, times_secs=seconds))
        own.append(events.report(truth, opened, tolerance=window_length, times_secs=seconds))
        under += int((is_open & ~truth).sum())
        normal += int((~truth).sum())
    pooled, opened_in = events.pool(touched), events.pool(own)
    assert pooled is not None
    assert opened_in is not None
    assert opened_in.delay_secs is not None
    delays = [delay for delay in opened_in.found_after_secs if delay is not None]
    return Counts(
        events=pooled.events,
        touched=pooled.found,
        own=opened_in.found,
        incidents=pooled.alerts,
        false_alarms=pooled.false_alarms,
        per_day=pooled.false_alarms_per_day or 0.0,
        share=under / normal,
        median_delay_s=opened_in.delay_secs.median,
        longest_delay_s=max(delays, default=None),
    )


def always_on(tables: Sequence[SeriesTable], window_length: int) -> Counts:
    """An incident that opens with each series' first row and never ends."""
    spans = {table.series: [(int(_times(table).min()), int(_times(table).max()))] for table in tables}
    return count(tables, spans, window_length)


def by_chance(tables: Sequence[SeriesTable], spans: Spans, window_length: int, draws: int = 100) -> Counts:
    """The mean of the same incidents at other times: each series' shifted by as much as is drawn, round its end,
    where one is cut off."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        shifted: Spans = {}
        for table in tables:
            first, last = int(_times(table).min()), int(_times(table).max())
            by = int(rng.integers(last - first + 1))
            moved = [
                (first + (opened - first + by) % (last - first + 1), ended - opened)
                for opened, ended in spans.get(table.series, ())
            ]
            shifted[table.series] = [(opened, min(opened + lasts, last)) for opened, lasts in moved]
        found.append(count(tables, shifted, window_length))
    return Counts(
        events=found[0].events,
        **{
            name: float(np.mean([getattr(each, name) for each in found]))
            for name in ("touched", "own", "incidents", "false_alarms", "per_day", "share")
        },
    )


def out_of_learnt_range(learnt: Sequence[SeriesTable], tables: Sequence[SeriesTable], policy: Policy) -> Spans:
    """A rule of thumb: rows where any channel leaves the range of the normal learnt rows, by the same policy."""
    normal = np.concatenate([t.samples if t.labels is None else t.samples[t.labels != 1] for t in learnt])
    low, high = np.nanmin(normal, axis=0), np.nanmax(normal, axis=0)
    spans: Spans = {}
    for table in map(in_time, tables):
        over = ((table.samples < low) | (table.samples > high)).any(axis=1)
        found = steps(over.astype(np.int8), policy)
        ends = np.append(found[Status.RESOLVED], len(over) - 1)[: len(found[Status.FIRING])]
        times = _times(table)
        spans[table.series] = list(zip(times[found[Status.FIRING]].tolist(), times[ends].tolist(), strict=True))
    return spans


def in_time(table: SeriesTable) -> SeriesTable:
    """The table's rows in order of time, as labels refer to it."""
    order = np.argsort(_times(table), kind="stable")
    labels = None if table.labels is None else table.labels[order]
    return SeriesTable(
        samples=table.samples[order],
        channels=table.channels,
        time_us=_times(table)[order],
        labels=labels,
        series=table.series,
    )


def covered(rows: Int64Array, length: int) -> BoolArray:
    """(length,) whether any of the intervals (k, 2) of first and last row holds each row."""
    change = np.zeros(length + 1, dtype=np.int64)
    np.add.at(change, rows[:, 0], 1)
    np.add.at(change, rows[:, 1] + 1, -1)
    found: BoolArray = np.cumsum(change)[:-1] > 0
    return found


def days(table: SeriesTable) -> float:
    """How long a table lasts, by its first and last time."""
    return float(np.ptp(_times(table))) / DAY_US


def _rows(times_us: Int64Array, spans: Sequence[tuple[int, int]]) -> Int64Array:
    """First and last row of each span, (k, 2), rising."""
    found = np.array(sorted(spans), dtype=np.int64).reshape(-1, 2)
    first = np.searchsorted(times_us, found[:, 0])
    last = np.searchsorted(times_us, found[:, 1], side="right") - 1
    first = np.minimum(first, len(times_us) - 1)
    return np.column_stack([first, np.maximum(first, last)])


def _times(table: SeriesTable) -> Int64Array:
    assert table.time_us is not None
    return table.time_us
