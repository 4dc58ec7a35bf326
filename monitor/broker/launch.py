"""The steps of a start and a stop: format the storage, run the processes, wait for responses, end them.

Rules of this file: the caller holds the data directory's lock. A process is recorded before it runs, also the
formatting tool's. Errors contain the cause from the broker's log.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from monitor.broker import configuration, logs, network, security
from monitor.broker.process import Process, is_alive, java, send_signal, start_detached, wait_until_gone
from monitor.broker.state import BrokerState, StateFile, write_file
from monitor.errors import BrokerError

FORMAT_TIMEOUT_SECS = 60.0
ARGUMENTS = "formatting.arguments"  # holds a password while the storage is formatted
POLL_SECS = 0.05
KILL_TIMEOUT_SECS = 10.0  # for the kernel to end what was killed


class Launcher:
    """Does the steps for the recorded cluster."""

    def __init__(self, record: StateFile, class_path: str) -> None:
        self.record = record
        self.data_dir = record.data_dir
        self.class_path = class_path
        self.java = java()
        self.log_starts = {broker.node: _size(self.log(broker)) for broker in record.state.brokers}

    def format(self, brokers: Sequence[BrokerState]) -> None:
        """Format the storage of each broker; existing storage is only checked.

        The storage is formatted in a temporary directory and then renamed, so that a start that is killed here leaves
        none that is incomplete.
        """
        started: list[tuple[Process, BrokerState, Path]] = []
        for broker in brokers:
            if self._is_formatted(broker):
                continue
            home = self._home(broker)
            for leftover in home.glob("formatting-*"):
                shutil.rmtree(leftover)
            storage = Path(tempfile.mkdtemp(prefix="formatting-", dir=home))
            properties = home / "formatting.properties"
            settings = configuration.server_properties(self.record.state, broker, storage, self.data_dir)
            write_file(properties, configuration.render(settings), mode=security.SECRET_MODE)
            command = configuration.format_command(
                self.java,
                self.class_path,
                cluster_id=self.record.state.cluster_id,
                data_dir=self.data_dir,
                properties=properties,
                password=security.password(self.data_dir) if broker.is_secure else None,
            )
            if broker.is_secure:
                arguments = home / ARGUMENTS
                write_file(arguments, configuration.argument_file(command[1:]), mode=security.SECRET_MODE)
                command = [command[0], f"@{arguments}"]
            started.append((self._run(broker, command), broker, storage))
        for process, broker, storage in started:
            late = wait_until_gone([process], FORMAT_TIMEOUT_SECS)
            if late or not (storage / "meta.properties").exists():
                raise self._failure(broker, "its storage could not be formatted")
            storage.replace(storage_path(self.data_dir, broker.node))
            (self._home(broker) / ARGUMENTS).unlink(missing_ok=True)
            self.record.set_process(broker.node, None)

    def run(self, brokers: Sequence[BrokerState]) -> None:
        """Start the brokers' processes."""
        for broker in brokers:
            properties = self._home(broker) / "server.properties"
            settings = configuration.server_properties(
                self.record.state, broker, storage_path(self.data_dir, broker.node), self.data_dir
            )
            write_file(properties, configuration.render(settings), mode=security.SECRET_MODE)
            command = configuration.broker_command(
                self.java,
                self.class_path,
                heap_mb=self.record.state.heap_mb,
                data_dir=self.data_dir,
                log=self.log(broker),
                properties=properties,
            )
            self._run(broker, command)

    def wait(self, nodes: Collection[int], timeout_secs: float) -> None:
        """Wait until each of these nodes responds and sees them all."""
        deadline = time.monotonic() + timeout_secs
        waiting = [broker for broker in self.record.state.brokers if broker.node in nodes]
        while waiting:
            for broker in list(waiting):
                if not is_alive(broker.process):
                    raise self._failure(broker, "it ended while it started")
                if is_up(self.record.state.cluster_id, broker, nodes):
                    waiting.remove(broker)
                elif time.monotonic() > deadline:
                    raise self._failure(broker, f"it did not respond within {timeout_secs:.0f} s")
            if waiting:
                time.sleep(POLL_SECS)

    def _run(self, broker: BrokerState, command: Sequence[str]) -> Process:
        """Start a process for a broker, recorded before it runs."""
        return start_detached(
            command,
            output=self.log(broker),
            directory=self._home(broker),
            record=lambda process: self.record.set_process(broker.node, process),
        )

    def log(self, broker: BrokerState) -> Path:
        return log_path(self.data_dir, broker.node)

    def _home(self, broker: BrokerState) -> Path:
        home = self.data_dir / f"broker-{broker.node}"
        try:
            home.mkdir(exist_ok=True)
        except OSError as error:
            raise BrokerError(
                f"{home}: can't be created ({error.strerror}); name another directory with --data"
            ) from error
        return home

    def _is_formatted(self, broker: BrokerState) -> bool:
        """Whether a broker's storage exists; raises if it is another cluster's."""
        storage = storage_path(self.data_dir, broker.node)
        meta = storage / "meta.properties"
        try:
            found = dict(line.split("=", 1) for line in meta.read_text(errors="replace").splitlines() if "=" in line)
        except FileNotFoundError:
            if storage.exists():
                raise BrokerError(
                    f"{storage}: has no meta.properties, so it is not a Kafka storage directory, or is damaged; "
                    "move it away, or name another directory with --data"
                ) from None
            return False
        except OSError as error:
            raise BrokerError(f"{meta}: can't be read ({error.strerror})") from error
        expected = {"cluster.id": self.record.state.cluster_id, "node.id": str(broker.node)}
        for key, value in expected.items():
            if found.get(key) != value:
                raise BrokerError(
                    f"{storage}: was formatted by another cluster ({key} is {found.get(key)}, expected {value}); "
                    "move it away, or name another directory with --data"
                )
        return True

    def _failure(self, broker: BrokerState, what: str) -> BrokerError:
        log = self.log(broker)
        cause = logs.cause(logs.read_since(log, self.log_starts[broker.node]))
        if not cause:
            cause = (
                "    (nothing in its log)\n"
                "  Such a process was killed: by hand, or by the system for lack of memory (see `dmesg`)."
            )
        return BrokerError(f"broker {broker.node} did not start: {what}. Its log {log} says:\n{cause}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def log_path(data_dir: Path, node: int) -> Path:
    return data_dir / f"broker-{node}.log"


def storage_path(data_dir: Path, node: int) -> Path:
    """Kafka's directory of a broker. It exists once it is formatted; before that, no broker runs."""
    return data_dir / f"broker-{node}" / "storage"


def is_up(cluster_id: str, broker: BrokerState, expected: Collection[int]) -> bool:
    """Whether a broker responds, as a member of its cluster, and sees all expected nodes."""
    answer = network.ask(broker.port)
    if answer is None:
        return False
    return answer == network.CLOSED or (answer.cluster_id == cluster_id and answer.nodes.issuperset(expected))


def end(record: StateFile, brokers: Sequence[BrokerState], timeout_secs: float, report: Callable[[str], None]) -> None:
    """End the processes of brokers: SIGTERM, and SIGKILL for those that take too long."""
    processes = [broker.process for broker in brokers if broker.process is not None]
    for process in processes:
        send_signal(process, signal.SIGTERM)
    late = wait_until_gone(processes, timeout_secs)
    for process in late:
        report(f"Process {process.pid} did not end within {timeout_secs:g} s of SIGTERM; killing it (SIGKILL).")
        send_signal(process, signal.SIGKILL)
    if wait_until_gone(late, KILL_TIMEOUT_SECS):
        raise BrokerError(
            f"process {late[0].pid} does not end even on SIGKILL: it hangs in the kernel, most often on a disk that "
            "does not respond"
        )
    for broker in brokers:
        record.set_process(broker.node, None)
