"""What the state topic holds, as bytes: incidents by series, and window checkpoints packed into shards.

Rules of this file: pure. Lengths are checked before arrays are made of bytes; anything unexpected is refused as a
whole, because a state that is half right gives alerts that are half right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.backends.abstract import StateRecord, TopicPartition
from monitor.detector.decision import Incident
from monitor.detector.windowing import Tails

VERSION = 1
SHARD_BYTES = 512 * 1024
_INCIDENT = b"incident"
_WINDOWS = b"windows"
_PER_SERIES = ("index", "last_time_us", "last_clock_us", "kept")


class StateError(Exception):
    """The state topic's records don't make a whole state."""


class _Shard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


def incident_key(partition: TopicPartition, series: bytes) -> bytes:
    """Key of one series' incident record."""
    return b"/".join((_INCIDENT, partition.topic.encode(), str(partition.partition).encode(), series))


def encode_incident(incident: Incident) -> bytes | None:
    """An incident's record; None, a tombstone, for a series at rest."""
    return None if incident.at_rest else msgspec.json.encode(incident)


def decode_incidents(partition: TopicPartition, records: Iterable[StateRecord]) -> dict[bytes, Incident]:
    """The incidents of `partition` among `records`, by series.

    Raises:
        StateError: one of them can't be read.
    """
    prefix = incident_key(partition, b"")
    try:
        return {
            _series(record.key.removeprefix(prefix)): msgspec.json.decode(record.value, type=Incident)
            for record in records
            if record.key.startswith(prefix)
        }
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StateError(f"incident of {partition}: {error}") from None


def _series(key: bytes) -> bytes:
    key.decode()  # what is no text names no series
    return key


def encode_checkpoint(
    partition: TopicPartition, offset: int, channels: Sequence[str], series: Sequence[bytes], tails: Tails
) -> Iterator[tuple[bytes, bytes]]:
    """Shards that stand for the windows of `partition` before input offset `offset`: at least one (key, value)."""
    sample_bytes = 4 * tails.values.shape[1] + 16
    sizes = tails.kept * sample_bytes + 32 + np.fromiter(map(len, series), np.int64, len(series))
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
            b"/".join((_WINDOWS, partition.topic.encode(), str(partition.partition).encode(), str(shard).encode())),
            msgspec.msgpack.encode(
                _Shard(
                    version=VERSION,
                    offset=offset,
                    shard=shard,
                    shards=len(starts) - 1,
                    channels=list(channels),
                    series=list(series[first:end]),
                    **{name: _bytes(getattr(tails, name)[first:end], "<i8") for name in _PER_SERIES},
                    values=_bytes(tails.values[samples], "<f4"),
                    time_us=_bytes(tails.time_us[samples], "<i8"),
                    offsets=_bytes(tails.offset[samples], "<i8"),
                )
            ),
        )


def decode_checkpoint(
    partition: TopicPartition, offset: int, records: Iterable[StateRecord], *, length: int, channels: Sequence[str]
) -> tuple[list[bytes], Tails]:
    """The series and their tails as they stood at input offset `offset`.

    Raises:
        StateError: a shard is missing, can't be read, or belongs to windows of another shape.
    """
    prefix = b"/".join((_WINDOWS, partition.topic.encode(), str(partition.partition).encode(), b""))
    shards: dict[int, _Shard] = {}
    for record in records:
        if record.key.startswith(prefix):
            try:
                shard = msgspec.msgpack.decode(record.value, type=_Shard)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise StateError(f"checkpoint of {partition}: {error}") from None
            if shard.offset == offset:  # a shard of an older, larger checkpoint may still be there
                shards[shard.shard] = shard
    wanted = next(iter(shards.values())).shards if shards else 1
    if len(shards) != wanted or set(shards) != set(range(len(shards))):
        raise StateError(f"checkpoint of {partition} at offset {offset}: {len(shards)} of {wanted} shards found")
    parts = [_tails(partition, shards[number], length, channels) for number in range(wanted)]
    series = [name for number in range(wanted) for name in shards[number].series]
    try:
        b"".join(map(_series, series))
    except UnicodeDecodeError as error:
        raise StateError(f"checkpoint of {partition}: a series' name is not UTF-8: {error}") from None
    if len(set(series)) != len(series):
        raise StateError(f"checkpoint of {partition}: a series stands in it twice")
    return series, Tails(*(np.concatenate([getattr(part, name) for part in parts]) for name in Tails.__slots__))


def _tails(partition: TopicPartition, shard: _Shard, length: int, channels: Sequence[str]) -> Tails:
    def int64(raw: bytes, count: int) -> NDArray[np.int64]:
        if len(raw) != 8 * count:
            raise StateError(f"checkpoint of {partition}: {len(raw)} bytes for {count} integers")
        return np.frombuffer(raw, dtype="<i8").astype(np.int64)

    count = len(shard.series)
    kept, index = int64(shard.kept, count), int64(shard.index, count)
    if shard.version != VERSION or shard.channels != list(channels):
        raise StateError(f"checkpoint of {partition}: version {shard.version}, channels {shard.channels}")
    if (index < 0).any() or (kept != np.minimum(index, length - 1)).any():
        raise StateError(f"checkpoint of {partition}: made with another window than {length} samples")
    samples = int(kept.sum())
    if len(shard.values) != 4 * samples * len(channels):
        raise StateError(f"checkpoint of {partition}: {len(shard.values)} bytes for {samples} samples")
    return Tails(
        index=index,
        last_time_us=int64(shard.last_time_us, count),
        last_clock_us=int64(shard.last_clock_us, count),
        kept=kept,
        values=np.frombuffer(shard.values, dtype="<f4").astype(np.float32).reshape(samples, len(channels)),
        time_us=int64(shard.time_us, samples),
        offset=int64(shard.offsets, samples),
    )


def _bytes(array: NDArray[np.generic], dtype: str) -> bytes:
    return np.ascontiguousarray(array, dtype=dtype).tobytes()
