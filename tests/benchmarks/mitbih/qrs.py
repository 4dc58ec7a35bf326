"""How well beats are found: sensitivity and positive predictivity by EC57, from 2 s on, within 150 ms.

The last beats of a record are never known, since what follows them is not there; they count as missed. `of those that
can be known` leaves them out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitor.detector.arrays import Int64Array
from monitor.detector.beats.qrs import BeatRule
from tests.benchmarks import report, results
from tests.benchmarks.mitbih.records import HeartRecord
from tests.benchmarks.results import Result
from training.metrics.beats import TOLERANCE_S, Matched, match, predictivity, sensitivity

FROM_S = 2.0
MUST, AIM = 0.998, 0.999
COMMAND = "make mitbih"
# On the same beats, each with its defaults, measured once (2026-11-30).
PEERS = {
    "neurokit2": (0.9977, 0.9982),
    "two averages": (0.987, 0.989),
    "Pan-Tompkins": (0.985, 0.988),
    "wfdb xqrs": (0.967, 0.999),
}


def found_in(record: HeartRecord) -> Int64Array:
    """The samples of a record at which beats are found."""
    rule = BeatRule.at(record.rate_hz)
    return np.flatnonzero(rule.beats(record.table.samples[:, 0])) + rule.lag


def compared(record: HeartRecord, *, known: bool = False) -> Matched:
    """The beats of a record that were found and that are annotated; `known`: only what can be known at its end."""
    rule, count = BeatRule.at(record.rate_hz), len(record.table.samples)
    until = count - rule.lag if known else count
    of = [beats[(beats >= FROM_S * record.rate_hz) & (beats < until)] for beats in (record.beats, found_in(record))]
    return match(of[0], of[1], round(TOLERANCE_S * record.rate_hz))


def show(records: Sequence[HeartRecord]) -> None:
    """Prints how well beats are found."""
    each = [compared(record) for record in records]
    rows = [(record.name, *_counts([one]), *_shares([one])) for record, one in zip(records, each, strict=True)]
    rows.append(("all", *_counts(each), *_shares(each)))
    known = [compared(record, known=True) for record in records]
    rows.append(("of those that can be known", *_counts(known), *_shares(known)))
    rows += [(name, "", "", "", f"{se:.4f}", f"{ppv:.4f}") for name, (se, ppv) in PEERS.items()]
    print(report.table(("QRS", "beats", "missed", "false", "Se", "PPV"), rows))
    found = {"QRS sensitivity": sensitivity(each), "QRS predictivity": predictivity(each)}
    print(report.bar(f"Se and PPV at least {MUST}", met=min(found.values()) >= MUST))
    results.write(
        "mitbih", [_result(measure, at, len(records), share) for at, (measure, share) in enumerate(found.items())]
    )


def _result(measure: str, at: int, records: int, share: float) -> Result:
    """A row of the leaderboard; `at` is which of the two shares of others it is compared with."""
    return Result(
        data=f"MIT-BIH, {records} records, lead MLII",
        measure=measure,
        detector="beats",
        ours=share,
        series=records,
        baselines={name: shares[at] for name, shares in PEERS.items()},
        must=MUST,
        aim=AIM,
        command=COMMAND,
    )


def _counts(each: list[Matched]) -> tuple[str, str, str]:
    totals = (sum(getattr(one, name) for one in each) for name in ("annotated", "missed", "false"))
    annotated, missed, false = map(str, totals)
    return annotated, missed, false


def _shares(each: list[Matched]) -> tuple[str, str]:
    return f"{sensitivity(each):.4f}", f"{predictivity(each):.4f}"
