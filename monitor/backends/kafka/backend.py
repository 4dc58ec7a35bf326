"""The `Backend` contract on Apache Kafka.

Rules of this file: it joins the modules and keeps the one rule between them: records that were polled since the last
commit are committed under the group generation that they were polled under. A caller that commits some of them keeps
the rest over a rebalance, and forgets those of revoked partitions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from kafka import TopicPartition as KafkaPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import CommitFailedError, KafkaError, KafkaTimeoutError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from monitor.backends.abstract import (
    NO_STATE,
    AbortedError,
    Assigned,
    Commit,
    Event,
    HistoryRecord,
    Poll,
    Position,
    Progress,
    RecordColumns,
    Restored,
    StalledError,
    TopicPartition,
    orphans,
    settle,
)
from monitor.backends.kafka import settings
from monitor.backends.kafka.clocks import BrokerClock, wall_ms
from monitor.backends.kafka.connecting import check_access, connect, for_now, probe
from monitor.backends.kafka.consumer import Member
from monitor.backends.kafka.faults import explain, no_leader
from monitor.backends.kafka.fences import Fences, elapsed_s
from monitor.backends.kafka.position import decode_position
from monitor.backends.kafka.sentinel import Sentinel
from monitor.backends.kafka.state import StateReader
from monitor.backends.kafka.succession import OWNER_PATIENCE_S, end_transactions_of_former_members
from monitor.backends.kafka.topics import InputTopic, look_at, prepare_topics
from monitor.backends.kafka.transactions import Transactions
from monitor.backends.progress import Tracker
from monitor.config.options import Config
from monitor.errors import BackendError

# At start a supervisor retries anyway; later the group waits for us up to max.poll.interval.ms.
_START_DEADLINE_S = 20.0
_RECOVER_DEADLINE_S = 20.0
# A restore waits longer than any transaction may stay open, so that it can't fail because of a dead predecessor's.
# With a recovery before it that is within what a turn may take (`monitor.serving.health`). The bounds and the state
# are waited for as well, each within a limit of its own: brokers that answer each question at the last moment may
# exceed it.
_OWNER_MARGIN_S = 15.0
_LEAST_PATIENCE_S = 2.0
# The broker takes commits of the old generation until all members have joined the new one, for which it waits up to
# max.poll.interval.ms. Twice the interval at which an idle daemon commits.
_COMMIT_GRACE_S = 2.0
# After an election the new leader's end may lag behind what was read from the old one (KIP-207).
_CATCH_UP_S = 5.0
# A caller with a backlog polls without waiting, and seldom: few polls must then suffice for a join.
_JOIN_S = 0.1
# New clients for a partition that is stuck at one offset. Then the process ends, so that a supervisor starts another.
_MOST_STALLS = 2


class KafkaBackend:
    """One member of one group, and one transactional producer, under one identity."""

    def __init__(
        self, config: Config, *, clock: Callable[[], float] = elapsed_s, now_ms: Callable[[], int] = wall_ms
    ) -> None:
        """Reads credentials; connects nowhere.

        Args:
            config: names, timeouts, where the brokers are.
            clock: seconds that pass while this process does not run.
            now_ms: this machine's time, in ms since 1970.

        Raises:
            ConfigError: identity, password file or certificate files.
        """
        settings.quiet()
        self._config = config
        self._member = Member(config)
        self._clock = BrokerClock(now_ms)
        self._transactions = Transactions(config, Fences(config, self._member.displaced, clock), self._clock)
        self._sentinel = Sentinel(config)
        self._tracker = Tracker(config.limits.stall_timeout_ms / 1000)
        self._renew = False  # the next recovery reads with a new client
        self._leaderless: frozenset[TopicPartition] = frozenset()  # an election was waited for
        self._admin: Any = None
        self._state: StateReader | None = None
        # The membership under which the records since the last commit were polled. None: there are none.
        self._pending: ConsumerGroupMetadata | None = None
        self._delayed_since: float | None = None

    def start(self) -> None:
        """Connects, checks topics, fences a predecessor, subscribes; the first polls join the group.

        Blocks for at most about 10 s where no broker answers; longer only while a predecessor's transaction ends.
        """
        kafka = self._config.kafka
        probe(kafka)
        self._admin = connect(KafkaAdminClient, kafka, settings.admin(kafka, settings.identity(self._config)))
        prepare_topics(self._admin, self._config)
        self._state = StateReader(self._config, self._admin)
        self._state.open()
        # Before the member joins: what a predecessor left open is settled. A rival is fenced at its next commit; it may
        # take the id back once, until the group knows us under its name (fences.py).
        try:
            self._transactions.open(_START_DEADLINE_S)
        except BackendError:
            check_access(kafka)  # where we are refused, no restart helps
            raise
        self._member.start()
        self._sentinel.start()

    def poll(self, timeout_s: float, max_records: int) -> Poll:
        """Waits up to `timeout_s` for events or records.

        Raises:
            AbortedError: the group moved on while records were uncommitted, or the log does not hold our position.
            StalledError: records wait and the client does not fetch them.
            FencedError: another daemon joined under our identity.
            BackendError: they still wait after the client was replaced twice.
            ConfigError: brokers are there, and have refused us for a minute.
        """
        self._check_accepted()
        if self._delays_rebalance(timeout_s):
            return Poll(hurry=True)
        if self._member.rebalancing():
            timeout_s = max(timeout_s, _JOIN_S)
        # A rebalance that shows only while we poll waits too: from the next poll on it is held off.
        stay = self._pending is not None and self._delayed_since is None
        events, columns = self._member.poll(timeout_s, max_records, stay=stay)
        self._note(events, columns)
        # The IO thread continues a join that a poll has begun: the generation may be newer than these records. They
        # may be committed under it: our assignment changes in poll() only, and in a cooperative group nobody is given
        # what it takes from us before we join once more.
        group = self._member.generation()
        if self._pending is not None and _membership(group) != _membership(self._pending):
            raise AbortedError("poll: the group rebalanced while records were uncommitted")
        if columns and group.generation_id < 0:
            raise AbortedError("poll: the group's coordinator no longer knows us")
        if columns:
            self._pending = group
        return Poll(settle(events), tuple(columns), hurry=stay and self._member.rebalancing())

    def _note(self, events: Sequence[Event], columns: Sequence[RecordColumns]) -> None:
        """Tracks what was read, and looks for partitions whose records nobody reads."""
        for event in events:
            (self._tracker.assigned if isinstance(event, Assigned) else self._tracker.revoked)(event.partition)
        if events:
            self._sentinel.watch(self._member.owned)
        now = time.monotonic()
        read = [(found.partition, found.next_offset) for found in columns]
        self._tracker.polled(read, now, steady=self._member.steady(), more=self._member.has_more())
        for partition, (end, asked_s) in self._sentinel.take().items():
            self._tracker.answered(partition, end, asked_s)
        if stalled := self._tracker.stalled(now):
            self._give_up_on(sorted(stalled))
        if at_odds := self._member.at_odds():
            self._renew = True
            named = ", ".join(map(str, sorted(at_odds)[:5]))
            raise StalledError(f"poll: the client's assignment differs from ours, and nobody reads {named}")

    def _give_up_on(self, stalled: Sequence[TopicPartition]) -> None:
        progress = self._tracker.snapshot()
        found = "; ".join(
            f"{partition} is not read on from offset {progress[partition].read}, its end is {progress[partition].end}"
            for partition in stalled[:5]
        )
        waited = f"{self._config.limits.stall_timeout_ms / 1000:g} s"
        if max(progress[partition].stalls for partition in stalled) > _MOST_STALLS:
            raise BackendError(
                f"records wait for more than {waited} and nobody reads them, though the client was replaced "
                f"{_MOST_STALLS} times: {found}; start again, and report it with the log at log.level = debug"
            )
        self._renew = True
        raise StalledError(f"poll: records wait for more than {waited}: {found}")

    def _delays_rebalance(self, timeout_s: float) -> bool:
        """Whether to leave a rebalance waiting, so that the caller may commit first what it would lose."""
        if self._pending is None or not self._member.rebalancing():
            self._delayed_since = None
            return False
        now = time.monotonic()
        self._delayed_since = now if self._delayed_since is None else self._delayed_since
        if now - self._delayed_since >= _COMMIT_GRACE_S:
            return False
        time.sleep(min(timeout_s, 0.01))
        return True

    def awaited(self) -> bool:
        """Whether the group waits for our next poll. Never blocks."""
        return self._member.rebalancing()

    def restore(self, partition: TopicPartition) -> Restored:
        """Reads position and state back, and widens the state topic if it has to be.

        Blocks while a predecessor's transaction is open, up to its timeout; a dead one's is ended after some seconds.

        Raises:
            PartitionError: the state topic has no such partition, or the input partition has no leader that answers.
            AbortedError: the log could not be read.
            ConfigError: the state topic does not hold what was committed.
        """
        topic = self._topic(partition)
        if partition.partition >= topic.partitions:
            self._member.disown(partition.topic, topic.partitions)
            raise AbortedError(f"restore: topic {partition.topic} has only {topic.partitions} partitions now")
        committed = self._committed(partition)
        position = None if committed is None else decode_position(committed.offset, committed.metadata)
        beginning, end = self._bounds(partition, position)
        self._tracker.restored(partition, None if position is None else position.offset, end, time.monotonic())
        ours = position is not None and position.state_from != NO_STATE
        history: list[HistoryRecord] | None = [] if position is None else None
        state_from = position.state_from if position is not None and ours else 0
        state = self._reader().read(partition.partition, state_from, history)
        if position is None or position.topic_id != topic.topic_id:
            for orphan in orphans(partition, topic.partitions, topic.state_partitions):
                state += self._reader().read(orphan, 0)
        added = position is None and self._added(partition, topic.partitions)
        self._member.expect(partition.topic, topic.topic_id)
        before = tuple(history or ())
        return Restored(position, state, beginning, end, topic.topic_id, topic.partitions, added, before)

    def _committed(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """What the group committed. Waits for the coordinator as long as an owner's transaction may take."""
        deadline = time.monotonic() + self._config.kafka.transaction_timeout_ms / 1000 + _OWNER_MARGIN_S
        try:
            return self._member.committed(partition, OWNER_PATIENCE_S)
        except AbortedError as error:
            if not isinstance(error.__cause__, KafkaTimeoutError):
                raise
        end_transactions_of_former_members(self._admin, self._config)
        return self._member.committed(partition, max(_LEAST_PATIENCE_S, deadline - time.monotonic()))

    def _topic(self, partition: TopicPartition) -> InputTopic:
        try:
            return look_at(self._admin, self._config, *partition)
        except KafkaError as error:
            raise explain(error, "restore", self._config) from error

    def _bounds(self, partition: TopicPartition, position: Position | None) -> tuple[int, int]:
        """The log's bounds; one that ends before `position` is asked again: a new leader may know less for a moment.

        It waits for an election once, for all partitions without a leader: the others are not read meanwhile.
        """
        if partition in self._leaderless & self._sentinel.leaderless:
            raise no_leader(partition, self._config.kafka)
        deadline = time.monotonic() + _CATCH_UP_S
        while True:
            try:
                beginning, end = self._member.bounds(partition)
            except AbortedError as error:
                if not isinstance(error.__cause__, KafkaTimeoutError):
                    raise
                self._leaderless = self._sentinel.leaderless | {partition}
                raise no_leader(partition, self._config.kafka) from error
            if position is None or position.offset <= end or time.monotonic() > deadline:
                return beginning, end
            time.sleep(0.2)

    def _added(self, partition: TopicPartition, partitions: int) -> bool:
        """Whether the group began with the topic before it had this partition, as its other positions say."""
        others = [KafkaPartition(partition.topic, each) for each in range(partitions) if each != partition.partition]
        group = self._config.kafka.group_id
        try:
            found = self._admin.list_group_offsets({group: others})[group] if others else {}
        except KafkaError as error:
            raise explain(error, "restore", self._config) from error
        positions = [decode_position(each.offset, each.metadata) for each in found.values() if each.offset >= 0]
        return any(0 < each.partitions <= partition.partition for each in positions)

    def begin(self, partition: TopicPartition, offset: int) -> None:
        """Reads `partition` from `offset` on; ends a pause. Never blocks."""
        self._member.begin(partition, offset)
        self._tracker.begun(partition, offset, time.monotonic())

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int:
        """The first offset at or after a time, else the end. Waits for the partition's leader."""
        return self._member.offset_at(partition, timestamp_ms)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Holds back records; membership continues. Never blocks."""
        self._member.pause(partitions)
        self._tracker.paused(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Undoes `pause`. Never blocks."""
        self._member.resume(partitions)
        self._tracker.resumed(partitions, time.monotonic())

    def commit(self, commit: Commit) -> dict[TopicPartition, Position]:
        """One transaction. Waits for the brokers, a few milliseconds, and at most as long as a transaction may take."""
        group = self._pending if self._pending is not None else self._member.generation()
        if group.generation_id < 0:
            self._transactions.destroy()
            raise AbortedError("commit: the group's coordinator no longer knows us")
        try:
            committed = self._transactions.commit(commit, self._config.state_topic, group)
        except AbortedError as error:
            if isinstance(error.__cause__, CommitFailedError):
                # The group went on without us. Asked, the member knows it at once, and the next poll joins again: its
                # own heartbeat comes seconds later, and more commits would fail by then than are allowed in a row.
                self._member.displaced()
            raise
        self._pending = None
        now = time.monotonic()
        for partition, position in committed.items():
            self._tracker.committed(partition, position.offset, now)
        return committed

    def recover(self) -> frozenset[TopicPartition]:
        """A new producer settles the old one's transaction; everything owned is silent. Blocks up to 20 s.

        Events that no poll returned are applied: what is not in the answer is no longer ours. After a stall a new
        client replaces our member in the group; then nothing is owned before `poll` says so.

        Raises:
            AbortedError: no broker answered in time; try again.
            ConfigError: brokers are there, and have refused us for a minute.
        """
        self._check_accepted()
        self._pending = None
        try:
            if self._renew:
                with for_now("recover"):
                    self._member.renew()
                self._renew = False
            owned = self._member.silence()
            self._tracker.silenced(owned)
            self._sentinel.watch(owned)
            self._transactions.open(_RECOVER_DEADLINE_S)
        except AbortedError:
            raise
        except BackendError as error:
            # The caller decides how often it tries; between two tries its loop turns, and handles signals.
            raise AbortedError(f"recover: {error}") from error
        return owned

    def _check_accepted(self) -> None:
        if self._sentinel.refused is not None:
            raise self._sentinel.refused

    def lag(self) -> dict[TopicPartition, int]:
        """Records between our position and the end, per begun partition. Never blocks."""
        return self._member.lag()

    def progress(self) -> dict[TopicPartition, Progress]:
        """How far each owned partition has come. Never blocks."""
        progress = self._tracker.snapshot()
        for partition, behind in self._sentinel.held_back().items():
            if partition in progress:
                progress[partition] = replace(progress[partition], held_back=behind)
        return progress

    def answered_s(self) -> float | None:
        """When a broker last answered a question of the sentinel's. Never blocks, from any thread."""
        return self._sentinel.answered_s

    def troubles(self) -> list[str]:
        """What is missing of our input, or held back by an open transaction. Never blocks, from any thread."""
        return self._sentinel.troubles()

    def clock_ahead_s(self) -> float | None:
        """This machine's clock minus the brokers', as the last commit showed it. Never blocks."""
        return self._clock.ahead_s

    def close(self) -> None:
        """Closes every client; waits a few seconds at most. What is uncommitted stays uncommitted.

        As a static member we send no LeaveGroup: our partitions wait for us until the session times out.
        """
        self._transactions.close()
        self._sentinel.close()
        self._member.close()
        state, self._state = self._state, None
        admin, self._admin = self._admin, None
        with suppress(Exception):
            if state is not None:
                state.close()
        with suppress(Exception):
            if admin is not None:
                admin.close()

    def _reader(self) -> StateReader:
        if self._state is None:
            raise RuntimeError("start() comes first")
        return self._state


def _membership(group: ConsumerGroupMetadata) -> tuple[int, str]:
    return group.generation_id, group.member_id
