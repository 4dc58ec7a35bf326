"""The kinds of scores: how far scaled windows are from what the model expects instead.

A kind is a row of `KINDS`; scorer, alerts, trainer and report ask the row, and no one else names a kind. A new one is a
function and a row here. One that needs tensors of its own also says in `training.fitting.score_tensors` how they are
fitted.

Rules of this file: everything is per row and flat, (rows, size): with the channels as a last axis of their own, of one
element at worst, XLA's code takes three times as long as the network. A higher score is more anomalous. A finite window
gets a finite score or an infinite one, never NaN: what is squared is bounded first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from monitor.detector import architectures
from monitor.detector.architectures import DenseSpec, ModelSpec, VariationalSpec
from monitor.detector.arrays import Float32Array, Float64Array
from monitor.detector.autoencoder import Autoencoder, State
from monitor.detector.beats import score as beats
from monitor.detector.networks.variational import divergence
from monitor.detector.spec import Manifest, ScoreSpec
from monitor.errors import ArtifactFormatError

Tensors = Mapping[str, jax.Array]

# Further from the training data than anything measured, and near enough that no layer overflows: what is finite gets a
# finite score.
FARTHEST = 1e15
MAX_PROTOTYPES = 4_096
MAX_WHITENED_NUMBERS = 8_192  # a square of that side is 256 MiB


class Scaled(NamedTuple):
    """Scaled windows (rows, length, channels), flat (rows, length * channels) too, and what a score is made with."""

    windows: jax.Array
    rows: jax.Array
    network: Autoencoder
    state: State
    score: ScoreSpec
    tensors: Tensors

    def reconstructed(self) -> jax.Array:
        """What the model makes of the windows, (rows, length * channels)."""
        return self.network.reconstruct(self.state, self.windows).reshape(self.rows.shape)


# Scores (rows,), and what was expected instead of the windows (rows, length * channels), scaled.
Scores = tuple[jax.Array, jax.Array]


def _mae(of: Scaled) -> Scores:
    expected = of.reconstructed()
    return jnp.mean(jnp.abs(of.rows - expected), axis=1), expected


def _mse(of: Scaled) -> Scores:
    expected = of.reconstructed()
    return _mean_square(of.rows - expected), expected


def _whitened(of: Scaled) -> Scores:
    expected = of.reconstructed()
    residual = jnp.clip(of.rows - expected, -FARTHEST, FARTHEST) - of.tensors["mean"][None]
    return _mean_square(residual @ of.tensors["whitener"]), expected


def _prototype(of: Scaled) -> Scores:
    expected = _nearest(of.rows, of.tensors["centres"])
    return jnp.sqrt(_mean_square(of.rows - expected)), expected


def _memory(of: Scaled) -> Scores:
    rest, apart, expected = _from_codes(of)
    # The root of a product that may be too large for float32
    return jnp.sqrt(rest) * jnp.sqrt(rest + apart), expected


def _nearest_code(of: Scaled) -> Scores:
    rest, apart, expected = _from_codes(of)
    return jnp.sqrt(rest + apart), expected


def _from_codes(of: Scaled) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The mean squared error, the squared distance of the code to the nearest one stored over the window's size, both
    (rows,), and what was expected."""
    codes = of.network.encode(of.state, of.windows)
    expected = of.network.decode(of.state, codes).reshape(of.rows.shape)
    apart = _squared_distance(codes, of.tensors["codes"]) / of.rows.shape[1]
    return _mean_square(of.rows - expected), apart, expected


def _worst_channels(of: Scaled) -> Scores:
    expected = of.reconstructed()
    squares = jnp.square(jnp.clip(of.rows - expected, -FARTHEST, FARTHEST)).reshape(of.windows.shape)
    sizes = jnp.sqrt(jnp.mean(squares, axis=1)) / of.tensors["usual"][None]
    worst, _ = jax.lax.top_k(sizes, min(of.score.worst, sizes.shape[1]))
    return jnp.mean(worst, axis=1), expected


def _elbo(of: Scaled) -> Scores:
    found, expected = _mse(of)
    found += of.score.beta * divergence(*of.network.posterior(of.state, of.windows)) / of.rows.shape[1]
    return found, expected


