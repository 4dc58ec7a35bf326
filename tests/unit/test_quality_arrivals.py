"""Late samples and refused records: against counting one by one, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detector.event_time import EventTime
from monitor.detector.windows import Samples
from monitor.errors import Reason
from monitor.processing.checks import WHOLE_SERIES, Problem, QualityRules
from monitor.processing.quality.late_burst import LateBurst
from monitor.processing.quality.schema_mismatch import NOT_MEANT, SchemaMismatch
from monitor.processing.turns import REASONS, Refused, Turn
from tests.helpers import make_artifact, make_columns, make_config, make_processor_at_zero, of_quality, score_all, work
from tests.turns import findings, samples_of, turn_of_windows, turns_of
from tests.unit.test_quality_episodes import naive
from tests.unit.test_quality_flatline import windows_of

NOW_US = 1_764_600_000_000_000
MANIFEST, RULES = make_artifact().manifest, QualityRules()


def late_turns(samples: Samples, cuts: list[int]) -> list[Turn]:
    """As `turns_of`, with the samples that are late dropped."""
    event_time = EventTime(None)
    event_time.grow(8)
    made = []
    for turn in turns_of(samples, cuts):
        assert isinstance(turn.taken, Samples)
        ordered = event_time.order(turn.taken)
        made.append(replace(turn, ordered=ordered, late=None if ordered.dropped is None else ordered.dropped.samples))
    return made


@given(st.data())
def test_late_samples_are_what_counting_finds_however_the_log_is_cut(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count, usual = data.draw(st.integers(1, 2000)), data.draw(st.sampled_from([0.0, 0.04, 0.3]))
    series, time_us = rng.integers(0, 2, count), np.arange(count) * 10
    late = (rng.random(count) < usual) | ((rng.random(count) < 0.8) & (np.arange(count) // 150 % 5 == 4))
    samples = samples_of(series, np.zeros(count), np.where(late, time_us - 10 * count, time_us))
    samples = replace(samples, ties=np.zeros(count, dtype=np.bool_))
    cuts = data.draw(st.lists(st.integers(0, count), max_size=4))
    found = findings(LateBurst(MANIFEST, RULES), late_turns(samples, cuts))
    expected = []
    for row in (0, 1):
        records, newest = np.flatnonzero(series == row), -(2**60)
        dropped = np.zeros(len(records), dtype=np.bool_)
        for at, time in enumerate(samples.time_us[records].tolist()):
            dropped[at], newest = time <= newest, max(time, newest)
        learnt = int(dropped[:500].sum())
        dropped[: 500 if learnt <= 25 else None] = False
        expected += [(int(records[at]), row, what == "wrong") for _, at, what, _ in naive(dropped, (20, 10, 50))]
    assert [(at[0], at[2], at[6] > at[7]) for at in found] == sorted(expected)
    assert {at[3] for at in found} <= {WHOLE_SERIES}


@given(st.data())
def test_refused_records_are_what_counting_finds_however_the_log_is_cut(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count, share = data.draw(st.integers(1, 300)), data.draw(st.sampled_from([0.02, 0.3, 0.9]))
    series = rng.integers(0, 2, count)
    bad = (rng.random(count) < share) & (np.arange(count) // 40 % 3 == 1)
    reason = rng.choice([REASONS.index(each) for each in (Reason.BAD_TIMESTAMP, Reason.EMPTY)], count, p=[0.9, 0.1])
    mark = bad & ~np.isin(reason, [REASONS.index(each) for each in NOT_MEANT])
    samples = samples_of(series, np.where(bad, np.nan, 1.0), hole=bad)
    refused = Refused(series[bad], np.flatnonzero(bad), reason[bad])
    bounds = [0, *sorted(data.draw(st.lists(st.integers(0, count), max_size=4))), count]
    turns = []
    for turn, (first, end) in zip(turns_of(samples, bounds[1:-1]), pairwise(bounds), strict=True):
        part = refused[(refused.offset >= first) & (refused.offset < end)]
        turns.append(replace(turn, course=replace(turn.course, refused=part)))
    found = findings(SchemaMismatch(MANIFEST, RULES), turns)
    expected = []
    for row in (0, 1):
        records = np.flatnonzero((series == row) & (mark | ~bad))
        expected += [(int(records[at]), row, w == "wrong") for _, at, w, _ in naive(mark[records], (10, 10, 10))]
    assert [(at[0], at[2], at[6] > at[7]) for at in found] == sorted(expected)


def test_records_that_are_windows_can_be_refused_but_not_late() -> None:
    turn = turn_of_windows(windows_of(np.zeros((3, 4, 1))))
    refused = Refused(np.zeros(12, dtype=np.int64), np.arange(3, 15), np.full(12, REASONS.index(Reason.WRONG_SHAPE)))
    turn = replace(turn, course=replace(turn.course, refused=refused))
    assert not findings(LateBurst(MANIFEST, RULES), [turn])
    assert [at[0] for at in findings(SchemaMismatch(MANIFEST, RULES), [turn])] == [12]


@pytest.mark.parametrize(
    ("note", "said"), [("", ""), ("wrong_type: flow is null", "; the last as wrong_type: flow is null")]
)
def test_they_say_how_many(note: str, said: str) -> None:
    text = SchemaMismatch(MANIFEST, RULES).describe(Problem("", 10.0, 9.5, float("nan"), 0, 0, note=note))
    assert text == "10 of its records were rejected, with fewer than 10 samples accepted between two" + said
    text = LateBurst(MANIFEST, RULES).describe(Problem("", 20.0, 19.5, 0.02, 0, 0))
    assert text == (
        "20 samples came too late and were dropped, with fewer than 10 in time between two; of its first 500 samples "
        "2 % did (input.grace_ms waits for late ones)"
    )


@pytest.mark.parametrize(
    ("bad", "detail"),
    [
        (b'{"value": "high"}', "wrong_type: value is the text 'high', expected a number"),
        (b'{"valve": 3}', "missing_channel: no channel 'value', and no values"),
        (b'{"ts": 17, "value": 3}', "bad_timestamp: the time is 1970-01-01T00:00:00.017000Z"),
    ],
)
def test_a_series_whose_records_are_all_rejected_is_named_with_the_reason(bad: bytes, detail: str) -> None:
    options = {"start": "earliest", "oldest_time": "2000-01-01T00:00:00Z"}
    processor = make_processor_at_zero(make_config(input=options), make_artifact())
    values = [b'{"value": 0.1}'] * 10 + [bad] * 12 + [b'{"value": 0.1}'] * 12
    stamps = range(NOW_US // 1000 - 1_000_000, NOW_US // 1000, 1_000)
    processor.receive(make_columns(values, timestamps_ms=[*stamps][: len(values)]), NOW_US)
    score_all(processor)
    fired, over = (each.data for each in of_quality(processor.take_outputs()))
    assert (fired.rule, fired.series, fired.status, over.status) == ("schema_mismatch", "a", "firing", "resolved")
    assert f"; the last as {detail}" in fired.summary
    assert over.summary.startswith("a: its records are accepted again, after ")


def test_late_readings_are_judged_where_they_came_however_few_samples_are_taken_at_once() -> None:
    """One reading among twelve samples is of a sample that has left: that is no burst."""
    artifact = make_artifact(length=4, hop=2, channels="xy", threshold=1e6)
    config = make_config(input={"start": "earliest", "partial_records": True}, quality={"flatline": False})
    values: list[bytes | None] = []
    for at in range(1_000):
        values.append(b'{"ts": %d, "x": 0.1, "y": 0.2}' % at)
        if at >= 600 and at % 12 == 0:
            values.append(b'{"ts": %d, "y": 0.3}' % (at - 2))
    for slice_ in (65_536, 40):
        processor = make_processor_at_zero(config, artifact)
        processor._slice = slice_
        work(processor, processor.model.scorer, make_columns(values[:600]))
        processor.receive(make_columns(values[600:], first_offset=600), None)
        score_all(processor)
        assert (of_quality(processor.take_outputs()), processor.counts.samples_late > 0) == ([], True)
