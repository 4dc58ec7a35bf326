"""Time in silent partitions: when it moves on, and when it must not."""

from __future__ import annotations

import json

import pytest

from monitor.backends.abstract import Position, Progress, Restored, StateRecord
from monitor.detector.times import FOREVER_US
from monitor.processing.partition import MOST_TICKS
from monitor.processing.processor import Processor
from monitor.serving.idle import MOST_S, SETTLE_S, Ticker
from tests.helpers import (
    INPUT,
    make_artifact,
    make_columns,
    make_config,
    make_processor,
    make_processor_at_zero,
    of_quality,
    score_all,
    work,
)

ARTIFACT = make_artifact(length=4, hop=2, threshold=1e6)
NOW_US = 1_764_600_000_000_000
COUNT = 40
CONFIG = make_config(input={"start": "earliest"})
AT_END = Progress(read=COUNT, committed=COUNT, end=COUNT)


def begun() -> Processor:
    """A sensor that sent once a second, and stopped."""
    processor = make_processor_at_zero(CONFIG, ARTIFACT)
    values = [json.dumps({"value": at % 3}).encode() for at in range(COUNT)]
    times_ms = [NOW_US // 1000 + 1_000 * at for at in range(COUNT)]
    work(processor, processor.model.scorer, make_columns(values, timestamps_ms=times_ms), now_us=NOW_US)
    return processor


def at(seconds: float, progress: Progress = AT_END) -> Progress:
    return Progress(progress.read, progress.committed, progress.end, answered_s=seconds, paused=progress.paused)


def published(processor: Processor) -> list[tuple[str, str, int]]:
    score_all(processor)
    found = [each.data for each in of_quality(processor.take_outputs())]
    return [(data.rule, data.status, data.kafka.offset) for data in found]


def after(processor: Processor, *answers: Progress) -> list[tuple[int, str, str, int]]:
    """What is published after each answer, with its number."""
    ticker, found = Ticker(processor), []
    for number, progress in enumerate(answers):
        ticked = ticker.tick({INPUT: progress})
        news = published(processor)
        assert ticked or not news
        found += [(number, *each) for each in news]
    return found


def test_a_reading_whose_other_channel_does_not_come_is_let_out_after_the_grace() -> None:
    """As part of the last window, where nothing comes any more."""
    config = make_config(input={"start": "earliest", "partial_records": True, "grace_ms": 3_000})
    artifact = make_artifact(length=4, hop=1, channels=["flow", "level"], threshold=1e-9)
    processor = make_processor_at_zero(config, artifact)
    values = [json.dumps({["flow", "level"][at % 2]: 100 + at % 7}).encode() for at in range(COUNT - 1)]
    times_ms = [NOW_US // 1000 + 1_000 * (at // 2) for at in range(COUNT - 1)]
    work(processor, processor.model.scorer, make_columns(values, timestamps_ms=times_ms), now_us=NOW_US)
    while processor.due_us(INPUT) <= NOW_US + 25_000_000:  # 3 s to be put in order, and 3 s for its other channel
        processor.advance(INPUT, processor.due_us(INPUT))
        score_all(processor)
    assert processor.counts.windows == COUNT // 2 - 3


def test_a_sensor_that_stops_is_missed_in_a_silent_partition_too() -> None:
    processor = begun()
    assert after(processor, *(at(1_000 + second) for second in range(30))) == [(11, "no_data", "firing", COUNT)]
    assert processor.due_us(INPUT) == FOREVER_US, "nothing is waited for any more"


def test_the_alert_says_since_when_and_has_the_ticks_own_place() -> None:
    processor = begun()
    ticker = Ticker(processor)
    for second in range(12):
        ticker.tick({INPUT: at(second)})
        score_all(processor)
    outputs = processor.take_outputs()
    (alert,) = of_quality(outputs)
    assert (
        alert.data.summary
        == "a: no record since 2025-12-01T14:40:39.000Z, for 11 s; usually one every 1 s (limit 10 s)"
    )
    assert (alert.time, alert.data.value, alert.data.threshold) == ("2025-12-01T14:40:50.000Z", 11, 10)
    (record,) = [json.loads(value or b"") for _, key, value in outputs.state if key.startswith(b"time")]
    assert record["idle"] == [[COUNT, NOW_US + 42_000_000], [COUNT, NOW_US + 50_000_000]]
    assert outputs.positions == {INPUT: Position(COUNT, 0, 0)}, "what is published goes with a position"


@pytest.mark.parametrize(
    "progress",
    [
        Progress(read=COUNT, committed=COUNT, end=COUNT + 1),
        Progress(read=COUNT - 1, committed=COUNT, end=COUNT),
        Progress(read=COUNT, committed=None, end=COUNT),
        Progress(read=None, committed=COUNT, end=COUNT),
        Progress(read=COUNT, committed=COUNT, end=COUNT, paused=True),
    ],
)
def test_who_is_not_known_to_be_at_the_end_is_not_silent(progress: Progress) -> None:
    assert after(begun(), *(at(second, progress) for second in range(60))) == []


def test_an_outage_is_nobodys_silence() -> None:
    """Nor are the seconds after it, in which producers come back."""
    outage = [at(second) for second in range(5)] + [at(5 + 2 * MOST_S + second) for second in range(int(SETTLE_S))]
    assert after(begun(), *outage) == []
    later = [at(5 + 2 * MOST_S + SETTLE_S + second) for second in range(12)]
    ((number, *_),) = after(begun(), *outage, *later)
    assert number == len(outage) + 7, "four seconds were silent before"


def test_time_between_stop_and_start_does_not_count() -> None:
    processor = begun()
    state = tuple(StateRecord(*each) for each in processor.take_outputs([INPUT]).checkpoints[INPUT])
    again = make_processor(CONFIG, ARTIFACT)
    again.assign(INPUT, Restored(Position(COUNT, COUNT, 0), state, 0, COUNT), 0)
    assert after(again, *(at(9_000 + second) for second in range(11))) == []
    assert again.time_us(INPUT) == NOW_US + 42_000_000


def test_ticks_right_after_a_checkpoint_are_made_again() -> None:
    processor = begun()
    outputs = processor.take_outputs([INPUT])
    state = dict(outputs.checkpoints[INPUT])
    processor.advance(INPUT, NOW_US + 44_000_000)
    assert published(processor) == []
    processor.advance(INPUT, NOW_US + 52_000_000)
    score_all(processor)
    outputs = processor.take_outputs()
    (alert,) = of_quality(outputs)
    state |= {key: value for _, key, value in outputs.state if value is not None}
    again = make_processor(CONFIG, ARTIFACT)
    kept = tuple(StateRecord(key, value) for key, value in state.items())
    again.assign(INPUT, Restored(Position(COUNT, COUNT, 0), kept, 0, COUNT), 0)
    assert (again.due_us(INPUT), again.time_us(INPUT)) == (FOREVER_US, NOW_US + 52_000_000)
    back = make_columns([b'{"value": 1}'], timestamps_ms=[NOW_US // 1000 + 53_000], first_offset=COUNT)
    again.receive(back, NOW_US)
    assert published(again) == [("no_data", "resolved", COUNT)]
    assert alert.data.status == "firing"


def test_many_ticks_in_one_silence_make_a_checkpoint_due() -> None:
    processor = begun()
    processor.take_outputs([INPUT])
    for number in range(MOST_TICKS + 1):
        assert not processor.wants_checkpoint(INPUT)
        processor.advance(INPUT, NOW_US + 52_000_000 + 1_000 * number)
        score_all(processor)
    assert processor.wants_checkpoint(INPUT)
    state = dict(processor.take_outputs([INPUT]).checkpoints[INPUT])
    assert not processor.wants_checkpoint(INPUT)
    assert len(state[b"time/telltale.input/0"]) < 300
    again = make_processor(CONFIG, ARTIFACT)
    kept = tuple(StateRecord(key, value) for key, value in state.items())
    again.assign(INPUT, Restored(Position(COUNT, COUNT, 0), kept, 0, COUNT), 0)
    assert (again.due_us(INPUT), again.time_us(INPUT)) == (processor.due_us(INPUT), NOW_US + 53_000_000)


@pytest.mark.parametrize("kind", ["sliding", "record"])
def test_a_silence_that_nobody_remembers_after_a_restart_is_ended(kind: str) -> None:
    """The new artifact has other channels, so no check knows of it, and none would ever say that it is over."""
    (one, other) = (make_artifact(kind=kind, length=4, hop=2, threshold=1e6, channels=each) for each in ("x", "xy"))
    processor = make_processor_at_zero(CONFIG, one)
    values = [json.dumps([[at % 3]] * 4 if kind == "record" else {"x": at % 3}).encode() for at in range(COUNT)]
    times_ms = [NOW_US // 1000 + 1_000 * at for at in range(COUNT)]
    work(processor, processor.model.scorer, make_columns(values, timestamps_ms=times_ms), now_us=NOW_US)
    for second in (44, 52):
        processor.advance(INPUT, NOW_US + second * 1_000_000)
        score_all(processor)
    state = tuple(StateRecord(*each) for each in processor.take_outputs([INPUT]).checkpoints[INPUT])
    for artifact, ends in ((one, []), (other, [("resolved", "not_watched")])):
        again = make_processor(CONFIG, artifact)
        resumed = again.assign(INPUT, Restored(Position(COUNT, COUNT, 0), state, 0, COUNT), 0)
        found = of_quality(again.take_outputs())
        assert [(each.data.status, each.data.reason) for each in found] == ends
        assert again.open_by_rule()["no_data"] == 1 - len(ends)
        assert resumed.irregular is bool(ends), "what is ended is not to be found again after a crash"
