"""The models, defined once: the trainer fits what the daemon serves.

Rules of this file: a model maps scaled windows `(rows, length, channels)` to codes and codes to windows, row by row, by
pure functions of an explicit state. Parameters travel as a flat dict of float32 arrays whose names are the artifact's
tensor names; an ensemble's have the members as their first axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from flax import nnx

from monitor.detector.architectures import (
    ConvolutionalSpec,
    DenseSpec,
    EnsembleSpec,
    ModelSpec,
    RecurrentSpec,
    Single,
    single,
)
from monitor.detector.arrays import Float32Array
from monitor.detector.networks.convolutional import ConvolutionalAutoencoder
from monitor.detector.networks.dense import DenseAutoencoder
from monitor.detector.networks.recurrent import RecurrentAutoencoder
from monitor.detector.networks.variational import VariationalAutoencoder
from monitor.errors import ArtifactFormatError

Parameters = Mapping[str, Float32Array]
State = nnx.State[Any, Any]
Network = DenseAutoencoder | ConvolutionalAutoencoder | RecurrentAutoencoder | VariationalAutoencoder


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model is built for: windows (length, channels), and the image's (height, width) where they are images."""

    window: tuple[int, int]
    image: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Autoencoder:
    """The pure functions of one network; each takes the network's state, an ensemble's member's for one of those."""

    graph: nnx.GraphDef[Network]

    def encode(self, state: State, windows: jax.Array) -> jax.Array:
        """Scaled windows (rows, length, channels) to codes (rows, code)."""
        return self._network(state).encode(windows)

    def decode(self, state: State, codes: jax.Array) -> jax.Array:
        """Codes (rows, code) to scaled windows (rows, length, channels)."""
        return self._network(state).decode(codes)

    def reconstruct(self, state: State, windows: jax.Array) -> jax.Array:
        """Scaled windows to what the network makes of them, both (rows, length, channels)."""
        network = self._network(state)
        return network.decode(network.encode(windows))

    def posterior(self, state: State, windows: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Variational only: mean and log variance of the windows' codes, (rows, code) each."""
        network = self._network(state)
        assert isinstance(network, VariationalAutoencoder)
        return network.posterior(windows)

    def _network(self, state: State) -> Network:
        network: Network = nnx.merge(self.graph, state)
        return network


def initial_parameters(spec: ModelSpec, shape: Shape, seed: int) -> dict[str, Float32Array]:
    """Initial parameters, drawn from `seed`: kernels by Glorot's uniform rule, recurrent ones orthogonal, biases 0.

    NumPy draws them, so that they depend on no version of JAX's generators, and nothing is compiled for it. An
    ensemble's members draw from `member_seeds`.

    References:
        Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq. 16;
        Saxe et al. 2014, arXiv:1312.6120 for orthogonal recurrent kernels.
    """
    if isinstance(spec, EnsembleSpec):
        members = [initial_parameters(spec.member, shape, each) for each in member_seeds(seed, spec.members)]
        return {name: np.stack([member[name] for member in members]) for name in members[0]}
    rng = np.random.default_rng(seed)
    _, skeleton = _abstract(spec, shape)
    return {_name(path): _draw(rng, path, leaf.get_value().shape) for path, leaf in nnx.to_flat_state(skeleton)}


def member_seeds(seed: int, members: int) -> list[int]:
    """A seed for each of an ensemble's members, drawn from `seed`: no two seeds give their members a common one."""
    drawn: list[int] = np.random.SeedSequence(seed).generate_state(members, np.uint64).tolist()
    return drawn


def load(spec: ModelSpec, shape: Shape, parameters: Parameters) -> tuple[Autoencoder, State]:
    """The network's functions and the state to call them with: an ensemble's holds its members along a first axis.

    Raises:
        ArtifactFormatError: a tensor is missing, unknown, of another shape or type, or not finite; names each.
    """
    members = (spec.members,) if isinstance(spec, EnsembleSpec) else ()
    graph, skeleton = _abstract(single(spec), shape)
    leaves = nnx.to_flat_state(skeleton)
    expected = {_name(path): (*members, *leaf.get_value().shape) for path, leaf in leaves}
    problems = [f"tensor {name!r} is missing" for name in expected.keys() - parameters.keys()]
    problems += [f"tensor {name!r} is not part of the model" for name in parameters.keys() - expected.keys()]
    for name in expected.keys() & parameters.keys():
        found, wanted = parameters[name], expected[name]
        if found.shape != wanted or found.dtype != np.float32:
            problems.append(
                f"tensor {name!r} is {found.dtype} {found.shape}, the manifest's model has float32 {wanted}"
            )
        elif not np.isfinite(found).all():
            problems.append(f"tensor {name!r} holds numbers that are not finite")
    if problems:
        raise ArtifactFormatError("; ".join(sorted(problems)))
    # Copied, as JAX on CPU may alias what it is given; put there rather than converted, which compiles for each shape.
    filled = [(path, leaf.replace(jax.device_put(parameters[_name(path)].copy()))) for path, leaf in leaves]
    return Autoencoder(graph), nnx.from_flat_state(filled)


def parameters_of(state: State) -> dict[str, Float32Array]:
    """Flat, named copies of a model's parameters: `layers.0.kernel`, ..."""
    flat = nnx.to_flat_state(state)
    return {_name(path): np.asarray(leaf.get_value(), dtype=np.float32) for path, leaf in flat}


def code_size(spec: ModelSpec, shape: Shape) -> int:
    """How many numbers a code has."""
    graph, skeleton = _abstract(single(spec), shape)
    windows = np.empty((1, *shape.window), dtype=np.float32)
    return int(jax.eval_shape(Autoencoder(graph).encode, skeleton, windows).shape[1])


@lru_cache(maxsize=16)
def _abstract(spec: Single, shape: Shape) -> tuple[nnx.GraphDef[Network], State]:
    """The network's structure, with shapes instead of parameters."""

    def make() -> Network:
        rngs = nnx.Rngs(0)
        if isinstance(spec, DenseSpec):
            return DenseAutoencoder(spec, shape.window, rngs)
        if isinstance(spec, ConvolutionalSpec):
            return ConvolutionalAutoencoder(spec, shape.window, shape.image, rngs)
        if isinstance(spec, RecurrentSpec):
            return RecurrentAutoencoder(spec, shape.window, rngs)
        return VariationalAutoencoder(spec, shape.window, rngs)

    graph, skeleton = nnx.split(nnx.eval_shape(make))
    return graph, skeleton


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def _draw(rng: np.random.Generator, path: tuple[Any, ...], shape: tuple[int, ...]) -> Float32Array:
    if len(shape) < 2:  # drawn all the same, so that kernels stay what a seed has always given
        return rng.uniform(-0.0, 0.0, shape).astype(np.float32)
    *field, inputs, outputs = shape
    if "recurrent" in path:
        square = rng.normal(size=(outputs // inputs, inputs, inputs))
        return np.concatenate(list(np.linalg.qr(square)[0]), axis=1).astype(np.float32)
    limit = np.sqrt(6 / (np.prod(field, dtype=np.float64) * (inputs + outputs)))
    return rng.uniform(-limit, limit, shape).astype(np.float32)
