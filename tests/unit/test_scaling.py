"""Fitted scalings against NumPy's own reductions; constant and broken channels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monitor.detector import scaling
from training import recipes
from training.fitting import units as by_units
from training.recipes.schema import ScalingPart

RNG = np.random.default_rng(5)
SAMPLES = (RNG.normal(size=(6, 50, 3)) * [1, 20, 1e-3] + [0, 1e4, -5]).astype(np.float32)
TABLE = SAMPLES.reshape(-1, 3).astype(np.float64)


def test_standard() -> None:
    fitted = scaling.fit(SAMPLES, "standard")
    np.testing.assert_allclose(fitted.offset, TABLE.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fitted.scale, TABLE.std(axis=0), rtol=1e-9)
    # scikit-learn's StandardScaler is the second source
    from sklearn.preprocessing import StandardScaler

    other = StandardScaler().fit(TABLE)
    np.testing.assert_allclose(fitted.scale, other.scale_, rtol=1e-9)


def test_robust_of_what_mostly_stands_still_is_by_what_moves() -> None:
    """Eighty of a hundred are zero, so the quartiles meet; the others are not noise."""
    samples = np.zeros((100, 1))
    samples[::5, 0] = np.arange(1, 21)
    fitted = scaling.fit(samples, "robust")
    assert fitted.offset == (0.0,)
    np.testing.assert_allclose(fitted.scale, samples.std(axis=0), rtol=1e-12)


def test_minmax() -> None:
    fitted = scaling.fit(SAMPLES, "minmax")
    np.testing.assert_array_equal(fitted.offset, TABLE.min(axis=0))
    np.testing.assert_array_equal(fitted.scale, TABLE.max(axis=0) - TABLE.min(axis=0))


def test_minmax_global_is_one_range_for_all_channels() -> None:
    fitted = scaling.fit(SAMPLES, "minmax_global")
    assert set(fitted.offset) == {float(SAMPLES.min())}
    assert set(fitted.scale) == {float(SAMPLES.max()) - float(SAMPLES.min())}


def test_none_leaves_numbers_as_they_are() -> None:
    fitted = scaling.fit(SAMPLES, "none")
    assert (fitted.offset, fitted.scale) == ((0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize("kind", ["standard", "minmax", "minmax_global", "none"])
def test_nan_is_left_out(kind: scaling.Kind) -> None:
    holed = SAMPLES.copy()
    holed[0, :7, 1] = np.nan
    holed[2, 3] = np.nan
    kept = holed[~np.isnan(holed).any(axis=2)]
    filled = np.concatenate([kept, np.full((9, 3), np.nan, dtype=np.float32)])
    assert scaling.fit(filled, kind) == scaling.fit(kept, kind)
    one = scaling.fit(holed, kind)
    assert np.isfinite([one.offset, one.scale]).all()


@pytest.mark.parametrize("kind", ["standard", "minmax", "minmax_global", "none"])
def test_a_channel_without_a_number_is_refused(kind: scaling.Kind) -> None:
    holed = SAMPLES.copy()
    holed[:, :, 1] = np.nan
    holed[0, 0, 1] = np.inf
    with pytest.raises(ValueError, match="channel 1 holds no finite number"):
        scaling.fit(holed, kind)
    with pytest.raises(ValueError, match="channel 0"):
        scaling.fit(np.empty((0, 2)), kind)


CONSTANTS = [0.0, 1.0, -3.5, 1e30, 1e-30, 0.1, 123456.789]


@pytest.mark.parametrize("kind", ["standard", "minmax", "minmax_global"])
@pytest.mark.parametrize("value", CONSTANTS)
def test_a_constant_channels_scale_follows_its_own_size(kind: scaling.Kind, value: float) -> None:
    fitted = scaling.fit(np.full((1000, 1), np.float32(value)), kind)
    np.testing.assert_allclose(fitted.scale, [abs(float(np.float32(value))) / 100 or 1.0], rtol=1e-12)
    np.testing.assert_allclose(fitted.offset, [np.float32(value)], rtol=1e-12)


@pytest.mark.parametrize("spread", [1e-50, 1e-45, 1e-40, 1e-38])
def test_a_spread_that_float32_can_not_divide_by_is_a_constant_channel(spread: float) -> None:
    # 1e-50 is 0 in float32, 1e-40 is subnormal: XLA on CPU flushes it to 0, and every score would be infinite or NaN.
    samples = np.array([[0.0], [spread]])
    assert scaling.fit(samples, "minmax").scale == (1.0,)
    assert scaling.fit(np.full((10, 1), spread), "standard").scale[0] in (1.0, pytest.approx(spread / 100))


def test_float32_noise_on_a_large_constant_is_a_constant_channel() -> None:
    samples = np.float32(1e6) + RNG.choice([0.0, 0.0625], size=(500, 1)).astype(np.float32)
    np.testing.assert_allclose(scaling.fit(samples, "minmax").scale, [1e4], rtol=1e-6)


numbers = st.floats(-1e6, 1e6, width=32)


@given(arrays(np.float32, (20, 2), elements=numbers), st.sampled_from(["standard", "minmax", "minmax_global"]))
def test_scale_then_unscale_is_the_identity(samples: np.ndarray, kind: scaling.Kind) -> None:
    fitted = scaling.fit(samples, kind)
    offset, scale = np.array(fitted.offset, np.float32), np.array(fitted.scale, np.float32)
    assert (scale > 0).all()
    scaled = (samples - offset) / scale
    assert np.isfinite(scaled).all()
    # three roundings of float32, the largest number on the way being the sample's or the offset's size
    bound = 4 * np.finfo(np.float32).eps * (np.abs(samples).max(initial=1e-30) + np.abs(offset).max())
    np.testing.assert_allclose(scaled * scale + offset, samples, rtol=0, atol=bound)
    if kind != "standard":
        assert scaled.min() >= -1e-3
        assert scaled.max() <= 1 + 1e-3 or (scale == 1).any()


@pytest.mark.parametrize("kind", ["standard", "robust", "minmax", "centre"])
@pytest.mark.parametrize(
    ("stands", "moves", "deviations"),
    [
        (0.002, 0.012, 500.0),  # six times its size
        (50_000.0, 50_000.5, 0.001),  # rounding
        (1e-9, 2e-9, 100.0),
        (-3.0, -3.003, 0.1),
        (1e12, 1.01e12, 1.0),
        (0.0, 1.0, 1.0),  # no size: its own unit
        (7.0, 9.5, 2.5 / 0.07),
    ],
)
def test_a_constant_channels_movement_shows_beside_its_size(
    kind: scaling.Kind, stands: float, moves: float, deviations: float
) -> None:
    fitted = scaling.fit(np.full((10, 1), stands), kind)
    assert (stands - fitted.offset[0]) / fitted.scale[0] == pytest.approx(0.0, abs=1e-9)
    assert abs(moves - fitted.offset[0]) / fitted.scale[0] == pytest.approx(deviations, rel=1e-6)


def test_a_constant_channel_scaled_by_window_moves_no_less_than_its_size_asks() -> None:
    table = np.stack([np.full(50, 0.002), np.sin(np.arange(50.0))], axis=1)
    assert scaling.fit(table, "window").scale == pytest.approx((2e-5, scaling.FLAT * table[:, 1].std()))


def test_centred_channels_share_one_scale() -> None:
    table = np.concatenate([SAMPLES.reshape(-1, 3), np.full((1, 3), np.nan, dtype=np.float32)])
    fitted = scaling.fit(table, "centre")
    np.testing.assert_allclose(fitted.offset, np.nanmean(table.astype(np.float64), axis=0))
    spread = np.sqrt(np.nanvar(table.astype(np.float64), axis=0).mean())
    np.testing.assert_allclose(fitted.scale, [spread] * 3)
    still = np.stack([np.sin(np.arange(50.0)), np.zeros(50), np.full(50, 0.25), np.arange(50.0) / 1e6], axis=1)
    shared, of_zeros, of_constant, of_quiet = scaling.fit(still, "centre").scale
    assert shared == of_zeros == of_quiet == pytest.approx(np.sqrt(np.square(still.std(axis=0)).mean()))
    assert of_constant == pytest.approx(0.0025), "a constant channel's scale follows its own size"
    assert scaling.fit(np.zeros((9, 2)), "centre").scale == (1.0, 1.0)


SHARES = np.random.default_rng(0).uniform(0.2, 0.9, (40, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "units", "levels", "kind"),
    [
        (SHARES, (), (), "centre"),
        (2 * SHARES - 1, (), (), "centre"),
        (SHARES, (), (0.0, 0.0), "centre"),
        (1.2 * SHARES, (), (), "standard"),
        (300 * SHARES, ("bar", "bar"), (), "centre"),
        (SHARES, ("bar", "l/min"), (), "standard"),
        (SHARES, ("bar", ""), (), "standard"),
        (SHARES, (), (1e7, 0.0), "standard"),
        (SHARES[:, :1], (), (), "standard"),
    ],
)
def test_one_scale_is_for_channels_of_one_unit(
    samples: np.ndarray, units: tuple[str, ...], levels: tuple[float, ...], kind: scaling.Kind
) -> None:
    recipe = recipes.load("sliding")
    assert by_units.resolved(recipe, samples, units, levels).scaling == ScalingPart(kind=kind)
    assert by_units.resolved(recipes.load("plant"), samples, units, levels).scaling == ScalingPart(kind="standard")
