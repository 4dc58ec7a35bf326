"""Numbers as people read them in a summary."""

from __future__ import annotations

import math


def number(value: float, detail: float) -> str:
    """A number with as many decimals as show three digits of `detail`: 101325 and 101279, not 1.01e+05 twice."""
    if not 1e-6 < abs(detail) < 1e9 or abs(value) >= 1e12:
        return f"{value:.3g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(detail))))}f}"


def times(ratio: float) -> str:
    """How many times: "1.47x"."""
    if ratio < 1e4:
        return f"{ratio:.2f}x"
    return f"{float(f'{ratio:.3g}'):,.0f}x" if ratio < 1e9 else f"{ratio:.3g}x"
