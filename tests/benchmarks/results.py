"""What a benchmark found, a row each: a data set and a measure, ours beside baselines and published figures, and bars.

Rows are kept in CSV files, one a benchmark, in the folder `results/`; `tests.benchmarks.leaderboard` writes
docs/leaderboard.md of them. A row is known by its data set, its measure and its detector: a later one takes its place.

    results.write("smd", [Result(data="SMD, TSB-AD's rows", measure="VUS-PR, averaged", detector="servers", ours=0.399,
                                 spread=0.009, series=3, seeds=3, baselines={"PCA": 0.583, "kNN": 0.576},
                                 published={"TSB-AD's CNN": 0.334}, must=0.68, aim=0.70, command="make smd")])
    print(results.table(results.read("smd")))
"""

from __future__ import annotations

import csv
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

FOLDER = Path(os.environ.get("TELLTALE_RESULTS", "results"))
HEADS = ("data", "measure", "detector", "ours", "n", "baselines", "published", "must", "aim", "")


def today() -> str:
    """The date (UTC)."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One measure of one data set.

    `ours` is the mean over `series` series (records, rows: whatever the measure is of) and `seeds` seeds; `spread` the
    standard deviation between seeds, None of one seed. `published` figures are others' own, by protocols that may
    differ: `data` and the benchmark's text say how. `must` and `aim` are bars, where there are any.
    Names of baselines and of published figures hold neither ";" nor "=".
    """

    data: str
    measure: str
    detector: str
    ours: float
    spread: float | None = None
    series: int = 1
    seeds: int = 1
    baselines: dict[str, float] = {}
    published: dict[str, float] = {}
    must: float | None = None
    aim: float | None = None
    better: Literal["higher", "lower"] = "higher"
    command: str = ""
    date: str = msgspec.field(default_factory=today)

    @property
    def key(self) -> tuple[str, str, str]:
        """What a row is known by."""
        return self.data, self.measure, self.detector

    def reaches(self, bar: float | None) -> bool | None:
        """Whether `ours`, as it is printed, is as good as `bar`; None without one."""
        return None if bar is None else _rounded(self._gain(self.ours, bar)) >= 0

    @property
    def text(self) -> str:
        """`ours`, with its spread."""
        return number(self.ours) + (f" ± {number(self.spread)}" if self.spread is not None else "")

    @property
    def behind(self) -> tuple[str, ...]:
        """The baselines that are better by more than the spread; chance ones are baselines too."""
        margin = self.spread or 0.0
        return tuple(
            name for name, value in self.baselines.items() if _rounded(self._gain(self.ours, value) + margin) < 0
        )

    def _gain(self, one: float, other: float) -> float:
        return one - other if self.better == "higher" else other - one

    @property
    def verdict(self) -> str:
        """In words: the bars, and the baselines that are better."""
        said = []
        if self.must is not None:
            said.append("aim met" if self.reaches(self.aim) else "met" if self.reaches(self.must) else "NOT MET")
        if self.behind:
            said.append(f"behind {', '.join(self.behind)}")
        return "; ".join(said)


def of_seeds(
    values: Mapping[str, Sequence[float]],
    *,
    data: str,
    measure: str,
    detector: str,
    series: int,
    command: str,
    published: Mapping[str, float] | None = None,
    bars: tuple[float | None, float | None] = (None, None),
    better: Literal["higher", "lower"] = "higher",
) -> Result:
    """A row of each scorer's values, one a seed: `detector`'s are ours, the first of the others' are baselines.

    `values` has ours as "detector"; `bars` are must and aim.
    """
    ours = values["detector"]
    return Result(
        data=data,
        measure=measure,
        detector=detector,
        ours=statistics.fmean(ours),
        spread=statistics.pstdev(ours) if len(ours) > 1 else None,
        series=series,
        seeds=len(ours),
        baselines={name: each[0] for name, each in values.items() if name != "detector" and each},
        published=dict(published or {}),
        must=bars[0],
        aim=bars[1],
        better=better,
        command=command,
    )


def write(name: str, found: Iterable[Result], folder: Path | None = None) -> Path:
    """Puts rows into the benchmark's file; those it holds already stay, but where a new one has the same key."""
    folder = folder or FOLDER
    path = folder / f"{name}.csv"
    rows = {each.key: each for each in [*(_read(path) if path.exists() else ()), *found]}
    folder.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".writing")
    with beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, Result.__struct_fields__, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: _cell(value) for key, value in msgspec.structs.asdict(row).items()} for row in rows.values()
        )
    beside.replace(path)
    return path


def read(*names: str, folder: Path | None = None) -> list[Result]:
    """The rows of these benchmarks, or of all there are, file by file; a benchmark that was not run has none."""
    folder = folder or FOLDER
    paths = [folder / f"{name}.csv" for name in names] if names else sorted(folder.glob("*.csv"))
    return [row for path in paths if path.exists() for row in _read(path)]


def table(found: Sequence[Result]) -> str:
    """Rows of a Markdown table."""
    rows = ["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]
    return "\n".join([*rows, *(_row(each) for each in found)])


def number(value: float | None) -> str:
    """Three digits after the point, fewer where a number is large."""
    if value is None or math.isnan(value):
        return ""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _row(row: Result) -> str:
    bars = [number(row.must), number(row.aim)]
    several = [_named(row.baselines), _named(row.published)]
    cells = [row.data, row.measure, row.detector, row.text, f"{row.series} x {row.seeds}", *several, *bars, row.verdict]
    return "| " + " | ".join(cells) + " |"


def _named(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in values.items())


def _rounded(value: float) -> float:
    return round(value, 3)


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}={number!r}" for name, number in value.items())
    return "" if value is None else str(value)


def _read(path: Path) -> list[Result]:
    with path.open(encoding="utf-8", newline="") as file:
        return [msgspec.convert(_fields(row), Result, strict=False) for row in csv.DictReader(file)]


def _fields(row: dict[str, str]) -> dict[str, object]:
    fields: dict[str, object] = {key: value for key, value in row.items() if value}
    for key in ("baselines", "published"):
        parts = [part.partition("=") for part in row[key].split("; ") if part]
        fields[key] = {name: float(value) for name, _, value in parts}
    return fields
