"""Scores of normal windows, and what the artifact keeps of them: moments, quantile tables, the tail.

Rules of this file: what is kept here is all that a later `telltale calibrate` without data has to go on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import Float32Array
from monitor.detector.incidents import Policy
from monitor.detector.spec import MAX_CALIBRATION_SERIES, CalibrationSpec, TailSpec, WindowSpec
from monitor.errors import DataError

# Where a threshold may be chosen without data; dense towards 1, where thresholds are.
PROBABILITIES = (
    0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 0.9995, 0.9997, 0.9999,
    0.99999, 1.0,
)  # fmt: skip
# Below the resolution of float32 in scaled units scores do not differ. A model that reconstructs its
# calibration windows exactly (a constant series) would otherwise get the threshold 0, which no artifact may have.
LOWEST_THRESHOLD = float(np.finfo(np.float32).eps)
# A series with fewer windows of its own has no row in the table and no threshold of its own.
LEAST_SERIES_WINDOWS = 100
MICROSECONDS_A_DAY = 86_400e6


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationScores:
    """Scores of normal windows, and what it takes to count them as incidents and days.

    `scores` (n,) are in order of time within each series, `series` (n,) says whose each is, an index into `names`; None
    is one series. `overlap` is how many windows cover a sample (length / hop): so many windows in a row are about one
    observation. `windows_per_day` is what one series gives, None where nothing says it. `policy` None: the order is
    random, so neighbours are none in time, and each window over a threshold counts as an incident of its own.
    `held_out`: the model had not been fitted on these windows. `rows` (n,) is the last row of each window in its
    series, `times_us` (n,) when that was taken; None where it is not known. `goes_on`: windows are of a state that
    does, as a machine's; not of heartbeats, and not one by one.
    """

    scores: Float32Array
    series: NDArray[np.integer] | None = None
    names: tuple[str, ...] = ()
    overlap: float = 1.0
    windows_per_day: float | None = None
    policy: Policy | None = field(default_factory=Policy)
    held_out: bool = True
    rows: NDArray[np.int64] | None = None
    times_us: NDArray[np.int64] | None = None
    goes_on: bool = False

    @property
    def stride(self) -> int:
        """Every so many windows one that shares no sample with the one before."""
        return max(math.ceil(self.overlap - 1e-9), 1)

    @property
    def independent(self) -> float:
        """About how many observations these windows amount to."""
        return len(self.scores) / max(self.overlap, 1.0)

    @property
    def days(self) -> float | None:
        """Days of normal data, all series together; None where nothing says how many windows a day has."""
        return None if self.windows_per_day is None else len(self.scores) / self.windows_per_day

    def runs(self, values: NDArray[Any] | None = None) -> Iterator[NDArray[Any]]:
        """The scores of each series that has any, in order of time; or what `values` (n,) has in their places."""
        values = self.scores if values is None else values
        if self.series is None:
            yield values
            return
        # Stable, so that the windows of a series stay in their order.
        order = np.argsort(self.series, kind="stable")
        starts = np.flatnonzero(np.diff(self.series[order])) + 1
        yield from np.split(values[order], starts)

    def trimmed(self, share: float) -> CalibrationScores:
        """Without the share of windows with the highest scores: data that is not all normal is not all normal here."""
        if not share:
            return self
        kept = np.ones(len(self.scores), dtype=np.bool_)
        kept[np.argsort(self.scores, kind="stable")[len(kept) - int(share * len(kept)) :]] = False
        return self.only(kept)

    def only(self, kept: NDArray[np.bool_]) -> CalibrationScores:
        """Of `kept` (n,) windows alone."""
        return replace(
            self,
            scores=self.scores[kept],
            series=None if self.series is None else self.series[kept],
            rows=None if self.rows is None else self.rows[kept],
            times_us=None if self.times_us is None else self.times_us[kept],
        )

    def by_name(self) -> Iterator[tuple[str, CalibrationScores]]:
        """Each named series that has windows, by itself."""
        if self.series is None:
            if len(self.names) == 1:
                yield self.names[0], self
            return
        for code, own in zip(np.unique(self.series).tolist(), self.runs(), strict=True):
            yield self.names[code], replace(self, scores=own, series=None, names=(), rows=None, times_us=None)


def check(calibration: CalibrationScores) -> None:
    """Refuses what no threshold can be chosen by.

    Raises:
        DataError: no windows, a score that is not a finite number, or series and scores that do not match.
    """
    scores, series = calibration.scores, calibration.series
    if not len(scores) or not np.isfinite(scores).all():
        raise DataError(f"{len(scores)} calibration windows, all with finite scores, are needed; give more normal data")
    if series is not None and (
        series.shape != scores.shape or series.min() < 0 or series.max() >= len(calibration.names)
    ):
        raise DataError(
            f"{len(scores)} scores, but series codes {series.shape} for {len(calibration.names)} names; each window "
            "needs the index of its series' name"
        )
    if not (math.isfinite(calibration.overlap) and calibration.overlap > 0):
        raise DataError(f"windows overlap {calibration.overlap} times, must be positive (length / hop)")
    if calibration.windows_per_day is not None and not 0 < calibration.windows_per_day < math.inf:
        raise DataError(f"{calibration.windows_per_day} windows a day, must be positive")


def windows_per_day(window: WindowSpec, times_us: Sequence[NDArray[np.int64] | None]) -> float | None:
    """How many windows a series gives in a day: by the sampling rate, else by the samples' median step in time.

    Args:
        times_us: event times of each series' samples, in microseconds since the epoch; None where a series has none.

    Returns:
        None where neither says it.
    """
    if window.sampling_rate_hz is not None:
        return MICROSECONDS_A_DAY / 1e6 * window.sampling_rate_hz / window.hop
    steps = [np.diff(times) for times in times_us if times is not None and len(times) > 1]
    if not steps:
        return None
    step = float(np.median(np.concatenate(steps)))
    return MICROSECONDS_A_DAY / step / window.hop if step > 0 else None


def quantile(scores: Float32Array, probability: float) -> float:
    """A score that at most a share `1 - probability` of `scores` exceeds strictly (NumPy's method "higher")."""
    return float(np.quantile(scores, probability, method="higher"))


def table(scores: Float32Array) -> Float32Array:
    """(P,) quantiles at `PROBABILITIES`."""
    return np.quantile(scores, PROBABILITIES, method="higher").astype(np.float32)


def summarised(
    calibration: CalibrationScores, tail: TailSpec | None
) -> tuple[CalibrationSpec, Float32Array | None, list[str]]:
    """The calibration as the artifact keeps it, the (series, P) quantiles of its series or None, and what to tell.

    Series with under `LEAST_SERIES_WINDOWS` windows have no row.
    """
    scores, notes = calibration.scores, []
    rows = {name: table(own.scores) for name, own in calibration.by_name() if len(own.scores) >= LEAST_SERIES_WINDOWS}
    if len(rows) > MAX_CALIBRATION_SERIES:
        notes.append(
            f"the quantiles of {len(rows)} series are too many to keep ({MAX_CALIBRATION_SERIES} at most): none are"
        )
        rows = {}
    spec = CalibrationSpec(
        windows=len(scores),
        held_out=calibration.held_out,
        mean=float(np.mean(scores, dtype=np.float64)),
        std=float(np.std(scores, dtype=np.float64)),
        quantiles=tuple(
            (probability, float(value)) for probability, value in zip(PROBABILITIES, table(scores), strict=True)
        ),
        windows_per_day=calibration.windows_per_day,
        tail=tail,
        series=tuple(rows),
    )
    return spec, np.stack(list(rows.values())) if rows else None, notes
