"""What is said of batches of records that can't be read, as they are passed."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from monitor.backends.abstract import Damaged, TopicPartition

log = structlog.get_logger("telltale")

INTERVAL_S = 10.0  # between lines in the log; a failing disk may damage thousands


class Telling:
    """Log lines at a bounded rate; every batch has its dead letter and is counted anyway."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._untold = 0

    def tell(self, passed: Sequence[tuple[TopicPartition, Damaged, bool]], now: float) -> None:
        """Logs one of them, and how many there were since the last line."""
        self._untold += len(passed)
        if not passed or now < self._next_s:
            return
        partition, damaged, first_time = passed[-1]
        text = (
            "Damaged batch skipped; all series of its partition begin anew."
            if first_time
            else "Damaged batch among records that were decided before; their series begin anew."
        )
        log.error(
            text,
            topic=partition.topic,
            partition=partition.partition,
            first_offset=damaged.first_offset,
            last_offset=damaged.next_offset - 1,
            bytes=damaged.size,
            records=damaged.records,
            reason=damaged.reason.value,
            detail=damaged.detail,
            batches=self._untold,
        )
        self._untold, self._next_s = 0, now + INTERVAL_S
