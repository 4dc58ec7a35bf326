"""One compiled function gives every score there is: trainer, replay and daemon call it with the same shape.

Within one executable a row's score does not depend on the other rows (NaN included) nor on where it stands; across
batch shapes it moves by a few 1e-7. So scores have one shape, `(batch_rows, length, channels)`, and short batches are
padded. A higher score is more anomalous.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from monitor.detector import autoencoder, scores
from monitor.detector.architectures import EnsembleSpec, ModelSpec
from monitor.detector.arrays import Float32Array, aligned_empty, is_aligned
from monitor.detector.autoencoder import Parameters, State
from monitor.detector.scores import FARTHEST, Scaled
from monitor.detector.spec import ScalingSpec, ScoreSpec, WindowSpec

Numbers = jax.Array | Float32Array

# A mean of huge errors overflows; what can't be counted is still over every threshold, and JSON has no infinity.
HIGHEST = np.finfo(np.float32).max
# Parameters of up to so many bytes are constants of the compiled programs: a call with the windows alone takes a third
# less time at 64 rows than one with a tree of arrays. More of them take seconds to compile, and are held twice.
MAX_CONSTANT_BYTES = 4 * 2**20
# A product with a matrix of up to so many numbers is several times faster than a mean over an axis of few samples.
MAX_AVERAGED = 2**18
# Windows that are published at once are few: reconstructions are made in batches of at most so many rows.
RECONSTRUCTED_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """All that decides a score: `parameters` are the model's tensors by name, `score_tensors` those of the score."""

    window: WindowSpec
    channels: tuple[str, ...]
    scaling: ScalingSpec
    model: ModelSpec
    parameters: Parameters
    score: ScoreSpec = field(default_factory=ScoreSpec)
    score_tensors: Mapping[str, Float32Array] = field(default_factory=dict)

    @property
    def shape(self) -> autoencoder.Shape:
        """What the model is built for."""
        return autoencoder.Shape((self.window.length, len(self.channels)), self.window.image_shape)

    @property
    def window_shape(self) -> tuple[int, int]:
        """(rows, channels) of what is scored: windows of the model's shape, and what else a window holds."""
        return self.window.rows, len(self.channels)


