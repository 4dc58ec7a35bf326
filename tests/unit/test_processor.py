"""The processor piece by piece: what is missing, what is late, what is refused, and how a partition is taken over."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from monitor.backends.abstract import Damaged, Position, RecordColumns, Restored, StateRecord, TopicPartition
from monitor.detector.artifact import Artifact
from monitor.detector.incidents import Incident
from monitor.errors import Reason
from monitor.messages import dead_letters
from monitor.messages.alerts import Alert
from monitor.processing import incident_records, snapshots
from monitor.processing.processor import Processor
from monitor.processing.resuming import How, Resumed
from monitor.serving import holds
from tests.helpers import (
    INPUT,
    make_artifact,
    make_columns,
    make_config,
    make_processor,
    make_processor_at_zero,
    of_score,
    work,
)

LENGTH, HOP = 6, 2
SLIDING = make_artifact(length=LENGTH, hop=HOP, threshold=0.8)
SCORER = SLIDING.scorer()
FILLING = make_artifact(length=LENGTH, hop=HOP, threshold=0.8, max_missing_ratio=0.34)
GAPS = make_artifact(length=LENGTH, hop=HOP, threshold=0.8, max_gap_ms=10.0)
RECORD = make_artifact(kind="record", length=4, threshold=0.8)
EARLIEST = make_config(input={"start": "earliest"})


def sample(value: float | None) -> bytes:
    return json.dumps({"value": value}).encode()


def windows_of(processor: Processor) -> list[np.ndarray]:
    found = []
    while (batch := processor.next_batch()) is not None:
        found += list(batch.values)
        processor.receive_scores(batch, SCORER(batch.values), SCORER.reconstruct)
    return found


def fed(
    artifact: Artifact = SLIDING, values: Iterable[bytes | None] = (), **columns: Any
) -> tuple[Processor, list[np.ndarray]]:
    processor = make_processor_at_zero(EARLIEST, artifact)
    processor.receive(make_columns(list(values), **columns))
    return processor, windows_of(processor)


@pytest.mark.parametrize("holes", [[], [0], [7], [8, 9], [19], [3, 17], list(range(20))])
def test_missing_samples_make_exactly_their_windows_unscorable(holes: list[int]) -> None:
    processor, windows = fed(values=[sample(None if place in holes else 0.1) for place in range(20)])
    #  0-5, 2-7, ..., 14-19: eight windows of six, every two
    ends = range(LENGTH - 1, 20, HOP)
    expected = [any(end - LENGTH < hole <= end for hole in holes) for end in ends]
    assert [bool(np.isnan(window).any()) for window in windows] == expected
    assert processor.counts.windows == len(ends) == 8
    assert processor.counts.windows_unscorable == sum(expected)
    assert processor.counts.samples_missing == len(holes)
    assert processor.counts.samples == 20


DAY_MS = 86_400_000
REFUSED = {
    "malformed": b'{"value": 1',
    "not JSON": b"junk",
    "nothing": b"",
    "a tombstone": None,
    "too large": b'{"value": 1, "note": "%s"}' % (b"x" * 1000),
    "a channel missing": b'{"ts": 1000007, "valu": 1}',
    "infinite": b'{"ts": 1000007, "value": 1e39}',
    "Infinity": b'{"ts": 1000007, "value": -Infinity}',
    "a text": b'{"ts": 1000007, "value": "high"}',
    "no time": b'{"ts": "soon", "value": 1}',
    "a time of the future": b'{"ts": %d, "value": 1}' % (400 * DAY_MS),
    "infinite, of the future": b'{"ts": %d, "value": 1e39}' % (400 * DAY_MS),
    "infinite, of the past": b'{"ts": -7, "value": 1e39}',
    "infinite, before its time": b'{"value": 1e39}',
}


def timed(place: int, value: float = 0.1) -> bytes:
    return json.dumps({"ts": 1_000_000 + place, "value": value}).encode()


@pytest.mark.parametrize("polls", [1, 20])
@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_record_leaves_a_hole_in_its_series_and_moves_nothing(name: str, polls: int) -> None:
    rules = make_config(input={"start": "earliest", "max_record_bytes": 100})
    processor = make_processor_at_zero(rules, SLIDING)
    values = [timed(place) if place != 7 else REFUSED[name] for place in range(20)]
    stamps = [1_000_050 + place for place in range(20)]  # what arrives later must not be late for that
    windows = []
    for first in range(0, 20, 20 // polls):
        part = slice(first, first + 20 // polls)
        processor.receive(make_columns(values[part], timestamps_ms=stamps[part], first_offset=first))
        windows += windows_of(processor)
    assert [bool(np.isnan(window).any()) for window in windows] == [2 <= first <= 7 for first in range(0, 16, HOP)]
    assert (processor.counts.samples_late, processor.counts.rejected.total()) == (0, 1)
    assert processor.counts.samples == 19


def test_a_hole_is_filled_as_a_missing_number_is() -> None:
    processor, windows = fed(FILLING, map(sample, [0.0, 1.0, math.inf, 3.0, 4.0, 5.0]))
    np.testing.assert_allclose(windows[0][:, 0], [0, 1, 2, 3, 4, 5])
    assert processor.counts.windows_unscorable == 0


@pytest.mark.parametrize("flaw", ["1e999", "Infinity", '"high"', "1e39"])
def test_a_refused_chunk_leaves_a_hole_of_its_length_and_time(flaw: str) -> None:
    chunk = f'{{"ts": 1000010, "rate_hz": 1000, "values": [1, 2, {flaw}, 4, 5]}}'
    values = [timed(place) for place in range(10)] + [chunk.encode()] + [timed(place) for place in (14, 15, 16, 17)]
    processor, windows = fed(values=values, timestamps_ms=[1_000_050] * 15)
    assert processor.counts.samples_duplicate == 1, "the hole reaches to 14"
    # 0-5, 2-7, 4-9 are whole; then 6-11, 8-13, 10-15, 12-17 hold some of 10 to 14
    assert [bool(np.isnan(window).any()) for window in windows] == [False] * 3 + [True] * 4


@pytest.mark.parametrize("polls", [1, 2])
def test_a_refused_record_begins_no_series(polls: int) -> None:
    processor = make_processor_at_zero(EARLIEST, SLIDING)
    values = [b'{"ts": 900000, "value": 1e39}', b"junk"] + [timed(place) for place in range(LENGTH)]
    windows = []
    for part in [slice(None)] if polls == 1 else [slice(0, 2), slice(2, None)]:
        first_offset = part.start or 0
        processor.receive(
            make_columns(values[part], timestamps_ms=[1_000_050] * len(values[part]), first_offset=first_offset)
        )
        assert processor.series_count() == (0 if part.stop == 2 else 1)
        windows += windows_of(processor)
    assert len(windows) == 1
    assert not np.isnan(windows[0]).any()


def test_a_refused_record_of_an_unknown_series_or_of_none_marks_nobody() -> None:
    values = [timed(place) for place in range(8)]
    values[3:3] = [b"junk", b"junk", b"junk"]
    keys: list[bytes | None] = [b"a"] * 11
    keys[3:6] = [b"b", None, b"\xff"]
    processor, windows = fed(values=values, keys=keys, timestamps_ms=[1_000_050] * 11)
    assert (processor.series_count(), processor.counts.rejected.total()) == (1, 3)
    assert [bool(np.isnan(window).any()) for window in windows] == [False, False]


@pytest.mark.parametrize("polls", [1, 3])
def test_refused_records_mark_their_own_series_in_whatever_order_they_are_refused(polls: int) -> None:
    """Records without a value are refused before any is parsed, and parsed ones before their times are looked at."""
    processor = make_processor_at_zero(EARLIEST, SLIDING)
    work(processor, SCORER, make_columns([sample(1)] * 10, keys=[b"a", b"b"] * 5))
    batches = []
    bad, keys = [b'{"values": ["x", 1, 2]}', None, b'{"value": 1, "ts": 1}'], [b"a", b"b", b"b"]
    for first in range(0, 3, 3 // polls):
        part = slice(first, first + 3 // polls)
        processor.receive(make_columns(bad[part], keys=keys[part], first_offset=10 + first))
        batches.append(processor.next_batch())
    found = [
        int(series) for batch in filter(None, batches) for piece in batch.pieces for series in piece.windows.series
    ]
    assert sorted(found) == [0, 0, 1], "eight samples of a, three of them holes, and seven of b"


def test_a_refused_chunk_of_endless_samples_is_a_hole_right_behind_the_last() -> None:
    chunks = [b'{"values": [1, "x"], "rate_hz": %b}' % rate for rate in (b"1e-290", b"1e-300", b"5e-324")]
    processor, windows = fed(values=[*[sample(1)] * 6, *chunks])
    assert (len(windows), processor.counts.rejected.total()) == (4, 3)


def test_a_series_named_in_the_value_is_marked_where_it_can_be_read() -> None:
    rules = make_config(input={"start": "earliest", "series": "field:id"})
    processor = make_processor_at_zero(rules, SLIDING)
    values = [b'{"id": "p", "value": %d}' % place for place in range(6)]
    values[2:2] = [
        b'{"id": "p", "valu": 1}',
        b'{"id": "q", "valu": 1}',
        b'{"valu": 1}',
        b'{"id": "p", "value": Infinity}',
    ]
    processor.receive(make_columns(values))
    windows = windows_of(processor)
    assert [np.isnan(window).sum() for window in windows] == [6, 6], "two of six are missing: too much, so all is"
    assert processor.counts.rejected.total() == 4


def test_missing_samples_are_filled_where_the_artifact_allows_it() -> None:
    series = [0.0, 1.0, None, 3.0, 4.0, 5.0, None, None, None, 9.0, 10.0, 11.0]
    processor, windows = fed(FILLING, map(sample, series))
    # windows 0-5 (1 of 6 missing), 2-7 (3), 4-9 (3), 6-11 (3): at most 0.34 of 6 is 2
    assert processor.counts.windows_unscorable == 3
    np.testing.assert_allclose(windows[0][:, 0], [0, 1, 2, 3, 4, 5])
    assert all(np.isnan(window).all() for window in windows[1:])


def test_two_of_six_missing_are_filled_at_the_ends_too() -> None:
    processor, windows = fed(FILLING, map(sample, [None, 2.0, 3.0, 4.0, 5.0, None]))
    assert processor.counts.windows_unscorable == 0
    np.testing.assert_allclose(windows[0][:, 0], [2, 2, 3, 4, 5, 5])


def test_an_alert_says_how_much_was_missing_and_shows_what_was_scored() -> None:
    processor = make_processor_at_zero(
        make_config(input={"start": "earliest"}, alerting={"include_window": "full"}), FILLING
    )
    (alert,) = work(processor, SCORER, make_columns(list(map(sample, [9.0, None, 9.0, 9.0, 9.0, 9.0]))))
    assert alert.data.window.missing_ratio == pytest.approx(1 / 6)
    assert alert.data.window.values == [[9.0]] * 6


def test_late_and_duplicate_samples_consume_no_index() -> None:
    times = [0, 1, 2, 2, 1, 3, 4, 0, 5, 6, 7]
    values = [json.dumps({"ts": t, "value": place}).encode() for place, t in enumerate(times)]
    processor, windows = fed(values=values, timestamps_ms=[9] * len(times))
    assert (processor.counts.samples_late, processor.counts.samples_duplicate) == (0, 3)
    assert [window[:, 0].tolist() for window in windows] == [[0, 1, 2, 5, 6, 8], [2, 5, 6, 8, 9, 10]]


def test_a_late_sample_is_logged_for_the_series_that_has_its_row_now() -> None:
    processor = make_processor_at_zero(make_config(input={"max_series": 2}), SLIDING)
    keys = [b"%d" % place for place in range(9)] + [b"8"]
    for place, key in enumerate(keys):  # rows go from hand to hand
        work(
            processor, SCORER, make_columns([sample(1)], keys=[key], timestamps_ms=[min(place, 5)], first_offset=place)
        )
    work(processor, SCORER, make_columns([sample(1)], keys=[b"8"], timestamps_ms=[4], first_offset=10))
    assert (processor.counts.samples_late, processor.counts.examples["late"].detail) == (1, "series '8'")


def test_a_gap_restarts_the_series() -> None:
    times = [*range(5), *range(15, 21)]
    values = [json.dumps({"ts": t, "value": t}).encode() for t in times]
    processor, windows = fed(GAPS, values, timestamps_ms=[99] * len(times))
    assert processor.counts.gaps == 1
    assert [window[:, 0].tolist() for window in windows] == [[15, 16, 17, 18, 19, 20]]
    # ten ms between two samples is no gap: only more is
    values = [json.dumps({"ts": 10 * t, "value": t}).encode() for t in range(6)]
    processor, windows = fed(GAPS, values, timestamps_ms=[99] * 6)
    assert (processor.counts.gaps, len(windows)) == (0, 1)


def test_records_that_are_windows_stand_alone() -> None:
    values = [b"[1,2,3,4]", b"[1,2,3]", b"[5,null,7,8]", b"[9,9,9,9]"]
    processor = make_processor_at_zero(EARLIEST, RECORD)
    processor.receive(make_columns(values, timestamps_ms=[50, 50, 3, 50]))
    batch = processor.next_batch()
    assert batch is not None
    np.testing.assert_array_equal(batch.values[:, :, 0], [[1, 2, 3, 4], [np.nan] * 4, [9, 9, 9, 9]])
    processor.receive_scores(batch, RECORD.scorer()(batch.values), RECORD.scorer().reconstruct)
    assert (processor.counts.windows, processor.counts.windows_unscorable, processor.counts.samples_late) == (3, 1, 0)
    (letter,) = processor.take_outputs().dead_letters
    assert (letter.offset, letter.reason) == (1, Reason.WRONG_SHAPE)


@pytest.mark.parametrize("max_series", [40, 3])
def test_all_alerts_of_a_batch_are_reconstructed_at_once(max_series: int) -> None:
    """Also where incidents end in between because their series are forgotten; each alert has its own window's."""
    config = make_config(input={"start": "earliest", "max_series": max_series}, alerting={"include_window": "full"})
    processor = make_processor_at_zero(config, RECORD)
    keys = [b"s%d" % (place % 40) for place in range(80)]
    processor.receive(make_columns([b"[%d,99,99,99]" % (100 + place) for place in range(80)], keys=keys))
    asked: list[int] = []

    def reconstruct(windows: np.ndarray) -> np.ndarray:
        asked.append(len(windows))
        return windows - 50

    firing, batches = 40 if max_series == 40 else 80, 0
    while (batch := processor.next_batch()) is not None:
        processor.receive_scores(batch, RECORD.scorer()(batch.values), reconstruct)
        batches += 1
    assert sum(asked) == firing
    assert len(asked) <= batches < firing
    found = [alert.data for alert in of_score(processor.take_outputs())]
    told = [data.status for data in found]
    assert told.count("firing") == firing
    assert told.count("resolved") == (0 if max_series == 40 else firing - max_series)
    windows = [(data.window.values, data.window.reconstruction) for data in found if data.status == "firing"]
    assert windows == [([[100.0 + at], *[[99.0]] * 3], [[50.0 + at], *[[49.0]] * 3]) for at in range(firing)]
    if max_series == 3:
        assert told[:5] == ["firing"] * 3 + ["resolved", "firing"], "in the order of the log"


