"""What every benchmark prints beside its figures: where, when, with which versions; and tables."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path


def header(title: str, packages: Sequence[str]) -> str:
    """Title, date, machine, versions."""
    now = datetime.datetime.now(tz=datetime.UTC)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    machine = f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB, load {os.getloadavg()[0]:.1f}"
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {versions}"
    return f"{title}\n{now:%Y-%m-%d %H:%M} UTC; {machine}\n{system}\n"


def _processor() -> str:
    found = Path("/proc/cpuinfo")
    if found.exists():
        for line in found.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be; the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = []
    for row in [heads, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def spread(values: Sequence[float], form: str = ",.0f") -> tuple[str, str, str]:
    """Least, median and greatest, as text."""
    return format(min(values), form), format(statistics.median(values), form), format(max(values), form)


def bar(text: str, *, met: bool) -> str:
    """One line that says whether a bar was met."""
    return f"{'met    ' if met else 'NOT MET'}  {text}"
