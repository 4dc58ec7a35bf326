"""Which series are forgotten, and what that does to alerts: whatever the chunking, the crashes and the rows in use.

The oracle keeps a list of keys and one list of samples for each, scores one window at a time, and forgets by hand.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.backends.abstract import TopicPartition
from monitor.backends.local_log import Failure
from monitor.config.options import Config
from monitor.messages import alerts
from tests.helpers import make_artifact, make_columns, make_config, make_processor_at_zero, work
from tests.property.test_processor import ARTIFACTS, SCORERS, SLIDING, TOPIC, Supervisor

LENGTH, HOP = SLIDING.manifest.window.length, SLIDING.manifest.window.hop
RECORD = ARTIFACTS["one channel, records"] = make_artifact(kind="record", length=4, threshold=0.8, batch_rows=4)
SCORERS["one channel, records"] = RECORD.scorer()
Row = tuple[int, bytes | None, float, int]  # partition, key, number, time in ms
Told = tuple[str, str, int]  # series, firing or why it is resolved, offset


@st.composite
def streams(draw: st.DrawFn) -> list[Row]:
    """Few series at a time, others later, some back again; anomalies come in stretches, and so does silence."""
    count = draw(st.integers(0, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows: list[Row] = []
    now_ms = 1_000_000
    for place in range(count):
        now_ms += int(rng.choice([1, 1, 1, 1, 30, 700]))
        series = rng.integers(2) if rng.integers(3) else (place // 15 + rng.integers(3)) % 6
        key = None if rng.integers(40) == 0 else b"s%d" % (2 * series)
        partition = 0 if key is None else sum(key) % 2
        rows.append((partition, key, float(rng.normal() * (3.0 if (place // 25) % 2 else 0.1)), now_ms))
    return rows


def name_of(record: bool) -> str:
    return "one channel, records" if record else "sliding"


class Life:
    """A series from its first record until it is forgotten."""

    def __init__(self) -> None:
        self.samples: list[float] = []
        self.under = 0
        self.open = False

    def step(self, number: float, *, record: bool) -> str | None:
        self.samples.append(number)
        if record:
            window = np.full((1, 4, 1), number, dtype=np.float32)
        elif len(self.samples) < LENGTH or (len(self.samples) - LENGTH) % HOP:
            return None
        else:
            window = np.array(self.samples[-LENGTH:], dtype=np.float32)[None, :, None]
        score = float(SCORERS[name_of(record)](window)[0])
        if score > np.float32(ARTIFACTS[name_of(record)].manifest.threshold.value):
            fires, self.open, self.under = not self.open, True, 0
            return "firing" if fires else None
        self.under += self.open
        if self.open and self.under >= 2:
            self.open = False
            return "recovered"
        return None


def oracle(rows: list[Row], limit: int, ttl_s: int, *, record: bool = False) -> list[Told]:
    """(series, firing or why it is resolved, offset) of every alert, per series in order."""
    found: list[Told] = []
    for partition in (0, 1):
        lives: dict[bytes, Life] = {}
        seen: dict[bytes, int] = {}  # the one seen last is last; the partition's time then
        now_ms = 0

        def forget(
            key: bytes, reason: str, offset: int, lives: dict[bytes, Life] = lives, seen: dict[bytes, int] = seen
        ) -> None:
            del seen[key]
            if lives.pop(key).open:
                found.append((key.decode(), reason, offset))

        for offset, (_, key, number, at_ms) in enumerate(row for row in rows if row[0] == partition):
            if key is None:
                continue
            now_ms = max(now_ms, at_ms)
            for silent in [each for each, at in seen.items() if ttl_s and now_ms - at > 1000 * ttl_s]:
                forget(silent, "silent", offset)
            if key not in seen and len(seen) >= limit:
                forget(next(iter(seen)), "forgotten", offset)
            seen.pop(key, None)
            seen[key] = now_ms
            said = lives.setdefault(key, Life()).step(number, record=record)
            if said:
                found.append((key.decode(), said, offset))
    return sorted(found, key=lambda each: each[0])


def brief(told: list[alerts.Alert]) -> list[Told]:
    ordered = sorted(told, key=lambda alert: alert.subject)  # stable: in order within a series
    return [(a.subject, a.data.reason or a.data.status, a.data.kafka.last_offset) for a in ordered]


def value(number: float, *, record: bool) -> bytes:
    text = b"%.6f" % number
    return b"[%s]" % b",".join([text] * 4) if record else b'{"value": %s}' % text


def rounded(rows: list[Row]) -> list[Row]:
    return [(partition, key, float(b"%.6f" % number), at) for partition, key, number, at in rows]


def config(limit: int, ttl_s: int, **limits: Any) -> Config:
    alerting = {"close_after": 2, "update_every": 0}
    source = {"start": "earliest", "max_series": limit, "series_ttl": ttl_s}
    return make_config(alerting=alerting, input=source, limits=limits)


caps = st.sampled_from([1, 2, 3, 4, 9])
silences = st.sampled_from([0, 1, 3])


@given(streams(), caps, silences, st.lists(st.integers(0, 120), max_size=8), st.booleans())
def test_any_chunking_forgets_the_same(rows: list[Row], limit: int, ttl_s: int, cuts: list[int], record: bool) -> None:
    artifact = ARTIFACTS[name_of(record)]
    partitions = [TopicPartition(TOPIC, number) for number in (0, 1)]
    processor = make_processor_at_zero(config(limit, ttl_s), artifact, *partitions)
    polls = []
    for partition in partitions:
        mine = [row for row in rows if row[0] == partition.partition]
        bounds = [0, *sorted(min(cut, len(mine)) for cut in cuts), len(mine)]
        for begin, end in pairwise(bounds):
            part = mine[begin:end]
            if part:
                values, keys = [value(row[2], record=record) for row in part], [row[1] for row in part]
                stamps = [row[3] for row in part]
                polls.append(
                    make_columns(values, keys=keys, timestamps_ms=stamps, first_offset=begin, partition=partition)
                )
    told = work(processor, SCORERS[name_of(record)], *polls)
    assert brief(told) == oracle(rounded(rows), limit, ttl_s, record=record)
    assert len({alert.id for alert in told}) == len(told)
    assert processor.series_count() <= 2 * limit


class Lives(Supervisor):
    def __init__(self, rows: list[Row], config: Config, *, record: bool) -> None:
        super().__init__([], config, name_of(record))
        for partition, key, number, at_ms in rows:
            self.log.append(TOPIC, partition, key=key, value=value(number, record=record), timestamp_ms=at_ms)


@settings(max_examples=60)
@given(
    streams(),
    caps,
    silences,
    st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.sampled_from([None, "before", "after"])), max_size=3),
    st.integers(1, 12),
    st.integers(1, 5),
    st.booleans(),
)
def test_crashes_and_stops_forget_the_same(
    rows: list[Row],
    limit: int,
    ttl_s: int,
    lives: list[tuple[int, bool, Failure | None]],
    poll: int,
    checkpoint: int,
    record: bool,
) -> None:
    chosen = config(limit, ttl_s, max_poll_records=poll, commit_interval_ms=1)
    supervisor = Lives(rows, chosen, record=record)
    for turns, crash, fail in lives:
        supervisor.life(turns, crash=crash, fails=[fail] if fail else [], checkpoint_every=checkpoint)
    supervisor.life(None, crash=False, fails=[], checkpoint_every=checkpoint)
    assert brief(supervisor.told()) == oracle(rounded(rows), limit, ttl_s, record=record)
    # A last look at the state topic: an incident record is there for whoever is open, and for nobody else.
    undisturbed = Lives(rows, chosen, record=record)
    undisturbed.life(None, crash=False, fails=[], checkpoint_every=100)
    assert sorted(map(alerts.encode, supervisor.told())) == sorted(map(alerts.encode, undisturbed.told()))
    assert open_incidents(supervisor) == open_incidents(undisturbed)


def open_incidents(supervisor: Lives) -> dict[bytes, bytes]:
    newest: dict[bytes, bytes] = {}
    for _, number in supervisor.log.partitions(supervisor.config.state_topic):
        read = supervisor.log.read(supervisor.config.state_topic, number)
        for key, content in zip(read.keys, read.values, strict=True):
            if key is not None and key.startswith(b"incident"):
                newest[key] = content or b""
    return {key: content for key, content in newest.items() if content}


@example(rows=[(0, b"s0", 3.0, 1)] * 6 + [(0, b"s2", 0.0, 2)], turns=9)
@given(streams(), st.integers(1, 9))
def test_a_lower_limit_after_a_restart_ends_what_it_forgets(rows: list[Row], turns: int) -> None:
    supervisor = Lives(rows, config(9, 0, max_poll_records=7, commit_interval_ms=1), record=False)
    supervisor.life(turns, crash=False, fails=[], checkpoint_every=2)
    supervisor.config = config(1, 0, max_poll_records=7, commit_interval_ms=1)
    for partition in (0, 1):
        supervisor.log.append(TOPIC, partition, key=b"late", value=b'{"value": 0}', timestamp_ms=2_000_000)
    supervisor.life(None, crash=False, fails=[], checkpoint_every=2)
    told: dict[tuple[str, str], list[str]] = {}
    for alert in supervisor.told():
        told.setdefault((alert.subject, alert.data.fingerprint), []).append(alert.data.status)
    assert all(statuses == ["firing", "resolved"] for statuses in told.values())
    assert open_incidents(supervisor) == {}