def test_dead_letters_come_in_offset_order_with_every_field() -> None:
    values = [b"junk", sample(1), None, sample(2), b"", b'{"valu": 1}', sample(3)]
    keys = [b"a", b"a", b"b", b"\xff", None, b"x" * 900_000, b"a\n"]
    processor = make_processor_at_zero(EARLIEST, SLIDING)
    processor.receive(make_columns(values, keys=keys, first_offset=70, timestamps_ms=range(500, 507)))
    letters = processor.take_outputs().dead_letters if processor.next_batch() is None else []
    assert [(letter.offset, letter.reason.value) for letter in letters] == [
        (70, "malformed"), (72, "empty"), (73, "bad_series"), (74, "empty"), (75, "missing_channel"),
        (76, "bad_series"),
    ]  # fmt: skip
    document = json.loads(dead_letters.encode(letters[0]))
    assert document.pop("detail")
    assert document == {
        "topic": "telltale.input", "partition": 0, "offset": 70, "last_offset": 70, "records": 1, "timestamp_ms": 500,
        "key": "a", "size": 4, "sha256": hashlib.sha256(b"junk").hexdigest(), "reason": "malformed",
    }  # fmt: skip
    assert json.loads(dead_letters.encode(letters[1]))["sha256"] is None
    assert json.loads(dead_letters.encode(letters[2]))["key"] == "\\xff"
    assert json.loads(dead_letters.encode(letters[3]))["key"] is None
    assert dead_letters.headers(letters[0]) == (("content-type", b"application/json"), ("reason", b"malformed"))
    # The largest key there can be: its letter must fit into a record, or no commit succeeds any more.
    assert all(len(dead_letters.encode(letter)) + len(letter.key or b"") < 10_000 for letter in letters)
    assert processor.counts.rejected == {
        ("telltale.input", "malformed"): 1, ("telltale.input", "empty"): 2, ("telltale.input", "bad_series"): 2,
        ("telltale.input", "missing_channel"): 1,
    }  # fmt: skip


