"""How unusual a heartbeat is: its shape against the series' own, what the model makes of that, and how early it came.

A window holds the beat, the series' template and spread, and how early it came, as `beats.windower` makes it. What the
model is fitted on and asked for is the beat less its mean and less the template, by channel over a size: so beats of
all patients are alike, and are about 0. The size is half a way between the template's root mean square, by which the
noise of one patient is as much as an ectopic beat of another, and the spread, by which in a quiet one every breath is.

    shape       root mean square of that
    residual    root mean square of that less what the model makes of it: what no normal beat does
    early       how early the beat came; 0 for one that is late

The score is the root of the sum of their squares, each over its `scales`, of normal beats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from monitor.detector.arrays import Float32Array

# Further from a template than anything measured, and near enough that no layer overflows.
FARTHEST = 1e15
# The scales' order, and that of what they are of.
SHAPE, RESIDUAL, EARLY = range(3)
# A spread of less than this share of the template's size is taken for as much.
LEAST_SPREAD = 0.01
# A part of the score is named where its square is so large a share of the whole.
NAMED_SHARE = 0.25


class Parts(NamedTuple):
    """What n windows hold: `relative` beats (n, length, channels), as the model is given them, and how `early` they
    came, (n,). `middle` and `size` (n, 1, channels) undo it: beat = middle + template + relative * size.
    """

    relative: jax.Array
    middle: jax.Array
    template: jax.Array
    size: jax.Array
    early: jax.Array


def parts(windows: jax.Array | Float32Array) -> Parts:
    """Of windows (n, 2 * length + 2, channels)."""
    length = windows.shape[1] // 2 - 1
    beat, template = jnp.asarray(windows[:, :length]), jnp.asarray(windows[:, length : 2 * length])
    middle = jnp.mean(beat, axis=1, keepdims=True)
    whole = jnp.sqrt(jnp.mean(jnp.square(template), axis=1, keepdims=True))
    spread = jnp.maximum(jnp.asarray(windows[:, -2:-1]), LEAST_SPREAD * whole)
    size = jnp.sqrt(whole) * jnp.sqrt(spread)
    size = jnp.where(size > 0, size, 1.0)
    apart = jnp.clip((beat - middle - template) / size, -FARTHEST, FARTHEST)
    return Parts(apart, middle, template, size, jnp.asarray(windows[:, -1, 0]))


def relative(windows: Float32Array) -> Float32Array:
    """What the model is fitted on, (n, length, channels)."""
    return np.asarray(parts(windows).relative)


def measures(relative: jax.Array, expected: jax.Array, early: jax.Array) -> jax.Array:
    """Shape, residual and earliness (n, 3) of relative beats, for which the model gave `expected`."""
    return jnp.stack([_size(relative), _size(relative - expected), jnp.maximum(early, 0.0)], axis=1)


def _size(values: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(values), axis=(1, 2)))


def score(measured: jax.Array, scales: jax.Array) -> jax.Array:
    """Scores (n,) of what was measured, (n, 3)."""
    return jnp.sqrt(jnp.sum(jnp.square(measured / scales[None]), axis=1))


def expected(of: Parts) -> jax.Array:
    """What was to come instead of the beats: the template, about their own mean, (n, length, channels)."""
    return of.middle + of.template


def reason(values: Float32Array, tensors: Mapping[str, Float32Array]) -> str:
    """What is unusual about a beat, in words, of its window (2 * length + 2, channels)."""
    of = parts(values[None])
    measured = np.asarray(measures(of.relative, of.relative, of.early), dtype=np.float64)[0] / tensors["scales"]
    shape, early = measured[SHAPE] ** 2, measured[EARLY] ** 2
    named = []
    if early >= NAMED_SHARE * (shape + early):
        named.append(f"it came {float(of.early[0]):.0%} early".replace("%", " %"))
    if shape >= NAMED_SHARE * (shape + early):
        named.append("its shape is not the usual one" if named else "the beat's shape is not the usual one")
    return " and ".join(named)
