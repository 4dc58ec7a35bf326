"""Kills and stops members inside a transaction, measures takeovers and checks the alerts.

    python -m tests.faults.members [WORD ...]   (cases whose name contains a word; all by default)

Two daemons on one broker, with the daemon's default timeouts unless the case says otherwise. Inside: the broker reports
that the transaction is open. A takeover is complete when alerts of every partition arrive again. Exit status 1 if a
daemon exited by itself, or an alert was lost, duplicated or wrong.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient

from monitor.broker.cluster import LocalKafka
from tests.acceptance.daemon_process import DaemonProcess
from tests.faults.rig import PARTITIONS, Rig

WARM_UP_S = 8.0


def stop_inside_a_transaction(bootstrap: str, daemon: DaemonProcess, timeout_s: float = 60.0) -> None:
    """Stops a daemon (SIGSTOP), repeatedly until it has a transaction open."""
    name = f"faults/{daemon.log_path.parent.name}"
    admin: Any = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            daemon.signal(signal.SIGSTOP)
            if admin.describe_transactions([name])[name].state.value == "Ongoing":
                return
            daemon.signal(signal.SIGCONT)
            assert time.monotonic() < deadline, f"no transaction of {name} was open at any of many stops"
            time.sleep(0.05)
    finally:
        admin.close()


def until_all_come_again(rig: Rig, since: float, timeout_s: float = 120.0) -> float:
    """Seconds from `since` until alerts of every partition have arrived."""
    deadline = time.monotonic() + timeout_s
    while True:
        came = {
            json.loads(value)["data"]["kafka"]["partition"]: at - since
            for at, value in reversed(list(zip(rig.watch.arrivals, rig.watch.values, strict=False)))
            if at > since
        }
        if len(came) == PARTITIONS:
            return max(came.values())
        assert time.monotonic() < deadline, f"only partitions {sorted(came)} arrived again within {timeout_s:.0f} s"
        time.sleep(0.1)


def killed(bootstrap: str, rig: Rig) -> str:
    victim = rig.daemons[0]
    stop_inside_a_transaction(bootstrap, victim)
    began = time.monotonic()
    victim.kill()
    took = until_all_come_again(rig, began)
    del rig.daemons[0]
    return f"taken over after {took:.1f} s"


def slept(bootstrap: str, rig: Rig, seconds: float) -> str:
    sleeper = rig.daemons[0]
    stop_inside_a_transaction(bootstrap, sleeper)
    time.sleep(seconds)
    woke = time.monotonic()
    sleeper.signal(signal.SIGCONT)
    took = until_all_come_again(rig, woke)
    time.sleep(5)
    return f"all partitions {took:.1f} s after it woke"


CASES = {
    "killed (session 15 s, transaction 30 s)": (killed, {}),
    "killed (session 6 s, transaction 30 s)": (killed, {"session_timeout_ms": 6_000}),
    "slept 13 s (session 15 s, transaction 10 s)": (
        lambda servers, rig: slept(servers, rig, 13),
        {"transaction_timeout_ms": 10_000},
    ),
    "slept 45 s (session 15 s, transaction 30 s)": (lambda servers, rig: slept(servers, rig, 45), {}),
}


def main() -> int:
    good = True
    for name, (case, options) in CASES.items():
        if not any(word in name for word in sys.argv[1:] or [""]):
            continue
        with (
            tempfile.TemporaryDirectory(prefix="telltale-faults-") as directory,
            LocalKafka(Path(directory) / "kafka", port=0) as kafka,
            Rig(Path(directory), kafka.bootstrap_servers, daemons=2, kafka=options) as rig,
        ):
            time.sleep(WARM_UP_S)
            said = case(kafka.bootstrap_servers, rig)
            exits = rig.exits()
            if exits:
                print(*(daemon.log_text() for daemon in rig.daemons if daemon.exit_code() is not None), sep="\n")
                said, good = f"{said}; ended: {exits}", False
            else:
                verdict = rig.finish()
                said, good = f"{said}; {verdict}", good and verdict.holds
            print(f"{name}: {said}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
