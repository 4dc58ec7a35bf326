"""Whole archives, a file at a time: figures are kept as soon as they are known, and the next run goes on from there.

A row of `results/files/<archive>.csv` is a file, a seed and a scorer. A row of another recipe, or of one that was
changed since, is not taken for it; whoever changes code removes the rows. A file that can't be read or learnt from
counts as 0, as TSB-AD counts it.
"""

from __future__ import annotations

import csv
import fnmatch
import io
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import msgspec
import numpy as np

from monitor.datafiles import SeriesTable
from monitor.detector.arrays import BoolArray
from monitor.errors import DataError
from tests.benchmarks import results
from tests.benchmarks.results import Result
from tests.benchmarks.series.contest import Scored, mean_sd, ranked
from training import recipes
from training.metrics import baseline_scores, vus
from training.metrics.windows import average_precision
from training.recipes.schema import Recipe

CHANCE = "random"
VUS_PR = ("VUS-PR, causal", "VUS-PR, averaged")
AUC_PR = ("AUC-PR, causal", "AUC-PR, averaged")
RANKING = (*VUS_PR, *AUC_PR)

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A file as it is read: `learnt` from, `tested`, and the length of windows (None: the recipe's).

    `figures` are measured of a scorer's scores of `tested`, `chance` those of random ones.
    """

    learnt: SeriesTable
    tested: SeriesTable
    length: int | None
    figures: Callable[[Scored], Figures]
    chance: Callable[[], Figures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of an archive; `family` is the data set it comes from. `load` raises `DataError`."""

    name: str
    family: str
    load: Callable[[], Task]


class FileScore(msgspec.Struct, frozen=True, kw_only=True):
    """What one scorer reaches on one file; `problem` says why it reaches nothing."""

    file: str
    family: str
    recipe: str
    seed: int
    scorer: str
    rows: int
    length: int
    seconds: float
    problem: str
    figures: Figures

    @property
    def key(self) -> tuple[str, str, int]:
        """What was asked for."""
        return self.file, self.recipe, self.seed


@dataclass(slots=True)
class Log:
    """What is known of files, a CSV file with a column for each of `measures`. A last row cut short is dropped."""

    path: Path
    measures: Sequence[str]
    rows: list[FileScore] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path.exists():
            text = self.path.read_text(encoding="utf-8")
            whole, end, rest = text.rpartition("\n")
            if rest:
                self.path.write_text(whole + end, encoding="utf-8")
            self.rows = [self._row(cells) for cells in csv.DictReader(io.StringIO(whole + end))]

    def of(self, file: str, recipe: str, seed: int) -> list[FileScore]:
        """The rows of a file and seed; none where it was not scored."""
        return [row for row in self.rows if row.key == (file, recipe, seed)]

    def add(self, rows: Iterable[FileScore]) -> None:
        """Keeps the rows of a file and seed, in one piece."""
        made = list(rows)
        text = io.StringIO()
        fields = [name for name in FileScore.__struct_fields__ if name != "figures"]
        writer = csv.DictWriter(text, [*fields, *self.measures], lineterminator="\n")
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            writer.writeheader()
        writer.writerows({**{name: getattr(row, name) for name in fields}, **row.figures} for row in made)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
        self.rows += made

    def _row(self, cells: dict[str, str]) -> FileScore:
        figures = {name: float(value) for name in self.measures if (value := cells.pop(name))}
        return msgspec.convert({**cells, "figures": figures}, FileScore, strict=False)


def series_task(learnt: SeriesTable, tested: SeriesTable, length: int | None) -> Task:
    """A series whose rows are labelled one by one: how do scores rank them?

    TSB-AD's own definitions: the widest buffer of the volume is the period of the whole series' first channel; a row
    without a score ranks last, in both measures.
    """
    assert tested.labels is not None
    truth, window = tested.labels != 0, vus.period(tested.samples[:, 0])

    def figures(scored: Scored) -> Figures:
        ways = [each.values for each in (scored.causal(), scored.overlap_mean())]
        volumes = [_volume(truth, values, window) for values in ways]
        areas = [average_precision(truth, _last_without(values)) or 0.0 for values in ways]
        return dict(zip(RANKING, [*volumes, *areas], strict=True))

    def chance() -> Figures:
        volume = vus.random_volume(truth, window, seed=0)
        area = baseline_scores.random_average_precision(len(truth), int(truth.sum())) or 0.0
        reached = 0.0 if volume is None else volume.vus_pr
        return dict(zip(RANKING, [reached, reached, area, area], strict=True))

    return Task(learnt=learnt, tested=tested, length=length, figures=figures, chance=chance)


def fingerprint(recipe: Recipe) -> str:
    """A recipe's name, and a sum of all that is in it."""
    return f"{recipe.name} {zlib.crc32(msgspec.json.encode(recipe)):08x}"


def run(entries: Sequence[Entry], recipe: Recipe, log: Log, seeds: int) -> list[FileScore]:
    """Scores what was not scored yet; returns the rows of all entries and seeds.

    Baselines and chance come with the first seed. A line is printed for each file, as it is done.
    """
    called = fingerprint(recipe)
    for at, entry in enumerate(entries):
        for seed in range(seeds):
            if not log.of(entry.name, called, seed):
                log.add(_scored(entry, recipe, seed))
                print(_line(at, len(entries), log.of(entry.name, called, seed), log.measures[:2]), flush=True)
        jax.clear_caches()  # each length of windows is compiled afresh
    return [row for entry in entries for seed in range(seeds) for row in log.of(entry.name, called, seed)]


def _scored(entry: Entry, recipe: Recipe, seed: int) -> list[FileScore]:
    begun = time.monotonic()
    found: dict[str, Figures] = {}
    problem, rows, length = "", 0, 0
    try:
        task = entry.load()
        rows = len(task.tested.samples)
        adapted = recipes.override(recipe, length=task.length, normal_class="all")
        length = adapted.window.length or 0
        scored = ranked(adapted, task.learnt, task.tested, seed=seed, with_baselines=not seed)
        found = {name: task.figures(each) for name, each in scored.items()}
        found |= {} if seed else {CHANCE: task.chance()}
    except DataError as error:
        problem = str(error)
        found = {"detector": {}}
    return [
        FileScore(
            file=entry.name,
            family=entry.family,
            recipe=fingerprint(recipe),
            seed=seed,
            scorer=name,
            rows=rows,
            length=length,
            seconds=round(time.monotonic() - begun, 1),
            problem=problem,
            figures=figures,
        )
        for name, figures in found.items()
    ]


def _line(at: int, count: int, rows: Sequence[FileScore], measures: Sequence[str]) -> str:
    first = rows[0]
    if first.problem:
        return f"{at + 1} of {count}: {first.file}: counts as 0: {first.problem}"
    each = ", ".join(f"{row.scorer} {' / '.join(f'{row.figures[name]:.3f}' for name in measures)}" for row in rows)
    return f"{at + 1} of {count}: {first.file}, seed {first.seed}, windows of {first.length}, {first.seconds} s: {each}"


def by_seed(rows: Iterable[FileScore], scorer: str, measure: str) -> list[float]:
    """The mean over files, of each seed there is."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row.scorer == scorer:
            found.setdefault(row.seed, []).append(row.figures.get(measure, 0.0))
    return [float(np.mean(values)) for _, values in sorted(found.items())]


def scorers(rows: Iterable[FileScore]) -> list[str]:
    """The detector, its baselines, chance: all that have rows."""
    return list(dict.fromkeys(row.scorer for row in rows))


def families_table(rows: Sequence[FileScore], measure: str, others: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown: a row for each family and one for all, ours and others' (by method, then file) of the same files."""
    names = scorers(rows)
    methods = [method for method, each in others.items() if any(row.file in each for row in rows)]
    lines = [f"| {measure} | " + " | ".join(["series", *names, *methods]) + " |"]
    lines.append("|---" * (2 + len(names) + len(methods)) + "|")
    groups = {family: [row for row in rows if row.family == family] for family in sorted({row.family for row in rows})}
    for family, part in [*groups.items(), ("all", list(rows))]:
        files = {row.file for row in part}
        ours = [mean_sd(values) if (values := by_seed(part, name, measure)) else "" for name in names]
        theirs = [_mean_of(others[method], files) for method in methods]
        cells = [f"{len(files)}", *ours, *("" if value is None else f"{value:.3f}" for value in theirs)]
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def result(
    rows: Sequence[FileScore],
    data: str,
    measure: str,
    others: Mapping[str, float],
    command: str,
    bars: tuple[float | None, float | None] = (None, None),
) -> Result:
    """One measure over all files, for the leaderboard; `bars` are must and aim."""
    return results.of_seeds(
        {name: by_seed(rows, name, measure) for name in scorers(rows)},
        data=data,
        measure=measure,
        detector=rows[0].recipe.split()[0],
        series=len({row.file for row in rows}),
        published=others,
        bars=bars,
        command=command,
    )


def published(name: str) -> dict[str, dict[str, float]]:
    """Others' figures of a file beside this one: by method, then file, in the order of the list."""
    with (Path(__file__).parent / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {method: {row["file"]: float(row[method]) for row in rows} for method in rows[0] if method != "file"}


def chosen(entries: Sequence[Entry], only: Sequence[str] | None) -> list[Entry]:
    """Those whose name or family matches a pattern; all where none is given."""
    patterns = [f"*{pattern}*" for pattern in only or ("",)]
    return [each for each in entries if any(fnmatch.fnmatchcase(each.name, pattern) for pattern in patterns)]


def log_of(name: str, measures: Sequence[str] = RANKING) -> Log:
    """The archive's file of the folder of results."""
    return Log(results.FOLDER / "files" / f"{name}.csv", measures)


def _volume(truth: BoolArray, scores: np.typing.NDArray[np.float64], window: int) -> float:
    found = vus.volume(truth, scores, window)
    return 0.0 if found is None else found.vus_pr


def _last_without(scores: np.typing.NDArray[np.float64]) -> np.typing.NDArray[np.float64]:
    return np.where(np.isnan(scores), -np.inf, scores)


def _mean_of(others: Mapping[str, float], files: Iterable[str]) -> float | None:
    found = [others[file] for file in files if file in others]
    return float(np.mean(found)) if found else None
