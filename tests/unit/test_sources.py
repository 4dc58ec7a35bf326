"""What the commands are pointed at, and by which bytes it is known."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from training.datasets import ReadOptions, sources

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


def test_what_is_odd_about_times_is_told_of_a_dozen_series_at_most(tmp_path: Path) -> None:
    rows = "".join(f"{second},{pump},1\n" for pump in range(12) for second in (0, 1, 2, 3, 9))
    (tmp_path / "pumps.csv").write_text("time,pump,v\n" + rows)
    notes: list[str] = []
    sources.read([str(tmp_path / "pumps.csv")], "sliding", ReadOptions(channels=("v",)), notes.append)
    assert any("name them with --series-column" in note for note in notes)
    notes.clear()
    options = ReadOptions(series_column="pump")
    sources.read([str(tmp_path / "pumps.csv")], "sliding", options, notes.append)
    assert [note.split(":")[0] for note in notes] == [*map(str, range(10)), "2 more notes like these"]
    notes.clear()
    sources.read([str(tmp_path / "pumps.csv")], "sliding", options, notes.append, about_contents=False)
    assert not notes


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
