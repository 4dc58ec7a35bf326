"""Words that reports on topics and on files share: facts, durations, tables of fields.

Rules of this file: pure. Text of others is shown so that no terminal obeys it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from monitor.datafiles import plausibility
from monitor.detector.times import written
from monitor.doctor.fields import FieldLine
from monitor.doctor.trial import Order

WIDTH = 118
_HEAD = 12
_MOST_FIELDS = 40
_LENGTHS = {"plant": 10, "metrics": 16, "sliding": 64}  # of the recipes' windows; sliding is used where none is named
_FEW = 100  # samples of a series
_WINDOWS = 6  # that a series holds at least, so that each part of it holds one


def recipe_for(samples: float, channels: int, step_us: float) -> list[str]:
    """Options of `telltale train` for series of so many samples: short windows where there is little to learn from."""
    if samples >= 2_000:
        return []
    name = "metrics" if channels == 1 and step_us >= 30_000_000 else "plant"
    short = max(2, int(samples) // _WINDOWS) if samples < _WINDOWS * _LENGTHS[name] else 0
    return ["--recipe", name, *(["--window", str(short)] if short else [])]


def few(samples: float) -> list[str]:
    """That series are too short, where they are."""
    if samples >= _FEW:
        return []
    return [f"a series has about {max(1, round(samples))} samples, which is too few to learn from: wait, or give more"]


def window_length(recipe: Sequence[str]) -> int:
    """How many samples a window has, by options that `recipe_for` makes."""
    said = dict(zip(recipe[::2], recipe[1::2], strict=True))
    return int(said.get("--window", _LENGTHS.get(said.get("--recipe", ""), _LENGTHS["sliding"])))


def listing(names: Sequence[str], most: int = 8) -> str:
    """Some names, and how many more there are."""
    return ", ".join(safe(name, 40) for name in names[:most]) + (
        f" and {len(names) - most} more" if len(names) > most else ""
    )


def declared(name: str, values: Sequence[float], option: str) -> str:
    """That numbers of a channel are declared to mean missing."""
    listed = ", ".join(map(plausibility.plain, values))
    return (
        f"{name}: {listed} lies far from all other values and is there more than once, so {option} below declares "
        "that it means missing"
    )


def ambiguous(name: str, values: Sequence[float]) -> str:
    """That numbers of a channel may mean missing, and are not declared for the sake of another channel."""
    listed = ", ".join(map(plausibility.plain, values))
    return (
        f"{name}: {listed} lies far from all other values and may mean missing; it is an ordinary number of another "
        "channel, and what is declared as missing is so in all: have such numbers left out where they are written"
    )


def held(hold_ms: int, share: float, length: int) -> str:
    """That numbers are held, since too many are missing."""
    return (
        f"only {share:.0%} of the windows of {length} samples would be whole, for the numbers that are missing, so "
        f"--max-hold-ms below has each channel's last number hold for up to {span(1000 * hold_ms)}"
    )


def left_out(odd: Mapping[str, str]) -> list[str]:
    """That channels are none to watch, by what each is: a clock, a counter or a running total."""
    why = {
        "running total": "only rises or falls: every new number is one that was not learnt from. Watch what is added "
        "in each interval instead; the producer has to write that",
        "counter": "goes on by even steps, as a counter or a clock does, so nothing can be learnt from it",
        "clock": "holds times, so nothing can be learnt from it",
    }
    kinds = {what: [name for name in odd if odd[name] == what] for what in sorted({*odd.values()})}
    return [f"{listing(names)} {why[what]}" for what, names in kinds.items()]


def rate(orders: Sequence[Order]) -> str:
    """How far apart the samples of a series are."""
    steps = sorted(each.step_us for each in orders if each.step_us)
    if not steps:
        return "not known: no series has two times"
    low, middle, high = steps[0], steps[len(steps) // 2], steps[-1]
    hertz = f" ({1e6 / middle:.4g} Hz)" if middle < 1_000_000 else ""
    each = "" if high <= 1.05 * low else f"; from {span(low)} to {span(high)}, by series"
    odd = float(np.mean([one.odd for one in orders]))
    irregular = f"; irregular: {odd:.0%} of the steps differ from the usual one" if odd > 0.05 else ""
    return f"a sample each {span(middle)}{hertz} and series{each}{irregular}"


def order(orders: Sequence[Order], *, in_parts: bool = False) -> str:
    """How much is out of order, and of a time that was there before, but where samples come `in_parts`."""
    late, twice = sum(each.late for each in orders), sum(each.twice for each in orders)
    worst, samples = max(each.late_us for each in orders), sum(each.samples for each in orders)
    text = "in order" if not late else f"{late:,} of {samples:,} samples out of order, by up to {span(worst)}"
    return f"{text}; {twice:,} of a time that was there before" if twice and not in_parts else text


def gaps(orders: Sequence[Order]) -> str:
    """Where samples are missing in time."""
    count, worst = sum(each.gaps for each in orders), max(each.gap_us for each in orders)
    if not count:
        return "none"
    series = sum(each.gaps > 0 for each in orders)
    return f"{count:,} in {series} of {len(orders)} series, the longest {span(worst)}"


def fields(lines: Sequence[FieldLine]) -> list[str]:
    """The table of fields."""
    if not lines:
        return []
    shown = [*lines[:_MOST_FIELDS]]
    width = min(44, max(len(each.path) for each in shown))
    kinds = max(len(each.role) for each in shown)
    found = [f"{'field'.ljust(width)}  {'what'.ljust(kinds)}  values"]
    for each in shown:
        absent = f"; {each.missing:.1%} missing" if each.missing else ""
        found.append(f"{safe(each.path, width).ljust(width)}  {each.role.ljust(kinds)}  {safe(each.seen, 90)}{absent}")
    if len(lines) > len(shown):
        found.append(f"... and {len(lines) - len(shown)} fields more")
    return found


def missing_share(share: Mapping[str, float]) -> str:
    """Which share of each channel's numbers is missing."""
    if not share:
        return "no number"
    worst = sorted(share.items(), key=lambda each: -each[1])
    text = ", ".join(f"{safe(name, 40)} {ratio:.2%}" for name, ratio in worst[:4])
    return text + (f", and {len(worst) - 4} channels more" if len(worst) > 4 else "")


def notes(said: Sequence[str]) -> list[str]:
    """What a person should know, as a list."""
    if not said:
        return []
    lines = ["", "To know:"]
    for note in said:
        lines += textwrap.wrap(safe(note, 600), WIDTH, initial_indent="  - ", subsequent_indent="    ")
    return lines


def fact(name: str, text: str) -> str:
    """A line of facts, wrapped beside its name."""
    return textwrap.fill(
        safe(text, 1_000),
        WIDTH,
        initial_indent=name.ljust(_HEAD),
        subsequent_indent=" " * _HEAD,
        break_long_words=False,
    )


def indented(text: str) -> str:
    """Text as a block."""
    return textwrap.indent(text, "  ")


def safe(text: str, most: int) -> str:
    """Text on one line, cut, and what can't be printed as escapes."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def span(span_us: float) -> str:
    """A duration in the unit in which it is read easily."""
    units = ((86_400e6, "d"), (3_600e6, "h"), (60e6, "min"), (1e6, "s"), (1e3, "ms"))
    size, unit = next((each for each in units if span_us >= each[0]), (1.0, "us"))
    return f"{span_us / size:.4g} {unit}"


def moment(time_us: int) -> str:
    """A time to the second, without its zone."""
    return written(time_us // 1_000_000 * 1_000_000)[:19].replace("T", " ")
