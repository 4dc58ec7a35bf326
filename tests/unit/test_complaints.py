"""What is said of bad input: the first at once, then a line a minute and reason, nothing uncounted."""

from __future__ import annotations

import json

from monitor.processing.counts import Counts
from monitor.serving.complaints import EVERY_S, Complaints
from tests.helpers import INPUT, make_artifact, make_columns, make_config, make_processor_at_zero, work

ARTIFACT = make_artifact(length=4, hop=2, threshold=0.8)
SCORER = ARTIFACT.scorer()


def sample(value: float | None) -> bytes:
    return json.dumps({"value": value}).encode()


def counted(*values: bytes, stamps: list[int] | None = None) -> Counts:
    processor = make_processor_at_zero(make_config(input={"start": "earliest"}), ARTIFACT)
    work(processor, SCORER, make_columns(values, first_offset=100, timestamps_ms=stamps))
    return processor.counts


def test_a_line_a_minute_and_reason_with_counts_and_the_newest_example() -> None:
    complaints = Complaints()
    processor = make_processor_at_zero(make_config(input={"start": "earliest"}), ARTIFACT)
    said = []
    for second in range(180):
        values = [b"{", sample(0.1), b'{"other": 1}']
        processor.receive(make_columns(values, first_offset=3 * second))
        said += [(second, line) for line in complaints.due(processor.counts, float(second))]
    assert [(second, line.fields["reason"], line.fields["count"]) for second, line in said] == [
        (second, reason, count)
        for second, count in ((0, 1), (60, 60), (120, 60))
        for reason in ("malformed", "missing_channel")
    ]
    fields = said[2][1].fields
    assert (fields["topic"], fields["partition"], fields["offset"]) == (*INPUT, 180)
    assert fields["detail"]
    last = complaints.due(processor.counts, 180.0 - EVERY_S, last=True)
    assert [(line.fields["reason"], line.fields["count"]) for line in last] == [
        ("malformed", 59),
        ("missing_channel", 59),
    ], "at the end nothing is left unsaid"
    assert complaints.due(processor.counts, 1e9) == []


def test_late_samples_and_unscorable_windows_name_their_series_and_offset() -> None:
    stamps = [1_700_000_000_000 + 1000 * step for step in (0, 2, 4, 6, 3, 8, 10)]  # of the records
    numbers = [0.1, 0.1, None, 0.1, 0.1, 0.1, 0.1]
    counts = counted(*map(sample, numbers), stamps=stamps)
    lines = {line.fields["reason"]: line for line in Complaints().due(counts, 0.0)}
    assert lines.keys() == {"late", "unscorable"}
    assert (lines["late"].fields["count"], lines["late"].fields["offset"]) == (1, 104)
    assert lines["late"].fields["detail"] == "series 'a'"
    assert (lines["unscorable"].fields["count"], lines["unscorable"].fields["offset"]) == (2, 106)
    assert lines["unscorable"].fields["detail"] == "series 'a': 25% of the window ending here is missing"


def test_samples_that_come_twice_are_said_apart_from_late_ones() -> None:
    stamps = [1_700_000_000_000 + 1000 * step for step in (0, 1, 2, 3, 2, 2, 4)]
    (line,) = Complaints().due(counted(*map(sample, [0.1] * 7), stamps=stamps), 0.0)
    assert (line.fields["reason"], line.fields["count"]) == ("duplicate", 2)


def test_good_input_is_not_complained_of() -> None:
    assert Complaints().due(counted(*map(sample, [0.1] * 20)), 0.0) == []
