"""What the networks are made of: activations, and chains of fully connected layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import jax
from flax import nnx

from monitor.detector.architectures import Activation

ACTIVATIONS: dict[Activation, Callable[[jax.Array], jax.Array]] = {
    "relu": nnx.relu,
    "leaky_relu": nnx.leaky_relu,
    "elu": nnx.elu,
    "silu": nnx.silu,
    "gelu": nnx.gelu,
    "tanh": nnx.tanh,
    "sigmoid": nnx.sigmoid,
    "linear": lambda x: x,
}


def dense_layers(widths: Sequence[int], rngs: nnx.Rngs) -> list[nnx.Linear]:
    """Layers from each width to the next."""
    return [nnx.Linear(a, b, rngs=rngs) for a, b in pairwise(widths)]


def chain(values: jax.Array, layers: Sequence[nnx.Linear], activations: Sequence[Activation]) -> jax.Array:
    """`activation(values @ kernel + bias)`, layer by layer: (rows, inputs) to (rows, outputs)."""
    for layer, activation in zip(layers, activations, strict=True):
        values = ACTIVATIONS[activation](layer(values))
    return values
