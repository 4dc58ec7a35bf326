"""Convolutional autoencoders, along time or over an image, for windows of any length."""

from __future__ import annotations

import math
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx

from monitor.detector.architectures import ConvolutionalSpec
from monitor.detector.networks.layers import ACTIVATIONS, Conv, ConvTranspose, Linear


class ConvolutionalAutoencoder(nnx.Module):
    """Strided convolutions down; transposed ones, or repetition and a convolution, up again.

    Each layer divides a side by the stride, rounding up; the way back cuts what that made too much.
    """

    def __init__(
        self,
        spec: ConvolutionalSpec,
        window_shape: tuple[int, int],
        image_shape: tuple[int, int] | None,
        rngs: nnx.Rngs,
    ) -> None:
        length, channels = window_shape
        self.sides: list[tuple[int, ...]] = [image_shape or (length,)]
        for _ in spec.filters:
            self.sides.append(tuple(-(-side // spec.stride) for side in self.sides[-1]))
        rank = len(self.sides[0])
        kernel, strides = (spec.kernel,) * rank, (spec.stride,) * rank
        widths = [channels, *spec.filters]
        self.down = nnx.List(
            Conv(a, b, kernel, strides=strides, padding="SAME", rngs=rngs) for a, b in pairwise(widths)
        )
        transposed = spec.upsampling == "transposed"
        self.up = nnx.List(
            ConvTranspose(b, a, kernel, strides=strides, padding="SAME", rngs=rngs)
            if transposed
            else Conv(b, a, kernel, padding="SAME", rngs=rngs)
            for a, b in reversed(list(pairwise(widths)))
        )
        self.repeat = 1 if transposed else spec.stride
        self.features = (*self.sides[-1], widths[-1])
        features = math.prod(self.features)
        self.to_code = None if spec.latent is None else Linear(features, spec.latent, rngs=rngs)
        self.from_code = None if spec.latent is None else Linear(spec.latent, features, rngs=rngs)
        self.window_shape = window_shape
        self.hidden, self.output = spec.hidden, spec.output

    def encode(self, windows: jax.Array) -> jax.Array:
        """(rows, length, channels) to codes (rows, code): the latent vector, or the last feature map, flat."""
        values = windows.reshape(windows.shape[0], *self.sides[0], windows.shape[-1])
        for layer in self.down:
            values = ACTIVATIONS[self.hidden](layer(values))
        values = values.reshape(windows.shape[0], -1)
        return values if self.to_code is None else self.to_code(values)

    def decode(self, codes: jax.Array) -> jax.Array:
        """Codes (rows, code) to (rows, length, channels)."""
        values = codes if self.from_code is None else ACTIVATIONS[self.hidden](self.from_code(codes))
        values = values.reshape(codes.shape[0], *self.features)
        last = len(self.up) - 1
        for index, (layer, sides) in enumerate(zip(self.up, reversed(self.sides[:-1]), strict=True)):
            for axis in range(1, values.ndim - 1):
                values = jnp.repeat(values, self.repeat, axis=axis) if self.repeat > 1 else values
            values = layer(values)[(slice(None), *map(slice, sides))]
            values = ACTIVATIONS[self.output if index == last else self.hidden](values)
        return values.reshape(codes.shape[0], *self.window_shape)
