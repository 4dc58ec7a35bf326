"""The crash-only transactional producer.

kafka-python's transactions are not safe to use like Java's (DEFECTS.md, D1-D10). One discipline avoids all known
defects: flush, check every future, send offsets, commit; and after any exception or unknown outcome never touch that
producer again: destroy it, make a new one with the same transactional id, and let `init_transactions()` settle what
happened. A commit that has not ended by the time a broker would abort its transaction has an unknown outcome.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kafka import KafkaProducer
from kafka import TopicPartition as KafkaPartition
from kafka.errors import (
    InvalidProducerEpochError,
    InvalidTimestampError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFencedError,
)
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from monitor.backends.abstract import AbortedError, Commit, Message, Position, TopicPartition
from monitor.backends.kafka import settings
from monitor.backends.kafka.clocks import STAMPED_BY_BROKERS, BrokerClock
from monitor.backends.kafka.connecting import connect, discard_producer
from monitor.backends.kafka.faults import explain
from monitor.backends.kafka.fences import Fences
from monitor.backends.kafka.null_headers import passed
from monitor.backends.kafka.position import encode_position
from monitor.backends.kafka.topics import change_command
from monitor.backends.kafka.watchdog import Watchdog
from monitor.config.options import Config
from monitor.errors import BackendError, ConfigError, FencedError

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
# What a broker says to a producer whose transaction it has ended, or whose id another one has.
_OVERTAKEN = (ProducerFencedError, InvalidProducerEpochError)
# As long as init_transactions() itself waits.
_REPLACE_DEADLINE_S = settings.PRODUCER_REQUEST_TIMEOUT_MS / 1000
# After flush() futures are done, but for batches that were split in two because the broker found them too large.
_FUTURE_TIMEOUT_S = 5
_METADATA_TIMEOUT_S = 5


class _Producer(KafkaProducer):  # type: ignore[misc] # the client has no types
    """The client's producer, that ends transactions in time.

    D5: the client's own waits for their ends have no bound, and it looks for coordinators for ever.
    """

    give_up_s = math.inf  # when waits end, by time.monotonic()

    def left_s(self) -> float:
        """How long may still be waited; finite, as locks want it."""
        return min(threading.TIMEOUT_MAX, max(0.0, self.give_up_s - time.monotonic()))

    def send_offsets_to_transaction(self, offsets: dict[Any, Any], group: ConsumerGroupMetadata) -> None:
        """Sends offsets; raises KafkaTimeoutError where nobody answers in time: the outcome is unknown."""
        self._await(self._transaction_manager.send_offsets_to_transaction(offsets, group), "the offsets")

    def commit_transaction(self) -> None:
        """Commits; raises as above."""
        self._await(self._transaction_manager.begin_commit(), "the commit")

    def _await(self, result: Any, sent: str) -> None:
        self._sender.wakeup()
        if not result.wait(self.left_s() * 1000):
            raise KafkaTimeoutError(f"no broker confirmed {sent} in the time that a transaction has")


class Transactions:
    """One transaction after another; a new producer after every unknown outcome."""

    def __init__(
        self, config: Config, fences: Fences, clock: BrokerClock, producer_settings: dict[str, Any] | None = None
    ) -> None:
        """`producer_settings` of the client's producer; None: those of the daemon."""
        self._config = config
        self._fences = fences
        self._clock = clock
        self._settings = settings.transactional(config) if producer_settings is None else producer_settings
        self._producer: Any = None
        self._sent_twice = False  # requests of the producer's last transaction were
        self._watchdog = Watchdog()
        # What takes longer than a transaction may is aborted by the broker anyway. The watchdog is for the case that
        # this bound does not hold.
        self._commit_s = config.kafka.transaction_timeout_ms / 1000
        self._deadline_s = self._commit_s + settings.PRODUCER_REQUEST_TIMEOUT_MS / 1000

    def open(self, deadline_s: float) -> None:
        """Destroys the producer, makes the next, and waits until its predecessor's transaction is settled.

        Blocks up to about `deadline_s`, retrying with a growing pause.

        Raises:
            ConfigError: permissions.
            BackendError: no success before the deadline. Credentials are tried to it as well: they may be changing.
        """
        deadline = time.monotonic() + deadline_s
        pause = _FIRST_PAUSE_S
        while True:
            self.destroy()
            self._sent_twice = False
            try:
                self._producer = connect(_Producer, self._config.kafka, self._settings)
                with self._watchdog.armed(self._deadline_s, "init_transactions"):
                    self._producer.init_transactions()
            except (KafkaError, BackendError, ConfigError) as error:
                found = explain(error, "init_transactions", self._config, self._last_error())
                self.destroy()
                # Fenced while it began: somebody else did at the same moment. A commit decides who continues.
                if isinstance(found, ConfigError) and not isinstance(found, FencedError) and found is not error:
                    raise found from error
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise BackendError(
                        f"Kafka at {','.join(self._config.kafka.bootstrap_servers)} did not let us begin transactions "
                        f"within {deadline_s:.0f} s; the last attempt said: {found}; check the brokers' health"
                    ) from error
                _log.warning("Producer not ready; trying again.", extra={"reason": str(found), "pause_s": pause})
                # Jitter, so that many daemons do not return to a restarted broker at the same instant.
                time.sleep(min(pause * random.uniform(0.5, 1.5), remaining))  # noqa: S311 - not a secret
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            else:
                return

    def commit(self, commit: Commit, state_topic: str, group: ConsumerGroupMetadata) -> dict[TopicPartition, Position]:
        """One transaction: messages, checkpoints and positions. Waits for brokers, as long as a transaction may take.

        Raises:
            AbortedError: the outcome is unknown; only `open` makes this object usable again.
            FencedError: another daemon has our name.
        """
        producer = self._take()
        network = producer._sender._client
        lost_before = network.lost_answers
        began_s = self._fences.now_s()
        producer.give_up_s = time.monotonic() + self._commit_s
        try:
            with self._watchdog.armed(self._deadline_s, "commit"):
                positions = self._transact(producer, commit, state_topic, group)
        except BaseException as error:
            manager = producer._transaction_manager
            reason = manager.last_error
            discard_producer(producer)
            if not isinstance(error, KafkaError | ValueError | TypeError | AssertionError):
                raise
            if any(isinstance(found, _OVERTAKEN) for found in (error, reason)):
                raise self._fences.judge("commit", began_s) from error
            for found in (error, reason):
                if isinstance(found, InvalidTimestampError):
                    command = change_command(self._config, "TOPIC", settings=STAMPED_BY_BROKERS)
                    raise self._clock.refused("commit", str(found), command) from error
            raise explain(error, "commit", self._config, reason) from error
        self._producer = producer
        self._sent_twice = network.lost_answers > lost_before
        return positions

    def _take(self) -> Any:
        """The producer, taken out: whatever goes wrong from here on, it is never used again."""
        if self._sent_twice:
            # D27: the client has sent requests again over new connections, and a broker may still be at the first ones.
            # An EndTxn among them would commit half of the next transaction; a new epoch refuses it.
            try:
                self.open(_REPLACE_DEADLINE_S)
            except BackendError as error:
                raise AbortedError(f"commit: {error}") from error
        producer, self._producer = self._producer, None
        if producer is None:
            raise AbortedError("commit: the last transaction's outcome is unknown; recover() settles it")
        return producer

    def _transact(
        self, producer: Any, commit: Commit, state_topic: str, group: ConsumerGroupMetadata
    ) -> dict[TopicPartition, Position]:
        # D3 tripwire: offsets left over from an aborted transaction would be committed by the next one.
        assert not producer._transaction_manager._pending_txn_offset_commits, "offsets of an earlier transaction"
        _await_partitions(producer, state_topic, commit)
        producer.begin_transaction()
        now_ms = self._clock.now_ms()
        sent = [_send(producer, message, message.partition, now_ms) for message in commit.messages]
        marks = {
            partition: [
                _send(producer, message, partition.partition, now_ms) for message in _state(messages, state_topic)
            ]
            for partition, messages in commit.checkpoints.items()
        }
        if sent or marks:
            producer.flush(timeout=producer.left_s())
        # D1, D2: flush() returns normally when batches failed, and commit_transaction() may then succeed without them.
        for future in sent:
            future.get(timeout=_FUTURE_TIMEOUT_S)
        positions = dict(commit.positions)
        for partition, futures in marks.items():
            offsets = [future.get(timeout=_FUTURE_TIMEOUT_S).offset for future in futures]
            if offsets:
                positions[partition] = replace(positions[partition], state_from=min(offsets))
        self._clock.compare(now_ms, [_appended_ms(future) for future in itertools.chain(sent, *marks.values())])
        offsets_to_commit = {
            KafkaPartition(*partition): OffsetAndMetadata(position.offset, encode_position(position), -1)
            for partition, position in positions.items()
        }
        if offsets_to_commit:
            producer.send_offsets_to_transaction(offsets_to_commit, group)
        producer.commit_transaction()
        return positions

    def _last_error(self) -> BaseException | None:
        error: BaseException | None = self._producer and self._producer._transaction_manager.last_error
        return error

    def destroy(self) -> None:
        """Ends the producer, whatever it is doing. Waits up to 2 s for its thread."""
        producer, self._producer = self._producer, None
        if producer is not None:
            discard_producer(producer)

    def close(self) -> None:
        """Ends the producer and the watchdog."""
        self.destroy()
        self._watchdog.close()


