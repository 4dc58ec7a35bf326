"""The benchmark of a fleet of which a tenth goes silent, with 2,000 devices: each is named in time, in one message."""

from __future__ import annotations

import pytest

from tests.benchmarks.silent_fleet import EVERY, run

DEVICES = 2_000
SILENT = set(range(0, DEVICES, EVERY))


@pytest.mark.parametrize("lost", [0.0, 0.01])
def test_each_is_named_within_its_time_in_one_digest_and_resolved(lost: float) -> None:
    found = run(DEVICES, lost)
    assert found.named.keys() == found.resolved.keys() == SILENT
    assert len(found.periods) == len(SILENT)
    assert 10 < found.periods.min() < found.periods.max() < 12.5
    assert found.messages["digests", "firing"] == 1
    assert found.messages["alerts", "firing"] == 0
    assert sum(found.messages.values()) <= (2 if not lost else 5)
