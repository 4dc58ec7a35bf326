"""What an artifact says about itself: frozen, typed, refused when unknown.

Rules of this file: whatever changes a *score* or which samples make a *window* is here, and nowhere else. The JSON form
is specified in FORMAT.md.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Literal

import msgspec

from monitor.detector import architectures
from monitor.detector.architectures import ModelSpec
from monitor.errors import ArtifactFormatError

FORMAT = "telltale-artifact"
KNOWN_VERSIONS = (1, 2, 3, 4, 5, 6)
# What is written, unless the manifest holds what came later: who does not know that must refuse.
FORMAT_VERSION = 2
LEVELS_VERSION = 3
QUALITY_VERSION = 4
FILLING_VERSION = 5
DETECTORS_VERSION = 6
DETECTORS_SCALINGS = {"centre"}
DETECTORS_SCORES = {"memory", "nearest_code", "worst_channels"}

# Bounds checked before anything is allocated. A window of 1 M numbers in a batch of one row is 4 MiB.
MAX_WINDOW_LENGTH = 100_000
MAX_CHANNELS = 1_024
MAX_WINDOW_NUMBERS = 1_000_000
MAX_BATCH_ROWS = 65_536
MAX_BATCH_NUMBERS = 100_000_000
MAX_SMOOTHED = 100
MAX_CALIBRATION_SERIES = 10_000
MAX_TEMPLATE_BEATS = 31**2
MAX_MEMORY_MS = 20 * 86_400_000
MIN_FLOAT32, MAX_FLOAT32 = 1.1754943508222875e-38, 3.4028234663852886e38


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section of the manifest."""


class Channel(Spec, frozen=True):
    """One number of a sample. `unit` is for people; `level` is subtracted first, in float64: see `levels`."""

    name: str
    unit: str = ""
    level: float = 0.0

    @property
    def scored(self) -> str:
        """What its numbers are called as they are scored and kept: "tank less 18228934.0" where there is a level."""
        return f"{self.name} less {self.level!r}" if self.level else self.name


class WindowSpec(Spec, frozen=True):
    """How a series is cut; `kind` is a row of `windowing.KINDS`.

    `record`: each record is one window of `length` samples. `sliding`: `length` samples every `hop` samples, aligned
    to the series' own sample index. A gap of event time over `max_gap_ms` restarts the series. Windows with a share of
    missing numbers up to `max_missing_ratio` were trained on, filled along time; see `imputing`. `max_hold_ms`: a
    number that is missing is the channel's last one, if that is no older. `gap_fill`: what stands for the samples of a
    gap up to `max_gap_ms` in a series of `sampling_rate_hz`; see `filling`.
    `beats`: about each heartbeat that is found in the first channel, `before` of `length` samples before it. With
    `template_beats` a window also holds the series' own template, a median of that many first beats, their spread, and
    how early the beat came: `length + 2` more rows; see `beats.windower`.
    `image_shape` (height, width): the window is an image, read row by row, with the channels as its colours.
    """

    kind: str
    length: int
    hop: int
    sampling_rate_hz: float | None = None
    max_gap_ms: float | None = None
    max_missing_ratio: float = 0.0
    fill: Literal["linear"] = "linear"
    image_shape: tuple[int, int] | None = None
    max_hold_ms: float | None = None
    gap_fill: Literal["none", "previous", "interpolate"] = "none"
    before: int = 0
    template_beats: int = 0

    @property
    def rows(self) -> int:
        """How many rows a window has as it is scored: its samples, and what else it holds."""
        return self.length + (self.length + 2 if self.template_beats else 0)


class ScalingSpec(Spec, frozen=True):
    """Affine scaling per channel: `(x - offset) / scale`. `kind` says how it was fitted.

    `centre`: less each channel's mean, over one scale for all channels that move.
    `window`: each window by its own mean and standard deviation per channel, and `scale` is the least deviation that is
    divided by, so that a flat window stays finite (`offset` is not used).
    """

    kind: Literal["none", "minmax_global", "minmax", "standard", "robust", "window", "centre"]
    offset: tuple[float, ...]
    scale: tuple[float, ...]


class SmoothingSpec(Spec, frozen=True):
    """A series' score is the mean of its last `windows` scored windows; `usual` stands for each that it has not had."""

    windows: int
    usual: float


