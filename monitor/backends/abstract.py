"""The contract between the daemon and a log: columns in, one atomic commit out.

Rules of this file: types and words only. `kafka` keeps this contract on Apache Kafka, `local` in memory; one suite
(`tests/contract/`) runs on both. Everything here is called from one thread.

The shape of a turn::

    poll = backend.poll(timeout_s, max_records)
    for event in poll.events: Assigned -> restore(), begin(); Revoked -> forget
    for columns in poll.columns: work on them
    positions = backend.commit(Commit(...))     # messages, state and positions become visible together, or not at all

Any `AbortedError`, from any call, means: what was handed over since the last successful commit may or may not have
been written. The caller then throws its state away, calls `recover()`, and restores every partition that it still
owns. That is the same path as after a crash, and the only one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from monitor.detector.arrays import Int64Array
from monitor.errors import BackendError, Reason

Headers = Sequence[tuple[str, bytes | None]]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class AbortedError(BackendError):
    """Nothing since the last commit is certain: `recover()`, then restore every partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """A batch of records that can't be read: what was to be read of it, from `first_offset` up to `next_offset`.

    `size` is its bytes in the log, `records` how many its header states (None where the header can't be trusted).
    `reason` is CORRUPT_BATCH where its bytes are not those that were written, another where its sender wrote what
    nobody can read. Where `next_offset` is `first_offset`, nothing says where the next batch begins, and reading can't
    go on by itself.
    """

    first_offset: int
    next_offset: int
    size: int
    records: int | None
    reason: Reason
    detail: str

    @property
    def passable(self) -> bool:
        """Whether it is known where reading continues after it."""
        return self.next_offset > self.first_offset

    def __str__(self) -> str:
        last = self.next_offset - 1 if self.passable else "unknown"
        return f"offsets {self.first_offset} to {last}, {self.size} bytes: {self.detail}"


class StalledError(AbortedError):
    """Records wait and are not read, whatever the cause: `recover()` reads with a new client."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one assigned partition has come, and how old the proof is. Times are of the monotonic clock, in seconds.

    `read` is the next offset to be read (None before `begin`), `committed` the first offset not yet decided (None:
    nothing is committed). `end` is where what can be read ended when the log was asked at `answered_s`; who is asked is
    not who reads. `assured_s` is the last time at which nothing is known to have been overdue: a commit that moved,
    or an answer by which the committed offset was the end. `waiting_s` is since when records have been waiting to be
    read, times of `pause` in between included; None where none are, or where `pause` was there first. `stalls` counts
    how often, in a row, they were waiting so long at this offset that the client was replaced. `held_back` counts the
    offsets behind `end` that an open transaction keeps from being read.
    """

    read: int | None = None
    committed: int | None = None
    end: int | None = None
    answered_s: float | None = None
    assured_s: float | None = None
    waiting_s: float | None = None
    paused: bool = False
    stalls: int = 0
    held_back: int = 0


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """Records of one partition, in the order of their offsets, as columns of equal length n.

    `offsets` and `timestamps_ms` are int64 (n,), `keys` and `values` the raw bytes (None: null). `headers` is None
    unless the backend was asked for them. `next_offset` is where reading continues: at least `offsets[-1] + 1`, more
    where control records follow. n is 0 where nothing but aborted or control records lay between, and where `damaged`
    says that the next batch can't be read: then `next_offset` lies after that batch. `sizes` is how many bytes each has
    as its value, 0 where that is null: counted, unless the backend knows them.
    """

    partition: TopicPartition
    offsets: Int64Array
    timestamps_ms: Int64Array
    keys: list[bytes | None]
    values: list[bytes | None]
    next_offset: int
    headers: list[Headers] | None = None
    damaged: Damaged | None = None
    known_sizes: InitVar[Int64Array | None] = None
    sizes: Int64Array = field(init=False)

    def __post_init__(self, known_sizes: Int64Array | None) -> None:
        if known_sizes is None:
            known_sizes = np.array([len(value) if value else 0 for value in self.values], dtype=np.int64)
        object.__setattr__(self, "sizes", known_sizes)

    @classmethod
    def skipping(cls, partition: TopicPartition, damaged: Damaged) -> RecordColumns:
        """No records, but a batch that can't be read."""
        nothing = np.empty(0, dtype=np.int64)
        return cls(partition, nothing, nothing, [], [], damaged.next_offset, damaged=damaged)

    def rows(self, start: int, stop: int) -> RecordColumns:
        """The records from `start` up to `stop`; `next_offset` follows the last of them."""
        if start == 0 and stop == len(self.offsets):
            return self
        rows = slice(start, stop)
        return RecordColumns(
            self.partition,
            self.offsets[rows],
            self.timestamps_ms[rows],
            self.keys[rows],
            self.values[rows],
            self.next_offset if stop == len(self.offsets) else int(self.offsets[stop - 1]) + 1,
            None if self.headers is None else self.headers[rows],
            known_sizes=self.sizes[rows],
        )


