"""What checks are handed: the same in all, however a log is cut into polls and slices."""

from __future__ import annotations

import numpy as np
import pytest

from monitor import extensions
from monitor.backends.abstract import Damaged, RecordColumns
from monitor.detector.memory import Memory
from monitor.detector.windows import Samples, Windows
from monitor.errors import Reason
from monitor.formats.decoder import Rejected
from monitor.processing.checks import Findings, QualityRules
from monitor.processing.turns import REASONS, Refused, Turn
from tests.helpers import INPUT, make_artifact, make_columns, make_config, make_processor_at_zero, work
from tests.toys.flatline import Flatline

ARTIFACT = make_artifact(length=6, hop=2, threshold=1e6, channels=("x", "y"))
RECORDS = make_artifact(kind="record", length=2, threshold=1e6)
SEEN: list[Turn] = []


class Watcher(Flatline):
    """Remembers what it is handed."""

    def take(self, turn: Turn, memory: Memory) -> Findings | None:
        SEEN.append(turn)
        return super().take(turn, memory)


@pytest.fixture(autouse=True)
def _watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extensions, "CHECKS", {"watcher": f"{__name__}:Watcher"})
    SEEN.clear()


def sample(ts: int, x: float = 0.5) -> bytes:
    return b'{"ts": %d, "x": %f, "y": null}' % (ts, x)


VALUES = [sample(1), sample(3), b"junk", sample(9), sample(2), sample(4), sample(9), b'{"ts": 12, "x": 1}', sample(13)]
KEYS = [b"a", b"a", b"a", b"b", b"a", b"a", b"b", b"b", b"nobody yet"]


def handed(slice_: int, *cuts: int) -> dict[str, list[object]]:
    """All that was handed over, in log order."""
    processor = make_processor_at_zero(make_config(input={"start": "earliest"}), ARTIFACT)
    processor._slice = slice_
    for first, end in zip([0, *cuts], [*cuts, len(VALUES)], strict=True):
        columns = make_columns(VALUES[first:end], keys=KEYS[first:end], first_offset=first)
        work(processor, processor.model.scorer, columns)
    found: dict[str, list[object]] = {"taken": [], "ordered": [], "late": [], "steps": [], "refused": []}
    for turn in SEEN:
        assert turn.ordered is not None
        assert isinstance(turn.taken, Samples)
        found["taken"] += zip(turn.taken.series.tolist(), turn.taken.offset.tolist(), turn.at_us.tolist(), strict=True)
        samples = turn.ordered.samples
        found["ordered"] += sorted(zip(samples.offset.tolist(), samples.series.tolist(), strict=True))
        found["late"] += sorted(turn.late.offset.tolist()) if turn.late is not None else []
        reached, refused = turn.course.reached, turn.course.refused
        found["steps"] += zip(reached.positions.tolist(), reached.newest_us[1:].tolist(), strict=True)
        reasons = [REASONS[each] for each in refused.reason]
        found["refused"] += zip(refused.series.tolist(), refused.offset.tolist(), reasons, strict=True)
    SEEN.clear()
    return found


def test_a_turn_says_what_arrived_when_and_what_became_of_it() -> None:
    found = handed(65_536)
    us = [1000, 3000, 3000, 9000, 9000, 9000, 9000, 9000, 13_000]
    assert found["taken"] == [(r, o, us[o]) for o, r in enumerate([0, 0, 0, 1, 0, 0, 1, 1, 2])]
    assert found["ordered"] == [(0, 0), (1, 0), (2, 0), (3, 1), (5, 0), (7, 1), (8, 2)]
    assert found["late"] == [4], "6 came before"
    assert found["steps"] == [(o, us[o]) for o in (0, 1, 3, 4, 5, 6, 8)]
    assert found["refused"] == [(0, 2, Reason.MALFORMED), (1, 7, Reason.MISSING_CHANNEL)]


@pytest.mark.parametrize("cuts", [(), (1,), (2, 3), (4, 5, 6), tuple(range(1, 9))])
@pytest.mark.parametrize("slice_", [1, 2, 5])
def test_turns_are_the_same_in_all(slice_: int, cuts: tuple[int, ...]) -> None:
    whole = handed(65_536)
    assert handed(slice_, *cuts) == whole


def test_a_damaged_batch_is_a_turn_of_its_own() -> None:
    processor = make_processor_at_zero(make_config(input={"start": "earliest", "damaged_batches": "skip"}), ARTIFACT)
    work(processor, processor.model.scorer, make_columns([sample(1)]))
    damaged = Damaged(
        first_offset=1, next_offset=3, size=99, records=2, reason=Reason.CORRUPT_BATCH, detail="CRC differs"
    )
    work(processor, processor.model.scorer, RecordColumns.skipping(INPUT, damaged))
    first, *_, last = [(turn.damaged, len(turn.taken)) for turn in SEEN]  # between them, what waited is let out
    assert (first, last) == ((False, 1), (True, 0))


def test_records_that_are_windows_are_handed_over_as_they_are() -> None:
    processor = make_processor_at_zero(make_config(input={"start": "earliest"}), RECORDS)
    work(processor, processor.model.scorer, make_columns([b"[1, 2]", b"[3]", b"[4, 5]"]))
    (turn,) = SEEN
    assert isinstance(turn.taken, Windows)
    assert (turn.ordered, turn.late) == (None, None)
    assert turn.taken.values[..., 0].tolist() == [[1, 2], [4, 5]]
    assert (turn.at_us.tolist(), turn.taken.offset.tolist()) == ([0, 2000], [0, 2])
    assert [(int(turn.course.refused.series[0]), REASONS[turn.course.refused.reason[0]])] == [(0, Reason.WRONG_SHAPE)]


def test_a_rule_is_switched_off_by_the_field_of_its_name() -> None:
    assert QualityRules().no_data
    config = make_config(quality={"no_data": False})
    assert not config.quality.no_data


def test_a_refused_record_is_there_once_for_each_series_that_it_names() -> None:
    rejected = [Rejected(2, Reason.MALFORMED, ""), Rejected(4, Reason.WRONG_TYPE, ""), Rejected(5, Reason.EMPTY, "")]
    rows, series = np.array([2, 4, 4, 4, 4, 5]), np.array([7, 3, 1, 3, -1, -1])
    refused = Refused.of(rejected, rows, series, rows + 100)
    found = list(zip(refused.series.tolist(), refused.offset.tolist(), refused.reason.tolist(), strict=True))
    malformed, wrong_type = REASONS.index(Reason.MALFORMED), REASONS.index(Reason.WRONG_TYPE)
    assert found == [(7, 102, malformed), (3, 104, wrong_type), (1, 104, wrong_type)]
    assert len(Refused.of([], rows[:0], series[:0], rows[:0])) == 0
