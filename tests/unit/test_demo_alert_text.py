"""What a person reads about an alert."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from monitor.demo.alert_text import BLOCKS, CELLS, clock, describe, sparklines
from monitor.demo.findings import Incidents, PlantedInterval
from monitor.messages.alerts import Contributor
from tests.unit.test_demo_findings import START_US, make_alert

PLANTED = (PlantedInterval(series="a", start_us=START_US + 1_200_000, stop_us=START_US + 2_000_000),)


@pytest.mark.parametrize(
    ("since_us", "text"), [(0, "0:00.0"), (99_999, "0:00.0"), (59_999_999, "0:59.9"), (3_723_450_000, "62:03.4")]
)
def test_the_clock(since_us: int, text: str) -> None:
    assert clock(since_us) == text


def test_a_firing_alert_names_the_planted_interval() -> None:
    alert = make_alert("firing", started_s=1.0, end_s=1.6)
    shown = describe(
        alert, Incidents().take(alert), PLANTED, start_us=START_US, slack_us=0, planted_as="premature beat"
    )  # fmt: skip
    assert (shown.at, shown.series, shown.status, shown.right) == ("0:01.6", "a", "firing", True)
    assert shown.truth == "premature beat at 0:01.2"
    assert shown.text == "2.0x the threshold"
    assert not shown.observed


def test_a_false_one_says_so() -> None:
    alert = make_alert("firing", started_s=3.0, end_s=3.6)
    shown = describe(
        alert, Incidents().take(alert), PLANTED, start_us=START_US, slack_us=0, planted_as="premature beat"
    )
    assert (shown.right, shown.truth) == (False, "no premature beat there")


def test_a_resolution_sums_up_and_is_neither_right_nor_wrong() -> None:
    alert = make_alert("resolved", started_s=1.0, end_s=4.0, ended_s=2.5)
    shown = describe(
        alert, Incidents().take(alert), PLANTED, start_us=START_US, slack_us=0, planted_as="premature beat"
    )
    assert (shown.right, shown.truth) == (None, "")
    assert shown.text == "after 1.5 s: 2 windows over the threshold, peak 2.5x"


def test_the_worst_sample_is_named_if_the_alert_has_the_window() -> None:
    alert = make_alert("firing", started_s=1.0, end_s=1.6)
    values = [[0.0], [0.1], [0.9], [-0.2], [5.0]]
    expected = [[0.0], [0.1], [0.1], [0.6], [0.0]]
    window = msgspec.structs.replace(alert.data.window, values=values, reconstruction=expected)
    part = Contributor(channel="ecg_mv", first=1, last=3, share=0.5, observed=0.27, expected=0.27)
    data = msgspec.structs.replace(alert.data, window=window, contributors=[part])
    shown = describe(
        msgspec.structs.replace(alert, data=data), Incidents().take(alert), PLANTED,
        start_us=START_US, slack_us=0, planted_as="premature beat",
    )  # fmt: skip
    assert shown.text == "2.0x the threshold; worst: ecg_mv +0.90, expected +0.10 (in samples 1-3)"
    assert len(shown.observed) == len(shown.expected) == len(values)


def test_a_narrow_peak_stays_in_the_sparkline() -> None:
    wave = np.zeros((64, 1))
    wave[31] = 1.0
    flat = np.zeros((64, 1))
    observed, expected = sparklines(wave.tolist(), flat.tolist())
    assert len(observed) == CELLS
    assert observed.count(BLOCKS[-1]) == 1
    assert set(expected) == {BLOCKS[0]}


def test_a_flat_line_has_a_sparkline_too() -> None:
    assert sparklines([[1.0]] * 4, [[1.0]] * 4) == (BLOCKS[0] * 4, BLOCKS[0] * 4)
