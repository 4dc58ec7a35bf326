"""What the state topic holds, as bytes: incidents by series and rule, windows packed into shards, how far time came.

Rules of this file: pure. Lengths are checked before arrays are made of bytes; an incomplete or
damaged checkpoint is refused as a whole, because windows that are half right give alerts that are half right. Fields
that this version does not know are ignored: members of two versions share the topic while one is rolled out. What may
not be ignored gets a version of its own.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.backends.abstract import HistoryRecord, StateRecord, TopicPartition
from monitor.detector.incidents import SCORE_RULE, Incident, IncidentKey
from monitor.detector.times import NEVER_US
from monitor.detector.windows import Tails
from monitor.formats.decoder import StreamTime

VERSION = 2
_READABLE = (1, VERSION)
# When the partition's event time at a series' last record is not known.
UNKNOWN_US = -(1 << 62)
SHARD_BYTES = 512 * 1024
# Keys of the score's rule, and of any other; a topic's name holds no slash, a series' may.
_INCIDENT_KEY = re.compile(rb"incident(?::(\w+))?/([^/]+/[0-9]{1,10})/(.*)", re.DOTALL)
_WINDOWS = b"windows"


class StateError(Exception):
    """The state topic's records don't make a whole state."""


class _Shard(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    offset: int
    shard: int
    shards: int
    channels: list[str]
    series: list[bytes]
    index: bytes
    last_time_us: bytes
    last_clock_us: bytes
    kept: bytes
    values: bytes
    time_us: bytes
    offsets: bytes
    # Since version 2, in which the series are in the order of their last records, oldest first
    topic_id: str = ""
    artifact: str = ""
    seen_us: bytes = b""
    checks: dict[str, bytes] = {}
    checksum: int = 0


class _Time(msgspec.Struct, frozen=True, kw_only=True):
    """`StreamTime` as it was at a checkpoint's `offset`, and the clock's ticks since: (input offset, µs)."""

    version: int
    offset: int
    newest_us: int
    clock_us: int
    ahead: int
    ahead_us: int
    ticks: list[tuple[int, int]]


class Mark(NamedTuple):
    """What a checkpoint stands for: everything before `offset` of the topic with this id, empty where not known.

    `artifact` is the SHA-256 digest of the one that was in service, empty where not known.
    """

    offset: int
    topic_id: str
    artifact: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The m series of a partition, the one whose last record is oldest first, and what their windows need.

    `seen_us` (m,) is the partition's event time at the last record of each, `UNKNOWN_US` where it is not known.
    `checks` is what each check remembers of them, by its name, channels and layout: as many bytes for each.
    """

    series: list[bytes]
    seen_us: NDArray[np.int64]
    tails: Tails
    checks: Mapping[str, bytes] = field(default_factory=dict)


def incident_key(partition: TopicPartition, series: bytes, rule: str = SCORE_RULE) -> bytes:
    """Key of the record of a series' incident by a rule."""
    kind = "incident" if rule == SCORE_RULE else f"incident:{rule}"
    return b"/".join((kind.encode(), _partition_name(partition), series))


def _partition_name(partition: TopicPartition) -> bytes:
    return f"{partition.topic}/{partition.partition}".encode()


def _whose(key: bytes) -> tuple[bytes, IncidentKey] | None:
    """The partition as `_partition_name` writes it, and the incident that a key names; None if it names none."""
    found = _INCIDENT_KEY.fullmatch(key)
    if found is None:
        return None
    rule, partition, series = found.groups()
    return partition, IncidentKey(series, SCORE_RULE if rule is None else rule.decode())


def encode_incident(incident: Incident) -> bytes | None:
    """An incident's record; None, a tombstone, for one that is not active."""
    return msgspec.json.encode(incident) if incident.active else None


def decode_incidents(partition: TopicPartition, records: Iterable[StateRecord]) -> dict[IncidentKey, Incident]:
    """The incidents of `partition` among `records`, by series and rule.

    Raises:
        StateError: one of them can't be read.
    """
    wanted, found = _partition_name(partition), {}
    for record in records:
        name, key = _whose(record.key) or (b"", None)
        if key is not None and name == wanted:
            try:
                _series(key.series)
                found[key] = msgspec.json.decode(record.value, type=Incident)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise StateError(f"incident of {partition}, key {record.key!r}: {error}") from None
    return found


