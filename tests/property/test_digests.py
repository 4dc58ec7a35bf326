"""Many series with one problem: a few alerts and one digest, however a log is cut and restored."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from monitor import extensions
from monitor.backends.abstract import Position, Restored, StateRecord
from monitor.detector.times import FOREVER_US
from monitor.messages import alerts
from monitor.messages.quality import (
    Collected,
    DigestData,
    Event,
    Member,
    QualityAlert,
    QualityDigest,
    QualityWriter,
    decode,
)
from monitor.processing import digests
from monitor.processing.digests import MOST
from monitor.processing.outbox import Outputs
from monitor.processing.processor import Processor
from tests.helpers import (
    INPUT,
    make_artifact,
    make_columns,
    make_config,
    make_model,
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
    """One goes on, `MANY` others stop at 50 s, the last third of them for good; one of them a minute later.

    One more is there at the end only.
    """
    found = [(250_000, b"new"), *((1000 * second, b"on") for second in range(260))]
    for number in range(MANY):
        back = range(190 if number < 20 else 1000, 260)
        seconds = [second for second in range(260) if second < 50 + (70 if number == 3 else 0) or second in back]
        found += [(1000 * second + number, b"dev-%02d" % number) for second in seconds]
    return sorted(found)


LOG = log()


def place_of(time_ms: int) -> int:
    """The first place in the log from that time on."""
    return next(place for place, (at, _) in enumerate(LOG) if at >= time_ms)


def decide(processor: Processor, first: int, end: int) -> None:
    take_in(processor, LOG[first:end], first)


def take_in(processor: Processor, records: Sequence[tuple[int, bytes]], first_offset: int = 0) -> None:
    times, keys = [NOW_MS + at for at, _ in records], [key for _, key in records]
    values = [b'{"value": 0.5}'] * len(records)
    if records:
        processor.receive(make_columns(values, keys=keys, timestamps_ms=times, first_offset=first_offset), NOW_US)
    score_all(processor)


def whole() -> Outputs:
    processor = make_processor_at_zero(CONFIG, ARTIFACT)
    decide(processor, 0, len(LOG))
    return processor.take_outputs()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the alerts of all other rules: by themselves and at once, until they are too many."""
    monkeypatch.setattr(digests, "WAITS", {})


def named(events: Sequence[Event], status: str) -> dict[str, str]:
    """Series and fingerprints of all that has a status, in alerts or digests; each only once."""
    found = [each.data for each in events if isinstance(each, QualityAlert) and each.data.status == status]
    many = [each.data for each in events if isinstance(each, QualityDigest) and each.data.status == status]
    pairs = [(each.series, each.fingerprint) for each in found]
    pairs += [(each.series, each.fingerprint) for data in many for each in data.incidents]
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def test_every_one_is_named_once_in_as_few_messages_as_there_can_be() -> None:
    found = whole().alerts
    assert [(each.time[14:], each.data.status, each.data.summary) for each in found] == [
        (
            "41:01.250Z",
            "firing",
            "29 of 31 series of telltale.input-0 have fallen silent: dev-00, dev-01, dev-02, ... (29 silent now)",
        ),
        (
            "42:10.000Z",
            "firing",
            "dev-03: no record since 2025-12-01T14:41:59.003Z, for 11 s; usually one every 1 s (limit 10 s)",
        ),
        (
            "43:11.250Z",
            "resolved",
            "20 of 31 series of telltale.input-0 send again: dev-00, dev-01, dev-02, ... (10 silent now)",
        ),
    ]
    fired, back = named(found, "firing"), named(found, "resolved")
    assert [*sorted(fired)] == [f"dev-{number:02d}" for number in range(MANY)]
    assert back == {f"dev-{number:02d}": fired[f"dev-{number:02d}"] for number in range(20)}
    digest = found[0].data
    assert isinstance(digest, DigestData)
    assert (digest.count, digest.open, digest.series, len(digest.incidents)) == (29, 29, 31, 29)


