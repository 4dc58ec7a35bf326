"""IDX files, as MNIST has them: images as windows, the labels in a file beside them.

    00 00 TYPE RANK, RANK sizes (big-endian, 32 bits), then the numbers (big-endian), the last dimension fastest

Rules of this file: sizes are checked against the bytes before anything is allocated.

References: LeCun, Cortes, Burges: "The MNIST database of handwritten digits", section "File formats".
"""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np

from monitor.datafiles import WindowTable
from monitor.datafiles.columns import Array, Columns, labels
from monitor.datafiles.content import MAX_BYTES, content, is_file
from monitor.datafiles.reading import window_table
from monitor.detector.arrays import Int64Array
from monitor.errors import DataError
from training.datasets.options import ReadOptions

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_RANK = 4


def is_idx(beginning: bytes) -> bool:
    """Whether a file that begins so is one."""
    if len(beginning) < 4 or beginning[:2] != b"\0\0":
        return False
    return beginning[2] in _TYPES and 1 <= beginning[3] <= _MAX_RANK


def parse(path: Path, raw: bytes) -> Array:
    """The file's array. Raises `DataError` where its bytes are not as many as its header says."""
    dtype, rank = np.dtype(_TYPES[raw[2]]), raw[3]
    begin = 4 + 4 * rank
    if len(raw) < begin:
        raise DataError(f"{path}: the header ends after {len(raw)} bytes, expected {begin}; fetch it again")
    shape = struct.unpack(f">{rank}I", raw[4:begin])
    count = math.prod(shape)
    if count * dtype.itemsize != len(raw) - begin:
        raise DataError(f"{path}: {len(raw) - begin} bytes of data do not fit shape {shape} of {dtype}; fetch it again")
    if count * 4 > MAX_BYTES:
        raise DataError(f"{path}: {count} numbers are over {MAX_BYTES} bytes as float32; split the file")
    return np.frombuffer(raw, dtype=dtype, count=count, offset=begin).reshape(shape)


def read(path: Path, options: ReadOptions) -> WindowTable:
    """Images (n, height, width[, colours]) as windows (n, height x width, colours), or windows (n, length).

    Labels come from the file beside it that is called the same but for "labels" and "idx1", where there is one.

    Raises:
        DataError: the file is not whole, or holds labels only.
    """
    values = parse(path, content(path))
    if values.ndim == 1:
        raise DataError(f"{path}: holds {len(values)} labels, no images; name the file of images, its labels are found")
    shape = (int(values.shape[1]), int(values.shape[2])) if values.ndim > 2 else None
    if shape is not None:
        colours = values.shape[3] if values.ndim > 3 else 1
        values = values.reshape(len(values), math.prod(shape), colours)
    found = None
    if options.label_column != "none" and (beside := labels_beside(path)) is not None:
        found = parse_labels(beside)
    table = window_table(path, values, found, channels=options.channels, exact=options.keeps_digits)
    return replace(table, image_shape=shape)


def labels_beside(path: Path) -> Path | None:
    """The file of labels that belongs to a file of images, by MNIST's names, gzipped or not."""
    if "images" not in path.name:
        return None
    name = path.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    return next((file for file in (path.with_name(name), path.with_name(f"{name}.gz")) if is_file(file)), None)


def parse_labels(path: Path) -> Int64Array:
    """A file of labels, one a window."""
    raw = content(path)
    if not is_idx(raw) or raw[3] != 1:
        raise DataError(f"{path}: not an IDX file of labels (one dimension); fetch it again")
    return labels(path, Columns(numbers=parse(path, raw)[:, None], names=("label",)), 0)
