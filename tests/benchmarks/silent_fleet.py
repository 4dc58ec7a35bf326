"""A tenth of a fleet goes silent and comes back: who is named when, in how many messages, and who by mistake.

Devices send once a minute, each at a second of its own, with a jitter of 5 % and with lost records where that is asked
for. After 40 minutes every tenth sends nothing for 20 minutes. The daemon's processor reads them in polls of 10,000
records; "named" is when an alert or a digest is published, in the partition's time, since the device's last record.

    python -m tests.benchmarks.silent_fleet
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from monitor.backends.abstract import RecordColumns
from monitor.detector.arrays import Float64Array, Int64Array
from monitor.messages.quality import Event, QualityAlert, QualityDigest
from tests.helpers import INPUT, make_artifact, make_config, make_processor_at_zero, score_all

PERIOD_S, JITTER, EVERY = 60, 0.05, 10
WARM, SILENT, AFTER = 40, 20, 4  # periods
BEGIN_MS, POLL = 1_764_600_000_000, 10_000
VALUE = b'{"value": 0.5}'


@dataclass
class Found:
    """What was published: of each device when it was named and resolved, in ms; and how many messages by kind."""

    named: dict[int, float] = field(default_factory=dict)
    resolved: dict[int, float] = field(default_factory=dict)
    last_ms: dict[int, float] = field(default_factory=dict)
    messages: Counter[tuple[str, str]] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)
    records: int = 0
    seconds: float = 0.0

    def add(self, event: Event, now_ms: float) -> None:
        if isinstance(event, QualityDigest):
            kind = "digests" if event.data.parts == 1 else f"digests in {event.data.parts} parts"
            names, is_first = [each.series for each in event.data.incidents], event.data.part == 1
        else:
            assert isinstance(event, QualityAlert)
            kind, names, is_first = "alerts", [event.data.series], True
        if is_first:
            self.messages[kind, event.data.status] += 1
            self.texts.append(event.data.summary)
        when = self.named if event.data.status == "firing" else self.resolved
        when |= {int(name[4:]): now_ms for name in names}

    @property
    def periods(self) -> Float64Array:
        """How many of its own periods after its last record each silent device was named."""
        took_ms = [at_ms - self.last_ms[device] for device, at_ms in self.named.items() if device in self.last_ms]
        return np.array(took_ms) / 1000 / PERIOD_S


def fleet(devices: int, lost: float, seed: int) -> Iterator[tuple[Int64Array, Int64Array]]:
    """Records by period, in order of time: the devices, and times in ms."""
    rng = np.random.default_rng(seed)
    phase = rng.random(devices)
    silent = np.arange(devices) % EVERY == 0
    for period in range(WARM + SILENT + AFTER):
        sends = rng.random(devices) >= lost
        sends &= ~(silent & (WARM <= period < WARM + SILENT))
        at = period + phase + rng.uniform(-JITTER, JITTER, devices)
        sender = np.flatnonzero(sends)
        order = np.argsort(at[sender])
        times_ms: Int64Array = BEGIN_MS + np.rint(at[sender][order] * PERIOD_S * 1000).astype(np.int64)
        yield sender[order], times_ms


def run(devices: int, lost: float = 0.0, seed: int = 1) -> Found:
    """What the processor publishes of a fleet."""
    processor = make_processor_at_zero(
        make_config(input={"start": "earliest", "max_series": devices}),
        make_artifact(length=8, hop=8, threshold=1e6, batch_rows=1024),
    )
    found, names, now_ms = Found(), [b"dev-%06d" % number for number in range(devices)], 0.0
    for sender, times_ms in fleet(devices, lost, seed):
        if times_ms[0] < BEGIN_MS + WARM * PERIOD_S * 1000:
            found.last_ms |= {
                int(each): float(at) for each, at in zip(sender, times_ms, strict=True) if not each % EVERY
            }
        for first in range(0, len(sender), POLL):
            keys: list[bytes | None] = [names[each] for each in sender[first : first + POLL].tolist()]
            end = found.records + len(keys)
            columns = RecordColumns(
                INPUT, np.arange(found.records, end), times_ms[first : first + POLL], keys, [VALUE] * len(keys), end
            )
            started = time.perf_counter()
            processor.receive(columns)
            score_all(processor)
            outputs = processor.take_outputs()
            found.seconds += time.perf_counter() - started
            found.records, now_ms = end, max(now_ms, float(columns.timestamps_ms.max()))
            for event in outputs.alerts:
                found.add(event, now_ms)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=50_000)
    parser.add_argument("--lost", type=float, default=0.0, help="share of records that never arrive")
    options = parser.parse_args()
    found = run(options.devices, options.lost)
    silent = {device for device in range(options.devices) if device % EVERY == 0}
    print(f"{options.devices:,} devices, {options.lost:.1%} of the records lost: {found.records:,} records")
    named = silent & found.named.keys()
    print(f"named {len(named):,} of {len(silent):,}, resolved {len(named & found.resolved.keys()):,}")
    print(f"by mistake {len(found.named.keys() - silent):,}")
    print(f"after {np.median(found.periods):.1f} of their own periods at the median, {found.periods.max():.1f} at most")
    for (kind, status), count in sorted(found.messages.items()):
        print(f"{kind}, {status}: {count}")
    print(f"{found.seconds:.1f} s, {1e6 * found.seconds / found.records:.2f} us a record")
    print(*found.texts[:6], sep="\n")


if __name__ == "__main__":
    main()
