"""How sure a count is: the interval of a Poisson variable's mean.

`scipy.special` has this as a quantile of the gamma distribution, but its import takes longer than all else that is done
with scores in a short training.

Sources: Garwood, "Fiducial Limits for the Poisson Distribution", Biometrika 1936; Wilson & Hilferty, "The Distribution
of Chi-square", PNAS 1931 (where the search starts).
"""

from __future__ import annotations

import math
from statistics import NormalDist

CONFIDENCE = 0.95
_CLOSE = 1e-12


def interval(count: int) -> tuple[float, float]:
    """The exact 95% interval of the mean, where `count` were seen; its lower end is 0 where none was."""
    beyond = (1 - CONFIDENCE) / 2
    low = _mean(count - 1, 1 - beyond) if count else 0.0
    return low, _mean(count, beyond)


def _mean(most: int, probability: float) -> float:
    """The mean with which at most `most` are seen with this probability; by Newton's method."""
    shape = most + 1
    spread = NormalDist().inv_cdf(1 - probability) / (3 * math.sqrt(shape))
    mean = float(shape * (1 - 1 / (9 * shape) + spread) ** 3)
    for _ in range(50):
        density = math.exp(most * math.log(mean) - mean - math.lgamma(shape))
        # Both are P(X <= most) less what it should be, over the density; the sums are short on their own side.
        if mean > most:
            step = _at_most(most, mean) - probability / density
        else:
            step = (1 - probability) / density - _more(most, mean)
        mean = max(mean + step, mean / 2)
        if abs(step) <= _CLOSE * mean:
            break
    return mean


def _at_most(most: int, mean: float) -> float:
    """P(X <= most) over P(X = most): quick where the mean is over `most`."""
    total = term = 1.0
    for count in range(most, 0, -1):
        term *= count / mean
        total += term
        if term < _CLOSE * total / 1e3:
            break
    return total


def _more(most: int, mean: float) -> float:
    """P(X > most) over P(X = most): quick where the mean is under `most`."""
    total, term, count = 0.0, 1.0, most
    while term > _CLOSE * total / 1e3:
        count += 1
        term *= mean / count
        total += term
    return total
