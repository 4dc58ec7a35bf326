"""WFDB signal files (`.dat`) in formats 16 and 212, whose samples are interleaved signal by signal.

    16     little-endian 16-bit two's complement; -32768 is missing
    212    pairs of 12-bit two's complement in three bytes: the low byte of the first, both high nibbles, the low byte
           of the second; -2048 is missing

Rules of this file: sizes are checked before anything is allocated; first value and checksum where the header has them.

References: WFDB Applications Guide, signal(5): https://physionet.org/physiotools/wag/signal-5.htm
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles.content import MAX_BYTES, content
from monitor.detector.arrays import Float32Array
from monitor.errors import DataError
from training.datasets.wfdb_header import Signal, WfdbHeader

Int16Array = NDArray[np.int16]
_MISSING = {16: -32768, 212: -2048}


def read_signals(path: Path, header: WfdbHeader) -> Float32Array:
    """The samples (n, signals) of the record with the header `path`, in physical units, NaN where missing.

    Raises:
        DataError: a file is missing, too short or not what the header says.
    """
    files: dict[str, list[Signal]] = {}
    for signal in header.signals:
        files.setdefault(signal.file, []).append(signal)
    found: dict[str, Int16Array] = {}
    for name, signals in files.items():
        if len({(signal.form, signal.skip) for signal in signals}) != 1:
            raise DataError(f"{path}: signals of one file, {name}, differ in format or offset")
        stored = _stored(path.with_name(name), signals, header.samples)
        for at, signal in enumerate(signals):
            _verify(path, signal, stored[:, at])
            found[signal.name] = stored[:, at]
    lengths = {len(stored) for stored in found.values()}
    if len(lengths) != 1:
        raise DataError(f"{path}: the files hold {sorted(lengths)} samples a signal; expected one length")
    if 4 * len(found) * (samples := lengths.pop()) > MAX_BYTES:
        raise DataError(f"{path}: {samples} samples of {len(found)} signals are over {MAX_BYTES} bytes; split it")
    return np.stack([_physical(signal, found[signal.name]) for signal in header.signals], axis=1)


def _stored(path: Path, signals: Sequence[Signal], samples: int | None) -> Int16Array:
    """A file's numbers (n, signals)."""
    raw = content(path)[signals[0].skip :]
    form, width = signals[0].form, len(signals)
    held = (len(raw) // 2 if form == 16 else len(raw) // 3 * 2 + (len(raw) % 3 == 2)) // width
    if samples is None:
        samples = held
    if held < samples or not samples:
        raise DataError(
            f"{path}: holds {held} samples of {width} signals in format {form}, the header says {samples}; fetch "
            "it again"
        )
    count = samples * width
    flat = _unpack_16(raw, count) if form == 16 else _unpack_212(raw, count)
    return flat.reshape(samples, width)


def _unpack_16(raw: bytes, count: int) -> Int16Array:
    return np.frombuffer(raw, dtype="<i2", count=count).astype(np.int16)


def _unpack_212(raw: bytes, count: int) -> Int16Array:
    pairs = (count + 1) // 2
    octets = np.frombuffer(raw[: 3 * pairs].ljust(3 * pairs, b"\0"), dtype=np.uint8).reshape(pairs, 3).astype(np.int16)
    flat = np.empty(2 * pairs, dtype=np.int16)
    flat[0::2] = octets[:, 0] | ((octets[:, 1] & 0x0F) << 8)
    flat[1::2] = octets[:, 2] | ((octets[:, 1] & 0xF0) << 4)
    flat -= (flat & 0x0800) << 1  # the sign
    return flat[:count]


def _verify(path: Path, signal: Signal, stored: Int16Array) -> None:
    if signal.first is not None and int(stored[0]) != signal.first:
        raise DataError(
            f"{path}: signal {signal.name} begins with {int(stored[0])}, the header says {signal.first}; "
            f"{signal.file} is another record's, or damaged"
        )
    if signal.checksum is not None:
        found = int(stored.sum(dtype=np.int64))
        if (found - signal.checksum) % 65536:
            raise DataError(
                f"{path}: signal {signal.name} has checksum {(found + 32768) % 65536 - 32768}, the header says "
                f"{signal.checksum}; {signal.file} is damaged, or cut"
            )


def _physical(signal: Signal, stored: Int16Array) -> Float32Array:
    values = (stored.astype(np.float64) - signal.baseline) / signal.gain
    values[stored == _MISSING[signal.form]] = np.nan
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if np.isinf(narrow).any():
        raise DataError(f"signal {signal.name}: gain {signal.gain} makes values too large for float32; fix the header")
    return narrow
