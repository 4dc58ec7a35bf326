"""How far a partition's time had come at its checkpoint, in the state topic, as bytes.

Rules of this file: pure. What can't be read is as good as not there. Fields that this version does not know are
ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from monitor.backends.abstract import StateRecord, TopicPartition
from monitor.detector.times import NO_TIME
from monitor.formats.decoder import StreamTime
from monitor.processing.snapshots import partition_name


class _Time(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`StreamTime` as it was at a checkpoint's `offset`, and the clock's ticks since: (input offset, µs).

    Those of `idle` moved the time on where no record came, each before the record at its offset.
    """

    version: int
    offset: int
    newest_us: int
    clock_us: int
    ahead: int
    ahead_us: int
    ticks: list[tuple[int, int]]
    idle_us: int = NO_TIME
    idle: list[tuple[int, int]] = []


def encode_time(
    partition: TopicPartition,
    offset: int,
    time: StreamTime,
    ticks: Mapping[int, int],
    idle: Sequence[tuple[int, int]] = (),
) -> tuple[bytes, bytes]:
    """The record (key, value) that says what `time` was at a checkpoint, at `offset`, and what the clock said since."""
    record = _Time(
        version=1,
        offset=offset,
        newest_us=time.newest_us,
        clock_us=time.clock_us,
        ahead=time.ahead,
        ahead_us=time.ahead_us,
        ticks=sorted(ticks.items()),
        idle_us=time.idle_us,
        idle=[*idle],
    )
    return _time_key(partition), msgspec.json.encode(record)


def decode_time(partition: TopicPartition, offset: int, records: Iterable[StateRecord]) -> StreamTime | None:
    """The time of `partition` at the checkpoint at `offset`, and the ticks since; None where there is none."""
    key = _time_key(partition)
    for record in records:
        if record.key == key:
            try:
                found = msgspec.json.decode(record.value, type=_Time)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return None
            if found.version != 1 or found.offset != offset:
                return None
            return StreamTime(
                newest_us=found.newest_us,
                clock_us=found.clock_us,
                ahead=found.ahead,
                ahead_us=found.ahead_us,
                ticks=dict(found.ticks),
                clocked=True,
                idle_us=found.idle_us,
                idle=found.idle,
            )
    return None


def _time_key(partition: TopicPartition) -> bytes:
    return b"/".join((b"time", partition_name(partition)))
