"""Verdicts, and the life of an incident: by tables, and against a small model of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detector.decision import Incident, Policy, Status, Verdict, decide, step

N, A, U = Verdict.NORMAL, Verdict.ANOMALY, Verdict.UNSCORABLE
WORDS = {"N": N, "A": A, "U": U}
LETTERS = {None: ".", Status.FIRING: "F", Status.UPDATE: "u", Status.RESOLVED: "R"}


def test_a_nan_score_is_unscorable_and_never_normal() -> None:
    scores = np.float32([0, 1, np.nan, -np.nan, np.inf, 3.4e38])
    assert decide(scores, 0.5).tolist() == [N, A, U, U, A, A]
    assert decide(np.float32([np.nan] * 3), 1e30).tolist() == [U, U, U]
    assert decide(np.empty(0, np.float32), 1.0).tolist() == []


def test_the_line_itself_is_normal() -> None:
    line = np.float32(0.3)
    scores = np.array([np.nextafter(line, np.float32(0)), line, np.nextafter(line, np.float32(1))])
    assert scores.dtype == np.float32
    assert decide(scores, float(line)).tolist() == [N, N, A]


@given(st.floats(1e-30, 1e30))
def test_the_line_is_the_threshold_in_float32(threshold: float) -> None:
    line = np.float32(threshold)
    above, below = np.nextafter(line, np.float32(np.inf)), np.nextafter(line, np.float32(0))
    scores = np.array([below, line, above], dtype=np.float32)
    # in float64 the middle one would be over a threshold that float32 rounds up
    assert decide(scores, threshold).tolist() == [N, N, A]
    assert float(above) / threshold > 1.0, "an anomaly's ratio is always over 1"


@given(st.lists(st.floats(width=32), max_size=20), st.floats(1e-6, 1e6))
def test_every_score_has_the_verdict_of_its_own_comparison(scores: list[float], threshold: float) -> None:
    expected = [U if math.isnan(s) else A if np.float32(s) > np.float32(threshold) else N for s in scores]
    assert decide(np.array(scores, np.float32), threshold).tolist() == expected


def life(windows: str, policy: Policy) -> tuple[str, Incident]:
    """The statuses of a row of windows, as the processor drives an incident."""
    incident, told = Incident(), ""
    for place, letter in enumerate(windows):
        status = step(incident, WORDS[letter], 2.0 + place, place * 10, place * 10 + 9, policy)
        told += LETTERS[status]
        if status is Status.FIRING:
            incident.fingerprint = f"f{place}"
        if status is Status.RESOLVED:
            incident = Incident()
    return told, incident


@pytest.mark.parametrize(
    ("policy", "windows", "expected"),
    [
        # open_after 1, close_after 3
        ((1, 3, 0), "NNANNN", "..F..R"),
        ((1, 3, 0), "ANNANNN", "F.....R"),
        ((1, 3, 0), "AAAANNNA", "F.....RF"),
        ((1, 1, 0), "ANAN", "FRFR"),
        # m in a row
        ((3, 1, 0), "AANAAAN", ".....FR"),
        ((2, 2, 0), "ANAANNAA", "...F.R.F"),
        # UNSCORABLE neither opens nor closes, and does not break a row
        ((2, 2, 0), "AUAUNUN", "..F...R"),
        ((1, 2, 0), "UUUU", "...."),
        ((1, 2, 0), "AUUUUUUNN", "F.......R"),
        ((2, 1, 0), "AUUUNA", "......"),
        # updates: every 2nd window after the last word, over or under, UNSCORABLE not counted
        ((1, 3, 2), "AAAAAA", "F.u.u."),
        ((1, 3, 2), "AANNN", "F.u.R"),
        ((1, 9, 2), "ANNNN", "F.u.u"),
        ((1, 3, 2), "AUAUAUA", "F...u.."),
        ((1, 3, 1), "AAANNN", "FuuuuR"),
        ((2, 1, 1), "AAAN", ".FuR"),
        # the window that closes says so, not that it lasts
        ((1, 2, 2), "ANN", "F.R"),
        ((1, 3, 0), "A" * 50, "F" + "." * 49),
    ],
)
def test_the_life_of_an_incident(policy: tuple[int, int, int], windows: str, expected: str) -> None:
    open_after, close_after, update_every = policy
    rules = Policy(open_after=open_after, close_after=close_after, update_every=update_every)
    assert life(windows, rules)[0] == expected


def test_what_an_incident_remembers() -> None:
    _, incident = life("NAUAN", Policy(open_after=2, close_after=9))
    assert incident == Incident(
        over=2, under=1, quiet=1, fingerprint="f3", started_us=10, ended_us=39, windows=2, peak_ratio=5.0
    )
    assert incident.open
    assert not incident.at_rest
    assert life("AN", Policy(open_after=2))[1] == Incident()
    assert life("A", Policy(open_after=2))[1].at_rest is False, "half a row of windows must survive a restart"


policies = st.builds(
    Policy, open_after=st.integers(1, 4), close_after=st.integers(1, 4), update_every=st.integers(0, 4)
)


@given(st.text("NAU", max_size=60), policies)
def test_any_life(windows: str, policy: Policy) -> None:
    told, _ = life(windows, policy)
    words = told.replace(".", "")
    assert words.replace("u", "").replace("FR", "").removesuffix("F") == "", "firing and resolved alternate"
    assert not words.startswith("u")
    assert "Ru" not in words, "updates only while it is open"
    if not policy.update_every:
        assert "u" not in words
    for window, word in zip(windows, told, strict=True):
        assert word == "." or window != "U", "an unscorable window says nothing"
        assert word != "F" or window == "A"
        assert word != "R" or window == "N"
    # taking the unscorable windows out changes nothing
    scorable = "".join(word for window, word in zip(windows, told, strict=True) if window != "U")
    assert life(windows.replace("U", ""), policy)[0] == scorable


@given(st.text("NAU", max_size=40), policies)
def test_windows_peak_and_times_of_any_life(windows: str, policy: Policy) -> None:
    incident, begun = Incident(), None
    for place, letter in enumerate(windows):
        ratio = 1.0 + (place * 7) % 13
        status = step(incident, WORDS[letter], ratio, place * 10, place * 10 + 9, policy)
        if status is Status.FIRING:
            incident.fingerprint = "f"
        if letter == "A":
            begun = [*(begun or []), (place, ratio)]
        elif letter == "N" and not incident.open:
            begun = None
        if begun:
            assert incident.windows == len(begun)
            assert incident.peak_ratio == max(ratio for _, ratio in begun)
            assert (incident.started_us, incident.ended_us) == (begun[0][0] * 10, begun[-1][0] * 10 + 9)
        else:
            assert incident == Incident()
            assert incident.at_rest
        if status is Status.RESOLVED:
            incident, begun = Incident(), None
