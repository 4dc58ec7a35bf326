"""`telltale example`: CSV files of a simulated pump, so that every command in README can be tried unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.errors import DataError

STEP_S = 10
DAY = 86_400 // STEP_S
PERIOD = 50  # samples of one stroke
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Fault:
    """Samples `first` to `last`, exclusive, in which something is wrong."""

    first: int
    last: int
    kind: str  # "surge" of the flow, "stuck" pressure, "leak": flow rises as pressure falls


@dataclass(frozen=True, slots=True)
class _Recording:
    name: str
    first_day: int
    days: int
    faults: tuple[_Fault, ...] = ()
    labelled: bool = False


_RECORDINGS = (
    _Recording("normal.csv", 0, 7),
    _Recording(
        "labelled.csv",
        7,
        2,
        (_Fault(3_000, 3_040, "surge"), _Fault(7_500, 7_700, "stuck"), _Fault(12_000, 12_150, "leak")),
        labelled=True,
    ),
    _Recording("lastweek.csv", 9, 2, (_Fault(5_000, 5_060, "leak"), _Fault(14_000, 14_040, "surge"))),
)


def write_example(directory: Path, seed: int = 1) -> list[str]:
    """Creates `directory` and writes the files into it; returns a line of text about each.

    Raises:
        DataError: one of the files already exists, or can't be written.
    """
    taken = [each.name for each in _RECORDINGS if (directory / each.name).exists()]
    if taken:
        raise DataError(f"{directory}: {', '.join(taken)} already exists; choose another directory")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for each in _RECORDINGS:
            (directory / each.name).write_text(_text(each, np.random.default_rng([seed, each.first_day])), "utf-8")
    except OSError as error:
        raise DataError(f"{directory}: the example can't be written: {error.strerror}") from None
    return [
        f"{directory / each.name}: {each.days} days of a pump, a row every {STEP_S} s, {_said(each)}"
        for each in _RECORDINGS
    ]


def _said(recording: _Recording) -> str:
    if not recording.faults:
        return "nothing wrong"
    return f"{len(recording.faults)} faults{', labelled' if recording.labelled else ''}"


def _text(recording: _Recording, rng: np.random.Generator) -> str:
    rows = recording.days * DAY
    flow, pressure = _signals(rows, rng)
    label = np.zeros(rows, dtype=np.int64)
    for fault in recording.faults:
        part = slice(fault.first, fault.last)
        label[part] = 1
        if fault.kind == "stuck":
            pressure[part] = pressure[fault.first]
        else:
            flow[part] += 3.0
            pressure[part] -= 2.0 if fault.kind == "leak" else 0.0
    begin = _BEGIN + timedelta(days=recording.first_day)
    lines = ["time,flow,pressure" + (",label" if recording.labelled else "")]
    for row in range(rows):
        time = (begin + timedelta(seconds=STEP_S * row)).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines.append(f"{time},{flow[row]:.3f},{pressure[row]:.3f}" + (f",{label[row]}" if recording.labelled else ""))
    return "\n".join(lines) + "\n"


def _signals(rows: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Strokes of a pump whose load follows the day."""
    at = np.arange(rows)
    stroke, load = 2 * np.pi * at / PERIOD, 1 + 0.1 * np.sin(2 * np.pi * at / DAY)
    flow = load * (3 + np.sin(stroke)) + rng.normal(0, 0.05, rows)
    pressure = 10 + 2 * load * np.cos(stroke) + rng.normal(0, 0.1, rows)
    return flow, pressure
