"""The score's incident of a series that falls silent says so, and ends by the partition's time."""

from __future__ import annotations

import json

import pytest

from monitor.backends.abstract import Position, Restored, StateRecord
from monitor.config.options import Config
from monitor.detector.times import FOREVER_US
from monitor.messages.alerts import Alert
from monitor.messages.quality import Event
from monitor.processing.processor import Processor
from tests.helpers import (
    INPUT,
    make_artifact,
    make_columns,
    make_config,
    make_processor,
    make_processor_at_zero,
    score_all,
)

ARTIFACT = make_artifact(length=4, hop=2, threshold=1.0, batch_rows=512)
NOW_MS = 1_764_600_000_000
FAULT_S, END_S = 30, 50  # "a" is wrong from the one on, and sends nothing from the other on


def config(**sections: dict[str, object]) -> Config:
    return make_config(input={"start": "earliest"}, **sections)


def log(seconds: int) -> list[tuple[int, bytes, float]]:
    """Time in ms, series and value: "on" goes on."""
    well = [0.1, 0.15, 0.2]
    found = [(1000 * second, b"on", well[second % 3]) for second in range(seconds)]
    found += [(1000 * at + 10, b"a", 9.0 * (-1) ** at if at >= FAULT_S else well[at % 3]) for at in range(END_S)]
    return sorted(found)


def receive(processor: Processor, records: list[tuple[int, bytes, float]], first_offset: int = 0) -> None:
    columns = make_columns(
        [json.dumps({"value": value}).encode() for *_, value in records],
        keys=[key for _, key, _ in records],
        timestamps_ms=[NOW_MS + at for at, *_ in records],
        first_offset=first_offset,
    )
    processor.receive(columns, NOW_MS * 1000)
    score_all(processor)


def brief(events: list[Event]) -> list[tuple[str, str, str | None]]:
    return [(each.type.split(".")[2], each.data.status, getattr(each.data, "reason", None)) for each in events]


FIRES, IS_SILENT = ("alert", "firing", None), ("quality", "firing", None)
SAYS_SO, ENDS = ("alert", "update", "no_data"), ("alert", "resolved", "no_data")


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, [FIRES, SAYS_SO, IS_SILENT, ENDS]),
        ({"quality": {"no_data_resolves_after_ms": 0}}, [FIRES, SAYS_SO, IS_SILENT]),
        ({"quality": {"no_data_resolves_after_ms": 7_200_000}}, [FIRES, SAYS_SO, IS_SILENT]),
        ({"alerting": {"update_every": 0}}, [FIRES, IS_SILENT, ENDS]),
        ({"quality": {"no_data": False}}, [FIRES]),
    ],
    ids=["default", "never", "later", "no updates", "no_data off"],
)
def test_by_the_records_of_others(
    sections: dict[str, dict[str, object]], expected: list[tuple[str, str, str | None]]
) -> None:
    processor = make_processor_at_zero(config(**sections), ARTIFACT)
    receive(processor, log(2 * 3600))
    assert brief(processor.take_outputs().alerts) == expected


def test_what_is_said() -> None:
    processor = make_processor_at_zero(config(), ARTIFACT)
    receive(processor, log(2 * 3600))
    firing, update, silent, resolved = processor.take_outputs().alerts
    assert isinstance(update, Alert)
    assert isinstance(resolved, Alert)
    assert [each.rule for each in update.data.quality] == ["no_data"]
    assert update.data.fingerprint == resolved.data.fingerprint == firing.data.fingerprint  # type: ignore[union-attr]
    assert [update.time, update.data.severity] == [silent.time, firing.data.severity]
    assert update.data.summary == (
        "a: no record since 2025-12-01T14:40:49.010Z, while its incident is open (10 windows, peak 9.62x threshold)"
    )
    assert resolved.data.summary == (
        "a: resolved without a verdict: the series has stayed silent for quality.no_data_resolves_after_ms (10 "
        "windows, peak 9.62x threshold)"
    )
    assert [resolved.time, resolved.data.severity] == ["2025-12-01T15:41:00.000Z", "info"]
    assert [update.data.episode.ended_at, resolved.data.episode.ended_at] == [None, "2025-12-01T14:40:49.010Z"]
    assert len({each.id for each in (firing, silent, update, resolved)}) == 4


def test_by_ticks_after_a_restart_too() -> None:
    """Neither who sends nor who sends nothing is there any more; the daemon is started again before the end."""
    processor, state = make_processor_at_zero(config(), ARTIFACT), dict[bytes, bytes | None]()
    receive(processor, log(END_S))
    offset, found = 2 * END_S, list[Event]()

    def until(time_us: int) -> None:
        while (due_us := processor.due_us(INPUT)) <= time_us:
            processor.advance(INPUT, due_us)
            score_all(processor)
        outputs = processor.take_outputs([INPUT])
        found.extend(outputs.alerts)
        state.update({key: value for _, key, value in outputs.state} | dict(outputs.checkpoints.get(INPUT, ())))

    until(NOW_MS * 1000 + 600_000_000)
    assert [each for each in brief(found) if each[0] == "alert"] == [FIRES, SAYS_SO]
    for expected in (1, 0):
        kept = tuple(StateRecord(key, value) for key, value in state.items() if value is not None)
        processor = make_processor(config(), ARTIFACT)
        processor.assign(INPUT, Restored(Position(offset, offset, 0), kept, 0, offset), 0)
        found.clear()
        until(NOW_MS * 1000 + 4_000_000_000)
        assert brief(found) == [ENDS] * expected
        assert processor.open_by_rule()["no_data"] == 2
    assert processor.due_us(INPUT) == FOREVER_US


def test_who_sends_again_is_judged_again() -> None:
    records = log(600)
    back = [(at, b"a", value) for at, key, value in records if at >= 300_000 and key == b"on"]
    processor = make_processor_at_zero(config(), ARTIFACT)
    receive(processor, sorted([*records, *back]))
    assert brief(processor.take_outputs().alerts) == [
        FIRES,
        SAYS_SO,
        IS_SILENT,
        ("quality", "resolved", "recovered"),
        ("alert", "resolved", "recovered"),
    ]


def test_a_silence_that_was_broken_counts_from_when_it_began_again() -> None:
    """Beside one that is not broken; and though it is reported again before the first would have ended."""
    records = log(600)
    other = [(at, b"A", value) for at, key, value in records if key == b"a"]
    back = [(100_000 + 1000 * at, b"a", 9.0 * (-1) ** at) for at in range(5)]
    processor = make_processor_at_zero(config(quality={"no_data_resolves_after_ms": 250_000}), ARTIFACT)
    receive(processor, sorted([*records, *other, *back]))  # one batch
    found = processor.take_outputs().alerts
    ends = [(each.subject, each.time) for each in found if brief([each]) == [ENDS]]
    assert ends == [("A", "2025-12-01T14:45:10.000Z"), ("a", "2025-12-01T14:49:15.000Z")]
