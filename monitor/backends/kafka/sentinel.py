"""Asks the brokers where our partitions end, beside whoever reads them.

Rules of this file: a thread and a client of its own, so that what it says can't be wrong together with what it is
compared with. It answers two questions: where does each partition end, and does anybody answer at all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError

from monitor.backends.abstract import TopicPartition
from monitor.backends.kafka import settings
from monitor.backends.kafka.connecting import check_access, connect
from monitor.backends.kafka.faults import named
from monitor.config import Config
from monitor.errors import ConfigError, TelltaleError

_log = logging.getLogger(__name__)
_LONGEST_INTERVAL_S = 3.0
_ASK_TIMEOUT_MS = settings.SENTINEL_REQUEST_TIMEOUT_MS
_JOIN_TIMEOUT_S = 1.0
# Refused at every attempt for so long: no broker that is being restarted, nor a password that is being changed.
REFUSED_S = 60.0


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
        self._refused_since_s: float | None = None
        self.answered_s: float | None = None
        self.refused: ConfigError | None = None  # why no broker lets us in any more

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
        self._tell()
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
        """One question for each leader, so that a broker that is away hides nothing of the others."""
        leaders: dict[Any, list[Any]] = defaultdict(list)
        for partition in self._watched or [TopicPartition(self._config.input.topics[0], 0)]:
            asked = KafkaPartition(*partition)
            leaders[consumer._cluster.leader_for_partition(asked)].append(asked)
        for partitions in leaders.values():
            asked_s = time.monotonic()
            try:
                ends = consumer.end_offsets(partitions, timeout_ms=_ASK_TIMEOUT_MS)
            except KafkaError as error:
                self._reason = named(error)
                continue
            self.answered_s = asked_s
            self._refused_since_s = self.refused = None  # who is answered is let in
            with self._lock:
                self._answers |= {TopicPartition(*partition): (int(end), asked_s) for partition, end in ends.items()}

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

    def _tell(self) -> None:
        """One line when contact is lost, one when it is back."""
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


def _close(consumer: Any) -> None:
    if consumer is not None:
        with suppress(Exception):
            consumer.close(autocommit=False)


def interval_s(config: Config) -> float:
    """Time between two questions: three within the age that readiness allows, six within a stall's."""
    limits = config.limits
    return min(_LONGEST_INTERVAL_S, limits.ready_age_ms / 3000, limits.stall_timeout_ms / 6000)