def _beat(of: Scaled) -> Scores:
    parts = beats.parts(of.windows)
    measured = beats.measures(parts.relative, of.network.reconstruct(of.state, parts.relative), parts.early)
    expected = of.windows.at[:, : of.windows.shape[1] // 2 - 1].set(beats.expected(parts))
    return beats.score(measured, of.tensors["scales"]), expected.reshape(of.rows.shape)


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


def _squared_distance(rows: jax.Array, remembered: jax.Array) -> jax.Array:
    """The least squared distance of each row (rows, size) to any of `remembered` (n, size)."""
    middle = jnp.mean(remembered, axis=0)[None]
    near, rows = remembered - middle, jnp.clip(rows, -FARTHEST, FARTHEST) - middle
    least = jnp.min(jnp.sum(jnp.square(near), axis=1)[None] - 2 * rows @ near.T, axis=1)
    return jnp.maximum(least + jnp.sum(jnp.square(rows), axis=1), 0.0)


def _root_mean_square(errors: Float64Array, _threshold: float) -> float:
    """For scores that are no mean of these errors, so that the threshold says nothing of one of them."""
    return math.sqrt(float(np.square(errors).mean()))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreKind:
    """A kind of score.

    `rows` makes it. `noun` is what an alert calls it, `in_full` a report, where that says more. `sample_limit` is how
    far a sample of a window over the threshold lies from what was expected to be named in the alert: of the window's
    absolute errors (channels, length), scaled, and the threshold. `tensors` are names and shapes of what it needs
    besides the model's tensors, for windows of (length, channels); None is any length. `problems` says what keeps it
    from serving a model, and windows of so many numbers.

    `of_own`: windows have to hold what is usual for their own series (`WindowSpec.template_beats`), in the data's unit;
    `modelled` makes of them what the model is fitted on and asked for. `reason` says in words why a window (rows,
    channels) has a high score, by the kind's tensors; empty: there is nothing to say but where it is.
    """

    rows: Callable[[Scaled], Scores]
    noun: str
    in_full: str = ""
    sample_limit: Callable[[Float64Array, float], float] = _root_mean_square
    tensors: Callable[[ModelSpec, tuple[int, int]], dict[str, tuple[int | None, ...]]] = lambda _model, _shape: {}
    problems: Callable[[ModelSpec, int], list[str]] = lambda _model, _size: []
    of_own: bool = False
    modelled: Callable[[Float32Array], Float32Array] = lambda windows: windows
    reason: Callable[[Float32Array, Mapping[str, Float32Array]], str] = lambda _window, _tensors: ""

    @property
    def described(self) -> str:
        """What a report calls it."""
        return self.in_full or self.noun


def _too_large_to_whiten(_model: ModelSpec, size: int) -> list[str]:
    if size <= MAX_WHITENED_NUMBERS:
        return []
    return [f'score.kind "whitened" takes windows of at most {MAX_WHITENED_NUMBERS} numbers, not {size}']


def _not_variational(model: ModelSpec, _size: int) -> list[str]:
    variational = isinstance(architectures.single(model), VariationalSpec)
    return [] if variational else ['score.kind "elbo" needs a variational model']


def _not_linear(model: ModelSpec, _size: int) -> list[str]:
    """Distances between codes are distances between windows where the way to and fro is linear and orthonormal."""
    if isinstance(model, DenseSpec) and len(model.widths) == 1 and (model.code or model.hidden) == "linear":
        return []
    return ['score.kind "memory" or "nearest_code" needs a dense model of one width with a linear code']


def _code_width(model: ModelSpec) -> int:
    assert isinstance(model, DenseSpec)
    return model.widths[-1]


KINDS = {
    "mae": ScoreKind(
        rows=_mae,
        noun="reconstruction error",
        in_full="mean absolute error",
        sample_limit=lambda _errors, threshold: threshold,
    ),
    "mse": ScoreKind(
        rows=_mse,
        noun="reconstruction error",
        in_full="mean squared error",
        sample_limit=lambda _errors, threshold: math.sqrt(threshold),
    ),
    "whitened": ScoreKind(
        rows=_whitened,
        noun="whitened distance",
        in_full="whitened residual",
        tensors=lambda _model, shape: {"mean": (math.prod(shape),), "whitener": (math.prod(shape),) * 2},
        problems=_too_large_to_whiten,
    ),
    "prototype": ScoreKind(
        rows=_prototype,
        noun="distance to the nearest prototype",
        sample_limit=lambda _errors, threshold: threshold,
        tensors=lambda _model, shape: {"centres": (None, math.prod(shape))},
    ),
    "memory": ScoreKind(
        rows=_memory,
        noun="reconstruction error and distance to what is known",
        in_full="geometric mean of the squared error without and with the distance to the nearest known code",
        sample_limit=lambda _errors, threshold: math.sqrt(threshold),
        tensors=lambda model, _shape: {"codes": (None, _code_width(model))},
        problems=_not_linear,
    ),
    "nearest_code": ScoreKind(
        rows=_nearest_code,
        noun="distance to what is known",
        in_full="root mean square distance to the nearest known code's window",
        sample_limit=lambda _errors, threshold: threshold,
        tensors=lambda model, _shape: {"codes": (None, _code_width(model))},
        problems=_not_linear,
    ),
    "worst_channels": ScoreKind(
        rows=_worst_channels,
        noun="error of the worst channels",
        in_full="mean of the worst channels' errors, each over its usual one",
        tensors=lambda _model, shape: {"usual": (shape[1],)},
    ),
    "elbo": ScoreKind(
        rows=_elbo,
        noun="negative ELBO",
        in_full="negative evidence lower bound",
        problems=_not_variational,
    ),
    "beat": ScoreKind(
        rows=_beat,
        noun="distance from the series' usual beat",
        tensors=lambda _model, _shape: {"scales": (3,)},
        of_own=True,
        modelled=beats.relative,
        reason=beats.reason,
    ),
}


def problems(
    kind: str, model: ModelSpec, window_shape: tuple[int, int], template_beats: int = 0, scaling: str = "none"
) -> list[str]:
    """What keeps a score of `kind` from serving `model` and windows of (length, channels); all at once.

    `template_beats` is that of the windows, `scaling` its kind.
    """
    if kind not in KINDS:
        return [f"score.kind is {kind!r}, must be one of {', '.join(KINDS)}"]
    of_own, found = KINDS[kind].of_own, KINDS[kind].problems(model, math.prod(window_shape))
    if of_own and not template_beats:
        found.append(f'score.kind "{kind}" needs windows that hold their series\' own template: window.template_beats')
    if of_own and scaling != "none":
        found.append(f'score.kind "{kind}" takes windows as they are: scaling.kind must be "none", not "{scaling}"')
    if template_beats and not of_own:
        found.append(f'score.kind "{kind}" has no use for a template: window.template_beats must be 0')
    return found


def check(manifest: Manifest) -> None:
    """Refuses a score that is not known here, or does not go with the model or the windows.

    Raises:
        ArtifactFormatError: all problems at once.
    """
    window, scaling = manifest.window, manifest.scaling.kind
    shape = manifest.modelled_shape
    if found := problems(manifest.score.kind, manifest.model, shape, window.template_beats, scaling):
        raise ArtifactFormatError("manifest: " + "; ".join(found))


def check_tensors(
    score: ScoreSpec, model: ModelSpec, window_shape: tuple[int, int], tensors: Mapping[str, Float32Array]
) -> None:
    """Refuses tensors that are not those of the kind's row.

    Raises:
        ArtifactFormatError: all problems at once.
    """
    expected, size = KINDS[score.kind].tensors(model, window_shape), math.prod(window_shape)
    wrong = [f"score tensor {name!r} is missing" for name in expected.keys() - tensors.keys()]
    wrong += [f"score tensor {name!r} is not one of {score.kind}'s" for name in tensors.keys() - expected.keys()]
    for name in expected.keys() & tensors.keys():
        found, wanted = tensors[name], expected[name]
        fits = len(found.shape) == len(wanted) and all(b in (a, None) for a, b in zip(found.shape, wanted, strict=True))
        if not fits or found.dtype != np.float32 or not 1 <= len(found) <= max(size, MAX_PROTOTYPES):
            wrong.append(f"score tensor {name!r} is {found.dtype} {found.shape}, expected float32 {wanted}")
        elif not np.isfinite(found).all():
            wrong.append(f"score tensor {name!r} holds numbers that are not finite")
    if wrong:
        raise ArtifactFormatError("; ".join(sorted(wrong)))
