"""Missing numbers: a channel that is missing, or absent, far more than it is in normal data.

What counts is missing samples of an episode: twenty, or three times the most in a row that training saw, with so few
others between two that it is no coincidence by the share of missing numbers in training. A channel that is missing
throughout is named after twenty of its samples. What refused records leave is not meant: nothing is known about it.
Nor are channels that a partial sample does not carry, unless it carries most others: they come with other samples.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from monitor.detector.arrays import Float64Array
from monitor.detector.incidents import Policy
from monitor.detector.spec import Manifest
from monitor.processing.checks import Findings, Memory, Problem, QualityRules
from monitor.processing.quality import numbers
from monitor.processing.quality.episodes import Limits
from monitor.processing.quality.readings import About, readings, without_holes
from monitor.processing.turns import Turn

ENOUGH = 20  # missing samples, at least
LONGER = 3  # times the most in a row in training
GAP, WELL = 10, 50  # samples
CHANCE = 1e-9  # that as many follow each other so closely, where they are missing independently of each other
UNKNOWN = 0.3  # is the usual share, where training did not see it


class NanRatio:
    """Watches each channel of each series."""

    policy = Policy(open_after=1, close_after=1, update_every=0)
    severity: Literal["warning"] = "warning"
    unit = "samples"
    recovered = "is there again"

    def __init__(self, manifest: Manifest, _rules: QualityRules) -> None:
        channels, known = len(manifest.channels), manifest.quality
        self._names = {channel.name: at for at, channel in enumerate(manifest.channels)}
        self.nothing = numbers.nothing(channels)
        self._shares = np.array([np.nan] * channels if known is None else [each.missing for each in known.channels])
        longest = np.array([0] * channels if known is None else [each.longest_missing for each in known.channels])
        self._limits = limits_of(np.nan_to_num(self._shares, nan=UNKNOWN), longest)

    def take(self, turn: Turn, memory: Memory) -> Findings | None:
        """What there is to say of missing numbers."""
        read = readings(turn)
        read = read and without_holes(read)
        if read is None or not (read.any_missing or numbers.are_followed(read, memory)):
            return None
        said = numbers.watch(read, read.missing(), memory, self._limits)
        if said is None or not len(said.samples):
            return None
        enough = self._limits.enough[said.channel].astype(np.float64)
        value = np.where(said.wrong, enough, 0.0)
        usual = self._shares[said.channel]
        nowhere = np.full(len(value), np.nan)
        return read.findings(said.samples, About(said.channel, said.start_us, value, enough - 0.5, usual, nowhere))

    def describe(self, problem: Problem) -> str:
        """How many are missing, and how many usually are."""
        at = self._names[problem.channel]
        others = "" if self._limits.gap[at] == 1 else f", at most {self._limits.gap[at] - 1} others between two"
        usual = "" if np.isnan(problem.usual) else f"; {problem.usual:.3g} of all are missing in its training data"
        return f"is missing in {problem.value:.0f} samples{others}{usual}"


def limits_of(share: Float64Array, longest: np.ndarray) -> Limits:
    """Limits for channels of which a `share` (channels,) is usually missing, `longest` in a row at most."""
    share = np.clip(share, 1e-3, 0.99)
    enough = np.maximum(ENOUGH, LONGER * longest)
    # Two follow each other with fewer than `gap` between them with probability 1 - (1 - share)^gap.
    closely = CHANCE ** (1 / enough)
    gap = np.floor(np.log1p(-closely) / np.log1p(-share))
    in_a_row = np.ceil(np.log(CHANCE) / np.log(share))
    enough = np.where(gap < 1, np.maximum(enough, in_a_row), enough).astype(np.int64)
    return Limits(enough, np.clip(gap, 1, GAP).astype(np.int64), np.full(len(share), WELL))