class ScoreSpec(Spec, frozen=True):
    """What makes a score of a window and its reconstruction, both scaled; `kind` is a row of `scores.KINDS`.

    `mae`, `mse`: mean absolute or squared difference. `whitened`: squared Mahalanobis length of the residual over its
    size, by the residuals' mean and covariance on calibration windows. `prototype`: root mean square distance to the
    nearest of a set of k-means centres of normal windows. `elbo`: `mse` plus `beta` times the divergence of the code's
    distribution from the prior, over the window's size (variational models only). `memory`: sqrt(r (r + d)), where r is
    `mse` and d the squared distance of the code to the nearest of those stored, over the window's size (linear models
    only); `nearest_code`: sqrt(r + d). `worst_channels`: the mean, over the `worst` channels, of each one's root mean
    square error over its usual one.
    """

    kind: str = "mae"
    beta: float = 1.0
    worst: int = 4
    smoothing: SmoothingSpec | None = None


class FollowSpec(Spec, frozen=True):
    """How a threshold follows its series' own scores: over their `quantile` of the last `memory_ms` of event time.

    See `following`.
    """

    quantile: float = 0.95
    memory_ms: int = 86_400_000


class ThresholdSpec(Spec, frozen=True):
    """The threshold, and how it was chosen.

    `series`: thresholds of single series by name; others, unseen ones too, have `value`. `parameters` are the method's
    own. `follows`: None, where all stay as they are.
    """

    value: float
    method: Literal["mean_std", "quantile", "budget", "pot", "conformal", "oracle", "given"]
    parameters: dict[str, float] = {}
    series: dict[str, float] = {}
    follows: FollowSpec | None = None


class TailSpec(Spec, frozen=True):
    """A generalised Pareto distribution of the scores' excess over `start`: peaks over threshold.

    `share` of all calibration windows is over `start`, in `peaks` separate clusters.
    """

    start: float
    shape: float
    scale: float
    share: float
    peaks: int


class CalibrationSpec(Spec, frozen=True):
    """Scores of normal windows: `quantiles` is a table of (probability, score), both increasing.

    `windows_per_day`: how many windows a series gives in a day, where it is known. `series` names the rows of the
    tensor `calibration/series_quantiles` (series, probabilities), in the table's probabilities. `channel_errors` is how
    far each channel usually is from what is expected, root mean square, scaled; empty where it is not known.
    """

    windows: int
    held_out: bool
    mean: float
    std: float
    quantiles: tuple[tuple[float, float], ...]
    windows_per_day: float | None = None
    tail: TailSpec | None = None
    series: tuple[str, ...] = ()
    channel_errors: tuple[float, ...] = ()


class ChannelQuality(Spec, frozen=True):
    """A channel in normal data, as it was learnt from.

    `lowest` and `highest` are in its own unit, as are `low` and `high`, beyond which 5 % of its numbers lie each (None:
    not known). `longest_run` is the most equal values in a row, `longest_missing` the most missing numbers in a row;
    `missing` is the share of those.
    """

    lowest: float
    highest: float
    longest_run: int
    longest_missing: int = 0
    missing: float = 0.0
    low: float | None = None
    high: float | None = None


class QualitySpec(Spec, frozen=True):
    """What `samples` normal samples say of the channels, in their order: what checks of samples go by."""

    samples: int
    channels: tuple[ChannelQuality, ...]


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
    quality: QualitySpec | None = None

    @property
    def window_shape(self) -> tuple[int, int]:
        """(rows, channels) of a window as it is scored."""
        return self.window.rows, len(self.channels)

    @property
    def modelled_shape(self) -> tuple[int, int]:
        """(length, channels) of what the model reconstructs."""
        return self.window.length, len(self.channels)

    @property
    def format_version(self) -> int:
        """The version that an artifact with this manifest is written in."""
        window, score = self.window, self.score
        of_6 = self.scaling.kind in DETECTORS_SCALINGS or score.kind in DETECTORS_SCORES or score.smoothing is not None
        if of_6 or self.calibration.channel_errors or window.before or window.template_beats:
            return DETECTORS_VERSION
        if self.threshold.follows is not None:
            return DETECTORS_VERSION
        if self.window.max_hold_ms is not None or self.window.gap_fill != "none":
            return FILLING_VERSION
        if self.quality is not None:
            return QUALITY_VERSION
        return LEVELS_VERSION if any(channel.level for channel in self.channels) else FORMAT_VERSION


def check(manifest: Manifest) -> None:
    """Refuses what can't be served.

    Raises:
        ArtifactFormatError: all problems at once.
    """
    problems = [*_window_problems(manifest), *_model_problems(manifest), *_number_problems(manifest)]
    problems += [*_calibration_problems(manifest), *_quality_problems(manifest)]
    if problems:
        raise ArtifactFormatError("manifest: " + "; ".join(problems))


