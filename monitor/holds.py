"""Partitions that are held: left alone until somebody acts, while all others go on. Why, and what is to be done.

Rules of this file: no clock, no logging and no I/O; the caller says what time it is. Held is a partition whose records
are refused as if it were not they that are wrong, one that stands at a damaged batch, and one that can't be taken over
(`PartitionError`). All are said here, at once and then once a minute, and make the daemon not ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from monitor.backends.abstract import Damaged, TopicPartition
from monitor.config import Config
from monitor.errors import DamagedError
from monitor.partition import Halt

EVERY_S = 60.0
# How many partitions a reason not to be ready names, and how many lines are written in one go.
NAMED = 3
MOST_LINES = 10


class Hold(NamedTuple):
    """`reason` is what was found, and where; `remedy` what somebody is to do.

    `again`: it may be put right outside this daemon, so that another try is worth while.
    """

    reason: str
    remedy: str
    again: bool = True


class Due(NamedTuple):
    """What is to be said of a partition now; `first`: it was not said before."""

    partition: TopicPartition
    hold: Hold
    first: bool


class Saying:
    """Which partitions were said to be held, and when."""

    def __init__(self) -> None:
        self._said: set[TopicPartition] = set()
        self._next_s = 0.0

    def due(self, held: Mapping[TopicPartition, Hold], now: float) -> list[Due]:
        """Those that were not held before, and once a minute all."""
        before, every = self._said, bool(held) and now >= self._next_s
        if every:
            self._next_s = now + EVERY_S
        self._said = set(held) if every else before | held.keys()
        return [
            Due(partition, hold, partition not in before)
            for partition, hold in sorted(held.items())
            if every or partition not in before
        ]


def not_ready(reasons: Mapping[TopicPartition, str]) -> str:
    """Of partitions of which nothing is committed, one reason for all."""
    named = [f"{partition} is {why}" for partition, why in sorted(reasons.items())[:NAMED]]
    return "; ".join([*named, *([f"and {len(reasons) - NAMED} more"] if len(reasons) > NAMED else [])])


def explained(partition: TopicPartition, halt: Halt, config: Config) -> Hold:
    """Why the daemon takes nothing more of a partition in, and how it goes on."""
    if halt.damaged is not None:
        return _of_damage(partition, halt.damaged, halt.committed, config)
    if halt.refused_from is None:
        return Hold(
            f"{halt.why}. Of what it holds from offset {halt.committed} on nothing is committed",
            "Correct model.artifact, input.format or what else is wrong, and start again: no record is lost. If it is "
            "the records that are wrong, set input.max_refused_ratio = 1 and start again: they go to the dead letters.",
            again=False,
        )
    return Hold(
        f"{halt.why}. What it holds from offset {halt.committed} on is not committed; records that were refused before "
        "that are in the dead letters",
        "If it is the records that are wrong, set input.max_refused_ratio = 1 and start again: they go to the dead "
        "letters. Else correct model.artifact, input.format or what else is wrong, and start again; what went to the "
        f"dead letters is read again only from an earlier offset, as that of the first, {halt.refused_from}: "
        + moving_command(config, partition, str(halt.refused_from)),
        again=False,
    )


def error(partition: TopicPartition, halt: Halt, config: Config) -> DamagedError:
    """Why the daemon ends at a damaged batch, where it is told to stop there."""
    hold = explained(partition, halt, config)
    return DamagedError(f"{hold.reason}. {hold.remedy}")


def _of_damage(partition: TopicPartition, damaged: Damaged, committed: int, config: Config) -> Hold:
    before = "everything before it is decided and committed"
    if committed != damaged.first_offset:
        before = f"what lies before offset {committed} is committed, and nothing from there on"
    what = (
        f"topic {partition.topic}, partition {partition.partition}: a batch of records can't be read, {damaged}; "
        f"{before}; nothing behind the batch is read"
    )
    whole = (
        "Where another replica of the partition holds it whole, make that one the leader (a daemon that holds the "
        "partition tries again once a minute, one that has ended is to be started again)"
    )
    if damaged.passable:
        return Hold(
            what,
            f'{whole}. To go on without these records, start with input.damaged_batches = "skip" '
            "(TELLTALE__INPUT__DAMAGED_BATCHES=skip): they become one dead letter, and all series of this partition "
            f"begin anew; set {config.input.damaged_batches!r} again once it has been passed",
        )
    return Hold(
        f"{what}; its header does not say where the next one begins, so it can't be skipped by itself",
        f"{whole}. Else choose an offset N behind it (kafka-dump-log.sh shows what a segment holds): "
        + moving_command(config, partition, "N"),
    )


def moving_command(config: Config, partition: TopicPartition, offset: str) -> str:
    """What an operator types to let the group go on at an offset, and when."""
    kafka = config.kafka
    servers = " -b ".join(kafka.bootstrap_servers)
    secured = ""
    if kafka.security_protocol != "PLAINTEXT":
        secured = f" -S {kafka.security_protocol}"
        secured += f" -M {kafka.sasl_mechanism} -U {kafka.username} -P PASSWORD" if kafka.sasl_mechanism else ""
        files = {"ssl_cafile": kafka.ssl_cafile, "ssl_certfile": kafka.ssl_certfile, "ssl_keyfile": kafka.ssl_keyfile}
        secured += "".join(f" -C {name}={path}" for name, path in files.items() if path is not None)
    return (
        f"stop every daemon of the group, wait {kafka.session_timeout_ms / 1000:g} s (kafka.session_timeout_ms: until "
        f"then the group counts them as members, and refuses), and run: python -m kafka.admin -b {servers}{secured} "
        f"groups alter-offsets -g {kafka.group_id} -o {partition.topic}:{partition.partition}:{offset}"
    )
