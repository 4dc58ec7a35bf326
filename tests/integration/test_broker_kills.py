"""Whoever is killed, and whenever: the next command says so, and no process is left that nobody knows of."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monitor.broker import state
from monitor.broker.cluster import LocalKafka
from tests.integration.broker_processes import COMMAND, brokers_of, clear_away, telltale_kafka, wait_for
from tests.kafka_fixture import require_kafka

pytestmark = pytest.mark.kafka


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    require_kafka()
    yield tmp_path / "kafka"
    clear_away(tmp_path / "kafka")


def launch(data_dir: Path, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "start", "--data", str(data_dir), "--port", "0", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def recorded(data_dir: Path) -> bool:
    """Whether the state names a process."""
    found = state.load(data_dir)
    return found is not None and any(broker.process for broker in found.brokers)


def formatted(data_dir: Path, node: int = 1) -> bool:
    return (data_dir / f"broker-{node}" / "storage" / "meta.properties").exists()


MOMENTS: dict[str, Callable[[Path], object]] = {
    "nothing runs": state.load,
    "the storage is about to be formatted": recorded,
    "the storage is being formatted": brokers_of,
    "the storage is formatted": formatted,
    "the broker is about to run": lambda data_dir: formatted(data_dir) and recorded(data_dir),
    "the broker runs": lambda data_dir: formatted(data_dir) and brokers_of(data_dir),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_launcher_killed_when(moment: str, data_dir: Path) -> None:
    launcher = launch(data_dir)
    wait_for(lambda: MOMENTS[moment](data_dir))
    kill(launcher)

    status = telltale_kafka("status", "--data", data_dir)
    assert f"The last start (pid {launcher.pid}) was killed before it was complete" in status.stdout
    known = [
        int(word.rstrip(",")) for word in status.stdout.replace("(pid ", "pid ").split() if word.rstrip(",").isdigit()
    ]
    assert set(brokers_of(data_dir)) <= set(known), "each process that is left is named"

    stopped = telltale_kafka("stop", "--data", data_dir)
    assert stopped.returncode == 0
    assert "was killed before it was complete" in stopped.stdout
    assert brokers_of(data_dir) == []
    assert "was killed" not in telltale_kafka("status", "--data", data_dir).stdout


@pytest.mark.parametrize("moment", ["the storage is being formatted", "the broker runs"])
def test_start_goes_on_after_a_killed_launcher(moment: str, data_dir: Path) -> None:
    launcher = launch(data_dir)
    wait_for(lambda: MOMENTS[moment](data_dir))
    kill(launcher)
    started = telltale_kafka("start", "--data", data_dir)
    assert started.returncode == 0, started.stderr
    assert f"The last start (pid {launcher.pid}) was killed before it was complete; it left" in started.stderr
    assert len(brokers_of(data_dir)) == 1
    assert LocalKafka(data_dir).status().notes == ()


def test_launcher_of_three_killed(data_dir: Path) -> None:
    launcher = launch(data_dir, "--brokers", "3")
    wait_for(lambda: formatted(data_dir, 3) and len(brokers_of(data_dir)) >= 2)
    kill(launcher)
    assert "before it was complete; it left broker 1" in telltale_kafka("stop", "--data", data_dir).stdout
    assert brokers_of(data_dir) == []


def test_stop_killed_at_a_broker_that_hangs(data_dir: Path) -> None:
    LocalKafka(data_dir, port=0).start()
    [pid] = brokers_of(data_dir)
    os.kill(pid, signal.SIGSTOP)  # it will not end on SIGTERM
    assert not LocalKafka(data_dir).status().running, "it is there, but does not answer"
    stopper = subprocess.Popen([*COMMAND, "stop", "--data", str(data_dir)], stdout=subprocess.DEVNULL)
    wait_for(lambda: state.load(data_dir).phase == "stopping")  # type: ignore[union-attr]
    assert f"A stop is in progress (pid {stopper.pid})." in telltale_kafka("status", "--data", data_dir).stdout
    kill(stopper)

    said = f"The last stop (pid {stopper.pid}) was killed before it was complete; it left broker 1 (pid {pid}) running."
    assert said in telltale_kafka("status", "--data", data_dir).stdout
    stopped = telltale_kafka("stop", "--data", data_dir, "--timeout", "0.5")
    assert said in stopped.stdout
    assert f"Process {pid} did not end within 0.5 s of SIGTERM; killing it (SIGKILL)." in stopped.stdout
    assert brokers_of(data_dir) == []