def test_positions_stand_for_what_was_received() -> None:
    processor = make_processor_at_zero(EARLIEST, SLIDING)
    assert processor.take_outputs().positions == {INPUT: Position(0, 0, 0)}, "a fresh partition has none committed"
    processor.committed({INPUT: Position(0, 0, 0)})
    assert processor.take_outputs().positions == {}, "nothing moved"
    processor.receive(make_columns([sample(0.1)] * 3))
    assert processor.next_batch() is None
    assert processor.take_outputs().positions == {INPUT: Position(3, 0, 0)}
    outputs = processor.take_outputs([INPUT])
    assert outputs.positions == {INPUT: Position(3, 3, 0)}
    processor.committed({INPUT: Position(3, 3, 17)})  # the backend says where the checkpoint lies
    processor.receive(make_columns([sample(0.1)], first_offset=3))
    assert processor.next_batch() is None
    assert processor.take_outputs().positions == {INPUT: Position(4, 3, 17)}


def test_control_records_move_the_position_too() -> None:
    processor = make_processor_at_zero(EARLIEST, SLIDING)
    processor.receive(replace(make_columns([]), next_offset=12))
    assert processor.take_outputs().positions == {INPUT: Position(12, 0, 0)}
    assert processor.counts.records == {}


def test_outputs_are_not_taken_with_work_left() -> None:
    processor = make_processor_at_zero(EARLIEST, SLIDING)
    processor.receive(make_columns([sample(9)] * 6))
    with pytest.raises(RuntimeError, match="windows to score"):
        processor.take_outputs()
    windows_of(processor)
    assert len(processor.take_outputs().alerts) == 1
    assert processor.take_outputs().alerts == []


