"""Damaged batches anywhere in a log: no window is cut across one, each has one dead letter, whatever else happens.

The oracle shares no code with the online path: it slices what lies between two damaged batches with NumPy.
"""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.backends.local_log import Failure
from tests.helpers import make_artifact, make_config
from tests.property.test_processor import ARTIFACTS, SCORERS, TOPIC, Supervisor

NAME = "short"
ARTIFACT = ARTIFACTS[NAME] = make_artifact(length=4, hop=2, threshold=0.8, batch_rows=8)
SCORER = SCORERS[NAME] = ARTIFACT.scorer()
CONFIG = make_config(
    alerting={"open_after": 1, "close_after": 1, "update_every": 1},
    input={"start": "earliest", "damaged_batches": "skip"},
    limits={"commit_interval_ms": 1},
)
# A sample of a series, or a damaged batch of so many records
Item = tuple[bytes, float] | int


class Damaging(Supervisor):
    def __init__(self, items: list[Item], poll: int) -> None:
        limits = CONFIG.limits.model_copy(update={"max_poll_records": poll})
        super().__init__([], CONFIG.model_copy(update={"limits": limits}), NAME)
        for item in items:
            if isinstance(item, int):
                self.log.append_damaged(TOPIC, 0, item)
            else:
                key, value = item
                self.log.append(TOPIC, 0, key, b'{"value": %.6f}' % value, self.log.topics[TOPIC][0].end)


def expected(items: list[Item]) -> tuple[list[tuple[str, str, int]], list[tuple[int, int]]]:
    """(series, status, offset) of every alert, and the offsets of the damaged batches."""
    offset = segment = 0
    pieces: dict[tuple[bytes, int], list[tuple[int, float]]] = {}
    holes = []
    for item in items:
        if isinstance(item, int):
            holes.append((offset, offset + item - 1))
            segment += 1
            offset += item
        else:
            pieces.setdefault((item[0], segment), []).append((offset, float(b"%.6f" % item[1])))
            offset += 1
    told = []
    for key in sorted({key for key, _ in pieces}):
        is_open = False
        for number in range(segment + 1):
            mine = pieces.get((key, number), [])
            for end in range(4, len(mine) + 1, 2):
                window = np.array([value for _, value in mine[end - 4 : end]], dtype=np.float32)[None, :, None]
                over = bool(SCORER(window)[0] > np.float32(0.8))
                status = ("update" if is_open else "firing") if over else "resolved" if is_open else None
                is_open = over
                if status:
                    told.append((key.decode(), status, mine[end - 1][0]))
    return told, holes


samples = st.tuples(st.sampled_from([b"a", b"b"]), st.sampled_from([0.05, -0.02, 1.7, -2.1]))
streams = st.lists(samples | samples | samples | samples | samples | st.integers(1, 3), max_size=60)
lives = st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.sampled_from([None, "before", "after"])), max_size=3)


@settings(max_examples=60, deadline=None)
@given(streams, lives, st.integers(1, 12), st.integers(1, 5))
def test_no_window_is_cut_across_one(
    items: list[Item], lives: list[tuple[int, bool, Failure | None]], poll: int, checkpoint: int
) -> None:
    supervisor = Damaging(items, poll)
    for turns, crash, fail in lives:
        supervisor.life(turns, crash=crash, fails=[fail] if fail else [], checkpoint_every=checkpoint)
    supervisor.life(None, crash=False, fails=[], checkpoint_every=checkpoint)
    told, holes = expected(items)
    found = [(a.subject, a.data.status, a.data.kafka.last_offset) for a in supervisor.told()]
    assert sorted(found) == sorted(told)
    topic = CONFIG.output.dead_letters
    raw = [value for place in supervisor.log.partitions(topic) for value in supervisor.log.read(*place).values]
    letters = [json.loads(value) for value in raw if value is not None]
    assert sorted((letter["offset"], letter["last_offset"]) for letter in letters) == holes
    assert {letter["reason"] for letter in letters} <= {"corrupt_batch"}
    end = supervisor.log.topics[TOPIC][0].end
    position = supervisor.log.position(CONFIG.kafka.group_id, supervisor.log.partitions(TOPIC)[0])
    assert end == 0 or (position is not None and position.offset == end)
