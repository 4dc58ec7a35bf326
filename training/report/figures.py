"""The plots of numbers: losses, scores, the trade, ROC and precision-recall, channels, codes.

Rules of this file: a function gives None where the content has nothing to plot. Every array is cut to what a page has
room for; the texts say so where that loses something. Colours are roles (theme.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from monitor.detector.arrays import BoolArray, FloatArray
from training.metrics import windows as metrics
from training.report import selection, words
from training.report.content import ReportContent
from training.report.theme import Key, Plot, Role, axis, color, dress, line, mark_line, safe, short

MOST_EPOCHS = 600
MOST_CODES = 1_500
MOST_CHANNELS = 30


def losses(content: ReportContent) -> Plot | None:
    """Loss by epoch, validation beside it where there was one."""
    if not content.history:
        return None
    history = [content.history[i] for i in selection.thinned(np.ones(len(content.history), np.bool_), MOST_EPOCHS)]
    epochs, last = [epoch.number for epoch in history], history[-1]
    figure, keys = go.Figure(), [Key(role="normal", label="training")]
    figure.add_scatter(
        x=epochs, y=[e.loss for e in history], mode="lines+markers", line=line("normal"), name="training"
    )
    watched, name = [epoch.validation for epoch in history], content.watched
    said = ""
    if any(loss is not None for loss in watched):
        figure.add_scatter(x=epochs, y=watched, mode="lines+markers", line=line("amber", dash="dash"), name=name)
        keys.append(Key(role="amber", label=name, mark="dashes"))
        least = min((e for e in history if e.validation is not None), key=lambda e: e.validation or 0.0)
        lowest = words.number(least.validation or 0.0)
        said = f"; the least loss of the {name} windows is {lowest}, at epoch {least.number}"
    if len(history) > 40:
        figure.update_traces(mode="lines")
    figure.update_traces(marker={"size": 5})
    if content.best_epoch is not None:
        figure.add_vline(x=content.best_epoch, line=line("ink", 1.4, dash="dot"))
        keys.append(Key(role="ink", label=f"kept: epoch {content.best_epoch}", mark="dashes"))
    both = [number for e in history for number in (e.loss, e.validation) if number is not None]
    wide = min(both) > 0 and max(both) > 10 * min(both)
    steps = 1 if wide and max(both) > 1e3 * min(both) else "D2"  # decades, or 1, 2, 5 in each
    dress(
        figure,
        xaxis=axis("epoch"),
        yaxis=axis(
            content.loss,
            **({"type": "log", "tickformat": "~g", "dtick": steps} if wide else {"rangemode": "tozero"}),
        ),
        hovermode="x unified",
    )
    return Plot(
        title="Loss",
        figure=figure,
        alt=f"The training loss goes from {words.number(history[0].loss)} to {words.number(last.loss)} in epoch "
        f"{last.number}{said}.",
        caption="A loss of windows that were not fitted which rises while the training loss falls means that the model "
        "learns by heart.",
        keys=tuple(keys),
    )


def histogram(content: ReportContent) -> Plot | None:
    """Scores of the test windows by truth, with the threshold."""
    tested, threshold = content.tested, content.threshold.value
    scored = np.isfinite(tested.scores)
    if not scored.any():
        return None
    edges, log = selection.bins(tested.scores, threshold)
    if tested.truth is None:
        groups: list[tuple[Role, Role, str, BoolArray]] = [("normal", "normal_fill", "test windows", scored)]
    else:
        groups = [
            ("normal", "normal_fill", "normal", scored & ~tested.truth),
            ("anomaly", "anomaly_fill", "anomalous", scored & tested.truth),
        ]
    figure, keys, said = go.Figure(), [], []
    for role, fill, name, which in groups:
        count = int(which.sum())
        if not count:
            continue
        shares = np.histogram(tested.scores[which], edges)[0] / count * 100
        steps = {"color": color(role), "width": 1.8, "shape": "hv", **({"dash": "dash"} if role == "anomaly" else {})}
        figure.add_scatter(
            x=edges.astype(np.float32),
            y=np.append(shares, 0.0).astype(np.float32),
            mode="lines",
            line=steps,
            fill="tozeroy",
            fillcolor=color(fill),
            name=name,
            hovertemplate="%{y:.1f}% at %{x:.4~g}",
        )
        over = int((tested.scores[which] > np.float32(threshold)).sum())
        keys.append(Key(role=role, label=f"{name} ({count:,})", mark="dashes" if role == "anomaly" else "line"))
        said.append(f"{over:,} of {words.counted(count, name + ' window' if len(groups) > 1 else 'test window')}")
    span = np.log(edges / edges[0]) if log else edges - edges[0]
    at = (np.log(threshold / edges[0]) if log else threshold - edges[0]) / span[-1]
    mark_line(figure, threshold, f"threshold {words.number(threshold)}", place=float(at), log=log)
    dress(
        figure,
        xaxis=axis("score", **_logarithmic(log, float(edges[0]), float(edges[-1]))),
        yaxis=axis(f"share of {'each kind' if len(groups) > 1 else 'test windows'}, %", rangemode="tozero"),
    )
    return Plot(
        title="Scores and the threshold",
        figure=figure,
        alt=f"Histogram of test scores. Over the threshold at {words.number(threshold)} are {' and '.join(said)}.",
        caption=_hills(tested.truth is not None, len(keys)) + words.own_thresholds(content),
        keys=tuple(keys),
    )


def trade(content: ReportContent) -> Plot | None:
    """Expected false alarms by threshold, and beneath it the share of anomalies found, where there are labels."""
    alarms, threshold, tested = content.alarms, content.threshold, content.tested
    if alarms is None or not (alarms.expected > 0).any():
        return None
    labelled = tested.truth is not None and bool((tested.truth & np.isfinite(tested.scores)).any())
    figure = make_subplots(
        rows=1 + labelled,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.09,
        row_heights=[0.6, 0.4][: 1 + labelled] if labelled else None,
    )
    order = np.argsort(alarms.thresholds, kind="stable")
    at = alarms.thresholds[order].astype(np.float64)
    log = bool(at[0] > 0 and at[-1] > 5 * at[0])
    if alarms.low is not None and alarms.high is not None:
        least = float(np.min(alarms.expected[alarms.expected > 0])) / 20
        low, high = np.maximum(alarms.low[order], least), np.maximum(alarms.high[order], least)
        figure.add_scatter(x=at, y=high, mode="lines", line=line("held", 0), hoverinfo="skip", row=1, col=1)
        figure.add_scatter(
            x=at, y=low, mode="lines", line=line("held", 0), fill="tonexty", fillcolor=color("held_fill"),
            hoverinfo="skip", row=1, col=1,
        )  # fmt: skip
    expected = np.where(alarms.expected[order] > 0, alarms.expected[order], np.nan)
    figure.add_scatter(
        x=at, y=expected, mode="lines", line=line("held", 2.4), name="false alarms",
        hovertemplate="threshold %{x:.4~g}: %{y:.3~g} " + safe(threshold.rate_unit) + "<extra></extra>", row=1, col=1,
    )  # fmt: skip
    keys = [Key(role="held", label="expected false alarms")]
    if alarms.low is not None:
        keys.append(Key(role="held_fill", label="95% interval", mark="box"))
    if labelled and tested.truth is not None:
        strange = np.sort(tested.scores[tested.truth & np.isfinite(tested.scores)])
        found = 100 * (1 - np.searchsorted(strange, at, side="right") / len(strange))
        figure.add_scatter(
            x=at, y=found, mode="lines", line=line("anomaly", 2.4, dash="dash"), name="anomalies found",
            hovertemplate="threshold %{x:.4~g}: %{y:.1f}% of the anomalies<extra></extra>", row=2, col=1,
        )  # fmt: skip
        keys.append(Key(role="anomaly", label="anomalies found", mark="dashes"))
        figure.update_yaxes(axis("found, %", range=[-3, 104], tickvals=[0, 50, 100]), row=2, col=1)
    figure.update_xaxes(axis(**_logarithmic(log, float(at[0]), float(at[-1]))))
    figure.update_xaxes(title=axis("threshold")["title"], row=1 + labelled, col=1)
    figure.update_yaxes(axis(_short_unit(threshold.rate_unit), type="log", dtick=1, tickformat="~g"), row=1, col=1)
    place = (
        (np.log(threshold.value / at[0]) / np.log(at[-1] / at[0])) if log else (threshold.value - at[0]) / np.ptp(at)
    )
    for row in range(1, 2 + labelled):
        figure.add_vline(x=threshold.value, line=line("ink", 1.6, dash="dash"), row=row, col=1)
    mark_line(
        figure, threshold.value, f"threshold {words.number(threshold.value)}", place=float(place), log=log, row=1, col=1
    )
    dress(figure, margin={"l": 64, "r": 14, "t": 12, "b": 44})
    return Plot(
        title="What a threshold costs",
        figure=figure,
        alt=f"Expected false alarms at the chosen threshold of {words.number(threshold.value)}: "
        f"{words.rate(threshold.expected, threshold.rate_unit)}. From the lowest threshold plotted to the highest they "
        f"go from {words.number(float(np.nanmax(expected)), 2)} to {words.number(float(np.nanmin(expected)), 2)}.",
        caption="The trade-off: how many false alarms people will bear"
        + (", and what is found at that price. " if labelled else ". ")
        + ("Windows in a row are one alarm, so a low threshold may make fewer. " if _rises(expected) else "")
        + "Move the threshold with telltale calibrate; no training and no data are needed."
        + words.own_thresholds(content),
        keys=tuple(keys),
        height=430 if labelled else 340,
        wide=True,
    )


def curves(content: ReportContent) -> list[Plot]:
    """ROC and precision-recall, with the threshold marked in each; none without both classes."""
    tested, found = content.tested, words.report_of(content.tested)
    if tested.truth is None or found is None or found.auroc is None or found.average_precision is None:
        return []
    scored = np.isfinite(tested.scores)
    truth, scores = tested.truth[scored], tested.scores[scored].astype(np.float64)
    at, positives = metrics.operating_points(truth, scores), int(truth.sum())
    false_rate = np.append(0.0, at.false_positive / (len(truth) - positives))
    recall = np.append(0.0, at.true_positive / positives)
    precision = at.true_positive / (at.true_positive + at.false_positive)
    share = positives / len(truth)
    recall_there, precision_there = found.anomaly.recall or 0.0, found.anomaly.precision
    false_rate_there = found.false_positive / (found.false_positive + found.true_negative)
    roc = _curve(false_rate, recall, "share of normal windows flagged", "share of anomalies found")
    roc.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line("muted", 1.2, dash="dot"), hoverinfo="skip")
    _dot(roc, false_rate_there, recall_there)
    pr = _curve(recall[1:], precision, "recall: share of anomalies found", "precision: share of alarms that are right")
    pr.add_scatter(x=[0, 1], y=[share, share], mode="lines", line=line("muted", 1.2, dash="dot"), hoverinfo="skip")
    if precision_there is not None:
        _dot(pr, recall_there, precision_there)
    keys = (
        Key(role="normal", label="the detector"),
        Key(role="muted", label="flags at random", mark="dashes"),
        Key(role="ink", label="at the threshold", mark="dot"),
    )
    off = (
        ""
        if tested.thresholds is None
        else " The curve is of one threshold for all series, the dot of each series' own."
    )
    shown = "nothing flagged" if precision_there is None else f"precision {precision_there:.3f}"
    return [
        Plot(
            title=f"ROC, area {found.auroc:.3f}",
            figure=roc,
            alt=f"ROC curve with area {found.auroc:.3f}. At the threshold {recall_there:.1%} of the anomalies are "
            f"found and {false_rate_there:.1%} of the normal windows are flagged.",
            caption="Does not change with how rare anomalies are, so it flatters where they are rare." + off,
            keys=keys,
            height=340,
        ),
        Plot(
            title=f"Precision and recall, average precision {found.average_precision:.3f}",
            figure=pr,
            alt=f"Precision-recall curve with average precision {found.average_precision:.3f}; flagging at random has "
            f"{share:.3f}. At the threshold: recall {recall_there:.3f}, {shown}.",
            caption=f"{share:.1%} of the test windows are anomalous; with rarer anomalies the precision is lower."
            + off,
            keys=keys,
            height=340,
        ),
    ]


def channels(content: ReportContent) -> Plot | None:
    """Mean error of each channel on normal and on anomalous windows; None with a single channel."""
    errors, count = content.channel_errors, len(content.channels)
    if errors is None or count < 2:
        return None
    normal, strange = errors.normal, errors.anomalous
    groups: list[tuple[Role, str, str, FloatArray]] = []
    if normal is not None:
        groups.append(("normal", "circle", "test" if content.tested.truth is None else "normal", normal))
    if strange is not None:
        groups.append(("anomaly", "diamond", "anomalous", strange))
    if not groups:
        return None
    order = np.argsort(groups[-1][3], kind="stable")[::-1][:MOST_CHANNELS][::-1]
    names = [short(content.channels[i].name) for i in order]
    places, figure = np.arange(len(order)), go.Figure()
    if normal is not None and strange is not None:
        for place, i in enumerate(order):
            figure.add_scatter(
                x=[normal[i], strange[i]], y=[place, place], mode="lines", line=line("grid", 4), hoverinfo="skip"
            )
    for role, symbol, name, values in groups:
        figure.add_scatter(
            x=values[order].astype(np.float32), y=places, mode="markers", name=name, text=names,
            marker={"color": color(role), "size": 10, "symbol": symbol}, hovertemplate="%{text}: %{x:.4~g}",
        )  # fmt: skip
    dress(
        figure,
        xaxis=axis("mean absolute error, scaled", rangemode="tozero"),
        yaxis=axis(tickmode="array", tickvals=places, ticktext=names, range=[-0.7, len(order) - 0.3]),
    )
    top = int(order[-1])
    each = (f"{words.number(float(values[top]))} on {name} windows" for _, _, name, values in groups)
    said = f"{content.channels[top].name} has the highest: {', '.join(each)}"
    return Plot(
        title="Error by channel",
        figure=figure,
        alt=f"Mean reconstruction error of {words.counted(len(order), 'channel')}. {said}.",
        caption=f"The {MOST_CHANNELS} channels with the highest errors of {count}." if count > MOST_CHANNELS else "",
        keys=tuple(Key(role=role, label=f"{name} windows", mark="dot") for role, _, name, _ in groups),
        height=110 + 26 * len(order),
        wide=True,
    )


def latent(content: ReportContent) -> Plot | None:
    """Codes on their principal axes."""
    if content.latent is None or not len(content.latent.codes):
        return None
    codes, truth, explained = content.latent.codes, content.latent.truth, content.latent.explained
    everything = np.ones(len(codes), np.bool_)
    groups: list[tuple[Role, str, str, BoolArray]] = [("normal", "circle", "test windows", everything)]
    if truth is not None:
        groups = [("normal", "circle", "normal", ~truth), ("anomaly", "diamond-open", "anomalous", truth)]
    figure, keys = go.Figure(), []
    for role, symbol, name, which in groups:
        places = selection.thinned(which, MOST_CODES)
        if not len(places):
            continue
        figure.add_scatter(
            x=codes[places, 0].astype(np.float32), y=codes[places, 1].astype(np.float32), mode="markers", name=name,
            marker={"color": color(role), "size": 6, "symbol": symbol, "opacity": 0.8, "line": line(role, 1.2)},
            hoverinfo="name",
        )  # fmt: skip
        cut = f", {MOST_CODES:,} shown" if int(which.sum()) > MOST_CODES else ""
        keys.append(Key(role=role, label=f"{name} ({int(which.sum()):,}{cut})", mark="dot"))
    titles = [f"axis {i + 1}: {share:.0%} of the variance" for i, share in enumerate(explained)]
    dress(figure, xaxis=axis(titles[0]), yaxis=axis(titles[1]))
    return Plot(
        title="Codes",
        figure=figure,
        alt=f"The codes of {len(codes):,} test windows on their first two principal axes, which hold "
        f"{sum(explained):.0%} of the variance of {words.counted(content.latent.width, 'number')}.",
        caption="How the encoder sees the windows. Anomalies that lie among the normal ones here may still be "
        "reconstructed badly: the score is not a distance in this picture.",
        keys=tuple(keys),
        height=380,
    )


def _hills(labelled: bool, kinds: int) -> str:
    if not labelled:
        return "No labels: a tail or a second hill on the right is what to look at first."
    if kinds < 2:
        return "Only one kind of windows could be scored in the test."
    return "Each kind adds up to 100%. Where the two hills overlap, any threshold must get some wrong."


def _curve(x: FloatArray, y: FloatArray, across: str, up: str) -> go.Figure:
    places = selection.distinct(x, y)
    figure = go.Figure()
    figure.add_scatter(
        x=x[places].astype(np.float32), y=y[places].astype(np.float32), mode="lines", line=line("normal", 2.4),
        hovertemplate="%{x:.3f}, %{y:.3f}<extra></extra>",
    )  # fmt: skip
    return dress(figure, xaxis=axis(across, range=[-0.02, 1.02]), yaxis=axis(up, range=[-0.02, 1.04]))


def _dot(figure: go.Figure, x: float, y: float) -> None:
    figure.add_scatter(
        x=[x], y=[y], mode="markers", marker={"size": 11, "color": color("ink"), "symbol": "circle"},
        hovertemplate="at the threshold: %{x:.3f}, %{y:.3f}<extra></extra>",
    )  # fmt: skip


def _rises(rates: FloatArray) -> bool:
    """Whether a higher threshold somewhere has a higher rate."""
    said = rates[np.isfinite(rates)]
    return bool((np.diff(said) > 0).any())


def _logarithmic(log: bool, low: float, high: float) -> dict[str, Any]:
    """An axis with 1, 2 and 5 of each decade, or of many decades some: all digits would lie over each other."""
    if not log:
        return {}
    decades = np.log10(high / low)
    return {"type": "log", "tickformat": "~g", "dtick": "D2" if decades < 2.5 else int(np.ceil(decades / 6))}


def _short_unit(unit: str) -> str:
    return f"false alarms {unit}" if len(unit) < 18 else "false alarms " + unit.replace(" per ", "<br>per ", 1)
