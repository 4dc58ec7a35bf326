"""How much memory the series of a process may come to take, beside what there is.

What a partition remembers follows from its log and the configuration alone, so that all members and `replay` forget the
same series: it can't follow one machine's memory. So a process that owns more than its memory holds is warned of.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

MACHINE = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup/memory.max")
# Of the memory, what the series may take: the rest is the interpreter's, the model's and the records' under way.
SHARE = 0.75


def total_bytes() -> int | None:
    """The memory of the machine, or of our control group where it has less; None where neither is known."""
    amounts = []
    with suppress(OSError, ValueError, IndexError):
        amounts.append(int(MACHINE.read_text().split("MemTotal:")[1].split()[0]) * 1024)
    with suppress(OSError, ValueError):  # no such group, or "max": no limit
        amounts.append(int(CGROUP.read_text()))
    return min(amounts, default=None)


class Budget:
    """Notices when a process owns more partitions than its memory holds series of."""

    def __init__(self, partition_bytes: int, total: int | None) -> None:
        """`partition_bytes`: what the series of one partition may come to take."""
        self._partition_bytes = partition_bytes
        self._total = total
        self._most = 0

    def exceeded(self, partitions: int) -> dict[str, Any] | None:
        """What to warn of, where more partitions are owned than ever before, and they may not fit."""
        if partitions <= self._most:
            return None
        self._most = partitions
        if self._total is None or partitions * self._partition_bytes <= SHARE * self._total:
            return None
        return {
            "partitions": partitions,
            "mib_a_partition": self._partition_bytes >> 20,
            "mib_of_memory": self._total >> 20,
        }
