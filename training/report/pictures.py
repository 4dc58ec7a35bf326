"""Pictures of windows: input, reconstruction and what lies between them; images; what a decoder makes of the prior.

Rules of this file: one small plot per window, so that the page may lay them out in as many columns as it has room for.
A window is shown in the data's own unit. Of many channels the worst are shown, by error in the channel's own spread.
"""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from monitor.detector.arrays import Float32Array, FloatArray, Int64Array
from training.report import selection, words
from training.report.content import ReportContent, Shown
from training.report.theme import BARE, RAMP, Key, Plot, axis, color, dress, line, short

POINTS = 240
CHANNELS = 4
PIXELS = 56
SAMPLES = 12
COLUMNS = 6
AXES = 6
BLACK_TO_WHITE = [[0.0, "#000000"], [1.0, "#ffffff"]]

WINDOW_KEYS = (
    Key(role="ink", label="input"),
    Key(role="normal", label="reconstruction", mark="dashes"),
    Key(role="anomaly_fill", label="error", mark="box"),
)


def keys(content: ReportContent) -> tuple[Key, ...]:
    """The legend of all `examples`; none of images, whose places say what they are."""
    return WINDOW_KEYS if content.window.image_shape is None else ()


def chosen_channels(content: ReportContent) -> str:
    """Says that not all channels are shown, where that is so."""
    count = len(content.channels)
    if count <= CHANNELS or content.window.image_shape is not None:
        return ""
    return f" Of {count} channels each picture has the {CHANNELS} that were reconstructed worst."


def examples(content: ReportContent, places: Int64Array) -> list[Plot]:
    """A plot for each of `places` (places in `Tested`) that `Shown` has."""
    shown = content.shown
    if shown is None:
        return []
    rows = {int(place): row for row, place in enumerate(shown.index)}
    draw = _window if content.window.image_shape is None else _image
    return [draw(content, shown, rows[int(place)]) for place in places if int(place) in rows]


