"""Where a partition goes on: every kind of position, state and log that can meet."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from monitor.backends.abstract import NO_STATE, Position, RecordColumns, Restored, StateRecord, TopicPartition
from monitor.backends.kafka.position import decode_position, encode_position
from monitor.backends.local import LocalBackend, LocalLog
from monitor.detector.incidents import Incident, IncidentKey
from monitor.detector.windows import Tails
from monitor.errors import ConfigError
from monitor.processing.incident_records import undecided_us
from monitor.processing.outbox import Outputs
from monitor.processing.processor import Processor
from monitor.processing.resuming import BeyondEnd, How, Resumed
from monitor.processing.snapshots import Checkpoint, Mark, encode_checkpoint
from monitor.serving.daemon import Daemon
from monitor.serving.telemetry import Telemetry, Vitals
from tests.helpers import (
    INPUT,
    counts_of,
    make_artifact,
    make_columns,
    make_config,
    make_processor,
    of_score,
    score_all,
)

LENGTH, HOP = 6, 2
ARTIFACT = make_artifact(length=LENGTH, hop=HOP, threshold=0.8)
SCORER = ARTIFACT.scorer()
CONFIG = make_config()
OLD, NEW = "id-1", "id-2"
C = 9  # the offset of the predecessor's checkpoint


def sample(value: float) -> bytes:
    return json.dumps({"value": value}).encode()


def decide(processor: Processor, *polls: RecordColumns) -> None:
    for columns in polls:
        processor.receive(columns)
        score_all(processor, SCORER)


def left_behind() -> Outputs:
    """A checkpoint at offset 9 of the old topic, an incident open."""
    processor = make_processor(CONFIG, ARTIFACT)
    processor.assign(INPUT, Restored(None, (), 0, C, OLD, 4), 0)
    decide(processor, make_columns([sample(9)] * (C - 1) + [sample(0.01)]))
    return processor.take_outputs([INPUT])


LEFT = left_behind()
STATE = tuple(StateRecord(*record) for record in LEFT.checkpoints[INPUT])
INCIDENTS = tuple(record for record in STATE if record.key.startswith(b"incident"))


def take_over(
    position: Position | None,
    bounds: tuple[int, int],
    *,
    state: tuple[StateRecord, ...] = STATE,
    topic_id: str = OLD,
    added: bool = False,
    beyond_end: BeyondEnd = "stop",
    max_rejected_ratio: float = 1.0,
) -> tuple[Processor, Resumed]:
    processor = make_processor(
        make_config(input={"beyond_end": beyond_end, "max_rejected_ratio": max_rejected_ratio}), ARTIFACT
    )
    restored = Restored(position, state, *bounds, topic_id, 4, added)
    return processor, processor.assign(INPUT, restored, 777)


def test_positions_name_their_topic() -> None:
    assert LEFT.positions == {INPUT: Position(C, C, 0, OLD, 4)}
    position = Position(12, C, 3, OLD, 4)
    assert decode_position(12, encode_position(position)) == position
    assert len(encode_position(Position(1 << 62, 1 << 62, 1 << 62, "x" * 36, 10_000))) <= 130


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"v":1,"r":9,"s":3}', Position(12, 9, 3)),
        ('{"v":2,"r":9,"s":3,"t":"x","n":4}', Position(12, 9, 3, "x", 4)),
        ('{"v":2,"r":9,"s":3}', Position(12, 12, NO_STATE)),
        ('{"v":2,"r":9,"s":3,"t":7,"n":4}', Position(12, 12, NO_STATE)),
        ('{"v":2,"r":9,"s":3,"t":"x","n":-1}', Position(12, 12, NO_STATE)),
        ('{"v":3,"r":9,"s":3,"t":"x","n":4}', Position(12, 12, NO_STATE)),
        ('{"v":2,"r":13,"s":3,"t":"x","n":4}', Position(12, 12, NO_STATE)),
        ("", Position(12, 12, NO_STATE)),
    ],
)
def test_positions_of_both_versions_are_read(text: str, expected: Position) -> None:
    assert decode_position(12, text) == expected


FOLLOWED = {
    "as it was": (Position(12, C, 0, OLD, 4), OLD),
    "a position that knows no topic": (Position(12, C, 0), OLD),
    "a broker that knows no topic ids": (Position(12, C, 0, OLD, 4), ""),
}


@pytest.mark.parametrize("kind", FOLLOWED)
def test_a_position_that_the_log_holds_is_followed(kind: str) -> None:
    position, topic_id = FOLLOWED[kind]
    processor, resumed = take_over(position, (0, 20), topic_id=topic_id)
    assert resumed == Resumed(begin=C, live_from=12)
    assert processor.open_incidents() == 1
    assert processor.take_outputs().alerts == []


def test_only_a_group_that_never_was_here_begins_by_input_start() -> None:
    _, resumed = take_over(None, (3, 2000), state=())
    assert resumed == Resumed(begin=777, live_from=777, how=How.FIRST_START)


def test_a_partition_that_was_added_begins_at_its_beginning() -> None:
    _, resumed = take_over(None, (3, 2000), state=(), added=True)
    assert resumed == Resumed(begin=3, live_from=3, how=How.PARTITION_ADDED)


def test_an_offset_that_is_missing_is_found_in_the_state() -> None:
    processor, resumed = take_over(None, (0, 2000))
    assert resumed == Resumed(begin=C, live_from=C, how=How.OFFSET_MISSING)
    assert processor.open_incidents() == 1
    outputs = processor.take_outputs([INPUT])
    assert outputs.positions == {INPUT: Position(C, C, 0, OLD, 4)}, "committed at once"
    decide(processor, make_columns([sample(0.01)] * 20, first_offset=C))
    (end,) = of_score(processor.take_outputs())
    assert (end.data.status, end.data.reason) == ("resolved", "recovered"), "the incident was known, windows were whole"


def test_an_offset_that_is_missing_and_whose_state_is_not_in_the_log_any_more() -> None:
    processor, resumed = take_over(None, (100, 2000))
    assert (resumed.begin, resumed.how, resumed.deleted) == (100, How.OFFSET_MISSING, 100 - C)
    assert "offset 9 was deleted" in resumed.state_lost
    assert processor.open_incidents() == 1


def test_an_offset_that_is_missing_and_a_checkpoint_too() -> None:
    processor, resumed = take_over(None, (100, 2000), state=INCIDENTS)
    assert (resumed.begin, resumed.how, resumed.deleted) == (100, How.OFFSET_MISSING, 0)
    assert "no checkpoint" in resumed.state_lost
    assert processor.open_incidents() == 1


def test_what_retention_deleted_is_counted_and_no_more_is_skipped() -> None:
    processor, resumed = take_over(Position(600, 550, 0, OLD, 4), (1200, 5201))
    assert (resumed.begin, resumed.live_from, resumed.how, resumed.deleted) == (1200, 1200, How.RECORDS_DELETED, 600)
    assert "1200 to 5201 are there" in resumed.state_lost
    assert processor.open_incidents() == 1
    processor.receive(make_columns([sample(9)] * LENGTH, first_offset=1200))
    batch = processor.next_batch()
    assert batch is not None
    assert len(batch.values) == 1, "no window joins what came before to what comes after"


def test_beyond_the_end_stops_loudly() -> None:
    with pytest.raises(ConfigError, match=r"offset 600, but the log ends at 500: .*input\.beyond_end = "):
        take_over(Position(600, 550, 0, OLD, 4), (0, 500))
    with pytest.raises(ConfigError, match="offset 9, but the log ends at 5"):
        take_over(None, (0, 5), topic_id="")


@pytest.mark.parametrize(("option", "at"), [("end", 500), ("beginning", 20)])
def test_beyond_the_end_goes_on_as_the_option_says(option: BeyondEnd, at: int) -> None:
    processor, resumed = take_over(Position(600, 550, 0, OLD, 4), (20, 500), beyond_end=option)
    assert (resumed.begin, resumed.live_from, resumed.how) == (at, at, How.BEYOND_END)
    assert "ends before offset 600" in resumed.state_lost
    assert processor.open_incidents() == 1


RECREATED = {
    "offset in range": Position(12, C, 0, OLD, 4),
    "offset beyond the end": Position(900, C, 0, OLD, 4),
    "the broker forgot the group's offset with the topic": None,
    "a position that knows no topic, but the state does": Position(12, C, 0),
}


@pytest.mark.parametrize("kind", RECREATED)
def test_a_topic_that_was_made_again_is_read_from_its_beginning_and_ends_its_incidents(kind: str) -> None:
    processor, resumed = take_over(RECREATED[kind], (0, 50), topic_id=NEW)
    assert (resumed.begin, resumed.live_from, resumed.how) == (0, 0, How.TOPIC_RECREATED)
    assert "recreated" in resumed.state_lost
    assert processor.has_news
    assert processor.open_incidents() == 0
    outputs = processor.take_outputs([INPUT])
    (end,) = of_score(outputs)
    assert (end.data.status, end.data.reason, end.data.severity) == ("resolved", "topic_recreated", "info")
    assert end.data.fingerprint == of_score(LEFT)[0].data.fingerprint
    assert "deleted and made again" in end.data.summary
    assert outputs.state == [(INPUT, b"incident/telltale.input/0/a", None)]
    assert outputs.positions == {INPUT: Position(0, 0, 0, NEW, 4)}
    processor.committed(outputs.positions, outputs.alerts)
    assert processor.counts.abandoned == {"topic_recreated": 1}
    # And once it is committed, never again.
    after = tuple(StateRecord(*record) for record in outputs.checkpoints[INPUT])
    again, resumed = take_over(outputs.positions[INPUT], (0, 50), state=after, topic_id=NEW)
    assert resumed == Resumed(begin=0, live_from=0)
    assert again.take_outputs().alerts == []


def test_an_offset_that_a_tool_set_is_kept_also_in_a_topic_that_was_made_again() -> None:
    position = decode_position(30, "")
    processor, resumed = take_over(position, (0, 50), topic_id=NEW)
    assert (resumed.begin, resumed.how) == (30, How.TOPIC_RECREATED)
    assert [alert.data.reason for alert in of_score(processor.take_outputs())] == ["topic_recreated"]


def test_incidents_of_partitions_that_are_gone_are_given_back_with_the_partition_that_ended_them() -> None:
    orphan = StateRecord(b"incident/telltale.input/4/b", INCIDENTS[0].value)
    processor, _ = take_over(None, (0, 50), state=(*STATE, orphan), topic_id=NEW)
    processor.revoke(INPUT)
    assert not processor.has_news
    # As after a commit that failed: the same again, once.
    processor.assign(INPUT, Restored(None, (*STATE, orphan), 0, 50, NEW, 4), 777)
    assert [each.data.series for each in of_score(processor.take_outputs([INPUT]))] == ["a", "b"]


def test_incidents_of_partitions_that_are_gone_wait_with_what_is_withheld() -> None:
    orphan = StateRecord(b"incident/telltale.input/4/b", INCIDENTS[0].value)
    processor, _ = take_over(None, (0, 50), state=(*STATE, orphan), topic_id=NEW, max_rejected_ratio=0.9)
    decide(processor, make_columns([b"junk"]))
    assert not processor.has_news, "nobody hurries to commit it"
    outputs = processor.take_outputs([INPUT])
    assert (outputs.alerts, outputs.state, outputs.positions) == ([], [], {}), "all of it, or nothing"


def test_a_topic_that_is_new_to_the_group_begins_by_input_start_whatever_state_others_left() -> None:
    log = LocalLog({"old": 1, "new": 1})
    for topics in (["old"], ["old", "new"]):
        config = make_config(input={"topics": topics, "start": "earliest" if topics == ["old"] else "latest"})
        for topic in log.topics.keys() & {"old", "new"}:
            log.extend(topic, 0, [b"a"] * 9, [sample(1)] * 9, list(range(9)))
        processor, vitals = make_processor(config, ARTIFACT), Vitals()
        telemetry = Telemetry(vitals, counts_of(processor), {}, 1.0)
        Daemon(config, LocalBackend(log, config), processor, SCORER, telemetry, vitals).run(until_caught_up=True)
    assert processor.counts.records == {"old": 9}, "what was in the other topic before is not read"
    assert log.positions["telltale"][TopicPartition("new", 0)].offset == 18


def test_a_topic_that_is_deleted_while_we_run_ends_readiness() -> None:
    log = LocalLog({"a": 1, "b": 1})
    config = make_config(input={"topics": ["a", "b"]})
    processor, vitals = make_processor(config, ARTIFACT), Vitals()
    telemetry = Telemetry(vitals, lambda: processor.counts, {}, 1.0)
    backend = LocalBackend(log, config)
    daemon = Daemon(config, backend, processor, SCORER, telemetry, vitals)
    backend.start()
    daemon.turn()
    assert vitals.health.why_not_ready(time.monotonic()) == []
    log.delete_topic("b")
    log.rebalance("telltale")
    daemon.turn()
    assert vitals.health.why_not_ready(time.monotonic()) == ["input topic b is not there"]


def test_an_offset_that_a_tool_set_starts_windows_empty_and_keeps_incidents() -> None:
    processor, resumed = take_over(decode_position(30, ""), (0, 50))
    assert (resumed.begin, resumed.how) == (30, How.POSITION)
    assert "set by another tool" in resumed.state_lost
    assert processor.open_incidents() == 1


def test_a_topic_that_was_made_again_with_fewer_partitions_ends_the_incidents_of_those_that_are_gone() -> None:
    def of(partition: int, series: bytes, value: bytes) -> StateRecord:
        return StateRecord(b"incident/telltale.input/%d/%b" % (partition, series), value)

    raw = INCIDENTS[0].value
    gone = (of(4, b"b", raw), of(8, b"c", b"junk"), of(3, b"not ours", raw), of(12, b"quiet", b'{"over":1}'))
    processor, _ = take_over(None, (0, 50), state=STATE + gone, topic_id=NEW)
    outputs = processor.take_outputs([INPUT])
    assert [(each.data.series, each.data.kafka.partition) for each in of_score(outputs)] == [("a", 0), ("b", 4)]
    assert len({each.id for each in outputs.alerts}) == 2
    assert [(place.partition, key.rpartition(b"/")[2], value) for place, key, value in outputs.state] == [
        (4, b"b", None),
        (12, b"quiet", None),
        (0, b"a", None),
    ]


def test_an_incident_that_can_not_be_read_is_said_as_what_it_is() -> None:
    log = LocalLog({"telltale.input": 1, "telltale.state": 1})
    position = Position(C, C, 0, "id-1", 1)
    log.extend("telltale.input", 0, [b"a"] * C, [sample(9)] * C, list(range(C)))
    log.positions["telltale"][INPUT] = position
    for record in STATE:
        log.append("telltale.state", 0, record.key, record.value)
    log.append("telltale.state", 0, b"incident/telltale.input/0/b", b"junk")
    processor, vitals = make_processor(CONFIG, ARTIFACT), Vitals()
    telemetry = Telemetry(vitals, lambda: processor.counts, {}, 1.0)
    with capture_logs() as lines:
        Daemon(CONFIG, LocalBackend(log, CONFIG), processor, SCORER, telemetry, vitals).run(until_caught_up=True)
    (said,) = [line for line in lines if line["log_level"] == "error"]
    assert "can't be read and were omitted" in said["event"]
    assert "key b'incident/telltale.input/0/b'" in said["reason"]
    assert (vitals.starts_without_state, processor.open_incidents()) == (0, 1)


def test_that_another_artifact_went_before_is_said() -> None:
    log = LocalLog({"telltale.input": 1, "telltale.state": 1})
    config, said = make_config(input={"start": "earliest"}), []
    for run, digest in enumerate(("a" * 64, "a" * 64, "b" * 64)):
        log.extend("telltale.input", 0, [b"a"] * C, [sample(9)] * C, list(range(C * run, C * (run + 1))))
        processor, vitals = make_processor(config, replace(ARTIFACT, digest=digest)), Vitals()
        telemetry = Telemetry(vitals, counts_of(processor), {}, 1.0)
        with capture_logs() as lines:
            Daemon(config, LocalBackend(log, config), processor, SCORER, telemetry, vitals).run(until_caught_up=True)
        said.append([(line["event"], line["sha256"]) for line in lines if "sha256" in line])
        assert (vitals.starts_without_state, processor.open_incidents()) == (0, 1), "it goes on"
    assert said == [[], [], [("The last checkpoint is of another artifact.", "aaaaaaaaaaaa")]]


def test_lost_offsets_bring_incidents_back_as_the_checkpoint_had_them() -> None:
    """One that was open there and has ended, one that went on, and one that opened since; all are decided again."""
    windows = tuple((record.key, b"") for record in STATE if record.key.startswith(b"windows"))
    ((key, opened),) = [(record.key, record.value) for record in INCIDENTS]
    later, other = msgspec.json.encode(Incident(over=9, under=2, fingerprint="f")), key.replace(b"/a", b"/b")
    for after in (key, None), (key, later), (other, later):
        history = (*windows, (key, opened), *windows, (key, opened), after)
        newest = [StateRecord(name, value) for name, value in dict(history).items() if value]
        records = (*(record for record in STATE if record not in INCIDENTS), *newest)
        processor = make_processor(CONFIG, ARTIFACT)
        processor.assign(INPUT, Restored(None, records, 0, 2000, OLD, 4, False, history), 777)
        assert processor._partitions[INPUT].restored == {IncidentKey(b"a"): msgspec.json.decode(opened, type=Incident)}
        changed = [(name, value) for _, name, value in processor.take_outputs().state]
        assert changed == [(after[0], opened if after[0] == key else None)], "and so it is remembered"


@pytest.mark.parametrize(
    "since", [(), (msgspec.json.encode(Incident(over=9, fingerprint="f")),), (None,)], ids=["none", "later", "ended"]
)
def test_where_only_one_checkpoint_is_left_compaction_may_have_taken_the_rest(since: tuple[bytes | None, ...]) -> None:
    """Then the copy that the checkpoint made itself counts, right behind its windows, and none from later."""
    ((key, opened),) = [(record.key, record.value) for record in INCIDENTS]
    shards = tuple(record for record in STATE if record not in INCIDENTS)
    copies = ((key, opened), *((key, value) for value in since))
    history = (*((record.key, b"") for record in shards), *copies)
    newest = copies[-1][1]
    records = shards if newest is None else (*shards, StateRecord(key, newest))
    processor = make_processor(CONFIG, ARTIFACT)
    processor.assign(INPUT, Restored(None, records, 0, 2000, OLD, 4, False, history), 777)
    assert processor._partitions[INPUT].restored == {IncidentKey(b"a"): msgspec.json.decode(opened, type=Incident)}


@pytest.mark.parametrize(
    ("series", "started_us", "kept"), [("a", 3999, True), ("a", 4000, False), ("b", 0, False)], ids=str
)
def test_what_began_after_the_only_checkpoint_was_not_open_there(series: str, started_us: int, kept: bool) -> None:
    """No window that begins with a sample which the checkpoint keeps, here the one at 4000, was decided there."""
    key = INCIDENTS[0].key.replace(b"/a", f"/{series}".encode())
    since = msgspec.json.encode(Incident(over=1, fingerprint="f", started_us=started_us, ended_us=99_000))
    shards = tuple(record for record in STATE if record not in INCIDENTS)
    history = (*((record.key, b"") for record in shards), (key, since))
    processor = make_processor(CONFIG, ARTIFACT)
    state = (*shards, StateRecord(key, since))
    processor.assign(INPUT, Restored(None, state, 0, 2000, OLD, 4, False, history), 777)
    assert processor.open_incidents() == kept
    assert processor.take_outputs().state == ([] if kept else [(INPUT, key, None)]), "and so it is remembered"


@pytest.mark.parametrize("series_ttl", [0, 3600])
def test_a_record_that_was_over_before_the_only_checkpoint_is_open_there(series_ttl: int) -> None:
    """Without `input.series_ttl` a checkpoint of records keeps no time at all."""
    config = make_config(input={"start": "earliest", "series_ttl": series_ttl})
    artifact = make_artifact(kind="record", length=2, threshold=0.001)
    processor = make_processor(config, artifact)
    processor.assign(INPUT, Restored(position=None, state=(), beginning=0, end=0), 0)
    processor.receive(make_columns([b'{"values": [9, 9], "rate_hz": 1}'], timestamps_ms=[5_000]))
    score_all(processor)
    history = tuple(processor.take_outputs([INPUT]).checkpoints[INPUT])  # compaction has taken what stood before it
    records = tuple(StateRecord(*each) for each in history)
    again = make_processor(config, artifact)
    again.assign(INPUT, Restored(None, records, 0, 50, "", 1, False, history), 0)
    assert (again.open_incidents(), again.take_outputs().state) == (1, [])


def test_windows_that_are_records_are_undecided_behind_the_last_one_seen() -> None:
    seen_us = np.array([7_000, 9_000])
    checkpoint = Checkpoint([b"a", b"b"], seen_us, Tails.nothing(2, 1))
    shards = [StateRecord(*each) for each in encode_checkpoint(INPUT, Mark(C, OLD), ["value"], checkpoint)]
    assert undecided_us(INPUT, shards, ["value"]) == {b"a": 7_001, b"b": 9_001}
    assert undecided_us(INPUT, shards, ["another"]) is None, "of other channels"
    assert undecided_us(INPUT, [], ["value"]) is None
