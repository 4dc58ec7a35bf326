"""Another check is a file, and a row of `extensions.CHECKS`: its incidents live beside the score's.

The toys are tests/toys/flatline.py, which watches each series by itself, and tests/toys/silence.py, which finds a
series silent by the time of the others' records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import extensions
from monitor.backends.abstract import Position, RecordColumns, Restored, StateRecord
from monitor.config.options import Config
from monitor.detector.artifact import Artifact
from monitor.detector.incidents import SCORE_RULE
from monitor.detector.memory import Memory
from monitor.messages import alerts
from monitor.messages.alerts import Alert
from monitor.messages.quality import Event, QualityAlert, decode
from monitor.processing.checks import WHOLE_SERIES, Findings
from monitor.processing.outbox import Outputs
from monitor.processing.processor import Processor
from monitor.processing.turns import Turn
from tests.helpers import (
    INPUT,
    make_artifact,
    make_columns,
    make_config,
    make_processor,
    make_processor_at_zero,
    of_quality,
    score_all,
)
from tests.property.test_processor import Life, Rows, Supervisor, lives, policies, streams
from tests.toys.flatline import Flatline

ARTIFACT = make_artifact(length=6, hop=2, threshold=0.8, batch_rows=4)
RECORDS = make_artifact(kind="record", length=4, threshold=1e6)
NOW_US = 1_764_600_000_000_000
FLAT, WELL = [0.01] * 7, [0.01, 0.2, 0.01]


@pytest.fixture(autouse=True, scope="module")
def _registered() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(extensions.CHECKS, "flatline", "tests.toys.flatline:Flatline")
        patch.setitem(extensions.CHECKS, "silence", "tests.toys.silence:Silence")
        yield


def records(*samples: tuple[str, float | list[float], int], first_offset: int = 0) -> RecordColumns:
    """A record of each (series, value or values, ms)."""
    raw = [json.dumps({"values": value} if isinstance(value, list) else {"value": value}) for _, value, _ in samples]
    keys, times_ms = [name.encode() for name, _, _ in samples], [at_ms for _, _, at_ms in samples]
    return make_columns([text.encode() for text in raw], keys=keys, timestamps_ms=times_ms, first_offset=first_offset)


def of_one(values: Sequence[float], first_offset: int = 0) -> RecordColumns:
    return records(*(("a", value, first_offset + at) for at, value in enumerate(values)), first_offset=first_offset)


def decide(processor: Processor, *polls: RecordColumns) -> Outputs:
    for columns in polls:
        processor.receive(columns, NOW_US)
        score_all(processor)
    return processor.take_outputs([INPUT])


def told(outputs: Outputs) -> list[tuple[str, str, str, int]]:
    """Of each alert the series, the rule, the status and the offset."""
    found = of_quality(outputs)
    assert len(found) == len(outputs.alerts)
    return [(each.subject, each.data.rule, each.data.status, each.data.kafka.offset) for each in found]


def begun(artifact: Artifact = ARTIFACT, **source: int) -> Processor:
    return make_processor_at_zero(make_config(input={"start": "earliest", **source}), artifact)


def test_it_opens_updates_and_closes_incidents_of_its_own() -> None:
    outputs = decide(begun(), of_one([*FLAT, *WELL]))
    assert told(outputs) == [
        ("a", "flatline", "firing", 3),
        ("a", "flatline", "update", 6),
        ("a", "flatline", "resolved", 9),
    ]
    firing, update, resolved = (each.data for each in of_quality(outputs))
    assert firing.summary == "a, value: hardly moves for 4 samples, at most 3"
    assert update.summary == "a, value: hardly moves for 7 samples, at most 3, for 0.003 s now"
    assert resolved.summary == "a, value: moves again, after 0.006 s"
    assert (firing.value, firing.threshold, firing.unit, firing.channel) == (4, 3, "samples", "value")
    assert (resolved.reason, resolved.severity, firing.severity) == ("recovered", "info", "warning")
    ends = [firing.episode.ended_at, resolved.episode.started_at, resolved.episode.ended_at]
    assert ends == [None, "1970-01-01T00:00:00.003Z", "1970-01-01T00:00:00.009Z"]


def test_silence_is_found_by_the_records_of_others_and_ends_with_its_own() -> None:
    polls = records(("a", 1.0, 0), ("b", 0.1, 0), ("b", 0.3, 5), ("b", 0.1, 6), ("b", 0.3, 11), ("a", 0.4, 12))
    outputs = decide(begun(), polls)
    assert told(outputs) == [("a", "silence", "firing", 3), ("a", "silence", "resolved", 5)]
    firing, _ = (each.data for each in of_quality(outputs))
    assert (firing.summary, firing.channel) == ("a: no data for 0.0060 s, at most 0.005 s", None)
    assert (firing.episode.started_at, firing.severity) == ("1970-01-01T00:00:00.000Z", "error")


def test_it_sees_the_samples_of_whole_records_too() -> None:
    outputs = decide(begun(RECORDS), records(("a", [0.1, 0.1, 0.1, 0.1], 0), ("a", [0.1, 0.3, 0.5, 0.7], 4)))
    assert told(outputs) == [("a", "flatline", "firing", 0), ("a", "flatline", "resolved", 1)]


def test_what_refused_records_leave_is_no_value() -> None:
    values = [b'{"value": 0.1}'] * 5 + [b"junk"] * 3 + [b'{"value": 0.1}', b'{"value": 0.9}', b'{"value": 0.1}']
    outputs = decide(begun(), make_columns(values, keys=[b"a"] * 11, timestamps_ms=list(range(11))))
    found = [("firing", 3), ("update", 9), ("resolved", 10)]
    assert told(outputs) == [("a", "flatline", status, offset) for status, offset in found]


def test_late_samples_are_not_its_business() -> None:
    values = [b'{"ts": %d, "value": %f}' % (at, value) for value, at in ((0.1, 10), (0.1, 11), (0.9, 3), (0.1, 12))]
    assert told(decide(begun(), make_columns(values))) == []
    values.append(b'{"ts": 13, "value": 0.1}')
    assert told(decide(begun(), make_columns(values))) == [("a", "flatline", "firing", 4)]


@pytest.mark.parametrize("snapshot", [2, 3, 5])
@pytest.mark.parametrize("decided", [5, 6])
def test_a_snapshot_restores_what_it_remembers(snapshot: int, decided: int) -> None:
    values = [*FLAT, *WELL]
    first = begun()
    outputs = decide(first, of_one(values[:snapshot]))
    found = told(outputs)
    state: dict[bytes, bytes | None] = dict(outputs.checkpoints[INPUT])
    outputs = decide(first, of_one(values[snapshot:decided], snapshot))
    found += told(outputs)
    state |= {key: value for _, key, value in outputs.state}
    kept = tuple(StateRecord(key, value) for key, value in state.items() if value is not None)
    second = make_processor(make_config(input={"start": "earliest"}), ARTIFACT)
    resumed = second.assign(INPUT, Restored(Position(decided, snapshot, 0), kept, beginning=0, end=10), 0)
    assert (resumed.begin, resumed.state_lost, resumed.unreadable) == (snapshot, "", ())
    found += told(decide(second, of_one(values[snapshot:], snapshot)))
    assert found == told(decide(begun(), of_one(values)))
    assert [each[2] for each in found] == ["firing", "update", "resolved"]


def test_a_snapshot_without_it_or_in_another_layout_lets_it_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    state = tuple(StateRecord(*each) for each in decide(begun(), of_one(FLAT[:3])).checkpoints[INPUT])
    other = np.array((np.nan, 0), [("value", "<f8"), ("count", "<i8")])[()]
    monkeypatch.setattr(Flatline, "nothing", other)
    processor = make_processor(make_config(input={"start": "earliest"}), ARTIFACT)
    resumed = processor.assign(INPUT, Restored(Position(3, 3, 0), state, beginning=0, end=10), 0)
    assert (resumed.begin, resumed.state_lost) == (3, "")
    assert told(decide(processor, of_one(FLAT[3:], 3))) == [("a", "flatline", "firing", 6)]


def test_what_is_remembered_of_other_channels_is_not_taken_over() -> None:
    """Whole records need nothing else of a snapshot, so that it is not refused as a whole."""
    one, other = (make_artifact(kind="record", length=2, channels=each, threshold=1e6) for each in ("xy", "yx"))
    value, key = b"[[0.1, 0.1], [0.1, 0.1]]", b"a"
    first, then = (make_columns([value], keys=[key], timestamps_ms=[at], first_offset=at) for at in (0, 1))
    state = tuple(StateRecord(*each) for each in decide(begun(one), first).checkpoints[INPUT])
    for artifact, found in ((one, [("a", "flatline", "firing", 1)]), (other, [])):
        processor = make_processor(make_config(input={"start": "earliest"}), artifact)
        processor.assign(INPUT, Restored(Position(1, 1, 0), state, beginning=0, end=2), 0)
        assert told(decide(processor, then)) == found


def test_a_series_that_is_forgotten_takes_its_incidents_along() -> None:
    processor = begun(max_series=1)
    outputs = decide(processor, of_one(FLAT), records(("b", 0.1, 30), ("b", 0.3, 60), first_offset=7))
    ends = [(each.subject, each.data.rule, each.data.reason) for each in of_quality(outputs)[2:]]
    assert ends == [("a", "flatline", "forgotten"), ("b", "silence", None), ("b", "silence", "recovered")]
    ended = of_quality(outputs)[2].data
    assert ended.summary.startswith("a, value: flatline resolved without a verdict: more series came")
    assert (ended.value, ended.threshold, ended.unit, ended.channel) == (None, None, None, "value")
    assert not any(processor._partitions[INPUT].incidents.values())


@settings(max_examples=40, deadline=None)
@given(streams(), policies, st.lists(lives, max_size=4), st.integers(1, 12))
def test_crashes_and_chunks_change_nothing(rows: Rows, config: Config, several: list[Life], poll: int) -> None:
    """As for the score (tests/property/test_processor.py), with both toys beside it."""
    limits = {"max_poll_records": poll, "commit_interval_ms": 1, "idle_commit_interval_ms": 0}
    config = config.model_copy(update={"limits": config.limits.model_copy(update=limits)})
    supervisor, undisturbed = Supervisor(rows, config, "sliding"), Supervisor(rows, config, "sliding")
    supervisor.live(several)
    undisturbed.life(None, crash=False, fails=[], checkpoint_every=100)
    assert sorted(map(alerts.encode, supervisor.events())) == sorted(map(alerts.encode, undisturbed.events()))
    assert len({each.id for each in undisturbed.events()}) == len(undisturbed.events())


def test_what_is_found_in_rows_of_no_series_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for more series than there are, and a poll that waits may have given rows to some more."""

    def absent(_check: Flatline, turn: Turn, memory: Memory) -> Findings:
        memory["count"][turn.taken.series] = 1
        rows = np.flatnonzero(memory["count"] == 0)
        offset, at_us = (np.repeat(each, len(rows)) for each in (turn.taken.offset[-1:], turn.at_us[-1:]))
        whole, ones = np.full(len(rows), WHOLE_SERIES), np.ones(len(rows))
        return Findings(rows, whole, offset, whole, at_us, at_us, 2 * ones, ones, ones)

    monkeypatch.delitem(extensions.CHECKS, "silence")
    monkeypatch.setattr(Flatline, "take", absent)
    processor = begun()
    processor.receive(records(("a", 0.1, 0)), NOW_US)
    assert told(decide(processor, records(("b", 0.1, 1), ("c", 0.1, 2), first_offset=1))) == []
    assert told(decide(processor, records(("d", 0.1, 3), first_offset=3))) == []


