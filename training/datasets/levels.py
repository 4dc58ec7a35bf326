"""Which levels come off a table's numbers before they become float32, and taking them off.

Rules of this file: `monitor.datafiles.digits` says where float32 has too few digits, `monitor.detector.levels` narrows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import WindowTable
from monitor.datafiles.digits import FEWEST_STEPS, Digits, digits
from monitor.detector.levels import take_off
from training.datasets.options import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """`values` (channels,), 0.0 where nothing is taken off; `notes` say what a person should know of it."""

    values: tuple[float, ...]
    notes: tuple[str, ...]

    @property
    def needed(self) -> bool:
        """Whether anything is taken off."""
        return any(self.values)


NONE = Levels(values=(), notes=())


def choose(tables: Sequence[Table]) -> Levels:
    """The levels of the tables' channels, all the same ones: for a channel of which float32 loses digits in a table,
    the median of those tables' medians, rounded to the digit of the channel's spread.
    """
    found = [digits(_numbers(table)) for table in tables]
    names = tables[0].channels
    values = tuple(_level([each for each in found if each.lost[at]], at) for at in range(len(names)))
    notes = [note for at, name in enumerate(names) for note in _notes(name, values[at], found, at)]
    return Levels(values=values, notes=tuple(notes))


def without(table: Table, levels: Sequence[float]) -> Table:
    """`table` less the levels, in float32; as it is where it has other channels, which others refuse."""
    if len(levels) != len(table.channels):
        return table
    narrow = take_off(_numbers(table).astype(np.float64), np.array(levels, dtype=np.float64))
    if isinstance(table, WindowTable):
        return replace(table, windows=narrow, exact=None)
    return replace(table, samples=narrow, exact=None)


def _numbers(table: Table) -> NDArray[np.floating]:
    if table.exact is not None:
        return table.exact
    return table.windows if isinstance(table, WindowTable) else table.samples


def _level(found: Sequence[Digits], at: int) -> float:
    if not found:
        return 0.0
    spread = min(float(each.spread[at]) for each in found)
    return round(float(np.median([each.median[at] for each in found])), -math.floor(math.log10(spread)))


def _notes(name: str, level: float, found: Sequence[Digits], at: int) -> Iterator[str]:
    coarse = [each for each in found if each.coarse[at]]
    if not coarse:
        return
    worst = max(coarse, key=lambda each: float(each.step[at] / each.spread[at]))
    about = f"channel {name}: float32 goes in steps of {worst.step[at]:g} at {worst.median[at]:.9g}, the channel's "
    about += f"spread is {worst.spread[at]:.3g}"
    if level:
        yield (
            f"{about}: {level:.12g} is taken off in float64, here and by the daemon (artifact format 3 or later); send "
            "JSON numbers, since f32 records have lost these digits"
        )
    if any(not each.lost[at] for each in coarse):
        yield f"{about}: what it moved by less was lost before it was read; store and send float64, or JSON"
    with np.errstate(over="ignore"):
        left = [
            np.spacing(np.float32(abs(each.median[at] - level))) * FEWEST_STEPS > each.spread[at] for each in coarse
        ]
    if level and any(left):
        yield f"channel {name}: its series have too different levels for one to be taken off: some keep too few digits"
