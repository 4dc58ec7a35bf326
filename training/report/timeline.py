"""The plot of the split: which rows of each series were learnt from, held out, tested, and labelled anomalous.

Rules of this file: as in figures.py; a bar for each series, time or rows from left to right.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from training.report import words
from training.report.content import ReportContent, Span, SubsetName
from training.report.theme import Key, Plot, Role, axis, dress, line, short

MOST_SERIES = 30
MOST_SPANS = 1_500
SUBSETS: dict[SubsetName, Role] = {
    "fit": "normal",
    "validation": "amber",
    "calibration": "held",
    "test": "other",
    "left out": "muted",
    "anomaly": "anomaly",
}


def plot(content: ReportContent) -> Plot | None:
    """Which rows of each series went to which subset."""
    if content.timeline is None or not content.timeline.spans:
        return None
    spans = content.timeline.spans
    names = list(dict.fromkeys(span.series for span in spans))
    kept = {name: len(names[:MOST_SERIES]) - 1 - place for place, name in enumerate(names[:MOST_SERIES])}
    figure, keys = go.Figure(), []
    for part, role in SUBSETS.items():
        chosen = [span for span in spans if span.part == part and span.series in kept][:MOST_SPANS]
        if chosen:
            figure.add_scatter(
                **_bars(chosen, kept, content.timeline.unit), name=part, mode="lines", hoverinfo="name",
                line=line(role, 5 if part == "anomaly" else 14),
            )  # fmt: skip
            keys.append(Key(role=role, label="labelled anomaly" if part == "anomaly" else part, mark="box"))
    named = [short(name) for name in kept]
    dress(
        figure,
        xaxis=axis("time, UTC" if content.timeline.unit == "time" else "row", showgrid=True),
        yaxis=axis(
            tickmode="array",
            tickvals=list(kept.values()),
            ticktext=named,
            range=[-0.7, len(kept) - 0.3],
            showgrid=False,
        ),
    )
    rest = len(names) - len(kept)
    return Plot(
        title="Splits of each series",
        figure=figure,
        alt=f"{words.counted(len(kept), 'series', 'series')}, each divided into "
        f"{words.listed(tuple(key.label for key in keys), most=6)}.",
        caption=f"The first {len(kept)} series; {rest} more are not drawn." if rest else "",
        keys=tuple(keys),
        height=104 + 26 * len(kept),
        wide=True,
    )


def _bars(spans: list[Span], places: dict[str, int], unit: str) -> dict[str, list[object]]:
    """Thick lines, one for each span, with a hole after each."""
    x: list[object] = []
    y: list[object] = []
    for span in spans:
        ends = (span.start, span.end)
        x += [*(np.array(ends).astype("datetime64[us]").astype(str).tolist() if unit == "time" else ends), None]
        y += [places[span.series], places[span.series], None]
    return {"x": x, "y": y}
