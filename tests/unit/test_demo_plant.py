"""The README's example files: made anew alike, with faults that the labels name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monitor.datafiles import read_series
from monitor.demo.plant import DAY, write_example
from monitor.errors import DataError


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("example") / "plant"
    assert len(write_example(path)) == 3
    return path


def test_the_same_files_each_time(directory: Path, tmp_path: Path) -> None:
    write_example(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in directory.iterdir()
    }


def test_what_is_labelled_is_wrong_and_nothing_else(directory: Path) -> None:
    normal = read_series(directory / "normal.csv", channels=("flow", "pressure"))
    labelled = read_series(directory / "labelled.csv", channels=("flow", "pressure"))
    assert len(normal.samples) == 7 * DAY
    assert normal.labels is None
    assert labelled.labels is not None
    anomalous = labelled.labels == 1
    starts = np.flatnonzero(np.diff(labelled.labels) == 1)
    assert len(starts) == 3
    highest = normal.samples[:, 0].max()
    assert labelled.samples[~anomalous, 0].max() < highest + 0.2
    stuck = np.diff(labelled.samples[anomalous, 1]) == 0
    assert stuck.sum() > 190, "a pressure that does not move"
    assert (labelled.samples[anomalous, 0] > highest).any(), "a flow over anything normal"


def test_nothing_is_overwritten(directory: Path) -> None:
    with pytest.raises(DataError, match=r"normal.csv, labelled.csv, lastweek.csv already exists"):
        write_example(directory)
