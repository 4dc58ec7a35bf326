"""`no_data` through the processor, however a log is cut and restored, against an oracle that goes record by record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from monitor import extensions
from monitor.backends.abstract import Position, Restored, StateRecord
from monitor.config.options import Config
from monitor.messages.quality import Event, QualityAlert
from monitor.processing import digests
from monitor.processing.processor import Processor
from monitor.processing.quality import pauses as learned
from monitor.processing.quality.pauses import BLOCK, FIRST, LONGEST, MOST, SECOND
from tests.helpers import (
    INPUT,
    make_artifact,
    make_columns,
    make_config,
    make_processor,
    make_processor_at_zero,
    score_all,
)

ARTIFACTS = {
    "sliding": make_artifact(length=4, hop=2, threshold=1e6),
    "record": make_artifact(kind="record", length=2, threshold=1e6),
}
VALUES = {"sliding": b'{"value": 0.5}', "record": b"[0.5, 0.25]"}
NOW_US = 1_764_600_000_000_000
Log = list[tuple[int, int]]  # time in ms and series of each record; a tick has none
TICK = -1
RAISED_MS, TWO_WEEKS_US = 600, learned.RAISED_US  # as the logs are short
Brief = tuple[str, str, int, float]  # series, status, offset, seconds


@pytest.fixture(autouse=True, scope="module")
def _alone() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extensions, "CHECKS", {"no_data": extensions.CHECKS["no_data"]})
        patch.setattr(digests, "MOST", 1_000_000)  # each has an alert of its own
        patch.setattr(digests, "WAITS", {})
        patch.setattr(learned, "RAISED_US", RAISED_MS * 1000)
        yield


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Series that send regularly, in bursts, or when something changes; with outages of one and of all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    found = []
    for series in range(draw(st.integers(1, 4))):
        count, period = int(rng.integers(1, 200)), int(rng.integers(1, 30))
        kind = rng.integers(4)
        pauses = np.full(count, period) if kind < 2 else rng.exponential(period, count)
        if kind == 3:
            pauses = np.where(np.arange(count) % 7 == 6, 20 * period, 0)
        pauses = np.where(rng.random(count) < 0.02, pauses * rng.integers(5, 60, count), pauses)
        found += [(int(at), series) for at in np.cumsum(pauses) + rng.integers(100)]
    found = [(at + (2_000 if at > 1_500 and rng.integers(2) else 0), series) for at, series in found]
    order = sorted(range(len(found)), key=lambda at: found[at][0] + int(rng.integers(-20, 20)))
    log = [found[at] for at in order]
    for at in sorted(rng.integers(0, len(log), draw(st.integers(0, 6))).tolist(), reverse=True):
        newest = max(time for time, _ in log[: at + 1])
        log.insert(at + 1, (newest + int(rng.integers(1, 400)), TICK))
    return log


def blocks(pauses: list[int]) -> list[int]:
    """After how many pauses each of the blocks of them ends."""
    return [bound for bound in [FIRST, SECOND, *range(BLOCK, 10_000, BLOCK)] if bound <= len(pauses)]


def limit(pauses: list[int], after: int | None, least: int) -> Fraction | None:
    """Of the pauses that a series is known by, in ms."""
    bounds = [0, 0, *blocks(pauses)]
    if len(bounds) == 2:
        return None if after is None else Fraction(after)
    known: list[int] = sorted(pauses[bounds[-3] : bounds[-1]])
    second, usual = known[-2], sum(known[:-2]) * 1000 // (len(known) - 2)
    longest = round((4 + 32 / len(known)) * second * 1000)
    young = sum(pauses[: bounds[-1]]) < 30 * least
    found = Fraction(max(10 * usual, longest), 1000)
    return max(found, Fraction(30 * least if young else least))


def oracle(log: Log, after: int | None, least: int) -> Iterator[list[Brief]]:
    """What is published at each place of a log."""
    now = -1
    last: dict[int, int] = {}
    pauses: dict[int, list[int]] = {}
    began: dict[int, int] = {}
    suspect: dict[int, int] = {}
    silent: dict[int, Fraction] = {}  # by which limit
    raised: dict[int, tuple[Fraction, int]] = {}  # the limit at least, and until when
    ticks = 0
    for place, (time, own) in enumerate(log):
        now, offset = max(now, time), place - ticks
        ticks += own == TICK
        news: list[Brief] = []  # at one record in order of the series, and after those of a tick before it
        for series in sorted(last):
            allowed = limit(pauses[series], after, least)
            if series == own or series in silent or allowed is None:
                continue
            at_least, until = raised.get(series, (Fraction(0), 0))
            if began[series] + sum(pauses[series][: max([0, *blocks(pauses[series])])]) < until:
                allowed = max(allowed, at_least)
            quarter = Fraction(int(allowed * 1000) // 4, 1000)
            if series not in suspect and now - last[series] >= quarter:
                suspect[series] = now
            if series in suspect and now > max(last[series] + allowed, suspect[series] + allowed - quarter):
                silent[series] = allowed
                news.append((f"s{series}", "firing", offset, (now - last[series]) / 1000))
        if own in silent:
            allowed = silent.pop(own)
            raised[own] = LONGEST * min(Fraction(now - last[own]), MOST * allowed), now + RAISED_MS
            news.append((f"s{own}", "resolved", offset, 0.0))
        yield sorted(news)
        if own in last and now > last[own]:
            pauses[own].append(now - last[own])
        if own == TICK:
            continue
        pauses.setdefault(own, [])
        began.setdefault(own, now)
        last[own] = now
        suspect.pop(own, None)


def read(
    processor: Processor,
    log: Log,
    kind: str,
    first: int,
    end: int,
    ticks_too: bool = True,
    values: Sequence[bytes] = (),
) -> None:
    """Takes in what lies in `log[first:end]`, in polls between the ticks; `values` are one for each place."""
    bounds = [first, *(at + side for at in range(first, end) if log[at][1] == TICK for side in (0, 1)), end]
    for begin, until in pairwise(bounds):
        part = log[begin:until]
        if not part:
            continue
        if part[0][1] == TICK:
            if ticks_too and part[0][0] * 1000 > processor.time_us(INPUT):
                processor.advance(INPUT, part[0][0] * 1000)
        else:
            columns = make_columns(
                [*values[begin:until]] or [VALUES[kind]] * len(part),
                keys=[b"s%d" % series for _, series in part],
                timestamps_ms=[at for at, _ in part],
                first_offset=offset_at(log, begin),
            )
            processor.receive(columns, NOW_US)
    score_all(processor)


def offset_at(log: Log, place: int) -> int:
    return sum(series != TICK for _, series in log[:place])


def brief(events: Sequence[Event]) -> list[Brief]:
    found = [each.data for each in events if isinstance(each, QualityAlert)]
    return [(data.series, data.status, data.kafka.offset, data.value or 0.0) for data in found]


# A log comes from one number, which does not shrink.
@settings(max_examples=100, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    logs(),
    st.sampled_from(sorted(ARTIFACTS)),
    st.lists(st.integers(0, 600), max_size=6),
    st.integers(1, 9) | st.just(65_536),
    st.sampled_from([None, 40]),
    st.integers(0, 600),
    st.integers(0, 30),
)
def test_any_chunking_and_a_restore_give_the_oracles_alerts(
    log: Log, kind: str, cuts: list[int], slice_: int, after: int | None, restore: int, since: int
) -> None:
    """The restore comes `since` records and ticks after the checkpoint."""
    config = configuration(no_data_after_ms=after, no_data_least_ms=3)
    found = events_of(config, log, kind, cuts, slice_, restore, restore + since)
    assert brief(found) == [each for place in oracle(log, after, 3) for each in place]


def configuration(**quality: int | None) -> Config:
    return make_config(input={"start": "earliest", "max_future_ms": 1 << 40}, quality=quality)


def events_of(
    config: Config,
    log: Log,
    kind: str,
    cuts: list[int],
    slice_: int,
    restore: int,
    crash: int,
    values: Sequence[bytes] = (),
) -> list[Event]:
    """All that is published of a log with a checkpoint at `restore`, and a restart at `crash`."""
    processor = make_processor_at_zero(config, ARTIFACTS[kind])
    found: list[Event] = []
    bounds = [0, *sorted({min(cut, len(log)) for cut in (*cuts, restore, crash)}), len(log)]
    state: dict[bytes, bytes | None] = {}
    for first, end in pairwise(bounds):
        if first == restore and first and not state:
            outputs = processor.take_outputs([INPUT])
            found += outputs.alerts
            state = dict(outputs.checkpoints[INPUT])
        if first == crash and state:
            outputs = processor.take_outputs()
            found += outputs.alerts
            state |= {key: value for _, key, value in outputs.state}
            kept = tuple(StateRecord(key, value) for key, value in state.items() if value is not None)
            replay_from, position = offset_at(log, restore), offset_at(log, first)
            processor = make_processor(config, ARTIFACTS[kind])
            processor.assign(INPUT, Restored(Position(position, replay_from, 0), kept, 0, len(log)), 0)
            processor._slice = slice_
            for begin, until in pairwise([restore, *sorted(c for c in cuts if restore < c < first), first]):
                read(processor, log, kind, begin, until, ticks_too=False, values=values)
        processor._slice = slice_
        read(processor, log, kind, first, end, values=values)
    return [*found, *processor.take_outputs().alerts]


def regular(count: int, period: int, start: int = 0, series: int = 0) -> Log:
    return [(start + at * period, series) for at in range(count)]


def decided(log: Log, **quality: int) -> list[Brief]:
    processor = make_processor_at_zero(configuration(**quality), ARTIFACTS["sliding"])
    read(processor, sorted(log), "sliding", 0, len(log))
    return brief(processor.take_outputs().alerts)


@pytest.mark.parametrize("period", [1_000, 60_000])
def test_a_regular_sensor_is_missed_after_ten_of_its_periods(period: int) -> None:
    dies = regular(50, period)
    ((series, status, _, seconds),) = decided(dies + regular(300, period // 4, 1, series=1))
    assert (series, status) == ("s0", "firing")
    assert 10 * period / 1000 < seconds <= 10.26 * period / 1000


def test_nobody_is_missed_when_all_were_silent() -> None:
    """Nor does an outage of all make anybody's silence longer that is reported later."""
    after = 50_000 + 3_600_000
    both = [*regular(50, 1_000), *regular(50, 1_000, 7, series=1)]
    both += [*regular(50, 1_000, after), *regular(90, 1_000, after + 4_000, series=1)]
    ((series, status, _, seconds),) = decided(both)
    assert (series, status) == ("s0", "firing")
    assert 10 < seconds <= 11


