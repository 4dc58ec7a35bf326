"""One compiled function gives every score there is: trainer, replay and daemon call it with the same shape.

Within one executable a row's score does not depend on the other rows (NaN included) nor on where it stands; across
batch shapes it moves by a few 1e-7. So there is one shape, `(batch_rows, length, channels)`, and short batches are
padded. A higher score is more anomalous.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from monitor.arrays import Float32Array
from monitor.detector import autoencoder, scores
from monitor.detector.architectures import EnsembleSpec, ModelSpec
from monitor.detector.autoencoder import Parameters, State
from monitor.detector.scores import FARTHEST
from monitor.detector.spec import ScalingSpec, ScoreSpec, WindowSpec

Numbers = jax.Array | Float32Array

# A mean of huge errors overflows; what can't be counted is still over every threshold, and JSON has no infinity.
HIGHEST = np.finfo(np.float32).max


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

    Calls are synchronous: results are on the host before the call returns, so the caller may reuse its arrays at once
    (JAX on CPU may alias a NumPy buffer after dispatch).
    """

    def __init__(self, detector: Detector, batch_rows: int) -> None:
        """Raises `ArtifactFormatError` where tensors don't fit the model or the score."""
        self.batch_rows = batch_rows
        self.window_shape = detector.shape.window
        self.compilations = 0
        network, self._state = autoencoder.load(detector.model, detector.shape, detector.parameters)
        size = self.window_shape[0] * self.window_shape[1]
        scores.check_tensors(detector.score, size, detector.score_tensors)
        self._tensors = {name: jnp.asarray(tensor) for name, tensor in detector.score_tensors.items()}
        self._padded = np.zeros((batch_rows, *self.window_shape), dtype=np.float32)
        scaler = Scaler(detector.scaling, self.window_shape[0])
        several = isinstance(detector.model, EnsembleSpec)

        def run(state: State, tensors: scores.Tensors, windows: jax.Array) -> tuple[jax.Array, jax.Array]:
            self.compilations += 1  # runs when traced, never when called
            scaled, offset, scale = scaler(windows.reshape(batch_rows, -1))

            def score(state: State) -> tuple[jax.Array, jax.Array]:
                return scores.score_rows(detector.score, network, state, tensors, scaled.reshape(windows.shape))

            if several:
                found, expected = jax.tree.map(lambda each: jnp.mean(each, axis=0), jax.vmap(score)(state))
            else:
                found, expected = score(state)
            return found, (expected * scale + offset).reshape(windows.shape)

        self._run = jax.jit(run)

    def warm_up(self) -> None:
        """Compiles the one shape."""
        self(self._padded)

    def __call__(self, windows: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Scores any number of windows, `batch_rows` at a time.

        Args:
            windows: (n, length, channels) float32, in the data's own unit.

        Returns:
            scores (n,): by the detector's `ScoreSpec`, >= 0, finite; NaN where the window holds a NaN.
            reconstructions (n, length, channels): what was expected, in the data's own unit.
        """
        if windows.dtype != np.float32 or windows.shape[1:] != self.window_shape:
            raise ValueError(f"windows are {windows.dtype} {windows.shape}, expected float32 (n, *{self.window_shape})")
        parts = list(self._batches(windows))
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return np.empty(0, np.float32), np.empty((0, *self.window_shape), np.float32)
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def dispatch(self, windows: Float32Array) -> tuple[jax.Array, jax.Array]:
        """The compiled function alone, on a whole batch (batch_rows, length, channels); results stay on the device."""
        scores, reconstructions = self._run(self._state, self._tensors, windows)
        return scores, reconstructions

    def _batches(self, windows: Float32Array) -> Iterator[tuple[Float32Array, Float32Array]]:
        for start in range(0, len(windows), self.batch_rows):
            rows = windows[start : start + self.batch_rows]
            count = len(rows)
            if count < self.batch_rows:
                self._padded[:count] = rows
                rows = self._padded
            found, expected = jax.device_get(self.dispatch(rows))
            found = np.minimum(found[:count], HIGHEST)
            if (lost := np.isnan(found)).any():
                # A missing number makes no score. A finite window that the network could not follow is anomalous.
                followed = np.isfinite(windows[start : start + count]).all(axis=(1, 2))
                found = np.where(lost & followed, HIGHEST, found)
            yield found, expected[:count]
