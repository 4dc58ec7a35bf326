"""The recorded state of a data directory's cluster: the file `cluster.json`, and its lock.

Rules of this file: only the holder of the lock writes; anyone may read. Each write is a temporary file, fsync, rename.
What is about to happen is recorded before it happens (`phase`, `actor`), so that a kill can be told from a stop.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from monitor.broker.process import Process, current, is_alive
from monitor.errors import BrokerError

FILE_NAME = "cluster.json"
LOCK_NAME = "lock"
NEW_SUFFIX = ".new"

Phase = Literal["starting", "running", "stopping", "stopped"]


class BrokerState(msgspec.Struct, frozen=True, kw_only=True):
    """One broker: its ports, and its process if one was started and not stopped. Without `--secure` its ports for TLS
    with a password (`sasl_port`) and with client certificates (`tls_port`) are 0."""

    node: int  # 1, 2, ...: Kafka's node.id
    port: int
    controller_port: int
    process: Process | None = None
    sasl_port: int = 0
    tls_port: int = 0

    @property
    def is_secure(self) -> bool:
        """Whether it has TLS listeners."""
        return self.sasl_port > 0


class ClusterState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All brokers of one data directory."""

    version: Literal[1] = 1
    cluster_id: str
    phase: Phase
    actor: Process | None  # the process that is starting or stopping it
    heap_mb: int
    settings: dict[str, str]
    brokers: tuple[BrokerState, ...]

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"127.0.0.1:{broker.port}" for broker in self.brokers)

    @property
    def is_secure(self) -> bool:
        """Whether the brokers have TLS listeners."""
        return any(broker.is_secure for broker in self.brokers)

    @property
    def alive(self) -> tuple[BrokerState, ...]:
        """The brokers whose process is running."""
        return tuple(broker for broker in self.brokers if is_alive(broker.process))


def default_data_dir() -> Path:
    """The user's state directory (XDG)."""
    xdg = os.environ.get("XDG_STATE_HOME")
    root = Path(xdg) if xdg else Path.home() / ".local" / "state"
    return root / "telltale" / "kafka"


def load(data_dir: Path) -> ClusterState | None:
    """The recorded state; None if the directory has no cluster yet."""
    path = data_dir / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=ClusterState)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BrokerError(f"{path}: can't be read ({error.strerror})") from error
    except msgspec.DecodeError as error:
        raise BrokerError(
            f"{path}: not written by this version of Telltale ({error}); move {data_dir} away, or name another "
            "directory with --data"
        ) from error


def save(data_dir: Path, state: ClusterState) -> None:
    """Record the state durably."""
    write_file(data_dir / FILE_NAME, msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")


def is_foreign(data_dir: Path) -> bool:
    """Whether a directory has files, but no cluster of ours."""
    try:
        names = {entry.name for entry in data_dir.iterdir()}
    except OSError:
        return False  # `lock` reports what is wrong with it
    # Checked after the listing: a start in progress writes its state before anything else.
    return not (data_dir / FILE_NAME).exists() and bool(names - {LOCK_NAME, FILE_NAME + NEW_SUFFIX})


class StateFile:
    """The recorded state and its copy in memory, which never differ: each change is saved at once."""

    def __init__(self, data_dir: Path, state: ClusterState) -> None:
        self.data_dir = data_dir
        self.state = state

    def set_phase(self, phase: Phase) -> None:
        """Record the phase, with this process as the actor while it is starting or stopping."""
        actor = current() if phase in ("starting", "stopping") else None
        self._save(msgspec.structs.replace(self.state, phase=phase, actor=actor))

    def set_stopped(self, remembered: ClusterState | None = None) -> None:
        """Record that nothing is running. `remembered`: the state whose ports and settings to keep, if not this one."""
        state = remembered or self.state
        brokers = tuple(msgspec.structs.replace(broker, process=None) for broker in state.brokers)
        self._save(msgspec.structs.replace(state, phase="stopped", actor=None, brokers=brokers))

    def set_process(self, node: int, process: Process | None) -> None:
        brokers = tuple(
            msgspec.structs.replace(broker, process=process) if broker.node == node else broker
            for broker in self.state.brokers
        )
        self._save(msgspec.structs.replace(self.state, brokers=brokers))

    def _save(self, state: ClusterState) -> None:
        save(self.data_dir, state)
        self.state = state


def write_file(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace a file atomically: readers see the old or the new one, also after a power failure. `mode` is that of the
    new one, minus the umask."""
    try:
        new = path.with_name(f"{path.name}{NEW_SUFFIX}")  # one name: the lock's holder is the only writer
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise BrokerError(f"{path}: can't be written ({error.strerror})") from error


@contextmanager
def lock(data_dir: Path, timeout_secs: float) -> Iterator[None]:
    """Hold the directory's lock: one start or stop at a time. A killed holder releases it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = (data_dir / LOCK_NAME).open("a")
    except OSError as error:
        raise BrokerError(
            f"{data_dir}: the broker's data can't be kept there ({error.strerror}); name a writable directory "
            "with --data"
        ) from error
    with file:
        deadline = time.monotonic() + timeout_secs
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise BrokerError(
                        f"{data_dir}: another `telltale kafka` command has been running here for {timeout_secs:.0f} s"
                        "; wait for it, or end it"
                    ) from error
                time.sleep(0.1)
        yield
