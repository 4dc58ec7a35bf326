"""Numbers in the texts of checks, as people say them."""

from __future__ import annotations


def percent(share: float) -> str:
    """A share from 0 to 1, in two digits: none, less than 0.01 %, 0.21 %, 10 %, all."""
    if share <= 0 or share >= 1:
        return "none" if share <= 0 else "all"
    if share < 1e-4:
        return "less than 0.01 %"
    return f"{100 * share:.2g} %" if share < 0.995 else "more than 99 %"
