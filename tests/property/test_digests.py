"""Many series with one problem: a few alerts and one digest, however a log is cut and restored."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from monitor import extensions
from monitor.backends.abstract import Position, Restored, StateRecord
from monitor.messages import alerts
from monitor.messages.quality import QualityAlert, QualityDigest, decode
from monitor.processing import digests
from monitor.processing.digests import MOST
from monitor.processing.processor import Outputs, Processor
from tests.helpers import (
    INPUT,
    make_artifact,
    make_columns,
    make_config,
    make_processor,
    make_processor_at_zero,
    score_all,
)

ARTIFACT = make_artifact(length=4, hop=2, threshold=1e6)
CONFIG = make_config(input={"start": "earliest", "max_series": 100})
NOW_US = 1_764_600_000_000_000
NOW_MS = NOW_US // 1000
MANY, TURNS = 30, 50


@pytest.fixture(autouse=True, scope="module")
def _alone() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extensions, "CHECKS", {"no_data": extensions.CHECKS["no_data"]})
        yield


def log() -> list[tuple[int, bytes]]:
    """One goes on, `MANY` others stop at 50 s, the last third of them for good; one more a minute later."""
    found = [(1000 * second, b"on") for second in range(260)]
    for number in range(MANY):
        back = range(190 if number < 20 else 1000, 260)
        seconds = [second for second in range(260) if second < 50 + (70 if number == 3 else 0) or second in back]
        found += [(1000 * second + number, b"dev-%02d" % number) for second in seconds]
    return sorted(found)


LOG = log()


def decide(processor: Processor, first: int, end: int) -> None:
    times, keys = [NOW_MS + at for at, _ in LOG[first:end]], [key for _, key in LOG[first:end]]
    values = [b'{"value": 0.5}'] * (end - first)
    if end > first:
        processor.receive(make_columns(values, keys=keys, timestamps_ms=times, first_offset=first), NOW_US)
    score_all(processor)


def whole() -> Outputs:
    processor = make_processor_at_zero(CONFIG, ARTIFACT)
    decide(processor, 0, len(LOG))
    return processor.take_outputs()


def test_every_one_is_named_once_and_few_have_alerts_of_their_own() -> None:
    found = whole().alerts
    own = [each.data for each in found if isinstance(each, QualityAlert)]
    many = [each.data for each in found if isinstance(each, QualityDigest)]
    assert [(each.rule, each.status, each.count, len(each.incidents)) for each in many] == [
        ("no_data", "firing", MANY - 1 - MOST, MANY - 1 - MOST),
        ("no_data", "resolved", 20 - MOST, 20 - MOST),
    ]
    assert Counter(each.status for each in own) == {"firing": MOST + 1, "resolved": MOST}
    fired = {each.series: each.fingerprint for each in own if each.status == "firing"}
    fired |= {each.series: each.fingerprint for each in many[0].incidents}
    assert sorted(fired) == [f"dev-{number:02d}" for number in range(MANY)]
    back = [each.series for each in own if each.status == "resolved"] + [each.series for each in many[1].incidents]
    assert sorted(back) == [f"dev-{number:02d}" for number in range(20)]
    assert all(fired[each.series] == each.fingerprint for each in many[1].incidents)
    assert many[0].summary == (
        "19 more incidents of no data began in telltale.input-0 within a minute from 2025-12-01T14:41:00.000Z: dev-11, "
        "dev-12, dev-13, ..."
    )


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.lists(st.integers(0, len(LOG)), max_size=8), st.lists(st.integers(0, len(LOG)), max_size=4), st.booleans())
def test_crashes_and_chunks_change_nothing(cuts: list[int], crashes: list[int], fresh: bool) -> None:
    """Checkpoints come with every other crash; what was not committed is decided again."""
    processor, state = make_processor_at_zero(CONFIG, ARTIFACT), dict[bytes, bytes | None]()
    found, replay_from, at = [], 0, 0
    for end in sorted({*cuts, *crashes, len(LOG)}):
        decide(processor, at, end)
        outputs = processor.take_outputs([INPUT] if end % 2 or fresh or not state else [])
        found += [alerts.encode(each) for each in outputs.alerts]
        state |= {key: value for _, key, value in outputs.state} | dict(outputs.checkpoints.get(INPUT, ()))
        processor.committed(outputs.positions)
        replay_from, at = outputs.positions[INPUT].replay_from if outputs.positions else replay_from, end
        if end in crashes:
            kept = tuple(StateRecord(key, value) for key, value in state.items() if value is not None)
            processor = make_processor(CONFIG, ARTIFACT)
            resumed = processor.assign(INPUT, Restored(Position(at, replay_from, 0), kept, 0, len(LOG)), 0)
            decide(processor, resumed.begin, at)
    assert found == [alerts.encode(each) for each in whole().alerts]
    left = {key for key, value in state.items() if key.startswith(b"digest") and value is not None}
    assert left <= {b"digest/telltale.input/0/tally"}, "nothing waits any more"


def test_a_digest_is_split_where_a_message_would_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "PART_BYTES", 2_000)
    many = [each for each in whole().alerts if isinstance(each, QualityDigest)]
    firing = [each.data for each in many if each.data.status == "firing"]
    assert [(each.part, each.parts) for each in firing] == [(number, len(firing)) for number in (1, 2, 3)]
    assert sum(len(each.incidents) for each in firing) == firing[0].count == MANY - 1 - MOST
    assert len({each.id for each in many}) == len(many)
    for each in many:
        assert decode(alerts.encode(each)) == each
        assert len(alerts.encode(each)) < 4_000


def test_a_tick_ends_the_minute_too() -> None:
    processor = make_processor_at_zero(CONFIG, ARTIFACT)
    until = next(place for place, (at, _) in enumerate(LOG) if at >= 70_000)
    decide(processor, 0, until)
    assert not any(isinstance(each, QualityDigest) for each in processor.take_outputs().alerts)
    due_us = (NOW_US // 60_000_000 + 2) * 60_000_000
    assert min(processor.due_us(INPUT), due_us) > processor.time_us(INPUT)
    while processor.time_us(INPUT) < due_us:
        processor.advance(INPUT, min(processor.due_us(INPUT), due_us))
        decide(processor, 0, 0)
    (found,) = [each for each in processor.take_outputs().alerts if isinstance(each, QualityDigest)]
    assert (found.data.count, found.data.kafka.offset, json.loads(alerts.encode(found))["type"]) == (
        MANY + 1 - MOST,
        until,
        "io.telltale.quality.digest.v1",
    )
    assert np.isfinite(found.data.incidents[0].value or np.nan)
