"""Asks the brokers where our partitions end, independently of the consumer that reads them.

Rules of this file: a thread and a client of its own, so that what it says can't be wrong together with what it is
compared with. It answers four questions: where does each partition end, does anybody answer at all, and if so, what
of our input is missing, or held back by an open transaction.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError
from kafka.protocol.consumer import IsolationLevel

from monitor.backends.abstract import TopicPartition
from monitor.backends.kafka import settings
from monitor.backends.kafka.connecting import check_access, connect
from monitor.backends.kafka.faults import named
from monitor.backends.kafka.open_transactions import OpenTransactions
from monitor.config.options import Config
from monitor.errors import ConfigError, TelltaleError

_log = logging.getLogger(__name__)
_LONGEST_INTERVAL_S = 3.0
_ASK_TIMEOUT_MS = settings.SENTINEL_REQUEST_TIMEOUT_MS
_METADATA_TIMEOUT_MS = 1_000
_JOIN_TIMEOUT_S = 1.0
# Refused at every attempt for so long: no broker that is being restarted, nor a password that is being changed.
REFUSED_S = 60.0
# What the client says of a partition that it does not know, and of one without a leader.
_NOBODY = frozenset({None, -1})


class _Troubles:
    """What is wrong, by a name for each: logged once when it has lasted, and once when it ends."""

    def __init__(self, lasting_s: float) -> None:
        self._lasting_s = lasting_s
        self._since_s: dict[str, float] = {}
        self.reported: Mapping[str, str] = {}

    def found(self, troubles: Mapping[str, str], now: float) -> None:
        """These and no others are there now."""
        self._since_s = {name: self._since_s.get(name, now) for name in troubles}
        lasting = {name: text for name, text in troubles.items() if now - self._since_s[name] >= self._lasting_s}
        for name in lasting.keys() - self.reported.keys():
            _log.error("Input can't be read.", extra={"reason": lasting[name]})
        for name in self.reported.keys() - lasting.keys():
            _log.warning("Input can be read again.", extra={"was": self.reported[name]})
        self.reported = lasting


class Sentinel:
    """The newest answer for each watched partition, and since when nobody answers."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._silence_s = config.limits.ready_age_ms / 1000
        self._interval_s = interval_s(config)
        self._watched: Collection[TopicPartition] = ()
        self._answers: dict[TopicPartition, tuple[int, float]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._consumer: Any = None
        self._started_s = 0.0
        self._lost = False
        self._lost_since_s = 0.0
        self._reason = ""
        self._troubles = _Troubles(self._silence_s)
        self._refused_since_s: float | None = None
        self._transactions = OpenTransactions(config)
        self.leaderless: frozenset[TopicPartition] = frozenset()  # of those that are watched, at the last look
        self.answered_s: float | None = None
        self.refused: ConfigError | None = None  # why no broker accepts us any more

    def start(self) -> None:
        """Begins to ask. Never blocks."""
        self._started_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="telltale-sentinel", daemon=True)
        self._thread.start()

    def watch(self, partitions: Collection[TopicPartition]) -> None:
        """From now on asks about these, for the first time at once. Never blocks."""
        self._watched = frozenset(partitions)
        self._wake.set()

    def take(self) -> dict[TopicPartition, tuple[int, float]]:
        """What was answered since the last call: where each partition ended, and when that was asked. Never blocks."""
        if not self._answers:
            return {}
        with self._lock:
            answers, self._answers = self._answers, {}
        return answers

    def troubles(self) -> list[str]:
        """What our input lacks, though brokers answer. Never blocks, from any thread."""
        return [*self._troubles.reported.values(), *self._transactions.troubles()]

    def held_back(self) -> dict[TopicPartition, int]:
        """How many offsets of each partition are behind an open transaction. Never blocks, from any thread."""
        return self._transactions.behind()

    def close(self) -> None:
        """Stops asking. Waits a second at most: a question under way ends by itself, with its client."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_JOIN_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            self.look()
            self._wake.wait(self._interval_s)
        _close(self._consumer)

    def look(self) -> None:
        """Asks once, and says what is new. Called by its own thread; waits for brokers some seconds."""
        with self._going_on():
            if self._consumer is None:
                self._consumer = connect(KafkaConsumer, self._config.kafka, settings.sentinel(self._config))
            self._ask(self._consumer)
        if self._silent_s() >= self._silence_s:
            with self._going_on():
                self._ask_why()
        self._log_contact()
        if self._lost:  # a client without a history looks for brokers at once, and at all addresses
            _close(self._consumer)
            self._consumer = None

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Whatever the client raises: a thread that ended here would look like silent brokers, for ever."""
        try:
            yield
        except Exception as error:
            self._reason = str(error) if isinstance(error, TelltaleError) else named(error)

    def _ask(self, consumer: Any) -> None:
        """What is there; then one question for each leader, so that a broker that is away hides nothing of the others.

        Partitions without a leader are left out: they would only time out.
        """
        asked_s = time.monotonic()
        with self._going_on():
            _refresh(consumer, self._config.input.topics)
            self._answered(asked_s)
            self._troubles.found(self._missing(consumer._cluster), asked_s)
        stable, high = dict[TopicPartition, int](), dict[TopicPartition, int]()
        leaders: dict[Any, list[Any]] = defaultdict(list)
        for partition in map(KafkaPartition._make, self._watched):
            leaders[consumer._cluster.leader_for_partition(partition)].append(partition)
        for leader in leaders.keys() - _NOBODY:
            asked_s = time.monotonic()
            try:
                ends = _ends(consumer, leaders[leader])
            except KafkaError as error:
                self._reason = named(error)
                continue
            self._answered(asked_s)
            stable |= ends
            with self._lock:
                self._answers |= {partition: (end, asked_s) for partition, end in ends.items()}
            with suppress(KafkaError):  # after them: what is written in between is no longer open at the next look
                high |= _ends(consumer, leaders[leader], IsolationLevel.READ_UNCOMMITTED)
        self._transactions.seen(self._watched, stable, high, asked_s)

    def _answered(self, asked_s: float) -> None:
        self.answered_s = asked_s
        self._refused_since_s = self.refused = None  # an answer shows that we are let in

    def _missing(self, cluster: Any) -> dict[str, str]:
        troubles = {
            topic: f"input topic {topic} is not there, or we may not see it"
            for topic in self._config.input.topics
            if not cluster.partitions_for_topic(topic)
        }
        without = [each for each in sorted(self._watched) if cluster.leader_for_partition(KafkaPartition(*each)) == -1]
        self.leaderless = frozenset(without)
        if without:
            named = ", ".join(map(str, without[:3])) + (", ..." if len(without) > 3 else "")
            troubles["leaders of partitions"] = f"{len(without)} of our partitions have no leader: {named}"
        return troubles

    def _ask_why(self) -> None:
        """Whether a broker is there and refuses us, as after a change of password: no client would say so (D17).

        Where none is there, how each server failed: all that the client says is that it got no answer.
        """
        now = time.monotonic()
        try:
            self._reason = check_access(self._config.kafka) or self._reason
        except ConfigError as error:
            self._reason = str(error)
            self._refused_since_s = now if self._refused_since_s is None else self._refused_since_s
            self.refused = error if now - self._refused_since_s >= REFUSED_S else None
        else:
            self._refused_since_s = self.refused = None

    def _silent_s(self) -> float:
        return time.monotonic() - (self.answered_s if self.answered_s is not None else self._started_s)

    def _log_contact(self) -> None:
        """Logs once when contact is lost, and once when it is back."""
        now, silent_s = time.monotonic(), self._silent_s()
        if not self._lost and silent_s >= self._silence_s:
            self._lost, self._lost_since_s = True, now - silent_s
            _log.error(
                "Contact with Kafka lost.",
                extra={"silent_s": round(silent_s), "servers": self._servers(), "reason": self._reason},
            )
        elif self._lost and silent_s < self._silence_s:
            self._lost = False
            _log.warning("Contact with Kafka is back.", extra={"silent_s": round(now - self._lost_since_s)})

    def _servers(self) -> str:
        return ",".join(self._config.kafka.bootstrap_servers)


