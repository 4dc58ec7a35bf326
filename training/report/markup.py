"""Pieces of HTML. Rules of this file: whatever is text goes through `text`, without exception; nothing is fetched."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Sequence

from training.report import words
from training.report.content import MetricsTable
from training.report.theme import Key, Plot


def text(value: str) -> str:
    """Escaped for an element and for a quoted attribute."""
    return html.escape(value, quote=True)


def paragraph(value: str) -> str:
    return f"<p>{text(value)}</p>" if value else ""


def items(values: Iterable[str], kind: str = "") -> str:
    inner = "".join(f"<li>{text(value)}</li>" for value in values)
    return f'<ul class="{kind}">{inner}</ul>' if inner else ""


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names and values."""
    inner = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in pairs if value)
    return f'<dl class="facts">{inner}</dl>' if inner else ""


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, wordy: Sequence[int] = (0,)) -> str:
    """Cells are HTML already; `wordy` columns are set to the left."""
    kind = ['class="text"' if place in wordy else "" for place in range(len(columns))]
    head = "".join(f'<th scope="col" {kind[i]}>{text(column)}</th>' for i, column in enumerate(columns))
    body = "".join(
        "<tr>" + "".join(f"<td {kind[i]}>{cell}</td>" for i, cell in enumerate(row)) + "</tr>" for row in rows
    )
    inner = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<h3>{text(title)}</h3>{scrolled(title, inner)}"


def scrolled(title: str, inner: str) -> str:
    """Scrolls within itself where the screen is narrow."""
    return f'<div class="scroll" role="region" aria-label="{text(title)}" tabindex="0">{inner}</div>'


def metrics_table(found: MetricsTable) -> str:
    """A table of metrics; baselines are muted, beneath the detector."""
    head = "".join(f'<th scope="col">{text(column)}</th>' for column in ("", *found.columns))
    rows = []
    for row in found.rows:
        cells = "".join(
            f"<td>{words.cell(cell)}{f'<small>{words.interval(cell)}</small>' if words.interval(cell) else ''}</td>"
            for cell in row.cells
        )
        tag = "" if row.kind == "detector" else f'<span class="tag">{row.kind}</span>'
        rows.append(f'<tr class="{row.kind}"><th scope="row">{text(row.name)}{tag}</th>{cells}</tr>')
    inner = f'<table class="full"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="card figures"><h3>{text(found.title)}</h3>{scrolled(found.title, inner)}</div>'


def legend(keys: Iterable[Key]) -> str:
    inner = "".join(
        f'<li><span class="key {key.mark} {key.role}" aria-hidden="true"></span>{text(key.label)}</li>' for key in keys
    )
    return f'<ul class="keys">{inner}</ul>' if inner else ""


class Drawing:
    """Numbers the plots of a page, so that each has a name of its own."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def plot(self, plot: Plot) -> str:
        """A figure of its own: title, legend, picture, caption."""
        kind = ' class="wide"' if plot.wide else ""
        caption = f"<figcaption>{text(plot.caption)}</figcaption>" if plot.caption else ""
        return f"<figure{kind}><h3>{text(plot.title)}</h3>{legend(plot.keys)}{self._canvas(plot)}{caption}</figure>"

    def plots(self, *plots: Plot | None, also: str = "") -> str:
        """Side by side where there is room; `also` is HTML that stands after them."""
        inner = "".join(self.plot(plot) for plot in plots if plot is not None) + also
        return f'<div class="plots">{inner}</div>' if inner else ""

    def pictures(self, plots: Sequence[Plot], kind: str = "") -> str:
        """Many small ones; their common legend stands elsewhere."""
        inner = "".join(
            f"<figure><h4>{text(plot.title)}</h4><figcaption>{text(plot.caption)}</figcaption>{self._canvas(plot)}</figure>"
            for plot in plots
        )
        return f'<div class="plots many {kind}">{inner}</div>' if inner else ""

    def _canvas(self, plot: Plot) -> str:
        """The place, and the figure's JSON right after it, where the page's script looks for it."""
        high = f"height:{plot.height}px"
        if plot.aspect is not None:
            high = f"aspect-ratio:{plot.aspect:.4f};max-height:{plot.height}px"
        # by the standard library: orjson, which Plotly takes where it is installed, refuses names that are not UTF-8
        data: str = plot.figure.to_json(validate=False, engine="json")
        return (
            f'<div class="canvas" id="plot-{next(self._numbers)}" role="img" aria-label="{text(plot.alt)}" '
            f'style="{high}"><noscript>{text(plot.alt)}</noscript></div>'
            f'<script type="application/json">{inert(data)}</script>'
        )


def inert(data: str) -> str:
    """JSON that can't end the element it stands in."""
    return data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