@dataclass(frozen=True, slots=True)
class Assigned:
    """The partition is ours from now on. It is silent until `begin` says where to read."""

    partition: TopicPartition


@dataclass(frozen=True, slots=True)
class Revoked:
    """The partition is no longer ours: forget its state, publish nothing more about it."""

    partition: TopicPartition
    lost: bool = False


Event = Assigned | Revoked


@dataclass(frozen=True, slots=True)
class Poll:
    """What one poll brought: first the events, to be applied in order, then the records.

    A partition is in `columns` several times, in order, where a damaged batch lies between its records.

    `hurry`: a rebalance waits until what is uncommitted is committed, and so does the whole group.
    """

    events: tuple[Event, ...] = ()
    columns: tuple[RecordColumns, ...] = ()
    hurry: bool = False


# A position whose state is unknown: another tool set the offset.
NO_STATE = -1


@dataclass(frozen=True, slots=True)
class Position:
    """How far one input partition has been decided, and from where a successor rebuilds its state.

    `offset` is the first input offset not yet decided; `replay_from` <= `offset` is the input offset that the newest
    window checkpoint stands for; `state_from` the oldest offset of the state partition still needed to restore.
    `topic_id` is the id of the topic that the offsets belong to (a recreated topic has another), empty where
    it is not known; `partitions` is how many the topic had when the group began with this one, 0 where not known.
    """

    offset: int
    replay_from: int
    state_from: int
    topic_id: str = ""
    partitions: int = 0


@dataclass(frozen=True, slots=True)
class StateRecord:
    """One record of the state topic, newest value of its key when `Restored` holds it."""

    key: bytes
    value: bytes


# Key and value of a record of the state topic; the value is None for a tombstone, and empty where it is long.
HistoryRecord = tuple[bytes, bytes | None]
# Snapshots are longer, and only the newest counts; with them history would not fit memory.
HISTORY_BYTES = 4096


def for_history(key: bytes, value: bytes | None) -> HistoryRecord:
    """A record as `Restored.history` holds it."""
    return key, b"" if value is not None and len(value) > HISTORY_BYTES else value


@dataclass(frozen=True, slots=True)
class Restored:
    """What the log remembers of one partition.

    `history` says, where there is no position, what came before: every record of the state partition in log order,
    tombstones (None) among them, as (key, value); a value longer than `HISTORY_BYTES` is left empty.
    `position` is None where the group has none: it never committed, or its offsets expired or were deleted. `state`
    holds the newest committed value per key from `state_from` to the end of the state partition, tombstones left out,
    in log order; from the partition's beginning where no position of ours says where. Where the topic may be another
    one than the group knew, the state of `orphans` follows. `beginning` and `end` are the
    input partition's first retained offset and its end, `topic_id` and `partitions` what its topic has now. `added`:
    the partition did not exist yet when the group began with the topic.
    """

    position: Position | None
    state: tuple[StateRecord, ...]
    beginning: int
    end: int
    topic_id: str = ""
    partitions: int = 0
    added: bool = False
    history: tuple[HistoryRecord, ...] = ()


