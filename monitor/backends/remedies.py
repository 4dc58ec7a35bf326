"""What an operator types to repair a group, as the backends' and the daemon's errors name it.

Rules of this file: text from a configuration, no client and no I/O.
"""

from __future__ import annotations

from monitor.backends.abstract import TopicPartition
from monitor.config.connections import KafkaOptions
from monitor.config.options import Config


def admin_command(kafka: KafkaOptions) -> str:
    """The client's own command for administrators, with the options to connect."""
    servers = " -b ".join(kafka.bootstrap_servers)
    secured = ""
    if kafka.security_protocol != "PLAINTEXT":
        secured = f" -S {kafka.security_protocol}"
        secured += f" -M {kafka.sasl_mechanism} -U {kafka.username} -P PASSWORD" if kafka.sasl_mechanism else ""
        files = {"ssl_cafile": kafka.ssl_cafile, "ssl_certfile": kafka.ssl_certfile, "ssl_keyfile": kafka.ssl_keyfile}
        secured += "".join(f" -C {name}={path}" for name, path in files.items() if path is not None)
    return f"python -m kafka.admin -b {servers}{secured}"


def transactions_command(config: Config, partition: TopicPartition) -> str:
    """What an operator types to see whose transaction is open in a partition, and to end it."""
    command, place = f"{admin_command(config.kafka)} transactions", f"-t {partition.topic} -p {partition.partition}"
    return (
        f"see which producer has it open: {command} describe-producers {place} (the one with a "
        "current_transaction_start_offset); let it commit or abort; if it is gone for good: "
        f"{command} abort {place} --producer-id ID --producer-epoch EPOCH"
    )


def moving_command(config: Config, partition: TopicPartition, offset: str) -> str:
    """What an operator types to let the group continue at an offset, and when."""
    kafka = config.kafka
    return (
        f"stop every daemon of the group, wait {kafka.session_timeout_ms / 1000:g} s (kafka.session_timeout_ms: until "
        f"then the group counts them as members, and refuses), and run: {admin_command(kafka)} "
        f"groups alter-offsets -g {kafka.group_id} -o {partition.topic}:{partition.partition}:{offset}"
    )