def _await_partitions(producer: Any, state_topic: str, commit: Commit) -> None:
    """Makes the producer look again where the state topic was widened since it did; else it refuses to send there.

    kafka-python 3.0.12: `send` to a partition that its metadata do not know yet raises ValueError at once
    (producer/kafka.py, `_partition`), until metadata_max_age_ms have passed.
    """
    needed = {message.partition for message in commit.messages if message.topic == state_topic}
    needed |= {partition.partition for partition in commit.checkpoints}
    deadline = time.monotonic() + _METADATA_TIMEOUT_S
    while time.monotonic() < deadline:
        known = producer._metadata.partitions_for_topic(state_topic)
        if known is None or needed <= known:  # None: never asked for; the first send waits for the answer
            return
        producer._metadata.request_update()
        time.sleep(0.01)


def _state(messages: Sequence[Message], state_topic: str) -> Sequence[Message]:
    for message in messages:
        if message.topic != state_topic:
            raise ValueError(
                f"a checkpoint's message goes to {message.topic!r}, not to the state topic {state_topic!r}"
            )
    return messages


def _send(producer: Any, message: Message, partition: int | None, now_ms: int) -> Any:
    return producer.send(
        message.topic,
        value=message.value,
        key=message.key,
        headers=passed(message.headers),
        partition=partition,
        timestamp_ms=now_ms if message.timestamp_ms is None else message.timestamp_ms,
    )


def _appended_ms(future: Any) -> int:
    """When the broker appended an acknowledged record; -1 where its topic keeps our times."""
    # Private: RecordMetadata.timestamp is the one or the other, and does not say which.
    _, appended_ms, _ = future._produce_future.value
    return -1 if appended_ms is None else int(appended_ms)