def test_who_sends_in_bursts_is_measured_by_the_pauses_between_them() -> None:
    bursts = [(10_000 * burst + at, 0) for burst in range(30) for at in range(40)]
    clock = regular(600, 1_000, series=1)
    ((_, status, _, seconds),) = decided(bursts + clock)
    assert (status, 40 < seconds < 60) == ("firing", True)


def test_a_series_that_is_hardly_known_is_missed_after_a_time_that_is_set() -> None:
    log = [*regular(5, 1_000), *regular(100, 1_000, series=1)]
    assert decided(log) == []
    ((series, _, _, seconds),) = decided(log, no_data_after_ms=20_000)
    assert (series, 20 < seconds <= 21) == ("s0", True)


def test_a_fast_sensor_is_not_missed_within_a_second() -> None:
    log = [*regular(5000, 10), *regular(200, 100, 49_000, series=1)]
    ((_, _, _, seconds),) = decided(log)
    assert 1 < seconds <= 1.2
    ((_, _, _, seconds),) = decided(log, no_data_least_ms=300)
    assert 0.3 < seconds <= 0.5


def test_who_pauses_now_and_then_is_seldom_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before it is silent for four times as long, of which fifty of its periods count, within two weeks."""
    monkeypatch.setattr(learned, "RAISED_US", TWO_WEEKS_US)
    log = regular(50, 1_000_000)
    for pause, then in [(80, 20), (199, 20), (203, 1_500), (12, 20)]:
        log += regular(then, 1_000_000, log[-1][0] + 1_000_000 * pause)
    clock = regular(log[-1][0] // 1_000_000, 1_000_000, 1, series=1)
    reported = [round(seconds / 1000) for _, status, _, seconds in decided(log + clock) if status == "firing"]
    assert reported == [11, 201, 11]
