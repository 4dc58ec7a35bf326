"""Missing numbers: a channel that is missing, or absent, far more than it is in normal data.

What counts is missing samples of an episode: twenty, or three times the most in a row that training saw, with so few
others between two that it is no coincidence by the share of missing numbers in training. A channel that is missing
throughout is named after twenty of its samples. What refused records leave is not meant: nothing is known about it.
Nor are channels that a partial sample does not carry, unless it carries most others: they come with other samples.

Samples in which all channels are missing are the series' own: they are followed as one, and no channel is named.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from monitor.detector.arrays import Float64Array
from monitor.detector.incidents import Policy
from monitor.detector.memory import Memory
from monitor.detector.spec import Manifest
from monitor.processing.checks import WHOLE_SERIES, Findings, Problem, QualityRules
from monitor.processing.quality import numbers
from monitor.processing.quality.episodes import Limits
from monitor.processing.quality.readings import About, Some, readings, without_holes
from monitor.processing.quality.wording import percent
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
        self.nothing = numbers.nothing(channels + 1)  # the last is of all together
        self._shares = np.array([np.nan] * channels if known is None else [each.missing for each in known.channels])
        longest = np.array([0] * channels if known is None else [each.longest_missing for each in known.channels])
        shares = np.nan_to_num(self._shares, nan=UNKNOWN)
        self._limits = limits_of(shares, longest)
        self._limits_of_all = limits_of(shares.min(keepdims=True), longest.min(keepdims=True))

    def take(self, turn: Turn, memory: Memory) -> Findings | None:
        """What there is to say of missing numbers."""
        read = readings(turn)
        read = read and without_holes(read)
        if read is None or not (read.any_missing or numbers.are_followed(read, memory)):
            return None
        missing = read.missing()
        all_missing = missing.all(axis=1) & (missing.shape[1] > 1)
        there = np.flatnonzero(~all_missing)
        some = Some(read, there)
        of_channels = numbers.watch(some, missing[there], memory, self._limits)
        of_all = numbers.watch(read, all_missing[:, None], memory, self._limits_of_all, missing.shape[1])
        parts = [] if of_channels is None else [some.findings(of_channels.samples, self._about(of_channels))]
        parts += [] if of_all is None else [read.findings(of_all.samples, self._about_all(of_all))]
        parts = [part for part in parts if len(part)]
        return Findings.concatenate(parts) if parts else None

    def _about(self, said: numbers.Said) -> About:
        enough = self._limits.enough[said.channel].astype(np.float64)
        nowhere = np.full(len(enough), np.nan)
        value = np.where(said.wrong, enough, 0.0)
        return About(said.channel, said.start_us, value, enough - 0.5, self._shares[said.channel], nowhere)

    def _about_all(self, said: numbers.Said) -> About:
        enough = np.full(len(said.channel), float(self._limits_of_all.enough[0]))
        whole, nowhere = np.full(len(enough), WHOLE_SERIES), np.full(len(enough), np.nan)
        return About(whole, said.start_us, np.where(said.wrong, enough, 0.0), enough - 0.5, nowhere, nowhere)

    def describe(self, problem: Problem) -> str:
        """How many are missing, and how many usually are."""
        if not problem.channel:
            channels = "both" if len(self._names) == 2 else f"all {len(self._names)}"
            return f"{channels} channels are missing in {_samples(problem.value, self._limits_of_all, 0)}"
        text = f"is missing in {_samples(problem.value, self._limits, self._names[problem.channel])}"
        if np.isnan(problem.usual):
            return text
        return f"{text}; in its training data {percent(problem.usual)} of its numbers are"


def _samples(count: float, limits: Limits, at: int) -> str:
    others = limits.gap[at] - 1
    return f"{count:,.0f} samples" + (f", with at most {others} others between two" if others else " in a row")


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
