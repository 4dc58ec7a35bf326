"""Which scaling a recipe's `auto` is.

Channels of one unit are compared as they are: divided by its own deviation, one that hardly ever moves would count as
much as one that moves all the time. Channels of several units can only be compared by what each of them usually does.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from monitor.detector import scaling
from monitor.detector.arrays import Float32Array
from training.recipes.schema import Recipe

# Numbers between such bounds are shares of something, or were scaled before: they have one unit.
SHARES = ((0.0, 1.0), (-1.0, 1.0))


def resolved(recipe: Recipe, samples: Float32Array, units: Sequence[str], levels: Sequence[float]) -> Recipe:
    """`recipe` with the scaling that its `auto` is for normal samples (..., channels) with those units and levels."""
    if recipe.scaling.kind != "auto":
        return recipe
    kind: scaling.Kind = "centre" if have_one_unit(samples, units, levels) else "standard"
    return msgspec.structs.replace(recipe, scaling=msgspec.structs.replace(recipe.scaling, kind=kind))


def have_one_unit(samples: Float32Array, units: Sequence[str], levels: Sequence[float]) -> bool:
    """Whether several channels state the same unit, or all their numbers lie within bounds of `SHARES`."""
    if samples.shape[-1] < 2 or any(levels):
        return False
    if any(units):
        return len(set(units)) == 1
    low, high = np.nanmin(samples), np.nanmax(samples)
    return any(least <= low and high <= most for least, most in SHARES)
