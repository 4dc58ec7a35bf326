"""What counts as found and as false, and what the exit code is made of."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import pytest

from monitor.demo.findings import (
    AlertedIncident,
    Incidents,
    Matched,
    Outcome,
    PlantedInterval,
    covered_share,
    match,
    microseconds,
)
from monitor.messages.alerts import Alert, Data, Episode, Kafka, Model, Score, Window, rfc3339

S = 1_000_000
START_US = 1_790_000_000 * S
SLACK_US = S // 2


def interval(start_s: float, stop_s: float, series: str = "a") -> PlantedInterval:
    return PlantedInterval(series=series, start_us=round(start_s * S), stop_us=round(stop_s * S))


def incident(start_s: float, end_s: float, series: str = "a") -> AlertedIncident:
    return AlertedIncident(series=series, start_us=round(start_s * S), end_us=round(end_s * S))


def make_alert(
    status: Literal["firing", "update", "resolved"],
    *,
    started_s: float,
    end_s: float,
    ended_s: float | None = None,
    name: str = "one",
    series: str = "a",
) -> Alert:
    """An alert whose window ends `end_s` after START_US."""

    def at(seconds: float) -> str:
        return rfc3339(START_US + round(seconds * S))

    return Alert(
        id=f"{name}-{status}-{end_s}", source="/telltale/demo", subject=series, time=at(end_s), partitionkey=series,
        data=Data(
            status=status, severity="error", fingerprint=name, summary="", series=series,
            score=Score(kind="mae", value=0.2, threshold=0.1, ratio=2.0, quantile=1.0),
            episode=Episode(
                started_at=at(started_s), ended_at=None if ended_s is None else at(ended_s), windows=2, peak_ratio=2.5
            ),
            window=Window(start=at(end_s - 0.5), end=at(end_s), length=64),
            contributors=[], model=Model(name="m", version="1", sha256="0"),
            kafka=Kafka(topic="t", partition=0, first_offset=0, last_offset=1, group="g"),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "false", "one"),
    [
        # planted          [10 ======== 11)       slack to 11.5
        (True, False, incident(10.2, 10.8)),
        (True, False, incident(9.0, 10.0)),  # its last sample is the planted interval's first
        (False, True, incident(9.0, 9.999)),  # it ends before
        (True, False, incident(10.999, 12.0)),
        (False, False, incident(11.0, 12.0)),  # stop is not in the interval; but a window that began in it may be late
        (False, False, incident(11.499, 12.0)),
        (False, True, incident(11.5, 12.0)),
        (False, True, incident(10.2, 10.8, "b")),  # somebody else's
        (True, False, incident(0.0, 100.0)),
    ],
)
def test_the_rule_at_its_edges(found: bool, false: bool, one: AlertedIncident) -> None:
    planted = interval(10, 11)
    matched = match([planted], [one], SLACK_US)
    assert (matched.found, matched.missed) == (((planted,), ()) if found else ((), (planted,)))
    assert matched.false == ((one,) if false else ())


def test_one_incident_finds_all_that_it_overlaps_and_several_may_find_one() -> None:
    planted = [interval(10, 11), interval(12, 13), interval(20, 21)]
    matched = match(planted, [incident(10.5, 12.5), incident(20.0, 20.3), incident(20.5, 20.9)], SLACK_US)
    assert matched == Matched(found=tuple(planted), missed=(), false=())


def test_an_incident_is_followed_through_its_life() -> None:
    followed = Incidents()
    followed.take(make_alert("firing", started_s=1.0, end_s=1.6))
    followed.take(make_alert("update", started_s=1.0, end_s=4.0))
    (open_one,) = followed.all()
    assert (open_one.start_us, open_one.end_us, open_one.resolved) == (START_US + S, START_US + 4 * S, False)
    followed.take(make_alert("firing", started_s=2.0, end_s=2.5, name="two", series="b"))
    followed.take(make_alert("resolved", started_s=1.0, end_s=6.0, ended_s=4.2))
    assert [(one.series, one.end_us - START_US, one.resolved) for one in followed.all()] == [
        ("a", 4_200_000, True),
        ("b", 2_500_000, False),
    ]
    assert (followed.alerts, followed.duplicates) == (4, 0)


def test_an_alert_that_comes_twice_is_noticed() -> None:
    followed = Incidents()
    for _ in range(2):
        followed.take(make_alert("firing", started_s=1.0, end_s=1.6))
    assert (followed.alerts, followed.duplicates, len(followed.all())) == (2, 1, 1)


def test_the_share_that_incidents_cover() -> None:
    assert covered_share([incident(0, 3), incident(5, 6)], 40 * S) == pytest.approx(0.1)


@pytest.mark.parametrize("time_us", [START_US, START_US + 1, START_US + 999_999, START_US + 80_000])
def test_times_come_back_to_the_microsecond(time_us: int) -> None:
    assert microseconds(rfc3339(time_us)) == time_us


OUTCOME = Outcome(
    planted=2, matched=Matched(found=(interval(1, 2), interval(3, 4)), missed=(), false=()), incidents=2, alerts=4,
    duplicates=0, covered_share=0.01, series_hours=0.5, planted_counts=True, latencies_s=(0.010, 0.020, 0.030),
    samples=1000, records=100, feed_s=2.0, speed=36.0, what="beats",
)  # fmt: skip


def test_all_as_it_should_be() -> None:
    assert OUTCOME.failures() == ()
    assert OUTCOME.verdict() == "Everything planted was found, and nothing else"
    one_false = replace(OUTCOME, matched=replace(OUTCOME.matched, false=(incident(50, 51),)))
    assert one_false.verdict() == "Everything planted was found, with 1 false incident"
    summary = dict(OUTCOME.lines())
    assert summary["planted"] == "2 beats: 2 found, 0 missed"
    assert summary["false"] == "0 of 2 incidents, 0.0 per patient-hour"
    assert summary["latency"].startswith("p50 20 ms, p99 30 ms")
    assert summary["rate"] == "500 samples/s in 50 records/s, 36 times real time"


def test_real_beats_are_counted_by_the_beat() -> None:
    matched = replace(OUTCOME.matched, false=(incident(50, 51),))
    summary = dict(replace(OUTCOME, matched=matched, planted_counts=False).lines())
    assert summary["false"] == "1 of 2 incidents, 1.0% of 98 normal ones"


def test_why_the_exit_code_is_not_zero() -> None:
    missed = Matched(found=(), missed=(interval(1, 2),), false=())
    assert "1 of 2 planted beats" in replace(OUTCOME, matched=missed).failures()[0]
    assert replace(OUTCOME, matched=missed, planted_counts=False).failures() == ()
    assert "published twice" in replace(OUTCOME, duplicates=1).failures()[0]
    assert replace(OUTCOME, problems=("the daemon ended",)).failures() == ("the daemon ended",)


@pytest.mark.parametrize(
    ("hours", "false", "right"), [(0.1, 1, True), (0.1, 2, False), (3.0, 3, True), (3.0, 4, False)]
)
def test_one_false_incident_an_hour_is_right(hours: float, false: int, right: bool) -> None:
    matched = replace(OUTCOME.matched, false=(incident(50, 51),) * false)
    outcome = replace(OUTCOME, matched=matched, series_hours=hours)
    assert (outcome.failures() == ()) is right
    assert outcome.false_per_hour == pytest.approx(false / hours)


def test_without_alerts_there_is_no_latency() -> None:
    assert math.isnan(replace(OUTCOME, latencies_s=()).latency_ms(0.5))
