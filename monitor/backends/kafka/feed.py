"""A plain producer for tools, the demo, tests and benchmarks."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.partitioner.default import murmur2

from monitor.backends.abstract import Headers
from monitor.backends.kafka import settings
from monitor.backends.kafka.connecting import connect, discard_producer, probe
from monitor.backends.kafka.null_headers import passed
from monitor.config.connections import KafkaOptions
from monitor.errors import BackendError

# D15: kafka-python 3 has no bound on what waits in a producer's memory.
_MAX_UNFLUSHED = 50_000


class FeedProducer:
    """An idempotent producer. Not atomic: what was sent before an error stays sent."""

    def __init__(self, cluster: KafkaOptions | str, *, compression: str | None = None) -> None:
        """Connects; waits for a broker.

        Args:
            cluster: where.
            compression: gzip, snappy, lz4, zstd or None.
        """
        self._kafka = settings.cluster(cluster)
        probe(self._kafka)
        options = settings.feed(self._kafka, settings.TOOL_CLIENT_ID) | {"compression_type": compression}
        self._producer: Any = connect(KafkaProducer, self._kafka, options)
        self._unflushed = 0
        self._failure: BaseException | None = None

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        *,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Headers = (),
    ) -> None:
        """Queues one record; blocks only to bound memory.

        Raises:
            BackendError: an earlier record could not be written, or the topic is unknown.
        """
        self._raise_failure()
        try:
            future = self._producer.send(
                topic, value, key, headers=passed(headers), partition=partition, timestamp_ms=timestamp_ms
            )
        except (KafkaError, ValueError) as error:
            raise BackendError(f"topic {topic}: can't be written: {error}; does it exist?") from error
        future.add_errback(self._failed)
        self._unflushed += 1
        if self._unflushed >= _MAX_UNFLUSHED:
            self.flush()

    def flush(self, timeout_s: float = 30.0) -> None:
        """Waits until all that was sent is written on the brokers.

        Raises:
            BackendError: some of it was not.
        """
        try:
            self._producer.flush(timeout=timeout_s)
        except KafkaError as error:
            raise BackendError(f"Kafka did not take all records within {timeout_s:.0f} s: {error}") from error
        self._unflushed = 0
        self._raise_failure()

    def close(self) -> None:
        """Closes without flushing. Waits up to 2 s for the sender."""
        discard_producer(self._producer)

    def _failed(self, error: BaseException) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise BackendError(f"a record could not be written: {failure}") from failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flushes after a clean body; closes in any case."""
        try:
            if error is None:
                self.flush()
        finally:
            self.close()


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives `key`: murmur2, made positive, modulo."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
