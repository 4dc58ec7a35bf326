"""ECG5000 as the benchmarks use it: all beats, those that were set aside before anything was tuned, and the others."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from monitor.datafiles import WindowTable, read_windows

HOLDOUT = Path(__file__).parent / "ecg5000_holdout.txt"
FILES = ("ECG5000_TRAIN.txt", "ECG5000_TEST.txt.gz")


def read(directory: Path) -> WindowTable:
    """All 5,000 beats; class 1 is normal. Raises `DataError` where a file is missing."""
    tables = [read_windows(directory / name, label_column="first") for name in FILES]
    labels = [table.labels for table in tables if table.labels is not None]
    return replace(
        tables[0], windows=np.concatenate([table.windows for table in tables]), labels=np.concatenate(labels)
    )


def part(table: WindowTable, *, held_out: bool) -> WindowTable:
    """The 1,000 beats set aside, or the 4,000 others."""
    aside = {line for line in HOLDOUT.read_text().splitlines() if line and not line.startswith("#")}
    chosen = np.array([_name(beat) in aside for beat in table.windows]) == held_out
    assert table.labels is not None
    if held_out and int(chosen.sum()) != len(aside):
        raise ValueError(f"{int(chosen.sum())} of {len(aside)} beats set aside are in the data: it is not ECG5000")
    return replace(table, windows=table.windows[chosen], labels=table.labels[chosen])


def _name(beat: np.ndarray) -> str:
    return hashlib.sha256(beat.astype("<f4").tobytes()).hexdigest()[:16]
