"""How checkpoints are paced: by the work that they are."""

from __future__ import annotations

import pytest

from monitor.backends.abstract import TopicPartition
from monitor.backends.local import LocalBackend, LocalLog
from monitor.serving.checkpointing import CHECKPOINT_BYTES, LONGEST_PAUSE_S, CheckpointSchedule
from monitor.serving.daemon import Daemon
from monitor.serving.telemetry import Telemetry, Vitals
from tests.helpers import counts_of, make_artifact, make_config, make_processor

PARTITIONS = [TopicPartition("in", number) for number in range(4)]


def schedule(interval_s: float = 5.0) -> CheckpointSchedule:
    made = CheckpointSchedule(interval_s)
    for partition in PARTITIONS:
        made.begin(partition, 0.0, at_once=False)
    return made


def next_due(made: CheckpointSchedule, step_s: float = 0.5) -> float:
    """When the first partition is due again."""
    return next(number * step_s for number in range(1_000_000) if made.due(number * step_s, lambda _: 1))


def test_small_checkpoints_come_at_their_interval() -> None:
    made = schedule()
    assert made.due(4.9, lambda _: 1) == set()
    assert made.due(5.0, lambda _: 1) == set(PARTITIONS)
    made.committed(PARTITIONS, PARTITIONS, 5.0, work_s=0.01)
    assert next_due(made) == 10.0


def test_a_twentieth_of_the_time_at_most_however_many_fit_one_commit() -> None:
    made = schedule()
    made.committed(PARTITIONS, PARTITIONS, 5.0, work_s=1.0)
    assert next_due(made) == 25.0
    made = schedule()
    made.committed(PARTITIONS[:1], PARTITIONS[:1], 5.0, work_s=0.3)  # all four would take 1.2 s
    made.committed(PARTITIONS[1:], PARTITIONS[1:], 5.0, work_s=0.9)
    assert next_due(made) == 29.0


def test_a_pause_has_an_end() -> None:
    made = schedule()
    made.committed(PARTITIONS, PARTITIONS, 5.0, work_s=30.0)
    assert next_due(made) == 5.0 + LONGEST_PAUSE_S


def test_longest_due_first_and_no_more_than_a_transaction_should_carry() -> None:
    made = CheckpointSchedule(1.0)
    for number, partition in enumerate(PARTITIONS):
        made.begin(partition, -number, at_once=False)
    assert made.due(9.0, lambda _: CHECKPOINT_BYTES // 2) == set(PARTITIONS[2:])
    assert made.due(9.0, lambda _: 2 * CHECKPOINT_BYTES) == {PARTITIONS[3]}, "one at least"


def test_what_must_be_committed_at_once_is_until_it_was_written() -> None:
    made = CheckpointSchedule(1.0)
    made.begin(PARTITIONS[0], 0.0, at_once=True)
    assert made.due(0.0, lambda _: 1) == {PARTITIONS[0]}
    made.committed([PARTITIONS[0]], [], 0.0, work_s=0.0)
    assert made.first == {PARTITIONS[0]}
    made.committed([PARTITIONS[0]], [PARTITIONS[0]], 0.0, work_s=0.0)
    assert made.first == set()
    made.begin(PARTITIONS[1], 0.0, at_once=True)
    made.forget(PARTITIONS[1])
    assert made.due(9.0, lambda _: 1) == {PARTITIONS[0]}


def test_who_is_left_out_takes_nobodys_room() -> None:
    made = schedule()
    made.soon()
    assert made.due(0.0, lambda _: CHECKPOINT_BYTES, PARTITIONS[2:]) == {PARTITIONS[2]}
    made.begin(PARTITIONS[0], 0.0, at_once=True)
    assert made.due(0.0, lambda _: CHECKPOINT_BYTES, PARTITIONS[3:]) == {PARTITIONS[3]}


def test_a_stop_checkpoints_whoever_moved_behind_those_that_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.serving.checkpointing.CHECKPOINT_BYTES", 1)  # each fills a transaction
    artifact, log = make_artifact(length=6, hop=2), LocalLog({"telltale.input": 3})
    config, scorer = make_config(input={"start": "earliest"}), artifact.scorer()
    for moved in (range(3), [2]):
        for number in moved:
            log.extend("telltale.input", number, [b"a"] * 9, [b'{"value": 0.1}'] * 9, range(9))
        processor, vitals = make_processor(config, artifact), Vitals()
        telemetry = Telemetry(vitals, counts_of(processor), {}, 1.0)
        Daemon(config, LocalBackend(log, config), processor, scorer, telemetry, vitals).run(until_caught_up=True)
    assert [position.replay_from for _, position in sorted(log.positions["telltale"].items())] == [9, 9, 18]
