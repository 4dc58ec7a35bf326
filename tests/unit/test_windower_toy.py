"""Another kind of window is a class and a row of `windowing.KINDS`: nobody else asks which kind it is.

The toy: windows of the last `length` samples wherever the first channel is over 0, a trigger.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.backends.abstract import Position, Restored, StateRecord
from monitor.detector import artifact as form
from monitor.detector import windowing
from monitor.detector.arrays import Int64Array
from monitor.detector.rings import RingWindower
from monitor.detector.windowing import WindowKind
from monitor.detector.windows import Ordered
from monitor.errors import ArtifactFormatError, DataError
from monitor.processing.processor import Processor
from monitor.serving.assembly import bytes_of_series
from tests.helpers import (
    INPUT,
    SMALL_RECIPE,
    make_artifact,
    make_columns,
    make_config,
    make_processor,
    make_processor_at_zero,
)
from training import recipes
from training.datasets import read
from training.windows import subsets

LENGTH, CHANNELS = 4, ("trigger", "value")
EARLIEST = make_config(input={"start": "earliest"})


class Triggered(RingWindower):
    """The last `length` samples, wherever the first channel is over 0."""

    def closing(self, ordered: Ordered, index: Int64Array, /) -> Int64Array:
        return np.flatnonzero((index >= self.length - 1) & (ordered.samples.values[:, 0] > 0))


@pytest.fixture(autouse=True, scope="module")
def _registered() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(windowing.KINDS, "triggered", WindowKind(Triggered))
        yield


@pytest.fixture(scope="module")
def toy(_registered: object) -> form.Artifact:
    return make_artifact(kind="triggered", length=LENGTH, hop=LENGTH, channels=CHANNELS, max_gap_ms=50.0)


def signal(count: int, seed: int) -> np.ndarray:
    """(count, channels): a trigger every third sample or so, and numbers to tell samples apart."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.choice([-1.0, -0.5, 1.0], count), np.arange(count)], axis=1).astype(np.float32)


def expected(samples: np.ndarray) -> list[bytes]:
    """The windows of one series without gaps, one by one."""
    ends = [end for end in range(LENGTH - 1, len(samples)) if samples[end, 0] > 0]
    return [samples[end - LENGTH + 1 : end + 1].tobytes() for end in ends]


def scored(processor: Processor, samples: np.ndarray, first: int, end: int) -> list[bytes]:
    """The windows that go to the scorer when the records `first` to `end` come, a sample each."""
    values = [b'{"trigger": %f, "value": %f}' % tuple(sample) for sample in samples[first:end].tolist()]
    processor.receive(make_columns(values, first_offset=first))
    found: list[bytes] = []
    while (batch := processor.next_batch()) is not None:
        found += [window.tobytes() for window in batch.values]
        nothing = np.zeros(len(batch.values), np.float32)
        processor.receive_scores(batch, nothing, lambda windows: windows)
    return found


def test_its_artifact_is_written_and_read(toy: form.Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    files = form.encode(replace(toy, digest=""))
    assert form.decode(files).manifest == toy.manifest
    assert bytes_of_series(make_config(), toy) > bytes_of_series(make_config(), make_artifact(kind="record"))
    monkeypatch.delitem(windowing.KINDS, "triggered")
    with pytest.raises(ArtifactFormatError, match=r"window\.kind is 'triggered', must be one of record, sliding"):
        form.decode(files)


def test_the_trainer_reads_series_for_it_and_cuts_its_windows(tmp_path: Path) -> None:
    samples = signal(300, 3)
    path = tmp_path / "pump.csv"
    np.savetxt(path, samples, delimiter=",", header="trigger,value", comments="")
    recipe = recipes.parse(SMALL_RECIPE.format(window="triggered", score="mae"), "here")
    (table,) = tables = read(str(path), kind=recipe.window.kind)
    window = subsets.window_spec(recipe.window, tables)
    found = subsets.all_windows([table], window, "all").windows
    assert [each.tobytes() for each in found] == expected(samples)
    divided = subsets.divide(recipe, tables, seed=1)
    cuts = (slice(0, 192), slice(192, 240), slice(240, 300))
    for part, rows in zip((divided.fit, divided.calibration, divided.test), cuts, strict=True):
        assert [each.tobytes() for each in part] == expected(samples[rows])
    with pytest.raises(DataError, match=r"recipe here: window\.kind is 'trigered', must be one of record, sliding"):
        recipes.parse(SMALL_RECIPE.format(window="trigered", score="mae"), "here")


@given(st.integers(0, 40), st.lists(st.integers(0, 40), max_size=5), st.integers(0, 2**32 - 1))
def test_the_daemon_cuts_the_same_ones_however_polls_lie(
    toy: form.Artifact, count: int, cuts: list[int], seed: int
) -> None:
    samples = signal(count, seed)
    processor = make_processor_at_zero(EARLIEST, toy)
    bounds = [0, *sorted(min(cut, count) for cut in cuts), count]
    found = [window for first, end in pairwise(bounds) for window in scored(processor, samples, first, end)]
    assert found == expected(samples)


@given(st.integers(1, 20), st.integers(0, 10), st.integers(0, 2**32 - 1))
def test_a_snapshot_is_restored(toy: form.Artifact, snapshot: int, behind: int, seed: int) -> None:
    """A successor reads on from the snapshot at `snapshot`: what was decided since only fills its rings again."""
    samples, decided = signal(40, seed), snapshot + behind
    first = make_processor_at_zero(EARLIEST, toy)
    found = scored(first, samples, 0, snapshot)
    state = tuple(StateRecord(*record) for record in first.take_outputs([INPUT]).checkpoints[INPUT])
    found += scored(first, samples, snapshot, decided)
    second = make_processor(EARLIEST, toy)
    resumed = second.assign(INPUT, Restored(Position(decided, snapshot, 0), state, beginning=0, end=40), 0)
    assert (resumed.begin, resumed.state_lost) == (snapshot, "")
    found += scored(second, samples, snapshot, 40)
    assert found == expected(samples)


def test_a_gap_begins_its_series_anew(toy: form.Artifact) -> None:
    """What is late, a duplicate or a gap is not its business: `event_time` says it for every kind."""
    samples = signal(12, 5)
    samples[:, 0] = 1.0
    processor = make_processor_at_zero(EARLIEST, toy)
    values = [b'{"ts": %d, "trigger": 1, "value": %d}' % (at if at < 6 else at + 100, at) for at in [*range(12), 3]]
    processor.receive(make_columns(values))
    batch = processor.next_batch()
    assert batch is not None
    assert [window.tobytes() for window in batch.values] == expected(samples[:6]) + expected(samples[6:])
    assert (processor.counts.gaps, processor.counts.samples_late) == (1, 1)
