"""Processes: known by more than their pid, started behind a gate, signalled only if they are who they were."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from monitor.broker import process, state
from monitor.broker.cluster import LocalKafka
from monitor.errors import BrokerError


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as running:
        yield running
        running.kill()


def identified(pid: int) -> process.Process:
    found = process.identify(pid)
    assert found is not None
    return found


def test_a_process_is_its_pid_and_its_start_and_its_boot(sleeper: subprocess.Popen[bytes]) -> None:
    found = identified(sleeper.pid)
    assert found == identified(sleeper.pid)
    assert process.is_alive(found)
    assert process.current().pid == os.getpid()
    for change in ({"started": "1"}, {"boot": "another"}):
        assert not process.is_alive(msgspec.structs.replace(found, **change))
    assert not process.is_alive(None)


def test_the_unreaped_rest_of_a_process_is_no_process(sleeper: subprocess.Popen[bytes]) -> None:
    found = identified(sleeper.pid)
    sleeper.kill()
    assert process.wait_until_gone([found], 5.0) == []
    assert Path(f"/proc/{sleeper.pid}").exists(), "its parent, this test, has not waited for it"


@pytest.mark.skipif(shutil.which("ps") is None, reason="it is `ps` then that says when a process was started")
def test_where_there_is_no_proc(sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PROC", Path("/nowhere"))
    found = identified(sleeper.pid)
    assert found.boot == ""
    assert found == identified(sleeper.pid)
    assert process.resident_mb(found) is None
    sleeper.kill()
    assert process.wait_until_gone([found], 5.0) == []


def test_a_recycled_pid_gets_no_signal(sleeper: subprocess.Popen[bytes]) -> None:
    other = msgspec.structs.replace(identified(sleeper.pid), started="1")
    assert not process.send_signal(other, signal.SIGKILL)
    assert sleeper.poll() is None
    assert process.send_signal(identified(sleeper.pid), signal.SIGKILL)
    assert sleeper.wait(5) == -signal.SIGKILL


def test_stop_leaves_a_recycled_pid_alone(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    other = msgspec.structs.replace(identified(sleeper.pid), started="1")
    broker = state.BrokerState(node=1, port=20001, controller_port=20002, process=other)
    state.save(
        tmp_path,
        state.ClusterState(cluster_id="x", phase="running", actor=None, heap_mb=512, settings={}, brokers=(broker,)),
    )
    said: list[str] = []
    kafka = LocalKafka(tmp_path, report=said.append)
    assert not kafka.status().running
    with pytest.raises(BrokerError, match=r"broker 1 of .* does not run"):
        kafka.kill()
    kafka.stop()
    assert said == [
        f"Broker 1 (pid {sleeper.pid}) has ended without being stopped: killed, or failed.",
        f"Nothing to stop: no broker runs in {tmp_path}.",
    ]
    assert sleeper.poll() is None


@dataclass
class Log:
    """What was on record at the moment when the program was let through the gate."""

    recorded: list[process.Process]


def test_a_detached_program(tmp_path: Path) -> None:
    log = Log([])
    output = tmp_path / "out put"
    found = process.start_detached(
        ["/bin/sh", "-c", 'echo "$1, $(pwd)"; exec sleep 60', "sh", "it's $HOME"],
        output=output,
        directory=tmp_path,
        record=log.recorded.append,
    )
    assert log.recorded == [found], "it stays the same process behind the gate"
    assert process.is_alive(found)
    assert os.getsid(found.pid) != os.getsid(0), "our terminal's signals do not reach it"
    deadline = time.monotonic() + 10
    while not output.exists() or not output.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert output.read_text() == f"it's $HOME, {tmp_path}\n"
    assert process.send_signal(found, signal.SIGTERM)
    assert process.wait_until_gone([found], 5.0) == []


def test_a_program_that_cannot_be_put_on_record_does_not_run(tmp_path: Path) -> None:
    started: list[process.Process] = []

    def disk_full(found: process.Process) -> None:
        started.append(found)
        raise BrokerError("the disk is full")

    with pytest.raises(BrokerError, match="the disk is full"):
        process.start_detached(
            ["/bin/sh", "-c", "touch ran"], output=tmp_path / "output", directory=tmp_path, record=disk_full
        )
    assert process.wait_until_gone(started, 5.0) == []
    assert not (tmp_path / "ran").exists()


def test_a_caller_killed_before_the_record_leaves_no_process(tmp_path: Path) -> None:
    """The moment that no test of the whole start can hit for sure."""
    program = f"""
import os, signal
from pathlib import Path
from monitor.broker import process
def killed(found):
    Path("pid").write_text(str(found.pid))
    os.kill(os.getpid(), signal.SIGKILL)
directory = Path({str(tmp_path)!r})
process.start_detached(["/bin/sh", "-c", "touch ran"], output=Path("output"), directory=directory, record=killed)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(process.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=tmp_path, env=environment)
    assert done.returncode == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while process.identify(pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not (tmp_path / "ran").exists()
