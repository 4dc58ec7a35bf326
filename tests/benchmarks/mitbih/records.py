"""Records of the MIT-BIH Arrhythmia Database as WFDB files, with what is annotated of their beats.

A folder of PhysioNet's own files is taken as it is. Where a record's signals are kept in an `.npz` instead of their
`.dat`, that is written anew, in the header's format 212, for the trainer's own reader; its checksums are the header's.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import SeriesTable
from monitor.detector.arrays import Int64Array
from training import datasets
from training.datasets import ReadOptions, wfdb_annotations

LEAD = "MLII"
# The division by patient of de Chazal et al. 2004 (doi:10.1109/TBME.2004.827359), without the paced records.
DS1 = (
    *("101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122"),
    *("124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230"),
)
DS2 = (
    *("100", "103", "105", "111", "113", "117", "121", "123", "200", "202", "210"),
    *("212", "213", "214", "219", "221", "222", "228", "231", "232", "233", "234"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartRecord:
    """One lead of a record, and the `beats` (n,) that are annotated, at samples, with the AAMI `classes` (n,)."""

    path: Path
    table: SeriesTable
    beats: Int64Array
    classes: NDArray[np.str_]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def rate_hz(self) -> float:
        assert self.table.sampling_rate_hz is not None
        return self.table.sampling_rate_hz


def read(folder: Path, scratch: Path) -> list[HeartRecord]:
    """The records of a folder that have the lead; what has to be written goes to `scratch`."""
    found = [_files(header, scratch) for header in sorted(folder.glob("*.hea"))]
    return [_record(path) for path in found if LEAD in path.read_text()]


def divided(records: Sequence[HeartRecord]) -> list[tuple[list[HeartRecord], list[HeartRecord]]]:
    """Which records are learnt and which are tested: DS1 and DS2 where both are there, else each in its turn."""
    by_name = {record.name: record for record in records}
    if by_name.keys() >= {*DS1, *DS2}:
        return [([by_name[name] for name in DS1], [by_name[name] for name in DS2])]
    return [([other for other in records if other is not record], [record]) for record in records]


def _files(header: Path, scratch: Path) -> Path:
    if header.with_suffix(".dat").exists():
        return header
    with np.load(header.with_suffix(".npz")) as kept:
        raw = _packed(kept["signal_adc"])
    scratch.mkdir(exist_ok=True)
    for suffix in (".hea", ".atr"):
        shutil.copy(header.with_suffix(suffix), scratch / f"{header.stem}{suffix}")
    (scratch / f"{header.stem}.dat").write_bytes(raw)
    return scratch / header.name


def _packed(signals: NDArray[np.int16]) -> bytes:
    """Signals (n, 2) in format 212: three bytes a pair, the second the high bits of both."""
    first, second = signals.astype(np.int32).T & 0xFFF
    return np.stack([first & 0xFF, first >> 8 | second >> 8 << 4, second & 0xFF], axis=1).astype(np.uint8).tobytes()


def _record(header: Path) -> HeartRecord:
    options = ReadOptions(channels=(LEAD,))
    (table,) = datasets.read(str(header), kind="sliding", options=options, note=lambda _: None)
    assert isinstance(table, SeriesTable)
    assert table.sampling_rate_hz is not None
    annotated = header.with_suffix(".atr")
    found = wfdb_annotations.parse(annotated, annotated.read_bytes(), table.sampling_rate_hz)
    return HeartRecord(path=header, table=table, beats=found.samples[found.beats], classes=found.classes[found.beats])
