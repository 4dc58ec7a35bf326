"""NAB's score: by hand, and against what NAB itself published for a detector's flags."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monitor.errors import DataError
from training.metrics import nab


def s(x: float) -> float:
    return 2 / (1 + math.exp(-5 * x)) - 1


def file_of(rows: int, windows: list[list[int]], flags: list[int]) -> nab.File:
    scores = np.zeros(rows)
    scores[flags] = 1.0
    return nab.File(scores, np.array(windows, dtype=np.int64).reshape(-1, 2))


# Flagged rows of the detector ARTime at its threshold 0.317486, and the scores of these files in NAB's own
# results/ARTime/ARTime_standard_scores.csv (numenta/NAB, commit ea702d7, MIT licence); rows count from 0.
PUBLISHED = {
    "ec2_cpu_utilization_24ae8d": (4032, [[3447, 3647], [3677, 3877]], [1099, 3539, 3549, 3779], 1.6316790938898516),
    "ec2_cpu_utilization_53ea38": (
        4032, [[1396, 1596], [2559, 2759]], [1019, 1309, 1594, 2169, 2674, 2754, 3039], 0.39804175935835506,
    ),
    "iio_us-east-1_i-a2eb1cd9_NetworkIn": (1243, [[218, 280], [308, 370]], [202, 637, 1238], -2.33),
    "exchange-2_cpm_results": (1624, [[565, 645], [934, 1014]], [975, 1013], -0.14465135576188293),
    "exchange-4_cpm_results": (
        1643, [[347, 387], [729, 769], [1256, 1296], [1381, 1421]], [367, 515, 519, 1277, 1401, 1483],
        1.2574684165754575,
    ),
    "nyc_taxi": (
        10320, [[5839, 6045], [7080, 7286], [8423, 8629], [8731, 8937], [9977, 10183]],
        [2981, 3261, 3975, 5914, 5956, 7202, 8518, 8882, 10065, 10100], 3.775210013719179,
    ),
    "rogue_agent_key_updown": (
        5315, [[2243, 2507], [2877, 3141]], [1154, 1385, 2512, 2519, 4423, 4430, 5151], -2.567650916046798,
    ),
    "speed_7578": (
        1127, [[303, 331], [740, 768], [909, 937], [945, 973]],
        [276, 317, 362, 628, 631, 753, 921, 923, 924, 931, 959], 3.1077313980278403,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_nab_published(name: str) -> None:
    rows, windows, flags, raw = PUBLISHED[name]
    found = nab.frozen([file_of(rows, windows, flags)], [0.5])
    assert found.raw == pytest.approx(raw, abs=1e-12)
    assert found.score == pytest.approx(100 * (raw + len(windows)) / (2 * len(windows)), abs=1e-9)


def test_rows_by_hand() -> None:
    values, owner = nab.row_values(50, np.array([[10, 14], [30, 30]]))
    assert owner.tolist() == [-1] * 10 + [0] * 5 + [-1] * 15 + [1] + [-1] * 19
    assert values[9] == -0.11  # no window came before
    assert values[10] == pytest.approx(1.0)
    assert values[12] == pytest.approx(s(3 / 5) / s(1))
    assert values[14] == pytest.approx(s(1 / 5) / s(1))
    assert values[15] == pytest.approx(-0.11 * s(1 / 4))
    assert values[26] == pytest.approx(-0.11 * s(12 / 4))
    assert values[27] == -0.11  # over three widths after it
    assert values[30] == pytest.approx(1.0)
    assert values[31] == pytest.approx(-0.11 * s(1))


def test_profiles() -> None:
    file = file_of(100, [[50, 59], [80, 89]], [20, 50])
    assert nab.frozen([file], [0.5]).raw == pytest.approx(1 - 1 - 0.11)
    assert nab.frozen([file], [0.5], profile=nab.REWARD_LOW_FP).raw == pytest.approx(1 - 1 - 0.22)
    assert nab.frozen([file], [0.5], profile=nab.REWARD_LOW_FN).raw == pytest.approx(1 - 2 - 0.11)


def test_the_scale_runs_from_nothing_to_perfect() -> None:
    files = [file_of(1_000, [[500, 599]], []), file_of(2_000, [[700, 720], [900, 950]], [])]
    nothing = nab.frozen(files, [0.5, 0.5])
    assert (nothing.score, nothing.raw, nothing.windows, nothing.found) == (0.0, -3.0, 3, 0)
    perfect = nab.frozen(
        [file_of(1_000, [[500, 599]], [500]), file_of(2_000, [[700, 720], [900, 950]], [700, 900])], [0, 0]
    )
    assert (perfect.score, perfect.raw) == pytest.approx((100.0, 3.0))
    assert perfect.found == 3


def test_the_start_is_for_learning() -> None:
    assert [nab.probation(rows) for rows in (0, 6, 7, 100, 5_000, 20_000)] == [0, 0, 1, 15, 750, 750]
    found = nab.frozen([file_of(100, [[50, 59]], [3, 14, 50])], [0.5])
    assert found.raw == pytest.approx(1.0)
    assert found.false_alarm_rows == 0
    assert nab.frozen([file_of(100, [[50, 59]], [15, 50])], [0.5]).false_alarm_rows == 1
    # a window that nobody may find is no miss, one that sticks out can be found
    assert nab.frozen([file_of(100, [[2, 10], [50, 59]], [])], [0.5]).windows == 1
    half = nab.frozen([file_of(100, [[10, 19], [50, 59]], [15])], [0.5])
    assert (half.windows, half.found) == (2, 1)
    assert half.raw == pytest.approx(s(5 / 10) / s(1) - 1)


def test_the_oracle_finds_the_best_threshold() -> None:
    scores = np.zeros(200)
    scores[[100, 120, 40]] = 0.9, 0.6, 0.5
    found = nab.oracle([nab.File(scores, np.array([[100, 109], [120, 129]]))])
    assert (found.chosen_by, found.thresholds) == ("oracle", (0.5,))
    assert found.score == pytest.approx(100.0)
    assert nab.frozen([nab.File(scores, np.array([[100, 109], [120, 129]]))], [0.5]).raw == found.raw


def test_the_oracle_may_flag_nothing() -> None:
    scores = np.zeros(200)
    scores[40:60] = 1.0
    found = nab.oracle([nab.File(scores, np.array([[100, 101]]))])
    assert (found.score, found.thresholds) == (0.0, (1.0,))
    unscored = nab.oracle([nab.File(np.full(200, np.nan), np.array([[100, 101]]))])
    assert (unscored.score, unscored.thresholds) == (0.0, ())
    assert nab.oracle([]).score is None
    assert nab.oracle([file_of(100, [], [50])]).score is None


def test_a_row_without_a_score_is_not_flagged() -> None:
    scores = np.full(200, np.nan)
    scores[105] = 1.0
    assert nab.frozen([nab.File(scores, np.array([[100, 109]]))], [0.5]).found == 1


@pytest.mark.parametrize("windows", [[[5, 4]], [[5, 9], [9, 12]], [[20, 25], [5, 9]], [[90, 100]], [[-1, 4]]])
def test_windows_that_can_not_be(windows: list[list[int]]) -> None:
    with pytest.raises(DataError, match="nab: windows"):
        nab.frozen([file_of(100, windows, [])], [0.5])
    with pytest.raises(DataError, match="one for each"):
        nab.frozen([file_of(100, [], [])], [])
