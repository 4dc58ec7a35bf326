"""IDX images: the form of MNIST's files, written here by its description, and labels found beside them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.datafiles import WindowTable
from monitor.errors import DataError
from training.datasets import ReadOptions, read

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(values: np.ndarray[Any, Any]) -> bytes:
    code = CODES[values.dtype.str[1:]]
    header = bytes([0, 0, code, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(values.dtype.newbyteorder(">")).tobytes()


IMAGES = np.arange(3 * 4 * 2, dtype=np.uint8).reshape(3, 4, 2)
LABELS = np.array([7, 0, 9], dtype=np.uint8)


def only(path: Path, **options: Any) -> WindowTable:
    (table,) = read(str(path), kind="record", options=ReadOptions(**options))
    assert isinstance(table, WindowTable)
    return table


@pytest.mark.parametrize("images_end", ["", ".gz"])
@pytest.mark.parametrize("labels_end", ["", ".gz"])
@pytest.mark.parametrize("form", ["train-{}-idx{}-ubyte", "t10k-{}.idx{}-ubyte"])
def test_images_and_the_labels_beside_them(tmp_path: Path, images_end: str, labels_end: str, form: str) -> None:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    path = write(form.format("images", 3) + images_end, idx(IMAGES))
    assert only(path).labels is None
    write(form.format("labels", 1) + labels_end, idx(LABELS))
    table = only(path)
    assert (table.windows.shape, table.image_shape, table.channels) == ((3, 8, 1), (4, 2), ("value",))
    np.testing.assert_array_equal(table.windows.reshape(3, 4, 2), IMAGES)
    assert table.labels is not None
    assert table.labels.tolist() == [7, 0, 9]
    assert only(path, label_column="none").labels is None


@pytest.mark.parametrize("kind", CODES)
def test_kinds_of_numbers(tmp_path: Path, kind: str) -> None:
    values = (IMAGES.astype(np.float64) - (0 if kind == "u1" else 10)).astype(kind)
    (tmp_path / "x").write_bytes(idx(values))
    np.testing.assert_array_equal(only(tmp_path / "x").windows.reshape(3, 4, 2), values)


def test_colours_and_plain_windows(tmp_path: Path) -> None:
    colours = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)
    (tmp_path / "x").write_bytes(idx(colours))
    table = only(tmp_path / "x", channels=("red", "green", "blue"))
    assert (table.image_shape, table.channels) == ((2, 3), ("red", "green", "blue"))
    np.testing.assert_array_equal(table.windows.reshape(2, 2, 3, 3), colours)
    (tmp_path / "x").write_bytes(idx(colours.reshape(2, 18)))
    assert only(tmp_path / "x").image_shape is None


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    for content, told in (
        (idx(IMAGES)[:-1], "23 bytes of data do not fit shape"),
        (idx(IMAGES)[:9], "header ends after 9 bytes"),
        (idx(LABELS), "holds 3 labels, no images"),
        (b"\0\0\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1), "do not fit shape"),
        (idx(np.zeros((0, 2, 2), np.uint8)), "shape"),
        (idx(np.full((1, 2, 2), 1e300)), "not finite"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=told):
            only(path)
    path.write_bytes(idx(IMAGES))
    with pytest.raises(DataError, match="images are windows"):
        read(str(path), kind="sliding", options=ReadOptions())
    labels = tmp_path / "train-labels-idx1-ubyte"
    for content, told in ((idx(LABELS[:2]), "3 windows but 2 labels"), (b"0\n1\n2\n", "not an IDX file of labels")):
        labels.write_bytes(content)
        with pytest.raises(DataError, match=told):
            only(path)
