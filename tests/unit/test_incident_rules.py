"""Incidents are of a series and a rule: a toy rule beside the score's, in the log, after a restart, to the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice

import numpy as np
import pytest

from monitor import extensions
from monitor.backends.abstract import Position, RecordColumns, Restored, StateRecord, TopicPartition
from monitor.detector.decision import Verdict
from monitor.detector.incidents import SCORE_RULE
from monitor.detector.memory import Memory
from monitor.messages.alerts import Alert
from monitor.messages.quality import QualityAlert, Source
from monitor.processing.deciding import Batch
from monitor.processing.outbox import Outputs
from monitor.processing.processor import Processor
from monitor.processing.turns import Turn
from tests.helpers import INPUT, make_artifact, make_columns, make_config, make_processor, one_by_one
from tests.toys import flatline as toy

ARTIFACT = make_artifact(length=6, hop=2, threshold=0.8)
SCORER = ARTIFACT.scorer()
CONFIG = make_config(input={"start": "earliest"})
BY_SCORE, BY_FLATNESS = b"incident/telltale.input/0/a", b"incident:flatline/telltale.input/0/a"
FLAT = [9.0] * 6  # far over the threshold, and flat
UNEVEN = list(islice(cycle([9.0, 8.0]), 12))  # over it too, but not flat; as many windows as close an incident
WELL = list(islice(cycle([0.01, 0.02]), 14))


class Flatline(toy.Flatline):
    """The daemon knows the rule; what it finds is up to `flatline`."""

    def take(self, _turn: Turn, _memory: Memory) -> None:
        return None


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(extensions.CHECKS, "flatline", f"{__name__}:Flatline")
        yield


def flatline(processor: Processor, batch: Batch) -> None:
    """A rule in one statement: each window that is flat is over it."""
    decider = processor._decider
    for piece in batch.pieces:
        flat = np.ptp(piece.windows.values, axis=1).max(axis=1) == 0
        verdicts = np.where(flat, Verdict.ANOMALY, Verdict.NORMAL).astype(np.int8)
        steps = decider._of_windows(piece, np.ones(len(flat), dtype=np.float32), verdicts, "flatline")
        moved = [decider._move(piece.partition, each) for _, each in steps]
        news = [(piece, 0, change) for change in moved if change is not None]
        decider._publish(news, SCORER.reconstruct)


def decide(processor: Processor, columns: RecordColumns) -> None:
    processor.receive(columns)
    while (batch := processor.next_batch()) is not None:
        processor.receive_scores(batch, SCORER(batch.values), SCORER.reconstruct)
        flatline(processor, batch)


def samples(values: list[float], first_offset: int = 0, key: bytes = b"a") -> RecordColumns:
    raw = [json.dumps({"value": value}).encode() for value in values]
    return make_columns(raw, keys=[key] * len(raw), first_offset=first_offset)


def begun(restored: Restored | None = None, max_series: int = 100) -> Processor:
    processor = make_processor(make_config(input={"start": "earliest", "max_series": max_series}), ARTIFACT)
    processor.assign(INPUT, restored or Restored(position=None, state=(), beginning=0, end=0), 0)
    return processor


def opened() -> tuple[Processor, Outputs]:
    """Both incidents of one series are open, and stand in a checkpoint."""
    processor = begun()
    decide(processor, samples(FLAT))
    return processor, processor.take_outputs([INPUT])


def statuses(outputs: Outputs) -> list[tuple[str, str]]:
    """Of each alert the rule, as its fingerprint gives it away, and the status."""
    return [(RULE_OF[alert.data.fingerprint], alert.data.status) for alert in one_by_one(outputs)]


def by_rule(found: list[Alert | QualityAlert]) -> dict[str, str]:
    first, second = found
    assert (first.subject, second.subject) == ("a", "a")
    return {first.data.fingerprint: SCORE_RULE, second.data.fingerprint: "flatline"}


RULE_OF = by_rule(one_by_one(opened()[1]))


def incidents_of(outputs: Outputs) -> list[tuple[TopicPartition, bytes, bytes | None]]:
    """The state records of incidents."""
    return [each for each in outputs.state if each[1].startswith(b"incident")]


def offset_of(event: Alert | QualityAlert) -> int:
    kafka = event.data.kafka
    return kafka.offset if isinstance(kafka, Source) else kafka.first_offset


def test_both_open_in_the_same_window() -> None:
    processor, outputs = opened()
    assert len(RULE_OF) == 2, "by the rule in it, a fingerprint is of one incident"
    assert len({alert.id for alert in one_by_one(outputs)}) == 2
    assert statuses(outputs) == [(SCORE_RULE, "firing"), ("flatline", "firing")]
    assert [key for _, key, value in incidents_of(outputs) if value is not None] == [BY_FLATNESS, BY_SCORE]
    assert processor.open_incidents() == 2
    assert processor.take_outputs().state == []


def test_each_closes_by_itself() -> None:
    processor, _ = opened()
    decide(processor, samples(UNEVEN, 6))
    outputs = processor.take_outputs([INPUT])
    assert statuses(outputs) == [("flatline", "resolved")]
    assert [(key, value is None) for _, key, value in outputs.state] == [(BY_FLATNESS, True), (BY_SCORE, False)]
    assert [key for key, _ in outputs.checkpoints[INPUT] if key.startswith(b"incident")] == [BY_SCORE]
    decide(processor, samples(WELL, 18))
    outputs = processor.take_outputs()
    assert (statuses(outputs), outputs.state) == ([(SCORE_RULE, "resolved")], [(INPUT, BY_SCORE, None)])
    assert processor.open_incidents() == 0


@pytest.mark.parametrize("state_lost", [False, True])
def test_both_go_on_after_a_restart(state_lost: bool) -> None:
    """The score's always do; a check that has lost its memory would never say that all is well again."""
    _, outputs = opened()
    state = tuple(StateRecord(*record) for record in outputs.checkpoints[INPUT])
    if state_lost:
        state = tuple(record for record in state if record.key.startswith(b"incident"))
    processor = begun(Restored(Position(6, 6, 0), state, beginning=0, end=50))
    assert processor.open_incidents() == 2 - state_lost
    again = processor.take_outputs([INPUT])
    assert statuses(again) == [("flatline", "resolved")] * state_lost
    decide(processor, samples([*UNEVEN, *UNEVEN], 6))
    assert (processor.series_count(), processor.open_incidents()) == (1, 1)
    assert list(processor._partitions[INPUT].series.names.values()) == ["a"], "one series, whatever it has"
    outputs = processor.take_outputs()
    assert statuses(outputs)[:1] == [("flatline", "resolved")] * (not state_lost)
    assert (INPUT, BY_FLATNESS, None) in (again if state_lost else outputs).state


