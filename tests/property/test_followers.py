"""Thresholds that follow, through the daemon: whatever the chunking and the crashes, the alerts are the oracle's.

The oracle is that of `test_processor.py`, with thresholds of `test_following.py`'s, which takes one window at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.backends.abstract import TopicPartition
from monitor.config.options import Config
from monitor.detector.artifact import Artifact
from monitor.detector.following import FollowingRules
from monitor.detector.spec import FollowSpec
from monitor.messages import alerts
from tests.helpers import make_columns, make_config, make_processor_at_zero, work
from tests.property import test_following
from tests.property.test_processor import (
    ARTIFACTS,
    SCORERS,
    TOPIC,
    Life,
    Rows,
    Supervisor,
    brief,
    lives,
    oracle,
    value_of,
)

EVERY_MS = 1_000
DAY_MS = 96_000  # steps of a second: three windows over the threshold raise it
NAMES = sorted(ARTIFACTS)


def following(name: str) -> Artifact:
    """Its threshold follows, with days of which a stream of some records is several."""
    made = ARTIFACTS[name]
    threshold = msgspec.structs.replace(made.manifest.threshold, follows=FollowSpec(quantile=0.98, memory_ms=DAY_MS))
    return replace(made, manifest=msgspec.structs.replace(made.manifest, threshold=threshold))


FOLLOWING = {name: following(name) for name in NAMES}


class FollowingSupervisor(Supervisor):
    """Of such an artifact, with a record each `EVERY_MS`."""

    def __init__(self, rows: Rows, config: Config, name: str) -> None:
        super().__init__(rows, config, name, EVERY_MS)
        self.artifact = FOLLOWING[name]


def config(relearn_after_ms: int, follow: str = "auto") -> Config:
    alerting = {"close_after": 2, "update_every": 3, "follow": follow, "relearn_after_ms": relearn_after_ms}
    return make_config(alerting=alerting, input={"start": "earliest"})


configs = st.builds(config, st.sampled_from([0, 20_000]), st.sampled_from(["auto", "on", "off"]))


@st.composite
def streams(draw: st.DrawFn, name: str) -> Rows:
    """(partition, key, value) of three series, each of which has other scores for a while now and then."""
    rng, window = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), ARTIFACTS[name].manifest.window
    shape = (window.length if window.kind == "record" else 1, len(ARTIFACTS[name].manifest.channels))
    rows, size = [], [0.1, 0.1, 0.1]
    for _ in range(draw(st.sampled_from([30, 90, 150]))):
        series = int(rng.integers(3))
        if rng.random() < 0.1:
            size[series] = float(rng.choice([0.1, 0.1, 1.5, 6.0]))
        numbers = rng.normal(size=shape) * size[series]
        numbers[rng.random(shape) < 0.02] = np.nan
        rows.append((series % 2, b"s%d" % series, value_of(ARTIFACTS[name], numbers)))
    return rows


def limits(rows: Rows, config: Config, name: str) -> Callable[[str, int, float], float]:
    """The thresholds of the series, window by window; each record is `EVERY_MS` after the one before."""
    rules = FollowingRules(
        memory_ms=DAY_MS,
        quantile=0.98,
        raises=config.alerting.follow != "off",
        relearn_after_ms=config.alerting.relearn_after_ms,
    )
    static = ARTIFACTS[name].manifest.threshold.value
    naive: dict[str, test_following.Naive] = {}
    places = {
        (partition, number): place
        for partition in (0, 1)
        for number, place in enumerate([place for place, row in enumerate(rows) if row[0] == partition])
    }
    partitions = {key.decode(): partition for partition, key, _ in rows}

    def limit(series: str, offset: int, score: float) -> float:
        follows = naive.setdefault(series, test_following.Naive(rules, static, DAY_MS))
        return static * follows.take(places[partitions[series], offset] * EVERY_MS * 1000, score)

    return limit


named = st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), streams(name)))


@settings(max_examples=50)
@given(named, configs, st.lists(st.integers(0, 200), max_size=6), st.integers(1, 9) | st.just(65_536))
def test_any_chunking_gives_the_oracles_alerts(
    named: tuple[str, Rows], config: Config, cuts: list[int], slice_: int
) -> None:
    name, rows = named
    partitions = [TopicPartition(TOPIC, number) for number in (0, 1)]
    processor = make_processor_at_zero(config, FOLLOWING[name], *partitions)
    processor._slice = slice_
    told = []
    for partition in partitions:
        mine = [(place, *row) for place, row in enumerate(rows) if row[0] == partition.partition]
        for begin, end in pairwise([0, *sorted(min(cut, len(mine)) for cut in cuts), len(mine)]):
            if end > begin:
                stamps, _, keys, values = zip(*mine[begin:end], strict=True)
                stamps_ms = [place * EVERY_MS for place in stamps]
                poll = make_columns(values, keys=keys, timestamps_ms=stamps_ms, first_offset=begin, partition=partition)
                told += work(processor, SCORERS[name], poll)
    assert brief(told) == oracle(rows, config, name, limits(rows, config, name))
    static = ARTIFACTS[name].manifest.threshold.value
    for score in (alert.data.score for alert in told):
        assert score.static_threshold == (static if score.threshold > static else None)


@settings(max_examples=50)
@given(named, configs, st.lists(lives, max_size=5), st.integers(1, 12))
def test_crashes_and_stops_change_nothing(
    named: tuple[str, Rows], config: Config, several: list[Life], poll: int
) -> None:
    """Also while windows between the checkpoint and the committed position are scored again, to move state on."""
    name, rows = named
    limited = {"max_poll_records": poll, "commit_interval_ms": 1, "idle_commit_interval_ms": 0}
    config = config.model_copy(update={"limits": config.limits.model_copy(update=limited)})
    supervisor = FollowingSupervisor(rows, config, name)
    supervisor.live(several)
    undisturbed = FollowingSupervisor(rows, config, name)
    undisturbed.life(None, crash=False, fails=[], checkpoint_every=100)
    assert brief(supervisor.told()) == oracle(rows, config, name, limits(rows, config, name))
    assert sorted(map(alerts.encode, supervisor.told())) == sorted(map(alerts.encode, undisturbed.told()))


def test_a_crash_between_two_checkpoints_changes_no_threshold() -> None:
    """Wherever it comes, thresholds are those of all windows, and nothing is decided twice."""
    rng = np.random.default_rng(0)
    rows = [
        (0, b"s0", value_of(ARTIFACTS["sliding"], rng.normal(size=(1, 1)) * size))
        for size in np.repeat([0.1, 2.0, 0.1, 5.0, 0.1], 16)
    ]
    limited = {"max_poll_records": 4, "commit_interval_ms": 1, "idle_commit_interval_ms": 0}
    always = config(0)
    always = always.model_copy(update={"limits": always.limits.model_copy(update=limited)})
    expected = oracle(rows, always, "sliding", limits(rows, always, "sliding"))
    assert expected != oracle(rows, always, "sliding"), "thresholds rise"
    for turns in range(3, 22):
        supervisor = FollowingSupervisor(rows, always, "sliding")
        supervisor.life(turns, crash=True, fails=[], checkpoint_every=8)
        supervisor.life(None, crash=False, fails=[], checkpoint_every=100)
        assert brief(supervisor.told()) == expected, f"crashed after turn {turns}"
