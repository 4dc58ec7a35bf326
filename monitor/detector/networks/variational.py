"""The variational autoencoder, with a Gaussian code."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from monitor.detector.architectures import VariationalSpec
from monitor.detector.networks.layers import Linear, chain, dense_layers

# exp of half of it stays well inside float32, whatever the encoder is shown.
LOG_VARIANCE_RANGE = (-20.0, 20.0)


class VariationalAutoencoder(nnx.Module):
    """Encodes to the mean and log variance of a Gaussian; a code is its mean, unless someone samples.

    References:
        Kingma & Welling 2014, "Auto-Encoding Variational Bayes", arXiv:1312.6114.
    """

    def __init__(self, spec: VariationalSpec, window_shape: tuple[int, int], rngs: nnx.Rngs) -> None:
        size, latent = math.prod(window_shape), spec.widths[-1]
        widths = [size, *spec.widths[:-1]]
        self.encoder = nnx.List(dense_layers(widths, rngs))
        self.mean = Linear(widths[-1], latent, rngs=rngs)
        self.log_variance = Linear(widths[-1], latent, rngs=rngs)
        self.decoder = nnx.List(dense_layers([latent, *reversed(widths)], rngs))
        self.window_shape = window_shape
        self.hidden_activations = (spec.hidden,) * (len(spec.widths) - 1)
        self.output = spec.output

    def posterior(self, windows: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(rows, length, channels) to means and log variances, (rows, code) each."""
        values = chain(windows.reshape(windows.shape[0], -1), self.encoder, self.hidden_activations)
        return self.mean(values), jnp.clip(self.log_variance(values), *LOG_VARIANCE_RANGE)

    def encode(self, windows: jax.Array) -> jax.Array:
        """(rows, length, channels) to the means of their codes (rows, code)."""
        return self.posterior(windows)[0]

    def decode(self, codes: jax.Array) -> jax.Array:
        """Codes (rows, code) to (rows, length, channels)."""
        values = chain(codes, self.decoder, (*self.hidden_activations, self.output))
        return values.reshape(codes.shape[0], *self.window_shape)


def divergence(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence of N(mean, exp(log_variance)) from N(0, 1), summed over the code: (rows,) in nats.

    References:
        Kingma & Welling 2014, appendix B.
    """
    return 0.5 * jnp.sum(jnp.exp(log_variance) + jnp.square(mean) - 1.0 - log_variance, axis=1)
