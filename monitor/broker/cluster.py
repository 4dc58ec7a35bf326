"""`LocalKafka`: the broker, or three brokers, of one data directory.

Rules of this file: an object has only the requested settings; the actual state is in the data directory. So any object,
in any process, may stop what another one started.
"""

from __future__ import annotations

import base64
import signal
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import msgspec

from monitor.broker import configuration, jars, memory, network, security, status
from monitor.broker.launch import KILL_TIMEOUT_SECS, Launcher, end, is_up, storage_path
from monitor.broker.process import is_alive, send_signal, wait_until_gone
from monitor.broker.state import BrokerState, ClusterState, StateFile, default_data_dir, is_foreign, load, lock
from monitor.errors import BrokerError

DEFAULT_PORT = 9092
START_TIMEOUT_SECS = 90.0  # a start takes 2-4 s; a busy machine or a long log to recover take more
STOP_TIMEOUT_SECS = 30.0  # one broker takes 0.3 s, three take 6 s: the last two wait 5 s for a quorum
FAILED_STOP_TIMEOUT_SECS = 5.0


def silent(_: str) -> None:
    """Reports nothing."""


class LocalKafka(AbstractContextManager["LocalKafka"]):
    """A real Apache Kafka on this machine, in processes of its own.

    As a context manager it is started on entry and stopped on exit. Without that it outlives this process, until
    someone stops it.

    Args:
        data_dir: the data directory; in the user's state directory by default.
        port: of the first broker, the others have the next ones; 0: any free ones.
        brokers: 1 or 3.
        heap_mb: Java heap of each broker.
        settings: Kafka broker settings, in addition to ours; an empty value removes one.
        secure: whether it also has listeners with TLS and passwords, see `security`; only at the first start.
        report: is called with one sentence for each event that a person may want to know.

    An argument that is None is as at the last start in this directory, or else the default: port 9092, one broker,
    512 MiB of heap (384 each for three), no settings.
    """

    def __init__(
        self,
        data_dir: Path | str | None = None,
        *,
        port: int | None = None,
        brokers: int | None = None,
        heap_mb: int | None = None,
        settings: Mapping[str, str] | None = None,
        secure: bool | None = None,
        report: Callable[[str], None] = silent,
    ) -> None:
        self.data_dir = Path(data_dir).expanduser().absolute() if data_dir is not None else default_data_dir()
        self._port = port
        self._brokers = brokers
        self._heap_mb = heap_mb
        self._settings = dict(settings or {})
        self._secure = secure
        self._report = report
        if "," in str(self.data_dir):
            raise BrokerError(f"{self.data_dir}: Kafka can't keep its data below a name with a comma")
        if brokers not in (None, 1, 3):
            raise BrokerError(f"{brokers} brokers: choose 1, or 3 for a cluster that survives the loss of one")
        if port is not None and not 0 <= port <= 65_535 - 2:
            raise BrokerError(f"port {port}: choose one between 1 and 65533, or 0 for any that is free")
        if heap_mb is not None:
            memory.check_heap(heap_mb)
        configuration.check_settings(self._settings)

    @property
    def bootstrap_servers(self) -> str:
        """`127.0.0.1:PORT` of each broker, separated by commas; also while it is stopped."""
        return self._existing().bootstrap_servers

    def start(self, timeout_secs: float = START_TIMEOUT_SECS) -> str:
        """Start the brokers that are not running, and wait until they respond.

        Returns:
            The bootstrap servers.

        Raises:
            BrokerError: it can't be started, or is running with other settings.
        """
        if is_foreign(self.data_dir):
            raise BrokerError(
                f"{self.data_dir}: holds files that are not a local broker's; name an empty or a new directory with "
                "--data"
            )
        with lock(self.data_dir, timeout_secs):
            last = load(self.data_dir)
            if last is not None:
                last = self._tidied(last)
            if last is not None and last.alive:
                self._check_same(last)
                if last.phase == "running" and self._all_up(last):
                    self._report(f"Apache Kafka {jars.KAFKA_VERSION} already runs.")
                    return last.bootstrap_servers
                state = last
            else:
                state = self._planned(last)
            remembered = last or msgspec.structs.replace(
                state, heap_mb=memory.default_heap_mb(len(state.brokers)), settings={}
            )
            self._launch(state, {broker.node for broker in state.brokers}, timeout_secs, remembered)
            return state.bootstrap_servers

    def stop(self, timeout_secs: float = STOP_TIMEOUT_SECS) -> None:
        """Stop it cleanly; processes that have not ended after the timeout are killed. Its data are kept."""
        if load(self.data_dir) is None:
            self._report(f"Nothing to stop: no broker was ever started in {self.data_dir}.")
            return
        with lock(self.data_dir, timeout_secs + START_TIMEOUT_SECS):
            state = self._existing()
            for note in status.notes(state):
                self._report(note)
            alive = state.alive
            record = StateFile(self.data_dir, state)
            if alive:
                record.set_phase("stopping")
                end(record, alive, timeout_secs, self._report)
                self._report(f"Stopped Apache Kafka at {state.bootstrap_servers}; its data stay in {self.data_dir}.")
            else:
                self._report(f"Nothing to stop: no broker runs in {self.data_dir}.")
            record.set_stopped()

    def kill(self, node: int = 1) -> None:
        """Kill one broker (SIGKILL), as a fault would. `restart` brings it back."""
        with lock(self.data_dir, START_TIMEOUT_SECS):
            broker = self._broker(node)
            if broker.process is None or not send_signal(broker.process, signal.SIGKILL):
                raise BrokerError(f"broker {node} of {self.data_dir} does not run, so it can't be killed")
            wait_until_gone([broker.process], KILL_TIMEOUT_SECS)

    def restart(self, node: int = 1, timeout_secs: float = START_TIMEOUT_SECS) -> None:
        """Restart one broker, after stopping it cleanly if it is running, and wait until it responds."""
        with lock(self.data_dir, timeout_secs):
            broker = self._broker(node)
            record = StateFile(self.data_dir, self._existing())
            if is_alive(broker.process):
                end(record, [broker], STOP_TIMEOUT_SECS, self._report)
            self._launch(record.state, {node}, timeout_secs, record.state)

    def status(self) -> status.ClusterStatus:
        """The current status. Changes nothing and does not wait."""
        return status.of(self.data_dir, load(self.data_dir))

    def __enter__(self) -> LocalKafka:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, state: ClusterState, nodes: set[int], timeout_secs: float, remembered: ClusterState) -> None:
        """Start those of these nodes that are not running, and wait until they see each other.

        If one fails, those that were started here are stopped, and settings that did not work are not kept.
        """
        missing = [broker for broker in state.brokers if broker.node in nodes and not is_alive(broker.process)]
        _check_ports(missing)
        memory.check_available(len(missing), state.heap_mb)
        record = StateFile(self.data_dir, state)
        record.set_phase("starting")
        try:
            launcher = Launcher(record, jars.class_path(self._report))
            if state.is_secure:
                security.prepare(self.data_dir, state.brokers)
            launcher.format(missing)
            launcher.run(missing)
            launcher.wait(nodes, timeout_secs)
        except BaseException as error:  # Ctrl-C too
            started = {broker.node for broker in missing}
            end(record, [b for b in record.state.brokers if b.node in started], FAILED_STOP_TIMEOUT_SECS, silent)
            if record.state.alive:
                record.set_phase("running")
            else:
                record.set_stopped(remembered)
            if isinstance(error, OSError):
                raise BrokerError(f"{error.filename or self.data_dir}: {error.strerror}; see --data") from error
            raise
        record.set_phase("running")

    def _tidied(self, state: ClusterState) -> ClusterState:
        """Report what happened meanwhile; end incomplete processes of an interrupted start or stop."""
        for note in status.notes(state):
            self._report(note)
        if state.phase == "stopping":
            leftover = state.alive
        else:  # before a broker's storage exists, its process is the tool that formats it
            leftover = tuple(each for each in state.alive if not storage_path(self.data_dir, each.node).exists())
        record = StateFile(self.data_dir, state)
        end(record, leftover, STOP_TIMEOUT_SECS, self._report)
        return record.state

    def _planned(self, last: ClusterState | None) -> ClusterState:
        """What to start: as requested, else as last time, else the defaults."""
        if last is not None and not any(storage_path(self.data_dir, each.node).exists() for each in last.brokers):
            last = None  # a start that failed before it created anything
        count = self._brokers or (len(last.brokers) if last else 1)
        if last is not None and count != len(last.brokers):
            raise BrokerError(
                f"{self.data_dir}: holds the data of {len(last.brokers)} brokers, asked for {count}; name another "
                "directory with --data"
            )
        is_secure = bool(last and last.is_secure) if self._secure is None else self._secure
        if last is not None and is_secure != last.is_secure:
            raise BrokerError(
                f"{self.data_dir}: was first started with{'' if last.is_secure else 'out'} --secure, which makes its "
                "users; name another directory with --data"
            )
        ports = self._chosen_ports(last, count)
        extra = self._chosen_secure_ports(last, ports) if is_secure else [(0, 0)] * count
        return ClusterState(
            cluster_id=last.cluster_id if last else _new_cluster_id(),
            phase="stopped",
            actor=None,
            heap_mb=self._heap_mb or (last.heap_mb if last else memory.default_heap_mb(count)),
            settings=self._merged(last.settings if last else {}),
            brokers=tuple(
                BrokerState(
                    node=node, port=port, controller_port=controller_port, sasl_port=sasl_port, tls_port=tls_port
                )
                for node, port, controller_port, (sasl_port, tls_port) in zip(
                    range(1, count + 1), *ports, extra, strict=True
                )
            ),
        )

    def _merged(self, settings: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in {**settings, **self._settings}.items() if value}

    def _chosen_ports(self, last: ClusterState | None, count: int) -> tuple[list[int], list[int]]:
        """The brokers' ports and their controllers'."""
        remembered = [broker.port for broker in last.brokers] if last else []
        if self._port:
            ports = list(range(self._port, self._port + count))
        elif self._port is None:
            ports = remembered or list(range(DEFAULT_PORT, DEFAULT_PORT + count))
        else:
            ports = remembered if remembered and all(map(network.is_free, remembered)) else network.free_ports(count)
        controllers = [broker.controller_port for broker in last.brokers] if last else []
        if not controllers or set(controllers) & set(ports) or not all(map(network.is_free, controllers)):
            controllers = network.free_ports(count, avoid=frozenset(ports))
        return ports, controllers

    def _chosen_secure_ports(
        self, last: ClusterState | None, ports: tuple[list[int], list[int]]
    ) -> list[tuple[int, int]]:
        """Each broker's ports of the listeners with TLS: as last time if they are free."""
        remembered = [(broker.sasl_port, broker.tls_port) for broker in last.brokers] if last else []
        flat = [port for pair in remembered for port in pair]
        taken = frozenset(ports[0] + ports[1])
        if flat and not taken.intersection(flat) and all(map(network.is_free, flat)):
            return remembered
        found = network.free_ports(2 * len(ports[0]), avoid=taken)
        return list(zip(found[::2], found[1::2], strict=True))

    def _check_same(self, state: ClusterState) -> None:
        """Reject settings that differ from those of the running brokers."""
        asked = {
            "--brokers": (self._brokers, len(state.brokers)),
            "--port": (self._port or None, state.brokers[0].port),
            "--heap": (self._heap_mb, state.heap_mb),
            "--secure": (self._secure, state.is_secure),
            "--set": (_listed(self._merged(state.settings)), _listed(state.settings)),
        }
        different = [
            f"{option} {wanted} requested, {found} found"
            for option, (wanted, found) in asked.items()
            if wanted is not None and wanted != found
        ]
        if different:
            raise BrokerError(
                f"a broker already runs in {self.data_dir}, with other settings ({'; '.join(different)}). "
                "Stop it first with `telltale kafka stop`, or name another directory with --data"
            )

    def _all_up(self, state: ClusterState) -> bool:
        nodes = {broker.node for broker in state.brokers}
        return len(state.alive) == len(nodes) and all(
            is_up(state.cluster_id, broker, nodes) for broker in state.brokers
        )

    def _existing(self) -> ClusterState:
        state = load(self.data_dir)
        if state is None:
            raise BrokerError(f"{self.data_dir}: no broker was ever started there; `telltale kafka start` starts one")
        return state

    def _broker(self, node: int) -> BrokerState:
        for broker in self._existing().brokers:
            if broker.node == node:
                return broker
        raise BrokerError(f"{self.data_dir}: has no broker {node}; they are counted from 1")


def _new_cluster_id() -> str:
    """A random Kafka Uuid: 16 bytes in URL-safe base64; never with a leading dash, which looks like an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def _listed(settings: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(settings.items())) or "nothing"


def _check_ports(brokers: Sequence[BrokerState]) -> None:
    for broker in brokers:
        if not network.is_free(broker.port):
            who = network.owner(broker.port)
            raise BrokerError(
                f"port {broker.port} is taken{f' by {who}' if who else ''}; choose another with --port, or any that "
                "is free with --port 0"
            )