def test_revoking_drops_what_was_not_taken_and_nothing_else() -> None:
    other = TopicPartition("telltale.input", 1)
    processor = make_processor_at_zero(EARLIEST, SLIDING, INPUT, other)
    for partition in (INPUT, other):
        processor.receive(make_columns([b"junk", *[sample(9)] * 6], partition=partition))
    windows_of(processor)
    processor.receive(make_columns([sample(9)] * 6, first_offset=7))
    processor.revoke(INPUT)
    processor.revoke(INPUT)
    assert processor.next_batch() is None, "its samples that waited are gone as well"
    outputs = processor.take_outputs()
    assert [alert.data.kafka.partition for alert in outputs.alerts] == [1]
    assert [letter.partition for letter in outputs.dead_letters] == [other]
    assert {place for place, _, _ in outputs.state} == {other}
    assert outputs.positions.keys() == {other}
    assert list(processor.partitions) == [other]
    assert (processor.series_count(), processor.open_incidents()) == (1, 1)
    processor.committed({INPUT: Position(7, 0, 0)})


def test_windows_that_are_scored_when_their_partition_is_gone_publish_nothing() -> None:
    processor = make_processor_at_zero(EARLIEST, SLIDING)
    processor.receive(make_columns([b"junk", *[sample(9)] * 6]))
    batch = processor.next_batch()
    assert batch is not None
    had_news = processor.has_news
    assert had_news
    processor.revoke(INPUT)
    processor.assign(INPUT, Restored(position=None, state=(), beginning=0, end=0), 0)
    processor.receive_scores(batch, SCORER(batch.values), SCORER.reconstruct)
    assert not processor.has_news
    outputs = processor.take_outputs()
    assert (outputs.alerts, outputs.dead_letters, outputs.state) == ([], [], [])


