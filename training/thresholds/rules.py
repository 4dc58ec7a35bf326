"""By which rule a threshold is chosen, as recipes and `telltale calibrate` say it."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from monitor.detector.thresholds import Follow

Method = Literal["mean_std", "quantile", "budget", "pot", "conformal", "oracle"]
Per = Literal["artifact", "series"]
LEFT_OUT = 0.05  # of the windows, at most, where those that look like incidents are left out


class ThresholdPart(msgspec.Struct, frozen=True, kw_only=True):
    """One rule; each method reads its own number.

    `mean_std`: mean plus `k` standard deviations, in sample, as the tutorial does it. `quantile`: at most a share
    `1 - quantile` of held-out normal windows is over the threshold. `budget`: at most `alarms_per_day` incidents a day
    and series. `pot`: the level that a normal window exceeds with probability `risk`, from a generalised Pareto tail.
    `conformal`: windows with a conformal p-value of at most `p_value` are over it. `oracle`: the best F1 on labelled
    windows; a bound for comparison, as nobody has the labels beforehand.

    `per`: one threshold for all series, or each series its own where it has enough windows. `leave_out`: up to this
    share of a series' windows is left out where they look like incidents (see `bursts`); 0: they count as normal.
    `follow`: whether a series' threshold is raised to what is usual for it; `auto`: see `following`.
    """

    method: Method
    k: float = 1.0
    quantile: float = 0.99
    alarms_per_day: float = 1.0
    risk: float = 1e-4
    p_value: float = 0.01
    per: Per = "artifact"
    leave_out: float = 0.0
    follow: Follow = "auto"


def left_out(method: Method) -> float:
    """`leave_out` where a command chooses the method: how many alarms there are without incidents is a budget's."""
    return LEFT_OUT if method == "budget" else 0.0


def problems(rule: ThresholdPart) -> list[str]:
    """What can't be meant, in words; none where all is well."""
    bounds = (
        ("k", math.isfinite(rule.k), "a finite number"),
        ("quantile", 0 < rule.quantile <= 1, "in (0, 1]"),
        ("alarms_per_day", 0 < rule.alarms_per_day < math.inf, "positive"),
        ("risk", 0 < rule.risk < 1, "in (0, 1)"),
        ("p_value", 0 < rule.p_value < 1, "in (0, 1)"),
        ("leave_out", 0 <= rule.leave_out < 0.5, "in [0, 0.5)"),
    )
    found = [
        f"threshold.{name} is {getattr(rule, name):g}, must be {text}" for name, holds, text in bounds if not holds
    ]
    if rule.method == "oracle" and rule.per == "series":
        found.append('threshold.per is "series", but the method "oracle" gives one threshold: must be "artifact"')
    return found
