"""A backlog that takes longer than a turn: sliced, interrupted, held back, rebalanced; the alerts are the same.

Time is the test's: each look at the clock moves it on, so turns end in the midst of slices, and slices shrink.
"""

from __future__ import annotations

import gc
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.backends.abstract import AbortedError, Position, Restored, TopicPartition
from monitor.backends.local import LocalBackend, LocalLog
from monitor.config.options import Config
from monitor.messages import alerts
from monitor.serving.backlog import RECORD_BYTES, SLICE_S, Backlog, Pace, Workload
from monitor.serving.daemon import TURN_S, Daemon
from monitor.serving.telemetry import Telemetry, Vitals
from tests.helpers import INPUT, make_columns, make_config, make_processor
from tests.property.test_processor import (
    FAR,
    FAR_MS,
    POISONS,
    SCORERS,
    SLIDING,
    TOPIC,
    Rows,
    brief,
    oracle,
    policies,
    streams,
)

OTHER = TopicPartition(TOPIC, 1)
Fault = Literal["stop", "crash", "before", "after", "join"]


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """The daemon collects garbage every 30 s, which are a few turns here."""
    gc.freeze()
    yield
    gc.unfreeze()


class Machine:
    """A daemon on a slow machine: a look at the clock takes `step_s`."""

    def __init__(self, log: LocalLog, config: Config, step_s: float, pace: Pace) -> None:
        ticks = itertools.count()
        processor = make_processor(config, SLIDING)
        self.vitals = Vitals()
        telemetry = Telemetry(self.vitals, lambda: processor.counts, {}, 1.0)
        self.backend = LocalBackend(log, config)
        self.daemon = Daemon(
            config, self.backend, processor, SCORERS["sliding"], telemetry, self.vitals,
            clock=lambda: next(ticks) * step_s, pace=pace, wait=lambda _: None,
        )  # fmt: skip
        self.backend.start()


def filled(rows: Rows) -> LocalLog:
    log = LocalLog({TOPIC: 2})
    for place, (partition, key, value) in enumerate(rows):
        log.append(TOPIC, partition, key=key, value=value, timestamp_ms=FAR_MS if value == FAR else place)
    return log


def told(log: LocalLog) -> list[alerts.Alert]:
    raw = [log.read("telltale.alerts", number).values for _, number in log.partitions("telltale.alerts")]
    return [msgspec.json.decode(value, type=alerts.Alert) for values in raw for value in values if value is not None]


def positions(log: LocalLog) -> dict[TopicPartition, Position]:
    return dict(log.positions["telltale"])


def limited(config: Config, poll: int) -> Config:
    limits = {"max_poll_records": poll, "commit_interval_ms": 1, "idle_commit_interval_ms": 1}
    return config.model_copy(update={"limits": config.limits.model_copy(update=limits)})


@settings(max_examples=60)
@given(
    streams(),
    policies,
    st.integers(1, 80),
    st.floats(0.001, 2 * TURN_S),
    st.integers(1, 3_000),
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["stop", "crash", "before", "after", "join"])), max_size=4),
)
def test_any_slices_give_the_oracles_alerts(
    rows: Rows, config: Config, poll: int, step_s: float, slice_bytes: int, faults: list[tuple[int, Fault]]
) -> None:
    config, log = limited(config, poll), filled(rows)
    newcomer = config.model_copy(update={"service": config.service.model_copy(update={"instance": "newcomer"})})
    machines = [Machine(log, config, step_s, Pace(slice_bytes, 4 * slice_bytes))]
    for turns, fault in faults:
        for _, machine in itertools.product(range(turns), machines):
            machine.daemon.turn()
        log.failures.clear()
        if fault == "before" or fault == "after":  # noqa: PLR1714 - so that it is known to be one of them
            log.fail_next_commit(fault)
        elif fault == "join" and len(machines) == 1:
            machines.append(Machine(log, newcomer, step_s, Pace(slice_bytes, 4 * slice_bytes)))
        elif fault in ("stop", "crash"):
            machine = machines.pop()
            machine.daemon.drain() if fault == "stop" else log.crash(machine.backend)
            again = config if not machines else newcomer
            machines.append(Machine(log, again, step_s, Pace(slice_bytes, 4 * slice_bytes)))
    for turn in itertools.count():
        for machine in machines:
            machine.daemon.turn()
        if turn > 4 and all(m.daemon.caught_up() and not m.vitals.health.restoring for m in machines):
            break
        assert turn < 5_000, "the backlog is not worked off"
    log.failures.clear()  # one that nobody came to would hit the last commit, after which nobody restores
    for machine in machines:
        assert machine.daemon.drain()
    assert brief(told(log)) == oracle(rows, config)
    assert len({alert.id for alert in told(log)}) == len(told(log))
    dead = config.output.dead_letters
    rejected = sum(value in POISONS for _, _, value in rows)
    assert sum(len(log.read(dead, number).values) for _, number in log.partitions(dead)) == rejected
    assert all(position.offset == log.at(name).end for name, position in positions(log).items())