# What follows: a partition is taken over from what the log remembers.

FIRST = [sample(9)] * 8 + [sample(0.01)]  # an incident, open


def remembered(artifact: Artifact = SLIDING, *, beginning: int = 0, end: int = 15) -> tuple[Restored, int]:
    """What a predecessor left: a checkpoint at 9, progress up to 12 of 15 records."""
    processor = make_processor_at_zero(EARLIEST, artifact)
    processor.receive(make_columns(FIRST))
    windows_of(processor)
    outputs = processor.take_outputs([INPUT])
    records = tuple(StateRecord(*record) for record in outputs.checkpoints[INPUT])
    return Restored(Position(12, 9, 0), records, beginning, end), 12


def taken_over(restored: Restored, start: int, artifact: Artifact = SLIDING) -> tuple[Processor, Resumed]:
    processor = make_processor(EARLIEST, artifact)
    return processor, processor.assign(INPUT, restored, start)


def test_a_warm_start() -> None:
    processor, resumed = taken_over(remembered()[0], 0)
    assert (resumed.begin, resumed.live_from, resumed.irregular, resumed.deleted, resumed.state_lost) == (
        9,
        12,
        False,
        0,
        "",
    )
    assert (processor.series_count(), processor.open_incidents()) == (1, 1)
    processor.receive(make_columns([sample(0.01), sample(0.02)], first_offset=9))
    assert processor.next_batch() is None, "what was decided before is not decided again"
    assert processor.take_outputs([INPUT]).checkpoints == {}, "windows do not stand for offset 12 yet"
    processor.receive(make_columns([sample(0.03), sample(0.04), sample(0.05), b"junk"], first_offset=11))
    (window,) = windows_of(processor)  # 8-13, the only one that offsets 12 and 13 close
    np.testing.assert_allclose(window[:, 0], [0.01, 0.01, 0.02, 0.03, 0.04, 0.05], rtol=1e-6)
    outputs = processor.take_outputs([INPUT])
    assert outputs.checkpoints.keys() == {INPUT}
    assert outputs.positions == {INPUT: Position(15, 15, 0)}
    assert [letter.offset for letter in outputs.dead_letters] == [14]
    assert (processor.counts.replayed, processor.counts.records) == (3, {"telltale.input": 3})


def test_a_partition_that_is_still_refilling_stands_where_it_stood() -> None:
    """Its offset never goes back, however far the windows are: a successor would decide again what was decided."""
    processor, _ = taken_over(remembered()[0], 0)
    for first in range(9, 12):
        processor.receive(make_columns([sample(0.01)], first_offset=first))
        assert processor.next_batch() is None
        assert processor.take_outputs().positions == {}, "nothing was decided"
    processor.receive(make_columns([sample(0.01)], first_offset=12))
    windows_of(processor)
    assert processor.take_outputs().positions == {INPUT: Position(13, 9, 0)}


def test_an_incident_that_closes_after_a_restart_stays_closed_after_the_next() -> None:
    processor, _ = taken_over(remembered()[0], 0)
    processor.receive(make_columns([sample(0.001)] * 20, first_offset=9))
    windows_of(processor)
    outputs = processor.take_outputs()
    assert [alert.data.status for alert in outputs.alerts] == ["resolved"]
    assert outputs.state == [(INPUT, b"incident/telltale.input/0/a", None)], "a tombstone for what was restored"
    left: dict[bytes, bytes | None] = {record.key: record.value for record in remembered()[0].state}
    left |= {key: value for _, key, value in outputs.state}
    state_left = tuple(StateRecord(key, value) for key, value in left.items() if value is not None)
    second, _ = taken_over(Restored(Position(29, 9, 0), state_left, 0, 29), 0)
    assert second.open_incidents() == 0


