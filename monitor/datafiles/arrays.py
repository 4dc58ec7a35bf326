"""NumPy's own files: `.npy`, one array, and `.npz`, arrays by name. Nothing is unpickled."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from pathlib import Path

import numpy as np

from monitor.datafiles import content as bounds
from monitor.datafiles.columns import Array, Columns
from monitor.errors import DataError

NPY = b"\x93NUMPY"
NPZ = b"PK\x03\x04"
_LEAST_BYTES = 4


def npy(path: Path, content: bytes, member: str = "") -> Array:
    """One array of numbers. Its header must match the number of bytes."""
    where = f"{path}{member and f', array {member}'}"
    file = io.BytesIO(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers written by Python 2, and odd type names
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, column_major, dtype = read(file)
    except Exception as error:  # the header is a Python literal: its parser may raise anything
        raise DataError(f"{where}: not a readable .npy: {str(error)[:200]}; save it again with numpy.save") from None
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise DataError(f"{where}: holds {dtype}, not plain numbers; save it as float32 or float64")
    size, rest = math.prod(shape), len(content) - file.tell()
    if any(side < 0 for side in shape) or size * dtype.itemsize != rest:
        raise DataError(f"{where}: {rest} bytes of data do not fit shape {shape} of {dtype}; download it again")
    if size * _LEAST_BYTES > bounds.MAX_BYTES:  # narrow types grow when they become float32
        raise DataError(f"{where}: {size} numbers are over {bounds.MAX_BYTES} bytes as float32; split the file")
    flat = np.frombuffer(content, dtype=dtype, count=size, offset=file.tell())
    return flat.reshape(shape, order="F" if column_major else "C")


def npz(path: Path, content: bytes) -> dict[str, Array]:
    """The arrays by name."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            size = sum(entry.file_size for entry in entries)
            unpacked = [archive.read(entry) for entry in entries] if size <= bounds.MAX_BYTES else []
    except Exception as error:  # zipfile does not catch what the decompressors raise
        raise DataError(f"{path}: not a readable .npz: {error}; save it again with numpy.savez") from None
    if size > bounds.MAX_BYTES:
        raise DataError(f"{path}: more than {bounds.MAX_BYTES} bytes unpacked; split the file")
    if strange := [entry.filename for entry in entries if not entry.filename.endswith(".npy")]:
        raise DataError(
            f"{path}: a zip that holds {strange[0][:60]!r}, not arrays; export each table of a workbook as CSV"
        )
    named = {entry.filename.removesuffix(".npy"): array for entry, array in zip(entries, unpacked, strict=True)}
    return {name: npy(path, array, name) for name, array in named.items()}


def npz_columns(path: Path, arrays: dict[str, Array]) -> Columns:
    """Arrays of one length as the channels of a series."""
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise DataError(f"{path}: arrays of shapes {shapes}; a series is one array (samples,) per channel")
    if sum(array.size for array in arrays.values()) * 8 > bounds.MAX_BYTES:
        raise DataError(f"{path}: its arrays are over {bounds.MAX_BYTES} bytes as float64; split the file")
    table = np.stack(list(arrays.values()), axis=1, dtype=np.float64, casting="unsafe")
    return Columns(numbers=table, names=tuple(arrays))
