"""What the contract's tests stand on: a cluster to meddle with, and a small daemon that takes turns."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Literal

from monitor.backends.abstract import (
    AbortedError,
    Backend,
    Event,
    Headers,
    Position,
    RecordColumns,
    Restored,
    Revoked,
    TopicPartition,
)
from monitor.config.options import Config
from monitor.errors import Reason

Row = tuple[int, int, bytes | None, bytes | None]
PATIENCE_S = 12.0
MAX_BATCH_BYTES = 1_000_000


class Cluster(ABC):
    """A log with one input topic, and what a test may do to it behind a backend's back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.input = f"{name}.input"
        self.alerts = f"{name}.alerts"
        self.state = f"{name}.state"

    def config(self, instance: str = "a", **sections: dict[str, Any]) -> Config:
        document: dict[str, dict[str, Any]] = {
            "service": {"instance": instance},
            "kafka": {"group_id": self.name, "session_timeout_ms": 6000, "transaction_timeout_ms": 10_000},
            "input": {"topics": [self.input], "max_batch_bytes": MAX_BATCH_BYTES},
            "output": {"alerts": self.alerts, "dead_letters": f"{self.name}.dead", "state": self.state},
        }
        for section, values in sections.items():
            document.setdefault(section, {}).update(values)
        return Config.model_validate(document)

    @abstractmethod
    def create(self, topic: str, partitions: int) -> None: ...

    @abstractmethod
    def create_state(self, partitions: int) -> None: ...

    @abstractmethod
    def widen(self, partitions: int, *backends: Backend) -> None:
        """Adds partitions to the input topic; the backends hear of it soon."""

    @abstractmethod
    def recreate(self, partitions: int, *backends: Backend) -> None:
        """Deletes the input topic and makes it again; the backends hear of it soon."""

    @abstractmethod
    def delete(self, topic: str, *backends: Backend) -> None:
        """Deletes a topic; the backends hear of it soon."""

    @abstractmethod
    def expire(self) -> None:
        """Lets the group's offsets expire. No member may be there."""

    @abstractmethod
    def trim(self, partition: int, beginning: int) -> None:
        """Lets retention remove the input before an offset."""

    @abstractmethod
    def feed(
        self, partition: int, rows: Sequence[tuple[bytes | None, bytes | None, int]], headers: Headers = ()
    ) -> None: ...

    @abstractmethod
    def feed_damaged(self, partition: int) -> None:
        """A batch of one record that unpacks to more than `config` allows."""

    @abstractmethod
    def backend(self, config: Config) -> Backend: ...

    @abstractmethod
    def visible(self, topic: str) -> list[tuple[int, bytes | None, bytes | None]]:
        """Partition, key and value of everything a read-committed reader sees."""

    @abstractmethod
    def stall(self, backend: Backend, partition: TopicPartition) -> None:
        """Nothing more of a partition is fetched, as after a fault of the client."""

    @abstractmethod
    def fail_next_commit(self, backend: Backend, when: Literal["before", "after"]) -> None: ...


class Turns:
    """A small daemon: applies events, restores, begins, and keeps what it read."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.owned: set[TopicPartition] = set()
        self.events: list[Event] = []
        self.rows: dict[TopicPartition, list[Row]] = defaultdict(list)
        self.columns: list[RecordColumns] = []
        self.next: dict[TopicPartition, int] = {}
        self.hurry = False
        self.restored: dict[TopicPartition, Restored] = {}

    def turn(self, timeout_s: float = 0.1, max_records: int = 10_000, *, begin: bool = True) -> int:
        poll = self.backend.poll(timeout_s, max_records)
        self.hurry = poll.hurry
        for event in poll.events:
            self.events.append(event)
            if isinstance(event, Revoked):
                self.owned.discard(event.partition)
            else:
                self.owned.add(event.partition)
                if begin:
                    self.begin(event.partition)
        for columns in poll.columns:
            assert columns.partition in self.owned
            assert len(columns.offsets) == len(columns.timestamps_ms) == len(columns.keys) == len(columns.values)
            assert columns.damaged is None or columns.next_offset == columns.damaged.next_offset
            assert columns.next_offset >= (columns.offsets[-1] + 1 if len(columns.offsets) else 0)
            self.columns.append(columns)
            self.next[columns.partition] = columns.next_offset
            self.rows[columns.partition] += zip(
                columns.offsets.tolist(), columns.timestamps_ms.tolist(), columns.keys, columns.values, strict=True
            )
        return sum(len(columns.offsets) for columns in poll.columns)

    def damaged(self) -> list[tuple[int, int, Reason]]:
        """First offsets, the offsets behind, and the reasons of the damaged batches that polls have told of."""
        found = [columns.damaged for columns in self.columns if columns.damaged is not None]
        return [(damaged.first_offset, damaged.next_offset, damaged.reason) for damaged in found]

    def begin(self, partition: TopicPartition) -> None:
        restored = self.restored[partition] = self.backend.restore(partition)
        start = restored.beginning if restored.position is None else restored.position.offset
        self.backend.begin(partition, start)
        self.next[partition] = start

    def recover(self) -> None:
        self.owned = set(self.backend.recover())
        self.rows.clear()
        for partition in self.owned:
            self.begin(partition)

    def count(self) -> int:
        return sum(len(rows) for rows in self.rows.values())

    def until(
        self, condition: Callable[[], bool], *others: Turns, recover: bool = False, max_records: int = 10_000
    ) -> None:
        """Takes turns, with the others, until `condition`; a failure says what was seen instead."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"owned {self.owned}, {self.count()} rows, events {self.events}"
            for turns in (self, *others):
                try:
                    turns.turn(max_records=max_records)
                except AbortedError:
                    if not recover:
                        raise
                    turns.recover()

    def quiet(self, seconds: float = 0.5) -> int:
        """Records that arrive while nothing should."""
        deadline = time.monotonic() + seconds
        found = 0
        while time.monotonic() < deadline:
            found += self.turn(0.05)
        return found

    def positions(self, **changes: int) -> dict[TopicPartition, Position]:
        return {
            tp: Position(
                self.next[tp],
                changes.get("replay_from", self.next[tp]),
                0,
                self.restored[tp].topic_id,
                self.restored[tp].partitions,
            )
            for tp in self.owned
        }