class Scaler:
    """Scaling as it is served: flat rows (rows, length * channels) to scaled ones, and back."""

    def __init__(self, scaling: ScalingSpec, length: int) -> None:
        self._per_window = scaling.kind == "window"
        self._channels = len(scaling.scale)
        # Flat, one row a window: see the rules of `scores`.
        self._offset = np.tile(np.asarray(scaling.offset, dtype=np.float32), length)[None]
        self._scale = np.tile(np.asarray(scaling.scale, dtype=np.float32), length)[None]

    def __call__(self, rows: jax.Array) -> tuple[jax.Array, Numbers, Numbers]:
        """Scaled rows, and the offset and scale that undo it: `row = scaled * scale + offset`."""
        offset, scale = self._moments(rows) if self._per_window else (self._offset, self._scale)
        return jnp.clip((rows - offset) / scale, -FARTHEST, FARTHEST), offset, scale

    def _moments(self, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        windows = rows.reshape(rows.shape[0], -1, self._channels)
        # A constant is taken out first, so that a small movement on a high level keeps its digits.
        first = windows[:, :1]
        moved = jnp.clip(windows - first, -FARTHEST, FARTHEST)
        mean = jnp.mean(moved, axis=1, keepdims=True)
        deviation = jnp.sqrt(jnp.mean(jnp.square(moved - mean), axis=1, keepdims=True))
        offset = jnp.broadcast_to(first + mean, windows.shape).reshape(rows.shape)
        deviation = jnp.broadcast_to(deviation, windows.shape).reshape(rows.shape)
        return offset, jnp.maximum(deviation, self._scale)


class Scorer:
    """Scores windows with one detector, in one padded batch shape, on whatever device JAX has.

    Calls are synchronous: results are on the host before the call returns, so the caller may reuse its arrays at once.
    Not for several threads: calls share the memory in which batches are put together.
    """

    def __init__(self, detector: Detector, batch_rows: int) -> None:
        """Raises `ArtifactFormatError` where tensors don't fit the model or the score."""
        self.batch_rows = batch_rows
        self.window_shape = detector.window_shape
        length = detector.window.length
        self.compilations = 0
        network, state = autoencoder.load(detector.model, detector.shape, detector.parameters)
        scores.check_tensors(detector.score, detector.model, self.window_shape, detector.score_tensors)
        tensors = {name: jnp.asarray(tensor) for name, tensor in detector.score_tensors.items()}
        leaves, tree = jax.tree.flatten((state, tensors))
        self._arguments = () if sum(leaf.nbytes for leaf in leaves) <= MAX_CONSTANT_BYTES else tuple(leaves)
        kind = scores.KINDS[detector.score.kind]
        scaler = Scaler(detector.scaling, self.window_shape[0])
        several, channels = isinstance(detector.model, EnsembleSpec), self.window_shape[1]

        def run(arguments: tuple[jax.Array, ...], windows: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            self.compilations += 1  # runs when traced, never when called
            state, tensors = jax.tree.unflatten(tree, arguments or leaves)
            scaled, offset, scale = scaler(windows.reshape(windows.shape[0], -1))

            def score(state: State) -> tuple[jax.Array, jax.Array]:
                return kind.rows(Scaled(scaled.reshape(windows.shape), scaled, network, state, detector.score, tensors))

            if several:
                found, expected = jax.tree.map(lambda each: jnp.mean(each, axis=0), jax.vmap(score)(state))
            else:
                found, expected = score(state)
            squares = jnp.square(jnp.clip(scaled - expected, -FARTHEST, FARTHEST))[:, : length * channels]
            return found, (expected * scale + offset).reshape(windows.shape), jnp.sqrt(_by_channel(squares, channels))

        # Three programs: few windows are published with what was expected of them, and returning it for all takes a
        # third of the time. Nor are the errors of all looked at.
        self._scores = jax.jit(lambda arguments, windows: run(arguments, windows)[0])
        self._reconstructions = jax.jit(lambda arguments, windows: run(arguments, windows)[1])
        self._errors = jax.jit(lambda arguments, windows: run(arguments, windows)[2])
        self._staged = {rows: aligned_empty((rows, *self.window_shape)) for rows in {batch_rows, self._few}}
        for staged in self._staged.values():
            staged.fill(0)

    @property
    def _few(self) -> int:
        """Rows of a batch of reconstructions."""
        return min(self.batch_rows, RECONSTRUCTED_ROWS)

    def warm_up(self, *, errors: bool = False) -> None:
        """Compiles the programs: that of the errors only where it will be called."""
        self(self._staged[self.batch_rows])
        self.reconstruct(self._staged[self._few])
        if errors:
            self.errors(self._staged[self._few])

    def __call__(self, windows: Float32Array) -> Float32Array:
        """Scores any number of windows, `batch_rows` at a time.

        Args:
            windows: (n, length, channels) float32, in the data's own unit.

        Returns:
            scores (n,): by the detector's `ScoreSpec`, >= 0, finite; NaN where the window holds a NaN.
        """
        self._check(windows)
        found = np.empty(len(windows), np.float32)
        for rows, batch in self._batches(windows, self.batch_rows):
            np.minimum(np.asarray(self.dispatch(batch))[: len(found[rows])], HIGHEST, out=found[rows])
        if (nan := np.isnan(found)).any():
            # A missing number makes no score. A finite window that the network could not follow is anomalous.
            found[nan] = np.where(np.isfinite(windows[nan]).all(axis=(1, 2)), HIGHEST, np.nan)
        return found

    def reconstruct(self, windows: Float32Array) -> Float32Array:
        """What was expected instead of the windows, both (n, length, channels) float32 in the data's own unit.

        It belongs to the windows' scores up to a few 1e-7: another program makes it, in batches of its own.
        """
        self._check(windows)
        found = np.empty(windows.shape, np.float32)
        for rows, batch in self._batches(windows, self._few):
            found[rows] = np.asarray(self._reconstructions(self._arguments, batch))[: len(found[rows])]
        return found

    def errors(self, windows: Float32Array) -> Float32Array:
        """How far each channel of the windows (n, length, channels) is from what was expected, (n, channels).

        Root mean squares over the window of the scaled differences, finite; NaN where the window holds a NaN. They
        belong to the windows' scores up to a few 1e-7, as what `reconstruct` returns.
        """
        self._check(windows)
        found = np.empty((len(windows), self.window_shape[1]), np.float32)
        for rows, batch in self._batches(windows, self._few):
            found[rows] = np.asarray(self._errors(self._arguments, batch))[: len(found[rows])]
        return found

    def dispatch(self, windows: Float32Array) -> jax.Array:
        """The compiled function alone: scores of a whole batch (batch_rows, length, channels), left on the device."""
        found: jax.Array = self._scores(self._arguments, windows)
        return found

    def _check(self, windows: Float32Array) -> None:
        if windows.dtype != np.float32 or not windows.ndim or windows.shape[1:] != self.window_shape:
            raise ValueError(f"windows are {windows.dtype} {windows.shape}, expected float32 (n, *{self.window_shape})")

    def _batches(self, windows: Float32Array, size: int) -> Iterator[tuple[slice, Float32Array]]:
        """The windows in batches of `size` rows, the last one padded, and where each lies; valid until the next."""
        staged = self._staged[size]
        for start in range(0, len(windows), size):
            batch = windows[start : start + size]
            if len(batch) < size or not is_aligned(batch):
                staged[: len(batch)] = batch
                batch = staged
            yield slice(start, min(start + size, len(windows))), batch


def _by_channel(rows: jax.Array, channels: int) -> jax.Array:
    """Means over the samples, of flat rows (rows, length * channels): (rows, channels)."""
    length = rows.shape[1] // channels
    if rows.shape[1] * channels > MAX_AVERAGED:
        return jnp.mean(rows.reshape(rows.shape[0], length, channels), axis=1)
    return rows @ np.tile(np.eye(channels, dtype=np.float32) / length, (length, 1))
