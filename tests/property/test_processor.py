"""The same log gives the same alerts: whatever the chunking, the crashes, and what else shares the padded batch.

The oracle shares no code with the online path: it slices each series with NumPy, scores
one window at a time, and follows the life cycle by hand. (That the scorer is right is test_scoring's to show.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.backends.abstract import TopicPartition
from monitor.backends.local import LocalBackend, LocalLog
from monitor.backends.local_log import Failure
from monitor.config.options import Config
from monitor.detector.artifact import Artifact
from monitor.messages import alerts, quality
from monitor.serving.daemon import Daemon
from monitor.serving.telemetry import Telemetry, Vitals
from tests.helpers import make_artifact, make_columns, make_config, make_processor, make_processor_at_zero, work

SLIDING = make_artifact(length=6, hop=2, threshold=0.8, batch_rows=8)
FILLED = make_artifact(length=6, hop=2, channels=("x", "y"), threshold=0.8, batch_rows=3, max_missing_ratio=0.34)
RECORD = make_artifact(kind="record", length=4, channels=("x", "y"), threshold=0.8, batch_rows=2)
ARTIFACTS = {"sliding": SLIDING, "two channels, filled": FILLED, "records": RECORD}
SCORERS = {name: artifact.scorer() for name, artifact in ARTIFACTS.items()}
TOPIC = "telltale.input"
NOW_US, FAR_MS = 1_764_600_000_000_000, 4_102_444_800_000
FAR = b'{"value": 0.25, "note": "its Kafka timestamp is of 2100"}'
# Each leaves one missing sample in its series, if that is known: none of these times moves it
POISONS = [
    b'{"value": Infinity}', b'{"valu": 1}', b"junk", b"",
    b'{"value": 1, "ts": 4102444800000}', b'{"value": 1, "ts": "soon"}', FAR,
]  # fmt: skip
Rows = list[tuple[int, bytes, bytes]]
Told = tuple[str, str, int, float]  # series, status, offset of the closing record, score
Life = tuple[int, bool, list[Failure], int]  # turns, whether it crashes, commits that fail, turns to a checkpoint


def value_of(artifact: Artifact, numbers: np.ndarray) -> bytes:
    """A record that holds `numbers`: (samples, channels), NaN for missing ones."""
    texts = [["null" if np.isnan(number) else f"{number:.6f}" for number in sample] for sample in numbers]
    if artifact.manifest.window.kind == "record":
        return f"[{','.join('[' + ','.join(sample) + ']' for sample in texts)}]".encode()
    names = [channel.name for channel in artifact.manifest.channels]
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in zip(names, texts[0], strict=True)) + "}").encode()


@st.composite
def streams(draw: st.DrawFn, name: str = "sliding") -> Rows:
    """(partition, key, value) in log order: samples, missing samples, poison."""
    artifact = ARTIFACTS[name]
    window = artifact.manifest.window
    shape = (window.length if window.kind == "record" else 1, len(artifact.manifest.channels))
    count = draw(st.integers(0, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    missing = draw(st.sampled_from([0.03, 0.25]))
    rows = []
    for place in range(count):
        key = b"s%d" % rng.integers(3)
        numbers = rng.normal(size=shape) * (1.5 if (place // 20) % 2 else 0.1)
        numbers[rng.random(shape) < missing] = np.nan
        value = value_of(artifact, numbers) if rng.integers(40) else POISONS[rng.integers(len(POISONS))]
        rows.append((sum(key) % 2, key, value))
    return rows


def numbers_of(value: bytes, channels: list[str]) -> np.ndarray:
    """(samples, channels), in float32; a record that is refused leaves one missing sample."""
    if value in POISONS:
        return np.full((1, len(channels)), np.nan, np.float32)
    document = json.loads(value)
    samples = document if isinstance(document, list) else [[document[name] for name in channels]]
    return np.array([[np.nan if n is None else n for n in sample] for sample in samples], np.float64).astype(np.float32)


def filled(window: np.ndarray, most: float) -> np.ndarray:
    """(length, channels), each channel by itself, as the artifact allows it; else all NaN."""
    missing = np.isnan(window)
    if missing.sum() > most * window.size or missing.all(axis=0).any():
        return np.full_like(window, np.nan)
    places = np.arange(len(window))
    columns = [
        np.interp(places, places[~gone], column[~gone]) for column, gone in zip(window.T, missing.T, strict=True)
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def windows_of(mine: list[tuple[int, bytes]], artifact: Artifact) -> list[tuple[int, np.ndarray]]:
    """(offset of the closing record, window) of one series' (offset, value)."""
    window = artifact.manifest.window
    # Whole records stand alone, so one that is refused leaves nothing; other series begin with their first sample.
    while mine and mine[0][1] in POISONS:
        mine = mine[1:]
    if window.kind == "record":
        mine = [(offset, value) for offset, value in mine if value not in POISONS]
    numbers = [numbers_of(value, [channel.name for channel in artifact.manifest.channels]) for _, value in mine]
    if window.kind == "record":
        return [(offset, each) for (offset, _), each in zip(mine, numbers, strict=True)]
    ends = range(window.length - 1, len(mine), window.hop)
    return [(mine[end][0], np.concatenate(numbers[end - window.length + 1 : end + 1])) for end in ends]


