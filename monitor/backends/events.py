"""Rebalance events as one poll hands them over."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.backends.abstract import Assigned, Event, TopicPartition


def settle(events: Sequence[Event]) -> tuple[Event, ...]:
    """The events without assignments that a later one of them takes back.

    Two rebalances may fall into one poll; whoever applies the events in order must never restore and begin a partition
    that is gone already.
    """
    kept: list[Event] = []
    gone: set[TopicPartition] = set()
    for event in reversed(events):
        if isinstance(event, Assigned):
            if event.partition in gone:
                continue
        else:
            gone.add(event.partition)
        kept.append(event)
    return tuple(reversed(kept))
