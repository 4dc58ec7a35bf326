"""What makes a score of scaled windows and their reconstructions: one pure function for each kind.

Rules of this file: everything is per row and flat, (rows, size): with the channels as a last axis of their own, of one
element at worst, XLA's code takes three times as long as the network. A higher score is more anomalous. A finite window
gets a finite score or an infinite one, never NaN: what is squared is bounded first.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from monitor.arrays import Float32Array
from monitor.detector.autoencoder import Autoencoder, State
from monitor.detector.networks.variational import divergence
from monitor.detector.spec import ScoreSpec
from monitor.errors import ArtifactFormatError

Tensors = Mapping[str, jax.Array]

# Further from the training data than anything measured, and near enough that no layer overflows: what is finite gets a
# finite score.
FARTHEST = 1e15
MAX_PROTOTYPES = 4_096


def tensor_shapes(score: ScoreSpec, size: int) -> dict[str, tuple[int | None, ...]]:
    """Names and shapes of the tensors that a score needs besides the model's; None is any length."""
    if score.kind == "whitened":
        return {"mean": (size,), "whitener": (size, size)}
    return {"centres": (None, size)} if score.kind == "prototype" else {}


def check_tensors(score: ScoreSpec, size: int, tensors: Mapping[str, Float32Array]) -> None:
    """Refuses tensors that are not those of `tensor_shapes`.

    Raises:
        ArtifactFormatError: all problems at once.
    """
    expected = tensor_shapes(score, size)
    problems = [f"score tensor {name!r} is missing" for name in expected.keys() - tensors.keys()]
    problems += [f"score tensor {name!r} is not one of {score.kind}'s" for name in tensors.keys() - expected.keys()]
    for name in expected.keys() & tensors.keys():
        found, wanted = tensors[name], expected[name]
        fits = len(found.shape) == len(wanted) and all(b in (a, None) for a, b in zip(found.shape, wanted, strict=True))
        if not fits or found.dtype != np.float32 or not 1 <= len(found) <= max(size, MAX_PROTOTYPES):
            problems.append(f"score tensor {name!r} is {found.dtype} {found.shape}, expected float32 {wanted}")
        elif not np.isfinite(found).all():
            problems.append(f"score tensor {name!r} holds numbers that are not finite")
    if problems:
        raise ArtifactFormatError("; ".join(sorted(problems)))


def score_rows(
    score: ScoreSpec, network: Autoencoder, state: State, tensors: Tensors, windows: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Scores scaled windows.

    Args:
        windows: (rows, length, channels).

    Returns:
        scores (rows,), and what was expected in the windows' place (rows, length * channels): the reconstruction, or
        the nearest prototype.
    """
    rows = windows.reshape(windows.shape[0], -1)
    if score.kind == "prototype":
        expected = _nearest(rows, tensors["centres"])
        return jnp.sqrt(_mean_square(rows - expected)), expected
    expected = network.reconstruct(state, windows).reshape(rows.shape)
    if score.kind == "mae":
        return jnp.mean(jnp.abs(rows - expected), axis=1), expected
    if score.kind == "whitened":
        residual = jnp.clip(rows - expected, -FARTHEST, FARTHEST) - tensors["mean"][None]
        return _mean_square(residual @ tensors["whitener"]), expected
    result = _mean_square(rows - expected)
    if score.kind == "elbo":
        result += score.beta * divergence(*network.posterior(state, windows)) / rows.shape[1]
    return result, expected


def _mean_square(values: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(jnp.clip(values, -FARTHEST, FARTHEST)), axis=1)


def _nearest(rows: jax.Array, centres: jax.Array) -> jax.Array:
    """The centre nearest to each row: one matrix product finds it, and the distance is then taken from the rows
    themselves, as the expansion of a square loses small distances to rounding."""
    # About a common middle the squares are as small as they get: far from 0 they would drown what is compared.
    middle = jnp.mean(centres, axis=0)[None]
    near = centres - middle
    apart = jnp.sum(jnp.square(near), axis=1)[None] - 2 * (rows - middle) @ near.T
    return centres[jnp.argmin(apart, axis=1)]
