"""Unpacking compressed batches, within a bound: nothing is allocated for what a batch only claims to hold.

Bytes after the end of what is compressed are ignored where Kafka's broker takes them and other clients read them
(gzip, lz4). kafka-python 3.0.12 unpacks without a bound, and refuses such bytes (D21, codec.py).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Protocol

import lz4.frame
import snappy
import zstandard

from monitor.errors import Reason

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
Bytes = bytes | memoryview

_GZIP_MEMBERS = 100  # a producer writes one; each further one is copied once more
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = 16  # and two version numbers, which some producers write little-endian: nobody looks at them
_SNAPPY_RATIO = 64  # three bytes make 64 at most
_FIRST_READ = 64 * 1024
_LARGEST_READ = 4 * 1024 * 1024


class UnreadableError(Exception):
    """A batch or message can't be read as it is: `reason` for machines, `detail` for people."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def unpack(codec: int, packed: Bytes, limit: int) -> bytes:
    """What was compressed, at most `limit` bytes of it.

    Args:
        codec: the number that the batch's attributes give.
        packed: all bytes of the batch after its header.
        limit: more bytes than this are refused.

    Raises:
        UnreadableError: it is more, is cut off, or is nothing that this codec writes.
    """
    unpacker = _UNPACKERS.get(codec)
    if unpacker is None:
        raise UnreadableError(Reason.UNREADABLE_BATCH, f"compression {codec}, which Kafka does not know")
    name, function = unpacker
    try:
        return function(packed, limit)
    except _FAULTS as error:
        cause = f": {error.__cause__}" if error.__cause__ is not None else ""
        text = str(error) or type(error).__name__
        raise UnreadableError(Reason.UNREADABLE_BATCH, f"{name} can't be unpacked: {text}{cause}") from error


def _gzip(packed: Bytes, limit: int) -> bytes:
    """Members one after the other; what follows the last one is ignored, as Java's GZIPInputStream does."""
    parts: list[bytes] = []
    room = limit
    rest: Bytes = packed
    while True:
        member = zlib.decompressobj(31)
        try:
            part = _member(member, rest, room, limit)
        except zlib.error:
            if not parts:
                raise
            break
        if not member.eof:
            if not part and parts:
                break
            raise ValueError("it is cut off")
        room -= len(part)
        parts.append(part)
        rest = member.unused_data
        if not rest:
            break
        if len(parts) == _GZIP_MEMBERS:
            raise ValueError(f"more than {_GZIP_MEMBERS} members")
    return b"".join(parts)


def _member(member: zlib._Decompress, packed: Bytes, room: int, limit: int) -> bytes:
    def read(size: int) -> bytes:
        nonlocal packed
        part = member.decompress(packed, size)
        packed = member.unconsumed_tail
        return part

    return _read_all(read, lambda: member.eof or not packed, room, limit, "gzip")


def _snappy(packed: Bytes, limit: int) -> bytes:
    """Raw, or in the blocks of the xerial library, as Java's producers write it."""
    if bytes(packed[: len(_XERIAL_MAGIC)]) != _XERIAL_MAGIC:
        return _snappy_block(packed, limit, limit)
    parts = []
    at, room = _XERIAL_HEADER, limit
    while len(packed) - at >= 4:  # fewer are ignored, as its Java library does
        (size,) = struct.unpack_from(">i", packed, at)
        at += 4
        if size <= 0 or at + size > len(packed):
            raise ValueError(f"a block of {size} bytes where {len(packed) - at} are left")
        part = _snappy_block(packed[at : at + size], room, limit)
        parts.append(part)
        room -= len(part)
        at += size
    return b"".join(parts)


def _snappy_block(packed: Bytes, room: int, limit: int) -> bytes:
    size = shift = 0
    for byte in packed[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    else:
        raise ValueError("it states no length")
    # Its library allocates what is stated.
    if size > _SNAPPY_RATIO * len(packed):
        raise ValueError(f"{len(packed)} bytes that state to hold {size}")
    _fits(room - size, limit, "snappy")
    return bytes(snappy.decompress(packed))


def _lz4(packed: Bytes, limit: int) -> bytes:
    """One frame; what follows it is ignored, as Java's KafkaLZ4BlockInputStream does."""
    frame = lz4.frame.LZ4FrameDecompressor()

    def read(size: int) -> bytes:
        nonlocal packed
        given, packed = packed, b""
        return bytes(frame.decompress(given, max_length=size))

    unpacked = _read_all(read, lambda: frame.eof or frame.needs_input, limit, limit, "lz4")
    if not frame.eof:
        raise ValueError("it is cut off")
    return unpacked


def _zstd(packed: Bytes, limit: int) -> bytes:
    """Frames one after the other. The library does not report a cut: the records show it."""
    ended = False

    with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as reader:

        def read(size: int) -> bytes:
            nonlocal ended
            part = reader.read(size)
            ended = not part
            return part

        return _read_all(read, lambda: ended, limit, limit, "zstd")


def _read_all(read: Callable[[int], bytes], ended: Callable[[], bool], room: int, limit: int, name: str) -> bytes:
    """Everything that `read` gives, at most `room` bytes, in pieces that grow: libraries allocate what is asked for."""
    parts: list[bytes] = []
    size = _FIRST_READ
    while True:
        part = read(min(size, room + 1))
        parts.append(part)
        room -= len(part)
        _fits(room, limit, name)
        size = min(2 * size, _LARGEST_READ)
        if ended():
            break
    return b"".join(parts)


def _fits(room: int, limit: int, name: str) -> None:
    if room < 0:
        raise UnreadableError(
            Reason.TOO_LARGE, f"its {name} unpacks to more than {limit} bytes (input.max_batch_bytes)"
        )


class _Unpacker(Protocol):
    def __call__(self, packed: Bytes, limit: int) -> bytes: ...


_FAULTS = (zlib.error, ValueError, EOFError, RuntimeError, struct.error, snappy.UncompressError, zstandard.ZstdError)
_UNPACKERS: dict[int, tuple[str, _Unpacker]] = {
    GZIP: ("gzip", _gzip),
    SNAPPY: ("snappy", _snappy),
    LZ4: ("lz4", _lz4),
    ZSTD: ("zstd", _zstd),
}
