"""How much memory the series of a process may come to take, beside what there is.

What a partition remembers follows from its log and the configuration alone, so that all members and `replay` forget the
same series: it can't follow one machine's memory. So a process that owns more than its memory holds is warned of.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

MACHINE = Path("/proc/meminfo")
# Of version 2, which systemd and containers use: "0::" and our place among the groups, "/" in a container of its own.
GROUP = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")
# Of the memory, what the series may take: the rest is the interpreter's, the model's and the records' under way.
SHARE = 0.75


def total_bytes() -> int | None:
    """The memory of the machine, or the least that a control group around us allows; None where neither is known."""
    amounts = []
    with suppress(OSError, ValueError, IndexError):
        amounts.append(int(MACHINE.read_text().split("MemTotal:")[1].split()[0]) * 1024)
    for group in _groups():
        with suppress(OSError, ValueError):  # not there, as at the root of a machine, or "max": no limit
            amounts.append(int((group / "memory.max").read_text()))
    return min(amounts, default=None)


def _groups() -> list[Path]:
    """Our control group and those that it is in: each may have a limit."""
    with suppress(OSError):
        for line in GROUP.read_text().splitlines():
            if line.startswith("0::/"):
                ours = GROUPS / line.removeprefix("0::/")
                return [ours, *(each for each in ours.parents if each.is_relative_to(GROUPS))]
    return []


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
