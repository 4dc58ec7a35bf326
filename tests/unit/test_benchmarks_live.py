"""What the benchmark on public streams counts, by hand; and that its records are what the daemon reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from monitor.datafiles import SeriesTable
from monitor.detector.incidents import Policy
from monitor.formats.decoder import Decoder, InputRules
from tests.benchmarks.live import counting, sources
from tests.helpers import make_artifact, make_columns

DAY_S = 86_400


def table(labels: str, numbers: list[float] | None = None, series: str = "a") -> SeriesTable:
    """A row an hour from 1970 on."""
    count = len(labels)
    return SeriesTable(
        samples=np.array(numbers or [0.0] * count, dtype=np.float32)[:, None],
        channels=("value",),
        time_us=np.arange(count, dtype=np.int64) * 3_600_000_000,
        labels=np.array([int(mark) for mark in labels]),
        series=series,
    )


def alert(status: str, hour: int, fingerprint: str, kind: str = "alert", **more: Any) -> dict[str, Any]:
    data = {"status": status, "series": "a", "fingerprint": fingerprint} | more
    return {"type": f"io.telltale.{kind}.v1", "time": f"1970-01-01T{hour:02}:00:00Z", "data": data}


def hours(*spans: tuple[int, int]) -> counting.Spans:
    return {"a": [(first * 3_600_000_000, last * 3_600_000_000) for first, last in spans]}


def test_incidents_of_the_score_and_openings_of_other_rules() -> None:
    alerts = [
        alert("firing", 2, "x"),
        alert("firing", 3, "q", kind="quality", rule="flatline", channel="flow"),
        alert("update", 3, "x"),
        alert("resolved", 4, "x"),
        alert("resolved", 5, "q", kind="quality", rule="flatline", channel="flow"),
        alert("firing", 6, "y"),
    ]
    found, openings = counting.incidents(alerts, {"a": 9 * 3_600_000_000})
    assert found == hours((2, 4), (6, 9)), "one that is never resolved is open to the end"
    assert openings == {("flatline", "flow"): 1}


def test_counts_by_hand() -> None:
    """Events at rows 2-3, 8-9 and 14; incidents at 1-2 (open before), 9-10, 12 (false), and none at 14."""
    one = table("001100001100001000")
    counts = counting.count([one], hours((1, 2), (9, 10), (12, 12)), window_length=1)
    assert (counts.events, counts.touched, counts.own, counts.incidents, counts.false_alarms) == (3, 2, 1, 3, 1)
    assert counts.share == pytest.approx(3 / 13), "of normal rows 1, 10 and 12 are under an incident"
    assert counts.median_delay_s is None, "two of three were not found by an opening"
    assert counts.longest_delay_s == 3600
    # normal are the rows of no event and not the one after it: 13 less rows 4, 10 and 15
    assert counts.per_day == pytest.approx(1 / (10 / 24))


def test_an_opening_after_an_event_counts_within_a_windows_length() -> None:
    one = table("0011000000")
    assert counting.count([one], hours((5, 5)), window_length=2).own == 1
    assert counting.count([one], hours((6, 6)), window_length=2).own == 0


def test_baselines() -> None:
    one = table("0000110000", [0, 1, 0, 1, 5, 5, 0, 1, 0, 1])
    always = counting.always_on([one], 1)
    assert (always.touched, always.own, always.share) == (1, 0, 1.0)
    learnt = table("0001", [0, 1, 0, 9])
    spans = counting.out_of_learnt_range([learnt], [one], Policy(close_after=2))
    assert spans == hours((4, 7)), "the learnt row that is labelled widens no range"
    chance = counting.by_chance([one], spans, 1)
    assert 0 < chance.touched < 1
    assert 0.1 < chance.share < 0.5


def test_times_that_step_back_are_counted_in_order() -> None:
    late = table("0011")
    swapped = SeriesTable(
        samples=late.samples[[1, 0, 2, 3]],
        channels=late.channels,
        time_us=np.asarray(late.time_us)[[1, 0, 2, 3]],
        labels=np.asarray(late.labels)[[1, 0, 2, 3]],
        series="a",
    )
    assert counting.count([swapped], hours((2, 3)), 0) == counting.count([late], hours((2, 3)), 0)


def test_rows_and_chunks_are_what_the_daemon_reads() -> None:
    one = table("000", [0.1, float("nan"), 3e-7])
    records = list(sources.rows_as_json(one))
    decoded = Decoder(make_artifact().manifest, InputRules(oldest_time="1970-01-01T00:00:00Z")).decode(
        make_columns([record.value for record in records])
    )
    assert not decoded.rejected
    np.testing.assert_array_equal(decoded.values, one.samples)
    assert decoded.start_us.tolist() == [record.time_us for record in records]
    signal = (np.arange(8)[:, None] / 4).astype(np.float32)
    beats = SeriesTable(
        samples=signal, channels=("value",), time_us=np.arange(8, dtype=np.int64) * 250_000, sampling_rate_hz=4.0
    )
    chunks = list(sources.seconds_as_chunks(beats))
    rules = InputRules(oldest_time="1970-01-01T00:00:00Z", timestamp_unit="ms")
    decoded = Decoder(make_artifact().manifest, rules).decode(make_columns([chunk.value for chunk in chunks]))
    assert decoded.counts.tolist() == [4, 4]
    np.testing.assert_array_equal(decoded.values, signal)
