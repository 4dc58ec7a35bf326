"""A partition that somebody must see to is left alone, loudly; every other one goes on, whoever owns it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import structlog

from monitor.backends.abstract import TopicPartition
from monitor.backends.local import LocalBackend, LocalLog
from monitor.config.options import Config
from monitor.errors import ConfigError, DamagedError
from monitor.processing.partition import Halt
from monitor.serving.daemon import Daemon
from monitor.serving.holds import EVERY_S, MOST_LINES, NAMED, Hold, Holds, explained, not_ready
from monitor.serving.telemetry import Telemetry, Vitals
from tests.helpers import make_artifact, make_config, make_processor

ARTIFACT = make_artifact(length=6, hop=2, threshold=0.8)
SCORER = ARTIFACT.scorer()
TOPIC = "telltale.input"
FIRST = TopicPartition(TOPIC, 0)
GOOD = b'{"value": 0.1}'
LIMITS = {"idle_commit_interval_ms": 1, "commit_interval_ms": 1}
Lines = list[MutableMapping[str, Any]]


def feed(log: LocalLog, partition: int, count: int, value: bytes = GOOD) -> None:
    end = log.at(TopicPartition(TOPIC, partition)).end
    log.extend(TOPIC, partition, [b"a"] * count, [value] * count, range(end, end + count))


class Machine:
    """A daemon whose clock the test moves."""

    def __init__(self, log: LocalLog, **sections: Any) -> None:
        sections["input"] = {"start": "earliest"} | sections.get("input", {})
        self.config: Config = make_config(limits=LIMITS, **sections)
        self.now_s = 1_000.0
        self.processor = make_processor(self.config, ARTIFACT)
        self.vitals = Vitals()
        telemetry = Telemetry(self.vitals, lambda: self.processor.counts, {}, 1.0)
        self.backend = LocalBackend(log, self.config, self.clock)
        self.daemon = Daemon(
            self.config, self.backend, self.processor, SCORER, telemetry, self.vitals, clock=self.clock, wait=self.wait
        )
        self.backend.start()

    def clock(self) -> float:
        self.now_s += 0.005
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    def turns(self, count: int = 12) -> None:
        for _ in range(count):
            self.daemon.turn()

    @property
    def why(self) -> str:
        return self.vitals.health.holds.get("held", "")


def committed(log: LocalLog) -> dict[int, int]:
    return {place.partition: position.offset for place, position in sorted(log.positions["telltale"].items())}


@pytest.fixture
def lines() -> Iterator[Lines]:
    with structlog.testing.capture_logs() as found:
        yield found


def held_lines(lines: Lines) -> Lines:
    return [line for line in lines if line["event"].startswith("Partition held")]


def damaged_log() -> LocalLog:
    log = LocalLog({TOPIC: 3})
    for number in range(3):
        feed(log, number, 20)
    log.append_damaged(TOPIC, 0, 5)
    for number in range(3):
        feed(log, number, 20)
    return log


def test_a_damaged_batch_holds_its_partition_and_no_other(lines: Lines) -> None:
    log = damaged_log()
    one = Machine(log)
    one.turns()
    assert committed(log) == {0: 20, 1: 40, 2: 40}
    assert one.vitals.held == 1
    assert "telltale.input-0 is held: topic telltale.input, partition 0: a batch of records can't be read" in one.why
    (line,) = held_lines(lines)
    assert (line["log_level"], line["partition"]) == ("error", "telltale.input-0")
    assert "everything before it is processed and committed" in line["reason"]
    assert 'input.damaged_batches = "skip"' in line["remedy"]
    feed(log, 1, 20)
    one.turns()
    assert committed(log) == {0: 20, 1: 60, 2: 40}
    log.crash(one.backend)
    two = Machine(log, service={"instance": "two"})
    two.turns()
    assert two.vitals.held == 1, "it is held there"
    assert two.daemon.drain()
    assert committed(log) == {0: 20, 1: 60, 2: 40}


def test_it_is_said_once_a_minute_whatever_happens(lines: Lines) -> None:
    log = damaged_log()
    one = Machine(log)
    one.turns()
    log.fail_next_commit("before")
    feed(log, 1, 20)
    one.turns(20)  # restores everything, and comes to the batch again
    assert one.vitals.aborts == 1
    assert len(held_lines(lines)) == 1
    for minutes in range(2, 5):
        one.now_s += EVERY_S
        one.turns()
        assert len(held_lines(lines)) == minutes
        assert one.vitals.held == 1
    assert committed(log) == {0: 20, 1: 60, 2: 40}


def test_a_batch_that_another_replica_holds_whole_is_read_within_a_minute(lines: Lines) -> None:
    log = damaged_log()
    one = Machine(log)
    one.turns()
    log.at(FIRST).damaged.clear()
    log.at(FIRST).values[20:25] = [GOOD] * 5
    one.turns()
    assert committed(log)[0] == 20
    one.now_s += EVERY_S
    one.turns()
    assert committed(log)[0] == 45
    assert (one.vitals.held, one.why) == (0, "")
    assert len(held_lines(lines)) == 2


def test_stop_still_ends_the_daemon() -> None:
    log = damaged_log()
    one = Machine(log, input={"damaged_batches": "stop"})
    with pytest.raises(DamagedError, match="everything before it is processed and committed"):
        one.daemon.run()
    assert committed(log)[0] == 20


def test_what_is_said_of_a_commit_is_true_where_the_first_records_were_refused(lines: Lines) -> None:
    log = LocalLog({TOPIC: 1})
    feed(log, 0, 5, b"junk")
    log.append_damaged(TOPIC, 0, 5)
    with pytest.raises(DamagedError) as caught:
        Machine(log, input={"damaged_batches": "stop"}).daemon.run()
    assert "everything before offset 0 is committed, and nothing from there on" in str(caught.value)
    assert committed(log) == {0: 0}, "where it began"
    assert not held_lines(lines), "it ends, and says why"


def test_a_partition_without_a_place_for_its_state_is_held_on_each_member(lines: Lines) -> None:
    log = LocalLog({TOPIC: 2, "telltale.alerts": 2, "telltale.deadletters": 2, "telltale.state": 2})
    narrow = {"output": {"create_topics": False}}
    members = [Machine(log, service={"instance": name}, **narrow) for name in ("one", "two")]
    for partition in range(2):
        feed(log, partition, 20)
    for member in members * 12:
        member.turns(1)
    log.add_partitions(TOPIC, 4)
    for partition in range(4):
        feed(log, partition, 20)
    for member in members * 12:
        member.turns(1)
    assert committed(log) == {0: 40, 1: 40}
    assert sum(member.vitals.held for member in members) == 2
    assert {line["partition"] for line in held_lines(lines)} == {"telltale.input-2", "telltale.input-3"}
    assert "telltale.state has 2 partitions; expected 4" in held_lines(lines)[0]["reason"]
    third = Machine(log, service={"instance": "three"}, **narrow)  # a start goes on with what it can watch
    third.turns()
    log.add_partitions("telltale.state", 4)
    for member in [*members, third]:
        member.now_s += EVERY_S
    for member in [*members, third] * 12:
        member.turns(1)
    assert committed(log) == {0: 40, 1: 40, 2: 20, 3: 20}
    assert sum(member.vitals.held for member in [*members, third]) == 0


@pytest.mark.parametrize("damaged", [True, False], ids=["damaged", "state topic too narrow"])
def test_what_is_held_goes_with_the_partition_where_a_rebalance_shows_as_an_abort(damaged: bool) -> None:
    """Events that no poll returned are applied by recover(): nobody else says that the partition is gone."""
    state = dict.fromkeys(("telltale.alerts", "telltale.deadletters", "telltale.state"), 4 if damaged else 3)
    log = LocalLog({TOPIC: 3} | state)
    narrow = {"output": {"create_topics": False}}
    one = Machine(log, service={"instance": "one"}, **narrow)
    for partition in range(3):
        feed(log, partition, 20)
    one.turns()
    log.add_partitions(TOPIC, 4)
    if damaged:
        log.append_damaged(TOPIC, 3, 5)
    one.turns()
    assert list(one.daemon._holds.found) == [TopicPartition(TOPIC, 3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one.daemon, "_commit_if_due", lambda: None)
        feed(log, 0, 20)
        one.turns(1)
    two = Machine(log, service={"instance": "two"}, **narrow)
    for member in [one, two] * 12:
        member.turns(1)
    assert one.vitals.aborts == 1
    assert TopicPartition(TOPIC, 3) in two.backend.owned
    assert (one.vitals.held, one.why, two.vitals.held) == (0, "", 1)
    log.add_partitions("telltale.state", 4)
    for member in [one, two]:
        member.now_s += EVERY_S
    for member in [one, two] * 12:
        member.turns(1)
    assert (one.vitals.held, two.vitals.held) == (0, int(damaged))


def test_a_log_that_ends_before_the_groups_offset_ends_the_daemon_however_often_it_starts() -> None:
    log = LocalLog({TOPIC: 2})
    for partition in range(2):
        feed(log, partition, 20)
    first = Machine(log)
    first.turns()
    assert first.daemon.drain()
    kept = log.at(FIRST)
    for column in (kept.timestamps_ms, kept.keys, kept.values, kept.headers):
        del column[12:]
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"offset 20, but the log ends at 12: .*input\.beyond_end = "):
            Machine(log).turns()
    assert committed(log) == {0: 20, 1: 20}


def test_trying_again_is_not_seen_from_outside(lines: Lines) -> None:
    log = damaged_log()
    one = Machine(log)
    one.turns()
    held, resumed = set(), Counter(one.vitals.resumed)
    before = list(lines)
    for _ in range(3):
        one.now_s += EVERY_S
        for _ in range(12):
            one.turns(1)
            held.add(one.vitals.held)
    assert held == {1}
    assert (one.vitals.resumed, len(held_lines(lines))) == (resumed, 4)
    assert {line["event"] for line in lines[len(before) :] if line["log_level"] != "debug"} == {before[-1]["event"]}


def test_where_nothing_is_behind_a_batch_that_was_made_whole_the_partition_is_free() -> None:
    log = damaged_log()
    one = Machine(log)
    one.turns()
    kept = log.at(FIRST)
    kept.damaged.clear()
    for column in (kept.timestamps_ms, kept.keys, kept.values, kept.headers):
        del column[20:]
    one.now_s += EVERY_S
    one.turns()
    assert (one.vitals.held, one.why) == (0, "")


def test_a_hold_that_comes_again_is_named_at_once_and_not_tried_at_once() -> None:
    table, hold = Holds(), Hold("why", "what to do", 5)
    table.put(FIRST, hold)
    assert table.due(0.0) == ([FIRST], [])
    assert table.due(1.0) == ([], [])
    table.remove(FIRST)
    assert table.due(2.0) == ([], [])
    table.put(FIRST, hold)
    assert table.due(3.0) == ([FIRST], []), "within the minute"
    table.remove(FIRST)
    table.due(4.0)
    table.put(FIRST, hold)
    assert table.due(9_000.0) == ([FIRST], []), "hours later"
    assert table.due(9_000.0 + EVERY_S) == ([FIRST], [FIRST])


def test_what_is_said_of_refused_records_names_what_is_committed() -> None:
    log = LocalLog({TOPIC: 1})
    feed(log, 0, 1)
    feed(log, 0, 3_000, b"junk")
    one = Machine(log)
    one.turns(60)
    offset = committed(log)[0]
    ((place, halt),) = one.processor.held.items()
    hold = explained(place, halt, one.config)
    assert 0 < offset <= 1000
    assert f"Nothing from offset {offset} on is committed; records that were rejected before" in hold.reason
    assert "the first such record, 1: stop every daemon of the group, wait 15 s" in hold.remedy
    assert hold.remedy.endswith("groups alter-offsets -g telltale -o telltale.input:0:1")
    assert not hold.again, "only another configuration can help"


def test_the_command_that_moves_an_offset_works_on_a_secured_cluster_and_says_when() -> None:
    kafka = {
        "bootstrap_servers": ["a:9093", "b:9093"], "security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512",
        "username": "telltale", "password": "secret", "session_timeout_ms": 45_000,
    }  # fmt: skip
    config = make_config(kafka=kafka | {"password": "secret"})
    remedy = explained(FIRST, Halt("refused", 7, None, 3), config).remedy
    assert "wait 45 s (kafka.session_timeout_ms" in remedy
    command = "python -m kafka.admin -b a:9093 -b b:9093 -S SASL_SSL -M SCRAM-SHA-512 -U telltale -P PASSWORD groups"
    assert command in remedy
    assert "secret" not in remedy


def test_many_held_partitions_make_few_lines(lines: Lines) -> None:
    count = 3 * MOST_LINES
    log = LocalLog({TOPIC: count})
    for partition in range(count):
        feed(log, partition, 20, b"junk")
    one = Machine(log)
    one.turns(30)
    before = len(held_lines(lines))
    for minute in range(1, 4):
        one.now_s += EVERY_S
        one.turns()
        assert one.vitals.held == count
        assert len(held_lines(lines)) - before == minute * MOST_LINES
    assert held_lines(lines)[-1]["held"] == count
    assert len({line["partition"] for line in held_lines(lines)[before:]}) == count, "each in its turn"
    assert one.why.endswith(f"and {count - NAMED} more")
    assert not_ready({FIRST: "held: x"}) == "telltale.input-0 is held: x"
