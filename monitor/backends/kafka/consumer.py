"""Our member of the consumer group.

Rules of this file: the rebalance listener runs on the client's IO thread and does only what can't block; all else
happens in the caller's thread. kafka-python 3.0.12 takes a new assignment only inside `poll()` (coordinator/base.py,
join_group_async), so between two polls it does not change; the generation may, see `KafkaBackend.poll`.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import FencedInstanceIdError, KafkaError, OffsetOutOfRangeError, RetriableError
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata

from monitor.backends.abstract import AbortedError, Assigned, Event, RecordColumns, Revoked, TopicPartition
from monitor.backends.kafka import settings
from monitor.backends.kafka.batches import columns, return_runs
from monitor.backends.kafka.connecting import connect
from monitor.backends.kafka.faults import explain, fenced
from monitor.config.options import Config

_log = logging.getLogger(__name__)
# A rebalance that finishes while no records flow is reported after at most this long.
_SLICE_MS = 100
_CLOSE_TIMEOUT_MS = 2_000
_ASK_TIMEOUT_MS = 2_000
_METADATA_TIMEOUT_S = 5
# How long the client looks for a leader; a recovery tries again, and the loop turns in between. Longer than an election
# after a broker was killed (broker.session.timeout.ms, 9 s).
_LEADER_TIMEOUT_MS = 15_000
# Time between two looks at whether what the client has is what we know of.
_COMPARE_INTERVAL_S = 2.0
Answer = TypeVar("Answer")


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # the client has no types
    """Queues what happened, and keeps new partitions silent. Runs on the IO thread; never blocks."""

    def __init__(self, consumer: Any, assignor: CooperativeStickyAssignor, events: deque[Event]) -> None:
        self._consumer = consumer
        self._assignor = assignor
        self._events = events

    def on_partitions_assigned(self, assigned: Sequence[Any]) -> None:
        for partition in sorted(assigned):
            # Any position will do: without one poll() asks for the committed offset, and with auto_offset_reset
            # 'none' raises NoOffsetForPartitionError. Paused, it is never fetched; begin() seeks before it resumes.
            # Both calls only set fields (consumer/subscription_state.py).
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)
            self._events.append(Assigned(TopicPartition(*partition)))

    def on_partitions_revoked(self, revoked: Sequence[Any]) -> None:
        self._events.extend(Revoked(TopicPartition(*partition)) for partition in sorted(revoked))

    def on_partitions_lost(self, lost: Sequence[Any]) -> None:
        # D34: the assignor keeps claiming its last assignment as owned, so a member that was removed would rejoin
        # with a claim to partitions that others own by now (Java claims what it still has: nothing).
        self._assignor.member_assignment = None
        self._events.extend(Revoked(TopicPartition(*partition), lost=True) for partition in sorted(lost))


class _KeptJoin:
    """A join under way, which never reports that it is done before somebody waited for it.

    D35: a JoinGroup that is answered between two polls is thrown away by the second, which joins again
    (coordinator/base.py, join_group_async: `_join_task.is_done`), and so makes everybody rebalance again. Two members
    that take short polls in turn rebalance for ever.
    """

    is_done = False

    def __init__(self, task: Any) -> None:
        self.add_callback = task.add_callback
        self.add_errback = task.add_errback


def _prepare_every_join(coordinator: Any) -> None:
    """Tells a member that is removed while it rejoins which partitions it has lost.

    D38: the client says it when a rejoin begins, and takes what comes after UNKNOWN_MEMBER_ID for the same one.
    """
    reset = coordinator.reset_generation

    def reset_generation(*member_id: str, **named: str) -> None:
        reset(*member_id, **named)
        coordinator.rejoining = False

    coordinator.reset_generation = reset_generation


class Member:
    """What we own, what we read, and under which generation of the group."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._want_headers = config.input.wants_headers
        self._events: deque[Event] = deque()
        self._owned: set[TopicPartition] = set()
        self._begun: dict[TopicPartition, int] = {}  # -> the client's position that the caller knows of
        self._ends: dict[TopicPartition, int] = {}
        self._topic_ids: dict[str, str] = {}  # of the topics whose positions we have
        self._seen_ids: dict[str, str] = {}  # as the client heard last
        self._consumer: Any = None
        self._at_odds: set[TopicPartition] = set()
        self._compared_s = 0.0

    def start(self) -> None:
        """Connects and subscribes; the group is joined by the first polls. Waits for a broker."""
        assignor = CooperativeStickyAssignor()
        options = settings.member(self._config, assignor)
        self._consumer = connect(KafkaConsumer, self._config.kafka, options)
        return_runs(self._consumer, self._config.input.max_batch_bytes)
        _prepare_every_join(self._consumer._coordinator)
        self._events = deque()  # not its predecessor's: that may still be about to say what it has lost
        listener = _Listener(self._consumer, assignor, self._events)
        topics = list(self._config.input.topics)
        self._consumer.subscribe(topics=topics, listener=listener)
        # D36: an answer to the metadata request before subscribe() clears the flag that asks for ours
        # (cluster.py, set_topics). A leader that joins without metadata assigns nothing, and the group consumes
        # nothing until metadata_max_age_ms.
        cluster = self._consumer._cluster
        deadline = time.monotonic() + _METADATA_TIMEOUT_S
        while not all(cluster.partitions_for_topic(topic) for topic in topics) and time.monotonic() < deadline:
            cluster.request_update()
            time.sleep(0.01)

    def poll(
        self, timeout_s: float, max_records: int, *, stay: bool = False
    ) -> tuple[list[Event], list[RecordColumns]]:
        """Events that happened, then records of begun partitions. Waits up to `timeout_s`.

        With `stay` it does not leave the generation, and returns early where the group wants it to.
        """
        deadline = time.monotonic() + timeout_s
        self._check_topics()
        while True:
            remaining_ms = max(0, int((deadline - time.monotonic()) * 1000))
            with self._staying(stay):
                fetched = self._fetch(min(remaining_ms, _SLICE_MS), max_records)
            events = self._drain()
            found = self._columns(fetched)
            if events or found or remaining_ms <= _SLICE_MS or (stay and self.rebalancing()):
                return events, found

    @contextmanager
    def _staying(self, stay: bool) -> Iterator[None]:
        """With `stay`: no rebalance is joined meanwhile.

        The client's poll() asks again in each of its rounds whether to rejoin, so that a heartbeat answered between two
        of them takes it into the next generation, past all that is uncommitted (consumer/group.py, poll).
        """
        coordinator = self._consumer._coordinator
        if stay:
            coordinator.need_rejoin = lambda: False
        try:
            yield
        finally:
            vars(coordinator).pop("need_rejoin", None)

    def _fetch(self, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
        coordinator = self._consumer._coordinator
        # D20: a rejoin for new partitions is forgotten if its SyncGroup takes longer than one poll. It may have begun
        # inside the last one, and be forgotten by now; but the client keeps its task until it has seen the end.
        if coordinator.need_rejoin() or coordinator._join_task is not None:
            coordinator.request_rejoin()
        if coordinator._join_task is not None and not isinstance(coordinator._join_task, _KeptJoin):
            coordinator._join_task = _KeptJoin(coordinator._join_task)
        try:
            fetched: dict[Any, list[Any]] = self._consumer.poll(timeout_ms=timeout_ms, max_records=max_records)
        except OffsetOutOfRangeError as error:
            # With auto_offset_reset 'none' the client does not choose for us. The caller's restore sees where the log
            # begins and ends, and says so.
            raise AbortedError(
                "poll: retention has removed records that were not read yet, or the topic was truncated or recreated: "
                f"{error}"
            ) from error
        except RetriableError as error:
            # Raised only when no record was taken out, so positions are as they were.
            _log.warning("Poll failed; trying again.", extra={"reason": str(error)})
            time.sleep(min(timeout_ms, 50) / 1000)
            return {}
        except KafkaError as error:
            raise explain(error, "poll", self._config) from error
        # D37: a heartbeat that is answered FENCED_INSTANCE_ID only switches heartbeats off; poll()
        # keeps returning records and never says so (coordinator/base.py, _do_heartbeat).
        stable = coordinator.state is MemberState.STABLE and not coordinator.rejoin_needed
        if stable and not coordinator._heartbeat_enabled:
            raise fenced(self._config)
        return fetched

    def expect(self, topic: str, topic_id: str) -> None:
        """Notes which topic the positions belong to that are begun with from now on; empty: not known."""
        self._topic_ids[topic] = topic_id

    def _check_topics(self) -> None:
        """Notices a topic that was recreated under the same name: the old one's positions may exist in it too."""
        for topic, expected in self._topic_ids.items():
            found = str(self._consumer._cluster.topic_id(topic) or "")
            news = bool(found) and found != self._seen_ids.get(topic)
            self._seen_ids[topic] = found or self._seen_ids.get(topic, "")
            if news and expected and found != expected:
                raise AbortedError(f"poll: topic {topic} was deleted and recreated")

    def _columns(self, fetched: dict[Any, list[Any]]) -> list[RecordColumns]:
        found = []
        states = self._consumer._subscription.assignment
        for partition, known in self._begun.items():
            # Private, because position() may wait for a broker. Moves without records where transactions were aborted
            # or only control records followed; it is reported, so that committed offsets reach the end.
            state = states.get(partition)
            position = known if state is None or state.position is None else state.position.offset
            items = fetched.get(partition, ())
            if items or position != known:
                self._begun[partition] = position
                found += columns(partition, items, position, want_headers=self._want_headers)
        return found

    def _drain(self) -> list[Event]:
        events = []
        while self._events:
            event = self._events.popleft()
            events.append(event)
            if isinstance(event, Assigned):
                self._owned.add(event.partition)
            else:
                self._owned.discard(event.partition)
            self._begun.pop(event.partition, None)
            self._ends.pop(event.partition, None)
            self._drop_fetched(event.partition)
        return events

    def _drop_fetched(self, partition: TopicPartition, *, responses: bool = True) -> None:
        """Throws away what the client has fetched of a partition beyond its position. Never blocks.

        Without `responses` only what is half taken: a whole response that is parked is given back when it should be,
        and a backlog that is paused and resumed need not be fetched twice.

        D16: kafka-python parks a half-taken partition that is paused, and may never fetch it again. The position stands
        after the last record handed over, so the next fetch continues exactly there. All three are touched only by the
        thread that polls (consumer/fetcher.py).
        """
        fetcher, asked = self._consumer._fetcher, KafkaPartition(*partition)
        fetcher._paused_partition_records.pop(asked, None)
        if responses:
            fetcher._paused_completed_fetches.pop(asked, None)
        taken = fetcher._next_partition_records
        if taken is not None and taken.topic_partition == asked:
            fetcher._next_partition_records = None

    def has_more(self) -> bool:
        """Whether whole responses wait to be handed over. Never blocks.

        The client hands over one partition's response to its end, in as many polls as that takes, before it looks at
        the next one's, and asks for no partition while there is a next one (consumer/fetcher.py, fetch_records).
        """
        return bool(self._consumer._fetcher._completed_fetches)

    @property
    def owned(self) -> frozenset[TopicPartition]:
        """What the caller knows to be ours."""
        return frozenset(self._owned)

    def steady(self) -> bool:
        """Whether a poll could have fetched: we are in the group, and no rebalance is under way. Never blocks."""
        coordinator = self._consumer._coordinator
        return (
            coordinator.state is MemberState.STABLE
            and coordinator.coordinator_id is not None
            and not coordinator.need_rejoin()
        )

    def at_odds(self) -> set[TopicPartition]:
        """Partitions that only the client has, or only we, now and at the last look: nobody reads them."""
        now = time.monotonic()
        if now - self._compared_s < _COMPARE_INTERVAL_S:
            return set()
        assigned = {TopicPartition(*partition) for partition in self._consumer._subscription.assignment}
        found = assigned ^ self._owned if self.steady() and not self._events else set()
        before, self._at_odds, self._compared_s = self._at_odds, found, now
        return found & before

    def renew(self) -> None:
        """Makes a new client: a static member's successor gets what it had. Owns nothing before it polls."""
        self.close()
        self._at_odds.clear()
        self._owned.clear()
        self._begun.clear()
        self._ends.clear()
        self.start()

    def silence(self) -> frozenset[TopicPartition]:
        """Applies pending events, pauses everything, and returns what is owned. Never blocks."""
        self._drain()
        self._begun.clear()
        self.pause(self._owned)
        return frozenset(self._owned)

    def disown(self, topic: str, partitions: int) -> None:
        """Gives up the partitions that a topic of `partitions` partitions no longer has; the group rebalances.

        A static member that comes back is given what it had, whatever the topic has become in between. Never blocks.
        """
        gone = {each for each in self._owned if each.topic == topic and each.partition >= partitions}
        self.pause(gone)
        self._owned -= gone
        for each in gone:
            self._begun.pop(each, None)
        self._consumer._coordinator.request_rejoin()

    def generation(self) -> ConsumerGroupMetadata:
        """Our membership at this moment. Never blocks."""
        return self._consumer.group_metadata()

    def rebalancing(self) -> bool:
        """Whether the next poll will leave the current generation. Never blocks."""
        return bool(self._consumer._coordinator.need_rejoin())

    def displaced(self) -> bool:
        """Whether the group has another process under our name. Asks its coordinator; waits up to 2 s."""
        coordinator, manager = self._consumer._coordinator, self._consumer._client._manager
        if not coordinator._generation.has_member_id():
            # We have left in our own eyes only: the group's other member under our name would be ourselves.
            return False

        async def ask() -> None:
            await manager.wait_for(manager.call_soon(coordinator._send_heartbeat_request), _ASK_TIMEOUT_MS)

        try:
            manager.run(ask)
        except FencedInstanceIdError:
            return True
        except KafkaError:
            # Unknown to it, or it does not answer: a session that ended while nobody ran leaves no rival behind.
            return False
        return False

    def begin(self, partition: TopicPartition, offset: int) -> None:
        """Seeks, then lets records through. Never blocks."""
        if partition not in self._owned:
            raise ValueError(f"{partition} is not ours; begin() is for partitions that poll() or recover() named")
        # D11: kafka-python keeps positions over rebalances and aborted transactions, so nothing but a seek is sure.
        self._drop_fetched(partition)
        self._consumer.seek(KafkaPartition(*partition), offset)
        self._consumer.resume(KafkaPartition(*partition))
        self._begun[partition] = offset

    def pause(self, partitions: Sequence[TopicPartition] | set[TopicPartition]) -> None:
        """Holds records back; partitions that are not ours are ignored. Never blocks."""
        for partition in partitions:
            if partition in self._owned:
                self._consumer.pause(KafkaPartition(*partition))
                self._drop_fetched(partition, responses=False)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Undoes `pause` for begun partitions: reading continues at the position. Never blocks."""
        for partition in partitions:
            if partition in self._begun:
                self._drop_fetched(partition, responses=False)
                self._consumer.resume(KafkaPartition(*partition))

    def committed(self, partition: TopicPartition, timeout_s: float) -> OffsetAndMetadata | None:
        """What the group committed; waits while a predecessor's transaction is open (UNSTABLE_OFFSET_COMMIT)."""
        return self._ask(
            "restore",
            lambda: self._consumer.committed(
                KafkaPartition(*partition), metadata=True, timeout_ms=int(timeout_s * 1000)
            ),
        )

    def bounds(self, partition: TopicPartition) -> tuple[int, int]:
        """First retained offset and end of an input partition. Waits for its leader, some seconds."""
        asked = KafkaPartition(*partition)
        beginning = self._ask("restore", lambda: self._consumer.beginning_offsets([asked], _LEADER_TIMEOUT_MS)[asked])
        end = self._ask("restore", lambda: self._consumer.end_offsets([asked], _LEADER_TIMEOUT_MS)[asked])
        self._ends[partition] = end
        return beginning, end

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int:
        """First offset at or after a time. Waits for the partition's leader, some seconds."""
        asked, times = KafkaPartition(*partition), {KafkaPartition(*partition): max(0, timestamp_ms)}
        found = self._ask("offset_at", lambda: self._consumer.offsets_for_times(times, _LEADER_TIMEOUT_MS)[asked])
        if found is None or found.offset < 0:
            return int(self._ask("offset_at", lambda: self._consumer.end_offsets([asked], _LEADER_TIMEOUT_MS)[asked]))
        return int(found.offset)

    def lag(self) -> dict[TopicPartition, int]:
        """From the high-water marks of the last fetches, or the end that restore saw. Never blocks."""
        if not self._begun:  # there may be no client just now (`renew`)
            return {}
        states = self._consumer._subscription.assignment
        lags = {}
        for partition, position in self._begun.items():
            state = states.get(partition)
            end = max(self._ends.get(partition, 0), (state.highwater or 0) if state is not None else 0)
            lags[partition] = max(0, end - position)
        return lags

    def _ask(self, doing: str, question: Callable[[], Answer]) -> Answer:
        try:
            return question()
        except KafkaError as error:
            raise explain(error, doing, self._config) from error

    def close(self) -> None:
        """Closes the client; waits up to 2 s.

        A static member sends no LeaveGroup: its partitions wait for its return until the session times out. That is
        what makes a restart free, and a permanent stop slow by `kafka.session_timeout_ms`.
        """
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(Exception):
                consumer.close(autocommit=False, timeout_ms=_CLOSE_TIMEOUT_MS)
