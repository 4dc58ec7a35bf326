"""What the networks are made of: activations, layers, and chains of fully connected ones.

Rules of this package: a network only says shapes. Its parameters are loaded, never drawn here, so its kernels are
zeros: random ones would be traced for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
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

_ZEROS = nnx.initializers.zeros_init()
Linear = partial(nnx.Linear, kernel_init=_ZEROS)
Conv = partial(nnx.Conv, kernel_init=_ZEROS)
ConvTranspose = partial(nnx.ConvTranspose, kernel_init=_ZEROS)


def dense_layers(widths: Sequence[int], rngs: nnx.Rngs) -> list[nnx.Linear]:
    """Layers from each width to the next."""
    return [Linear(a, b, rngs=rngs) for a, b in pairwise(widths)]


def chain(values: jax.Array, layers: Sequence[nnx.Linear], activations: Sequence[Activation]) -> jax.Array:
    """`activation(values @ kernel + bias)`, layer by layer: (rows, inputs) to (rows, outputs)."""
    for layer, activation in zip(layers, activations, strict=True):
        values = ACTIVATIONS[activation](layer(values))
    return values
