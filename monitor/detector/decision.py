"""From scores and thresholds to verdicts.

Rules of this file: a score that is not a number is UNSCORABLE, never NORMAL. `incidents` says what verdicts lead to.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Verdict(IntEnum):
    """What one window is found to be."""

    NORMAL = 0
    ANOMALY = 1
    UNSCORABLE = 2


def decide(scores: NDArray[np.float32], threshold: float | NDArray[np.floating]) -> NDArray[np.int8]:
    """The verdict of each score: ANOMALY strictly over the threshold, UNSCORABLE where it is not a number.

    `threshold` is one for all scores, or one for each.
    The comparison is made in float32, the scores' own type, so that a threshold means the same wherever it is read.
    """
    limits = np.asarray(threshold, dtype=np.float32)
    verdicts = np.where(scores > limits, Verdict.ANOMALY, Verdict.NORMAL).astype(np.int8)
    verdicts[np.isnan(scores)] = Verdict.UNSCORABLE
    return verdicts
