"""What is said of batches of records that can't be read: while they are passed, and where the daemon stops at one."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from monitor.backends.abstract import Damaged, TopicPartition
from monitor.config import Config
from monitor.errors import DamagedError

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


def error(partition: TopicPartition, damaged: Damaged, config: Config) -> DamagedError:
    """Why the daemon ends here, and how it goes on."""
    what = (
        f"topic {partition.topic}, partition {partition.partition}: a batch of records can't be read, {damaged}. "
        "Everything before it is decided and committed, nothing behind it is read. "
    )
    if damaged.passable:
        return DamagedError(
            f"{what}Where another replica of the partition holds it whole, make that one the leader and start again. "
            f'To go on without these records, start with input.damaged_batches = "skip" '
            "(TELLTALE__INPUT__DAMAGED_BATCHES=skip): they become one dead letter, and all series of this partition "
            f"begin anew; set {config.input.damaged_batches!r} again once it has been passed"
        )
    servers = " -b ".join(config.kafka.bootstrap_servers)
    return DamagedError(
        f"{what}Its header does not say where the next one begins, so it can't be skipped by itself. Where another "
        "replica of the partition holds it whole, make that one the leader and start again. Else choose an offset N "
        "behind it (kafka-dump-log.sh shows what a segment holds), and while no daemon of the group runs: "
        f"python -m kafka.admin -b {servers} groups alter-offsets -g {config.kafka.group_id} "
        f"-o {partition.topic}:{partition.partition}:N"
    )
