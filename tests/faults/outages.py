"""Stops the only broker under load, and checks what the daemon logs and does meanwhile.

    python -m tests.faults.outages [SECONDS ...]   (180 by default)

One daemon, one broker, with the daemon's default timeouts. The load continues until the broker dies, so that commits
are in progress or due at that time. Exit status 1 if the daemon exited, logged more than 20 lines at info, was still
ready after 15 s, was not ready again within 15 s, or if an alert was lost, duplicated or wrong.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from monitor.broker.cluster import LocalKafka
from tests.acceptance.daemon_process import DaemonProcess
from tests.faults.rig import Rig
from tests.integration.broker_processes import SHORT_SESSION

WARM_UP_S = 8.0
WITHIN_S = 15.0
MOST_LINES = 20


def until_ready(daemon: DaemonProcess, status: int) -> float:
    """Seconds until /readyz responds with `status`."""
    began = time.monotonic()
    daemon.wait_until(lambda: daemon.get("/readyz")[0] == status, f"/readyz {status}", 60.0)
    return time.monotonic() - began


def outage(kafka: LocalKafka, rig: Rig, seconds: float) -> bool:
    (daemon,) = rig.daemons
    time.sleep(WARM_UP_S)
    begin = daemon.log_path.stat().st_size
    began = time.monotonic()
    kafka.kill()
    unready_s = until_ready(daemon, 503)
    while time.monotonic() - began < seconds:
        if rig.exits():
            print(f"  ended after {time.monotonic() - began:.0f} s: {rig.exits()}\n{daemon.log_text()}")
            return False
        time.sleep(0.2)
    kafka.restart()
    ready_s = until_ready(daemon, 200)
    time.sleep(WARM_UP_S)
    aborts, lines = daemon.metric("telltale_aborts_total"), daemon.log_path.read_bytes()[begin:].splitlines()
    verdict = rig.finish()
    print(
        f"{seconds:g} s: not ready after {unready_s:.1f} s, ready {ready_s:.1f} s after it, {len(lines)} lines, "
        f"{aborts:g} restores; {verdict}"
    )
    good = verdict.holds and max(unready_s, ready_s) <= WITHIN_S and len(lines) <= MOST_LINES
    if not good:
        print(*(line.decode() for line in lines), sep="\n")
    return good


def main() -> int:
    good = True
    for seconds in map(float, sys.argv[1:] or ["180"]):
        with (
            tempfile.TemporaryDirectory(prefix="telltale-faults-") as directory,
            LocalKafka(Path(directory) / "kafka", port=0, settings=SHORT_SESSION) as kafka,
            Rig(Path(directory), kafka.bootstrap_servers, daemons=1) as rig,
        ):
            good = outage(kafka, rig, seconds) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
