"""Whether the daemon is ready and live, and if not, why.

Rules of this file: readiness needs evidence, and evidence expires. The loop observes, other threads ask and pass the
time (monotonic clock, seconds), so that a loop that hangs stops being ready. What counts as evidence that a partition
is watched is decided in `monitor/backends/progress.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from monitor.backends.abstract import Progress, TopicPartition

# How long a turn may take in addition to a transaction: a recovery, and requests that nobody answers.
STUCK_S = 60.0
# How many partitions a reason names.
_NAMED = 3


@dataclass(slots=True)
class Health:
    """What the loop knows about its own work.

    `holds` are reasons not to be ready that other parts of the daemon set, and remove, each under a name of its own.
    """

    ready_age_s: float = 10.0
    stuck_s: float = STUCK_S
    progress: Mapping[TopicPartition, Progress] = field(default_factory=dict)
    restoring: int = 0
    working: bool = False
    holds: dict[str, str] = field(default_factory=dict)
    answered_s: Callable[[], float | None] = lambda: None
    troubles: Callable[[], Sequence[str]] = tuple

    def observe(self, progress: Mapping[TopicPartition, Progress], restoring: int) -> None:
        """Records what the loop sees now, between joining and leaving the group."""
        self.progress, self.restoring, self.working = progress, restoring, True

    def silent_s(self, now: float) -> float | None:
        """Seconds since a broker last responded; None: none did so far."""
        answered = self.answered_s()
        return None if answered is None else max(0.0, now - answered)

    def connected(self, now: float) -> bool:
        """Whether a broker has responded within `ready_age_s`."""
        silent = self.silent_s(now)
        return silent is not None and silent <= self.ready_age_s

    def why_not_ready(self, now: float) -> list[str]:
        """Reasons; none if every partition was committed, or known to be read to its end, within `ready_age_s`."""
        if not self.working or not (self.progress or self.restoring):
            return ["no partition is being read yet", *self.troubles(), *self._silence(now)]
        reasons = [*self.holds.values(), *self.troubles()]
        if self.restoring:
            reasons.append(f"{self.restoring} partitions are yet to be restored")
        return [*reasons, *self._overdue(now), *self._silence(now)]

    def _silence(self, now: float) -> list[str]:
        silent = self.silent_s(now)
        if silent is None or silent <= self.ready_age_s:
            return []
        return [f"no broker has responded for {silent:.0f} s"]

    def _overdue(self, now: float) -> list[str]:
        found = [
            (partition, progress)
            for partition, progress in sorted(self.progress.items())
            if progress.assured_s is None or now - progress.assured_s > self.ready_age_s
        ]
        if not found:
            return []
        named = ", ".join(f"{partition} ({_age(progress, now)})" for partition, progress in found[:_NAMED])
        more = ", ..." if len(found) > _NAMED else ""
        said = f"{len(found)} of {len(self.progress)} partitions were neither committed nor read to their end"
        return [f"{said} within {self.ready_age_s:g} s: {named}{more}"]

    def why_not_live(self, now: float, progressed_s: float) -> list[str]:
        """Reasons for a restart; none while the loop turns and a new client reads what the last one did not."""
        reasons = []
        if now - progressed_s > self.stuck_s:
            reasons.append(f"the loop has not turned for {now - progressed_s:.0f} s")
        for partition, progress in self.progress.items():
            if progress.stalls > 1:
                reasons.append(f"{partition} is not read beyond offset {progress.read}, even by a new client")
        return reasons

    def lag(self, fetched: Mapping[TopicPartition, int], now: float) -> dict[TopicPartition, int]:
        """Records not read yet, of the partitions whose end offset was requested and received within `ready_age_s`.

        `fetched` is the lag by the end offsets in fetch responses, which may be newer.
        """
        return {
            partition: max(0, progress.end - progress.read, fetched.get(partition, 0))
            for partition, progress in self.progress.items()
            if progress.read is not None
            and progress.end is not None
            and progress.answered_s is not None
            and now - progress.answered_s <= self.ready_age_s
        }


def _age(progress: Progress, now: float) -> str:
    if progress.assured_s is None:
        return "never"
    behind = (progress.end or 0) - (progress.committed or 0)
    return f"{now - progress.assured_s:.0f} s ago" + (f", {behind} records behind" if behind > 0 else "")
