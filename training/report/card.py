"""`MODEL_CARD.md`: what a model is for, what it was seen to do, and what not to trust it with.

Rules of this file: GitHub-flavoured Markdown without HTML; text from outside can't form markup. Sections follow
Mitchell et al. 2019, "Model Cards for Model Reporting", arXiv:1810.03993.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from training.report import words
from training.report.content import MetricsTable, ReportContent, check

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!$&])")
# GitHub makes links of bare addresses, too.
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
_LEADING = re.compile(r"^(\s*)([-+=]|\d+[.)](?=\s|$))")


def model_card(content: ReportContent) -> bytes:
    """The card as UTF-8.

    Raises:
        DataError: the content's arrays don't belong together.
    """
    check(content)
    blocks = [
        f"# {plain(content.name)}",
        f"**{plain(words.verdict(content))}.**",
        plain(words.trained_on(content)),
        *_warnings(content),
        "## Intended use",
        *_use(content),
        "## Data",
        *_data(content),
        "## Metrics",
        plain(words.labels(content)),
        *(_metrics(found) for found in content.tables),
        *_counts(content),
        "## Threshold",
        plain(words.threshold_choice(content)),
        plain(words.false_alarms(content.threshold)),
        "## Reproduce",
        *_reproduce(content),
    ]
    return ("\n\n".join(block for block in blocks if block) + "\n").encode("utf-8", "backslashreplace")


def plain(text: str) -> str:
    """Text that reads as itself in Markdown, on one line."""
    flat = _ADDRESS.sub(r"\\", _SPECIAL.sub(r"\\\1", " ".join(text.split())))
    return _LEADING.sub(lambda found: f"{found[1]}{found[2][:-1]}\\{found[2][-1]}", flat)


def _warnings(content: ReportContent) -> Iterable[str]:
    if said := words.warnings(content):
        yield "## Before you use it"
        yield _list(said)


def _use(content: ReportContent) -> Iterable[str]:
    channels = tuple(channel.name for channel in content.channels)
    yield plain(
        f"It measures how far windows of {words.shape(content)} ({words.listed(channels, most=8)}) are from those that "
        "it was fitted to, as telltale run does it on a stream. It says that something is unusual, not what it is, and "
        "an alarm is for a person to look at."
    )
    limits = [
        "Data of another source, sampling rate, unit or scale than the training data gives scores that mean nothing.",
        "What is unusual and harmless is flagged; an anomaly that is rebuilt as well as normal windows is missed.",
        "The normal state may drift: compare the rate of alarms with the expected one, and calibrate or train anew.",
        "It is no medical device and no safety function.",
    ]
    if content.tested.truth is None:
        limits.insert(0, "It was tested without labels: nothing is known of what it misses.")
    if not content.threshold.held_out:
        limits.insert(0, "The threshold was chosen on windows that were fitted: expect more false alarms than there.")
    yield _list(limits)


def _data(content: ReportContent) -> Iterable[str]:
    yield _table(
        ("file", "rows", "sha256"),
        [(plain(f.name), f"{f.rows:,}", f"`{_code(f.sha256)}`") for f in content.files],
        left=(0, 2),
    )
    sizes = ", ".join(f"{count:,} {part}" for part, count in content.windows if count)
    said = [f"Windows: {sizes}. {content.split}"]
    said += [f"Missing numbers: {content.missing}"] if content.missing else []
    said += [f"Contamination: {content.contamination}"] if content.contamination else []
    yield _list((*said, *content.notes))


def _metrics(found: MetricsTable) -> str:
    rows = [
        (
            plain(words.row_name(row)),
            *(" ".join(filter(None, (words.cell(c), _bracketed(words.interval(c))))) for c in row.cells),
        )
        for row in found.rows
    ]
    return f"### {plain(found.title)}\n\n" + _table(("", *map(plain, found.columns)), rows)


def _bracketed(interval: str) -> str:
    return f"({interval})" if interval else ""


def _counts(content: ReportContent) -> Iterable[str]:
    found = words.report_of(content.tested)
    if found is None:
        return
    yield _table(
        ("truth", "not flagged", "flagged"),
        [
            ("normal", f"{found.true_negative:,}", f"{found.false_positive:,} (false alarms)"),
            ("anomalous", f"{found.false_negative:,} (missed)", f"{found.true_positive:,}"),
        ],
    )
    both = (("anomaly", found.anomaly), ("normal", found.normal))
    yield _table(
        ("positive class", "precision", "recall", "F1"),
        [(name, *("-" if x is None else f"{x:.3f}" for x in (c.precision, c.recall, c.f1))) for name, c in both],
    )


def _reproduce(content: ReportContent) -> Iterable[str]:
    if content.command:
        yield _fenced(content.command, "sh")
    yield f"Recipe {plain(content.recipe)}, seed {content.seed}:"
    yield _fenced(content.recipe_text.strip(), "toml")
    if content.environment:
        yield _table(
            ("environment", ""), [(plain(name), plain(value)) for name, value in content.environment], left=(0, 1)
        )
    if content.parameters:
        rows = [
            (plain(t.name), " x ".join(map(str, t.shape)) or "1", f"`{_code(t.sha256)}`") for t in content.parameters
        ]
        yield _table(("tensor", "shape", "sha256"), rows, left=(0, 2))


def _list(values: Iterable[str]) -> str:
    return "\n".join(f"- {plain(value)}" for value in values)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[int] = (0,)) -> str:
    """Cells are Markdown already."""
    rule = ("---" if place in left else "--:" for place in range(len(columns)))
    return "\n".join("| " + " | ".join(row) + " |" for row in (columns, tuple(rule), *rows))


def _fenced(text: str, language: str) -> str:
    """A code block whose fence is longer than any in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _code(text: str) -> str:
    return re.sub(r"[`|\s]", "", text)
