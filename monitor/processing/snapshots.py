"""Checkpoints in the state topic, as bytes: what the windows of all series need, packed into shards.

Rules of this file: pure. Lengths are checked before arrays are made of bytes; an incomplete or damaged checkpoint is
refused as a whole, because windows that are half right give alerts that are half right. Fields that this version does
not know are ignored: members of two versions share the topic while one is rolled out. What may not be ignored gets a
version of its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.backends.abstract import StateRecord, TopicPartition
from monitor.detector.windows import Samples, Tails, Waiting

VERSION = 2  # what is written, unless samples wait: who does not know of those must refuse
WAITING_VERSION = 3
_READABLE = (1, VERSION, WAITING_VERSION)
# When the partition's event time at a series' last record is not known.
UNKNOWN_US = -(1 << 62)
SHARD_BYTES = 512 * 1024
_WINDOWS = b"windows"
# Columns of samples that wait, beside `values` and `carried`; `series` is the number of the series in the checkpoint.
_WAITING = {
    "series": "<i8", "time_us": "<i8", "clock_us": "<i8", "ties": "|u1", "offset": "<i8", "index": "<i8", "hole": "|u1",
    "came_us": "<i8", "number": "<i8",
}  # fmt: skip


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
    labels: list[bytes] = []  # of each series, as `Labels` remembers them; empty where none are asked for
    checksum: int = 0
    # Since version 3: samples that wait, in shards of their own after those of the series, by the names of `_WAITING`
    waiting: dict[str, bytes] = {}


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
    `checks` is what each check remembers of them, by its name, channels and layout: as many bytes for each. `waiting`
    are samples of theirs that wait (None: none does), whose `series` is the number of one here. `labels` is what is
    remembered of theirs, one for each, or empty.
    """

    series: list[bytes]
    seen_us: NDArray[np.int64]
    tails: Tails
    checks: Mapping[str, bytes] = field(default_factory=dict)
    waiting: Waiting | None = None
    labels: Sequence[bytes] = ()


def partition_name(partition: TopicPartition) -> bytes:
    """As the keys of a partition's records hold it; a topic's name holds no slash."""
    return f"{partition.topic}/{partition.partition}".encode()


