"""Fully connected autoencoders: linear, undercomplete, overcomplete and sparse differ in widths and fitting only."""

from __future__ import annotations

import math

import jax
from flax import nnx

from monitor.detector.architectures import DenseSpec
from monitor.detector.networks.layers import chain, dense_layers


class DenseAutoencoder(nnx.Module):
    """An encoder and its mirror image.

    With widths (32, 16, 8) and a window of 140 x 1: 140-32-16-8-16-32-140, the network of the TensorFlow tutorial
    "Intro to Autoencoders" (generative/autoencoder), section "Third example: Anomaly detection".
    """

    def __init__(self, spec: DenseSpec, window_shape: tuple[int, int], rngs: nnx.Rngs) -> None:
        size = math.prod(window_shape)
        self.layers = nnx.List(dense_layers([size, *spec.widths, *reversed(spec.widths[:-1]), size], rngs))
        self.depth = len(spec.widths)
        self.window_shape = window_shape
        self.code_activations = (*[spec.hidden] * (self.depth - 1), spec.code or spec.hidden)
        self.window_activations = (*[spec.hidden] * (self.depth - 1), spec.output)

    def encode(self, windows: jax.Array) -> jax.Array:
        """(rows, length, channels) to codes (rows, code)."""
        values = windows.reshape(windows.shape[0], -1)
        return chain(values, self.layers[: self.depth], self.code_activations)

    def decode(self, codes: jax.Array) -> jax.Array:
        """Codes (rows, code) to (rows, length, channels)."""
        values = chain(codes, self.layers[self.depth :], self.window_activations)
        return values.reshape(codes.shape[0], *self.window_shape)
