"""Partitions that are held: left alone until somebody acts, while all others go on. Why, and what is to be done.

Rules of this file: no clock, no logging and no I/O; the caller says what time it is. Held is a partition whose records
are refused as if it were not they that are wrong, one that stands at a damaged batch, and one that can't be taken over
(`PartitionError`). All are in one table, are logged at once and then once a minute, and make the daemon not ready.
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
# How many partitions a reason not to be ready names, and how many lines are written in one go.
NAMED = 3
MOST_LINES = 10


class Hold(NamedTuple):
    """`reason` is what was found, and where; `remedy` what somebody is to do.

    `offset` is where the partition stands: once more than that is committed, nothing holds it. None: it could not be
    taken over. `again`: it may be put right outside this daemon, so that another try is worth while.
    """

    reason: str
    remedy: str
    offset: int | None = None
    again: bool = True


class Holds:
    """The one table of the partitions that are held, all of them ours.

    One that is tried again stays in it until it is over, or held anew: nobody is to see it come and go each minute.
    """

    def __init__(self) -> None:
        self._found: dict[TopicPartition, Hold] = {}  # those named last are at the end
        self._tried: set[TopicPartition] = set()
        self._said: set[TopicPartition] = set()
        self._next_s = 0.0

    @property
    def found(self) -> Mapping[TopicPartition, Hold]:
        """All that are held, those that are being tried again among them."""
        return self._found

    @property
    def tried(self) -> AbstractSet[TopicPartition]:
        """Those that are being tried again."""
        return self._tried

    def standing(self, partition: TopicPartition) -> bool:
        """Whether it is held, and is not being tried again."""
        return partition in self._found and partition not in self._tried

    def had(self, partition: TopicPartition) -> bool:
        """Whether it is held where reading it stands: it was taken over before."""
        return partition in self._found and self._found[partition].offset is not None

    def put(self, partition: TopicPartition, hold: Hold) -> None:
        """It is held, for the first time or still."""
        self._found[partition] = hold
        self._tried.discard(partition)

    def remove(self, partition: TopicPartition) -> None:
        """It is no longer held, or no longer ours."""
        self._found.pop(partition, None)
        self._tried.discard(partition)

    def end(self, progress: Mapping[TopicPartition, Progress]) -> None:
        """These were taken over once more: those that have left behind what held them, or see its end, are free."""
        for partition, known in progress.items():
            offset, committed, end = self._found[partition].offset, known.committed, known.end
            if offset is None or (committed is not None and (committed > offset or committed == end)):
                self.remove(partition)

    def keep(self, owned: Collection[TopicPartition]) -> None:
        """Only these are still ours, and all of them are restored: that is another try."""
        for partition in self._found.keys() - set(owned):
            self.remove(partition)
        self._tried = set(self._found)

    def due(self, now: float) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """Whom to name now, and whom to try again.

        Named are those that are new, and once a minute all, the longest unnamed first, `MOST_LINES` at a time. Tried
        again, once a minute, are those that were named or counted before and may have been put right meanwhile.
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
    """Of partitions of which nothing is committed, one reason for all."""
    named = [f"{partition} is {why}" for partition, why in sorted(reasons.items())[:NAMED]]
    return "; ".join([*named, *([f"and {len(reasons) - NAMED} more"] if len(reasons) > NAMED else [])])


def explained(partition: TopicPartition, halt: Halt, config: Config) -> Hold:
    """Why the daemon takes nothing more of a partition in, and how it goes on."""
    if halt.damaged is not None:
        return _of_damage(partition, halt.damaged, halt.committed, config)
    if halt.refused_from is None:
        return Hold(
            f"{halt.why}. Nothing from offset {halt.committed} on is committed",
            "Correct model.artifact, input.format or whatever is wrong, and restart: no record is lost. If the records "
            "are wrong, set input.max_rejected_ratio = 1 and restart: they go to the dead-letter topic.",
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
            damaged.first_offset,
        )
    return Hold(
        f"{what}; its header does not say where the next one begins, so it can't be skipped by itself",
        f"{whole}. Else choose an offset N behind it (kafka-dump-log.sh shows what a segment holds): "
        + moving_command(config, partition, "N"),
        damaged.first_offset,
    )
