"""What `train`, `evaluate` and the others are pointed at: sources as tables, and named for ever by their bytes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import SeriesTable, WindowTable, plausibility
from monitor.datafiles.content import is_file
from monitor.errors import DataError
from training import datasets
from training.datasets import timestamps, wfdb_record
from training.datasets.options import ReadOptions, Table

_MOST_NOTES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What names a data source for ever: its name, not its place, the SHA-256 of its bytes, how many, and its rows.

    Of a topic's range, or of a record in several files, the bytes are those of the numbers read.
    """

    file: str
    sha256: str
    bytes: int
    rows: int


def read(
    names: Sequence[str], kind: str, options: ReadOptions, note: Callable[[str], None], *, about_contents: bool = True
) -> tuple[list[Table], list[Source]]:
    """Tables and fingerprints of all sources; `about_contents`: what is odd about them and the numbers is noted too.

    Raises:
        DataError: one can't be read, or is given twice; says where and what to do.
    """
    tables: list[Table] = []
    sources: list[Source] = []
    for at, name in enumerate(names):
        if name in names[:at]:
            raise DataError(f"{name}: is given twice; name it once, or its copy tests what was learnt from it")
        found = datasets.read(name, kind=kind, options=options, note=note)
        tables += found
        source = fingerprint(name, found)
        if twin := next((each.file for each in sources if each.sha256 == source.sha256), None):
            note(f"{source.file} is the same as {twin}; where one is learnt from and the other tests, metrics flatter")
        sources.append(source)
    if about_contents:
        said = list(timestamps.notes([table for table in tables if isinstance(table, SeriesTable)]))
        said += plausibility.markers(tables)
        for text in said[:_MOST_NOTES]:
            note(text)
        if len(said) > _MOST_NOTES:
            note(f"{len(said) - _MOST_NOTES} more notes like these")
    found_in = {(table.series, table.source) for table in tables if isinstance(table, SeriesTable)}
    counts = Counter(series for series, _ in found_in)
    if several := sorted(name for name, count in counts.items() if count > 1):
        names_of = ", ".join(several[:5])
        note(f"series in several files each: {names_of} ({len(several)} in all); a line per series is theirs together")
    return tables, sources


def fingerprint(name: str, tables: Sequence[Table]) -> Source:
    """Names a source by what it holds now."""
    rows = sum(len(_numbers(table)) for table in tables)
    digest, size, path = hashlib.sha256(), 0, Path(name)
    if is_file(path) and wfdb_record.header_of(path) is None:
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
                size = file.tell()
        except OSError as error:
            raise DataError(f"{path}: can't be read: {error.strerror}") from None
        return Source(file=printable(path.name), sha256=digest.hexdigest(), bytes=size, rows=rows)
    for table in tables:
        numbers = _numbers(table).astype("<f4").tobytes()
        digest.update(numbers)
        size += len(numbers)
    return Source(file=printable(name.rsplit("/", 1)[-1]), sha256=digest.hexdigest(), bytes=size, rows=rows)


def printable(name: str) -> str:
    """A file's name as text: bytes of it that are not UTF-8 stand as escapes, as no JSON or page could hold them."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _numbers(table: Table) -> NDArray[np.float32]:
    return table.windows if isinstance(table, WindowTable) else table.samples