def orphans(partition: TopicPartition, partitions: int, state_partitions: int) -> range:
    """The state partitions that `partition` also takes care of: those of partitions that its topic no longer has."""
    return range(partitions + partition.partition, state_partitions, max(1, partitions))


@dataclass(frozen=True, slots=True)
class Message:
    """One record to publish. `partition` None leaves the choice to the key's hash. `value` None is a tombstone.

    `timestamp_ms` None: the time of the commit.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    partition: int | None = None
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """What becomes visible together.

    `checkpoints` are messages to the state topic that stand for a partition's whole state at `positions[partition]`;
    for those partitions the backend replaces the position's `state_from` with the lowest offset that the checkpoint's
    messages got, in the same transaction.
    """

    messages: Sequence[Message]
    positions: Mapping[TopicPartition, Position]
    checkpoints: Mapping[TopicPartition, Sequence[Message]] = field(default_factory=dict)


class Backend(Protocol):
    """A log with consumer groups and atomic commits."""

    def start(self) -> None:
        """Connects, checks the topics (creating output topics where allowed), fences a predecessor, joins the group.

        Raises:
            ConfigError: what the operator must fix (missing topic, no permission), all problems in one message.
            BackendError: the log can't be reached.
        """

    def poll(self, timeout_s: float, max_records: int) -> Poll:
        """Waits up to `timeout_s` for events or records; returns at most `max_records` records.

        Raises:
            AbortedError: the group moved on while records were uncommitted.
            StalledError: records of a begun partition that is not paused have waited for `limits.stall_timeout_ms`.
        """

    def awaited(self) -> bool:
        """Whether the whole group waits until what is uncommitted is committed, and then for a poll; never blocks."""

    def restore(self, partition: TopicPartition) -> Restored:
        """Reads back what was committed for `partition`. Waits for a predecessor's open transaction to end.

        Raises:
            PartitionError: the state topic has no partition for its state and we don't add one, or no broker answers
                for it.
        """

    def begin(self, partition: TopicPartition, offset: int) -> None:
        """Reads `partition` from `offset` on; after `Assigned`, and again after every restore."""

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int:
        """The first offset whose record is at or after `timestamp_ms`; the end where there is none."""

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Holds back records of these partitions; membership continues."""

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Undoes `pause`."""

    def commit(self, commit: Commit) -> dict[TopicPartition, Position]:
        """Writes everything in one transaction and returns the positions as committed.

        Raises:
            AbortedError: the outcome is unknown, or the group moved on.
            FencedError: another daemon runs under our identity.
        """

    def recover(self) -> frozenset[TopicPartition]:
        """Settles an unknown outcome; returns the partitions still owned, each silent until `begin`."""

    def lag(self) -> dict[TopicPartition, int]:
        """Records between our reading position and the end, per owned partition, as last heard; never blocks."""

    def progress(self) -> dict[TopicPartition, Progress]:
        """How far each owned partition has come; never blocks."""

    def answered_s(self) -> float | None:
        """When the log last answered a question (monotonic clock, seconds); None: never. From any thread."""

    def troubles(self) -> Sequence[str]:
        """What our input lacks though the log answers, in words: topics, leaders, the end of a transaction.

        From any thread.
        """

    def clock_ahead_s(self) -> float | None:
        """This machine's clock minus the log's, in seconds, at least; None where it is not known. Never blocks."""

    def close(self) -> None:
        """Leaves the group and closes every client. Idempotent; raises nothing."""


def settle(events: Sequence[Event]) -> tuple[Event, ...]:
    """The events without assignments that a later one of them takes back.

    Two rebalances may fall into one poll; a caller that applies the events in order must never restore and begin a
    partition that is gone already.
    """
    kept: list[Event] = []
    gone: set[TopicPartition] = set()
    for event in reversed(events):
        if isinstance(event, Assigned):
            if event.partition in gone:
                continue
        else:
            gone.add(event.partition)
        kept.append(event)
    return tuple(reversed(kept))
