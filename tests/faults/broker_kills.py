"""Kills brokers of a cluster of three at random under load, one at a time, and checks the alerts.

    python -m tests.faults.broker_kills --kills 20 --seed 1

Two daemons read six partitions, with three replicas and `min.insync.replicas` 2. A broker is killed (SIGKILL), is down
for 8 to 12 s, longer than its session of 6 s, comes back, and is in sync again before the next one is killed. A
consumer that reads committed alerts records their times; gaps include its own fail-over. Exit status 1 if a daemon
exited, a gap was over 20 s, or an alert was lost, duplicated or wrong.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient

from monitor.broker.cluster import LocalKafka
from tests.faults.rig import Rig

LONGEST_GAP_S = 20.0
WARM_UP_S = 15.0


def in_sync(bootstrap: str, timeout_s: float = 120.0) -> None:
    """Waits until all replicas of every partition are in sync, also of Kafka's own topics."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    try:
        deadline = time.monotonic() + timeout_s
        while not all(
            len(partition["isr_nodes"]) == len(partition["replica_nodes"])
            for topic in admin.describe_topics()
            for partition in topic["partitions"]
        ):
            if time.monotonic() > deadline:
                raise AssertionError(f"the replicas were not in sync again within {timeout_s:.0f} s")
            time.sleep(0.5)
    finally:
        admin.close()


def transactions_kept(bootstrap: str, rig: Rig) -> dict[int, list[str]]:
    """Per broker: the daemons whose transactions it coordinates."""
    admin: Any = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    try:
        names = [daemon.log_path.parent.name for daemon in rig.daemons]
        found = admin.describe_transactions([f"faults/{name}" for name in names])
    finally:
        admin.close()
    kept: dict[int, list[str]] = {}
    for name in names:
        kept.setdefault(found[f"faults/{name}"].coordinator_id, []).append(name)
    return kept


def run(kills: int, seed: int) -> bool:
    rng = random.Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="telltale-faults-") as name,
        LocalKafka(Path(name) / "kafka", port=0, brokers=3) as kafka,
        Rig(Path(name), kafka.bootstrap_servers, daemons=2) as rig,
    ):
        time.sleep(WARM_UP_S)
        began = time.monotonic()
        print(f"{'kill':>4} {'broker':>6} {'away s':>7} {'gap s':>6}  transactions of", flush=True)
        for number in range(1, kills + 1):
            node, away_s = rng.randint(1, 3), rng.uniform(8, 12)
            kept = transactions_kept(kafka.bootstrap_servers, rig).get(node, [])
            killed = time.monotonic()
            kafka.kill(node)
            time.sleep(away_s)
            kafka.restart(node)
            in_sync(kafka.bootstrap_servers)
            time.sleep(rng.uniform(0, 2))
            gap = rig.watch.longest_gap(killed, time.monotonic())
            print(
                f"{number:>4} {node:>6} {away_s:>7.1f} {gap:>6.1f}  {', '.join(kept)} {rig.exits() or ''}", flush=True
            )
        longest = rig.watch.longest_gap(began, time.monotonic())
        exits = rig.exits()
        if exits:
            print(f"ended: {exits}")
            return False
        verdict = rig.finish()
        print(f"{kills} kills, seed {seed}: no exit, longest gap between alerts {longest:.1f} s; {verdict}")
        return verdict.holds and longest <= LONGEST_GAP_S


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    return 0 if run(options.kills, options.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