def oracle(
    rows: Rows,
    config: Config,
    name: str = "sliding",
    limit: Callable[[str, int, float], float] | None = None,
) -> list[Told]:
    """(series, status, offset of the closing record, score) of every alert, per series in order.

    `limit`: the threshold for the next window of a series, from its offset and score; None: the artifact's.
    """
    artifact, scorer = ARTIFACTS[name], SCORERS[name]
    policy, found = config.alerting, []
    offsets = [sum(1 for p, _, _ in rows[:i] if p == partition) for i, (partition, _, _) in enumerate(rows)]
    for key in sorted({key for _, key, _ in rows}):
        mine = [(offsets[i], value) for i, (_, k, value) in enumerate(rows) if k == key]
        over = under = quiet = 0
        is_open = False
        for offset, window in windows_of(mine, artifact):
            score = float(scorer(filled(window, artifact.manifest.window.max_missing_ratio)[None])[0])
            threshold = artifact.manifest.threshold.value if limit is None else limit(key.decode(), offset, score)
            status = None
            if np.isnan(score):
                continue
            if score > np.float32(threshold):
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
                found.append((key.decode(), status, offset, score))
    return found


def brief(told: list[alerts.Alert]) -> list[Told]:
    ordered = sorted(told, key=lambda alert: alert.subject)  # stable: in order within a series
    return [(a.subject, a.data.status, a.data.kafka.last_offset, a.data.score.value) for a in ordered]


def columns_of(rows: Rows, partition: int) -> list[tuple[bytes, bytes]]:
    return [(key, value) for p, key, value in rows if p == partition]


def policy(open_after: int, close_after: int, update_every: int) -> Config:
    alerting = {"open_after": open_after, "close_after": close_after, "update_every": update_every}
    # Off: a partition of nothing but refused records would be held (tests/property/test_withholding.py).
    return make_config(alerting=alerting, input={"start": "earliest", "max_rejected_ratio": 1.0})


policies = st.builds(policy, st.integers(1, 2), st.integers(1, 3), st.integers(0, 3))


