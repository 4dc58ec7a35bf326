"""What it takes to be green, and what ends it. Times are numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitor.backends.abstract import Progress, TopicPartition
from monitor.backends.local import LocalBackend, LocalLog
from monitor.config.options import Config
from monitor.processing.counts import Counts
from monitor.serving.daemon import Daemon
from monitor.serving.health import STUCK_S, Health
from monitor.serving.telemetry import Telemetry, Vitals
from tests.helpers import make_artifact, make_processor

ONE, TWO = TopicPartition("in", 0), TopicPartition("in", 1)
NOW = 1_000.0
ARTIFACT = make_artifact(kind="record", length=4, threshold=0.5)
WATCHED = Progress(read=7, committed=7, end=7, answered_s=NOW, assured_s=NOW)


def health(**partitions: Progress) -> Health:
    made = Health(ready_age_s=10.0, answered_s=lambda: NOW)
    made.observe({TopicPartition("in", int(name[1:])): progress for name, progress in partitions.items()}, restoring=0)
    return made


def test_before_it_joined_it_is_not_ready() -> None:
    assert Health().why_not_ready(NOW) == ["no partition is being read yet"]


def test_a_standby_without_partitions_is_not_ready() -> None:
    made = Health(answered_s=lambda: NOW)
    made.observe({}, restoring=0)
    assert made.why_not_ready(NOW) == ["no partition is being read yet"]


def test_ready_while_the_proof_of_every_partition_is_young() -> None:
    made = health(p0=WATCHED, p1=replace(WATCHED, assured_s=NOW - 9))
    assert made.why_not_ready(NOW) == []
    assert made.why_not_ready(NOW + 1) == []
    (reason,) = made.why_not_ready(NOW + 2)
    assert reason == ("1 of 2 partitions were neither committed nor read to their end within 10 s: in-1 (11 s ago)")


def test_a_partition_that_was_never_committed_is_named() -> None:
    (reason,) = health(p0=Progress(read=0)).why_not_ready(NOW)
    assert reason.endswith("in-0 (never)")


def test_the_records_behind_are_said() -> None:
    (reason,) = health(p0=replace(WATCHED, end=19, assured_s=NOW - 30)).why_not_ready(NOW)
    assert reason.endswith("in-0 (30 s ago, 12 records behind)")


def test_a_thousand_partitions_make_a_short_reason() -> None:
    made = Health(answered_s=lambda: NOW)
    made.observe({TopicPartition("in", number): Progress() for number in range(1_000)}, restoring=0)
    (reason,) = made.why_not_ready(NOW)
    assert "1000 of 1000 partitions" in reason
    assert len(reason) < 300


def test_a_loop_that_stands_still_is_not_ready_before_it_is_not_live() -> None:
    made = health(p0=WATCHED)
    assert made.why_not_ready(NOW + 11)
    assert made.why_not_live(NOW + 11, progressed_s=NOW) == []
    assert made.why_not_live(NOW + STUCK_S + 1, progressed_s=NOW) == ["the loop has not turned for 61 s"]


def test_a_transaction_may_take_its_time() -> None:
    """A commit that no broker answers, or the wait for a predecessor's: a restart would not help."""
    config = Config.model_validate({"kafka": {"transaction_timeout_ms": 120_000}})
    vitals = Vitals()
    telemetry, processor = Telemetry(vitals, Counts, {}, 1.0), make_processor(config, ARTIFACT)
    Daemon(config, LocalBackend(LocalLog(), config), processor, ARTIFACT.scorer(), telemetry, vitals)
    vitals.health.observe({ONE: WATCHED}, restoring=0)
    assert vitals.health.why_not_live(NOW + 179, progressed_s=NOW) == []
    assert vitals.health.why_not_live(NOW + 181, progressed_s=NOW)


def test_only_a_stall_that_a_new_client_does_not_end_is_not_live() -> None:
    assert health(p0=replace(WATCHED, stalls=1)).why_not_live(NOW, progressed_s=NOW) == []
    (why,) = health(p0=replace(WATCHED, stalls=2), p1=WATCHED).why_not_live(NOW, progressed_s=NOW)
    assert why == "in-0 is not read beyond offset 7, even by a new client"


def test_partitions_that_wait_to_be_restored() -> None:
    made = health(p0=WATCHED)
    made.observe(made.progress, restoring=2)
    assert made.why_not_ready(NOW) == ["2 partitions are yet to be restored"]


def test_others_may_hold_readiness_back() -> None:
    made = health(p0=WATCHED)
    made.holds["artifact"] = "every record is refused"
    assert made.why_not_ready(NOW) == ["every record is refused"]
    del made.holds["artifact"]
    assert made.why_not_ready(NOW) == []


def test_what_the_log_lacks_is_a_reason() -> None:
    made = health(p0=WATCHED)
    made.troubles = lambda: ["input topic b is not there"]
    assert made.why_not_ready(NOW) == ["input topic b is not there"]
    assert made.why_not_live(NOW, progressed_s=NOW) == []
    made.observe({}, restoring=0)
    assert made.why_not_ready(NOW) == ["no partition is being read yet", "input topic b is not there"]


def test_silence_of_the_brokers() -> None:
    made = health(p0=replace(WATCHED, assured_s=NOW + 30))
    assert (made.connected(NOW), made.silent_s(NOW)) == (True, 0.0)
    assert (made.connected(NOW + 28), made.silent_s(NOW + 28)) == (False, 28.0)
    assert made.why_not_ready(NOW + 28) == ["no broker has responded for 28 s"]
    never = Health()
    assert (never.connected(NOW), never.silent_s(NOW)) == (False, None)


def test_lag_is_what_is_known() -> None:
    made = health(p0=replace(WATCHED, end=10), p1=replace(WATCHED, end=20, answered_s=NOW - 11))
    assert made.lag({ONE: 1, TWO: 5}, NOW) == {ONE: 3}
    assert made.lag({ONE: 8}, NOW) == {ONE: 8}, "what came with the records may be newer"
    assert made.lag({ONE: 0, TWO: 0}, NOW + 30) == {}, "unknown is not 0"


@pytest.mark.parametrize(
    "unknown", [replace(WATCHED, read=None), replace(WATCHED, end=None), replace(WATCHED, answered_s=None)]
)
def test_lag_of_what_is_not_read_or_not_answered_is_unknown(unknown: Progress) -> None:
    assert health(p0=unknown).lag({ONE: 0}, NOW) == {}
