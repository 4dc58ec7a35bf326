"""Alerts against events, counted by hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from monitor.errors import DataError
from training.metrics import events


def marks(drawing: str) -> np.ndarray:
    return np.array([sign not in ". " for sign in drawing])


#                 0         1         2         3
#                 012345678901234567890123456789012
TRUTH = marks("....[=======]..........[====]....")
FLAGGED = marks("..!....!!.!.....!!...............")


def test_runs_and_gaps() -> None:
    assert events.intervals(FLAGGED).tolist() == [[2, 2], [7, 8], [10, 10], [16, 17]]
    assert events.intervals(FLAGGED, gap=2).tolist() == [[2, 2], [7, 10], [16, 17]]
    assert events.intervals(FLAGGED, gap=5).tolist() == [[2, 10], [16, 17]]  # four rows lie between 2 and 7
    assert events.intervals(FLAGGED, gap=4).tolist() == [[2, 2], [7, 10], [16, 17]]
    assert events.intervals(marks("!!.")).tolist() == [[0, 1]]
    assert events.intervals(marks("..!")).tolist() == [[2, 2]]
    assert events.intervals(marks("...")).shape == events.intervals(marks("")).shape == (0, 2)


def test_the_headers_drawing() -> None:
    found = events.report(TRUTH, FLAGGED, merge_gap=2)
    assert (found.events, found.found, found.alerts, found.true_alerts, found.false_alarms) == (2, 1, 3, 1, 2)
    assert (found.precision, found.recall) == (1 / 3, 1 / 2)
    assert found.f1 == pytest.approx(0.4)
    assert found.found_after == (3, None)
    assert found.delay == events.Delays(unit="rows", median=3.0, p90=None, missed=1)
    assert found.normal_rows == 33 - 9 - 6
    assert found.false_alarms_per_1000_rows == pytest.approx(1000 * 2 / 18)
    assert (found.delay_secs, found.normal_days, found.false_alarms_per_day) == (None, None, None)
    assert events.report(TRUTH, FLAGGED).alerts == 4
    assert b"found_after" in msgspec.json.encode(found)


def test_segments_cut_nothing_and_pool_to_the_whole() -> None:
    parts = events.segments(TRUTH, FLAGGED, starts=np.array([0, 6, 16, 25]), merge_gap=2)
    # the first event, rows 4 to 12, and its delay belong to where it begins; the alert in it begins in the next stretch
    assert [part.found_after for part in parts] == [(3,), (), (None,), ()]
    assert [(part.alerts, part.true_alerts) for part in parts] == [(1, 0), (1, 1), (1, 0), (0, 0)]
    assert [part.normal_rows for part in parts] == [4, 3, 7, 4]
    assert events.pool(parts) == events.report(TRUTH, FLAGGED, merge_gap=2)


def test_alerts_may_be_given() -> None:
    found = events.report(TRUTH, FLAGGED, alerts=np.array([[2, 10], [16, 17]]))
    assert (found.alerts, found.true_alerts, found.found_after) == (2, 1, (3, None))


def test_times_give_seconds_and_days() -> None:
    minutes = np.arange(33) * 60.0
    minutes[20:] += 1e6  # a gap of days that nobody watched
    found = events.report(TRUTH, FLAGGED, merge_gap=2, times_secs=minutes)
    assert found.found_after_secs == (180.0, None)
    assert found.delay_secs == events.Delays(unit="seconds", median=180.0, p90=None, missed=1)
    assert found.normal_days == pytest.approx(18 / 1440)
    assert found.false_alarms_per_day == pytest.approx(2 / (18 / 1440))


def test_a_clock_coarser_than_the_rows_gives_the_time_that_passed() -> None:
    """Four rows a second in whole seconds: the median step is 0."""
    found = events.report(TRUTH, FLAGGED, times_secs=np.floor(np.arange(33) / 4))
    assert found.normal_days == pytest.approx(18 * (8 / 32) / 86_400)
    gap = np.concatenate([np.floor(np.arange(20) / 4), 1e6 + np.floor(np.arange(13) / 4)])
    found = events.report(TRUTH, FLAGGED, times_secs=gap)
    assert found.normal_days == pytest.approx(18 * (8 / 32) / 86_400), "a gap is a step like others"


def test_a_step_back_in_time_is_no_negative_delay() -> None:
    times = np.arange(33) * 60.0
    times[7:] -= 3600.0
    assert events.report(TRUTH, FLAGGED, times_secs=times).found_after_secs == (0.0, None)


def test_times_that_do_not_run_forward_give_no_days() -> None:
    found = events.report(TRUTH, FLAGGED, times_secs=-60.0 * np.arange(33))
    assert (found.normal_days, found.false_alarms_per_day) == (0.0, None)
    holed = np.arange(33) * 60.0
    holed[3] = np.nan
    with pytest.raises(DataError, match="1 rows have no time"):
        events.report(TRUTH, FLAGGED, times_secs=holed)


def test_rows_between_flags_find_nothing() -> None:
    # merged into one alert over the event, but no flag in it
    found = events.report(marks("...[]..."), marks("..!..!.."), merge_gap=3)
    assert (found.alerts, found.true_alerts, found.found, found.found_after) == (1, 0, 0, (None,))


def test_a_tolerance_ends_where_the_next_event_begins() -> None:
    truth, flagged = marks(".[]...[]...."), marks("...!......!.")
    assert events.report(truth, flagged).found == 0
    assert events.report(truth, flagged, tolerance=1).found_after == (2, None)
    found = events.report(truth, flagged, tolerance=3)
    assert (found.found_after, found.false_alarms, found.normal_rows) == ((2, 4), 0, 2)
    late = events.report(marks(".[]..[]"), marks(".....!!"), tolerance=9)
    assert (late.found_after, late.true_alerts, late.normal_rows) == ((None, 0), 1, 1)


def test_an_alert_may_touch_two_events_and_an_event_two_alerts() -> None:
    found = events.report(marks("[].[].[====]"), marks("!!!!..!.!..."))
    assert (found.events, found.found, found.alerts, found.true_alerts) == (3, 3, 3, 3)
    assert found.f1 == 1.0


@pytest.mark.parametrize(
    ("after", "median", "p90"),
    [
        ((), None, None),
        ((5,), 5, 5),
        ((None,), None, None),
        ((1, 2), 1, 2),
        ((1, 2, None), 2, None),
        ((1, None, None), None, None),
        ((9, 8, 7, 6, 5, 4, 3, 2, 1, None), 5, 9),  # nine tenths were found within 9 rows
    ],
)
def test_delays_count_misses_as_the_longest(
    after: tuple[int | None, ...], median: float | None, p90: float | None
) -> None:
    found = events.delays(after, "rows")
    assert (found.median, found.p90, found.missed) == (median, p90, sum(each is None for each in after))


def test_what_can_not_be_computed_is_none() -> None:
    nothing = np.zeros(5, np.bool_)
    found = events.report(nothing, nothing, times_secs=np.arange(5.0))
    assert (found.precision, found.recall, found.f1) == (None, None, None)
    assert found.false_alarms_per_day == 0.0
    quiet = events.report(marks(".[]."), marks("...."))
    assert (quiet.precision, quiet.recall, quiet.f1) == (None, 0.0, 0.0)
    assert events.report(marks("[]"), marks("!.")).false_alarms_per_1000_rows is None
    empty = events.report(nothing[:0], nothing[:0], times_secs=np.zeros(0))
    assert (empty.events, empty.false_alarms_per_day) == (0, None)


def test_pooled_series_add_up() -> None:
    minutes = np.arange(33) * 60.0
    first = events.report(TRUTH, FLAGGED, merge_gap=2, times_secs=minutes)
    second = events.report(TRUTH[:20], TRUTH[:20], merge_gap=2, times_secs=minutes[:20])
    both = events.pool([first, second])
    assert both is not None
    assert (both.events, both.found, both.alerts, both.true_alerts) == (3, 2, 4, 2)
    assert both.found_after == (3, None, 0)
    assert both.delay == events.Delays(unit="rows", median=3.0, p90=None, missed=1)
    assert both.false_alarms_per_day == pytest.approx(2 / ((18 + 11) / 1440))
    assert events.pool([]) is None
    assert events.pool([first]) == first
    with pytest.raises(DataError, match="different rules"):
        events.pool([first, events.report(TRUTH, FLAGGED, merge_gap=2)])


def test_arrays_of_other_rows_are_refused() -> None:
    with pytest.raises(DataError, match="same rows"):
        events.report(TRUTH, FLAGGED[:-1])
    with pytest.raises(DataError, match="same rows"):
        events.report(TRUTH, FLAGGED, times_secs=np.arange(3.0))
