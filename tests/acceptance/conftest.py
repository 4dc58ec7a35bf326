"""What several acceptance tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.cluster import Cluster
from tests.kafka_fixture import require_kafka


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A broker of the test's own."""
    require_kafka()
    made = Cluster(tmp_path / "kafka")
    yield made
    made.kafka.stop()
