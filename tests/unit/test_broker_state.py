"""The state of a data directory: saved whole, read by anyone, written by one."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import msgspec
import pytest

from monitor.broker import state
from monitor.broker.process import Process, current
from monitor.errors import BrokerError

MADE = state.ClusterState(
    cluster_id="AAAAAAAAAAAAAAAAAAAAAA",
    phase="stopped",
    actor=None,
    heap_mb=512,
    settings={"num.io.threads": "3"},
    brokers=tuple(state.BrokerState(node=n, port=9091 + n, controller_port=20000 + n) for n in (1, 2, 3)),
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    assert state.load(tmp_path) is None
    state.save(tmp_path, MADE)
    assert state.load(tmp_path) == MADE
    assert [path.name for path in tmp_path.iterdir()] == ["cluster.json"]
    assert MADE.bootstrap_servers == "127.0.0.1:9092,127.0.0.1:9093,127.0.0.1:9094"
    assert MADE.alive == ()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 2}', b"\xff\xfe"])
def test_a_state_that_is_not_ours_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_bytes(content)
    with pytest.raises(BrokerError, match=r"cluster\.json: not written by this version of Telltale .* --data"):
        state.load(tmp_path)


def test_each_change_is_on_record_at_once(tmp_path: Path) -> None:
    record = state.StateFile(tmp_path, MADE)
    record.set_phase("starting")
    assert state.load(tmp_path) == record.state
    assert record.state.actor == current()
    process = Process(pid=1, started="2", boot="3")
    record.set_process(2, process)
    assert [broker.process for broker in record.state.brokers] == [None, process, None]
    record.set_phase("running")
    assert state.load(tmp_path) == record.state == msgspec.structs.replace(record.state, phase="running", actor=None)
    record.set_stopped(msgspec.structs.replace(MADE, settings={}))
    assert state.load(tmp_path) == msgspec.structs.replace(MADE, settings={})


def test_one_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []
    inside = threading.Event()

    def first() -> None:
        with state.lock(tmp_path, 5.0):
            inside.set()
            with pytest.raises(BrokerError, match="another `telltale kafka` command"), state.lock(tmp_path, 0.0):
                order.append("never")
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(5.0)
    with state.lock(tmp_path, 5.0):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_only_an_empty_directory_or_ours_will_do(tmp_path: Path) -> None:
    assert not state.is_foreign(tmp_path / "absent")
    assert not state.is_foreign(tmp_path)
    (tmp_path / state.LOCK_NAME).touch()
    assert not state.is_foreign(tmp_path), "a start that was killed at its first step"
    (tmp_path / "broker-1").mkdir()
    assert state.is_foreign(tmp_path)
    state.save(tmp_path, MADE)
    assert not state.is_foreign(tmp_path)


def test_default_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert state.default_data_dir() == Path("/xdg/telltale/kafka")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert state.default_data_dir() == Path("/home/me/.local/state/telltale/kafka")


def test_the_file_can_be_read_by_people(tmp_path: Path) -> None:
    state.save(tmp_path, MADE)
    text = (tmp_path / "cluster.json").read_text()
    assert json.loads(text)["brokers"][2]["port"] == 9094
    assert len(text.splitlines()) > 10
