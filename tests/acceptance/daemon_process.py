"""The real daemon in its own process, as an operator starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

TELLTALE = [sys.executable, "-m", "monitor"]


def toml(document: dict[str, dict[str, Any]]) -> str:
    """Sections of plain values as TOML; JSON's strings, numbers, lists and booleans are TOML's."""
    text = "".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items()) + "\n"
        for section, options in document.items()
    )
    assert tomllib.loads(text) == document
    return text


class DaemonProcess:
    """`telltale run`, with JSON logs in a file beside its configuration."""

    def __init__(self, directory: Path, document: dict[str, dict[str, Any]]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.config = directory / "telltale.toml"
        ours: dict[str, dict[str, Any]] = {"http": {"port": 0}, "log": {"format": "json"}}
        self.config.write_text(toml(ours | document))
        self.log_path = directory / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""

    def start(self, *, ready: bool = True, timeout_s: float = 60.0) -> DaemonProcess:
        with self.log_path.open("ab") as log:
            begin = log.tell()
            self._process = subprocess.Popen([*TELLTALE, "run", "--config", str(self.config)], stderr=log)
        if ready:
            self.wait_ready(begin, timeout_s)
        return self

    def wait_ready(self, begin: int = 0, timeout_s: float = 60.0) -> None:
        """Waits until the process whose log begins at byte `begin` is ready; it can be asked from then on."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self._process.returncode}:\n{self.log_text()}")
            hello = next((e for e in self.events(begin) if e.get("event") == "Starting."), None)
            if hello and self._get(hello["http"] + "/readyz")[0] == 200:
                self._address = hello["http"]
                return
            time.sleep(0.02)
        raise AssertionError(f"the daemon was not ready in {timeout_s} s:\n{self.log_text()}")

    def events(self, begin: int = 0) -> list[dict[str, Any]]:
        """The log's lines since byte `begin`."""
        lines = self.log_path.read_bytes()[begin:].splitlines()
        return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace")[-4000:]

    @staticmethod
    def _get(url: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except urllib.error.URLError:
            return 0, ""

    def get(self, path: str) -> tuple[int, str]:
        return self._get(self._address + path)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        from prometheus_client.parser import text_string_to_metric_families

        _, text = self.get("/metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def wait_until(self, condition: Any, what: str, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self._process is not None
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {timeout_s} s (exit code {code}):\n{self.log_text()}")
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal, and does not wait."""
        assert self._process is not None
        self._process.send_signal(number)

    def exit_code(self) -> int | None:
        """The exit code; None while it runs."""
        return None if self._process is None else self._process.poll()

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout_s)
        self._process = None
        return code

    def kill(self) -> None:
        """SIGKILL, as if the machine failed."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(30)
        self._process = None

    def wait(self, timeout_s: float) -> int:
        """Waits for it to end by itself; returns the exit code."""
        assert self._process is not None
        code = self._process.wait(timeout_s)
        self._process = None
        return code

    def __enter__(self) -> DaemonProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
