"""kafka-python's errors in our words: who must act, where it happened, what to do.

Rules of this file: pure; it decides the class of every error that leaves the package.
"""

from __future__ import annotations

from collections.abc import Iterable

from kafka import errors

from monitor.backends.abstract import AbortedError, TopicPartition
from monitor.config.connections import KafkaOptions
from monitor.config.options import Config
from monitor.errors import BackendError, ConfigError, FencedError, PartitionError, TelltaleError

# kafka-python wraps TLS failures into connection errors; only their text is left.
_CERTIFICATE = ("CERTIFICATE_VERIFY_FAILED", "Hostname mismatch", "certificate verify failed")
_NOT_TLS = ("WRONG_VERSION_NUMBER", "wrong version number", "record layer failure", "UNEXPECTED_EOF", "EOF occurred")
_FENCED = (errors.ProducerFencedError, errors.FencedInstanceIdError, errors.InvalidProducerEpochError)


def principal(kafka: KafkaOptions) -> str:
    """Whom the broker's ACLs must name."""
    if kafka.username:
        return f"User:{kafka.username}"
    return "User:<subject of kafka.ssl_certfile>" if kafka.ssl_certfile else "User:ANONYMOUS"


def acl(kafka: KafkaOptions, resource: str, name: str, operations: Iterable[str]) -> str:
    """The command that grants what is missing."""
    flags = " ".join(f"--operation {operation}" for operation in operations)
    # A listener that asks us who we are asks an administrator too.
    who = "" if kafka.security_protocol == "PLAINTEXT" else "--command-config admin.properties "
    return (
        f"kafka-acls.sh --bootstrap-server {','.join(kafka.bootstrap_servers)} {who}--add "
        f"--allow-principal '{principal(kafka)}' {flags} --{resource} {name}"
    )


def fenced(config: Config) -> FencedError:
    """Another process runs under our name."""
    return FencedError(
        f"another daemon runs as service.instance {config.service.identity!r} in group {config.kafka.group_id!r} and "
        "has taken over; this one stops, since otherwise the two would fence each other for ever; give each daemon "
        "its own service.instance"
    )


def no_leader(partition: TopicPartition, kafka: KafkaOptions) -> PartitionError:
    """An input partition without a leader that answers; the others continue."""
    return PartitionError(
        f"{partition} has no leader, or one that does not answer",
        "start the broker that led it, or another that holds a replica in sync; all such partitions are listed by "
        f"kafka-topics.sh --bootstrap-server {','.join(kafka.bootstrap_servers)} --describe --unavailable-partitions",
    )


def unreachable(kafka: KafkaOptions, tried: str) -> TelltaleError:
    """No broker answered; `tried` says what was done and how it ended."""
    servers = ",".join(kafka.bootstrap_servers)
    protocol = kafka.security_protocol
    if "SaslAuthenticationFailed" in tried or "Authentication failed" in tried:
        return ConfigError(
            f"Kafka at {servers} refused the credentials of {principal(kafka)} ({kafka.sasl_mechanism} over "
            f"{protocol}): {tried}; fix kafka.username and its password, or kafka.sasl_mechanism"
        )
    if any(sign in tried for sign in _CERTIFICATE):
        return ConfigError(
            f"Kafka at {servers} shows a certificate that can't be trusted: {tried}; fix kafka.ssl_cafile, or connect "
            "by a host name that the certificate holds"
        )
    if any(sign in tried for sign in _NOT_TLS):
        return ConfigError(
            f"Kafka at {servers} does not speak {protocol} there: {tried}; fix kafka.security_protocol, or the port"
        )
    return BackendError(
        f"can't reach Kafka at {servers} over {protocol}: {tried}; check that a broker listens there and that "
        "kafka.bootstrap_servers and kafka.security_protocol are its listener's"
    )