def test_both_go_on_where_the_checkpoint_lacks_their_series() -> None:
    other = begun()
    decide(other, samples(WELL[:6], key=b"b"))
    checkpoint = other.take_outputs([INPUT]).checkpoints[INPUT]
    incidents = [(key, value) for _, key, value in incidents_of(opened()[1]) if value is not None]
    state = tuple(StateRecord(*record) for record in [*checkpoint, *incidents])
    processor = begun(Restored(Position(6, 6, 0), state, beginning=0, end=50))
    decide(processor, samples(WELL[:1], 6, b"b"))
    assert processor.open_incidents() == 2
    assert sorted(processor._partitions[INPUT].series.names.values()) == ["a", "b"], "one series, whatever it has"


def test_a_series_that_is_forgotten_is_forgotten_by_every_rule_at_once() -> None:
    processor = begun(max_series=1)
    decide(processor, samples(FLAT))
    processor.committed(processor.take_outputs().positions)
    decide(processor, samples([0.01, 0.02], 6, b"b"))
    outputs = processor.take_outputs([INPUT])
    ended = [(each.data.reason, each.subject, offset_of(each)) for each in one_by_one(outputs)]
    assert ended == [("forgotten", "a", 6), ("forgotten", "a", 6)]
    assert statuses(outputs) == [("flatline", "resolved"), (SCORE_RULE, "resolved")], "by name, as after a restart"
    assert len({alert.id for alert in one_by_one(outputs)}) == 2
    assert sorted(incidents_of(outputs)) == [(INPUT, BY_SCORE, None), (INPUT, BY_FLATNESS, None)]
    assert [key for key, _ in outputs.checkpoints[INPUT] if key.startswith(b"incident")] == []
    partition = processor._partitions[INPUT]
    assert list(partition.series.names.values()) == ["b"]
    assert not any(partition.incidents.values())
    assert processor.open_incidents() == 0


def test_a_series_that_was_forgotten_opens_incidents_anew() -> None:
    processor = begun(max_series=1)
    decide(processor, samples(FLAT))
    decide(processor, samples([0.01], 6, b"b"))
    decide(processor, samples(FLAT, 7))
    found = [(alert.data.status, alert.data.fingerprint in RULE_OF) for alert in one_by_one(processor.take_outputs())]
    assert found == [("firing", True)] * 2 + [("resolved", True)] * 2 + [("firing", False)] * 2


def test_those_of_a_topic_that_was_made_again_end() -> None:
    _, outputs = opened()
    state = [StateRecord(*record) for record in outputs.checkpoints[INPUT]]
    gone = [replace_partition(record) for record in state if record.key.startswith(b"incident")]
    restored = Restored(Position(6, 6, 0, "old", 2), (*state, *gone), 0, 0, topic_id="new", partitions=1)
    ended = begun(restored).take_outputs()
    assert {alert.data.reason for alert in one_by_one(ended)} == {"topic_recreated"}
    assert sorted(statuses(ended)) == [("flatline", "resolved")] * 2 + [(SCORE_RULE, "resolved")] * 2
    assert len({alert.id for alert in one_by_one(ended)}) == 4
    both = [BY_FLATNESS, BY_SCORE]
    assert [key for _, key, value in ended.state if value is None] == [
        key.replace(b"/0/", b"/1/") for key in both
    ] + both + [b"digest/telltale.input/0/tally"]


def replace_partition(record: StateRecord) -> StateRecord:
    return replace(record, key=record.key.replace(b"/0/", b"/1/"))


def test_lost_offsets_bring_both_back_as_the_checkpoint_had_them() -> None:
    processor, outputs = opened()
    shards = [record for record in outputs.checkpoints[INPUT] if record[0].startswith(b"windows")]
    before = [(key, value) for _, key, value in outputs.state]
    decide(processor, samples(UNEVEN, 6))
    since = [(key, value) for _, key, value in processor.take_outputs().state]
    history = (*shards, *before, *shards, *since)
    newest = tuple(StateRecord(key, value) for key, value in dict(history).items() if value is not None)
    again = begun(Restored(None, newest, 0, 50, "", 1, False, history))
    assert again.open_incidents() == 2
    assert [(key, value) for _, key, value in again.take_outputs().state] == before
