"""The TensorFlow tutorial's results on ECG5000 hold here, as means over ten splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import tutorial


@pytest.mark.data
def test_means_over_ten_splits_are_the_tutorials(data_directory: Path) -> None:
    directory = data_directory / "ecg5000"
    if not directory.is_dir():
        pytest.skip(f"ECG5000 is not at {directory}")
    tables = tutorial.read(directory)
    mean, spread = tutorial.means([tutorial.run(tables, seed) for seed in range(10)])
    for name, (want, band) in tutorial.TUTORIAL.items():
        found = getattr(mean, name)
        assert abs(found - want) <= band, f"{name} {found:.4f} +- {getattr(spread, name):.4f}, tutorial {want}"
    assert mean.auroc > 0.94
