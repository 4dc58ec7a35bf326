"""What stands for missing numbers: by an oracle that fills one window in after the other."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.detector.imputing import MAX_MISSING_RATIO, ROUNDS, Imputer
from monitor.detector.spec import ChannelQuality, QualitySpec
from tests.helpers import make_artifact, make_columns, make_config, make_processor_at_zero, work

LENGTH, CHANNELS = 4, 12
NAMES = tuple(f"c{number}" for number in range(CHANNELS))
WIDE = make_artifact(length=LENGTH, hop=1, channels=NAMES, threshold=0.9, batch_rows=8)
SCORER = WIDE.scorer()
EARLIEST = {"start": "earliest"}


def expected(window: np.ndarray, most: float) -> np.ndarray:
    """One window (length, channels), filled in."""
    missing = np.isnan(window)
    if np.float32(missing.mean()) > np.float32(most):
        return np.full_like(window, np.nan)
    made, times = window.copy(), np.arange(len(window))
    for channel in range(window.shape[1]):
        gone = missing[:, channel]
        if gone.any() and not gone.all():
            made[gone, channel] = np.interp(times[gone], times[~gone], window[~gone, channel])
    blank = np.isnan(made)
    usual = np.array([WIDE.known_windows[:, :, channel].mean(dtype=np.float64) for channel in range(window.shape[1])])
    made[blank] = np.broadcast_to(usual, made.shape)[blank]
    for _ in range(ROUNDS if blank.any() else 0):
        made[blank] = SCORER.reconstruct(made[None])[0][blank]
    return made


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.sampled_from([None, 0.0, 0.2, 0.5]), st.floats(0, 0.2))
def test_windows_are_filled_in_one_like_the_other(seed: int, count: int, most: float | None, share: float) -> None:
    rng = np.random.default_rng(seed)
    windows = rng.normal(size=(count, LENGTH, CHANNELS)).astype(np.float32)
    windows[rng.random(windows.shape) < share * rng.integers(0, 2)] = np.nan
    windows.transpose(0, 2, 1)[rng.random((count, CHANNELS)) < share] = np.nan
    before = windows.copy()
    imputed = Imputer(WIDE, SCORER.reconstruct, most)(windows)
    np.testing.assert_array_equal(windows, before)
    limit = MAX_MISSING_RATIO if most is None else most
    for row, window in enumerate(windows):
        np.testing.assert_allclose(imputed.windows[row], expected(window, limit), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(imputed.missing_ratio[row], np.isnan(window).mean(), rtol=1e-6)
        gone = np.isnan(window).all(axis=0) & (np.isfinite(imputed.windows[row]).all())
        assert (imputed.throughout is None and not gone.any()) or (
            imputed.throughout is not None and imputed.throughout[row].tolist() == gone.tolist()
        )


@given(st.integers(0, 2**32 - 1))
def test_what_is_whole_is_left_as_it_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    windows = rng.normal(size=(5, LENGTH, CHANNELS)).astype(np.float32)
    imputer = Imputer(WIDE, SCORER.reconstruct)
    assert imputer(windows).windows is windows
    one_gone = windows.copy()
    one_gone[2, :, 3] = np.nan
    np.testing.assert_array_equal(np.delete(imputer(one_gone).windows, 2, axis=0), np.delete(windows, 2, axis=0))


def test_what_is_expected_is_asked_without_numbers_far_from_training() -> None:
    windows = np.random.default_rng(3).normal(0.0, 0.05, size=(4, LENGTH, CHANNELS)).astype(np.float32)
    known = (ChannelQuality(lowest=-0.5, highest=0.5, longest_run=1),) * CHANNELS
    manifest = msgspec.structs.replace(WIDE.manifest, quality=QualitySpec(samples=100, channels=known))
    imputer = Imputer(replace(WIDE, manifest=manifest), SCORER.reconstruct)
    np.testing.assert_array_equal(imputer.expected(windows, SCORER.reconstruct), SCORER.reconstruct(windows))
    broken, between, gone = windows.copy(), windows.copy(), windows.copy()
    broken[1, 2, 3], broken[2, :, 5], broken[3] = -9999.0, 5.6, 1e30  # over 0.5 + 10 times 0.5
    between[1, 2, 3] = (np.float64(windows[1, 1, 3]) + windows[1, 3, 3]) / 2
    gone[2, :, 5] = np.nan
    found = imputer.expected(broken, SCORER.reconstruct)
    np.testing.assert_array_equal(found[:2], SCORER.reconstruct(between)[:2])
    np.testing.assert_array_equal(found[2], SCORER.reconstruct(imputer(gone).windows)[2])
    assert np.isfinite(found[3]).all()
    assert np.abs(found[3]).max() < 10
    unknown = Imputer(WIDE, SCORER.reconstruct)
    np.testing.assert_array_equal(unknown.expected(broken, SCORER.reconstruct), SCORER.reconstruct(broken))


def records(count: int, *, gone: str = "", null: bool = False) -> list[bytes]:
    """Samples in which one channel is null, or absent; from the 20th on another is far out."""
    rng = np.random.default_rng(7)
    found = []
    for row in range(count):
        sample: dict[str, float | None] = dict(
            zip(NAMES, rng.normal(0.0, 0.05, CHANNELS).round(6).tolist(), strict=True)
        )
        if row >= 20:
            sample["c5"] = 40.0
        if gone:
            sample.pop(gone)
            if null:
                sample[gone] = None
        found.append(json.dumps(sample).encode())
    return found


def test_the_other_channels_go_on_being_scored() -> None:
    """One of twelve is null, or left out by report: the fault of another is found at the same sample, and it alone."""
    told = {}
    for name, values, more in (
        ("whole", records(30), {}),
        ("null", records(30, gone="c9", null=True), {}),
        ("absent", records(30, gone="c9"), {"partial_records": True}),
    ):
        processor = make_processor_at_zero(make_config(input=EARLIEST | more), WIDE)
        end = make_columns([*values, json.dumps(dict.fromkeys(NAMES, 0.0)).encode()])
        told[name] = work(processor, SCORER, end)
        assert processor.counts.windows_unscorable == 0
    ends = {name: [alert.data.window.end for alert in each] for name, each in told.items()}
    assert ends["whole"] == ends["null"] == ends["absent"] != []
    assert told["whole"][0].data.window.imputed == []
    for name in ("null", "absent"):
        window = told[name][0].data.window
        assert window.imputed == ["c9"]
        assert window.missing_ratio == np.float32(1 / 12)
        assert told[name][0].data.contributors[0].channel == "c5"


def test_a_limit_of_0_scores_whole_windows_alone() -> None:
    processor = make_processor_at_zero(make_config(input=EARLIEST | {"max_missing_ratio": 0.0}), WIDE)
    assert work(processor, SCORER, make_columns(records(30, gone="c9", null=True))) == []
    assert processor.counts.windows_unscorable == 27
