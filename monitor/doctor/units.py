"""Two units or scales of one channel: as a field says, or as the numbers show.

Rules of this file: pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from msgspec import UNSET

from monitor.detector.arrays import Float64Array
from monitor.doctor.fields import Field
from monitor.doctor.readings import is_unit
from monitor.doctor.shapes import Shape
from monitor.doctor.trial import Trial
from monitor.doctor.words import listing

_FEWEST_NUMBERS = 10
_APART = 3.0  # widths of either group that are between two groups of numbers
_MIXED = 0.3  # of the changes that there are among numbers of two producers at random, at least; or one change
_SHOWN = 4
# Units of one quantity: how many of the second are so many of the first, by slope and intercept.
_UNITS = {
    "degrees C and F": (1.8, 32.0),
    "degrees C and K": (1.0, 273.15),
    "a unit and its thousandth": (1000.0, 0.0),
    "a unit and its hundredth": (100.0, 0.0),
    "bar and psi": (14.504, 0.0),
    "m/s and km/h": (3.6, 0.0),
    "m and ft": (3.2808, 0.0),
    "hours, minutes or seconds": (60.0, 0.0),
}
_ALIKE = 0.15  # relative difference of numbers that a unit explains


def of(shape: Shape, trial: Trial) -> Iterator[str]:
    """That a channel's numbers are in two units, or of two scales: in several series, or in one."""
    said = set()
    for each in shape.fields.values():
        if is_unit(each) and each.role != "time":
            for channel, units in _units_of(shape, each).items():
                said.add(channel)
                yield (
                    f"{channel or 'one channel'} comes in several units, {', '.join(units[:_SHOWN])} (field "
                    f"{each.path}): none is converted; have the producer write one, or give each a topic"
                )
    for at, name in enumerate(trial.channels):
        if name not in said and "" not in said:
            series = {owner: each for (owner, _), each in trial.by_series(at).items()}
            if remark := of_numbers(name, series):
                yield remark


def of_numbers(name: str, series: Mapping[str, Float64Array]) -> str:
    """That a channel's numbers, by series, are in two units or of two scales; empty where they are not."""
    long = {owner: each for owner, each in series.items() if len(each) >= _FEWEST_NUMBERS}
    return _two_scales(name, long) or _two_groups(name, long)


def _units_of(shape: Shape, found: Field) -> Mapping[str, list[str]]:
    """The units of each channel that has several; "" where records have one channel."""
    if not shape.channel_field and len(shape.channels) != 1:
        return {}
    channels = shape.fields[shape.channel_field].values if shape.channel_field else [""] * len(found.values)
    units: dict[str, set[str]] = {}
    for channel, unit in zip(channels, found.values, strict=True):
        if unit is not UNSET and unit is not None:
            units.setdefault(str(channel), set()).add(str(unit))
    only = "".join(shape.channels) if not shape.channel_field else ""
    return {channel or only: sorted(each) for channel, each in units.items() if len(each) > 1}


def _two_scales(name: str, series: Mapping[str, Float64Array]) -> str:
    """That some series are at one level and all others at another, far from it."""
    levels = sorted((float(np.median(numbers)), owner) for owner, numbers in series.items())
    if len(levels) < 2:
        return ""
    gaps = np.diff([level for level, _ in levels])
    cut = int(np.argmax(gaps)) + 1
    low, high = (np.concatenate([series[owner] for _, owner in part]) for part in (levels[:cut], levels[cut:]))
    width = max(float(np.ptp(np.quantile(part, [0.01, 0.99]))) for part in (low, high))
    between = float(np.quantile(high, 0.01) - np.quantile(low, 0.99))
    if between <= _APART * width:
        return ""
    where = [listing([owner for _, owner in part]) for part in (levels[:cut], levels[cut:])]
    return (
        f"{name} is at {_about(low)} in {cut} series ({where[0]}) and at {_about(high)} in {len(levels) - cut} "
        f"({where[1]}): {_why(low, high)}. One artifact scales all series alike; convert, or train one for each kind"
    )


def _two_groups(name: str, series: Mapping[str, Float64Array]) -> str:
    """That numbers of one series are in two groups that are those of two units, and not of a state that lasts."""
    for owner, numbers in series.items():
        ordered = np.sort(numbers)
        cut = int(np.argmax(np.diff(ordered))) + 1
        low, high = ordered[:cut], ordered[cut:]
        apart = high[0] - low[-1] > max(np.ptp(low), np.ptp(high)) > 0
        if not apart or min(len(low), len(high)) < max(_FEWEST_NUMBERS, 0.05 * len(numbers)) or not _unit(low, high):
            continue
        changes = int(np.count_nonzero(np.diff(numbers >= high[0])))
        if 1 < changes < _MIXED * 2 * len(low) * len(high) / len(numbers):
            continue
        return (
            f"{name} is at {_about(low)} in {len(low)} samples and at {_about(high)} in {len(high)}, and nothing is "
            f"between (series {owner}): {_why(low, high)}, from two producers; have one unit written"
        )
    return ""


def _about(numbers: Float64Array) -> str:
    return f"{numbers.min():.4g} to {numbers.max():.4g}"


def _why(low: Float64Array, high: Float64Array) -> str:
    unit = _unit(low, high)
    return f"they look like {unit}" if unit else "two units, or two kinds of machines"


def _unit(low: Float64Array, high: Float64Array) -> str:
    """Which units explain both the levels and the widths of two groups; empty if none of those known."""
    levels, widths = (np.median(low), np.median(high)), (np.std(low), np.std(high))
    for name, (slope, intercept) in _UNITS.items():
        off = abs(levels[1] - (slope * levels[0] + intercept))
        level = off <= _ALIKE * min(abs(levels[1]), abs(levels[1] - levels[0]))
        if level and abs(widths[1] - slope * widths[0]) <= 3 * _ALIKE * widths[1]:
            return name
    return ""
