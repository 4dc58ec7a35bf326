"""Data quality on public series: how often do its rules raise false alarms, and how soon do they name a dead channel?

What training knows of each channel is measured on the part that a trainer would be given, and the daemon's checks watch
the rest. Every opening there counts as a false alarm, also where the data really stands still: they are listed. Then
all channels die in the middle of the rest, each in the same way and each by itself for the checks, and the table says
how many are named within 3,000 samples, and after how many.

Time goes on in the pauses of a series, as the records of others in its partition would move it. `schema_mismatch` has
nothing to report, as these series come without their records: none is rejected.

    TELLTALE_DATA=... python -m tests.benchmarks.quality
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np

from monitor.detector.arrays import Float32Array, Float64Array, Int64Array
from monitor.detector.event_time import EventTime, Reached
from monitor.detector.incidents import Status, steps
from monitor.detector.memory import Memory
from monitor.detector.spec import Manifest
from monitor.detector.windows import Samples
from monitor.processing.checks import Findings, QualityRules, checks_of
from monitor.processing.turns import Course, Turn
from tests.benchmarks.public_series import Stream, streams
from tests.helpers import make_artifact
from tests.turns import samples_of, turns_of
from training.windows import channel_quality

RULES = ("no_data", "flatline", "nan_ratio", "out_of_range", "late_burst", "schema_mismatch", "drift")
AFTER = 3_000  # samples, within which a dead channel is to be named
TURN = 20_000  # samples
STEPS = 64  # of the partition's time in a pause

# From the numbers (k, channels) after a channel dies, and those learnt from, to what it reads.
Fault = Callable[[Float64Array, Float64Array], Float64Array]


def _every(step: int, rest: Float64Array, value: float) -> Float64Array:
    return np.where(np.arange(len(rest))[:, None] % step, rest, value)


FAULTS: dict[str, Fault] = {
    "stuck at its last value": lambda rest, _: np.broadcast_to(rest[0], rest.shape),
    "stuck at its mean": lambda rest, learnt: np.broadcast_to(learnt.mean(axis=0), rest.shape),
    "stuck at its highest": lambda rest, learnt: np.broadcast_to(learnt.max(axis=0), rest.shape),
    "stuck at 0": lambda rest, _: np.zeros_like(rest),
    "stuck at -9999": lambda rest, _: np.full_like(rest, -9999.0),
    "-9999 in one of ten": lambda rest, _: _every(10, rest, -9999.0),
    "missing": lambda rest, _: np.full_like(rest, np.nan),
    "missing every second": lambda rest, _: _every(2, rest, np.nan),
    "times 1,000": lambda rest, _: rest * 1_000,
    "times 1.8, plus 32": lambda rest, _: rest * 1.8 + 32,
}


@dataclass(slots=True)
class Row:
    """What was found in a group of series."""

    series: int = 0
    channels: int = 0
    weeks: float = 0.0
    most: float = 0.0
    opened: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RULES, 0))


def manifest_of(values: Float32Array) -> Manifest:
    """As training has it of normal samples."""
    names = [f"c{at}" for at in range(values.shape[1])]
    manifest = make_artifact(length=2, hop=2, channels=names, widths=(1,)).manifest
    return msgspec.structs.replace(manifest, quality=channel_quality.measure([values], names, ()))


def turns(samples: Samples) -> Iterator[Turn]:
    """Turns of one series, of which late samples are dropped."""
    event_time = EventTime(None)
    event_time.grow(1)
    before_us = int(samples.time_us[0])
    for turn in turns_of(samples, range(TURN, len(samples), TURN)):
        assert isinstance(turn.taken, Samples)
        ordered = event_time.order(turn.taken)
        at_us = np.maximum.accumulate(np.append(before_us, turn.at_us))
        course = Course(going_on(turn.taken.offset, at_us))
        late = None if ordered.dropped is None else ordered.dropped.samples
        yield replace(turn, at_us=at_us[1:], course=course, ordered=ordered, late=late)
        before_us = int(at_us[-1])


def going_on(offset: Int64Array, at_us: Int64Array) -> Reached:
    """The partition's time before records and after each, `at_us` (n + 1,), and on the way in pauses that are long."""
    pauses = np.diff(at_us)
    long = np.flatnonzero(pauses > 4 * np.median(pauses))
    between_us = at_us[long, None] + (np.arange(1, STEPS) / STEPS * pauses[long, None]).astype(np.int64)
    positions = np.concatenate([offset, np.repeat(offset[long] - 1, STEPS - 1)])
    newest_us = np.concatenate([at_us[1:], between_us.ravel()])
    order = np.lexsort((newest_us, positions))
    return Reached(positions[order], np.append(at_us[:1], newest_us[order]))


