"""Logs record batches that can't be read, as they are passed."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from monitor.backends.abstract import Damaged, TopicPartition

log = structlog.get_logger("telltale")

INTERVAL_S = 10.0  # between log lines; a failing disk may damage thousands of batches


class DamageLog:
    """Logs one line per interval; every batch has its dead letter and is counted anyway."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._unlogged = 0

    def log(self, passed: Sequence[tuple[TopicPartition, Damaged, bool]], now: float) -> None:
        """Logs one of them, and how many there were since the last line."""
        self._unlogged += len(passed)
        if not passed or now < self._next_s:
            return
        partition, damaged, first_time = passed[-1]
        text = (
            "Damaged batch skipped; windows of all series of its partition start again."
            if first_time
            else "Damaged batch among records that are read again; windows of all series of its partition start again."
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
            batches=self._unlogged,
        )
        self._unlogged, self._next_s = 0, now + INTERVAL_S
