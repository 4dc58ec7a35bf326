"""What several files of unit tests need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import Written


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "data"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
