"""A bounded range of a topic, all its partitions, read once and without a group: what training reads.

Rules of this file: where the range ends is fixed before the first record is read; only what is committed is returned.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError

from monitor.backends.abstract import RecordColumns, TopicPartition
from monitor.backends.kafka.clients import TopicReader, damaged_error
from monitor.config.connections import KafkaOptions
from monitor.errors import BackendError

# Longer than a leader's election and a broker's restart; we do not wait for open transactions.
_STALLED_S = 30.0


class Bound(NamedTuple):
    """An end of a range: the log's own, the first record at or after `value` ms since 1970, or the offset `value`."""

    kind: Literal["earliest", "latest", "time", "offset"]
    value: int = 0


class PartitionRange(NamedTuple):
    """The offsets of one partition that are read, `end` excluded; and those that the log held when asked."""

    first: int
    end: int
    log_first: int
    log_end: int


class TopicRange(TopicReader):
    """Reads a topic from one bound (inclusive) to another (exclusive), without offsets that the log does not hold."""

    def __init__(
        self, cluster: KafkaOptions | str, topic: str, start: Bound, end: Bound, *, want_headers: bool = False
    ) -> None:
        """Connects and looks the bounds up; `latest` is the end of what is committed now. Waits for brokers.

        Raises:
            ConfigError: the topic does not exist.
            BackendError: no broker answers.
        """
        super().__init__(cluster, topic, want_headers=want_headers)
        self._topic = topic
        try:
            self.partitions = self._look_up(start, end)
        except KafkaError as error:
            self.close()
            raise BackendError(f"topic {topic}: its offsets can't be looked up: {error}") from error
        except BaseException:
            self.close()
            raise

    def _look_up(self, start: Bound, end: Bound) -> dict[TopicPartition, PartitionRange]:
        log_first, log_end = self.positions(), self.ends()
        firsts, ends = (self._offsets(bound, log_first, log_end) for bound in (start, end))
        partitions = {}
        for partition in sorted(log_first):
            low, high = log_first[partition], log_end[partition]
            first, stop = (min(max(offsets[partition], low), high) for offsets in (firsts, ends))
            partitions[partition] = PartitionRange(first, max(first, stop), low, high)
            self._consumer.seek(KafkaPartition(*partition), first)
        return partitions

    def _offsets(
        self, bound: Bound, log_first: dict[TopicPartition, int], log_end: dict[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        if bound.kind == "earliest":
            return log_first
        if bound.kind == "latest":
            return log_end
        if bound.kind == "offset":
            return dict.fromkeys(log_first, bound.value)
        found = self._consumer.offsets_for_times({KafkaPartition(*each): bound.value for each in log_first})
        return {
            TopicPartition(*each): log_end[TopicPartition(*each)] if at is None or at.offset < 0 else int(at.offset)
            for each, at in found.items()
        }

    def polls(self) -> Iterator[RecordColumns]:
        """All records of the range, of each partition in order. Waits for the brokers.

        Raises:
            BackendError: nothing came for half a minute.
            DataError: a batch of records can't be read.
        """
        unread = dict(self.partitions)
        deadline = time.monotonic() + _STALLED_S
        while True:
            positions = self.positions()
            done = [partition for partition, limits in unread.items() if positions[partition] >= limits.end]
            for partition in done:
                del unread[partition]
                self._consumer.pause(KafkaPartition(*partition))
            if not unread:
                return
            if time.monotonic() > deadline:
                left = sum(limits.end - positions[partition] for partition, limits in unread.items())
                raise BackendError(f"topic {self._topic}: no records for {_STALLED_S:.0f} s, {left} offsets were left")
            for polled in self.poll_columns(0.2):
                deadline = time.monotonic() + _STALLED_S
                if polled.partition in unread:
                    if polled.damaged is not None and polled.damaged.first_offset < unread[polled.partition].end:
                        raise damaged_error(polled.partition, polled.damaged)
                    yield _before(polled, unread[polled.partition].end)
            if self.positions() != positions:
                deadline = time.monotonic() + _STALLED_S


def _before(polled: RecordColumns, end: int) -> RecordColumns:
    count = int(np.searchsorted(polled.offsets, end))
    if count == len(polled.offsets):
        return polled
    return replace(
        polled,
        offsets=polled.offsets[:count],
        timestamps_ms=polled.timestamps_ms[:count],
        keys=polled.keys[:count],
        values=polled.values[:count],
        headers=None if polled.headers is None else polled.headers[:count],
        next_offset=end,
    )
