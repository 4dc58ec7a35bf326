"""The life of an incident: by tables, against a small model of its own, and the same policy over arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from monitor.config.options import AlertingOptions
from monitor.detector.decision import Verdict, decide
from monitor.detector.incidents import Incident, Policy, Status, openings, step, steps

WORDS = {"N": Verdict.NORMAL, "A": Verdict.ANOMALY, "U": Verdict.UNSCORABLE}
LETTERS = {None: ".", Status.FIRING: "F", Status.UPDATE: "u", Status.RESOLVED: "R"}
# A field without its numbers here is not covered: `test_every_field_of_the_policy_is_covered`.
NUMBERS = {"open_after": st.integers(1, 5), "close_after": st.integers(1, 5), "update_every": st.integers(0, 4)}
# What else [alerting] has: it says how an alert looks, or moves the threshold.
LOOKS = {"error_ratio", "critical_ratio", "include_window", "follow", "relearn_after_ms"}


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
    assert incident.active
    assert life("AN", Policy(open_after=2))[1] == Incident()
    assert life("A", Policy(open_after=2))[1].active is True, "half a row of windows must survive a restart"


policies = st.builds(Policy, **NUMBERS)


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
            assert not incident.active
        if status is Status.RESOLVED:
            incident, begun = Incident(), None


def stepped(verdicts: Sequence[int], policy: Policy, series: Sequence[int]) -> dict[Status, list[int]]:
    """The windows at which each status comes, as the processor drives the incidents of many series."""
    incidents: dict[int, Incident] = {}
    found: dict[Status, list[int]] = {status: [] for status in Status}
    for at, (verdict, code) in enumerate(zip(verdicts, series, strict=True)):
        incident = incidents.setdefault(code, Incident())
        status = step(incident, verdict, 1.0, 0, 0, policy)
        if status is Status.FIRING:
            incident.fingerprint = "open"
        if status is Status.RESOLVED:
            del incidents[code]
        if status is not None:
            found[status].append(at)
    return found


def over_arrays(verdicts: Sequence[int], policy: Policy, series: Sequence[int] | None) -> dict[Status, list[int]]:
    codes = None if series is None else np.array(series, dtype=np.int64)
    found = steps(np.array(verdicts, dtype=np.int8), policy, codes)
    return {status: rows.tolist() for status, rows in found.items()}


def test_every_field_of_the_policy_is_covered() -> None:
    assert set(Policy.__struct_fields__) == NUMBERS.keys()
    assert set(AlertingOptions.model_fields) == NUMBERS.keys() | LOOKS, (
        "an option of `alerting` that no test here knows"
    )


def test_the_options_are_the_policy() -> None:
    assert AlertingOptions().policy == Policy(), "the documented defaults"
    numbers: dict[str, Any] = {name: 11 + place for place, name in enumerate(NUMBERS)}
    assert msgspec.structs.asdict(AlertingOptions(**numbers).policy) == numbers


@pytest.mark.parametrize("name", Policy.__struct_fields__)
def test_each_field_matters_online_and_over_arrays(name: str) -> None:
    verdicts = np.random.default_rng(0).choice(3, size=400, p=[0.4, 0.5, 0.1]).tolist()
    default = Policy(open_after=2, close_after=2, update_every=2)
    other = msgspec.structs.replace(default, **{name: 3})
    nothing = [0] * len(verdicts)
    assert stepped(verdicts, default, nothing) != stepped(verdicts, other, nothing)
    for policy in (default, other):
        assert over_arrays(verdicts, policy, None) == stepped(verdicts, policy, nothing)


# An incident that is open at the end of one series, and the next one begins under the threshold.
@example([(Verdict.ANOMALY, 0), (Verdict.NORMAL, 1), (Verdict.NORMAL, 1)], Policy(update_every=1))
@given(st.lists(st.tuples(st.sampled_from([*Verdict]), st.integers(0, 3)), max_size=120), policies)
def test_the_policy_over_arrays_is_the_policy(windows: list[tuple[int, int]], policy: Policy) -> None:
    """Unscorable windows anywhere, series that take turns, and whatever is open at the end."""
    verdicts, series = [verdict for verdict, _ in windows], [code for _, code in windows]
    assert over_arrays(verdicts, policy, series) == stepped(verdicts, policy, series)
    assert over_arrays(verdicts, policy, None) == stepped(verdicts, policy, [0] * len(verdicts))


_scores = npst.arrays(np.float32, st.integers(0, 80), elements=st.sampled_from([0.25, 0.5, 0.75, 1.0, 2.0, np.nan]))


@given(_scores, st.randoms(use_true_random=False), policies)
def test_the_policy_at_every_threshold(scores: np.ndarray, random: Any, policy: Policy) -> None:
    series = np.array([random.randrange(3) for _ in scores], dtype=np.int64)
    for codes in (series, None):
        low, high = openings(scores, policy, codes).T
        for threshold in (0.0, 0.25, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0):
            counted = int(((low <= threshold) & (threshold < high)).sum())
            verdicts = decide(scores, threshold).tolist()
            expected = stepped(verdicts, policy, [0] * len(scores) if codes is None else codes.tolist())
            assert counted == len(expected[Status.FIRING])


def test_what_comes_of_no_windows() -> None:
    assert over_arrays([], Policy(), None) == over_arrays([], Policy(), []) == {status: [] for status in Status}
    assert over_arrays([Verdict.UNSCORABLE], Policy(), [7]) == {status: [] for status in Status}
    assert openings(np.empty(0, np.float32), Policy()).shape == (0, 2)
    assert openings(np.full(1, np.nan, np.float32), Policy()).shape == (0, 2)
