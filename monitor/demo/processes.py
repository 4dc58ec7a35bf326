"""The demo's processes, the trainer and the daemon, and their messages when they fail.

Rules of this file: each runs in a session of its own, so that Ctrl-C reaches the demo alone and the demo stops them in
order. If one fails, the error contains the end of its output.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO

import msgspec

from monitor.broker import logs
from monitor.broker.cluster import LocalKafka
from monitor.config.file import ENVIRONMENT_PREFIX
from monitor.demo.interruption import Interruptions
from monitor.errors import EXIT_SOFTWARE, BrokerError, TelltaleError

READY_TIMEOUT_S = 60.0  # 3-5 s on a quiet machine; most of it is importing and compiling
STOP_TIMEOUT_S = 15.0  # the daemon's own deadline is shorter
POLL_S = 0.05
_QUOTED = 12
_EPOCH = re.compile(r"epoch (\d+)/(\d+)")


class PartError(TelltaleError):
    """A process that the demo started has failed."""

    exit_code = EXIT_SOFTWARE


def environment() -> dict[str, str]:
    """Our environment without daemon options: the demo's daemon reads its own file only."""
    return {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}


def command(*arguments: str) -> list[str]:
    """`telltale ARGUMENTS` with this interpreter; never a `monitor` from the current directory."""
    return [sys.executable, "-P", "-m", "monitor", *arguments]


def train(
    interruptions: Interruptions,
    data: Sequence[Path],
    *,
    recipe: str,
    seed: int,
    out: Path,
    on_epoch: Callable[[int, int], None],
) -> str:
    """Runs `telltale train` and returns its stdout.

    Raises:
        PartError: it failed.
    """
    arguments = ["train", *map(str, data), "--recipe", recipe, "--seed", str(seed), "--out", str(out)]
    said = out.parent / "train.log"
    notes = []
    trainer = _Trainer()
    try:
        with interruptions.held(), said.open("wb") as file:
            complaints = trainer.start(command(*arguments), file, out.parent)
        for line in complaints:
            epoch = _EPOCH.match(line)
            if epoch:
                on_epoch(int(epoch[1]), int(epoch[2]))
            else:
                notes.append(line.rstrip())
        code = trainer.wait()
    finally:
        trainer.end()
    if code:
        raise PartError("\n".join([f"`telltale train` failed with exit code {code}:", *_indented(notes)]))
    return said.read_text()


class _Trainer:
    """The trainer's process, which is killed if the demo is interrupted."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self, arguments: Sequence[str], output: BinaryIO, directory: Path) -> IO[str]:
        """Starts it and returns its stderr."""
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            cwd=directory,
            env=environment(),
            start_new_session=True,
        )
        assert self._process.stderr is not None
        return self._process.stderr

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait()

    def end(self) -> None:
        """Kills it if it is still running."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()


class DaemonProcess:
    """`telltale run` in a process of its own, its log in a file."""

    def __init__(self, config: Path, log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command("run", "--config", str(config)),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=config.parent,
                env=environment(),
                start_new_session=True,
            )
        self.address = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raises PartError if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise PartError("\n".join([f"the daemon ended with exit code {code}; the end of its log:", *self.tail()]))

    def wait_ready(self) -> None:
        """Waits until /readyz responds 200."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            self.check()
            self.address = self.address or self._announced()
            if self.address and self._get("/readyz")[0] == 200:
                return
            if time.monotonic() > deadline:
                words = [f"the daemon was not ready within {READY_TIMEOUT_S:.0f} s; the end of its log:", *self.tail()]
                raise PartError("\n".join(words))
            time.sleep(POLL_S)

    def metrics(self) -> str:
        """Its metrics as Prometheus text; empty while it does not respond."""
        status, text = self._get("/metrics")
        return text if status == 200 else ""

    def stop(self) -> int:
        """Sends SIGTERM, and SIGKILL if it takes too long; returns its exit code."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return self._process.returncode

    def tail(self) -> list[str]:
        """The last lines of its log, indented."""
        return _indented(self.log.read_text(errors="replace").splitlines())

    def _announced(self) -> str:
        """Its HTTP address, from its log: the port is any that was free."""
        for line in self.log.read_text(errors="replace").splitlines():
            with suppress(msgspec.DecodeError):
                address = msgspec.json.decode(line, type=_Announcement).http
                if address:
                    return address.removeprefix("http://")
        return ""

    def _get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.address, timeout=2.0)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()


class _Announcement(msgspec.Struct):
    http: str = ""


def metric(text: str, name: str) -> float:
    """The sum of a metric over its labels; 0 if it is absent."""
    values = (
        line.rpartition(" ")[2]
        for line in text.splitlines()
        if line.startswith((f"telltale_{name} ", f"telltale_{name}{{"))
    )
    return sum(map(float, values))


def check_broker(kafka: LocalKafka) -> None:
    """Raises BrokerError with the cause from its log if the broker has ended."""
    status = kafka.status()
    dead = next((broker for broker in status.brokers if not broker.is_alive), None)
    if dead is not None:
        cause = logs.cause(logs.read_since(dead.log, 0)) or "    (nothing in its log: it was killed)"
        raise BrokerError(f"the broker ended during the demo; its log says:\n{cause}")


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines[-_QUOTED:]]
