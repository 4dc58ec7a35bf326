"""The models, defined once: the trainer fits what the daemon serves.

Rules of this file: a model maps scaled windows `(rows, length, channels)` to reconstructions of the same shape, row by
row. Parameters travel as a flat dict of float32 arrays whose names are the artifact's tensor names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from monitor.detector.spec import DenseSpec, ModelSpec
from monitor.errors import ArtifactFormatError

Parameters = Mapping[str, NDArray[np.float32]]
State = nnx.State[Any, Any]
Reconstruct = Callable[[State, jax.Array], jax.Array]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nnx.relu,
    "tanh": nnx.tanh,
    "gelu": nnx.gelu,
    "sigmoid": nnx.sigmoid,
    "linear": lambda x: x,
}


class DenseAutoencoder(nnx.Module):
    """Fully connected encoder and its mirror image.

    With widths (32, 16, 8) and a window of 140 x 1: 140-32-16-8-16-32-140, the network of the TensorFlow tutorial
    "Intro to Autoencoders" (generative/autoencoder), section "Third example: Anomaly detection".
    """

    def __init__(self, spec: DenseSpec, window_shape: tuple[int, int], rngs: nnx.Rngs) -> None:
        size = window_shape[0] * window_shape[1]
        widths = [size, *spec.widths, *reversed(spec.widths[:-1]), size]
        # The tutorial's framework starts from Glorot's uniform distribution; Flax's default differs.
        self.layers = nnx.List(
            nnx.Linear(a, b, kernel_init=nnx.initializers.glorot_uniform(), rngs=rngs) for a, b in pairwise(widths)
        )
        self.hidden = spec.hidden
        self.output = spec.output

    def __call__(self, windows: jax.Array) -> jax.Array:
        """Reconstructs (rows, length, channels)."""
        values = windows.reshape(windows.shape[0], -1)
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            values = ACTIVATIONS[self.output if index == last else self.hidden](layer(values))
        return values.reshape(windows.shape)


def build(spec: ModelSpec, window_shape: tuple[int, int], seed: int) -> DenseAutoencoder:
    """A model with fresh parameters drawn from `seed`: kernels by Glorot's uniform rule, as in the tutorial; biases 0.

    NumPy draws them, so that they depend on no version of JAX's generators, and nothing is compiled for it.

    References:
        Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq. 16.
    """
    rng = np.random.default_rng(seed)
    graph, skeleton = _abstract(spec, window_shape)
    leaves = []
    for path, leaf in nnx.to_flat_state(skeleton):
        shape = leaf.get_value().shape
        limit = np.sqrt(6 / sum(shape)) if len(shape) == 2 else 0.0
        leaves.append((path, leaf.replace(jnp.asarray(rng.uniform(-limit, limit, shape), dtype=jnp.float32))))
    model: DenseAutoencoder = nnx.merge(graph, nnx.from_flat_state(leaves))
    return model


def _abstract(spec: ModelSpec, window_shape: tuple[int, int]) -> tuple[nnx.GraphDef[DenseAutoencoder], State]:
    """The model's structure, with shapes in the place of parameters."""
    abstract = nnx.eval_shape(lambda: DenseAutoencoder(spec, window_shape, nnx.Rngs(0)))
    graph, skeleton = nnx.split(abstract)
    return graph, skeleton


def parameters_of(state: State) -> dict[str, NDArray[np.float32]]:
    """Flat, named copies of a model's parameters: `layers.0.kernel`, ..."""
    flat = nnx.to_flat_state(state)
    return {".".join(map(str, path)): np.asarray(leaf.get_value(), dtype=np.float32) for path, leaf in flat}


def load(spec: ModelSpec, window_shape: tuple[int, int], parameters: Parameters) -> tuple[Reconstruct, State]:
    """The model's pure function and the state to call it with.

    Raises:
        ArtifactFormatError: a tensor is missing, unknown, of another shape or type, or not finite; names each.
    """
    graph, skeleton = _abstract(spec, window_shape)
    expected = {".".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(skeleton)}
    problems = [f"tensor {name!r} is missing" for name in expected.keys() - parameters.keys()]
    problems += [f"tensor {name!r} is not part of the model" for name in parameters.keys() - expected.keys()]
    for name in expected.keys() & parameters.keys():
        found, wanted = parameters[name], expected[name].get_value()
        if found.shape != wanted.shape or found.dtype != np.float32:
            problems.append(
                f"tensor {name!r} is {found.dtype} {found.shape}, the manifest's model has float32 {wanted.shape}"
            )
        elif not np.isfinite(found).all():
            problems.append(f"tensor {name!r} holds numbers that are not finite")
    if problems:
        raise ArtifactFormatError("; ".join(sorted(problems)))
    leaves = [
        (path, leaf.replace(jnp.asarray(parameters[".".join(map(str, path))])))
        for path, leaf in nnx.to_flat_state(skeleton)
    ]

    def reconstruct(state: State, windows: jax.Array) -> jax.Array:
        model: DenseAutoencoder = nnx.merge(graph, state)
        return model(windows)

    return reconstruct, nnx.from_flat_state(leaves)
