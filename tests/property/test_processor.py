"""The same log gives the same alerts: whatever the chunking, the crashes, and what else shares the padded batch.

The oracle shares no code with the online path: it slices each series with NumPy, scores
one window at a time, and follows the life cycle by hand. (That the scorer is right is test_scoring's to show.)
"""

from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import alerts
from monitor.assembly import make_processor
from monitor.backends.abstract import TopicPartition
from monitor.backends.local import LocalBackend, LocalLog
from monitor.config import Config
from monitor.daemon import Daemon
from monitor.detector.artifact import Artifact
from monitor.telemetry import Telemetry, Vitals
from tests.helpers import make_artifact, make_columns, make_config, make_processor_at_zero, work

SLIDING = make_artifact(length=6, hop=2, threshold=0.8, batch_rows=8)
RECORD = make_artifact(kind="record", length=4, channels=("x", "y"), threshold=0.8, batch_rows=8)
SCORERS = {id(SLIDING): SLIDING.scorer(), id(RECORD): RECORD.scorer()}
TOPIC = "telltale.input"
# Each leaves one missing sample in its series, if that is known: none of these times moves it
POISONS = [
    b'{"value": Infinity}', b'{"valu": 1}', b"junk", b"",
    b'{"value": 1, "ts": 4102444800000}', b'{"value": 1, "ts": "soon"}',
]  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[int, bytes, bytes]]:
    """(partition, key, value) in log order: samples, missing samples, poison."""
    count = draw(st.integers(0, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = []
    for place in range(count):
        key = b"s%d" % rng.integers(3)
        partition = sum(key) % 2
        kind = rng.integers(40)
        if kind == 0:
            value = POISONS[rng.integers(len(POISONS))]
        elif kind == 1:
            value = b'{"value": null}'
        else:
            value = b'{"value": %.6f}' % (rng.normal() * (1.5 if (place // 20) % 2 else 0.1))
        rows.append((partition, key, value))
    return rows


def oracle(rows: list[tuple[int, bytes, bytes]], artifact: Artifact, config: Config) -> list[tuple]:
    """(series, status, offset of the closing record, score) of every alert, per series in order."""
    scorer = SCORERS[id(artifact)]
    length, hop = artifact.manifest.window.length, artifact.manifest.window.hop
    policy, found = config.alerting, []
    offsets = [sum(1 for p, _, _ in rows[:i] if p == partition) for i, (partition, _, _) in enumerate(rows)]
    for key in sorted({key for _, key, _ in rows}):
        mine = [(offsets[i], value) for i, (_, k, value) in enumerate(rows) if k == key]
        while mine and mine[0][1] in POISONS:  # a series begins with its first sample
            del mine[0]
        numbers = [None if value in POISONS else json.loads(value)["value"] for _, value in mine]
        series = np.array([np.nan if n is None else n for n in numbers], dtype=np.float64).astype(np.float32)
        over = under = quiet = 0
        is_open = False
        for end in range(length - 1, len(series), hop):
            window = series[end - length + 1 : end + 1][None, :, None]
            score = float(scorer(window)[0][0])
            status = None
            if np.isnan(score):
                continue
            if score > np.float32(artifact.manifest.threshold.value):
                over, under = over + 1, 0
                if not is_open and over >= policy.open_after:
                    is_open, status, quiet = True, "firing", 0
                elif is_open:
                    quiet += 1
            elif is_open:
                under += 1
                quiet += 1
                if under >= policy.close_after:
                    is_open, over, under, status = False, 0, 0, "resolved"
            else:
                over = 0
            if is_open and status is None and policy.update_every and quiet >= policy.update_every:
                status, quiet = "update", 0
            if status:
                found.append((key.decode(), status, mine[end][0], score))
    return found


def brief(told: list[alerts.Alert]) -> list[tuple]:
    ordered = sorted(told, key=lambda alert: alert.subject)  # stable: in order within a series
    return [(a.subject, a.data.status, a.data.kafka.last_offset, a.data.score.value) for a in ordered]


def columns_of(rows: list[tuple[int, bytes, bytes]], partition: int) -> list[tuple[bytes, bytes]]:
    return [(key, value) for p, key, value in rows if p == partition]


def policy(open_after: int, close_after: int, update_every: int) -> Config:
    alerting = {"open_after": open_after, "close_after": close_after, "update_every": update_every}
    return make_config(alerting=alerting, input={"start": "earliest"})


policies = st.builds(policy, st.integers(1, 2), st.integers(1, 3), st.integers(0, 3))


@given(streams(), policies, st.lists(st.integers(0, 80), max_size=6))
def test_any_chunking_gives_the_oracles_alerts(rows: list, config: Config, cuts: list[int]) -> None:
    partitions = [TopicPartition(TOPIC, number) for number in (0, 1)]
    processor = make_processor_at_zero(config, SLIDING, *partitions)
    polls = []
    for partition in partitions:
        mine = columns_of(rows, partition.partition)
        bounds = [0, *sorted(min(cut, len(mine)) for cut in cuts), len(mine)]
        for begin, end in pairwise(bounds):
            if end > begin:
                values, keys = [v for _, v in mine[begin:end]], [k for k, _ in mine[begin:end]]
                polls.append(make_columns(values, keys=keys, first_offset=begin, partition=partition))
    told = work(processor, SCORERS[id(SLIDING)], *polls)
    assert brief(told) == oracle(rows, SLIDING, config)
    assert len({alert.id for alert in told}) == len(told)


class Supervisor:
    """Runs daemons on one local log, one after the other, crashing or stopping them as told."""

    def __init__(self, rows: list[tuple[int, bytes, bytes]], config: Config, artifact: Artifact) -> None:
        self.config, self.artifact = config, artifact
        self.log = LocalLog({TOPIC: 2})
        for place, (partition, key, value) in enumerate(rows):
            self.log.append(TOPIC, partition, key=key, value=value, timestamp_ms=place)
        self.scorer = SCORERS[id(artifact)]

    def life(self, turns: int | None, *, crash: bool, fail: str | None, checkpoint_every: int) -> None:
        # A failure that the life before did not come to is over with it. Here it would come at any commit, the last
        # among them, after which nobody restores any more.
        self.log.failures.clear()
        processor = make_processor(self.config, self.artifact)
        vitals = Vitals()
        telemetry = Telemetry(vitals, lambda: processor.counts, {}, 1.0)
        backend = LocalBackend(self.log, self.config)
        daemon = Daemon(self.config, backend, processor, self.scorer, telemetry, vitals)
        backend.start()
        if fail:
            self.log.fail_next_commit(fail)
        turn = 0
        while turns is None or turn < turns:
            turn += 1
            if turn % checkpoint_every == 0:
                daemon.checkpoint_soon()
            daemon.turn()
            if turns is None and turn > 4 and not any(backend.lag().values()):
                break
        if crash:
            self.log.crash(backend)
        else:
            daemon.drain()

    def told(self) -> list[alerts.Alert]:
        raw = [self.log.read("telltale.alerts", p).values for p in range(len(self.log.partitions("telltale.alerts")))]
        return [msgspec.json.decode(value, type=alerts.Alert) for values in raw for value in values]


@settings(max_examples=60)
@given(
    streams(),
    policies,
    st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.sampled_from([None, "before", "after"])), max_size=3),
    st.integers(1, 12),
    st.integers(1, 5),
)
def test_crashes_and_stops_change_nothing(rows: list, config: Config, lives: list, poll: int, checkpoint: int) -> None:
    limits = config.limits.model_copy(update={"max_poll_records": poll, "commit_interval_ms": 1})
    config = config.model_copy(update={"limits": limits})
    supervisor = Supervisor(rows, config, SLIDING)
    for turns, crash, fail in lives:
        supervisor.life(turns, crash=crash, fail=fail, checkpoint_every=checkpoint)
    supervisor.life(None, crash=False, fail=None, checkpoint_every=checkpoint)
    undisturbed = Supervisor(rows, config, SLIDING)
    undisturbed.life(None, crash=False, fail=None, checkpoint_every=100)
    assert brief(supervisor.told()) == oracle(rows, SLIDING, config)
    assert sorted(map(alerts.encode, supervisor.told())) == sorted(map(alerts.encode, undisturbed.told()))
    rejected = sum(value in POISONS for _, _, value in rows)
    topic = config.output.dead_letters
    assert sum(len(supervisor.log.read(topic, p).values) for _, p in supervisor.log.partitions(topic)) == rejected
