"""The topics we need: checked, and created where allowed.

Rules of this file: every problem is found before any is reported, and each names its remedy.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    InvalidPartitionsError,
    KafkaError,
    NoError,
    RetriableError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from monitor.backends.abstract import TopicPartition
from monitor.backends.kafka.clocks import STAMPED_BY_BROKERS
from monitor.backends.kafka.faults import acl, explain, principal
from monitor.backends.remedies import moving_command
from monitor.config.options import Config
from monitor.errors import ConfigError, PartitionError

_log = logging.getLogger(__name__)
_WIDENED_S = 5.0
# One broker's metadata may be old, as while it starts: others are asked for so long before a topic counts as gone.
_GONE_S = 5.0
_ASK_AGAIN_S = 0.5
DELETE = {"cleanup.policy": "delete"}
OUTPUT = DELETE | STAMPED_BY_BROKERS
# Compaction never touches the active segment: small segments and an early cleaner keep restores short.
STATE = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.1",
} | STAMPED_BY_BROKERS


# What only the state topic holds.
LOST_STATE = "the windows of all series, and which incidents are open: those are never resolved"


def prepare_topics(admin: Any, config: Config) -> None:
    """Checks inputs and outputs; creates missing outputs where `output.create_topics` allows. Waits for brokers.

    Raises:
        ConfigError: all problems, one per line.
        AbortedError: the brokers did not answer.
    """
    try:
        problems = _Topics(admin, config).problems()
    except KafkaError as error:
        raise explain(error, "checking topics", config) from error
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''} with topics"
        servers = ",".join(config.kafka.bootstrap_servers)
        raise ConfigError("\n".join([f"Kafka at {servers}: {count}", *(f"  {problem}" for problem in problems)]))


def outputs(config: Config) -> dict[str, dict[str, str]]:
    """The topics we write, and the settings that each is created with."""
    output = config.output
    return {output.alerts: OUTPUT, output.dead_letters: OUTPUT, config.state_topic: STATE}


def creation_command(config: Config, topic: str, partitions: int | str, settings: Mapping[str, str]) -> str:
    """What an operator types to create a topic."""
    flags = [f"--partitions {partitions}"]
    if config.output.replication_factor > 0:
        flags.append(f"--replication-factor {config.output.replication_factor}")
    flags += [f"--set {name}={value}" for name, value in settings.items()]
    return f"telltale kafka topics create {topic} {' '.join(flags)} {_whereto(config)}"


def change_command(
    config: Config, topic: str, *, partitions: int | None = None, settings: Mapping[str, str] | None = None
) -> str:
    """What an operator types to give a topic more partitions, or other settings."""
    flags = [] if partitions is None else [f"--partitions {partitions}"]
    flags += [f"--set {name}={value}" for name, value in (settings or {}).items()]
    return f"telltale kafka topics alter {topic} {' '.join(flags)} {_whereto(config)}"


def _whereto(config: Config) -> str:
    """The cluster, as our commands take it: credentials are only in the configuration."""
    if config.kafka.security_protocol == "PLAINTEXT":
        return f"--bootstrap-server {','.join(config.kafka.bootstrap_servers)}"
    return "--config telltale.toml"


def widen_state(admin: Any, config: Config, found: int, wanted: int) -> PartitionError | None:
    """Gives the state topic `wanted` partitions instead of `found`, where `output.create_topics` allows; what is wrong.

    Another member may do so at the same time: what counts is what is there afterwards. Waits for the new leaders.
    """
    topic = config.state_topic
    detail = "output.create_topics is false"
    if config.output.create_topics:
        (result,) = admin.create_partitions({topic: wanted}, raise_errors=False).results
        error = for_code(result.error_code)
        if issubclass(error, RetriableError):
            raise error(result.error_message)
        detail = result.error_message or error.__name__
        if error in (NoError, InvalidPartitionsError):  # the latter where another member was quicker
            found = _wait_for_partitions(admin, topic, wanted)
    if found >= wanted:
        _log.info("State topic widened.", extra={"topic": topic, "partitions": found})
        return None
    return PartitionError(
        f"state topic {topic} has {found} partitions; expected {wanted}, as many as the largest input topic, and they "
        f"could not be added ({detail})",
        f"add them: {change_command(config, topic, partitions=wanted)}",
    )


def _wait_for_partitions(admin: Any, topic: str, wanted: int) -> int:
    """How many partitions a topic has once it has `wanted`, or after some seconds."""
    deadline = time.monotonic() + _WIDENED_S
    while True:
        found = len(admin.describe_topics([topic])[0]["partitions"])
        if found >= wanted:
            admin.wait_for_topics([topic])  # for their leaders
        if found >= wanted or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


class InputTopic(NamedTuple):
    """What a topic has now: its id, empty where the broker gives none, and its partitions; and those of the state."""

    topic_id: str
    partitions: int
    state_partitions: int


def look_at(admin: Any, config: Config, topic: str, partition: int) -> InputTopic:
    """An input topic as it is now; the state topic has `partition` too when this returns. Waits for brokers.

    Raises:
        PartitionError: the state topic has no such partition, and may not get it from us.
        ConfigError: there is no state topic any more.
        UnknownTopicOrPartitionError: the input topic is gone.
    """
    described = _describe(admin, config)
    errors = {name: for_code(each["error_code"]) for name, each in described.items()}
    found = {name: each for name, each in described.items() if errors[name] is NoError}
    if topic not in found:
        raise UnknownTopicOrPartitionError(topic)
    widths = {name: len(each["partitions"]) for name, each in found.items()}
    width = widths.pop(config.state_topic, 0)
    wanted_width = max(partition + 1, *widths.values())
    if errors.get(config.state_topic) is UnknownTopicOrPartitionError:
        raise ConfigError(
            f"restore: state topic {config.state_topic} no longer exists; it held {LOST_STATE}. To continue "
            f"without it, create it: {creation_command(config, config.state_topic, wanted_width, STATE)}; and set each "
            "partition's offset to its present value: "
            + moving_command(config, TopicPartition(topic, partition), "OFFSET")
        )
    if 0 < width <= partition:
        problem = widen_state(admin, config, width, wanted_width)
        if problem is not None:
            raise problem
        width = wanted_width
    topic_id = found[topic].get("topic_id")
    known = topic_id is not None and UUID(str(topic_id)).int != 0
    return InputTopic(str(topic_id) if known else "", widths[topic], width)


def _describe(admin: Any, config: Config) -> dict[str, Any]:
    """The input topics and the state topic as brokers describe them; a missing state topic is retried for seconds."""
    deadline = time.monotonic() + _GONE_S
    while True:
        described = admin.describe_topics([*config.input.topics, config.state_topic])
        found = {each["name"]: each for each in described}
        state = found.get(config.state_topic)
        gone = state is not None and for_code(state["error_code"]) is UnknownTopicOrPartitionError
        if not gone or time.monotonic() > deadline:
            return found
        time.sleep(_ASK_AGAIN_S)


class _Topics:
    def __init__(self, admin: Any, config: Config) -> None:
        self._admin = admin
        self._config = config
        self._outputs = outputs(config)
        names = [*config.input.topics, *self._outputs]
        self._found = {topic["name"]: topic for topic in admin.describe_topics(names)}
        self._settings = self._topic_settings([name for name in names if self._error(name) is NoError])
        self._policies = {topic: values["cleanup.policy"] for topic, values in self._settings.items()}

    def problems(self) -> list[str]:
        problems = self._inputs()
        widest = max((len(self._found[topic]["partitions"]) for topic in self._present_inputs()), default=0)
        missing = {}
        for topic, settings in self._outputs.items():
            if self._error(topic) is UnknownTopicOrPartitionError:
                missing[topic] = settings
            else:
                problems += self._existing_output(topic, settings)
        allowed = self._config.output.create_topics
        narrow = self._error(self._config.state_topic) is NoError and self._state_width() < widest
        if narrow and allowed and not problems:  # if it fails, only the partitions that need it are held
            widen_state(self._admin, self._config, self._state_width(), widest)
        if not missing:
            return problems
        # Without the inputs nobody knows how many partitions the outputs need.
        if allowed and not problems:
            return self._create(missing, widest)
        if not allowed:
            partitions: int | str = widest or "<partitions of the largest input topic>"
            problems += [
                f"output topic {topic} does not exist, and output.create_topics is false; create it: "
                f"{creation_command(self._config, topic, partitions, settings)}"
                for topic, settings in missing.items()
            ]
        return problems

    def _present_inputs(self) -> list[str]:
        return [topic for topic in self._config.input.topics if self._error(topic) is NoError]

    def _inputs(self) -> list[str]:
        problems = []
        for topic in self._config.input.topics:
            error = self._error(topic)
            if error is UnknownTopicOrPartitionError:
                command = creation_command(self._config, topic, "<partitions>", DELETE)
                problems.append(f"input topic {topic} does not exist; fix input.topics, or create it: {command}")
                continue
            problems += self._access(topic, ["Read", "Describe"])
            if "compact" in self._policies.get(topic, "delete"):
                problems.append(
                    f"input topic {topic} has cleanup.policy={self._policies[topic]}; expected delete, since "
                    "compaction removes samples from the middle of windows; copy it to a topic with that policy"
                )
        return problems

    def _state_width(self) -> int:
        return len(self._found[self._config.state_topic]["partitions"])

    def _existing_output(self, topic: str, settings: Mapping[str, str]) -> list[str]:
        state = topic == self._config.state_topic
        problems = self._access(topic, ["Read", "Write", "Describe"] if state else ["Write", "Describe"])
        if problems:
            return problems
        self._warn_of_own_times(topic)
        policy = self._policies.get(topic)
        if policy is not None and policy != settings["cleanup.policy"]:
            problems.append(
                f"output topic {topic} has cleanup.policy={policy}; expected {settings['cleanup.policy']}: "
                + change_command(self._config, topic, settings={"cleanup.policy": settings["cleanup.policy"]})
            )
        return problems

    def _access(self, topic: str, operations: Sequence[str]) -> list[str]:
        kafka = self._config.kafka
        error = self._error(topic)
        if error not in (NoError, TopicAuthorizationFailedError):
            return [f"topic {topic}: the broker answers {error.__name__}; check the topic's health"]
        allowed = self._found[topic].get("authorized_operations") if error is NoError else []
        if allowed is None:
            return []
        if any(operation.upper() not in allowed for operation in operations):
            grant = acl(kafka, "topic", topic, operations)
            return [f"{principal(kafka)} may not {' and '.join(operations)} topic {topic}; grant it: {grant}"]
        return []

    def _error(self, topic: str) -> Any:
        found = self._found.get(topic)
        return UnknownTopicOrPartitionError if found is None else for_code(found["error_code"])

    def _topic_settings(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        """Empty for topics whose settings we may not see: that is no reason to stop."""
        if not topics:
            return {}
        names = ["cleanup.policy", *STAMPED_BY_BROKERS]
        asked = [ConfigResource(ConfigResourceType.TOPIC, topic, names) for topic in topics]
        found = self._admin.describe_configs(asked, config_filter="all").get("topic", {})
        return {topic: {name: values[name]["value"] for name in names} for topic, values in found.items() if values}

    def _warn_of_own_times(self, topic: str) -> None:
        """A topic with our timestamps depends on our clock; no reason to stop while that is right."""
        found = self._settings.get(topic, STAMPED_BY_BROKERS)
        if not STAMPED_BY_BROKERS.items() <= found.items():
            _log.warning(
                "An output topic keeps the times of this machine's clock; better let the brokers stamp its records.",
                extra={"topic": topic, "command": change_command(self._config, topic, settings=STAMPED_BY_BROKERS)},
            )

    def _create(self, missing: Mapping[str, Mapping[str, str]], partitions: int) -> list[str]:
        wanted = {
            topic: {
                "num_partitions": partitions,
                "replication_factor": self._config.output.replication_factor,
                "configs": dict(settings),
            }
            for topic, settings in missing.items()
        }
        answer = self._admin.create_topics(wanted, raise_errors=False)
        problems = []
        for topic in answer["topics"]:
            error = for_code(topic["error_code"])
            # Another member may be starting at the same time.
            if error in (NoError, TopicAlreadyExistsError):
                continue
            command = creation_command(self._config, topic["name"], partitions, missing[topic["name"]])
            detail = topic.get("error_message") or error.__name__
            problems.append(f"output topic {topic['name']} could not be created ({detail}); create it: {command}")
        if not problems:
            self._admin.wait_for_topics(list(missing))
            _log.info("Output topics created.", extra={"topics": sorted(missing), "partitions": partitions})
        return problems
