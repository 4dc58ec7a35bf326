"""One compiled function gives every score there is: trainer, replay and daemon call it with the same shape.

Within one executable a row's score does not depend on the other rows (NaN included) nor on where it stands; across
batch shapes it moves by a few 1e-7. So there is one shape, `(batch_rows, length, channels)`, and short batches are
padded. A higher score is more anomalous.
"""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from monitor.detector import autoencoder
from monitor.detector.spec import ModelSpec, ScalingSpec, ScoreSpec

Float32Array = NDArray[np.float32]

# A mean of huge errors overflows; what can't be counted is still over every threshold, and JSON has no infinity.
HIGHEST = np.finfo(np.float32).max

# Further from the training data than anything measured, and near enough that no layer overflows: what is finite gets a
# finite score.
FARTHEST = 1e15


class Scorer:
    """Scores windows with one model, in one padded batch shape, on whatever device JAX has.

    Calls are synchronous: results are on the host before the call returns, so the caller may reuse its arrays at once
    (JAX on CPU may alias a NumPy buffer after dispatch).
    """

    def __init__(
        self,
        model: ModelSpec,
        scaling: ScalingSpec,
        score: ScoreSpec,
        parameters: autoencoder.Parameters,
        *,
        window_shape: tuple[int, int],
        batch_rows: int,
    ) -> None:
        if score.kind != "mae":
            raise ValueError(f"score kind {score.kind!r} is not known")
        self.batch_rows = batch_rows
        self.window_shape = window_shape
        self.compilations = 0
        reconstruct, self._state = autoencoder.load(model, window_shape, parameters)
        # Flat, one row a window: with the channels as a last axis of their own, of one element at worst, XLA's code for
        # the scaling and the mean takes three times as long as the network.
        length = window_shape[0]
        offset = jnp.tile(jnp.asarray(scaling.offset, dtype=jnp.float32), length)[None]
        scale = jnp.tile(jnp.asarray(scaling.scale, dtype=jnp.float32), length)[None]
        self._padded = np.zeros((batch_rows, *window_shape), dtype=np.float32)

        def run(state: autoencoder.State, windows: jax.Array) -> tuple[jax.Array, jax.Array]:
            self.compilations += 1  # runs when traced, never when called
            scaled = (windows.reshape(batch_rows, -1) - offset) / scale
            scaled = jnp.clip(scaled, -FARTHEST, FARTHEST)
            reconstruction = reconstruct(state, scaled.reshape(windows.shape)).reshape(scaled.shape)
            scores = jnp.mean(jnp.abs(scaled - reconstruction), axis=1)
            return scores, (reconstruction * scale + offset).reshape(windows.shape)

        self._run = jax.jit(run)

    def warm_up(self) -> None:
        """Compiles the one shape."""
        self(self._padded)

    def __call__(self, windows: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Scores any number of windows, `batch_rows` at a time.

        Args:
            windows: (n, length, channels) float32, in the data's own unit.

        Returns:
            scores (n,): mean absolute error in scaled units, >= 0, finite; NaN where the window holds a NaN.
            reconstructions (n, length, channels), in the data's own unit.
        """
        if windows.dtype != np.float32 or windows.shape[1:] != self.window_shape:
            raise ValueError(f"windows are {windows.dtype} {windows.shape}, expected float32 (n, *{self.window_shape})")
        parts = list(self._batches(windows))
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return np.empty(0, np.float32), np.empty((0, *self.window_shape), np.float32)
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _batches(self, windows: Float32Array) -> Iterator[tuple[Float32Array, Float32Array]]:
        for start in range(0, len(windows), self.batch_rows):
            rows = windows[start : start + self.batch_rows]
            count = len(rows)
            if count < self.batch_rows:
                self._padded[:count] = rows
                rows = self._padded
            scores, reconstructions = jax.device_get(self._run(self._state, rows))
            yield np.minimum(scores[:count], HIGHEST), reconstructions[:count]
