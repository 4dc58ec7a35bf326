"""The memory that a broker needs, and the memory that is available."""

from __future__ import annotations

import re
from pathlib import Path

from monitor.errors import BrokerError

DEFAULT_HEAP_MB = 512
DEFAULT_HEAP_OF_THREE_MB = 384
SMALLEST_HEAP_MB = 64  # measured: starts and carries a light load; at 20 MiB it ends with OutOfMemoryError
BESIDE_HEAP_MB = 130  # measured 100-115 under load: what Java uses in addition to the heap (code, classes, buffers)

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


def default_heap_mb(brokers: int) -> int:
    return DEFAULT_HEAP_MB if brokers == 1 else DEFAULT_HEAP_OF_THREE_MB


def parse_heap(text: str) -> int:
    """`512m`, `1g` or `512` in MiB."""
    match = re.fullmatch(r"(\d+)\s*([mg]?)b?", text.strip().lower())
    if match is None:
        raise BrokerError(f"--heap {text}: not an amount of memory; write for instance 512m or 1g")
    heap_mb = int(match[1]) * (1024 if match[2] == "g" else 1)
    check_heap(heap_mb)
    return heap_mb


def check_heap(heap_mb: int) -> None:
    if heap_mb < SMALLEST_HEAP_MB:
        raise BrokerError(f"--heap {heap_mb}m: Kafka does not start with less than {SMALLEST_HEAP_MB}m")


def check_available(brokers: int, heap_mb: int) -> None:
    """Refuse to start brokers that would be killed for lack of memory later."""
    available = available_mb()
    needed = brokers * (heap_mb + BESIDE_HEAP_MB)
    if available is not None and available < needed:
        each = f"{brokers} brokers with {heap_mb}m of heap each" if brokers > 1 else f"a broker with {heap_mb}m of heap"
        raise BrokerError(
            f"not enough memory: {each} may need {needed} MiB, {available} MiB are available. "
            f"Free some, or choose less with --heap (at least {SMALLEST_HEAP_MB}m)"
        )


def available_mb() -> int | None:
    """Memory that is available without swapping, of the machine and of our control group; None if unknown."""
    amounts = [amount for amount in (_machine_mb(), _group_mb()) if amount is not None]
    return min(amounts) if amounts else None


def _machine_mb() -> int | None:
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", PROC.joinpath("meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) // 1024 if match else None


def _group_mb() -> int | None:
    """Available memory of a container with a limit (cgroup v2, seen from inside), including the file cache."""
    try:
        limit = int(CGROUP.joinpath("memory.max").read_text())
        used = int(CGROUP.joinpath("memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)", CGROUP.joinpath("memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):  # no such group, or "max": no limit
        return None
    return max(limit - used + (int(cached[1]) if cached else 0), 0) >> 20
