"""Choosing the line: from the training errors (the tutorial's rule), or from normal windows that were held out.

Rules of this file: scores come from the daemon's own scorer; nothing abnormal and nothing of the test part is seen.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from monitor.detector.spec import CalibrationSpec, ThresholdSpec
from monitor.errors import DataError
from training.recipes import ThresholdPart

log = logging.getLogger("telltale.training")

# Where the daemon may put its line without data; dense towards 1, where lines are.
PROBABILITIES = (
    0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1.0,
)  # fmt: skip
# Under the resolution of float32 in scaled units there is nothing to tell apart. A model that reconstructs its
# calibration windows exactly (a constant series) would else get the line 0, which no artifact may have.
LOWEST_THRESHOLD = float(np.finfo(np.float32).eps)


def quantile(scores: NDArray[np.float32], probability: float) -> float:
    """A score that at most a share `1 - probability` of `scores` exceeds strictly (numpy's method "higher")."""
    return float(np.quantile(scores, probability, method="higher"))


def threshold(scores: NDArray[np.float32], rule: ThresholdPart) -> ThresholdSpec:
    """The line by `rule`.

    Args:
        scores: (n,) of normal windows: the training ones for `mean_std`, held-out ones for `quantile`.

    Raises:
        DataError: there are none, or one is not a number.
    """
    if not len(scores) or not np.isfinite(scores).all():
        raise DataError(f"{len(scores)} calibration windows, all with finite scores, are needed; give more normal data")
    if rule.method == "mean_std":
        chosen = float(np.mean(scores, dtype=np.float64) + rule.k * np.std(scores, dtype=np.float64))
        parameters = {"k": float(rule.k)}
    else:
        chosen, parameters = quantile(scores, rule.quantile), {"quantile": float(rule.quantile)}
    if chosen < LOWEST_THRESHOLD:
        log.warning("Threshold raised to the smallest there is: calibration windows are reconstructed exactly.")
        chosen = LOWEST_THRESHOLD
    return ThresholdSpec(value=chosen, method=rule.method, parameters=parameters)


def table(scores: NDArray[np.float32], *, held_out: bool) -> CalibrationSpec:
    """The calibration as the artifact keeps it."""
    values = np.quantile(scores, PROBABILITIES, method="higher")
    return CalibrationSpec(
        windows=len(scores),
        held_out=held_out,
        mean=float(np.mean(scores, dtype=np.float64)),
        std=float(np.std(scores, dtype=np.float64)),
        quantiles=tuple((probability, float(value)) for probability, value in zip(PROBABILITIES, values, strict=True)),
    )


def too_few(windows: int, rule: ThresholdPart, *, overlap: float = 1.0) -> str | None:
    """What to tell the user where the quantile asked for is beyond what so many windows can show; else None.

    Args:
        overlap: how many windows cover a sample (length / hop): overlapping windows are one observation, not many.
    """
    if rule.method != "quantile":
        return None
    needed = 1 / max(1 - rule.quantile, 1e-12)
    independent = windows / max(overlap, 1.0)
    if independent >= needed:
        return None
    return (
        f"{windows} calibration windows count as about {independent:.0f} independent ones, but quantile "
        f"{rule.quantile:g} needs {needed:.0f}: the line rests on a few of them; give more normal data, or a "
        "lower quantile"
    )
