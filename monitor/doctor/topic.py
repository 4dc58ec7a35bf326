"""Reads the newest records of a topic: the only file here that reaches a broker."""

from __future__ import annotations

import time
from dataclasses import dataclass

from monitor.backends.abstract import RecordColumns, TopicPartition
from monitor.backends.kafka import TopicReader
from monitor.config.connections import KafkaOptions
from monitor.errors import BackendError, DataError

MOST_BYTES = 64 * 1024 * 1024
_STALLED_S = 15.0


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some records of a topic; how many it holds by its offsets, and in how many partitions."""

    polls: list[RecordColumns]
    held: int
    partitions: int
    damaged: list[str]


def newest(cluster: KafkaOptions, topic: str, count: int) -> Excerpt:
    """About the newest `count` records, evenly from all partitions; what is not committed is left out.

    Raises:
        ConfigError: the topic does not exist.
        BackendError: no broker answers.
        DataError: the topic is empty.
    """
    with TopicReader(cluster, topic) as probe:
        firsts, ends = probe.positions(), probe.ends()
    held = {partition: ends[partition] - firsts[partition] for partition in firsts}
    start = {partition: ends[partition] - share for partition, share in shares(held, count).items() if share}
    if not start:
        raise DataError(f"topic {topic} holds no records; `telltale doctor` needs some to look at")
    with TopicReader(cluster, topic, start=start) as reader:
        polls, damaged = _read(reader, {partition: ends[partition] for partition in start})
    polls = [columns for columns in polls if len(columns.values)]
    if not polls:
        raise DataError(f"topic {topic}: none of the newest {count} records can be read; {'; '.join(damaged[:3])}")
    return Excerpt(polls, sum(held.values()), len(firsts), damaged)


def shares(held: dict[TopicPartition, int], count: int) -> dict[TopicPartition, int]:
    """How many records of each partition make `count` in all, as evenly as what they hold allows."""
    found: dict[TopicPartition, int] = {}
    left = count
    for at, partition in enumerate(sorted(held, key=held.__getitem__)):
        found[partition] = min(held[partition], -(-left // (len(held) - at)))
        left -= found[partition]
    return found


def _read(reader: TopicReader, ends: dict[TopicPartition, int]) -> tuple[list[RecordColumns], list[str]]:
    polls: list[RecordColumns] = []
    damaged: list[str] = []
    size, deadline = 0, time.monotonic() + _STALLED_S
    before = reader.positions()
    while any(reader.positions()[partition] < end for partition, end in ends.items()) and size < MOST_BYTES:
        for columns in reader.poll_columns(0.2):
            if columns.damaged is not None:
                damaged.append(f"{columns.partition}: {columns.damaged}")
            polls.append(columns)
            size += sum(len(value) for value in columns.values if value)
        if (reached := reader.positions()) != before:
            before, deadline = reached, time.monotonic() + _STALLED_S
        if time.monotonic() > deadline:
            raise BackendError(
                f"no records came for {_STALLED_S:.0f} s; a transaction may be open, or a leader missing"
            )
    return polls, damaged
