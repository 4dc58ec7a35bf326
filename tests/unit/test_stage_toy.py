"""Another stage that alerts go through is a file, and a row of `extensions.STAGES`. The toy is tests/toys/night.py."""

from __future__ import annotations

import json

import pytest
from prometheus_client import generate_latest

from monitor import extensions
from monitor.backends.abstract import RecordColumns
from monitor.messages import alerts
from monitor.messages.alerts import Alert
from monitor.processing.outbox import Outputs
from monitor.processing.processor import Processor
from monitor.serving.telemetry import Telemetry, Vitals
from tests.helpers import INPUT, make_artifact, make_columns, make_config, make_processor_at_zero, of_score, score_all

ARTIFACT = make_artifact(length=2, hop=2, threshold=1.0)
HOUR_MS = 3_600_000
CONFIG = make_config(input={"start": "earliest"}, alerting={"close_after": 1, "update_every": 2, "error_ratio": 4.0})


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extensions.STAGES, "night", "tests.toys.night:night")


def windows(*values: float, first_hour: int) -> RecordColumns:
    """A window every half an hour, of two samples that are the same."""
    times_ms = [first_hour * HOUR_MS + at * HOUR_MS // 4 for at in range(2 * len(values))]
    raw = [json.dumps({"value": value}).encode() for value in values for _ in range(2)]
    return make_columns(raw, timestamps_ms=times_ms)


def decided(*polls: RecordColumns, max_series: int = 10) -> tuple[Processor, Outputs]:
    source = {"start": "earliest", "max_series": max_series, "max_future_ms": 24 * HOUR_MS}
    processor = make_processor_at_zero(CONFIG.model_copy(update={"input": make_config(input=source).input}), ARTIFACT)
    for columns in polls:
        processor.receive(columns)
        score_all(processor)
    return processor, processor.take_outputs([INPUT])


def said(found: list[Alert]) -> list[tuple[str, str, str]]:
    return [(each.data.status, each.data.severity, each.time[11:16]) for each in found]


# A warning from 5:15 on, which is reported again when the night is over, and well again at 7:15
LOG = windows(3.0, 3.0, 3.0, 3.0, 0.1, first_hour=5)


def test_without_a_stage_every_alert_is_published() -> None:
    _, outputs = decided(LOG)
    assert said(of_score(outputs)) == [
        ("firing", "warning", "05:15"),
        ("update", "warning", "06:15"),
        ("resolved", "info", "07:15"),
    ]


def test_an_alert_that_is_held_back_is_counted_and_its_incident_lives_on(registered: None) -> None:
    processor, outputs = decided(LOG)
    assert said(of_score(outputs)) == [("update", "warning", "06:15"), ("resolved", "info", "07:15")]
    assert dict(processor.counts.suppressed) == {("night", "asleep"): 1}
    telemetry = Telemetry(Vitals(), lambda: processor.counts, {}, 1.0)
    sample = b'telltale_alerts_suppressed_total{reason="asleep",stage="night"} 1.0'
    assert sample in generate_latest(telemetry.registry)


def test_what_is_published_is_what_it_would_have_been(registered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes and state, whatever was held back before."""
    _, outputs = decided(LOG)
    monkeypatch.delitem(extensions.STAGES, "night")
    _, others = decided(LOG)
    assert [*map(alerts.encode, outputs.alerts)] == [*map(alerts.encode, others.alerts)][1:]
    assert (outputs.state, outputs.checkpoints) == (others.state, others.checkpoints)


def test_it_may_add_to_an_alert(registered: None) -> None:
    _, outputs = decided(windows(9.0, 0.1, first_hour=2))
    (alert,) = outputs.alerts
    assert (alert.data.severity, alert.data.summary.endswith(" (at night)")) == ("critical", True)


def test_alerts_without_a_window_go_through_it(registered: None) -> None:
    """Series `a` is forgotten for `b`, at night."""
    other = make_columns([b'{"value": 0.1}'], keys=[b"b"], timestamps_ms=[3 * HOUR_MS], first_offset=4)
    processor, outputs = decided(windows(9.0, 9.0, first_hour=2), other, max_series=1)
    assert said(of_score(outputs)) == [("firing", "critical", "02:15")]
    assert processor.counts.suppressed["night", "asleep"] == 1


def test_the_first_that_holds_an_alert_back_has_the_last_word(
    registered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(extensions.STAGES, "never", "tests.toys.night:never")
    processor, outputs = decided(LOG)
    assert outputs.alerts == []
    assert dict(processor.counts.suppressed) == {("night", "asleep"): 1, ("never", "never"): 2}
