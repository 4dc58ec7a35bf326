"""A process that owns more partitions than its memory holds series of says so, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from monitor.backends.local import LocalBackend, LocalLog
from monitor.serving import memory
from monitor.serving.assembly import PARTITION_BYTES
from monitor.serving.daemon import Daemon
from monitor.serving.memory import Budget, total_bytes
from monitor.serving.telemetry import Telemetry, Vitals
from tests.helpers import counts_of, make_artifact, make_config, make_processor

GIB = 1 << 30


MACHINE = "MemTotal:  2097152 kB\nMemFree: 1 kB"


@pytest.mark.parametrize(
    ("machine", "group", "limits", "expected"),
    [
        (MACHINE, "0::/", {".": "max"}, 2 * GIB),
        (MACHINE, "0::/", {".": str(GIB)}, GIB),  # a container's own
        (MACHINE, "0::/", {".": str(64 * GIB)}, 2 * GIB),
        (MACHINE, "0::/a.slice/b.service", {"a.slice/b.service": str(GIB), "a.slice": "max"}, GIB),  # under systemd
        (MACHINE, "0::/a.slice/b.service", {"a.slice/b.service": "max", "a.slice": str(GIB)}, GIB),
        (MACHINE, "0::/a.slice", {"a.slice/b.service": str(GIB), "c.slice": str(GIB)}, 2 * GIB),  # of others
        (MACHINE, "0::/../outside", {}, 2 * GIB),
        (MACHINE, "4:memory:/old\n0::/a.slice", {"a.slice": str(GIB)}, GIB),
        (MACHINE, None, {".": str(GIB)}, 2 * GIB),
        ("nonsense", None, {}, None),
    ],
)
def test_the_least_of_machine_and_groups(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    group: str | None,
    limits: dict[str, str],
    expected: int | None,
) -> None:
    for name, text in (("MACHINE", machine), ("GROUP", group)):
        path = tmp_path / name
        if text is not None:
            path.write_text(text)
        monkeypatch.setattr(memory, name, path)
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    for place, limit in limits.items():
        directory = tmp_path / "groups" / place
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "memory.max").write_text(limit)
    assert total_bytes() == expected


def test_it_is_said_when_partitions_come_that_may_not_fit_and_not_again() -> None:
    budget = Budget(GIB // 2, 8 * GIB)
    assert [budget.exceeded(count) is not None for count in (4, 12, 13, 4, 13, 14)] == [
        False, False, True, False, False, True,
    ]  # fmt: skip
    assert Budget(GIB, None).exceeded(1_000) is None
    assert Budget(0, GIB).exceeded(1_000) is None


def test_the_daemon_warns_and_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "total_bytes", lambda: GIB // 2)
    artifact, log = make_artifact(length=6, hop=2), LocalLog({"telltale.input": 12})
    for options, warned in (({}, True), ({"max_series": 1_000}, False)):
        config = make_config(input={"start": "earliest", **options}, kafka={"group_id": f"warned-{warned}"})
        processor, vitals = make_processor(config, artifact), Vitals()
        telemetry = Telemetry(vitals, counts_of(processor), {}, 1.0)
        daemon = Daemon(config, LocalBackend(log, config), processor, artifact.scorer(), telemetry, vitals)
        with capture_logs() as lines:
            daemon.run(until_caught_up=True)
        said = [line for line in lines if line["log_level"] == "warning"]
        assert [line["partitions"] for line in said] == [12] * warned
        assert all("input.max_series" in line["event"] for line in said)
        assert processor.partition_bytes <= PARTITION_BYTES