def test_a_backlog_is_committed_piece_by_piece_and_polled_no_further() -> None:
    rows = [(0, b"a", b'{"value": 0.1}')] * 400 + [(1, b"b", b'{"value": 0.1}')] * 10
    log = filled(rows)
    # A batch takes 0.5 s, a turn one or two of them; a slice is about twenty records.
    machine = Machine(log, limited(make_config(input={"start": "earliest"}), 400), TURN_S / 4, Pace(2_400, 2_400))
    seen: list[int] = []
    for _ in range(600):
        machine.daemon.turn()
        seen.append(positions(log).get(INPUT, Position(0, 0, 0)).offset)
        if machine.daemon.caught_up():
            break
        if 0 < seen[-1] < 400:
            assert machine.backend.lag()[OTHER] == 10, "what is not polled yet stays with the log"
    assert machine.daemon.caught_up()
    assert len(set(seen)) > 10, "many commits on the way"
    assert max(np.diff(seen)) <= 50
    assert machine.daemon.drain()


def test_a_revoked_partition_loses_its_backlog_and_the_others_go_on() -> None:
    rows = [(number % 2, b"k%d" % (number % 2), b'{"value": 0.1}') for number in range(400)]
    log = filled(rows)
    config = limited(make_config(input={"start": "earliest"}), 400)
    first = Machine(log, config, TURN_S / 4, Pace(2_400, 2_400))
    while not positions(log).get(INPUT, Position(0, 0, 0)).offset:
        first.daemon.turn()
    aborts = first.vitals.aborts
    newcomer = config.model_copy(update={"service": config.service.model_copy(update={"instance": "newcomer"})})
    second = Machine(log, newcomer, TURN_S / 4, Pace(2_400, 2_400))
    for _ in range(2_000):
        first.daemon.turn()
        second.daemon.turn()
        if first.daemon.caught_up() and second.daemon.caught_up():
            break
    assert first.daemon.drain()
    assert second.daemon.drain()
    assert {name: position.offset for name, position in positions(log).items()} == {INPUT: 200, OTHER: 200}
    assert (first.backend.owned | second.backend.owned) == {INPUT, OTHER}
    assert first.vitals.aborts - aborts <= 1