def test_a_group_that_never_committed() -> None:
    processor, resumed = taken_over(Restored(None, (), 3, 20), 20)
    assert (resumed.begin, resumed.live_from, resumed.how, resumed.state_lost) == (20, 20, How.FIRST_START, "")
    assert processor.take_outputs([INPUT]).positions == {INPUT: Position(20, 20, 0)}


def test_the_first_record_that_is_left_is_the_first_that_refills() -> None:
    _, resumed = taken_over(remembered(beginning=9)[0], 0)
    assert (resumed.begin, resumed.live_from, resumed.state_lost) == (9, 12, "")


def test_retention_has_eaten_what_refills_the_windows() -> None:
    processor, resumed = taken_over(remembered(beginning=10)[0], 0)
    assert (resumed.begin, resumed.live_from, resumed.deleted) == (12, 12, 0)
    assert "offset 9 is no longer there" in resumed.state_lost
    assert processor.open_incidents() == 1, "incidents are remembered all the same"
    assert processor.take_outputs([INPUT]).positions == {INPUT: Position(12, 12, 0)}


def test_retention_has_eaten_records_that_were_not_decided() -> None:
    restored, _ = remembered(beginning=40, end=90)
    for start in (40, 90):  # earliest, latest: neither is asked
        processor, resumed = taken_over(restored, start)
        assert (resumed.begin, resumed.live_from, resumed.deleted, resumed.how) == (40, 40, 28, How.RECORDS_DELETED)
        assert "offset 12 was deleted before it was read (40 to 90 are there)" in resumed.state_lost
        assert processor.open_incidents() == 1
        assert processor.take_outputs([INPUT]).positions == {INPUT: Position(40, 40, 0)}


@pytest.mark.parametrize("end", [12, 13])
def test_a_position_at_the_end_is_followed(end: int) -> None:
    assert taken_over(remembered(end=end)[0], 0)[1].state_lost == ""


def test_a_checkpoint_that_is_not_there() -> None:
    restored, _ = remembered()
    incidents = tuple(record for record in restored.state if record.key.startswith(b"incident"))
    processor, resumed = taken_over(Restored(restored.position, incidents, 0, 15), 0)
    assert (resumed.begin, resumed.live_from) == (12, 12)
    assert "0 of 1 shards found" in resumed.state_lost
    assert processor.open_incidents() == 1
    processor.receive(make_columns([sample(9)] * 6, first_offset=12))
    assert len(windows_of(processor)) == 1, "windows begin empty, and the series goes on"


@pytest.mark.parametrize(
    "raw", [b"junk", b'{"fingerprint": "\xff"}', b'{"peak_ratio": null}', b'{"started_us": 253402300800000000}']
)
def test_an_incident_that_can_not_be_read(raw: bytes) -> None:
    restored, _ = remembered()
    spoiled = StateRecord(incident_records.incident_key(INPUT, b"a"), raw)
    windows = tuple(record for record in restored.state if record.key.startswith(b"windows"))
    processor, resumed = taken_over(Restored(restored.position, (*windows, spoiled), 0, 15), 0)
    assert (resumed.begin, resumed.live_from) == (9, 12)
    assert "incident of telltale.input-0, key b'incident/telltale.input/0/a'" in resumed.unreadable[0]
    assert resumed.state_lost == "", "the windows are whole"
    assert processor.open_incidents() == 0


def test_what_another_artifact_left_goes_on() -> None:
    ours, other = replace(SLIDING, digest="a" * 64), replace(SLIDING, digest="b" * 64)
    unknown = remembered(replace(SLIDING, digest=""))[0]  # as of a release that did not say which
    for restored, other_artifact in ((remembered(ours)[0], ""), (remembered(other)[0], "b" * 64), (unknown, "")):
        processor, resumed = taken_over(restored, 0, ours)
        assert resumed == Resumed(begin=9, live_from=12, other_artifact=other_artifact)
        assert not resumed.irregular
        assert (processor.series_count(), processor.open_incidents()) == (1, 1)
        processor.receive(make_columns([sample(0.01)] * 6, first_offset=9))
        assert len(windows_of(processor)) == 1
        records = [StateRecord(*each) for each in processor.take_outputs([INPUT]).checkpoints[INPUT]]
        assert snapshots.newest_mark(INPUT, records) == snapshots.Mark(15, "", "a" * 64)


def test_a_series_name_that_is_not_text_is_refused_with_its_checkpoint() -> None:
    restored, _ = remembered()
    record = next(record for record in restored.state if record.key.startswith(b"windows"))
    shard = msgspec.msgpack.decode(record.value)
    shard["series"] = [b"\xff"]
    spoiled = StateRecord(record.key, msgspec.msgpack.encode(shard))
    _, resumed = taken_over(Restored(restored.position, (spoiled,), 0, 15), 0)
    assert resumed.state_lost
    assert resumed.begin == resumed.live_from == 12


