"""Our configuration, as settings of kafka-python's clients.

Rules of this file: words and numbers only, no client is made here. Every setting that is not the client's default has
its reason beside it. Secrets enter here and leave only inside the returned dictionaries.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from monitor.backends.kafka.null_headers import NullHeaders
from monitor.config import secrets
from monitor.config.connections import KafkaOptions
from monitor.config.options import Config
from monitor.errors import ConfigError

MEBIBYTE = 1024 * 1024
# How long a client may look for a broker. A start must fail, or succeed, within 10 s.
BOOTSTRAP_TIMEOUT_MS = 5_000
# How long we try TCP ourselves before that, to give a clear error.
PROBE_TIMEOUT_MS = 3_000
# Kafka's own default for the topics' max.message.bytes; a larger message would only be refused by the broker.
MAX_MESSAGE_BYTES = MEBIBYTE
PRODUCER_REQUEST_TIMEOUT_MS = 10_000
CONSUMER_REQUEST_TIMEOUT_MS = 15_000
# Two questions in a row may go unanswered before readiness is lost.
SENTINEL_REQUEST_TIMEOUT_MS = 3_000
HEARTBEAT_INTERVAL_MS = 300
# Ordering rule: a commit must fit in a request timeout, that in a transaction, that in a delivery and a poll interval.
DELIVERY_MARGIN_MS = 15_000
POLL_INTERVAL_MARGIN_MS = 30_000
MIN_POLL_INTERVAL_MS = 60_000
# Apache Kafka's rule for group.instance.id; kafka-python 3.0.12 checks it nowhere, the broker refuses the join.
IDENTITY = re.compile(r"[a-zA-Z0-9._-]{1,200}")


TOOL_CLIENT_ID = "telltale-tool"


def cluster(cluster: KafkaOptions | str) -> KafkaOptions:
    """What plain clients are given: a section of the configuration, or bootstrap servers as text."""
    quiet()
    return cluster if isinstance(cluster, KafkaOptions) else KafkaOptions(bootstrap_servers=cluster.split(","))


def quiet() -> None:
    """Keeps the client's log at INFO or above: its DEBUG prints keys, values and requests."""
    logger = logging.getLogger("kafka")
    if logger.level < logging.INFO:
        logger.setLevel(logging.INFO)


def identity(config: Config) -> str:
    """The name under which this process is a static member of the group.

    Raises:
        ConfigError: Kafka would refuse the name.
    """
    name = config.service.identity
    if not IDENTITY.fullmatch(name) or name in (".", ".."):
        raise ConfigError(
            f"service.instance: {name!r} can't be an identity in a Kafka group; expected 1 to 200 of "
            "a-z A-Z 0-9 . _ -; set service.instance (the host's name is used where it is empty)"
        )
    return name


def transactional_id(config: Config) -> str:
    """Stable over restarts, so that a restarted process ends its predecessor's open transaction at once.

    Neither name holds a slash, so that no two pairs give one id.
    """
    return transactional_id_prefix(config) + identity(config)


def transactional_id_prefix(config: Config) -> str:
    """What the transactional ids of all members of our group begin with."""
    return f"{config.kafka.group_id}/"


def read_password(kafka: KafkaOptions) -> str:
    """The SASL password. Raises `ConfigError` as `secrets.read_password` does."""
    return secrets.read_password("kafka", kafka.password, kafka.password_file)


def connection(kafka: KafkaOptions, client_id: str) -> dict[str, Any]:
    """What every client needs: where, and how to prove who we are."""
    settings: dict[str, Any] = {
        "bootstrap_servers": list(kafka.bootstrap_servers),
        "client_id": client_id,
        "security_protocol": kafka.security_protocol,
        "bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS,
        # The client's default of 30 s would add up to half a minute to every recovery.
        "reconnect_backoff_max_ms": 1_000,
    }
    if kafka.security_protocol.endswith("SSL"):
        # Host names are always checked, and there is no setting to verify nothing.
        settings["ssl_check_hostname"] = True
        files = {
            "ssl_cafile": kafka.ssl_cafile,
            "ssl_certfile": kafka.ssl_certfile,
            "ssl_keyfile": kafka.ssl_keyfile,
        }
        for name, path in files.items():
            if path is not None and not path.is_file():
                raise ConfigError(f"kafka.{name}: {path}: no such file; expected a PEM file")
        settings |= {name: str(path) for name, path in files.items() if path is not None}
    if kafka.security_protocol.startswith("SASL"):
        settings["sasl_mechanism"] = kafka.sasl_mechanism
        settings["sasl_plain_username"] = kafka.username
        # D12: kafka-python 3.0.12 does not raise on a missing SCRAM password; our config and read_password do.
        settings["sasl_plain_password"] = read_password(kafka)
    return settings


def admin(kafka: KafkaOptions, client_id: str) -> dict[str, Any]:
    """Settings of a `KafkaAdminClient`."""
    return connection(kafka, client_id) | {"request_timeout_ms": CONSUMER_REQUEST_TIMEOUT_MS}


