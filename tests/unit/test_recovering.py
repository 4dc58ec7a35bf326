"""Between recoveries there is a pause that grows; a signal ends it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from monitor.backends.abstract import TopicPartition
from monitor.backends.local import LocalBackend, LocalLog
from monitor.errors import EXIT_TEMPFAIL, BackendError
from monitor.serving.daemon import FIRST_PAUSE_S, LONGEST_PAUSE_S, MOST_FAILURES, Daemon
from monitor.serving.telemetry import Telemetry, Vitals
from tests.helpers import make_artifact, make_config, make_processor

ARTIFACT = make_artifact(length=6, hop=2, threshold=0.8)
SCORER = ARTIFACT.scorer()
CONFIG = make_config(input={"start": "earliest"})


def daemon_with(
    failures: int, wait: Callable[[float], object] | None = None, backend: type[LocalBackend] = LocalBackend
) -> tuple[Daemon, Vitals]:
    """A daemon of whose commits the first `failures` fail at once."""
    log, processor, vitals = LocalLog({"telltale.input": 1}), make_processor(CONFIG, ARTIFACT), Vitals()
    log.extend("telltale.input", 0, [b"a"] * 9, [b'{"value": 0.1}'] * 9, range(9))
    for _ in range(failures):
        log.fail_next_commit("before")
    telemetry = Telemetry(vitals, lambda: processor.counts, {}, 1.0)
    return Daemon(CONFIG, backend(log, CONFIG), processor, SCORER, telemetry, vitals, wait=wait), vitals


def test_each_pause_is_longer_than_the_one_before() -> None:
    waited: list[float] = []
    daemon, _ = daemon_with(MOST_FAILURES + 1, waited.append)
    with pytest.raises(BackendError, match="attempts in a row"):
        daemon.run()
    assert len(waited) == MOST_FAILURES
    assert FIRST_PAUSE_S / 2 <= waited[0] <= FIRST_PAUSE_S
    assert waited[:5] == sorted(waited[:5]), "and from then on by chance, up to the longest"
    assert max(waited) <= LONGEST_PAUSE_S
    assert 20 < sum(waited) < LONGEST_PAUSE_S * MOST_FAILURES, "longer than a broker takes to come to itself"


def test_a_commit_that_succeeds_makes_the_next_pause_short_again() -> None:
    waited: list[float] = []
    daemon, vitals = daemon_with(3, waited.append)
    daemon.run(until_caught_up=True)
    assert (len(waited), vitals.aborts) == (3, 3)
    assert daemon._pause_s() <= FIRST_PAUSE_S


def test_a_signal_in_a_pause_is_followed_by_no_recovery() -> None:
    """That may take 20 s, and what was decided is decided again, as the exit code says."""
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        daemon.stop()

    daemon, vitals = daemon_with(1, wait)
    with pytest.raises(BackendError, match="stopped without its last commit") as caught:
        daemon.run()
    assert (len(waited), vitals.aborts, vitals.commits) == (1, 1, 0)
    assert caught.value.exit_code == EXIT_TEMPFAIL


class _Losing(LocalBackend):
    """Is removed from its group, and joins again, as soon as it has recovered."""

    def recover(self) -> frozenset[TopicPartition]:
        owned = super().recover()
        self._log.rebalance(self.group_id, lost=[self])
        return owned


def test_a_partition_lost_before_it_is_restored_is_logged_when_it_is_assigned_again() -> None:
    daemon, _ = daemon_with(1, lambda _: None, _Losing)
    with capture_logs() as logged:
        daemon.run(until_caught_up=True)
    said = [line["event"] for line in logged if line["log_level"] != "debug"]
    assert [event for event in said if event.startswith("Partition")] == [
        "Partition assigned.",
        "Partition revoked.",
        "Partition assigned.",
    ]
    assert "Restored from the last commit." not in said
