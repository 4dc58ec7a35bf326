"""Beats from the raw stream through Kafka: `telltale train` on other patients' records, a real broker, `telltale run`.

A record is streamed a second a message, twice: once with a threshold that every beat is over, so that an alert tells
each beat's score; once as it is served. Alerts are matched with the annotations by EC57, within 150 ms. AUROC is of the
classes S, V, F and Q against N after minute 5, of the beats that were found. A run is annotated beats of other classes
than N, one after the other; it is found where an incident is open at one of its beats, and an incident is false where
it is open at none.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.detector import storage
from monitor.detector.arrays import BoolArray, Float64Array, Int64Array
from monitor.detector.times import iso_us
from monitor.messages.alerts import TYPE
from tests.acceptance.daemon_process import TELLTALE
from tests.benchmarks import report, results
from tests.benchmarks.live import __main__ as live
from tests.benchmarks.live import counting
from tests.benchmarks.live.sources import ECG_FIRST_US, Stream, seconds_as_chunks
from tests.benchmarks.mitbih.records import LEAD, HeartRecord
from tests.benchmarks.results import Result
from training.metrics.beats import TOLERANCE_S, match
from training.metrics.windows import auroc

RECIPE = "ecg"
FROM_S = 300
LEAST_THRESHOLD = 1e-30
CLOSE_AFTER = 10  # as the recipe's text has it
MUST, AIM = 0.98, 0.995
# On the same records, from raw samples (../../design: sliding windows of a recipe for periodic signals).
SLIDING_AUROC = 0.54


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a record's beats after minute 5: `scores` (n,) of those matched, and whether they are `abnormal`.

    `flagged` are over the artifact's threshold. `lost` annotated beats have no score. The rest is of incidents.
    """

    name: str
    scores: Float64Array
    abnormal: BoolArray
    flagged: BoolArray
    lost: int
    runs: int
    runs_found: int
    incidents: int
    false: int
    hours: float


