"""`telltale encode`, `decode`, `denoise`, `sample`, and the gate of `evaluate`: the commands on a small artifact."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

LENGTH = 16
RECIPE = """
name = "small"
[window]
kind = "record"
[scaling]
kind = "{scaling}"
[model]
kind = "variational"
widths = [8, 3]
[objective]
loss = "mse"
beta = 0.05
[score]
kind = "mse"
[fit]
epochs = 150
batch_size = 64
learning_rate = 1e-2
[split]
kind = "random"
[threshold]
method = "quantile"
quantile = 0.95
"""


def telltale(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "monitor", *map(str, words)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Waves of two shapes, labelled odd ones among them, and an artifact trained on them."""
    place = tmp_path_factory.mktemp("codec")
    rng = np.random.default_rng(0)
    steps = np.linspace(0, 2 * np.pi, LENGTH)
    waves = rng.normal(size=(240, 1)) * np.sin(steps) + rng.normal(size=(240, 1)) * np.cos(steps) + 5
    waves += 0.02 * rng.normal(size=waves.shape)
    waves[200:] += rng.normal(size=(40, LENGTH))
    labels = (np.arange(240) >= 200).astype(int)
    np.savez(place / "waves.npz", windows=waves.astype(np.float32), labels=labels)
    (place / "small.toml").write_text(RECIPE.format(scaling="standard"))
    telltale("train", place / "waves.npz", "--recipe", place / "small.toml", "--out", place / "small", "--no-report")
    return place


def test_decoding_gives_back_what_was_encoded_but_for_what_is_said(made: Path) -> None:
    said = telltale("encode", made / "small", made / "waves.npz", "--out", made / "codes.npz").stdout
    assert "240 windows, 3 numbers each" in said
    assert "compressed 5.33 times" in said, "16 numbers to 3"
    telltale("decode", made / "small", made / "codes.npz", "--out", made / "back.npy")
    windows, back = np.load(made / "waves.npz")["windows"], np.load(made / "back.npy")
    assert back.shape == (240, LENGTH, 1)
    apart = back[:, :, 0].astype(np.float64) - windows
    assert f"rmse {np.sqrt(np.square(apart).mean()):.4g}" in said
    assert np.abs(apart[:200]).mean() < 0.2 * np.abs(apart[200:]).mean(), "odd windows don't fit through the code"


def test_denoising_is_decoding_of_the_code(made: Path) -> None:
    telltale("encode", made / "small", made / "waves.npz", "--out", made / "codes.npz")
    telltale("decode", made / "small", made / "codes.npz", "--out", made / "back.npy")
    telltale("denoise", made / "small", made / "waves.npz", "--out", made / "clean.npy")
    np.testing.assert_array_equal(np.load(made / "clean.npy"), np.load(made / "back.npy"))


def test_samples_look_like_the_data(made: Path) -> None:
    telltale("sample", made / "small", "--count", 500, "--out", made / "drawn.npy")
    telltale("sample", made / "small", "--count", 500, "--out", made / "again.npy")
    drawn = np.load(made / "drawn.npy")
    np.testing.assert_array_equal(drawn, np.load(made / "again.npy"))
    assert drawn.shape == (500, LENGTH, 1)
    assert abs(drawn.mean() - 5) < 0.5
    assert 0.3 < drawn.std() < 1.5, "waves of strength 1"


def test_what_is_not_a_code_is_refused(made: Path) -> None:
    np.savez(made / "other.npz", codes=np.zeros((2, 7), np.float32), offset=np.zeros((2, 1)), scale=np.ones((2, 1)))
    assert (
        "this model's are (n, 3)"
        in telltale("decode", made / "small", made / "other.npz", "--out", made / "x.npy", code=78).stderr
    )
    telltale("encode", made / "small", made / "waves.npz", "--out", made / "codes.npz")
    codes = dict(np.load(made / "codes.npz"))
    np.savez(made / "moved.npz", **{**codes, "network": codes["network"][::-1]})
    said = telltale("decode", made / "small", made / "moved.npz", "--out", made / "x.npy", code=78).stderr
    assert "codes of another network; decode with the artifact that encoded" in said
    telltale("calibrate", made / "small", "--quantile", 0.9, "--out", made / "other-line")
    telltale("decode", made / "other-line", made / "codes.npz", "--out", made / "x.npy")
    assert (
        "expected codes, offset and scale"
        in telltale("decode", made / "small", made / "waves.npz", "--out", made / "x.npy", code=78).stderr
    )


def test_the_gate_has_its_own_exit_code(made: Path) -> None:
    words = ("evaluate", made / "small", made / "waves.npz", "--min-auroc")
    telltale(*words, 0.9)
    np.save(made / "unlabelled.npy", np.load(made / "waves.npz")["windows"])
    done = telltale("evaluate", made / "small", made / "unlabelled.npy", "--min-auroc", 0.5, code=3)
    assert "unknown: there are no labels of both kinds" in done.stderr