def reader(kafka: KafkaOptions, client_id: str, isolation: str = "read_committed") -> dict[str, Any]:
    """Settings of a `KafkaConsumer` that belongs to no group and reads assigned partitions."""
    return connection(kafka, client_id) | {
        "isolation_level": isolation,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "allow_auto_create_topics": False,
        "check_crcs": True,
        "metrics_enabled": False,
        "request_timeout_ms": CONSUMER_REQUEST_TIMEOUT_MS,
        "fetch_max_wait_ms": 100,
        "fetch_max_bytes": 16 * MEBIBYTE,
        "max_partition_fetch_bytes": 4 * MEBIBYTE,
        "receive_message_max_bytes": 128 * MEBIBYTE,
        "max_poll_records": 10_000,
    }


def max_poll_interval_ms(config: Config) -> int:
    """A restore may wait for a dead predecessor's transaction to time out; the group must wait with it."""
    return max(MIN_POLL_INTERVAL_MS, config.kafka.transaction_timeout_ms + POLL_INTERVAL_MARGIN_MS)


def member(config: Config, assignor: CooperativeStickyAssignor) -> dict[str, Any]:
    """Settings of the `KafkaConsumer` that is our member of the group."""
    name = identity(config)
    return connection(config.kafka, name) | {
        "group_id": config.kafka.group_id,
        # Static membership: a restart within the session timeout moves no partitions.
        "group_instance_id": name,
        "partition_assignment_strategy": (assignor,),
        # Also makes committed() wait for a predecessor's open transaction (KIP-447), so it is needed on any input.
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        # Anything that is neither earliest nor latest means: never choose an offset for us.
        "auto_offset_reset": "none",
        "allow_auto_create_topics": False,
        "check_crcs": True,
        "metrics_enabled": False,
        "session_timeout_ms": config.kafka.session_timeout_ms,
        # A member learns of a rebalance from a heartbeat's answer only, and the others wait for it meanwhile.
        "heartbeat_interval_ms": HEARTBEAT_INTERVAL_MS,
        "max_poll_interval_ms": max_poll_interval_ms(config),
        "max_poll_records": config.limits.max_poll_records,
        "request_timeout_ms": CONSUMER_REQUEST_TIMEOUT_MS,
        # A partition that begins while a fetch is waiting at the broker is not read before that fetch comes back.
        "fetch_max_wait_ms": 100,
        "fetch_max_bytes": 16 * MEBIBYTE,
        "max_partition_fetch_bytes": MEBIBYTE,
        # The broker returns at least one batch, however large it is; refusing the frame would stop the partition.
        "receive_message_max_bytes": 128 * MEBIBYTE,
        # A new partition of an input topic is found within a minute, not within five.
        "metadata_max_age_ms": 60_000,
    }


def sentinel(config: Config) -> dict[str, Any]:
    """Settings of the `KafkaConsumer` that only asks where partitions end: for read-committed readers, and soon."""
    return reader(config.kafka, f"{identity(config)}-sentinel") | {"request_timeout_ms": SENTINEL_REQUEST_TIMEOUT_MS}


def transactional(config: Config) -> dict[str, Any]:
    """Settings of the transactional `KafkaProducer`."""
    timeout_ms = config.kafka.transaction_timeout_ms
    return connection(config.kafka, identity(config)) | {
        "transactional_id": transactional_id(config),
        "transaction_timeout_ms": timeout_ms,
        # D1: a batch that expires before its transaction does would be lost under a successful commit.
        "delivery_timeout_ms": timeout_ms + DELIVERY_MARGIN_MS,
        "request_timeout_ms": PRODUCER_REQUEST_TIMEOUT_MS,
        "max_block_ms": PRODUCER_REQUEST_TIMEOUT_MS,
        # D10: slept in the sender thread whenever the previous commit's markers are not written yet.
        "retry_backoff_ms": 10,
        "linger_ms": 0,
        "max_request_size": MAX_MESSAGE_BYTES,
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
        "key_serializer": NullHeaders(),
    }


def redriving(config: Config) -> dict[str, Any]:
    """Settings of the transactional `KafkaProducer` that writes rejected records to their topics again.

    The id is no member's (IDENTITY), so that no member ends its transactions; the group's prefix grants its use.
    """
    return transactional(config) | {
        "client_id": TOOL_CLIENT_ID,
        "transactional_id": f"{transactional_id_prefix(config)}:redrive",
        # A record may have been rejected because it is large.
        "max_request_size": 16 * MEBIBYTE,
    }


def feed(kafka: KafkaOptions, client_id: str) -> dict[str, Any]:
    """Settings of a plain idempotent `KafkaProducer` made for throughput."""
    return connection(kafka, client_id) | {
        "enable_idempotence": True,
        "linger_ms": 5,
        "batch_size": 256 * 1024,
        "max_request_size": 16 * MEBIBYTE,
        "request_timeout_ms": PRODUCER_REQUEST_TIMEOUT_MS,
        "max_block_ms": PRODUCER_REQUEST_TIMEOUT_MS,
        "delivery_timeout_ms": 30_000,
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
        "key_serializer": NullHeaders(),
    }