@settings(max_examples=150)
@given(
    st.sampled_from(sorted(ARTIFACTS)).flatmap(lambda name: st.tuples(st.just(name), streams(name))),
    policies,
    st.lists(st.integers(0, 80), max_size=6),
    st.integers(1, 9) | st.just(65_536),
    st.integers(1, 3),
)
def test_any_chunking_gives_the_oracles_alerts(
    named: tuple[str, Rows], config: Config, cuts: list[int], slice_: int, gathered: int
) -> None:
    """However the log is cut into polls, how many polls wait for the scorer, and how few samples are cut at a time."""
    name, rows = named
    partitions = [TopicPartition(TOPIC, number) for number in (0, 1)]
    processor = make_processor_at_zero(config, ARTIFACTS[name], *partitions)
    processor._slice = slice_
    polls = []
    for partition in partitions:
        mine = columns_of(rows, partition.partition)
        bounds = [0, *sorted(min(cut, len(mine)) for cut in cuts), len(mine)]
        for begin, end in pairwise(bounds):
            if end > begin:
                values, keys = [v for _, v in mine[begin:end]], [k for k, _ in mine[begin:end]]
                stamps = [FAR_MS if value == FAR else begin + place for place, value in enumerate(values)]
                columns = make_columns(values, keys=keys, timestamps_ms=stamps, first_offset=begin, partition=partition)
                polls.append(columns)
    told = []
    for first in range(0, len(polls), gathered):
        *waiting, last = polls[first : first + gathered]
        for poll in waiting:
            processor.receive(poll, NOW_US)
        told += work(processor, SCORERS[name], last, now_us=NOW_US)
    assert brief(told) == oracle(rows, config, name)
    assert len({alert.id for alert in told}) == len(told)


class Supervisor:
    """Runs daemons on one local log, one after the other, crashing or stopping them as told."""

    def __init__(self, rows: Rows, config: Config, name: str, every_ms: int = 1) -> None:
        self.config, self.artifact, self.scorer = config, ARTIFACTS[name], SCORERS[name]
        self.log = LocalLog({TOPIC: 2})
        for place, (partition, key, value) in enumerate(rows):
            time_ms = FAR_MS if value == FAR else place * every_ms
            self.log.append(TOPIC, partition, key=key, value=value, timestamp_ms=time_ms)
        self.reached: dict[TopicPartition, int] = {}

    def live(self, several: Sequence[Life]) -> None:
        """Lives that end as each says, and a last one to the end of the log."""
        for turns, crash, fails, checkpoint in several:
            self.life(turns, crash=crash, fails=fails, checkpoint_every=checkpoint)
        self.life(None, crash=False, fails=[], checkpoint_every=2)

    def life(self, turns: int | None, *, crash: bool, fails: list[Failure], checkpoint_every: int) -> None:
        # A failure that the life before did not come to is over with it. Here it would come at any commit, the last
        # among them, after which nobody restores any more.
        self.log.failures.clear()
        processor = make_processor(self.config, self.artifact)
        vitals = Vitals()
        telemetry = Telemetry(vitals, lambda: processor.counts, {}, 1.0)
        backend = LocalBackend(self.log, self.config)
        daemon = Daemon(self.config, backend, processor, self.scorer, telemetry, vitals, wait=lambda _: None)
        backend.start()
        for fail in fails:
            self.log.fail_next_commit(fail)
        turn = 0
        while turns is None or turn < turns:
            turn += 1
            if turn % checkpoint_every == 0:
                daemon.checkpoint_soon()
            daemon.turn()
            self.never_back()
            if turns is None and turn > 4 and not any(backend.lag().values()):
                break
        if crash:
            self.log.crash(backend)
        else:
            daemon.drain()
        self.never_back()

    def never_back(self) -> None:
        """What was decided once is not decided again: the group's offsets only grow."""
        for partition, position in self.log.positions[self.config.kafka.group_id].items():
            assert position.replay_from <= position.offset >= self.reached.get(partition, 0)
            self.reached[partition] = position.offset

    def events(self) -> list[quality.Event]:
        raw = [self.log.read("telltale.alerts", p).values for p in range(len(self.log.partitions("telltale.alerts")))]
        return [quality.decode(value or b"") for values in raw for value in values]

    def told(self) -> list[alerts.Alert]:
        """Those of the score."""
        return [event for event in self.events() if isinstance(event, alerts.Alert)]


lives = st.tuples(
    st.integers(1, 6),
    st.sampled_from([True, True, False]),
    st.lists(st.sampled_from(["before", "after"]), max_size=2),
    st.sampled_from([1, 2, 3, 9]),
)


