"""Who stands still when a second daemon comes, and when it goes? `python -m tests.benchmarks.rebalance [--series N]`

Real commands `telltale run` in one group, one real broker, a steady stream on every partition in which each record of
one series is an alert. The gap of a partition is the longest time between two alerts of it, by the times at which they
were written; without a rebalance it is a tenth of a second. `kept` are the partitions that the first daemon keeps,
`moved` those that go to the second. `arrival` begins when its process does, `arrival once joined` when it asks to be
let in: the first also holds what the second process takes of the cores while it loads and compiles. A daemon that is
stopped leaves its partitions to its own next start until `kafka.session_timeout_ms` (the default, 15 s): `back` is a
restart within it, `departure` the end without one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from monitor.backends.kafka import FeedProducer, create_topic, read_topic
from monitor.broker.cluster import LocalKafka
from monitor.detector import storage
from tests.acceptance.daemon_process import DaemonProcess
from tests.benchmarks import report
from tests.helpers import make_artifact

PARTITIONS = 8
BEAT_S = 0.02
SETTLED_S = 4.0
LENGTH = 64


class Stream(threading.Thread):
    """Every beat one record of the loud series of each partition; a background of the quiet ones, each in its turn."""

    def __init__(self, servers: str, topic: str, series: int) -> None:
        super().__init__(name="stream", daemon=True)
        self._servers, self._topic = servers, topic
        self._quiet = [(number % PARTITIONS, b"quiet-%d" % number) for number in range(series)]
        self._ended = threading.Event()

    def fill(self) -> None:
        """A whole window of every quiet series, so that there is state to take over."""
        values = b"[" + b",".join([b"0.0"] * LENGTH) + b"]"
        with FeedProducer(self._servers) as producer:
            for partition, key in self._quiet:
                producer.send(self._topic, b'{"values": %b, "rate_hz": 50}' % values, key, partition=partition)

    def run(self) -> None:
        turn = 0
        with FeedProducer(self._servers) as producer:
            while not self._ended.wait(BEAT_S):
                for partition in range(PARTITIONS):
                    producer.send(self._topic, b'{"value": 9.0}', b"loud-%d" % partition, partition=partition)
                for _ in range(20):
                    partition, key = self._quiet[turn % len(self._quiet)]
                    producer.send(self._topic, b'{"value": 0.0}', key, partition=partition)
                    turn += 1

    def end(self) -> None:
        self._ended.set()
        self.join()


class Pair:
    """Two daemons of one group."""

    def __init__(self, servers: str, directory: Path, series: int) -> None:
        self.name = f"rebalance.{uuid.uuid4().hex[:8]}"
        self.servers, self.directory = servers, directory
        create_topic(servers, self.name, PARTITIONS)
        storage.save(make_artifact(length=LENGTH, hop=1, threshold=0.5), directory / "artifact")
        self.stream = Stream(servers, self.name, series)
        self.stream.fill()

    def daemon(self, instance: str) -> DaemonProcess:
        return DaemonProcess(
            self.directory / instance,
            {
                "service": {"instance": instance},
                "kafka": {"bootstrap_servers": [self.servers], "group_id": self.name},
                "input": {"topics": [self.name], "start": "earliest"},
                "output": {"alerts": f"{self.name}.alerts", "dead_letters": f"{self.name}.dead"},
                "model": {"artifact": str(self.directory / "artifact")},
                "alerting": {"update_every": 1},
            },
        )

    def gaps(self, begin_s: float, end_s: float) -> dict[int, float]:
        """The longest time without an alert of each partition, in seconds."""
        times: dict[int, list[float]] = defaultdict(lambda: [begin_s])
        for record in read_topic(self.servers, f"{self.name}.alerts"):
            at_s = record.timestamp_ms / 1000
            if begin_s <= at_s <= end_s:
                times[json.loads(record.value or b"")["data"]["kafka"]["partition"]].append(at_s)
        return {
            partition: max(later - earlier for earlier, later in zip(at, [*at[1:], end_s], strict=True))
            for partition in range(PARTITIONS)
            for at in [sorted(times[partition])]
        }


def owned(daemon: DaemonProcess) -> set[int]:
    """The partitions that a daemon says it has taken over and not given back."""
    found: set[int] = set()
    for event in daemon.events():
        if event["event"] in ("Partition assigned.", "Partition revoked."):
            number = int(event["partition"].rpartition("-")[2])
            (found.add if event["event"] == "Partition assigned." else found.discard)(number)
    return found


def joined_s(daemon: DaemonProcess) -> float:
    """When it last said that it joins, in seconds since 1970."""
    said = [event["timestamp"] for event in daemon.events() if event["event"] == "Joined the group."]
    return datetime.fromisoformat(said[-1]).timestamp()


def wait_until_shared(first: DaemonProcess, second: DaemonProcess) -> None:
    first.wait_until(
        lambda: len(owned(first)) == len(owned(second)) == PARTITIONS // 2 and second.get("/readyz")[0] == 200,
        "shared",
    )
    time.sleep(SETTLED_S)


def rounds(servers: str, directory: Path, series: int) -> dict[str, float]:
    """One arrival, one restart, one departure: the longest gaps, in seconds."""
    pair = Pair(servers, directory, series)
    found: dict[str, float] = {}

    def note(name: str, begin_s: float, kept: set[int]) -> None:
        gaps = pair.gaps(begin_s, time.time())
        found[f"{name}, kept"] = max(gaps[partition] for partition in kept)
        found[f"{name}, moved"] = max(gaps[partition] for partition in set(gaps) - kept)

    with pair.daemon("one") as first, pair.daemon("two") as second:
        first.start()
        pair.stream.start()
        time.sleep(SETTLED_S)
        begin_s = time.time()
        time.sleep(SETTLED_S)
        found["undisturbed"] = max(pair.gaps(begin_s, time.time()).values())
        begin_s = time.time()
        second.start()
        wait_until_shared(first, second)
        kept = owned(first)
        note("arrival", begin_s, kept)
        note("arrival once joined", joined_s(second), kept)
        begin_s = time.time()
        second.stop()
        second.start()
        wait_until_shared(first, second)
        note("back", begin_s, kept)
        begin_s = time.time()
        second.stop()
        first.wait_until(lambda: len(owned(first)) == PARTITIONS, "taken over")
        time.sleep(SETTLED_S)
        note("departure", begin_s, kept)
        pair.stream.end()
        first.stop()
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    print(report.header(f"Rebalances: {PARTITIONS} partitions, {options.series} series", ("kafka-python", "jax")))
    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as directory, LocalKafka(Path(directory) / "kafka", port=0) as kafka:
        for number in range(options.rounds):
            for name, gap in rounds(kafka.bootstrap_servers, Path(directory) / str(number), options.series).items():
                found[name].append(gap)
            print(f"round {number + 1}:", {name: round(gaps[-1], 2) for name, gaps in found.items()}, flush=True)
    heads = ("longest gap, s", "least", "median", "greatest")
    print(report.table(heads, [(name, *report.spread(gaps, ".2f")) for name, gaps in found.items()]))


if __name__ == "__main__":
    main()
