"""Transactions of others that hold our input back: what is behind one is not read before it ends.

A producer that died, or a coordinator that forgot a partition (KIP-664), leaves one open; readers of committed records
wait at its first offset, the last stable one, and nothing else shows why: to them the partition ends there.

Rules of this file: it compares offsets that it is given, and says what they mean. Called from the sentinel's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from monitor.backends.abstract import TopicPartition
from monitor.backends.remedies import transactions_command
from monitor.config.options import Config

_log = logging.getLogger(__name__)
# `transaction.timeout.ms` of producers is a minute by default, after which the coordinator aborts: what is open for
# longer either hangs, or belongs to a producer whose timeout is longer.
HELD_S = 60.0
_NAMED = 3


class Held(NamedTuple):
    """A partition's last stable offset, how many offsets there are behind it, and since when it stands there."""

    offset: int
    behind: int
    since_s: float
    since: datetime


class OpenTransactions:
    """Which partitions have one open, and since when; what lasts is logged once, and so is its end."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._open: dict[TopicPartition, Held] = {}
        self.held: Mapping[TopicPartition, Held] = {}  # those that last

    def seen(
        self,
        watched: Collection[TopicPartition],
        stable: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
        now: float,
    ) -> None:
        """Where what is committed ends in the partitions that are `watched`, and where they end, as far as answered.

        `now` is monotonic, in seconds.
        """
        answered = stable.keys() & ends.keys()
        found = {name: held for name, held in self._open.items() if name in watched and name not in answered}
        for partition in answered:
            offset, behind = stable[partition], ends[partition] - stable[partition]
            known = self._open.get(partition)
            if behind > 0:
                since = (now, datetime.now(UTC)) if known is None or known.offset != offset else known[2:]
                found[partition] = Held(offset, behind, *since)
        self._open = found
        self._report({name: held for name, held in found.items() if now - held.since_s >= HELD_S})

    def _report(self, held: Mapping[TopicPartition, Held]) -> None:
        for partition in held.keys() - self.held.keys():
            each = held[partition]
            _log.error(
                "An open transaction holds input back: what is behind it is not read before it ends.",
                extra={
                    "partition": str(partition),
                    "offset": each.offset,
                    "behind": each.behind,
                    "since": each.since.isoformat(timespec="seconds"),
                    "remedy": transactions_command(self._config, partition),
                },
            )
        for partition in self.held.keys() - held.keys():
            offset = self.held[partition].offset
            _log.warning("The transaction has ended.", extra={"partition": str(partition), "offset": offset})
        self.held = held

    def troubles(self) -> list[str]:
        """What holds our input back, in words. Never blocks, from any thread."""
        held = sorted(self.held.items())
        return [
            f"an open transaction at offset {each.offset} of {partition} holds back {each.behind} offsets since "
            f"{each.since.isoformat(timespec='seconds')}"
            for partition, each in held[:_NAMED]
        ] + ([f"{len(held) - _NAMED} more partitions with open transactions"] if len(held) > _NAMED else [])

    def behind(self) -> dict[TopicPartition, int]:
        """How many offsets are behind an open transaction now, also one that has just begun. From any thread."""
        return {partition: each.behind for partition, each in self._open.items()}
