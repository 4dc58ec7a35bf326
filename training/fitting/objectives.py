"""What fitting minimises: the loss of a batch, and what is added to it or done to its input.

Rules of this file: pure functions of a state, scaled windows (rows, length, channels), weights (rows,) and, where
something is drawn, a key. A row of weight 0 is padding or trimmed and counts for nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from monitor.detector.architectures import ModelSpec, VariationalSpec, single
from monitor.detector.autoencoder import Autoencoder, State
from monitor.detector.networks.variational import divergence
from training.recipes.schema import LossName, ObjectivePart

Loss = Callable[[State, jax.Array, jax.Array, jax.Array | None], jax.Array]
_EDGE = 1e-6  # keeps logarithms of 0 and 1 finite


def row_losses(loss: LossName, delta: float, windows: jax.Array, reconstructions: jax.Array) -> jax.Array:
    """The mean loss of each row, (rows,): of `mae` it is the daemon's score.

    `bce` takes windows scaled to [0, 1]; what lies outside is cut to it. `huber` is quadratic up to `delta`.
    """
    if loss == "mae":
        each = jnp.abs(windows - reconstructions)
    elif loss == "mse":
        each = jnp.square(windows - reconstructions)
    elif loss == "huber":
        each = optax.losses.huber_loss(reconstructions, targets=windows, delta=delta)
    else:
        wanted, given = jnp.clip(windows, 0.0, 1.0), jnp.clip(reconstructions, _EDGE, 1.0 - _EDGE)
        each = -(wanted * jnp.log(given) + (1.0 - wanted) * jnp.log1p(-given))
    return jnp.mean(each, axis=(1, 2))


def batch_loss(network: Autoencoder, model: ModelSpec, objective: ObjectivePart) -> Loss:
    """The scalar to minimise, of one network (an ensemble's member too)."""
    variational = isinstance(single(model), VariationalSpec)

    def loss(state: State, windows: jax.Array, weights: jax.Array, key: jax.Array | None) -> jax.Array:
        noise, mask, drop, draw = (None,) * 4 if key is None else jax.random.split(key, 4)
        seen = corrupt(windows, objective, noise, mask)
        extra = jnp.zeros_like(weights)
        if variational:
            mean, log_variance = network.posterior(state, seen)
            assert draw is not None
            codes = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(draw, mean.shape)
            extra += objective.beta * divergence(mean, log_variance) / (windows.shape[1] * windows.shape[2])
        else:
            codes = network.encode(state, seen)
        if objective.l1:
            extra += objective.l1 * jnp.mean(jnp.abs(codes), axis=1)
        if objective.contractive:
            extra += objective.contractive * contraction(network, state, seen)
        total = extra + row_losses(
            objective.loss, objective.huber_delta, windows, network.decode(state, _dropped(codes, objective, drop))
        )
        result = jnp.sum(total * weights) / jnp.maximum(jnp.sum(weights), 1.0)
        if objective.sparsity_weight:
            result += objective.sparsity_weight * sparsity(codes, weights, objective.sparsity_target)
        return result

    return loss


def needs_key(model: ModelSpec, objective: ObjectivePart) -> bool:
    """Whether anything is drawn while fitting."""
    drawn = (objective.noise_std, objective.mask_ratio, objective.dropout)
    return any(drawn) or isinstance(single(model), VariationalSpec)


def corrupt(windows: jax.Array, objective: ObjectivePart, noise: jax.Array | None, mask: jax.Array | None) -> jax.Array:
    """Windows with Gaussian noise added and single numbers set to 0 (in scaled units), as the recipe says.

    References:
        Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders".
    """
    if objective.noise_std and noise is not None:
        windows = windows + objective.noise_std * jax.random.normal(noise, windows.shape)
    if objective.mask_ratio and mask is not None:
        windows = jnp.where(jax.random.bernoulli(mask, objective.mask_ratio, windows.shape), 0.0, windows)
    return windows


def sparsity(codes: jax.Array, weights: jax.Array, target: float) -> jax.Array:
    """Divergence of each unit's mean activation in the batch from `target`, summed over units; codes lie in (0, 1).

    References:
        Ng 2011, "Sparse autoencoder", CS294A lecture notes, section 3.
    """
    mean = jnp.sum(codes * weights[:, None], axis=0) / jnp.maximum(jnp.sum(weights), 1.0)
    mean = jnp.clip(mean, _EDGE, 1.0 - _EDGE)
    return jnp.sum(target * jnp.log(target / mean) + (1.0 - target) * jnp.log((1.0 - target) / (1.0 - mean)))


def contraction(network: Autoencoder, state: State, windows: jax.Array) -> jax.Array:
    """Squared Frobenius norm of the encoder's Jacobian at each window, (rows,).

    References:
        Rifai et al. 2011, "Contractive auto-encoders: explicit invariance during feature extraction".
    """

    def slopes(window: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(jax.jacrev(lambda one: network.encode(state, one[None])[0])(window)))

    return jax.vmap(slopes)(windows)


def _dropped(codes: jax.Array, objective: ObjectivePart, key: jax.Array | None) -> jax.Array:
    """Codes with units dropped at random, the others scaled up (Srivastava et al. 2014)."""
    if not objective.dropout or key is None:
        return codes
    kept = 1.0 - objective.dropout
    return jnp.where(jax.random.bernoulli(key, kept, codes.shape), codes / kept, 0.0)