def test_another_artifacts_windows_are_not_taken_over() -> None:
    restored, _ = remembered()
    _, resumed = taken_over(restored, 0, make_artifact(length=LENGTH + 3, hop=HOP))
    assert "another window" in resumed.state_lost
    _, resumed = taken_over(restored, 0, make_artifact(length=LENGTH, hop=HOP, channels=("x", "y")))
    assert "channels" in resumed.state_lost
    processor, resumed = taken_over(restored, 0, RECORD)  # has no windows to take over
    assert (resumed.live_from, resumed.state_lost) == (12, "")
    processor.receive(make_columns([b"[1,2,3,4]"] * 4, first_offset=9))
    batch = processor.next_batch()
    assert batch is not None
    assert len(batch.values) == 1, "offset 12; the others were decided"


def test_what_a_partition_remembers_of_incidents() -> None:
    processor = make_processor_at_zero(EARLIEST, SLIDING)
    processor.receive(make_columns([sample(9)] * 6 + [sample(0.001)] * 14, keys=[b"a"] * 20))
    windows_of(processor)
    outputs = processor.take_outputs()
    assert [alert.data.status for alert in outputs.alerts] == ["firing", "resolved"]
    assert outputs.state == [], "opened and closed since the last commit: there is nothing to remember or to take back"
    processor.receive(make_columns([sample(9)] * 6, first_offset=20))
    windows_of(processor)
    ((place, key, value),) = processor.take_outputs().state
    assert (place, key) == (INPUT, b"incident/telltale.input/0/a")
    assert msgspec.json.decode(value or b"", type=Incident).open
    processor.receive(make_columns([sample(0.001)] * 14, first_offset=26))
    windows_of(processor)
    assert processor.take_outputs().state == [(INPUT, key, None)], "a tombstone"


def alone(*values: bytes, timestamps_ms: Iterable[int] | None = None) -> Processor:
    processor = make_processor_at_zero(EARLIEST, SLIDING)
    work(processor, SCORER, make_columns(list(values), timestamps_ms=timestamps_ms))
    return processor


NOW_MS = 1_732_177_327_310


def test_a_chunk_that_runs_into_the_far_future_silences_nothing() -> None:
    ahead = b'{"ts": %d, "rate_hz": 0.00001, "values": [0, 0]}' % NOW_MS  # the second sample: a day later
    later = [b'{"ts": %d, "value": 9}' % (NOW_MS + place) for place in range(1, 30)]
    processor = alone(ahead, *later, timestamps_ms=range(NOW_MS, NOW_MS + 30))
    assert processor.counts.samples_late == 0


@pytest.mark.parametrize("rate", [b"1e-11", b"1e-12", b"1e-300"])
def test_a_rate_that_runs_out_of_time_is_a_bad_record(rate: bytes) -> None:
    processor = alone(b'{"rate_hz": %s, "values": [9,9,9,9,9,9,9,9,9,9,9,9]}' % rate, timestamps_ms=[NOW_MS])
    assert processor.counts.rejected.total() == 1


def test_a_record_stamped_in_microseconds_is_a_bad_record() -> None:
    """Kafka lets it in where the topic's message.timestamp.after.max.ms is raised."""
    processor = alone(*[sample(9)] * 6, timestamps_ms=range(NOW_MS * 1000, NOW_MS * 1000 + 6))
    assert processor.counts.rejected.total() == 6


def test_an_alert_says_where_its_score_lies_among_the_series_own() -> None:
    known = msgspec.structs.replace(SLIDING.manifest.calibration, series=("a",))
    table = np.array([[1.0, 1.0, 1e6]], np.float32)  # at 0, 0.5 and 1; that of all series ends at 2
    own = replace(
        SLIDING, manifest=msgspec.structs.replace(SLIDING.manifest, calibration=known), calibration_table=table
    )
    nines = make_columns([sample(9.0)] * LENGTH)
    quantiles = [
        work(make_processor_at_zero(EARLIEST, each), SCORER, nines)[0].data.score.quantile for each in (SLIDING, own)
    ]
    assert quantiles == [1.0, pytest.approx(0.5, abs=0.01)]


def test_a_series_is_decided_by_its_own_threshold_and_others_by_the_common_one() -> None:
    """Three series of the same samples; "late" and its threshold become known in the second poll."""
    lines = {"strict": 1e-6, "late": 1e6}
    manifest = msgspec.structs.replace(
        SLIDING.manifest, threshold=msgspec.structs.replace(SLIDING.manifest.threshold, value=1e6, series=lines)
    )
    processor = make_processor_at_zero(EARLIEST, replace(SLIDING, manifest=manifest))
    values = [sample(at % 7) for at in range(LENGTH)]

    def poll(names: list[bytes], first_offset: int) -> list[Alert]:
        keys = [name for name in names for _ in values]
        stamps = [first_offset + at for _ in names for at in range(LENGTH)]
        columns = make_columns(values * len(names), keys=keys, timestamps_ms=stamps, first_offset=first_offset)
        return work(processor, SCORER, columns)

    told = poll([b"strict", b"other"], 0) + poll([b"late", b"strict"], 2 * LENGTH)
    assert {alert.data.series for alert in told if alert.data.status == "firing"} == {"strict"}
    assert told[0].data.score.threshold == lines["strict"]
    assert told[0].data.score.ratio == told[0].data.score.value / lines["strict"]
    assert told[0].data.episode.peak_ratio == told[0].data.score.ratio, "of the very same threshold"
    # the configuration's threshold is for all series
    config = make_config(input={"start": "earliest"}, model={"threshold": 1e5})
    overruled = make_processor_at_zero(config, replace(SLIDING, manifest=manifest))
    assert not work(overruled, SCORER, make_columns(values, keys=[b"strict"] * LENGTH))


