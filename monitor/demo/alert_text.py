"""What a person reads about one alert.

Rules of this file: pure; text without colours or control characters. `screen` decides how it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.demo.findings import AlertedIncident, PlantedInterval, microseconds, overlapping
from monitor.messages.alerts import Alert

BLOCKS = "▁▂▃▄▅▆▇█"
CELLS = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertText:
    """One alert in words.

    right: whether it reports something planted; None for a resolved alert, which is not judged.
    observed, expected: sparklines of the window and its reconstruction, on one scale; empty if the alert has none.
    """

    at: str
    series: str
    status: str
    severity: str
    text: str
    truth: str
    right: bool | None
    observed: str = ""
    expected: str = ""


def describe(
    alert: Alert,
    incident: AlertedIncident,
    planted: Sequence[PlantedInterval],
    *,
    start_us: int,
    slack_us: int,
    planted_as: str,
) -> AlertText:
    """One alert in words, and whether it is right."""
    data = alert.data
    end_us = microseconds(data.window.end)
    truth, right = "", None
    if data.status == "resolved":
        lasted_s = (incident.end_us - incident.start_us) / 1e6
        windows = f"{data.episode.windows} window{'s' if data.episode.windows != 1 else ''}"
        text = f"after {lasted_s:.1f} s: {windows} over the threshold, peak {data.episode.peak_ratio:.1f}x"
    else:
        text = f"{data.score.ratio:.1f}x the threshold"
        if data.contributors:
            text += f"; worst: {data.contributors[0].channel} {_worst(alert)}"
        interval = overlapping(planted, incident, slack_us)
        right = interval is not None
        truth = f"{planted_as} at {clock(interval.start_us - start_us)}" if interval else f"no {planted_as} there"
    observed, expected = "", ""
    if data.window.values and data.window.reconstruction and data.status != "resolved":
        observed, expected = sparklines(data.window.values, data.window.reconstruction)
    return AlertText(
        at=clock(end_us - start_us),
        series=data.series,
        status=data.status,
        severity=data.severity,
        text=text,
        truth=truth,
        right=right,
        observed=observed,
        expected=expected,
    )


def _worst(alert: Alert) -> str:
    """The worst contributor's sample that is furthest from the expected one; its means if the alert has no window.

    Where a curve oscillates, the means of several samples may agree while the curves do not.
    """
    contributor, window = alert.data.contributors[0], alert.data.window
    observed, expected = contributor.observed, contributor.expected
    if window.values and window.reconstruction and len(window.values[0]) == 1:
        samples = slice(contributor.first, contributor.last + 1)
        pairs = zip(window.values[samples], window.reconstruction[samples], strict=True)
        observed, expected = max(((a[0], b[0]) for a, b in pairs), key=lambda pair: abs(pair[0] - pair[1]))
    return f"{observed:+.2f}, expected {expected:+.2f} (in samples {contributor.first}-{contributor.last})"


def sparklines(values: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> tuple[str, str]:
    """The first channel of two windows in `CELLS` blocks each, on one scale.

    A cell shows its sample that is furthest from the middle, so that a narrow peak is not averaged away.
    """
    both = [np.array(window, dtype=np.float64)[:, 0] for window in (values, others)]
    low, high = float(min(map(np.min, both))), float(max(map(np.max, both)))
    middle = float(np.median(np.concatenate(both)))
    return _blocks(both[0], low, high, middle), _blocks(both[1], low, high, middle)


def _blocks(samples: np.typing.NDArray[np.float64], low: float, high: float, middle: float) -> str:
    cells = [cell[np.argmax(np.abs(cell - middle))] for cell in np.array_split(samples, min(CELLS, len(samples)))]
    span = high - low
    return "".join(
        BLOCKS[min(int((cell - low) / span * len(BLOCKS)), len(BLOCKS) - 1) if span else 0] for cell in cells
    )


def clock(since_us: int) -> str:
    """A time in the stream: minutes, seconds and tenths."""
    tenths = since_us // 100_000
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"