def _refresh(consumer: Any, topics: Collection[str]) -> None:
    """Asks some broker for the topics' partitions and leaders; raises KafkaError where none answers in time."""
    cluster, manager = consumer._cluster, consumer._client._manager
    cluster.set_topics(topics)

    async def ask() -> None:
        await manager.wait_for(manager.call_soon(cluster.refresh_metadata), _METADATA_TIMEOUT_MS)

    manager.run(ask)


def _ends(
    consumer: Any, partitions: Collection[Any], isolation: IsolationLevel = IsolationLevel.READ_COMMITTED
) -> dict[TopicPartition, int]:
    """Where partitions of one leader end for readers of some isolation: committed, the last stable offset.

    The client's own level is only read where a request is made (consumer/fetcher.py), and nobody else uses this client.
    """
    consumer._fetcher._isolation_level = isolation
    found = consumer.end_offsets(partitions, timeout_ms=_ASK_TIMEOUT_MS)
    return {TopicPartition(*partition): int(end) for partition, end in found.items()}


def _close(consumer: Any) -> None:
    if consumer is not None:
        with suppress(Exception):
            consumer.close(autocommit=False)


def interval_s(config: Config) -> float:
    """Time between two questions: three within the age that readiness allows, six within a stall's."""
    limits = config.limits
    return min(_LONGEST_INTERVAL_S, limits.ready_age_ms / 3000, limits.stall_timeout_ms / 6000)
