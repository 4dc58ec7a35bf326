"""What a cluster is doing now, and what happened to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monitor.broker import network, security
from monitor.broker.jars import KAFKA_VERSION
from monitor.broker.launch import is_up, log_path
from monitor.broker.process import is_alive, resident_mb
from monitor.broker.state import BrokerState, ClusterState


@dataclass(frozen=True, kw_only=True)
class BrokerStatus:
    node: int
    address: str
    pid: int | None
    is_alive: bool
    answers: bool
    resident_mb: int | None
    log: Path


@dataclass(frozen=True, kw_only=True)
class ClusterStatus:
    """The current status, and in `notes` what happened since the last orderly state."""

    data_dir: Path
    running: bool
    bootstrap_servers: str
    brokers: tuple[BrokerStatus, ...]
    notes: tuple[str, ...]
    secure: Path | None = None  # a section [kafka] that connects with TLS and a password, of --secure
    version: str = KAFKA_VERSION


def of(data_dir: Path, state: ClusterState | None) -> ClusterStatus:
    """The status of the recorded state; None: nothing is recorded."""
    if state is None:
        return ClusterStatus(data_dir=data_dir, running=False, bootstrap_servers="", brokers=(), notes=())
    brokers = tuple(_of_broker(data_dir, state.cluster_id, broker) for broker in state.brokers)
    majority = len(brokers) // 2 + 1
    return ClusterStatus(
        data_dir=data_dir,
        running=sum(broker.answers for broker in brokers) >= majority,
        bootstrap_servers=state.bootstrap_servers,
        brokers=brokers,
        notes=notes(state),
        secure=security.directory(data_dir) / "kafka.toml" if state.is_secure else None,
    )


def _of_broker(data_dir: Path, cluster_id: str, broker: BrokerState) -> BrokerStatus:
    process = broker.process if is_alive(broker.process) else None
    return BrokerStatus(
        node=broker.node,
        address=f"{network.LOOPBACK}:{broker.port}",
        pid=process.pid if process else None,
        is_alive=process is not None,
        answers=process is not None and is_up(cluster_id, broker, ()),
        resident_mb=resident_mb(process) if process else None,
        log=log_path(data_dir, broker.node),
    )


def notes(state: ClusterState) -> tuple[str, ...]:
    """What happened to the cluster since its last orderly state."""
    found = []
    if state.phase in ("starting", "stopping") and state.actor is not None:
        what = "start" if state.phase == "starting" else "stop"
        if is_alive(state.actor):
            found.append(f"A {what} is in progress (pid {state.actor.pid}).")
        else:
            left = ", ".join(f"broker {b.node} (pid {b.process.pid})" for b in state.alive if b.process)
            found.append(
                f"The last {what} (pid {state.actor.pid}) was killed before it was complete; "
                + (f"it left {left} running." if left else "it left no process running.")
            )
    if state.phase == "running":
        found.extend(
            f"Broker {broker.node} (pid {broker.process.pid}) has ended without being stopped: killed, or failed."
            for broker in state.brokers
            if broker.process is not None and not is_alive(broker.process)
        )
    return tuple(found)