def test_few_have_alerts_of_their_own_but_wait_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "MOST", MANY)
    processor = make_processor_at_zero(CONFIG, ARTIFACT)
    found: list[tuple[int, Event]] = []
    for place in range(0, len(LOG), 10):
        decide(processor, place, place + 10)
        found += [(LOG[place][0], each) for each in processor.take_outputs().alerts]
    assert all(isinstance(each, QualityAlert) for _, each in found)
    assert len(named([each for _, each in found], "firing")) == MANY
    waited = [at / 1000 + NOW_US / 1e6 - datetime.fromisoformat(each.time).timestamp() for at, each in found]
    assert 1 < max(waited) < 1.4, "an eighth of 10 s"


@pytest.mark.usefixtures("no_waiting")
def test_of_other_rules_the_first_have_alerts_of_their_own_at_once() -> None:
    found = whole().alerts
    own = [each.data for each in found if isinstance(each, QualityAlert)]
    many = [each.data for each in found if isinstance(each, QualityDigest)]
    assert [(each.rule, each.status, each.count, len(each.incidents)) for each in many] == [
        ("no_data", "firing", MANY - 1 - MOST, MANY - 1 - MOST),
        ("no_data", "resolved", 20 - MOST, 20 - MOST),
    ]
    assert Counter(each.status for each in own) == {"firing": MOST + 1, "resolved": MOST}
    fired, back = named(found, "firing"), named(found, "resolved")
    assert [*sorted(fired)] == [f"dev-{number:02d}" for number in range(MANY)]
    assert back == {f"dev-{number:02d}": fired[f"dev-{number:02d}"] for number in range(20)}