def openings(manifest: Manifest, samples: Samples) -> list[tuple[str, int, int]]:
    """What opens an incident: rule, channel and sample."""
    found: list[tuple[str, int, int]] = []
    for rule, check in checks_of(manifest, QualityRules()).items():
        memory = Memory.full(1, check.nothing)
        made = [check.take(turn, memory) for turn in turns(samples)] if rule in RULES else []
        for channel in {int(each) for part in made if part is not None for each in part.channel}:
            said = Findings.concatenate([part[part.channel == channel] for part in made if part is not None])
            said = said[np.argsort(said.offset, kind="stable")]
            opens = steps((said.value > said.threshold).astype(np.int8), check.policy)[Status.FIRING]
            found += [(rule, channel, at) for at in said.offset[opens].tolist()]
    return sorted(found)


def rest_of(stream: Stream, values: Float64Array) -> Samples:
    """`values` (k, channels), which come after those learnt from."""
    times = stream.time_us[stream.learnt :][: len(values)]
    made = samples_of(np.zeros(len(values), dtype=np.int64), values, times)
    return replace(made, ties=np.zeros(len(values), dtype=np.bool_))


def named(stream: Stream, manifest: Manifest, fault: Fault) -> list[int | None]:
    """After how many samples each channel is named that dies in the middle of the rest; None: not at all."""
    learnt, rest = stream.values[: stream.learnt], stream.values[stream.learnt :]
    dies = len(rest) // 2
    changed = rest[: dies + AFTER].copy()
    changed[dies:] = fault(changed[dies:], learnt)
    first: dict[int, int] = {}
    for _, channel, at in openings(manifest, rest_of(stream, changed)):
        if at >= dies and channel >= 0:
            first[channel] = min(at - dies + 1, first.get(channel, AFTER))
    return [first.get(channel) for channel in range(rest.shape[1])]


def moving(stream: Stream) -> list[bool]:
    """Which channels move in at least one of ten samples of those learnt from."""
    learnt = stream.values[: stream.learnt]
    moves: list[bool] = ((np.diff(learnt, axis=0) != 0).mean(axis=0) >= 0.1).tolist()
    return moves


def main() -> None:
    rows: dict[str, Row] = defaultdict(Row)
    after: dict[str, list[tuple[bool, int | None]]] = defaultdict(list)
    for stream in streams(Path(os.environ["TELLTALE_DATA"])):
        manifest = manifest_of(stream.values[: stream.learnt].astype(np.float32))
        found = openings(manifest, rest_of(stream, stream.values[stream.learnt :]))
        row = rows[stream.group]
        row.series, row.channels = row.series + 1, row.channels + stream.values.shape[1]
        row.weeks, row.most = row.weeks + stream.weeks, max(row.most, len(found) / max(1.0, stream.weeks))
        for rule, channel, at in found:
            row.opened[rule] += 1
            value = "" if channel < 0 else f"channel {channel} reads {stream.values[stream.learnt + at, channel]:g}, "
            label = "labelled" if stream.anomalous[stream.learnt + at] else "not labelled"
            print(f"{stream.group} {stream.name}: {rule}, {value}sample {at}, {label}")
        for fault, change in FAULTS.items():
            after[fault] += zip(moving(stream), named(stream, manifest, change), strict=True)
    print("\n| series | of | channels | weeks | " + " | ".join(RULES) + " | most of one series a week |")
    for group, row in rows.items():
        counts = " | ".join(str(row.opened[rule]) for rule in RULES)
        print(f"| {group} | {row.series} | {row.channels} | {row.weeks:.3g} | {counts} | {row.most:.2g} |")
    print("\n| fault | channels that move, named | after samples, median (90 %) | others, named |")
    for fault, each in after.items():
        moves, others = ([at for is_moving, at in each if is_moving is kind] for kind in (True, False))
        times = [at for at in moves if at is not None]
        middle, late = np.percentile(times, [50, 90]) if times else (np.nan, np.nan)
        print(
            f"| {fault} | {len(times)} of {len(moves)} | {middle:.0f} ({late:.0f}) | "
            f"{sum(at is not None for at in others)} of {len(others)} |"
        )


if __name__ == "__main__":
    main()
