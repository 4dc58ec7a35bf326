"""Thresholds: over which score a window of a series is anomalous, and how rare a score was in the calibration.

Rules of this file: daemon, `replay` and trainer look thresholds up here. Nobody else reads `manifest.threshold`
(tests/unit/test_layering.py), so nobody can forget the series that have their own, or the operator's `model.threshold`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from monitor.detector.arrays import Float32Array
from monitor.detector.spec import CalibrationSpec, FollowSpec, Manifest, ThresholdSpec

Follow = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The threshold of each series; `chosen` says how they came about."""

    chosen: ThresholdSpec

    @property
    def value(self) -> float:
        """The threshold of all series that have none of their own, those never seen before among them."""
        return self.chosen.value

    def of_series(self, name: str) -> float:
        """The threshold of one series."""
        return self.chosen.series.get(name, self.chosen.value)

    def unmatched(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that have no threshold of their own, though other series have."""
        own = self.chosen.series
        return [name for name in names if name not in own] if own else []

    def of_each(self, names: Iterable[str]) -> Float32Array:
        """The thresholds of series, (n,), in the type in which `decide` compares them."""
        return np.array([self.of_series(name) for name in names], dtype=np.float32)


def of(manifest: Manifest, override: float | None = None, follow: Follow = "auto") -> Thresholds:
    """The thresholds of an artifact, or `override` instead of them all; they `follow` as it says, or otherwise."""
    chosen = manifest.threshold
    follows = {"auto": chosen.follows, "on": chosen.follows or FollowSpec(), "off": None}[follow]
    if override is not None:
        return Thresholds(ThresholdSpec(value=override, method="given", follows=follows))
    return Thresholds(msgspec.structs.replace(chosen, follows=follows))


def given(value: float) -> Thresholds:
    """`value` for every series."""
    return Thresholds(ThresholdSpec(value=value, method="given"))


class Quantiles:
    """Which share of calibration windows scored less: of a series' own where the artifact keeps them, else of all."""

    def __init__(self, calibration: CalibrationSpec, table: Float32Array | None = None) -> None:
        """`table` (series, probabilities) holds the quantiles of `calibration.series`, if any."""
        self._probabilities, self._all = np.array(calibration.quantiles, dtype=np.float64).T
        self._own = {} if table is None else dict(zip(calibration.series, table, strict=True))

    def share_under(self, score: float, series: str = "") -> float:
        """The share of calibration windows that scored less than `score`, between two quantiles in proportion.

        Where several quantiles are equal it is the last: a window is over a threshold only where it scores more.
        """
        return float(np.interp(score, self._own.get(series, self._all), self._probabilities))
