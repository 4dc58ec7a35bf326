"""One pass over the training windows, as it is told of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one pass came to: mean losses, in scaled units; `validation` is None without validation windows."""

    number: int
    loss: float
    validation: float | None