def train(learnt: Sequence[HeartRecord], directory: Path, seed: int) -> Path:
    """The artifact that `telltale train` makes of some records. Raises CalledProcessError, having shown why."""
    out = directory / "artifact"
    command = [*TELLTALE, "train", *(str(record.path) for record in learnt), "--recipe", RECIPE, "--channels", LEAD]
    command += ["--out", str(out), "--seed", str(seed), "--no-report", "--no-comparison"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return out


def streamed(bootstrap: str, artifact: Path, record: HeartRecord, directory: Path) -> Outcome:
    """What the daemon makes of a record that it reads as a stream."""
    count = len(record.table.samples)
    time_us = ECG_FIRST_US + np.arange(count, dtype=np.int64) * 1_000_000 // round(record.rate_hz)
    stream = Stream(
        title=record.name,
        recipe=RECIPE,
        learnt=[],
        streamed=[replace(record.table, series=f"record-{record.name}", time_us=time_us)],
        records=seconds_as_chunks,
        compression="gzip",
    )
    each = _alerts(bootstrap, artifact, stream, directory / "each", {"update_every": 1}, LEAST_THRESHOLD)
    served = _alerts(bootstrap, artifact, stream, directory / "served", {"close_after": CLOSE_AFTER})
    spans, _ = counting.incidents(served, {stream.streamed[0].series: int(time_us[-1])})
    return _outcome(record, artifact, each, [span for one in spans.values() for span in one])


def _alerts(
    bootstrap: str,
    artifact: Path,
    stream: Stream,
    directory: Path,
    alerting: dict[str, Any],
    threshold: float | None = None,
) -> list[dict[str, Any]]:
    directory.mkdir(parents=True)
    model = {"artifact": str(artifact)} | ({} if threshold is None else {"threshold": threshold})
    asked = replace(stream, config={"alerting": alerting, "model": model})
    found = live.run(bootstrap, f"mitbih.{stream.title}.{directory.name}", asked, artifact, directory)
    return [alert for alert in found.alerts if alert["type"] == TYPE]


def _outcome(
    record: HeartRecord, artifact: Path, alerts: Sequence[dict[str, Any]], spans: Sequence[tuple[int, int]]
) -> Outcome:
    manifest, rate_hz, from_at = storage.load(artifact).manifest, record.rate_hz, FROM_S * record.rate_hz
    starts = np.array([iso_us(alert["data"]["window"]["start"]) for alert in alerts], dtype=np.int64)
    scores = np.array([alert["data"]["score"]["value"] for alert in alerts], dtype=np.float64)
    at = np.rint((starts - ECG_FIRST_US) / 1e6 * rate_hz).astype(np.int64) + manifest.window.before
    late, known = record.beats >= from_at, at >= from_at
    beats, abnormal = record.beats[late], record.classes[late] != "N"
    pairs = match(beats, at[known], round(TOLERANCE_S * rate_hz)).pairs
    scores = scores[known][pairs[:, 1]]
    open_at = np.array([_is_open(spans, beat, rate_hz) for beat in beats])
    late_spans = [(first, last) for first, last in spans if first >= ECG_FIRST_US + FROM_S * 1_000_000]
    held = [_holds(span, beats[abnormal], rate_hz) for span in late_spans]
    runs = _runs(abnormal)
    return Outcome(
        name=record.name,
        scores=scores,
        abnormal=abnormal[pairs[:, 0]],
        flagged=scores.astype(np.float32) > np.float32(manifest.threshold.value),
        lost=len(beats) - len(pairs),
        runs=len(runs),
        runs_found=sum(bool(open_at[first:end].any()) for first, end in runs),
        incidents=len(late_spans),
        false=held.count(False),
        hours=(len(record.table.samples) - from_at) / rate_hz / 3600,
    )


def _is_open(spans: Sequence[tuple[int, int]], beat: int, rate_hz: float) -> bool:
    """Whether an incident is open at a beat: those open with the end of their first window."""
    at_us = ECG_FIRST_US + beat / rate_hz * 1e6
    return any(first - 1e6 <= at_us <= last for first, last in spans)


def _holds(span: tuple[int, int], beats: Int64Array, rate_hz: float) -> bool:
    times_us = ECG_FIRST_US + beats / rate_hz * 1e6
    return bool(((times_us >= span[0] - 1e6) & (times_us <= span[1])).any())


def _runs(abnormal: BoolArray) -> list[tuple[int, int]]:
    """First and end of each run of abnormal beats."""
    edges: NDArray[np.int64] = np.flatnonzero(np.diff(np.concatenate([[False], abnormal, [False]])))
    return [(first, end) for first, end in pairwise(edges.tolist())][::2]


def show(outcomes: Sequence[Outcome]) -> None:
    """Prints how well beats are told apart, and what incidents came of them."""
    rows = [_row(outcome) for outcome in outcomes]
    mean = float(np.mean([auroc(each.abnormal, each.scores) for each in outcomes]))
    rows.append(("mean", *[""] * 4, f"{mean:.4f}", *[""] * 5))
    heads = (
        "through Kafka", "beats", "abnormal", "without a score", "normal flagged", "AUROC", "abnormal flagged", "runs",
        "found", "incidents", "false an hour",
    )  # fmt: skip
    print(report.table(heads, rows))
    print(report.bar(f"AUROC at least {MUST} (sliding windows: {SLIDING_AUROC})", met=mean >= MUST))
    found = Result(
        data=f"MIT-BIH, {len(outcomes)} records, lead MLII",
        measure="beats' AUROC from the raw stream, S V F Q against N",
        detector=RECIPE,
        ours=mean,
        series=len(outcomes),
        baselines={"sliding windows": SLIDING_AUROC},
        published={"Anobeat, all records, inter-patient": 0.894},
        must=MUST,
        aim=AIM,
        command="make mitbih",
    )
    results.write("mitbih", [found])


def _row(of: Outcome) -> tuple[str, ...]:
    return (
        of.name,
        f"{len(of.scores)}",
        f"{int(of.abnormal.sum())}",
        f"{of.lost}",
        f"{of.flagged[~of.abnormal].mean():.1%}",
        f"{auroc(of.abnormal, of.scores):.4f}",
        f"{of.flagged[of.abnormal].mean():.1%}",
        f"{of.runs}",
        f"{of.runs_found}",
        f"{of.incidents}",
        f"{of.false / of.hours:.1f}",
    )