def encode_checkpoint(
    partition: TopicPartition, mark: Mark, channels: Sequence[str], checkpoint: Checkpoint
) -> Iterator[tuple[bytes, bytes]]:
    """Shards that stand for the windows of `partition` before `mark`: at least one (key, value)."""
    series, tails = checkpoint.series, checkpoint.tails
    sample_bytes = 4 * tails.values.shape[1] + 16
    widths = {name: len(kept) // max(1, len(series)) for name, kept in checkpoint.checks.items()}
    sizes = tails.kept * sample_bytes + 40 + sum(widths.values()) + np.fromiter(map(len, series), np.int64, len(series))
    if checkpoint.labels:
        sizes += np.fromiter(map(len, checkpoint.labels), np.int64, len(series))
    bounds, waiting = _shards_of(sizes), checkpoint.waiting
    waits = 0 if waiting is None else len(waiting)
    waiting_bounds = _shards_of(np.full(waits, _waiting_bytes(tails.values.shape[1]))) if waits else []
    ends = np.concatenate([[0], np.cumsum(tails.kept)])
    for shard, (first, end) in enumerate(bounds + [(len(series), len(series))] * len(waiting_bounds)):
        samples = slice(int(ends[first]), int(ends[end]))
        made = _Shard(
            version=WAITING_VERSION if waits else VERSION,
            offset=mark.offset,
            topic_id=mark.topic_id,
            artifact=mark.artifact,
            seen_us=_bytes(checkpoint.seen_us[first:end], "<i8"),
            shard=shard,
            shards=len(bounds) + len(waiting_bounds),
            channels=list(channels),
            series=list(series[first:end]),
            index=_bytes(tails.index[first:end], "<i8"),
            last_time_us=_bytes(tails.last_time_us[first:end], "<i8"),
            last_clock_us=_bytes(tails.last_clock_us[first:end], "<i8"),
            kept=_bytes(tails.kept[first:end], "<i8"),
            values=_bytes(tails.values[samples], "<f4"),
            time_us=_bytes(tails.time_us[samples], "<i8"),
            offsets=_bytes(tails.offset[samples], "<i8"),
            checks={name: kept[first * widths[name] : end * widths[name]] for name, kept in checkpoint.checks.items()},
            labels=list(checkpoint.labels[first:end]),
            waiting={}
            if waiting is None or shard < len(bounds)
            else _encoded(waiting[slice(*waiting_bounds[shard - len(bounds)])]),
        )
        yield _shard_key(partition, shard), _sealed(msgspec.structs.asdict(made))


def _shards_of(sizes: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Which of so many bytes lie in each shard, (first, end): as many as fit, one at least; one shard at least."""
    until, starts = np.concatenate([[0], np.cumsum(sizes)]), [0]
    while len(starts) == 1 or starts[-1] < len(sizes):
        fit = int(np.searchsorted(until, until[starts[-1]] + SHARD_BYTES, side="right")) - 1
        starts.append(min(len(sizes), max(fit, starts[-1] + 1)))
    return list(pairwise(starts))


def _waiting_bytes(channels: int) -> int:
    return 5 * channels + sum(int(dtype[2:]) for dtype in _WAITING.values())


def _encoded(waiting: Waiting) -> dict[str, bytes]:
    samples = waiting.samples.in_full()
    columns = {"came_us": waiting.came_us, "number": waiting.number}
    columns |= {name: getattr(samples, name) for name in _WAITING if name not in columns}
    made = {name: _bytes(column, _WAITING[name]) for name, column in columns.items()}
    assert samples.carried is not None
    return made | {"values": _bytes(samples.values, "<f4"), "carried": _bytes(samples.carried, "|u1")}


def first_key(partition: TopicPartition) -> bytes:
    """Key of the first shard, which each checkpoint has: its newest record is the newest checkpoint's."""
    return _shard_key(partition, 0)


def _shard_key(partition: TopicPartition, shard: int | str) -> bytes:
    return b"/".join((_WINDOWS, partition_name(partition), str(shard).encode()))


def _sealed(fields: Mapping[str, object]) -> bytes:
    """A shard as bytes, with their checksum instead of the one that `fields` hold; their order is kept."""
    fields = {name: value for name, value in fields.items() if name not in ("checks", "labels", "waiting") or value}
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
    first = first_key(partition)
    for record in records:
        if record.key == first:
            try:
                shard = _opened(partition, record)
            except StateError:
                return None
            return Mark(shard.offset, shard.topic_id, shard.artifact)
    return None


def knows(partition: TopicPartition, records: Iterable[StateRecord]) -> bool:
    """Whether any of `records` is of a checkpoint of `partition`."""
    return any(record.key.startswith(_shard_key(partition, "")) for record in records)


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
            if shard.offset == offset:
                shards[shard.shard] = shard
    wanted = next((shards[number].shards for number in sorted(shards)), 1)
    # Shards of an older, larger one may still be there, even of this offset.
    shards = {number: shard for number, shard in shards.items() if 0 <= number < wanted}
    if not shards or len(shards) != wanted:
        raise StateError(f"checkpoint of {partition} at offset {offset}: {len(shards)} of {wanted} shards found")
    parts = [_decode_shard(partition, shards[number], channels) for number in range(wanted)]
    series = [name for part in parts for name in part.series]
    try:
        for name in series:
            name.decode()
    except UnicodeDecodeError as error:
        raise StateError(f"checkpoint of {partition}: a series' name is not UTF-8: {error}") from None
    if len(set(series)) != len(series):
        raise StateError(f"checkpoint of {partition}: it holds a series twice")
    tails = Tails.concatenate([part.tails for part in parts])
    seen_us = np.concatenate([part.seen_us for part in parts])
    checks = {
        name: b"".join(shards[number].checks.get(name, b"") for number in range(wanted)) for name in shards[0].checks
    }
    labels = [each for number in range(wanted) for each in shards[number].labels]
    if labels and len(labels) != len(series):
        raise StateError(f"checkpoint of {partition}: labels of {len(labels)} series, and {len(series)} series")
    if shards[0].version == 1:
        return _by_last_sample(series, tails)
    held = [shards[number].waiting for number in range(wanted) if shards[number].waiting]
    if channels is None or not held:
        return Checkpoint(series, seen_us, tails, checks, None, labels)
    waiting = Waiting.concatenate([_decoded(partition, each, len(channels)) for each in held])
    if not 0 <= int(waiting.samples.series.min()) <= int(waiting.samples.series.max()) < len(series):
        raise StateError(f"checkpoint of {partition}: a sample waits of a series that it does not hold")
    return Checkpoint(series, seen_us, tails, checks, waiting, labels)


def _decoded(partition: TopicPartition, columns: Mapping[str, bytes], channels: int) -> Waiting:
    count = len(columns.get("number", b"")) // 8
    widths = _WAITING | {"values": f"<f{4 * channels}", "carried": f"|u{channels}"}
    for name, dtype in widths.items():
        if not count or len(columns.get(name, b"")) != count * int(dtype[2:]):
            raise StateError(f"checkpoint of {partition}: column {name!r} is not of {count} samples that wait")
    made = {name: np.frombuffer(columns[name], dtype) for name, dtype in _WAITING.items()}
    samples = Samples(
        **{name: made[name].astype(np.int64) for name in ("series", "time_us", "clock_us", "offset", "index")},
        values=np.frombuffer(columns["values"], "<f4").astype(np.float32).reshape(count, channels),
        ties=made["ties"] != 0,
        hole=made["hole"] != 0,
        carried=np.frombuffer(columns["carried"], "|u1").reshape(count, channels) != 0,
    )
    return Waiting(samples, made["came_us"].astype(np.int64), made["number"].astype(np.int64))


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