def _window_problems(manifest: Manifest) -> list[str]:
    window, channels, problems = manifest.window, len(manifest.channels), []
    if not 1 <= window.length <= MAX_WINDOW_LENGTH:
        problems.append(f"window.length is {window.length}, must be 1 to {MAX_WINDOW_LENGTH}")
    if not 1 <= channels <= MAX_CHANNELS:
        problems.append(f"{channels} channels, must be 1 to {MAX_CHANNELS}")
    if window.rows * channels > MAX_WINDOW_NUMBERS:
        problems.append(f"a window of {window.rows} x {channels} numbers is over {MAX_WINDOW_NUMBERS}")
    if not 1 <= window.hop <= MAX_WINDOW_LENGTH:
        problems.append(f"window.hop is {window.hop}, must be 1 to {MAX_WINDOW_LENGTH}")
    if not 0 <= window.max_missing_ratio < 1:
        problems.append(f"window.max_missing_ratio is {window.max_missing_ratio}, must be in [0, 1)")
    problems += [*_event_problems(window), *filling_problems(window)]
    for name in ("sampling_rate_hz", "max_gap_ms", "max_hold_ms"):
        number = getattr(window, name)
        if number is not None and not (math.isfinite(number) and number > 0):
            problems.append(f"window.{name} is {number}, must be positive")
    if window.image_shape is not None and math.prod(window.image_shape) != window.length:
        problems.append(f"window.image_shape is {window.image_shape}, but a window has {window.length} samples")
    names = [channel.name for channel in manifest.channels]
    if len(set(names)) != len(names) or not all(names):
        problems.append(f"channel names must differ and not be empty: {names}")
    if not all(math.isfinite(channel.level) for channel in manifest.channels):
        problems.append("channels' levels must be finite")
    for part in (manifest.scaling.offset, manifest.scaling.scale):
        if len(part) != channels:
            problems.append(f"scaling holds {len(part)} numbers for {channels} channels")
    return problems


def _event_problems(window: WindowSpec) -> list[str]:
    problems = []
    if not 0 <= window.before < window.length:
        problems.append(f"window.before is {window.before}, must be 0 or more, and less than window.length")
    if not is_odd_square(window.template_beats) or window.template_beats > MAX_TEMPLATE_BEATS:
        problems.append(
            f"window.template_beats is {window.template_beats}, must be 0 or the square of an odd number, at most "
            f"{MAX_TEMPLATE_BEATS}"
        )
    return problems


def is_odd_square(number: int) -> bool:
    """Whether it is 0, or the square of an odd number."""
    return number == 0 or (number > 0 and number % 2 == 1 and math.isqrt(number) ** 2 == number)


def filling_problems(window: WindowSpec) -> list[str]:
    """What keeps the gaps from being filled that are to be filled."""
    rate_hz, gap_ms = window.sampling_rate_hz, window.max_gap_ms
    if window.gap_fill == "none" or (
        rate_hz and gap_ms and rate_hz * gap_ms / 1000 <= window.length and window.length > 1
    ):
        return []
    needs = "window.sampling_rate_hz and window.max_gap_ms, of at most as many samples as a window has, two at least"
    return [f'window.gap_fill "{window.gap_fill}" needs {needs}']


def _model_problems(manifest: Manifest) -> list[str]:
    problems = architectures.problems(manifest.model, manifest.modelled_shape, manifest.window.image_shape)
    if not (math.isfinite(manifest.score.beta) and manifest.score.beta >= 0):
        problems.append(f"score.beta is {manifest.score.beta}, must be 0 or more")
    if not 1 <= manifest.score.worst <= MAX_CHANNELS:
        problems.append(f"score.worst is {manifest.score.worst}, must be 1 to {MAX_CHANNELS}")
    smoothing = manifest.score.smoothing
    if smoothing is not None and not 2 <= smoothing.windows <= MAX_SMOOTHED:
        problems.append(f"score.smoothing.windows is {smoothing.windows}, must be 2 to {MAX_SMOOTHED}")
    if smoothing is not None and not (smoothing.usual >= 0 and _served(smoothing.usual)):
        problems.append(f"score.smoothing.usual is {smoothing.usual}, must be 0 or more in float32")
    return problems