def test_what_is_found_is_published_in_the_order_of_the_log() -> None:
    """However many windows wait for their scores at once, and wherever a slice or a batch of them ends."""
    rng = np.random.default_rng(5)
    values = np.where(np.arange(120) % 30 < 15, 0.0, 3.0 * rng.normal(size=120)).tolist()
    expected = decide(begun(), of_one(values)).alerts
    assert {type(each) for each in expected} == {Alert, QualityAlert}
    places = [each.data.kafka.last_offset if isinstance(each, Alert) else each.data.kafka.offset for each in expected]
    assert places == sorted(places)
    for slice_, cut in ((1, 50), (7, 120), (65_536, 33)):
        processor = begun()
        processor._slice = slice_
        found: list[Event] = []
        for first in range(0, len(values), cut):
            found += decide(processor, of_one(values[first : first + cut], first)).alerts
        assert found == expected


def test_names_of_rules_can_stand_in_keys() -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", rule) and rule != SCORE_RULE for rule in extensions.CHECKS)


def taken_over(artifact: Artifact) -> tuple[Processor, list[QualityAlert], list[tuple[bytes, bytes | None]]]:
    """`artifact`'s processor after one that watched ARTIFACT left an incident of the toy open."""
    state = tuple(StateRecord(*each) for each in decide(begun(), of_one(FLAT)).checkpoints[INPUT])
    processor = make_processor(make_config(input={"start": "earliest"}), artifact)
    processor.assign(INPUT, Restored(Position(7, 7, 0), state, beginning=0, end=10), 0)
    outputs = processor.take_outputs()
    records = [(key, value) for _, key, value in outputs.state if key.startswith(b"incident")]
    return processor, of_quality(outputs), records