def readable_incidents(
    partition: TopicPartition, records: Iterable[StateRecord]
) -> tuple[dict[IncidentKey, Incident], list[str]]:
    """The incidents of `partition` among `records`, by series and rule, and what is wrong with what can't be read.

    Each incident is read alone: one that can't be read spoils no other.
    """
    found: dict[IncidentKey, Incident] = {}
    unreadable = []
    for record in records:
        try:
            found |= decode_incidents(partition, [record])
        except StateError as error:
            unreadable.append(str(error))
    return found, unreadable


def incidents_at_checkpoint(
    partition: TopicPartition,
    history: Sequence[HistoryRecord],
    newest: Mapping[IncidentKey, Incident],
    undecided_us: Mapping[bytes, int] | None,
) -> dict[IncidentKey, Incident]:
    """The incidents of `partition` as its newest checkpoint had them; `newest` are those of now.

    Records before the checkpoint's shards belong to it: what changed is written before them, in one transaction.
    Where a series has no record there, compaction may have removed it: its copy after the shards counts where
    compaction may have come that far, which is where no older checkpoint is left. But not that of an incident that
    began since, as `undecided_us` says (see there).
    """
    first = _shard_key(partition, 0)
    marks = [index for index, (key, _) in enumerate(history) if key == first]
    if not marks:
        return dict(newest)
    before: dict[bytes, bytes | None] = {}
    after: dict[bytes, bytes | None] = {}
    for index, (key, value) in enumerate(history):
        if not _is_incident_of(partition, key):
            continue
        if index < marks[-1]:
            before[key] = value
        else:
            after.setdefault(key, value)
    found = _incidents(partition, before)
    if len(marks) == 1:
        rest = _incidents(partition, {key: value for key, value in after.items() if key not in before})
        found |= {
            key: each
            for key, each in rest.items()
            if undecided_us is None or each.started_us < undecided_us.get(key.series, NEVER_US)
        }
    return found


def _incidents(partition: TopicPartition, newest: Mapping[bytes, bytes | None]) -> dict[IncidentKey, Incident]:
    records = [StateRecord(key, value) for key, value in newest.items() if value is not None]
    return readable_incidents(partition, records)[0]


def undecided_us(
    partition: TopicPartition, records: Iterable[StateRecord], channels: Sequence[str]
) -> dict[bytes, int] | None:
    """By series, from which event time on windows begin that the newest checkpoint among `records` had not decided.

    Such a window begins with the first sample that the checkpoint keeps, or later; where it keeps none, after what it
    had seen; where it says neither, nobody knows, and the time is the latest there is. None where it can't be read.
    """
    try:
        mark = newest_mark(partition, records)
        found = None if mark is None else decode_checkpoint(partition, mark.offset, records, channels)
    except StateError:
        found = None
    if found is None:
        return None
    kept, last_us = found.tails.kept, found.tails.last_time_us
    seen_us = np.where(last_us > NEVER_US, last_us, found.seen_us)
    from_us = np.where(seen_us > UNKNOWN_US, seen_us + 1, np.iinfo(np.int64).max)
    from_us[kept > 0] = found.tails.time_us[(np.cumsum(kept) - kept)[kept > 0]]
    return dict(zip(found.series, from_us.tolist(), strict=True))


def _is_incident_of(partition: TopicPartition, key: bytes) -> bool:
    whose = _whose(key)
    return whose is not None and whose[0] == _partition_name(partition)


def orphaned_incidents(
    topic: str, partitions: int, records: Iterable[StateRecord]
) -> Iterator[tuple[TopicPartition, IncidentKey, Incident]]:
    """The incidents among `records` of partitions that a topic of `partitions` partitions no longer has.

    Those that can't be read are ignored: nobody needs them.
    """
    for record in records:
        whose = _whose(record.key)
        if whose is None:
            continue
        name, number = whose[0].split(b"/")
        if name == topic.encode() and int(number) >= partitions:
            partition = TopicPartition(topic, int(number))
            found, _ = readable_incidents(partition, [record])
            yield from ((partition, key, incident) for key, incident in found.items())


def _series(key: bytes) -> bytes:
    key.decode()  # what is no text names no series
    return key