@settings(max_examples=120)
@given(
    st.sampled_from(["sliding", "two channels, filled", "records"]).flatmap(
        lambda name: st.tuples(st.just(name), streams(name))
    ),
    policies,
    st.lists(lives, max_size=5),
    st.integers(1, 12),
    st.sampled_from([0, 0, 1_000]),
)
def test_crashes_and_stops_change_nothing(
    named: tuple[str, Rows], config: Config, several: list[Life], poll: int, idle_ms: int
) -> None:
    """Lives that end at any turn, also while windows are being refilled, with commits that fail before or after."""
    name, rows = named
    # Idle commits come after each turn, or practically never: nothing here hangs on the clock.
    limits = {"max_poll_records": poll, "commit_interval_ms": 1, "idle_commit_interval_ms": idle_ms}
    config = config.model_copy(update={"limits": config.limits.model_copy(update=limits)})
    supervisor = Supervisor(rows, config, name)
    supervisor.live(several)
    undisturbed = Supervisor(rows, config, name)
    undisturbed.life(None, crash=False, fails=[], checkpoint_every=100)
    assert brief(supervisor.told()) == oracle(rows, config, name)
    assert sorted(map(alerts.encode, supervisor.told())) == sorted(map(alerts.encode, undisturbed.told()))
    rejected = sum(value in POISONS for _, _, value in rows)
    topic = config.output.dead_letters
    assert sum(len(supervisor.log.read(topic, p).values) for _, p in supervisor.log.partitions(topic)) == rejected


@settings(max_examples=60)
@given(
    st.sampled_from(["sliding", "two channels, filled", "records"]).flatmap(
        lambda name: st.tuples(st.just(name), streams(name))
    ),
    policies,
    st.lists(lives, min_size=1, max_size=4),
    st.integers(1, 12),
)
def test_offsets_that_are_lost_cost_repeats_and_nothing_else(
    named: tuple[str, Rows], config: Config, several: list[Life], poll: int
) -> None:
    """What was decided since the newest checkpoint is decided again, to the byte, whatever became of its incidents."""
    name, rows = named
    limits = {"max_poll_records": poll, "commit_interval_ms": 1, "idle_commit_interval_ms": 0}
    config = config.model_copy(update={"limits": config.limits.model_copy(update=limits)})
    supervisor = Supervisor(rows, config, name)
    supervisor.life(6, crash=True, fails=[], checkpoint_every=1)  # so that there are two checkpoints
    for turns, _, fails, checkpoint in several:
        supervisor.life(turns, crash=True, fails=fails, checkpoint_every=checkpoint)
        supervisor.log.forget(config.kafka.group_id, supervisor.log.partitions(TOPIC))
        supervisor.reached.clear()
    supervisor.life(None, crash=False, fails=[], checkpoint_every=2)
    undisturbed = Supervisor(rows, config, name)
    undisturbed.life(None, crash=False, fails=[], checkpoint_every=100)
    once = {alert.id: alert for alert in reversed(supervisor.told())}
    assert brief([once[alert.id] for alert in undisturbed.told()]) == oracle(rows, config, name)
    assert set(map(alerts.encode, supervisor.told())) == set(map(alerts.encode, undisturbed.told()))


def test_what_a_refused_record_leaves_counts_in_the_incident_that_was_open_before_a_crash() -> None:
    """Though it is the first record after the crash, and nothing that can be read comes with it."""
    name, far = "two channels, filled", value_of(FILLED, np.array([[5.0, -5.0]]))
    rows = [(0, b"s0", value) for value in (*[far] * 7, b"junk", far, b"junk", far, far)]
    config = policy(1, 3, 1)
    limits = {"max_poll_records": 1, "commit_interval_ms": 1, "idle_commit_interval_ms": 0}
    config = config.model_copy(update={"limits": config.limits.model_copy(update=limits)})
    expected = oracle(rows, config, name)
    assert [(status, offset) for _, status, offset, _ in expected] == [
        ("firing", 5),
        ("update", 7),
        ("update", 9),
        ("update", 11),
    ]
    for turns in range(5, 16):
        supervisor = Supervisor(rows, config, name)
        supervisor.life(turns, crash=True, fails=[], checkpoint_every=2)
        supervisor.life(None, crash=False, fails=[], checkpoint_every=100)
        assert brief(supervisor.told()) == expected, f"crashed after turn {turns}"
