"""Which format a file has, by how its content begins."""

from __future__ import annotations

from enum import StrEnum

from monitor.datafiles.arrays import NPY, NPZ
from training.datasets import idx

PARQUET = b"PAR1"
ARROW_FILE = b"ARROW1"
ARROW_STREAM = b"\xff\xff\xff\xff"
FEATHER_1 = b"FEA1"
_TS_TAGS = frozenset(
    b"@problemname @timestamps @missing @univariate @dimension @dimensions @equallength @serieslength @classlabel "
    b"@targetlabel @data".split()
)


class FileFormat(StrEnum):
    """`ROWS` are text and NumPy's formats, which `monitor.datafiles` reads."""

    ROWS = "rows"
    ARROW = "arrow"
    IDX = "idx"
    ARFF = "arff"
    TS = "ts"


def of_content(beginning: bytes) -> FileFormat:
    """The format of a file that begins so, unpacked; text that begins with no tag is rows of cells."""
    if beginning.startswith((NPY, NPZ)):
        return FileFormat.ROWS
    if beginning.startswith((PARQUET, ARROW_FILE, ARROW_STREAM, FEATHER_1)):
        return FileFormat.ARROW
    if idx.is_idx(beginning):
        return FileFormat.IDX
    lines = (line.strip().lower() for line in beginning.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    tag = next((line for line in lines if line and not line.startswith((b"#", b"%"))), b"")
    if tag.startswith((b"@relation", b"@attribute")):
        return FileFormat.ARFF
    return FileFormat.TS if tag.split(None, 1)[:1] and tag.split(None, 1)[0] in _TS_TAGS else FileFormat.ROWS
