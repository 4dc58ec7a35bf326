"""The model's form, and every kind of wrong tensor refused, all at once."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from monitor.detector import autoencoder
from monitor.detector.architectures import DenseSpec
from monitor.errors import ArtifactFormatError

SPEC = DenseSpec(widths=(32, 16, 8))
SHAPE = autoencoder.Shape((140, 1))


def parameters(seed: int = 0) -> dict[str, np.ndarray]:
    return autoencoder.initial_parameters(SPEC, SHAPE, seed)


def test_the_tutorials_network() -> None:
    # TensorFlow's tutorial "Intro to Autoencoders", third example: Dense 32, 16, 8, 16, 32, 140
    shapes = {name: tensor.shape for name, tensor in parameters().items()}
    widths = [140, 32, 16, 8, 16, 32, 140]
    assert shapes == {
        f"layers.{layer}.{kind}": (widths[layer], widths[layer + 1]) if kind == "kernel" else (widths[layer + 1],)
        for layer in range(6)
        for kind in ("kernel", "bias")
    }
    # 140*32+32 + 32*16+16 + 16*8+8 + 8*16+16 + 16*32+32 + 32*140+140
    assert sum(tensor.size for tensor in parameters().values()) == 10_484


def test_initial_parameters_follow_from_the_seed() -> None:
    one, same, other = parameters(1), parameters(1), parameters(2)
    assert all((one[name] == same[name]).all() for name in one)
    assert any((one[name] != other[name]).any() for name in one)
    for layer, (fan_in, fan_out) in enumerate([(140, 32), (32, 16), (16, 8)]):
        # Glorot and Bengio 2010, eq. 16
        assert np.abs(one[f"layers.{layer}.kernel"]).max() <= np.sqrt(6 / (fan_in + fan_out))
        assert not one[f"layers.{layer}.bias"].any()


def test_what_was_taken_out_goes_in_again() -> None:
    given = {name: tensor + np.float32(0.25) for name, tensor in parameters().items()}
    network, state = autoencoder.load(SPEC, SHAPE, given)
    windows = np.random.default_rng(0).normal(size=(3, *SHAPE.window)).astype(np.float32)
    values = windows.reshape(3, -1).astype(np.float64)
    for layer in range(6):
        values = values @ given[f"layers.{layer}.kernel"] + given[f"layers.{layer}.bias"]
        values = 1 / (1 + np.exp(-values)) if layer == 5 else np.maximum(values, 0)
    found = np.asarray(network.reconstruct(state, jnp.asarray(windows)))
    np.testing.assert_allclose(found.reshape(3, -1), values, rtol=1e-5, atol=1e-6)
    assert {name: tensor.tobytes() for name, tensor in autoencoder.parameters_of(state).items()} == {
        name: tensor.tobytes() for name, tensor in given.items()
    }


KERNEL = "layers.0.kernel"
WRONG: dict[str, tuple[Callable[[dict[str, np.ndarray]], object], str]] = {
    "missing": (lambda p: p.pop(KERNEL), "tensor 'layers.0.kernel' is missing"),
    "unknown": (
        lambda p: p.update({"layers.9.bias": np.zeros(3, np.float32)}),
        "tensor 'layers.9.bias' is not part of the model",
    ),
    "shape": (
        lambda p: p.update({KERNEL: np.zeros((32, 140), np.float32)}),
        r"'layers.0.kernel' is float32 \(32, 140\), the manifest's model has float32 \(140, 32\)",
    ),
    "type": (lambda p: p.update({KERNEL: p[KERNEL].astype(np.float64)}), r"is float64 \(140, 32\)"),
    "half type": (lambda p: p.update({KERNEL: p[KERNEL].astype(np.float16)}), r"is float16 \(140, 32\)"),
    "byte order": (lambda p: p.update({KERNEL: p[KERNEL].astype(">f4")}), r"is >f4 \(140, 32\)"),
    "NaN": (lambda p: p[KERNEL].__setitem__((0, 0), np.nan), "'layers.0.kernel' holds numbers that are not finite"),
    "infinity": (lambda p: p[KERNEL].__setitem__((0, 0), np.inf), "'layers.0.kernel' holds numbers that are not"),
    "empty": (lambda p: p.update({KERNEL: np.zeros((0, 32), np.float32)}), r"is float32 \(0, 32\)"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_tensor_is_refused(kind: str) -> None:
    given = {name: tensor.copy() for name, tensor in parameters().items()}
    spoil, message = WRONG[kind]
    spoil(given)
    with pytest.raises(ArtifactFormatError, match=message) as refusal:
        autoencoder.load(SPEC, SHAPE, given)
    assert ";" not in str(refusal.value), "one problem, said once"


def test_all_problems_are_said_at_once() -> None:
    given = {name: tensor.copy() for name, tensor in parameters().items()}
    del given["layers.5.bias"]
    given["stranger"] = np.zeros(1, np.float32)
    given["layers.1.kernel"] = given["layers.1.kernel"].T
    given["layers.2.kernel"][0, 0] = np.nan
    given["layers.3.bias"] = given["layers.3.bias"].astype(np.int32)
    with pytest.raises(ArtifactFormatError) as refusal:
        autoencoder.load(SPEC, SHAPE, given)
    problems = str(refusal.value).split("; ")
    assert len(problems) == 5
    for name in ("layers.5.bias", "stranger", "layers.1.kernel", "layers.2.kernel", "layers.3.bias"):
        assert sum(f"'{name}'" in problem for problem in problems) == 1


def test_no_tensors_at_all() -> None:
    with pytest.raises(ArtifactFormatError) as refusal:
        autoencoder.load(SPEC, SHAPE, {})
    assert str(refusal.value).count("is missing") == 12
