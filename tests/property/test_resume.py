"""A partition that is taken over from damaged state: windows whole or cold, and no series ever has another's name."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.backends.abstract import Position, RecordColumns, Restored, StateRecord
from monitor.processing.processor import Processor
from monitor.processing.resuming import Resumed
from tests.helpers import (
    INPUT,
    make_artifact,
    make_columns,
    make_config,
    make_processor,
    make_processor_at_zero,
    score_all,
    work,
)

LENGTH, HOP = 6, 2
ARTIFACT = make_artifact(length=LENGTH, hop=HOP, threshold=0.01)
SCORER = ARTIFACT.scorer()
CONFIG = make_config(alerting={"include_window": "full"})
SERIES = [b"a", b"b", "Bett Ä".encode(), b"d"]


def samples(first_offset: int, count: int, shift: float = 0.0) -> RecordColumns:
    """`count` records of each series in turn; the number says which series sent it."""
    keys = SERIES * count
    values = [json.dumps({"value": 10.0 * (SERIES.index(key) + 1) + shift}).encode() for key in keys]
    return make_columns(values, keys=keys, first_offset=first_offset)


def left_behind() -> tuple[list[StateRecord], int]:
    """A checkpoint with an open incident of every series, and the offset that it stands for."""
    processor = make_processor_at_zero(CONFIG, ARTIFACT)
    polled = samples(0, LENGTH)
    processor.receive(polled)
    score_all(processor, SCORER)
    outputs = processor.take_outputs([INPUT])
    assert len(outputs.alerts) == len(SERIES)
    return [StateRecord(*record) for record in outputs.checkpoints[INPUT]], polled.next_offset


RECORDS, OFFSET = left_behind()


def taken_over(records: list[StateRecord]) -> tuple[Processor, Resumed]:
    processor = make_processor(CONFIG, ARTIFACT)
    restored = Restored(Position(OFFSET, OFFSET, 0), tuple(records), 0, 10_000)
    return processor, processor.assign(INPUT, restored, 0)


def check_names(processor: Processor) -> None:
    """New samples of known and of new series: each alert names the series that sent its samples."""
    told = work(processor, SCORER, samples(OFFSET, 2 * LENGTH, shift=1.0))
    for alert in told:
        values = alert.data.window.values
        assert values is not None
        if values[-1][0] % 10 == 1.0:  # not the coordinates of an incident that is over
            assert alert.data.series.encode() == SERIES[int(values[-1][0] // 10) - 1]


def test_an_incident_whose_key_is_no_text_shifts_no_names() -> None:
    spoiled = [StateRecord(record.key.replace(b"/a", b"/\xff"), record.value) for record in RECORDS]
    assert spoiled != RECORDS
    processor, resumed = taken_over(spoiled)
    (unreadable,) = resumed.unreadable
    assert "incident of telltale.input-0, key b'incident/telltale.input/0/\\xff'" in unreadable
    assert (resumed.state_lost, resumed.begin) == ("", OFFSET)
    assert processor.open_incidents() == len(SERIES) - 1, "the others are whole"
    told = work(processor, SCORER, samples(OFFSET, LENGTH))
    assert [(alert.data.series, alert.data.status) for alert in told] == [("a", "firing")], "and go on"
    check_names(taken_over(spoiled)[0])


@settings(max_examples=200)
@given(st.integers(0, len(RECORDS) - 1), st.booleans(), st.data())
def test_whatever_is_damaged_no_series_has_another_name(place: int, in_key: bool, data: st.DataObject) -> None:
    record = RECORDS[place]
    raw = bytearray(record.key if in_key else record.value)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    damaged = StateRecord(bytes(raw), record.value) if in_key else StateRecord(record.key, bytes(raw))
    records = [*RECORDS[:place], damaged, *RECORDS[place + 1 :]]
    check_names(taken_over(records)[0])


@given(st.permutations(RECORDS), st.integers(0, len(RECORDS)))
def test_whatever_is_missing_no_series_has_another_name(records: list[StateRecord], kept: int) -> None:
    check_names(taken_over(list(records)[:kept])[0])