def explain(error: BaseException, doing: str, config: Config, reason: BaseException | None = None) -> TelltaleError:
    """The error that a caller of the backend sees.

    Args:
        error: what the client raised.
        doing: what we did, for the message ("commit").
        config: names and remedies.
        reason: the transaction manager's own last error, where the raised one only quotes it.

    Returns:
        `FencedError` or `ConfigError` where the operator must act; `AbortedError` for all else, since the outcome of
        what was under way is then unknown.
    """
    if isinstance(error, TelltaleError):
        return error
    for found in (error, reason, error.__cause__):
        if isinstance(found, _FENCED):
            return fenced(config)
        known = _denied(found, doing, config) or _refused(found, doing, config)
        if known is not None:
            return known
    return AbortedError(f"{doing}: {named(error)}")


def named(error: BaseException) -> str:
    """An error's class and text; the text of a KafkaError names its class already."""
    name, text = type(error).__name__, str(error)
    if name in text:
        return text
    return f"{name}: {text}" if text else name


def _refused(found: BaseException | None, doing: str, config: Config) -> TelltaleError | None:
    kafka = config.kafka
    if isinstance(found, errors.SaslAuthenticationFailedError):
        # Not yet the end: they were good when we began, and may be changing. Who tries again for long enough decides.
        return AbortedError(f"{doing}: Kafka refused the credentials of {principal(kafka)}: {found}")
    if isinstance(found, errors.InvalidTransactionTimeoutError):
        return ConfigError(
            f"kafka.transaction_timeout_ms: {kafka.transaction_timeout_ms} is more than the broker's "
            "transaction.max.timeout.ms allows; lower it"
        )
    if isinstance(found, errors.InvalidSessionTimeoutError):
        return ConfigError(
            f"kafka.session_timeout_ms: {kafka.session_timeout_ms} is outside the broker's "
            "group.min.session.timeout.ms to group.max.session.timeout.ms; change it"
        )
    if isinstance(found, errors.InconsistentGroupProtocolError):
        return ConfigError(
            f"kafka.group_id: members of group {kafka.group_id!r} use another assignor than cooperative-sticky, so "
            "it belongs to another program; choose another group"
        )
    if isinstance(found, errors.MessageSizeTooLargeError | errors.RecordListTooLargeError):
        return AbortedError(
            f"{doing}: a message is larger than its topic takes ({found}); raise max.message.bytes of the topic; "
            "nothing was committed"
        )
    return None


def _denied(found: BaseException | None, doing: str, config: Config) -> ConfigError | None:
    kafka = config.kafka
    if isinstance(found, errors.TopicAuthorizationFailedError):
        names = found.args[0] if found.args and isinstance(found.args[0], set | frozenset | list) else ()
        topics = sorted(str(name) for name in names) or ["<topic>"]
        wanted = [acl(kafka, "topic", topic, _operations(topic, config)) for topic in topics]
        return ConfigError(
            f"{doing}: {principal(kafka)} may not use topic {', '.join(topics)}; grant it: {'; '.join(wanted)}"
        )
    if isinstance(found, errors.GroupAuthorizationFailedError):
        return ConfigError(
            f"{doing}: {principal(kafka)} may not use group {kafka.group_id}; grant it: "
            f"{acl(kafka, 'group', kafka.group_id, ['Read'])}"
        )
    if isinstance(found, errors.TransactionalIdAuthorizationFailedError | errors.ClusterAuthorizationFailedError):
        # The prefix, since a member ends the open transactions of dead ones (succession.py).
        grant = acl(kafka, "transactional-id", f"{kafka.group_id}/", ["Write", "Describe"])
        return ConfigError(
            f"{doing}: {principal(kafka)} may not use transactional id {kafka.group_id}/{config.service.identity}; "
            f"grant it to all members: {grant} --resource-pattern-type prefixed"
        )
    return None


def _operations(topic: str, config: Config) -> list[str]:
    if topic in config.input.topics:
        return ["Read", "Describe"]
    return ["Read", "Write", "Describe"] if topic == config.state_topic else ["Write", "Describe"]