def test_a_summary_of_any_other_rule() -> None:
    member = Member(
        series="a",
        channel="flow",
        fingerprint="1",
        value=9.0,
        threshold=3.0,
        started_at="2025-12-01T14:41:00.000Z",
        ended_at=None,
        reason=None,
    )
    start_us = NOW_US + 30_000_000
    found = Collected("flatline", "firing", start_us, start_us + 9_000_000, 1, 1, 14, [member] * 14, 24, 31, False)
    made = QualityWriter(make_model(ARTIFACT), service="s", group="g").digest(found, INPUT, 7, "warning", "samples")
    assert made.data.summary == (
        "14 more incidents of flatline began in telltale.input-0 from 2025-12-01T14:40:30.000Z to "
        "2025-12-01T14:40:39.000Z: a, flow, a, flow, a, flow, ... (24 open now; there are 31 series)"
    )


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    st.lists(st.integers(0, len(LOG)), max_size=8),
    st.lists(st.integers(0, len(LOG)), max_size=4),
    st.booleans(),
    st.sampled_from([{}, digests.WAITS, {"no_data": 1}]),
    st.sampled_from([2, MOST, MANY]),
)
@example([place_of(60_900)], [place_of(130_900)], False, digests.WAITS, MOST)
def test_crashes_and_chunks_change_nothing(
    cuts: list[int], crashes: list[int], fresh: bool, waits: dict[str, int], most: int
) -> None:
    """Checkpoints come with every other crash; what was not committed is decided again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "WAITS", waits)
        patch.setattr(digests, "MOST", most)
        processor, state = make_processor_at_zero(CONFIG, ARTIFACT), dict[bytes, bytes | None]()
        found, at = [], 0
        for end in sorted({*cuts, *crashes, len(LOG)}):
            decide(processor, at, end)
            found += commit(processor, state, checkpointed=bool(end % 2 or fresh or not state))
            at = end
            if end in crashes:
                processor = restarted(state, at)
        assert found == [alerts.encode(each) for each in whole().alerts]
    left = {key for key, value in state.items() if key.startswith(b"digest") and value is not None}
    assert left <= {b"digest/telltale.input/0/tally"}, "nothing waits any more"


def test_what_waits_after_a_digest_is_kept_in_the_commit_of_both() -> None:
    """One that falls silent in the same commit in which the digest of others is published."""
    processor, state = make_processor_at_zero(CONFIG, ARTIFACT), dict[bytes, bytes | None]()
    found, at = list[bytes](), 0
    for end, published in ((place_of(60_900), 0), (place_of(130_900), 1), (place_of(135_000), 2)):
        decide(processor, at, end)
        found += commit(processor, state, checkpointed=at == 0)
        assert len(found) == published
        processor, at = restarted(state, end), end
    assert found == [alerts.encode(each) for each in whole().alerts[:2]]


REPLAY_FROM = b"replay_from"  # beside the state


def commit(processor: Processor, state: dict[bytes, bytes | None], *, checkpointed: bool) -> list[bytes]:
    outputs = processor.take_outputs([INPUT] if checkpointed else [])
    state |= {key: value for _, key, value in outputs.state} | dict(outputs.checkpoints.get(INPUT, ()))
    processor.committed(outputs.positions)
    if outputs.positions:
        state[REPLAY_FROM] = b"%d" % outputs.positions[INPUT].replay_from
    return [alerts.encode(each) for each in outputs.alerts]


def restarted(state: dict[bytes, bytes | None], at: int) -> Processor:
    records = [(key, value) for key, value in state.items() if value is not None and key != REPLAY_FROM]
    kept = tuple(StateRecord(key, value) for key, value in records)
    processor = make_processor(CONFIG, ARTIFACT)
    replay_from = int(state.get(REPLAY_FROM) or b"0")
    resumed = processor.assign(INPUT, Restored(Position(at, replay_from, 0), kept, 0, len(LOG)), 0)
    decide(processor, resumed.begin, at)
    return processor


@pytest.mark.parametrize("every", [0, 1, 2])
def test_a_whole_silent_partition_is_one_thing(every: int) -> None:
    """Restarted before every second tick, or before each."""
    stop = place_of(50_000)
    processor, state, found = make_processor_at_zero(CONFIG, ARTIFACT), dict[bytes, bytes | None](), list[bytes]()
    decide(processor, 0, stop)
    found += commit(processor, state, checkpointed=True)
    ticks = 0
    while (due_us := processor.due_us(INPUT)) < NOW_US + 180_000_000:
        processor.advance(INPUT, due_us)
        decide(processor, 0, 0)
        found += commit(processor, state, checkpointed=ticks % 3 == 0)
        ticks += 1
        processor = restarted(state, stop) if every and ticks % every == 0 else processor
    (fallen,) = [decode(each) for each in found]
    assert isinstance(fallen, QualityDigest)
    assert fallen.data.summary == "nothing from any of the 31 series of telltale.input-0 since 2025-12-01T14:40:49.029Z"
    assert (fallen.time, fallen.data.count, fallen.data.severity) == ("2025-12-01T14:40:59.029001Z", 31, "error")
    keys = sorted({key for _, key in LOG[:stop]})
    take_in(processor, [(200_000 + number, key) for number, key in enumerate(keys)], stop)
    (back,) = processor.take_outputs().alerts
    assert back.data.summary == "all 31 series of telltale.input-0 send again"
    assert named([back], "resolved") == named([fallen], "firing")


@pytest.mark.parametrize(
    ("restored", "expected"),
    [
        ({"beginning": 2_000}, "its check is off or begins anew, or the artifact lacks its channel"),
        ({"topic_id": "another"}, "the input topic was deleted and made again"),
    ],
    ids=["deleted", "recreated"],
)
def test_many_end_where_the_log_is_not_what_it_was(restored: dict[str, Any], expected: str) -> None:
    """Its time is not known any more: nothing waits for it, and who is said to be over was said to have begun."""
    stop = place_of(60_900)  # while silence is about to be reported
    processor, state = make_processor_at_zero(CONFIG, ARTIFACT), dict[bytes, bytes | None]()
    decide(processor, 0, stop)
    found = commit(processor, state, checkpointed=True)
    assert (found, processor.open_by_rule()["no_data"]) == ([], MANY - 1)
    kept = tuple(StateRecord(key, value) for key, value in state.items() if value is not None and key != REPLAY_FROM)
    processor = make_processor(CONFIG, ARTIFACT)
    whence: dict[str, Any] = {"beginning": 0, "topic_id": "one"} | restored
    processor.assign(INPUT, Restored(Position(stop, stop, 0, "one"), kept, end=3_000, **whence), 0)
    firing, resolved = processor.take_outputs().alerts
    assert named([firing], "firing") == named([resolved], "resolved")
    assert firing.time == resolved.time == "2025-12-01T14:41:00.000Z"
    assert resolved.data.summary == (
        f"no data of 29 series of telltale.input-0 resolved without a verdict: {expected}: dev-00, dev-01, dev-02, ... "
        "(0 silent now)"
    )
    assert processor.due_us(INPUT) == FOREVER_US
    times = [NOW_MS - 1_000_000 + 100 * at for at in range(40)]  # earlier than all before
    processor.receive(make_columns([b"{}"] * 40, keys=[b"new"] * 40, timestamps_ms=times, first_offset=2_000), NOW_US)
    score_all(processor)
    assert processor.take_outputs().alerts == []


def test_what_ended_is_said_after_it_is_said_to_have_begun() -> None:
    """Though it would wait for less: a slow series falls silent first, then a fast one, which comes back."""
    records = [(1000 * at, b"slow") for at in range(0, 1000, 20)] + [(250 * at, b"on") for at in range(5_200)]
    records += [(1000 * at + 1, b"fast") for at in [*range(1180), *range(1195, 1300)]]
    processor = make_processor_at_zero(CONFIG, ARTIFACT)
    take_in(processor, sorted(records))
    assert [(each.data.status, each.subject) for each in processor.take_outputs().alerts] == [
        ("firing", "slow"),
        ("firing", "fast"),
        ("resolved", "fast"),
    ]


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_series_that_are_forgotten_meanwhile_end_at_their_record(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are silent, and about to be said so; a new one takes the place of each."""
    monkeypatch.setattr(digests, "MOST", 1)
    records = [(1000 * at + number, key) for at in range(60) for number, key in enumerate((b"a", b"b", b"on"))]
    records += [(100 * at, b"on") for at in range(600, 900)] + [(69_550, b"c"), (69_560, b"d")]
    config = make_config(input={"start": "earliest", "max_series": 3})

    def published(size: int) -> list[bytes]:
        processor, found = make_processor_at_zero(config, ARTIFACT), list[bytes]()
        for first in range(0, len(records), size):
            take_in(processor, sorted(records)[first : first + size], first)
            found += [alerts.encode(each) for each in processor.take_outputs().alerts]
        return found

    whole = published(len(records))
    assert [decode(each).data.status for each in whole] == ["firing", "resolved"]
    assert published(chunk) == whole


def test_a_digest_is_split_where_a_message_would_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "PART_BYTES", 2_000)
    many = [each for each in whole().alerts if isinstance(each, QualityDigest)]
    firing = [each.data for each in many if each.data.status == "firing"]
    assert [(each.part, each.parts) for each in firing] == [(number, len(firing)) for number in (1, 2, 3, 4)]
    assert sum(len(each.incidents) for each in firing) == firing[0].count == MANY - 1
    assert len({each.id for each in many}) == len(many)
    for each in many:
        assert decode(alerts.encode(each)) == each
        assert len(alerts.encode(each)) < 4_000


@pytest.mark.usefixtures("no_waiting")
def test_a_tick_ends_the_minute_too() -> None:
    processor = make_processor_at_zero(CONFIG, ARTIFACT)
    until = place_of(70_000)
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