def _window(content: ReportContent, shown: Shown, row: int) -> Plot:
    """Channels one above the other."""
    values, expected = shown.values[row].astype(np.float64), shown.reconstructions[row].astype(np.float64)
    spread = np.nanstd(shown.values.astype(np.float64), axis=(0, 1))
    gone = np.nan_to_num(np.abs(values - expected)).mean(axis=0) / np.where(spread > 0, spread, 1.0)
    worst = np.sort(np.argsort(-gone, kind="stable")[:CHANNELS])
    rate = content.window.sampling_rate_hz
    several = len(content.channels) > 1
    figure = make_subplots(rows=len(worst), cols=1, shared_xaxes=True, vertical_spacing=0.1)
    for place, channel in enumerate(worst, start=1):
        kept = np.union1d(
            selection.envelope(values[:, channel], POINTS // 2), selection.envelope(expected[:, channel], POINTS // 2)
        )
        x = (kept / rate if rate else kept).astype(np.float32)
        for drawn, name, style in (
            (expected[kept, channel], "reconstruction", {"line": line("normal", 1.6, dash="dash")}),
            (
                values[kept, channel],
                "input",
                {"line": line("ink", 1.6), "fill": "tonexty", "fillcolor": color("anomaly_fill")},
            ),
        ):
            figure.add_scatter(
                x=x,
                y=drawn.astype(np.float32),
                mode="lines",
                name=name,
                hovertemplate="%{y:.4~g}",
                row=place,
                col=1,
                **style,
            )
        about = content.channels[channel]
        unit = f", {about.unit}" if about.unit else ""
        title = "" if not unit else short(f"{about.name}{unit}")
        figure.update_yaxes(axis("" if several else title, nticks=4 if several else 5), row=place, col=1)
        if several:
            figure.add_annotation(
                x=0, xref="x domain", xanchor="left", y=1, yref="y domain", yanchor="bottom", showarrow=False,
                text=short(f"{about.name}{unit}"), font={"size": 11, "color": color("muted")}, row=place, col=1,
            )  # fmt: skip
        figure.update_yaxes(title={"font": {"size": 11}, "standoff": 4}, tickfont={"size": 11}, row=place, col=1)
    figure.update_xaxes(axis(nticks=6))
    figure.update_xaxes(title={"text": "seconds" if rate else "sample", "font": {"size": 11}, "standoff": 2},
                        tickfont={"size": 11}, row=len(worst), col=1)  # fmt: skip
    dress(figure, margin={"l": 40, "r": 8, "t": 18 if several else 6, "b": 34}, hovermode="x unified")
    said = f" Shown: {words.listed(tuple(content.channels[i].name for i in worst))}." if several else ""
    return _plot(content, shown, row, figure, said, height=56 + 88 * len(worst) if several else 180)


def _image(content: ReportContent, shown: Shown, row: int) -> Plot:
    """Input, reconstruction and absolute error side by side; colours are averaged."""
    pair = [_pixels(content, part[row]) for part in (shown.values, shown.reconstructions)]
    low, high = float(np.nanmin(shown.values)), float(np.nanmax(shown.values))
    figure = make_subplots(rows=1, cols=3, horizontal_spacing=0.03)
    for column, pixels in enumerate(pair, start=1):
        figure.add_heatmap(z=pixels, zmin=low, zmax=high, colorscale=BLACK_TO_WHITE, row=1, col=column)
    scale = [[0.0, color("surface")], [1.0, color("anomaly")]]
    figure.add_heatmap(
        z=np.abs(pair[0] - pair[1]), zmin=0.0, zmax=max(high - low, 1e-30), colorscale=scale, row=1, col=3
    )
    figure.update_traces(showscale=False, hoverinfo="skip")
    _as_images(figure)
    dress(figure, margin={"l": 2, "r": 2, "t": 2, "b": 2}, dragmode=False)
    return _plot(content, shown, row, figure, "", height=104)


def _plot(content: ReportContent, shown: Shown, row: int, figure: go.Figure, said: str, *, height: int) -> Plot:
    place = int(shown.index[row])
    score, thresholds = float(content.tested.scores[place]), content.tested.thresholds
    threshold = content.threshold.value if thresholds is None else float(thresholds[place])
    times = f"{words.number(score / threshold, 2)} times {'the threshold' if thresholds is None else 'its threshold'}"
    name = shown.names[row] if shown.names else f"test window {place:,}"
    return Plot(
        title=name,
        caption=f"score {words.number(score, 3)}, {times}",
        figure=figure,
        alt=f"Input and reconstruction of {name}: score {words.number(score)}, {times}.{said}",
        height=height,
    )


def samples(content: ReportContent) -> Plot | None:
    """What the decoder makes of codes drawn from the prior."""
    if content.generated is None or not len(content.generated.samples):
        return None
    drawn = content.generated.samples[:SAMPLES]
    figure, height, aspect = _grid(content, drawn.reshape(1, *drawn.shape) if len(drawn) <= COLUMNS else _folded(drawn))
    return Plot(
        title="Generated samples",
        figure=figure,
        alt=f"{words.counted(len(drawn), 'window')} that the decoder made of random codes.",
        caption="Decoded from codes drawn from the prior, N(0, I): where these look unlike the data, the model has not "
        "learnt its distribution, and its likelihood is not to be trusted." + _first_channel(content),
        height=height,
        wide=True,
        aspect=aspect,
    )


def walk(content: ReportContent) -> Plot | None:
    """One code moved along each of a few axes of the latent space."""
    made = content.generated
    if made is None or made.walk is None or not made.walk.size:
        return None
    moved, positions = made.walk[:AXES], made.positions
    span = f"{words.number(positions[0])} to {words.number(positions[-1])}"
    marks: tuple[Key, ...] = ()
    if content.window.image_shape is not None:
        steps = selection.thinned(np.ones(len(positions), np.bool_), 11)
        figure, height, aspect = _grid(content, moved[:, steps])
        said = f"left to right: {span} standard deviations; each row is one axis."
    else:
        figure, height = _overlaid(moved)
        aspect = None
        said = "each picture is one axis."
        marks = (
            Key(role="normal", label=f"{words.number(positions[0])} standard deviations"),
            Key(role="muted", label="between"),
            Key(role="anomaly", label=f"{words.number(positions[-1])} standard deviations"),
        )
    return Plot(
        title="A walk through the latent space",
        figure=figure,
        alt=f"What the decoder makes of one code as it is moved along {words.counted(len(moved), 'axis', 'axes')}, "
        f"{span} standard deviations.",
        caption=f"One number of the code is moved, the others stay at 0; {said} An axis that changes nothing is not "
        "used by the model." + _first_channel(content),
        keys=marks,
        height=height,
        wide=True,
        aspect=aspect,
    )


def _overlaid(moved: Float32Array) -> tuple[go.Figure, int]:
    """(axes, steps, length, channels), a picture for each axis with its steps in one, coloured in order."""
    columns = min(len(moved), 3)
    rows = math.ceil(len(moved) / columns)
    figure = make_subplots(rows=rows, cols=columns, horizontal_spacing=0.02, vertical_spacing=0.04, shared_yaxes="all")
    for place, steps in enumerate(moved):
        shades = np.linspace(0, len(RAMP) - 1, len(steps)).round().astype(int)
        for window, shade in zip(steps, shades, strict=True):
            kept = selection.envelope(window[:, 0], POINTS)
            figure.add_scatter(
                x=kept, y=window[kept, 0].astype(np.float32), mode="lines", line={"color": RAMP[shade], "width": 1.4},
                hoverinfo="skip", row=place // columns + 1, col=place % columns + 1,
            )  # fmt: skip
    _frames(figure)
    dress(figure, margin={"l": 4, "r": 4, "t": 4, "b": 4}, dragmode=False)
    return figure, 130 * rows


def _grid(content: ReportContent, windows: Float32Array) -> tuple[go.Figure, int, float | None]:
    """(rows, columns, length, channels) as small pictures without axes; a window of NaN is left out.

    Returns:
        The figure, its height or the most of it, and for images its aspect.
    """
    rows, columns = windows.shape[:2]
    image = content.window.image_shape is not None
    figure = make_subplots(rows=rows, cols=columns, horizontal_spacing=0.01, vertical_spacing=0.02)
    for row in range(rows):
        for column in range(columns):
            window, where = windows[row, column], {"row": row + 1, "col": column + 1}
            if np.isnan(window).all():
                continue
            if image:
                figure.add_heatmap(
                    z=_pixels(content, window), colorscale=BLACK_TO_WHITE, zmin=float(np.nanmin(windows)),
                    zmax=float(np.nanmax(windows)), showscale=False, hoverinfo="skip", **where,
                )  # fmt: skip
            else:
                kept = selection.envelope(window[:, 0], POINTS)
                figure.add_scatter(
                    x=kept, y=window[kept, 0].astype(np.float32), mode="lines", line=line("normal", 1.5),
                    hoverinfo="skip", **where,
                )  # fmt: skip
    aspect = None
    if image:
        _as_images(figure)
        height, width = content.window.image_shape or (1, 1)
        aspect = columns * width / (rows * height)
    else:
        _frames(figure)
        low, high = float(np.nanmin(windows[..., 0])), float(np.nanmax(windows[..., 0]))
        margin = 0.05 * (high - low or 1.0)
        figure.update_yaxes(range=[low - margin, high + margin])
    dress(figure, margin={"l": 4, "r": 4, "t": 4, "b": 4}, dragmode=False)
    return figure, min((170 if image else 84) * rows, 640), aspect


def _folded(windows: Float32Array) -> Float32Array:
    """(n, ...) into rows of `COLUMNS`, the last filled up with NaN."""
    rows = math.ceil(len(windows) / COLUMNS)
    folded = np.full((rows * COLUMNS, *windows.shape[1:]), np.nan, np.float32)
    folded[: len(windows)] = windows
    return folded.reshape(rows, COLUMNS, *windows.shape[1:])


def _pixels(content: ReportContent, window: FloatArray) -> Float32Array:
    """(height, width): colours averaged, large images thinned to about `PIXELS` a side."""
    height, width = content.window.image_shape or (1, content.window.length)
    step = math.ceil(max(height, width) / PIXELS)
    image: Float32Array = window.mean(axis=1).reshape(height, width)[::step, ::step].astype(np.float32)
    return image


def _as_images(figure: go.Figure) -> None:
    """Square pixels, first row on top, no axes."""
    figure.update_xaxes(**BARE, constrain="domain")
    figure.update_yaxes(**BARE, constrain="domain", autorange="reversed")
    for number, trace in enumerate(figure.data, start=1):
        figure.layout[f"yaxis{number if number > 1 else ''}"].scaleanchor = trace.xaxis or "x"


def _frames(figure: go.Figure) -> None:
    """A thin frame in the place of axes."""
    frame = {"showticklabels": False, "showgrid": False, "zeroline": False, "ticks": "", "fixedrange": True}
    figure.update_xaxes(**frame, showline=True, mirror=True, linecolor=color("grid"))
    figure.update_yaxes(**frame, showline=True, mirror=True, linecolor=color("grid"))


def _first_channel(content: ReportContent) -> str:
    if len(content.channels) == 1 or content.window.image_shape is not None:
        return ""
    return f" Shown: the first channel, {content.channels[0].name}."
