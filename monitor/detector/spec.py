"""What an artifact says about itself: frozen, typed, refused when unknown.

Rules of this file: whatever changes a *score* or which samples make a *window* is here, and nowhere else. The JSON form
is specified in FORMAT.md.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Literal

import msgspec

from monitor.errors import ArtifactFormatError

FORMAT = "telltale-artifact"
FORMAT_VERSION = 1

# Bounds checked before anything is allocated. A window of 1 M numbers in a batch of one row is 4 MiB.
MAX_WINDOW_LENGTH = 100_000
MAX_CHANNELS = 1_024
MAX_WINDOW_NUMBERS = 1_000_000
MAX_LAYER_WIDTH = 65_536
MAX_LAYERS = 64
MAX_BATCH_ROWS = 65_536
MAX_BATCH_NUMBERS = 100_000_000
MIN_FLOAT32, MAX_FLOAT32 = 1.1754943508222875e-38, 3.4028234663852886e38


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every part of the manifest."""


class Channel(Spec, frozen=True):
    """One number of a sample. `unit` is for people."""

    name: str
    unit: str = ""


class WindowSpec(Spec, frozen=True):
    """How a series is cut.

    `record`: each record is one window of `length` samples. `sliding`: `length` samples every `hop` samples, aligned
    to the series' own sample index. A gap of event time over `max_gap_ms` starts the series afresh. A window with a
    share of missing numbers over `max_missing_ratio` is unscorable; under it they are filled along time, linearly.
    """

    kind: Literal["record", "sliding"]
    length: int
    hop: int
    sampling_rate_hz: float | None = None
    max_gap_ms: float | None = None
    max_missing_ratio: float = 0.0
    fill: Literal["linear"] = "linear"


class ScalingSpec(Spec, frozen=True):
    """Affine scaling per channel: `(x - offset) / scale`. `kind` says how it was fitted."""

    kind: Literal["none", "minmax_global", "minmax", "standard"]
    offset: tuple[float, ...]
    scale: tuple[float, ...]


class DenseSpec(Spec, frozen=True, tag="dense", tag_field="kind"):
    """Fully connected autoencoder: widths of the encoder, the last being the bottleneck; the decoder mirrors them.

    `hidden` activates every layer but the last, `output` the last.
    """

    widths: tuple[int, ...]
    hidden: Literal["relu", "tanh", "gelu", "linear"] = "relu"
    output: Literal["sigmoid", "linear"] = "sigmoid"


ModelSpec = DenseSpec


class ScoreSpec(Spec, frozen=True):
    """`mae`: mean absolute difference of window and reconstruction, both scaled."""

    kind: Literal["mae"] = "mae"


class ThresholdSpec(Spec, frozen=True):
    """The line, and how it was chosen: `mean_std` on the training errors, or `quantile` of held-out normal windows."""

    value: float
    method: Literal["mean_std", "quantile", "given"]
    parameters: dict[str, float] = {}


class CalibrationSpec(Spec, frozen=True):
    """Scores of normal windows: `quantiles` is a table of (probability, score), both increasing."""

    windows: int
    held_out: bool
    mean: float
    std: float
    quantiles: tuple[tuple[float, float], ...]


class Manifest(Spec, frozen=True):
    """Everything about an artifact but its tensors."""

    name: str
    version: str
    created: str
    window: WindowSpec
    channels: tuple[Channel, ...]
    scaling: ScalingSpec
    model: ModelSpec
    score: ScoreSpec
    batch_rows: int
    threshold: ThresholdSpec
    calibration: CalibrationSpec
    training: dict[str, Any] = {}

    @property
    def window_shape(self) -> tuple[int, int]:
        """(length, channels)"""
        return self.window.length, len(self.channels)


def check(manifest: Manifest) -> None:
    """Refuses what can't be served.

    Raises:
        ArtifactFormatError: all problems at once.
    """
    problems = [*_window_problems(manifest), *_number_problems(manifest)]
    if problems:
        raise ArtifactFormatError("manifest: " + "; ".join(problems))


def _window_problems(manifest: Manifest) -> list[str]:
    window, channels, problems = manifest.window, len(manifest.channels), []
    if not 1 <= window.length <= MAX_WINDOW_LENGTH:
        problems.append(f"window.length is {window.length}, must be 1 to {MAX_WINDOW_LENGTH}")
    if not 1 <= channels <= MAX_CHANNELS:
        problems.append(f"{channels} channels, must be 1 to {MAX_CHANNELS}")
    if window.length * channels > MAX_WINDOW_NUMBERS:
        problems.append(f"a window of {window.length} x {channels} numbers is over {MAX_WINDOW_NUMBERS}")
    if not 1 <= window.hop <= MAX_WINDOW_LENGTH:
        problems.append(f"window.hop is {window.hop}, must be 1 to {MAX_WINDOW_LENGTH}")
    if not 0 <= window.max_missing_ratio < 1:
        problems.append(f"window.max_missing_ratio is {window.max_missing_ratio}, must be in [0, 1)")
    for name in ("sampling_rate_hz", "max_gap_ms"):
        number = getattr(window, name)
        if number is not None and not (math.isfinite(number) and number > 0):
            problems.append(f"window.{name} is {number}, must be positive")
    names = [channel.name for channel in manifest.channels]
    if len(set(names)) != len(names) or not all(names):
        problems.append(f"channel names must differ and not be empty: {names}")
    for part in (manifest.scaling.offset, manifest.scaling.scale):
        if len(part) != channels:
            problems.append(f"scaling holds {len(part)} numbers for {channels} channels")
    return problems


def _number_problems(manifest: Manifest) -> list[str]:
    problems = []
    scaling, widths, quantiles = manifest.scaling, manifest.model.widths, manifest.calibration.quantiles
    if not all(map(_served, scaling.offset)) or not all(s > 0 and _served(s) for s in scaling.scale):
        problems.append("scaling must be finite in float32, with positive scales")
    if not 1 <= len(widths) <= MAX_LAYERS or not all(1 <= width <= MAX_LAYER_WIDTH for width in widths):
        problems.append(f"model.widths must be 1 to {MAX_LAYERS} numbers from 1 to {MAX_LAYER_WIDTH}")
    if not 1 <= manifest.batch_rows <= MAX_BATCH_ROWS:
        problems.append(f"batch_rows is {manifest.batch_rows}, must be 1 to {MAX_BATCH_ROWS}")
    elif manifest.batch_rows > 1 and manifest.batch_rows * math.prod(manifest.window_shape) > MAX_BATCH_NUMBERS:
        problems.append(f"a batch of {manifest.batch_rows} windows holds over {MAX_BATCH_NUMBERS} numbers")
    if not (manifest.threshold.value > 0 and _served(manifest.threshold.value)):
        problems.append(f"threshold.value is {manifest.threshold.value}, must be positive in float32")
    flat = [number for pair in quantiles for number in pair]
    rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(quantiles))
    if len(quantiles) < 2 or not all(map(math.isfinite, flat)) or not rising:
        problems.append("calibration.quantiles must be at least two increasing (probability, score) pairs")
    return problems


def _served(number: float) -> bool:
    """Whether float32, in which everything is served, can hold `number`: finite, and not 0 unless it is 0."""
    return number == 0 or MIN_FLOAT32 <= abs(number) <= MAX_FLOAT32
