"""What the tests of the local broker share: its command line, and a look at the machine's processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from monitor.broker.cluster import LocalKafka

COMMAND = [sys.executable, "-m", "monitor.broker"]
# A killed broker may come back when its session has expired: 6 s by default, long for a test.
SHORT_SESSION = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}


def telltale_kafka(
    *arguments: str | Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `telltale kafka ...`."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment
    )


def brokers_of(data_dir: Path) -> list[int]:
    """The pids of all Java processes that carry this data directory's mark, whoever knows of them."""
    mark = f"-Dtelltale.data={data_dir}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark in arguments and arguments[0].endswith(b"java"):
            found.append(int(process.name))
    return found


def wait_for(condition: Callable[[], object], timeout_secs: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_secs
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def clear_away(data_dir: Path) -> None:
    """Stop what a test started, whatever became of the test."""
    LocalKafka(data_dir).stop(5.0)
    assert brokers_of(data_dir) == []
