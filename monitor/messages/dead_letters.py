"""Records that could not be read, as they go to the dead-letter topic: where, why, and the payload's SHA-256.

Beside them lie notes of `telltale deadletters redrive`: which of the records were written to their topic again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from monitor.backends.abstract import Damaged, RecordColumns, TopicPartition
from monitor.errors import Reason

# At most so many bytes of the key: a key may be as large as a record, and a letter must always fit into one.
MAX_KEY_BYTES = 1024
# The header of a note of what was redriven, and of a redriven record: where it lay when it was rejected.
REDRIVEN = "telltale-redriven"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One record that could not be read, or a whole batch of them. The payload stays where it is, at its offsets.

    `key` is the beginning of its key. `records` is None where a batch's header can't be trusted to know.
    """

    partition: TopicPartition
    offset: int
    last_offset: int
    records: int | None
    timestamp_ms: int | None
    key: bytes | None
    size: int | None
    sha256: str | None
    reason: Reason
    detail: str

    @classmethod
    def of(cls, columns: RecordColumns, row: int, reason: Reason, detail: str) -> DeadLetter:
        """The dead letter of one record of a poll."""
        value, key = columns.values[row], columns.keys[row]
        return cls(
            partition=columns.partition,
            offset=int(columns.offsets[row]),
            last_offset=int(columns.offsets[row]),
            records=1,
            timestamp_ms=int(columns.timestamps_ms[row]),
            key=None if key is None else key[:MAX_KEY_BYTES],
            size=None if value is None else len(value),
            sha256=None if value is None else hashlib.sha256(value).hexdigest(),
            reason=reason,
            detail=detail,
        )

    @classmethod
    def of_batch(cls, partition: TopicPartition, damaged: Damaged) -> DeadLetter:
        """The dead letter of a batch that could not be read; `size` is that of the whole batch."""
        return cls(
            partition=partition,
            offset=damaged.first_offset,
            last_offset=damaged.next_offset - 1,
            records=damaged.records,
            timestamp_ms=None,
            key=None,
            size=damaged.size,
            sha256=None,
            reason=damaged.reason,
            detail=damaged.detail,
        )


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """What a dead letter says, as JSON. `reason` is text: a newer daemon may know others."""

    topic: str
    partition: int
    offset: int
    last_offset: int
    records: int | None
    timestamp_ms: int | None
    key: str | None
    size: int | None
    sha256: str | None
    reason: str
    detail: str

    @property
    def origin(self) -> Origin:
        """The record that it is about."""
        return Origin(self.topic, self.partition, self.offset, self.sha256)


class Origin(NamedTuple):
    """A record that was rejected: where it lay, and the checksum of its value, as a recreated topic holds others."""

    topic: str
    partition: int
    offset: int
    sha256: str | None


class _Note(msgspec.Struct, frozen=True):
    redriven: list[Origin]


def encode(letter: DeadLetter) -> bytes:
    """The record's value: JSON, the key in it as text as far as it is text."""
    return msgspec.json.encode(
        Rejection(
            topic=letter.partition.topic,
            partition=letter.partition.partition,
            offset=letter.offset,
            last_offset=letter.last_offset,
            records=letter.records,
            timestamp_ms=letter.timestamp_ms,
            key=None if letter.key is None else letter.key.decode("utf-8", "backslashreplace"),
            size=letter.size,
            sha256=letter.sha256,
            reason=letter.reason.value,
            detail=letter.detail,
        )
    )


def headers(letter: DeadLetter) -> tuple[tuple[str, bytes], ...]:
    """The record's headers: filter by reason without parsing."""
    return (("content-type", b"application/json"), ("reason", letter.reason.value.encode()))


def decode(value: bytes) -> Rejection:
    """A dead letter as it lies in its topic. Raises `msgspec.DecodeError`: it is none."""
    return _rejection(value)


def encode_note(redriven: Iterable[Origin]) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    """Value and headers of the note that these records were written to their topics again."""
    origins = list(redriven)
    found = (("content-type", b"application/json"), (REDRIVEN, str(len(origins)).encode()))
    return msgspec.json.encode(_Note(origins)), found


def decode_note(value: bytes) -> list[Origin]:
    """The records that a note is about. Raises `msgspec.DecodeError`: it is none."""
    return _note(value).redriven


_rejection = msgspec.json.Decoder(Rejection).decode
_note = msgspec.json.Decoder(_Note).decode
