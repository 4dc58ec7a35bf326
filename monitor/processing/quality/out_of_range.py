"""Out of range: numbers so far from all that training saw that they are no measurements of the same thing.

A process that fails leaves its range, too, by several times; that is for the score to say. Here numbers are meant that
stand for something else, such as -9999 for a missing value, or another unit: beyond the range of training by ten times
the largest number in it, five times, with fewer than a hundred others between two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from monitor.detector import ranges
from monitor.detector.incidents import Policy
from monitor.detector.memory import Memory
from monitor.detector.ranges import FAR
from monitor.detector.spec import Manifest
from monitor.processing.checks import Findings, Problem, QualityRules
from monitor.processing.quality import numbers
from monitor.processing.quality.episodes import Limits
from monitor.processing.quality.readings import About, readings
from monitor.processing.turns import Turn

ENOUGH, GAP = 5, 100  # samples

# Other units, and ways to write the same in them.
_UNITS: tuple[tuple[str, Callable[[float], float]], ...] = (
    ("divided by 1,000", lambda value: value / 1_000),
    ("times 1,000", lambda value: value * 1_000),
    ("divided by 1,000,000", lambda value: value / 1_000_000),
    ("divided by 100", lambda value: value / 100),
    ("from degrees Fahrenheit to Celsius", lambda value: (value - 32) / 1.8),
    ("from kelvin to degrees Celsius", lambda value: value - 273.15),
)
_SENTINELS = {float(sign * (10**digits - 1)) for sign in (1, -1) for digits in range(3, 10)}
_SENTINELS |= {32_767.0, -32_768.0, 65_535.0, 2147483647.0, -2147483648.0}


class OutOfRange:
    """Watches each channel of each series whose range training saw."""

    policy = Policy(open_after=1, close_after=1, update_every=0)
    severity: Literal["warning"] = "warning"
    unit = ""
    recovered = "is near its usual range again"

    def __init__(self, manifest: Manifest, _rules: QualityRules) -> None:
        channels = len(manifest.channels)
        self._names = {channel.name: at for at, channel in enumerate(manifest.channels)}
        self._levels = np.array([channel.level for channel in manifest.channels])
        self.nothing = numbers.nothing(channels)
        self._limits = Limits(*(np.full(channels, each) for each in (ENOUGH, GAP, GAP)))
        self._ranges = ranges.of(manifest)

    def take(self, turn: Turn, memory: Memory) -> Findings | None:
        """What there is to say of numbers that are far away."""
        read = readings(turn)
        if read is None:
            return None
        lowest, highest = read.extremes
        near = not (self._ranges.far(lowest) | self._ranges.far(highest)).any()
        if near and not numbers.are_followed(read, memory):
            return None
        said = numbers.watch(read, self._ranges.far(read.values), memory, self._limits)
        if said is None or not len(said.samples):
            return None
        channel = said.channel
        observed = read.values[said.samples, channel] + self._levels[channel]
        low, high, reach = (column[channel] for column in self._ranges[:3])
        beyond = np.maximum(observed - high, low - observed)
        value = np.where(said.wrong, beyond / reach, 0.0)
        limit, usual = np.full(len(value), float(FAR)), np.zeros(len(value))
        return read.findings(said.samples, About(channel, said.start_us, value, limit, usual, observed))

    def describe(self, problem: Problem) -> str:
        """What it reads, what training saw, and what that looks like."""
        at = self._names[problem.channel]
        lowest, highest = self._ranges.lowest[at], self._ranges.highest[at]
        text = f"reads {problem.observed:.7g}, far from the {lowest:.7g} to {highest:.7g} of its training data"
        if round(problem.observed, 3) in _SENTINELS:
            return f"{text}; it looks like a number that stands for a missing one (input.missing_values)"
        units = [how for how, convert in _UNITS if lowest <= convert(problem.observed) <= highest]
        return f"{text}; it looks like another unit: {units[0]} it would be within" if units else text
