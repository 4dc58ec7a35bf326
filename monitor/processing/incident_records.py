"""Incidents in the state topic, as bytes: one record each by series, rule and channel; what they were at a checkpoint.

Rules of this file: pure. One that can't be read spoils no other; fields that this version does not know are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import quote, unquote

import msgspec
import numpy as np

from monitor.backends.abstract import HistoryRecord, StateRecord, TopicPartition
from monitor.detector.incidents import SCORE_RULE, Incident, IncidentKey
from monitor.detector.times import NEVER_US
from monitor.processing.snapshots import (
    UNKNOWN_US,
    StateError,
    decode_checkpoint,
    first_key,
    newest_mark,
    partition_name,
)

# Keys of the score's rule, and of any other, with a channel or without, which is percent-encoded; a topic's name holds
# no slash, a series' may.
_INCIDENT_KEY = re.compile(rb"incident(?::(\w+)(?::([\w.~%-]+))?)?/([^/]+/[0-9]{1,10})/(.*)", re.DOTALL)


def incident_key(partition: TopicPartition, series: bytes, rule: str = SCORE_RULE, channel: str = "") -> bytes:
    """Key of the record of a series' incident by a rule, in one channel or in all (empty)."""
    kind = "incident" if rule == SCORE_RULE else f"incident:{rule}"
    kind += f":{quote(channel, safe='')}" if channel else ""
    return b"/".join((kind.encode(), partition_name(partition), series))


def _whose(key: bytes) -> tuple[bytes, IncidentKey] | None:
    """The partition as `partition_name` writes it, and the incident that a key names; None if it names none."""
    found = _INCIDENT_KEY.fullmatch(key)
    if found is None:
        return None
    rule, channel, partition, series = found.groups()
    named = unquote((channel or b"").decode(), errors="replace")
    return partition, IncidentKey(series, SCORE_RULE if rule is None else rule.decode(), named)


def encode_incident(incident: Incident) -> bytes | None:
    """An incident's record; None, a tombstone, for one that is not active."""
    return msgspec.json.encode(incident) if incident.active else None


def decode_incidents(partition: TopicPartition, records: Iterable[StateRecord]) -> dict[IncidentKey, Incident]:
    """The incidents of `partition` among `records`, by series, rule and channel.

    Raises:
        StateError: one of them can't be read.
    """
    wanted, found = partition_name(partition), {}
    for record in records:
        name, key = _whose(record.key) or (b"", None)
        if key is not None and name == wanted:
            try:
                key.series.decode()  # what is no text names no series
                found[key] = msgspec.json.decode(record.value, type=Incident)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise StateError(f"incident of {partition}, key {record.key!r}: {error}") from None
    return found


def readable_incidents(
    partition: TopicPartition, records: Iterable[StateRecord]
) -> tuple[dict[IncidentKey, Incident], list[str]]:
    """The incidents of `partition` among `records`, by series, rule and channel; what is wrong with what can't be read.

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


def at_checkpoint(
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
    first = first_key(partition)
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
    return whose is not None and whose[0] == partition_name(partition)


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


def knows(partition: TopicPartition, records: Iterable[StateRecord]) -> bool:
    """Whether any of `records` is of an incident of `partition`."""
    return any(_is_incident_of(partition, record.key) for record in records)
