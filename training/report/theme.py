"""How plots look: one set of colours for light, one for dark, and nothing that the page does not need.

Rules of this file: every colour is a `Role`, and a role's two colours differ from all others, as the page's
script turns one set into the other by value. The hues are those of Okabe & Ito 2008, "Color Universal Design",
lightened for dark; no two things that must be distinguished differ by hue alone.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import plotly.graph_objects as go

Role = Literal[
    "ink", "muted", "grid", "surface", "normal", "anomaly", "held", "other", "amber", "normal_fill", "anomaly_fill",
    "held_fill",
]  # fmt: skip

LIGHT: dict[Role, str] = {
    "ink": "#1b2430",
    "muted": "#566172",
    "grid": "#e4e8ed",
    "surface": "#fffffe",
    "normal": "#0072b2",
    "anomaly": "#cf5a00",
    "held": "#00835f",
    "other": "#98508c",
    "amber": "#b87d00",
    "normal_fill": "rgba(0,114,178,0.18)",
    "anomaly_fill": "rgba(213,94,0,0.30)",
    "held_fill": "rgba(0,131,95,0.16)",
}
DARK: dict[Role, str] = {
    "ink": "#e7ebf1",
    "muted": "#a3aebc",
    "grid": "#2d3743",
    "surface": "#171d26",
    "normal": "#5db8ee",
    "anomaly": "#ff9050",
    "held": "#35c99d",
    "other": "#dd94cd",
    "amber": "#efbf4f",
    "normal_fill": "rgba(93,184,238,0.22)",
    "anomaly_fill": "rgba(255,144,80,0.38)",
    "held_fill": "rgba(53,201,157,0.20)",
}
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif'
LONGEST_LABEL = 26
RAMP_STEPS = 9


def _ramp(palette: dict[Role, str]) -> tuple[str, ...]:
    """`RAMP_STEPS` colours from "normal" through "muted" to "anomaly"."""
    ends = [[int(palette[role][i : i + 2], 16) for i in (1, 3, 5)] for role in ("normal", "muted", "anomaly")]
    half = RAMP_STEPS // 2
    colors = []
    for step in range(RAMP_STEPS):
        first, share = ends[step // half :], step % half / half
        mixed = [round(a + share * (b - a)) for a, b in zip(first[0], first[min(1, len(first) - 1)], strict=True)]
        colors.append("#" + "".join(f"{part:02x}" for part in mixed))
    return tuple(colors)


RAMP = _ramp(LIGHT)
# What the page's script puts in the place of what, and back.
DARKENED = {**dict(zip(RAMP, _ramp(DARK), strict=True)), **{LIGHT[role]: DARK[role] for role in LIGHT}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One entry of a legend, which stands as text above the plot."""

    role: Role
    label: str
    mark: Literal["line", "dashes", "dot", "box"] = "line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A figure with what stands around it; all text is plain and not yet escaped.

    Args:
        alt: says what the picture shows, with its numbers, for who can't see it.
        caption: says how to read it.
        wide: takes the whole width.
        aspect: width over height, in the place of `height`, which is then the most.
    """

    title: str
    figure: go.Figure
    alt: str
    caption: str = ""
    keys: tuple[Key, ...] = field(default=())
    height: int = 320
    wide: bool = False
    aspect: float | None = None


def color(role: Role) -> str:
    """The light colour, which the page's script knows how to turn dark."""
    return LIGHT[role]


def line(role: Role, width: float = 1.8, **more: Any) -> dict[str, Any]:
    return {"color": LIGHT[role], "width": width, **more}


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """An axis with grid lines and the title outside of the numbers."""
    return {
        "title": {"text": title, "font": {"size": 13, "color": LIGHT["muted"]}, "standoff": 8},
        "gridcolor": LIGHT["grid"],
        "linecolor": LIGHT["grid"],
        "zerolinecolor": LIGHT["grid"],
        "tickfont": {"size": 12, "color": LIGHT["muted"]},
        "automargin": True,
        **more,
    }


BARE = {"visible": False, "fixedrange": True}


def dress(figure: go.Figure, **layout: Any) -> go.Figure:
    """Puts the common layout on; `layout` wins. Returns the figure itself."""
    figure.update_layout(
        template=go.layout.Template(),
        autosize=False,
        showlegend=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 13, "color": LIGHT["ink"]},
        margin={"l": 52, "r": 14, "t": 12, "b": 44},
        hoverlabel={
            "bgcolor": LIGHT["surface"],
            "bordercolor": LIGHT["muted"],
            "font": {"color": LIGHT["ink"], "family": FONT},
        },
    )
    figure.update_layout(**layout)
    return figure


def mark_line(figure: go.Figure, at: float, text: str, *, place: float, log: bool, **where: Any) -> None:
    """A dashed vertical line at `at` with its name on top; `place` in [0, 1] is how far right that is in the plot."""
    figure.add_vline(x=at, line=line("ink", 1.6, dash="dash"), **where)
    right = place > 0.6
    figure.add_annotation(
        x=math.log10(at) if log else at,
        y=1.0,
        yref="y domain" if not where else "paper",
        text=safe(text),
        showarrow=False,
        xanchor="right" if right else "left",
        yanchor="top",
        xshift=-5 if right else 5,
        font={"size": 12, "color": LIGHT["ink"]},
        bgcolor=LIGHT["surface"],
        opacity=0.92,
    )


def safe(text: str) -> str:
    """Text for a plot: Plotly reads tags and `%{...}`, so both are taken away."""
    return html.escape(text, quote=False).replace("%{", "%&#123;")


def short(text: str) -> str:
    """`safe`, cut to what a label has room for."""
    return safe(text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…")