@given(
    st.lists(st.lists(st.none() | st.binary(max_size=300), max_size=8), max_size=6),
    st.lists(st.integers(1, 2_000), min_size=1, max_size=20),
    st.integers(0, 6),
)
def test_slices_are_the_records_in_order_and_not_larger_than_asked(
    polls: list[list[bytes | None]], sizes: list[int], replayed: int
) -> None:
    backlog = Backlog()
    first = 0
    live_from = sum(map(len, polls[:replayed]))
    for poll, values in enumerate(polls):
        backlog.add(make_columns(values, first_offset=first), live=poll >= replayed)
        first += len(values)
    total = sum(RECORD_BYTES + len(value or b"") for values in polls for value in values)
    assert backlog.bytes == total
    offsets: list[int] = []
    following = 0
    for most in itertools.cycle(sizes):
        assert backlog.records() == Counter({INPUT: first - len(offsets)} if first > len(offsets) else {})
        if not backlog:
            break
        live = backlog.live
        taken, size = backlog.take(most)
        assert all(
            (columns.offsets >= live_from).all() if live else (columns.offsets < live_from).all() for columns in taken
        )
        found = [value for columns in taken for value in columns.values]
        assert size == sum(RECORD_BYTES + len(value or b"") for value in found)
        assert size <= most or size - (RECORD_BYTES + len(found[-1] or b"")) < most, "one record more at most"
        for columns in taken:
            offsets += columns.offsets.tolist()
            assert columns.next_offset == columns.offsets[-1] + 1 if len(columns.offsets) else True
            following = columns.next_offset
        total -= size
        assert backlog.bytes == total
    assert offsets == list(range(first))
    assert following == first


def test_what_is_dropped_is_waited_for_no_more() -> None:
    backlog = Backlog()
    for partition in (INPUT, OTHER, INPUT):
        backlog.add(make_columns([b"x"] * 3, partition=partition))
    backlog.drop(INPUT)
    assert (backlog.bytes, backlog.records()) == (3 * (RECORD_BYTES + 1), {OTHER: 3})
    config = make_config()
    processor = make_processor(config, SLIDING)
    workload = Workload(processor, SCORERS["sliding"], itertools.count().__next__, Pace(1_000_000))
    for partition in (INPUT, OTHER):
        processor.assign(partition, Restored(None, (), beginning=0, end=99), 0)
        workload.add([make_columns([b'{"value": 0.1}'] * 99, partition=partition)])
    assert not workload.advance(until=0)
    processor.revoke(INPUT)
    workload.drop(INPUT)
    assert workload.waiting() == {OTHER: 99}


def test_what_is_given_up_makes_no_later_slice_larger() -> None:
    processor = make_processor(make_config(), SLIDING)
    processor.assign(INPUT, Restored(None, (), beginning=0, end=999), 0)
    now, pace = 0.0, Pace(50_000)
    workload = Workload(processor, SCORERS["sliding"], lambda: now, pace)
    workload.clear()
    assert pace.bytes == 50_000, "nothing was under way"
    for spent_s, expected in ((0.0, 50_000), (10 * SLICE_S, 5_000)):
        workload.add([make_columns([b'{"value": 0.1}'] * 500)])
        assert not workload.advance(until=now)
        workload._slice_s += spent_s
        workload.clear()
        assert abs(pace.bytes - expected) < RECORD_BYTES, "only of a slice that took too long already is anything known"
        processor.revoke(INPUT)
        processor.assign(INPUT, Restored(None, (), beginning=0, end=999), 0)


def test_an_abort_with_a_slow_slice_under_way_makes_the_next_one_smaller() -> None:
    log = filled([(0, b"s0", b'{"value": 0.1}')] * 900)
    pace = Pace(60_000, 60_000)
    machine = Machine(log, make_config(input={"start": "earliest"}, limits={"max_poll_records": 900}), TURN_S, pace)
    while not machine.daemon._workload.busy:
        machine.daemon.turn()
    machine.daemon._aborted = AbortedError("by order")
    machine.daemon.turn()
    assert pace.bytes < 60_000


def test_the_pace_follows_what_slices_take() -> None:
    pace = Pace(1_000, 100_000)
    pace.measured(1_000, 0.1)
    assert pace.bytes == 2_000
    pace.measured(2_000, 0.01)
    assert pace.bytes == 8_000
    pace.measured(100, 0.01)
    assert pace.bytes == 8_000, "a small slice says nothing about large ones"
    for _ in range(20):
        pace.measured(pace.bytes, 0.01)
    assert pace.bytes == 100_000
    pace.measured(100_000, 100.0)
    assert pace.bytes == 250
    pace.measured(250, 0.2)
    assert pace.bytes == 250, "near what was meant"
    pace.measured(250, 1e9)
    assert pace.bytes == 1
