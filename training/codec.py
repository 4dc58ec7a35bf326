"""An autoencoder's two halves by themselves: windows to codes, codes to windows, and windows drawn from the prior.

Rules of this file: windows are in the data's own unit, scaled as the daemon scales them. Of an ensemble the first
member encodes and decodes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import jax
import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.detector import autoencoder
from monitor.detector.architectures import VariationalSpec, single
from monitor.detector.arrays import Float32Array
from monitor.detector.scoring import Detector, Scaler
from monitor.errors import DataError
from training.fitting import reconstructing


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """`values` (n, code); `offset` and `scale` (n, channels) undo the scaling of each window."""

    values: Float32Array
    offset: Float32Array
    scale: Float32Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """Numbers of a window over numbers kept for it, and what decoding loses: root mean square and mean absolute error,
    in the data's unit, and the share of the windows' variance that is kept (all channels together).
    """

    ratio: float
    rmse: float
    mae: float
    explained: float


def digest(detector: Detector) -> NDArray[np.uint8]:
    """The SHA-256 digest of the network and its scaling, (32,) bytes; it does not depend on the threshold."""
    found = hashlib.sha256(msgspec.json.encode([detector.model, detector.scaling, detector.shape.window]))
    for name in sorted(detector.parameters):
        found.update(name.encode() + np.ascontiguousarray(detector.parameters[name]).tobytes())
    return np.frombuffer(found.digest(), dtype=np.uint8)


def encode(detector: Detector, windows: Float32Array) -> Codes:
    """Codes of windows (n, length, channels); NaN in a window gives a NaN code."""
    channels = windows.shape[2]
    scaler = Scaler(detector.scaling, windows.shape[1])
    rows = windows.reshape(len(windows), windows.shape[1] * channels)
    found = jax.jit(scaler)(rows)
    scaled, offset, scale = (np.broadcast_to(np.asarray(part), rows.shape) for part in found)
    values = reconstructing.codes(detector.model, detector.shape, detector.parameters, scaled.reshape(windows.shape))
    return Codes(values=values, offset=offset[:, :channels].copy(), scale=scale[:, :channels].copy())


def decode(detector: Detector, codes: Codes) -> Float32Array:
    """Windows (n, length, channels) that codes stand for.

    Raises:
        DataError: the codes are not this model's.
    """
    size, channels = autoencoder.code_size(detector.model, detector.shape), len(detector.channels)
    if codes.values.ndim != 2 or codes.values.shape[1] != size:
        raise DataError(f"codes of shape {codes.values.shape}; this model's are (n, {size}): encode with it first")
    if codes.offset.shape != (len(codes.values), channels) or codes.scale.shape != codes.offset.shape:
        raise DataError(f"offset {codes.offset.shape} and scale {codes.scale.shape} of codes; expected (n, {channels})")
    scaled = reconstructing.decoded(detector.model, detector.shape, detector.parameters, codes.values)
    return np.asarray(scaled * codes.scale[:, None] + codes.offset[:, None], dtype=np.float32)


def sample(detector: Detector, count: int, seed: int) -> Float32Array:
    """Windows (count, length, channels) decoded from codes drawn from the prior.

    Raises:
        DataError: the model has no prior.
    """
    if not isinstance(single(detector.model), VariationalSpec):
        raise DataError("only a variational autoencoder can be sampled: train with a recipe whose model is variational")
    if detector.scaling.kind == "window":
        raise DataError(
            "windows scaled by their own moments have no level of their own: sampling needs another scaling"
        )
    drawn = np.random.default_rng(seed).normal(size=(count, autoencoder.code_size(detector.model, detector.shape)))
    return decode(detector, plain_codes(detector, drawn.astype(np.float32)))


def plain_codes(detector: Detector, values: Float32Array) -> Codes:
    """Codes (n, code) that no window gave, with the scaling of all windows; not for scaling by single windows."""
    offset, scale = (np.asarray(part, dtype=np.float32) for part in (detector.scaling.offset, detector.scaling.scale))
    return Codes(values=values, offset=np.tile(offset, (len(values), 1)), scale=np.tile(scale, (len(values), 1)))


def compression(detector: Detector, windows: Float32Array) -> Compression:
    """What encoding and decoding complete windows costs and saves."""
    codes = encode(detector, windows)
    kept = codes.values.shape[1] + (2 * windows.shape[2] if detector.scaling.kind == "window" else 0)
    apart = windows.astype(np.float64) - decode(detector, codes)
    about = windows.astype(np.float64) - windows.mean(axis=(0, 1), dtype=np.float64)
    spread = float(np.square(about).sum())
    return Compression(
        ratio=windows.shape[1] * windows.shape[2] / kept,
        rmse=float(np.sqrt(np.square(apart).mean())),
        mae=float(np.abs(apart).mean()),
        explained=1 - float(np.square(apart).sum()) / spread if spread else float(not apart.any()),
    )
