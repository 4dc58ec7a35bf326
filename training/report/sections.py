"""The sections of the page, in the order in which a reader wants them. HTML by markup.py, sentences by words.py.

Rules of this file: where something can't be known the section says so, and why; it is never left blank.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from monitor.detector.arrays import Int64Array
from training.metrics import windows as metrics
from training.report import figures, pictures, selection, timeline, words
from training.report.content import ReportContent
from training.report.markup import Drawing, facts, items, legend, metrics_table, paragraph, scrolled, table, text

MOST_THRESHOLDS = 40


@dataclass(frozen=True, slots=True)
class PageSection:
    """`name` is its anchor; `body` HTML."""

    name: str
    title: str
    body: str


def summary(content: ReportContent) -> str:
    """The first screen: what was trained on what, the threshold and its cost, warnings, metrics beside baselines."""
    tiles = "".join(
        f'<div class="tile"><dt>{text(name)}</dt><dd class="value">{text(value)}</dd><dd>{text(more)}</dd></div>'
        for name, value, more in _tiles(content)
    )
    said = items(words.warnings(content))
    warnings = f'<div class="warnings" role="note"><h2>Before you use it</h2>{said}</div>' if said else ""
    return (
        f'<p class="over">Telltale training report: {text(content.name)}, version {text(content.version)}, '
        f"{text(content.created)}</p><h1>{text(words.verdict(content))}</h1>"
        f'<div class="lede">{paragraph(words.trained_on(content))}{paragraph(words.threshold_choice(content))}</div>'
        f'<dl class="tiles">{tiles}</dl>{warnings}' + "".join(map(metrics_table, content.tables))
    )


def sections(content: ReportContent) -> Iterator[PageSection]:
    """All that there is something to say in."""
    drawing = Drawing()
    yield PageSection("threshold", "The threshold", _threshold(content, drawing))
    yield PageSection("accuracy", "Accuracy", _accuracy(content, drawing))
    yield from _examples(content, drawing)
    if (plot := figures.channels(content)) is not None:
        yield PageSection("channels", "Channels", drawing.plots(plot))
    if (plot := figures.latent(content)) is not None:
        yield PageSection("codes", "Latent space", drawing.plots(plot))
    if body := drawing.plots(pictures.samples(content), pictures.walk(content)):
        yield PageSection("generated", "What the decoder makes", body)
    yield PageSection("training", "Training", _training(content, drawing))
    yield PageSection("data", "Data", _data(content, drawing))
    yield PageSection("reproduce", "Reproduce and check", _reproduce(content))


def _tiles(content: ReportContent) -> Iterator[tuple[str, str, str]]:
    threshold, tested, found = content.threshold, content.tested, words.report_of(content.tested)
    yield "Threshold", words.number(threshold.value), f"method: {threshold.method.replace('_', ' ')}"
    if threshold.expected is None:
        yield "Expected false alarms", "unknown", "how many windows a day has is not known"
    else:
        more = words.rate(threshold.expected, threshold.rate_unit).partition(" ")[2]
        yield "Expected false alarms", words.number(threshold.expected.value, 2), more
    if found is None:
        count, over = len(tested.scores), int(tested.flagged.sum())
        yield "Test windows over the threshold", words.percent(over, count), f"{over:,} of {count:,}; no labels"
        yield "Accuracy", "unknown", "no labels"
        return
    alarms, anomalies = found.true_positive + found.false_positive, found.true_positive + found.false_negative
    yield (
        "Anomalies found", words.percent(found.true_positive, anomalies),
        f"{found.true_positive:,} of {anomalies:,} test windows",
    )  # fmt: skip
    yield "Alarms that are right", words.percent(found.true_positive, alarms), f"{found.true_positive:,} of {alarms:,}"


def _threshold(content: ReportContent, drawing: Drawing) -> str:
    threshold = content.threshold
    parts = [paragraph(f"{words.threshold_choice(content)} {words.false_alarms(threshold)}")]
    if content.alarms is not None and (least := words.least_seen(content.alarms)) is not None:
        parts.append(
            paragraph(
                f"The calibration windows can show rates down to {words.number(least, 2)} {threshold.rate_unit}; "
                "a threshold for fewer is an extrapolation."
            )
        )
    quantiles = ""
    if threshold.quantiles:
        rows = [(f"{100 * p:.7g}%", words.number(score)) for p, score in threshold.quantiles]
        half = (len(rows) + 1) // 2
        padded = [*rows[half:], ("", "")][:half]
        quantiles = '<div class="card">' + table(
            "Scores of the calibration windows",
            ("at most", "score", "at most", "score"),
            [(*left, *right) for left, right in zip(rows[:half], padded, strict=True)],
            wordy=(),
        )
        quantiles += f"<p>{text('The share of the calibration windows with at most this score.')}</p></div>"
    parts.append(drawing.plots(figures.trade(content), figures.histogram(content), also=quantiles))
    if threshold.series:
        rows = [(text(name), words.number(value)) for name, value in threshold.series[:MOST_THRESHOLDS]]
        rest = len(threshold.series) - len(rows)
        named = words.counted(len(threshold.series), "series", "series")
        parts.append(f"<details><summary>Thresholds of {named}</summary>")
        parts.append(table("Thresholds of single series", ("series", "threshold"), rows))
        parts.append(paragraph(f"{rest} more are in the manifest." if rest else "") + "</details>")
    return "".join(parts)


def _accuracy(content: ReportContent, drawing: Drawing) -> str:
    found = words.report_of(content.tested)
    said = paragraph(words.labels(content))
    if found is None:
        return said
    curves = figures.curves(content)
    if not curves:
        said += paragraph("ROC and precision-recall need both kinds of windows in the test; one is absent.")
    return said + _confusion(found) + drawing.plots(*curves)


def _confusion(found: metrics.Report) -> str:
    """Counts as a table, and what they mean to whoever gets the alarms."""
    normal, anomalies = found.true_negative + found.false_positive, found.true_positive + found.false_negative
    rows = (
        (
            "normal", normal,
            ((found.true_negative, "rightly passed", "normal"), (found.false_positive, "false alarms", "anomaly")),
        ),
        (
            "anomalous", anomalies,
            ((found.false_negative, "missed", "anomaly"), (found.true_positive, "found", "normal")),
        ),
    )  # fmt: skip
    body = "".join(
        f'<tr><th scope="row">{name}<br><span class="muted">{total:,} windows</span></th>'
        + "".join(
            f'<td style="--share:{metrics.ratio(count, total) or 0:.3f};--hue:var(--{hue})"><b>{count:,}</b>{said}<br>'
            f"{words.percent(count, total)}</td>"
            for count, said, hue in cells
        )
        + "</tr>"
        for name, total, cells in rows
    )
    head = '<tr><th class="text">truth</th><th scope="col">not flagged</th><th scope="col">flagged</th></tr>'
    alarms = found.true_positive + found.false_positive
    said = []
    if alarms:
        said.append(
            f"Of {words.counted(alarms, 'alarm')}, {found.true_positive:,} are right, {found.false_positive:,} false."
        )
    if anomalies:
        said.append(f"Of {words.counted(anomalies, 'anomaly', 'anomalies')}, {found.false_negative:,} are missed.")
    if found.accuracy is not None:
        said.append(f"Accuracy: {found.accuracy:.3f}.")
    for name, of_class in (("Anomaly", found.anomaly), ("Normal", found.normal)):
        named = (("precision", of_class.precision), ("recall", of_class.recall), ("F1", of_class.f1))
        metrics_of = ", ".join(f"{kind} {value:.3f}" for kind, value in named if value is not None)
        if metrics_of:
            said.append(f"{name} as the positive class: {metrics_of}.")
    inner = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
    both = f"{scrolled('Confusion', inner)}{items(said)}"
    return f'<div class="card"><h3>Confusion</h3><div class="confusion">{both}</div></div>'


def _examples(content: ReportContent, drawing: Drawing) -> Iterator[PageSection]:
    if content.shown is None or not len(content.shown.index):
        return
    chosen, labelled = selection.select(content.tested), content.tested.truth is not None
    kind = "" if content.window.image_shape is None else "images"

    def group(title: str, more: str, places: Int64Array, none: str) -> str:
        plots = pictures.examples(content, places)
        said = more if plots else none
        return f'<div class="group"><h3>{title}</h3>{paragraph(said)}</div>{drawing.pictures(plots, kind)}'

    shaded = f"The shaded area between the two lines is the error.{pictures.chosen_channels(content)}"
    key = legend(pictures.keys(content))
    placed = "Input on the left, reconstruction in the middle, error on the right: the stronger its colour, the larger."
    intro = paragraph(placed if kind else shaded) + key
    if labelled:
        quiet = group("Normal, rightly passed", "From the lowest score to the highest.", chosen.quiet,
                      "No normal test window was passed.")  # fmt: skip
        loud = group("Anomalous, rightly flagged", "From the lowest score to the highest.", chosen.loud,
                     "No labelled anomaly was flagged.")  # fmt: skip
        yield PageSection("examples", "Examples", intro + quiet + loud)
        alarms = group("Worst false alarms", "Normal by the labels, and yet of the highest scores: look here for wrong "
                       "labels, too.", chosen.false_alarms,
                       "There is none: no normal test window is over the threshold.")  # fmt: skip
        misses = group("Worst misses", "Anomalous by the labels, and yet of the lowest scores.", chosen.misses,
                       "There is none: every labelled anomaly is over the threshold.")  # fmt: skip
        yield PageSection("mistakes", "Mistakes", key + alarms + misses)
    else:
        quiet = group(
            "Under the threshold",
            "From the lowest score to the highest.",
            chosen.quiet,
            "No test window is under the threshold.",
        )
        loud = group("Over the threshold", "From the lowest score to the highest; whether they are anomalies only a "
                     "person can say.", chosen.loud, "No test window is over the threshold.")  # fmt: skip
        yield PageSection("examples", "Examples", intro + quiet + loud)


def _training(content: ReportContent, drawing: Drawing) -> str:
    said = paragraph(f"The score is the {content.score}; what is minimised is the {content.loss}.")
    if not content.history:
        said += paragraph("No losses were kept.")
    return said + drawing.plots(figures.losses(content)) + items(content.notes, "notes")


def _data(content: ReportContent, drawing: Drawing) -> str:
    channels = tuple(f"{c.name} ({c.unit})" if c.unit else c.name for c in content.channels)
    rate = content.window.sampling_rate_hz
    rows = [(text(f.name), f"{f.rows:,}", f'<code class="hash">{text(f.sha256)}</code>') for f in content.files]
    about = facts(
        (
            ("channels", words.listed(channels, most=12)),
            (
                "window",
                words.shape(content)
                + (f", one every {content.window.hop}" if not content.window.whole_records else ""),
            ),
            ("sampling rate", f"{words.number(rate)} Hz" if rate else ""),
            ("windows", ", ".join(f"{count:,} {part}" for part, count in content.windows if count)),
            ("split", content.split),
            ("missing numbers", content.missing),
            ("contamination", content.contamination),
        )
    )
    listed = table("Files", ("file", "rows", "sha256"), rows, wordy=(0, 2)) if rows else ""
    return f'<div class="card">{about}{listed}</div>{drawing.plots(timeline.plot(content))}'


def _reproduce(content: ReportContent) -> str:
    parts = []
    if content.command:
        parts.append(f"<pre>{text(content.command)}</pre>")
        parts.append(
            paragraph("The same data, recipe, seed and versions on the same kind of machine give the same bits.")
        )
    parts.append(
        f"<details><summary>Recipe {text(content.recipe)}</summary><pre>{text(content.recipe_text)}</pre></details>"
    )
    if content.environment:
        parts.append(f"<details open><summary>Environment</summary>{facts(content.environment)}</details>")
    if content.parameters:
        numbers = sum(int(np.prod(tensor.shape, dtype=np.int64)) for tensor in content.parameters)
        rows = [
            (text(t.name), " x ".join(map(str, t.shape)) or "1", f'<code class="hash">{text(t.sha256)}</code>')
            for t in content.parameters
        ]
        title = f"{words.counted(numbers, 'parameter')} in {words.counted(len(rows), 'tensor')}"
        inner = table("Tensors", ("name", "shape", "sha256"), rows, wordy=(0, 2))
        parts.append(f"<details><summary>{text(title)}</summary>{inner}</details>")
    return f'<div class="card">{"".join(parts)}</div>'
