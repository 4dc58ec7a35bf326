"""Partitions that are held, that is paused until somebody acts, while all others continue: why, and what to do.

Rules of this file: no clock, no logging and no I/O; the caller passes the time. A partition is held if nearly all of
its records are rejected, if it has come to a damaged batch, or if it can't be taken over (`PartitionError`). All are in
one table, are logged at once and then once a minute, and make the daemon not ready.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from monitor.backends.abstract import Damaged, Progress, TopicPartition
from monitor.backends.remedies import moving_command
from monitor.config.options import Config
from monitor.errors import DamagedError
from monitor.processing.partition import Halt

EVERY_S = 60.0
# How many partitions a reason not to be ready names, and how many lines are logged at a time.
NAMED = 3
MOST_LINES = 10


class Hold(NamedTuple):
    """`reason` is what was found, and where; `remedy` what to do.

    `offset` is where the partition stopped: once more than that is committed, it is no longer held. None: it could not
    be taken over. `again`: the cause may be fixed outside this daemon, so that it is worth another try.
    """

    reason: str
    remedy: str
    offset: int | None = None
    again: bool = True


class Holds:
    """The table of the partitions that are held, all of them assigned to this daemon.

    One that is tried again stays in it until it succeeds or is held again: it must not come and go each minute.
    """

    def __init__(self) -> None:
        self._found: dict[TopicPartition, Hold] = {}  # the most recently named are at the end
        self._tried: set[TopicPartition] = set()
        self._said: set[TopicPartition] = set()
        self._next_s = 0.0

    @property
    def found(self) -> Mapping[TopicPartition, Hold]:
        """All that are held, including those that are being tried again."""
        return self._found

    @property
    def tried(self) -> AbstractSet[TopicPartition]:
        """Those that are being tried again."""
        return self._tried

    def standing(self, partition: TopicPartition) -> bool:
        """Whether a partition is held and not being tried again."""
        return partition in self._found and partition not in self._tried

    def had(self, partition: TopicPartition) -> bool:
        """Whether a partition is held at an offset: it was taken over before."""
        return partition in self._found and self._found[partition].offset is not None

    def put(self, partition: TopicPartition, hold: Hold) -> None:
        """Holds a partition, for the first time or still."""
        self._found[partition] = hold
        self._tried.discard(partition)

    def remove(self, partition: TopicPartition) -> None:
        """Removes a partition that is no longer held, or was revoked."""
        self._found.pop(partition, None)
        self._tried.discard(partition)

    def end(self, progress: Mapping[TopicPartition, Progress]) -> None:
        """Removes those of the retried partitions that are committed beyond what held them, or to their end."""
        for partition, known in progress.items():
            offset, committed, end = self._found[partition].offset, known.committed, known.end
            if offset is None or (committed is not None and (committed > offset or committed == end)):
                self.remove(partition)

    def keep(self, owned: Collection[TopicPartition]) -> None:
        """Keeps only partitions that are still owned. All of those are restored, which is another try."""
        for partition in self._found.keys() - set(owned):
            self.remove(partition)
        self._tried = set(self._found)

    def due(self, now: float) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """The partitions to log now, and those to try again.

        New ones are logged at once, and once a minute all, `MOST_LINES` at a time, in turn. Once a minute those are
        tried again that were logged or counted before and whose cause may have been fixed.
        """
        standing = [partition for partition in self._found if self.standing(partition)]
        before, self._said = self._said, set(self._found)
        new = [partition for partition in standing if partition not in before]
        if not standing or now < self._next_s:
            return self._named(new), []
        self._next_s = now + EVERY_S
        old = [partition for partition in standing if partition in before]
        again = [partition for partition in old if self._found[partition].again]
        self._tried.update(again)
        return self._named(new + old), again

    def _named(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        for partition in partitions[:MOST_LINES]:
            self._found[partition] = self._found.pop(partition)
        return partitions[:MOST_LINES]


def not_ready(reasons: Mapping[TopicPartition, str]) -> str:
    """One reason not to be ready, for all partitions of which nothing is committed."""
    named = [f"{partition} is {why}" for partition, why in sorted(reasons.items())[:NAMED]]
    return "; ".join([*named, *([f"and {len(reasons) - NAMED} more"] if len(reasons) > NAMED else [])])


def explained(partition: TopicPartition, halt: Halt, config: Config) -> Hold:
    """Why the daemon holds a partition, and how to continue."""
    if halt.damaged is not None:
        return _of_damage(partition, halt.damaged, halt.committed, config)
    if halt.refused_from is None:
        return Hold(
            f"{halt.why}. Nothing from offset {halt.committed} on is committed",
            "Correct model.artifact, input.format or whatever is wrong (`telltale doctor TOPIC` proposes the options), "
            "and restart: no record is lost. If the records are wrong, set input.max_rejected_ratio = 1 and restart: "
            "they go to the dead-letter topic.",
            halt.committed,
            again=False,
        )
    return Hold(
        f"{halt.why}. Nothing from offset {halt.committed} on is committed; records that were rejected before that are "
        "in the dead-letter topic",
        "If the records are wrong, set input.max_rejected_ratio = 1 and restart: they go to the dead-letter topic. "
        "Otherwise correct model.artifact, input.format or whatever is wrong, and restart; to read again what went to "
        f"the dead-letter topic, move the group to the offset of the first such record, {halt.refused_from}: "
        + moving_command(config, partition, str(halt.refused_from)),
        halt.committed,
        again=False,
    )


def error(partition: TopicPartition, halt: Halt, config: Config) -> DamagedError:
    """The error with which the daemon exits at a partition that is to be held, if configured to stop there."""
    hold = explained(partition, halt, config)
    return DamagedError(f"{hold.reason}. {hold.remedy}")


def _of_damage(partition: TopicPartition, damaged: Damaged, committed: int, config: Config) -> Hold:
    before = "everything before it is processed and committed"
    if committed != damaged.first_offset:
        before = f"everything before offset {committed} is committed, and nothing from there on"
    what = (
        f"topic {partition.topic}, partition {partition.partition}: a batch of records can't be read, {damaged}; "
        f"{before}; nothing after the batch is read"
    )
    intact = (
        "If another replica of the partition has it intact, make that one the leader (a daemon that holds the "
        "partition tries again once a minute; restart one that has exited)"
    )
    if damaged.passable:
        return Hold(
            what,
            f'{intact}. To continue without these records, start with input.damaged_batches = "skip" '
            "(TELLTALE__INPUT__DAMAGED_BATCHES=skip): they become one dead letter, and windows of all series of this "
            f"partition start again; afterwards set {config.input.damaged_batches!r} again",
            damaged.first_offset,
        )
    return Hold(
        f"{what}; its header does not say where the next one begins, so it can't be skipped automatically",
        f"{intact}. Otherwise choose an offset N after it (kafka-dump-log.sh shows a segment's contents): "
        + moving_command(config, partition, "N"),
        damaged.first_offset,
    )
