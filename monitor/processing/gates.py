"""Between an alert and its subscribers: stages, each of which may hold an alert back or add to it.

A stage is a function in a file of its own, and a row of `STAGES` (`monitor/extensions.py`), through which every alert
goes in order: the last thing that is decided. The incident of one that is held back lives on as if it had been
published, under the same ids.

Rules of this file: pure. A stage says the same of the same alert whenever it is asked, by what the alert says and by
nothing else: no clock but the alert's own time, and nothing that is remembered. One that has to remember must have its
state committed with each alert, as incidents are; else a restart would decide otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from monitor import extensions
from monitor.messages.quality import Event


class Suppressed(NamedTuple):
    """An alert is not published; the reason is one of a closed set, as it labels a metric."""

    reason: str


class Stage(Protocol):
    """Looks at an alert that is about to be published: returns it, with more in it or not, or holds it back."""

    def __call__(self, alert: Event, /) -> Event | Suppressed: ...


def stages() -> dict[str, Stage]:
    """All stages by name, in their order."""
    return extensions.load_rows(extensions.STAGES)


def admitted(alerts: Iterable[Event], chain: Mapping[str, Stage], suppressed: Counter[tuple[str, str]]) -> list[Event]:
    """The alerts that `chain` lets through, as they are published; the others are counted, by stage and reason."""
    if not chain:
        return [*alerts]
    return [found for alert in alerts if (found := _through(alert, chain, suppressed)) is not None]


def _through(alert: Event, chain: Mapping[str, Stage], suppressed: Counter[tuple[str, str]]) -> Event | None:
    for name, stage in chain.items():
        found = stage(alert)
        if isinstance(found, Suppressed):
            suppressed[name, found.reason] += 1
            return None
        alert = found
    return alert
