"""Where a partition that was taken over continues, from what the log remembers of it.

Rules of this file: pure. `input.start` applies only to a group's first start; skipped records are counted; an offset
means nothing in a topic that was recreated.

    position within the log    -> read from its checkpoint, to refill the windows; decide from the position
    position of the group      below the log's beginning -> go on there; what was deleted is data loss
                               beyond its end            -> as input.beyond_end says
                               of another topic id       -> from the beginning of the new topic
    none, but a checkpoint     -> from the checkpoint's offset, by the same rules
    none, the partition added  -> from its beginning: nobody chose to skip what it holds
    none, state without a checkpoint -> from the beginning of the log
    none at all                -> input.start (`Daemon._start_offset`)

Where the checkpoint can't be read, windows start empty at the position (`PartitionState._refill`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from monitor.backends.abstract import NO_STATE, Position, Restored, TopicPartition
from monitor.errors import ConfigError
from monitor.processing.snapshots import Mark

BeyondEnd = Literal["stop", "end", "beginning"]


class How(StrEnum):
    """What a partition was taken over from. A closed set: safe as a metric label."""

    POSITION = "position"
    FIRST_START = "first_start"
    PARTITION_ADDED = "partition_added"
    RECORDS_DELETED = "records_deleted"
    OFFSET_MISSING = "offset_missing"
    BEYOND_END = "beyond_end"
    TOPIC_RECREATED = "topic_recreated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """How a partition was taken over.

    Reading begins at `begin`; records before `live_from` were decided before and only refill windows. Retention deleted
    `deleted` offsets before they were decided. `state_lost` says why windows start empty although they should not; it
    is empty where they don't. `unreadable` says what is wrong with incidents of the state that were left out.
    `checks_begin`: what some check or follower remembers begins at the checkpoint, which lacks it, as when that was
    switched on.
    `other_artifact` is the digest of the artifact that made the newest checkpoint, empty where it is the one in service
    or not known. It changes nothing: windows that fit, and incidents, continue.
    """

    begin: int
    live_from: int
    how: How = How.POSITION
    deleted: int = 0
    state_lost: str = ""
    unreadable: tuple[str, ...] = ()
    checks_begin: bool = False
    other_artifact: str = ""

    @property
    def irregular(self) -> bool:
        """Not simply where the last commit was: worth committing at once, so that a restart continues from here."""
        return self.how is not How.POSITION or bool(self.state_lost) or self.checks_begin


@dataclass(frozen=True, slots=True)
class Point:
    """Where to continue, and the position whose checkpoint may refill the windows; None: they start empty."""

    resumed: Resumed
    refill: Position | None = None


def find(
    name: TopicPartition, restored: Restored, mark: Mark | None, start: int, beyond_end: BeyondEnd, *, state: bool
) -> Point:
    """Where `name` continues.

    Args:
        name: the partition.
        restored: what the log remembers.
        mark: what the newest checkpoint stands for; None where there is none.
        start: where a group begins on its first start.
        beyond_end: what to do where the log ends before the position.
        state: whether there is anything of this partition in the state topic.

    Raises:
        ConfigError: the log ends before the position, and `beyond_end` says to stop.
    """
    position = restored.position
    if _other_topic(restored, mark):
        chosen = position is not None and position.state_from == NO_STATE and _holds(restored, position.offset)
        at = position.offset if position is not None and chosen else restored.beginning
        state_lost = "the input topic was deleted and recreated"
        return Point(Resumed(begin=at, live_from=at, how=How.TOPIC_RECREATED, state_lost=state_lost))
    if position is not None:
        return _follow(name, restored, position, How.POSITION, beyond_end)
    if mark is not None:
        # A checkpoint without a position: the state is read from the beginning of its partition again.
        position = Position(mark.offset, replay_from=mark.offset, state_from=0)
        return _follow(name, restored, position, How.OFFSET_MISSING, beyond_end)
    if state:
        at, state_lost = restored.beginning, "the group's offset is missing, and its state holds no checkpoint"
        return Point(Resumed(begin=at, live_from=at, how=How.OFFSET_MISSING, state_lost=state_lost))
    at, how = (restored.beginning, How.PARTITION_ADDED) if restored.added else (start, How.FIRST_START)
    return Point(Resumed(begin=at, live_from=at, how=how))


def _other_topic(restored: Restored, mark: Mark | None) -> bool:
    """Whether the topic is another than the one that position and state belong to."""
    ids = [restored.position.topic_id] if restored.position is not None else []
    ids += [mark.topic_id] if mark is not None else []
    known = next(filter(None, ids), "")
    return bool(known and restored.topic_id) and known != restored.topic_id


def _holds(restored: Restored, offset: int) -> bool:
    return restored.beginning <= offset <= restored.end


def _follow(name: TopicPartition, restored: Restored, position: Position, how: How, beyond_end: BeyondEnd) -> Point:
    offset, there = position.offset, f"{restored.beginning} to {restored.end} are"
    if offset < restored.beginning:
        at, lost = restored.beginning, restored.beginning - offset
        how = How.RECORDS_DELETED if how is How.POSITION else how
        state_lost = f"input from offset {offset} was deleted before it was read ({there} there)"
        return Point(Resumed(begin=at, live_from=at, how=how, deleted=lost, state_lost=state_lost))
    if offset > restored.end:
        if beyond_end == "stop":
            raise ConfigError(
                f"{name}: the group is at offset {offset}, but the log ends at {restored.end}: it was truncated, "
                'or the topic was recreated; set input.beyond_end = "beginning" to read what is there from its '
                'beginning (decided records are decided again), or "end" to skip it, and start again'
            )
        at = restored.end if beyond_end == "end" else restored.beginning
        state_lost = f"the log ends before offset {offset} ({there} there)"
        return Point(Resumed(begin=at, live_from=at, how=How.BEYOND_END, state_lost=state_lost))
    resumed = Resumed(begin=offset, live_from=offset, how=how)
    if position.state_from == NO_STATE:
        state_lost = "the group's offset was set by another tool, so the windows of its state end elsewhere"
        return Point(replace(resumed, state_lost=state_lost))
    if position.replay_from < restored.beginning:
        return Point(replace(resumed, state_lost=f"input from offset {position.replay_from} is no longer there"))
    return Point(replace(resumed, begin=position.replay_from), refill=position)
