"""What partitions have to publish: each one's, until it is taken, and what is committed of all of them together."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitor.backends.abstract import Position, TopicPartition
from monitor.messages.dead_letters import DeadLetter
from monitor.messages.quality import Event


@dataclass(slots=True)
class Outbox:
    """What a partition has to publish and nobody took yet; it is dropped with its partition, and only then.

    Alerts and dead letters are in the order of the log. `changed` are the incidents whose record has to be written
    again: what an `IncidentKey` holds, as a plain tuple, which is cheaper to make for each window. `orphans` are the
    keys of incident records of partitions that are gone, which have to be deleted.
    """

    alerts: list[Event] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    changed: set[tuple[bytes, str, str]] = field(default_factory=set)
    orphans: list[tuple[TopicPartition, bytes]] = field(default_factory=list)

    @property
    def has_news(self) -> bool:
        """There is something for people: an alert, or a record that could not be read."""
        return bool(self.alerts or self.dead_letters)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What there is to publish, of each partition in the order of its log, with the positions that it belongs to."""

    alerts: list[Event]
    dead_letters: list[DeadLetter]
    state: list[tuple[TopicPartition, bytes, bytes | None]]
    checkpoints: dict[TopicPartition, list[tuple[bytes, bytes]]]
    positions: dict[TopicPartition, Position]

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of all checkpoints' values."""
        return sum(len(value) for records in self.checkpoints.values() for _, value in records)
