"""How much memory the series of a process may need, compared with what there is.

Which series a partition keeps depends on its log and the configuration alone, so that all members and `replay` forget
the same ones: it can't depend on one machine's memory. So a process that owns too many partitions logs a warning.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

MACHINE = Path("/proc/meminfo")
# Version 2, which systemd and containers use: "0::" and our group's path, "/" in a container of its own.
GROUP = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")
# Share of the memory for series: the rest is for the interpreter, the model and records in progress.
SHARE = 0.75


def total_bytes() -> int | None:
    """The memory of the machine, or the lowest limit of our control groups; None if neither is known."""
    amounts = []
    with suppress(OSError, ValueError, IndexError):
        amounts.append(int(MACHINE.read_text().split("MemTotal:")[1].split()[0]) * 1024)
    for group in _groups():
        with suppress(OSError, ValueError):  # absent, as at the root of a machine, or "max": no limit
            amounts.append(int((group / "memory.max").read_text()))
    return min(amounts, default=None)


def _groups() -> list[Path]:
    """Our control group and those that enclose it: each may have a limit."""
    with suppress(OSError):
        for line in GROUP.read_text().splitlines():
            if line.startswith("0::/"):
                ours = GROUPS / line.removeprefix("0::/")
                return [ours, *(each for each in ours.parents if each.is_relative_to(GROUPS))]
    return []


class Budget:
    """Notices when the series of the partitions that a process owns may not fit into memory."""

    def __init__(self, partition_bytes: int, total: int | None) -> None:
        """`partition_bytes`: what the series of one partition may need."""
        self._partition_bytes = partition_bytes
        self._total = total
        self._most = 0

    def exceeded(self, partitions: int) -> dict[str, Any] | None:
        """Fields of a warning, if more partitions are owned than ever before and their series may not fit."""
        if partitions <= self._most:
            return None
        self._most = partitions
        if self._total is None or partitions * self._partition_bytes <= SHARE * self._total:
            return None
        return {
            "partitions": partitions,
            "mib_per_partition": self._partition_bytes >> 20,
            "mib_in_total": self._total >> 20,
        }
