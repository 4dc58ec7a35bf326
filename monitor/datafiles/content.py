"""A file's bytes, decompressed if it is gzipped, up to a limit.

Rules of this file: sizes are checked before anything is allocated, and only `DataError` is raised.
"""

from __future__ import annotations

import gzip
import io
import stat
import zlib
from pathlib import Path

from monitor.errors import DataError

# Far more than training needs, far less than would exhaust a machine's memory.
MAX_BYTES = 2 * 1024**3
_GZIP = b"\x1f\x8b"


def is_file(path: Path) -> bool:
    """Whether a file exists; False if that can't be determined (name too long, no access to the directory)."""
    try:
        return path.is_file()
    except OSError:
        return False


def content(path: Path) -> bytes:
    """The whole file, decompressed. Raises `DataError`."""
    raw = _unpacked(path, _raw(path, MAX_BYTES + 1), MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise DataError(f"{path}: more than {MAX_BYTES} bytes decompressed; split the file")
    return raw


def beginning(path: Path, size: int) -> bytes:
    """The first `size` bytes, decompressed, or all if there are fewer. Raises `DataError`."""
    raw = _raw(path, size)
    return _stream(path, size) if raw.startswith(_GZIP) else raw


def _raw(path: Path, size: int) -> bytes:
    try:
        known = path.stat()
        if stat.S_ISDIR(known.st_mode):
            raise DataError(f"{path}: can't be read: it is a directory; name the files in it")
        if not stat.S_ISREG(known.st_mode):  # a pipe waits for its writer, and can't be read twice
            raise DataError(f"{path}: can't be read: a pipe or a device; write what it holds to a file, and name that")
        with path.open("rb") as file:
            return file.read(min(size, known.st_size))  # allocates as much as it is asked for
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        said = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: can't be read: {said}; check the name and its permissions") from None


def _unpacked(path: Path, raw: bytes, size: int) -> bytes:
    if not raw.startswith(_GZIP):
        return raw
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as unpacked:
            return unpacked.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from None


def _stream(path: Path, size: int) -> bytes:
    try:
        with gzip.open(path) as unpacked:
            return unpacked.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: the gzip is damaged: {error}; download it again")
