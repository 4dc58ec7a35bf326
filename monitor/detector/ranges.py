"""The range of each channel in training, and how far a number may lie from it to be a measurement of the same thing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from monitor.detector.arrays import BoolArray, Float32Array, Float64Array
from monitor.detector.spec import Manifest

FAR = 10  # times the largest number in training


class Ranges(NamedTuple):
    """By channel (channels,): `lowest` and `highest` in training and the largest size of a number, in the data's unit.

    What is less than `under` or more than `over`, less the channel's level, is far away. Infinite, where training did
    not look.
    """

    lowest: Float64Array
    highest: Float64Array
    reach: Float64Array
    under: Float32Array
    over: Float32Array

    def far(self, values: Float32Array) -> BoolArray:
        """Which of `values` (..., channels), less the channels' levels, are far away; what is missing is not."""
        return (values < self.under) | (values > self.over)


def of(manifest: Manifest) -> Ranges:
    """Those of an artifact."""
    channels, known = len(manifest.channels), manifest.quality
    levels = np.array([channel.level for channel in manifest.channels])
    lowest = np.array([-np.inf] * channels if known is None else [each.lowest for each in known.channels])
    highest = np.array([np.inf] * channels if known is None else [each.highest for each in known.channels])
    reach = np.maximum(np.abs(lowest), np.abs(highest))
    reach[reach == 0] = 1.0  # of a channel that was always 0 nothing is known: it counts as one of 1s
    under, over = lowest - FAR * reach - levels, highest + FAR * reach - levels
    return Ranges(lowest, highest, reach, under.astype(np.float32), over.astype(np.float32))