def encode_time(
    partition: TopicPartition, offset: int, time: StreamTime, ticks: Mapping[int, int]
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
            )
    return None


def _time_key(partition: TopicPartition) -> bytes:
    return b"/".join((b"time", _partition_name(partition)))


def encode_checkpoint(
    partition: TopicPartition, mark: Mark, channels: Sequence[str], checkpoint: Checkpoint
) -> Iterator[tuple[bytes, bytes]]:
    """Shards that stand for the windows of `partition` before `mark`: at least one (key, value)."""
    series, tails = checkpoint.series, checkpoint.tails
    sample_bytes = 4 * tails.values.shape[1] + 16
    widths = {name: len(kept) // max(1, len(series)) for name, kept in checkpoint.checks.items()}
    sizes = tails.kept * sample_bytes + 40 + sum(widths.values()) + np.fromiter(map(len, series), np.int64, len(series))
    until = np.concatenate([[0], np.cumsum(sizes)])
    starts = [0]
    while len(starts) == 1 or starts[-1] < len(series):
        # As many series as fit, one at least.
        fit = int(np.searchsorted(until, until[starts[-1]] + SHARD_BYTES, side="right")) - 1
        starts.append(min(len(series), max(fit, starts[-1] + 1)))
    ends = np.concatenate([[0], np.cumsum(tails.kept)])
    for shard, (first, end) in enumerate(pairwise(starts)):
        samples = slice(int(ends[first]), int(ends[end]))
        yield (
            _shard_key(partition, shard),
            _sealed(
                msgspec.structs.asdict(
                    _Shard(
                        version=VERSION,
                        offset=mark.offset,
                        topic_id=mark.topic_id,
                        artifact=mark.artifact,
                        seen_us=_bytes(checkpoint.seen_us[first:end], "<i8"),
                        shard=shard,
                        shards=len(starts) - 1,
                        channels=list(channels),
                        series=list(series[first:end]),
                        index=_bytes(tails.index[first:end], "<i8"),
                        last_time_us=_bytes(tails.last_time_us[first:end], "<i8"),
                        last_clock_us=_bytes(tails.last_clock_us[first:end], "<i8"),
                        kept=_bytes(tails.kept[first:end], "<i8"),
                        values=_bytes(tails.values[samples], "<f4"),
                        time_us=_bytes(tails.time_us[samples], "<i8"),
                        offsets=_bytes(tails.offset[samples], "<i8"),
                        checks={
                            name: kept[first * widths[name] : end * widths[name]]
                            for name, kept in checkpoint.checks.items()
                        },
                    )
                )
            ),
        )


def _shard_key(partition: TopicPartition, shard: int | str) -> bytes:
    return b"/".join((_WINDOWS, _partition_name(partition), str(shard).encode()))


def _sealed(fields: Mapping[str, object]) -> bytes:
    """A shard as bytes, with their checksum instead of the one that `fields` hold; their order is kept."""
    fields = {name: value for name, value in fields.items() if name != "checks" or value}
    checksum = zlib.crc32(msgspec.msgpack.encode({**fields, "checksum": 0}))
    return msgspec.msgpack.encode({**fields, "checksum": checksum})


def _opened(partition: TopicPartition, record: StateRecord) -> _Shard:
    try:
        shard = msgspec.msgpack.decode(record.value, type=_Shard)
        sealed = _sealed(msgspec.msgpack.decode(record.value))  # with what this version does not know
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StateError(f"checkpoint of {partition}: {error}") from None
    if shard.version not in _READABLE:
        raise StateError(f"checkpoint of {partition}: version {shard.version}, expected {_READABLE}")
    if (shard.version > 1 or shard.checksum) and record.value != sealed:
        raise StateError(f"checkpoint of {partition}: shard {shard.shard} is damaged")
    return shard


def newest_mark(partition: TopicPartition, records: Iterable[StateRecord]) -> Mark | None:
    """What the newest checkpoint among `records` stands for; None where there is none, or it can't be read."""
    first = _shard_key(partition, 0)  # each checkpoint has one, so the newest record of this key is the newest's
    for record in records:
        if record.key == first:
            try:
                shard = _opened(partition, record)
            except StateError:
                return None
            return Mark(shard.offset, shard.topic_id, shard.artifact)
    return None


def knows(partition: TopicPartition, records: Iterable[StateRecord]) -> bool:
    """Whether any of `records` is of `partition`."""
    shards = _shard_key(partition, "")
    return any(record.key.startswith(shards) or _is_incident_of(partition, record.key) for record in records)


def decode_checkpoint(
    partition: TopicPartition,
    offset: int,
    records: Iterable[StateRecord],
    channels: Sequence[str] | None,
) -> Checkpoint:
    """The series and their tails as they stood at input offset `offset`; with `channels` None no tails are looked at.

    Raises:
        StateError: a shard is missing, can't be read, or belongs to other channels.
    """
    prefix = _shard_key(partition, "")
    shards: dict[int, _Shard] = {}
    for record in records:
        if record.key.startswith(prefix):
            shard = _opened(partition, record)
            if shard.offset == offset:  # a shard of an older, larger checkpoint may still be there
                shards[shard.shard] = shard
    wanted = next(iter(shards.values())).shards if shards else 1
    if len(shards) != wanted or set(shards) != set(range(len(shards))):
        raise StateError(f"checkpoint of {partition} at offset {offset}: {len(shards)} of {wanted} shards found")
    parts = [_decode_shard(partition, shards[number], channels) for number in range(wanted)]
    series = [name for part in parts for name in part.series]
    try:
        b"".join(map(_series, series))
    except UnicodeDecodeError as error:
        raise StateError(f"checkpoint of {partition}: a series' name is not UTF-8: {error}") from None
    if len(set(series)) != len(series):
        raise StateError(f"checkpoint of {partition}: it holds a series twice")
    tails = Tails.concatenate([part.tails for part in parts])
    seen_us = np.concatenate([part.seen_us for part in parts])
    checks = {
        name: b"".join(shards[number].checks.get(name, b"") for number in range(wanted)) for name in shards[0].checks
    }
    return Checkpoint(series, seen_us, tails, checks) if shards[0].version > 1 else _by_last_sample(series, tails)


def _by_last_sample(series: list[bytes], tails: Tails) -> Checkpoint:
    """Of version 1, which did not say: by the record of the last sample, and those without one by their index."""
    ends = np.cumsum(tails.kept)
    last = np.full(len(series), -1, dtype=np.int64)
    last[tails.kept > 0] = tails.offset[ends[tails.kept > 0] - 1]
    order = np.argsort(last, kind="stable")
    seen_us = np.full(len(series), UNKNOWN_US, dtype=np.int64)
    return Checkpoint([series[row] for row in order], seen_us, tails[order])


def _decode_shard(partition: TopicPartition, shard: _Shard, channels: Sequence[str] | None) -> Checkpoint:
    def int64(raw: bytes, count: int) -> NDArray[np.int64]:
        if len(raw) != 8 * count:
            raise StateError(f"checkpoint of {partition}: {len(raw)} bytes for {count} integers")
        return np.frombuffer(raw, dtype="<i8").astype(np.int64)

    count = len(shard.series)
    seen_us = int64(shard.seen_us, count if shard.version > 1 else 0)
    if channels is None:
        return Checkpoint(shard.series, seen_us, Tails.nothing(count, 0))
    kept, index = int64(shard.kept, count), int64(shard.index, count)
    if shard.channels != list(channels):
        raise StateError(f"checkpoint of {partition}: made with channels {shard.channels}")
    if kept.min(initial=0) < 0 or kept.max(initial=0) > len(shard.values):
        raise StateError(f"checkpoint of {partition}: {len(shard.values)} bytes can't be {kept.tolist()[:8]} samples")
    samples = int(kept.sum())
    if len(shard.values) != 4 * samples * len(channels):
        raise StateError(f"checkpoint of {partition}: {len(shard.values)} bytes for {samples} samples")
    tails = Tails(
        index=index,
        last_time_us=int64(shard.last_time_us, count),
        last_clock_us=int64(shard.last_clock_us, count),
        kept=kept,
        values=np.frombuffer(shard.values, dtype="<f4").astype(np.float32).reshape(samples, len(channels)),
        time_us=int64(shard.time_us, samples),
        offset=int64(shard.offsets, samples),
    )
    return Checkpoint(shard.series, seen_us, tails)


def _bytes(array: NDArray[np.generic], dtype: str) -> bytes:
    return np.ascontiguousarray(array, dtype=dtype).tobytes()