def hole(first: int, behind: int, reason: Reason = Reason.UNREADABLE_BATCH) -> RecordColumns:
    found = Damaged(first_offset=first, next_offset=behind, size=99, records=3, reason=reason, detail="by order")
    return RecordColumns.skipping(INPUT, found)


def test_a_damaged_batch_breaks_every_series_of_its_partition() -> None:
    processor = make_processor_at_zero(EARLIEST, SLIDING)
    processor.receive(make_columns([sample(n) for n in range(5)] * 2, keys=[b"a"] * 5 + [b"b"] * 5))
    processor.receive(hole(10, 13))
    processor.receive(make_columns([sample(n) for n in range(20, 26)], first_offset=13))
    (window,) = windows_of(processor)
    np.testing.assert_array_equal(window[:, 0], range(20, 26))
    outputs = processor.take_outputs()
    assert outputs.positions[INPUT].offset == 19
    assert json.loads(dead_letters.encode(outputs.dead_letters[0])) == {
        "topic": "telltale.input", "partition": 0, "offset": 10, "last_offset": 12, "records": 3, "timestamp_ms": None,
        "key": None, "size": 99, "sha256": None, "reason": "unreadable_batch", "detail": "by order",
    }  # fmt: skip
    assert processor.counts.batches_damaged == {("telltale.input", "unreadable_batch"): 1}
    assert processor.counts.gaps == 2


def test_a_damaged_batch_among_records_that_were_decided() -> None:
    """It moves nothing back, has no second dead letter, and is broken at again."""
    processor, resumed = taken_over(remembered()[0], 0)
    assert (resumed.begin, resumed.live_from) == (9, 12)
    processor.receive(hole(9, 11, Reason.CORRUPT_BATCH))  # by default the partition is held at such a one
    assert not processor.held
    assert processor.next_batch() is None
    outputs = processor.take_outputs()
    assert (outputs.dead_letters, outputs.positions) == ([], {})
    ((name, hurt, first_time),) = processor.take_passed()
    assert (name, hurt.first_offset, first_time) == (INPUT, 9, False)
    processor.receive(make_columns([sample(n) for n in range(6)], first_offset=11))
    (window,) = windows_of(processor)  # 11-16
    np.testing.assert_array_equal(window[:, 0], range(6))


def test_a_damaged_batch_of_which_a_part_was_decided() -> None:
    processor, _ = taken_over(remembered()[0], 0)
    processor.receive(hole(10, 14))
    assert processor.next_batch() is None
    outputs = processor.take_outputs()
    assert [(letter.offset, letter.last_offset) for letter in outputs.dead_letters] == [(12, 13)]
    assert outputs.positions[INPUT].offset == 14


@pytest.mark.parametrize(
    ("option", "reason", "stops"),
    [
        ("auto", Reason.CORRUPT_BATCH, True),
        ("auto", Reason.UNREADABLE_BATCH, False),
        ("auto", Reason.TOO_LARGE, False),
        ("stop", Reason.UNREADABLE_BATCH, True),
        ("skip", Reason.CORRUPT_BATCH, False),
    ],
)
def test_where_it_stops(option: str, reason: Reason, stops: bool) -> None:
    processor = make_processor_at_zero(make_config(input={"damaged_batches": option}), SLIDING)
    processor.receive(make_columns([sample(1)]))
    processor.receive(hole(1, 4, reason))
    processor.receive(make_columns([sample(1)], first_offset=4))
    assert processor.next_batch() is None
    assert (processor.held.keys() == {INPUT}) == stops
    assert (processor.stopped is not None) == (option == "stop")
    outputs = processor.take_outputs()
    assert outputs.positions[INPUT].offset == (1 if stops else 5)
    assert len(outputs.dead_letters) == (not stops)


def test_it_stops_where_nothing_says_how_to_go_on() -> None:
    processor = make_processor_at_zero(make_config(input={"damaged_batches": "skip"}), SLIDING)
    processor.receive(hole(0, 0, Reason.CORRUPT_BATCH))
    assert processor.stopped is None, "the others go on"
    text = holds.explained(INPUT, processor.held[INPUT], make_config()).remedy
    assert "groups alter-offsets -g telltale -o telltale.input:0:N" in text
