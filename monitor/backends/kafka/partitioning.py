"""Where Kafka's producers put a key."""

from __future__ import annotations

from kafka.partitioner.default import murmur2


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives `key`: murmur2, made positive, modulo."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