def _number_problems(manifest: Manifest) -> list[str]:
    problems = []
    scaling, quantiles = manifest.scaling, manifest.calibration.quantiles
    if not all(map(_served, scaling.offset)) or not all(s > 0 and _served(s) for s in scaling.scale):
        problems.append("scaling must be finite in float32, with positive scales")
    if not 1 <= manifest.batch_rows <= MAX_BATCH_ROWS:
        problems.append(f"batch_rows is {manifest.batch_rows}, must be 1 to {MAX_BATCH_ROWS}")
    elif manifest.batch_rows > 1 and manifest.batch_rows * math.prod(manifest.window_shape) > MAX_BATCH_NUMBERS:
        problems.append(f"a batch of {manifest.batch_rows} windows holds over {MAX_BATCH_NUMBERS} numbers")
    if not (manifest.threshold.value > 0 and _served(manifest.threshold.value)):
        problems.append(f"threshold.value is {manifest.threshold.value}, must be positive in float32")
    possible = all(0 <= probability <= 1 and math.isfinite(score) for probability, score in quantiles)
    rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(quantiles))
    if len(quantiles) < 2 or not possible or not rising:
        problems.append(
            "calibration.quantiles must be at least two increasing (probability, score) pairs, of probabilities in "
            "[0, 1] and finite scores"
        )
    return problems


def _calibration_problems(manifest: Manifest) -> list[str]:
    calibration, thresholds, problems = manifest.calibration, manifest.threshold.series, []
    follows = manifest.threshold.follows
    if follows is not None and not (0 < follows.quantile < 1 and 1_000 <= follows.memory_ms <= MAX_MEMORY_MS):
        problems.append(
            f"threshold.follows: quantile {follows.quantile} must be in (0, 1), memory_ms {follows.memory_ms} 1000 to "
            f"{MAX_MEMORY_MS}"
        )
    if not all(name and value > 0 and _served(value) for name, value in thresholds.items()):
        problems.append("threshold.series must be named thresholds, each positive in float32")
    if calibration.windows < 1:
        problems.append(f"calibration.windows is {calibration.windows}, must be 1 or more")
    if not math.isfinite(calibration.mean) or not 0 <= calibration.std < math.inf:
        problems.append(
            f"calibration.mean is {calibration.mean} and calibration.std {calibration.std}, must be finite, and the "
            "latter 0 or more"
        )
    rate, tail, names = calibration.windows_per_day, calibration.tail, calibration.series
    if rate is not None and not 0 < rate < math.inf:
        problems.append(f"calibration.windows_per_day is {rate}, must be positive")
    if len(set(names)) != len(names) or not all(names) or len(names) > MAX_CALIBRATION_SERIES:
        problems.append(
            f"calibration.series must be at most {MAX_CALIBRATION_SERIES} names that differ and are not empty"
        )
    errors = calibration.channel_errors
    if errors and (len(errors) != len(manifest.channels) or not all(0 <= error < math.inf for error in errors)):
        problems.append(
            f"calibration.channel_errors are {len(errors)} numbers, must be one for each of {len(manifest.channels)} "
            "channels, finite and 0 or more"
        )
    if tail is not None:
        if not _served(tail.start) or not (tail.scale > 0 and math.isfinite(tail.scale)):
            problems.append("calibration.tail must have a start in float32 and a positive, finite scale")
        if not -1 <= tail.shape <= 1:
            problems.append(f"calibration.tail.shape is {tail.shape}, must be in [-1, 1]")
        if not 0 < tail.share <= 1:
            problems.append(f"calibration.tail.share is {tail.share}, must be in (0, 1]")
        if not 1 <= tail.peaks <= calibration.windows:
            problems.append(f"calibration.tail.peaks is {tail.peaks}, must be 1 to calibration.windows")
    return problems


def _quality_problems(manifest: Manifest) -> list[str]:
    if manifest.quality is None:
        return []
    samples, channels, problems = manifest.quality.samples, manifest.quality.channels, []
    if samples < 1:
        problems.append(f"quality.samples is {samples}, must be 1 or more")
    if len(channels) != len(manifest.channels):
        problems.append(f"quality.channels are {len(channels)}, must be one for each of {len(manifest.channels)}")
    if not all(math.isfinite(each.lowest) and each.lowest <= each.highest < math.inf for each in channels):
        problems.append("quality.channels: lowest and highest must be finite, the former at most the latter")
    for each in channels:
        low, high = each.lowest if each.low is None else each.low, each.highest if each.high is None else each.high
        if not each.lowest <= low <= high <= each.highest:
            problems.append("quality.channels: low and high must be in order, between lowest and highest")
    runs_fit = all(1 <= each.longest_run <= samples and 0 <= each.longest_missing <= samples for each in channels)
    if not runs_fit:
        problems.append("quality.channels: longest_run must be 1 to quality.samples, longest_missing 0 to it")
    if not all(0 <= each.missing < 1 for each in channels):
        problems.append("quality.channels: missing must be in [0, 1)")
    return problems


def _served(number: float) -> bool:
    """Whether float32, in which everything is served, can hold `number`: finite, and not 0 unless it is 0."""
    return number == 0 or MIN_FLOAT32 <= abs(number) <= MAX_FLOAT32
