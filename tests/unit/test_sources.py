"""What the commands are pointed at, and by which bytes it is known."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from training import sources
from training.datasets import ReadOptions

HEADER = "r 1 360 4\nr.dat 16\n"


def test_a_record_is_known_by_its_numbers_however_it_is_named(tmp_path: Path) -> None:
    """Two records with one header's bytes are two sources."""
    digests = []
    for at in range(2):
        folder = tmp_path / str(at)
        folder.mkdir()
        (folder / "r.hea").write_text(HEADER)
        np.arange(at, at + 4, dtype="<i2").tofile(folder / "r.dat")
        found = [
            sources.read([str(folder / name)], "sliding", ReadOptions(), lambda _: None)[1][0].sha256
            for name in ("r", "r.hea", "r.dat")
        ]
        assert len(set(found)) == 1
        digests.append(found[0])
    assert digests[0] != digests[1]


def test_series_of_one_name_and_files_of_equal_bytes_are_told(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "1.csv").write_text("v\n1\n2\n")
    shutil.copy(tmp_path / "a" / "1.csv", tmp_path / "b" / "1.csv")
    notes: list[str] = []
    tables, origins = sources.read(
        [str(tmp_path / "a" / "1.csv"), str(tmp_path / "b" / "1.csv")], "sliding", ReadOptions(), notes.append
    )
    assert (len(tables), len(origins)) == (2, 2)
    assert notes[0].startswith("1.csv is the same as 1.csv")
    assert notes[1].startswith("series in several files each: 1 (1 in all);")