KEY = b"incident:flatline:value/telltale.input/0/a"


def test_what_is_not_watched_any_more_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Because the check is gone, or its channel: nobody else would ever close the incident."""
    processor, ended, records = taken_over(ARTIFACT)
    assert (ended, records, processor.open_by_rule()["flatline"]) == ([], [], 1)
    other = make_artifact(length=6, hop=2, threshold=0.8, channels=("flow",))
    _, renamed, records = taken_over(other)
    assert records == [(KEY, None)]
    found = decide(begun(), of_one(FLAT)).checkpoints[INPUT]
    monkeypatch.delitem(extensions.CHECKS, "flatline")
    processor = make_processor(make_config(input={"start": "earliest"}), ARTIFACT)
    processor.assign(INPUT, Restored(Position(7, 7, 0), tuple(StateRecord(*r) for r in found), beginning=0, end=10), 0)
    outputs = processor.take_outputs()
    assert [*of_quality(outputs)] == renamed
    assert (INPUT, KEY, None) in outputs.state
    assert processor.open_incidents() == 0
    (alert,) = renamed
    assert (alert.data.status, alert.data.reason, alert.data.channel) == ("resolved", "not_watched", "value")
    assert alert.data.summary == (
        "a, value: flatline resolved without a verdict: its check is off or begins anew, or the artifact "
        "lacks its channel"
    )


def test_both_types_of_alerts_are_read_by_their_type() -> None:
    values = [*FLAT, *(9.0, -9.0) * 4]
    found = decide(begun(), of_one(values)).alerts
    assert {type(each) for each in found} == {Alert, QualityAlert}
    assert [decode(alerts.encode(each)) for each in found] == found
