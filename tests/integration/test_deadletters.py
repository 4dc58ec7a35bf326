"""`telltale deadletters` on a real broker: what a daemon rejected is listed, and written again once and whole."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitor.backends.abstract import Headers, Message, TopicPartition
from monitor.backends.kafka import FeedProducer, TopicRecord, create_topic, delete_topic, read_topic
from monitor.backends.kafka.redriving import Redriver
from monitor.backends.kafka.transactions import Transactions
from monitor.config.file import load
from monitor.deadletters import redriving
from monitor.deadletters.cli import app
from monitor.detector import storage
from monitor.errors import BackendError, ConfigError, Reason
from monitor.messages.dead_letters import DeadLetter, encode, headers
from tests.acceptance.daemon_process import DaemonProcess, toml
from tests.helpers import make_artifact, make_columns

pytestmark = pytest.mark.kafka

NAMES = [b'{"flow": %d}' % number for number in range(6)]
BAD = [b'{"flow": "high"}', b"\x1b[31mjunk\xff", None, b'{"flo": 1}']


class Setting:
    """A topic of good and bad records of two keys, and a daemon that has read it."""

    def __init__(self, directory: Path, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.topic = f"letters.{uuid.uuid4().hex[:8]}"
        self.document: dict[str, dict[str, Any]] = {
            "kafka": {"bootstrap_servers": [bootstrap], "group_id": self.topic, "session_timeout_ms": 6000},
            "input": {"topics": [self.topic], "start": "earliest"},
            "output": {"alerts": f"{self.topic}.alerts", "dead_letters": self.dead},
            "model": {"artifact": str(directory / "artifact")},
        }
        storage.save(make_artifact(length=4, hop=2, channels=("flow",)), directory / "artifact")
        self.directory = directory
        self.config = directory / "telltale.toml"
        self.config.write_text(toml(self.document))

    @property
    def dead(self) -> str:
        return f"{self.topic}.dead"

    def feed(self) -> None:
        create_topic(self.bootstrap, self.topic, 2)
        with FeedProducer(self.bootstrap) as producer:
            for at, value in enumerate([*NAMES, *BAD, *NAMES]):
                stamp = 1_764_600_000_000 + 1000 * at
                tags: Headers = [("site", b"north"), ("site", b"twice"), ("nothing", None), ("empty", b"")]
                producer.send(self.topic, value, b"pump-1", partition=1, timestamp_ms=stamp, headers=tags)

    def daemon(self, letters: int) -> None:
        with DaemonProcess(self.directory / "daemon", self.document) as process:
            process.start()
            process.wait_until(lambda: process.metric("telltale_records_rejected_total") == letters, "rejected")
            process.wait_until(lambda: process.metric("telltale_consumer_lag_records") == 0, "read")
            assert process.stop() == 0

    def reject(self, first_offset: int = 0) -> None:
        """What a daemon would write of the bad records from an offset on."""
        with FeedProducer(self.bootstrap) as producer:
            for record in self.input():
                if record.offset >= first_offset and record.value in BAD:
                    columns = make_columns(
                        [record.value],
                        keys=[record.key],
                        timestamps_ms=[record.timestamp_ms],
                        first_offset=record.offset,
                        partition=TopicPartition(self.topic, record.partition),
                    )
                    letter = DeadLetter.of(columns, 0, Reason.MALFORMED, "bad")
                    producer.send(self.dead, encode(letter), letter.key, headers=headers(letter))

    def run(self, *arguments: str) -> str:
        result = CliRunner().invoke(app, [*arguments, "--config", str(self.config)], env={"COLUMNS": "200"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    def input(self) -> list[TopicRecord]:
        return read_topic(self.bootstrap, self.topic)


@pytest.fixture(scope="module")
def rejected(tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str) -> Setting:
    setting = Setting(tmp_path_factory.mktemp("letters"), kafka_bootstrap)
    setting.feed()
    setting.daemon(len(BAD))
    return setting


def test_letters_are_listed_with_values_that_no_terminal_obeys(rejected: Setting) -> None:
    text = rejected.run("list")
    assert f"{rejected.dead}: 4 dead letters" in text
    for reason in ("wrong_type", "malformed", "empty", "missing_channel"):
        assert reason in text
    assert r"\x1b[31mjunk\xff" in text
    assert "\x1b" not in text
    assert '{"flow": "high"}' in text

    found = json.loads(rejected.run("list", "--json", "--reason", "wrong_type"))
    (group,) = found["groups"]
    assert (found["letters"], group["partition"], group["first_offset"], group["redriven"]) == (1, 1, 6, 0)
    assert group["example"]["value_base64"] == "eyJmbG93IjogImhpZ2gifQ=="
    assert "no such dead letters" in rejected.run("list", "--until", "1h")
    assert "3 rows more, 3 letters" in rejected.run("list", "--limit", "1")


def test_records_are_written_again_as_they_were_and_once(rejected: Setting) -> None:
    before = rejected.input()
    dry = rejected.run("redrive", "--offsets", "6:9")
    assert "3 rejected records" in dry
    assert "Nothing was written; --yes writes." in dry
    assert "their samples are late" in dry.replace("\n", " ")
    assert rejected.input() == before

    assert "3 rejected records" in rejected.run("redrive", "--offsets", "6:9", "--yes")
    rest = "1 rejected record " in rejected.run("redrive", "--yes")
    assert rest, "those of the first run are not written twice"
    text = rejected.run("redrive", "--yes")
    assert "0 rejected records" in text
    assert "Left out: 4 redriven before." in text

    written = rejected.input()[len(before) :]
    assert [record.value for record in written] == BAD
    originals = before[len(NAMES) : len(NAMES) + len(BAD)]
    for record, original in zip(written, originals, strict=True):
        assert (record.key, record.partition, record.timestamp_ms) == (
            original.key,
            original.partition,
            original.timestamp_ms,
        )
        assert record.headers == [
            *original.headers,
            ("telltale-redriven", f"{rejected.topic}-1@{original.offset}".encode()),
        ]
    assert "4 of them redriven" in rejected.run("list")


def test_what_is_rejected_again_is_not_redriven_for_ever(rejected: Setting) -> None:
    rejected.run("redrive", "--yes")
    count = len(rejected.input())
    rejected.reject(len(NAMES) + len(BAD))
    text = rejected.run("redrive", "--yes")
    assert "Left out: 4 redriven before, and rejected again (--again takes them)." in text
    assert len(rejected.input()) == count
    assert "4 rejected records" in rejected.run("redrive", "--again", "--yes")
    assert len(rejected.input()) == count + 4


def test_a_redrive_that_is_cut_short_leaves_nothing_half_written(
    tmp_path: Path, kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(tmp_path, kafka_bootstrap)
    setting.feed()
    create_topic(kafka_bootstrap, setting.dead)
    setting.reject()
    before = setting.input()
    monkeypatch.setattr(redriving, "MOST_RECORDS", 2)
    commits: list[int] = []
    real = Transactions._transact

    def dies_in_the_second(self: Any, producer: Any, *arguments: Any) -> Any:
        commits.append(1)
        if len(commits) == 2:

            def die() -> None:
                producer.flush()
                raise TypeError("killed")

            producer.commit_transaction = die
        return real(self, producer, *arguments)

    monkeypatch.setattr(Transactions, "_transact", dies_in_the_second)
    with pytest.raises(BackendError, match="nothing is half written: run the command again"):
        setting.run("redrive", "--yes")
    assert len(read_topic(kafka_bootstrap, setting.topic, isolation="read_uncommitted")) > len(before) + 2
    assert "2 rejected records" in setting.run("redrive", "--yes"), "the first transaction's are noted"
    assert [record.value for record in setting.input()[len(before) :]] == BAD


def test_two_at_once_do_not_write_the_same(rejected: Setting) -> None:
    config = load(rejected.config)
    before = rejected.input()
    with Redriver(config) as first, Redriver(config) as second:
        with pytest.raises(ConfigError, match="another `telltale deadletters redrive` of group"):
            first.write([Message(rejected.topic, b"k", b"first", partition=0)])
        second.write([Message(rejected.topic, b"k", b"second", partition=0)])
    assert [record.value for record in rejected.input() if record not in before] == [b"second"]


def test_records_that_are_gone_are_said_so(tmp_path: Path, kafka_bootstrap: str) -> None:
    setting = Setting(tmp_path, kafka_bootstrap)
    setting.feed()
    create_topic(kafka_bootstrap, setting.dead)
    setting.reject()
    assert delete_topic(kafka_bootstrap, setting.topic)
    assert "value  no longer in the topic" in setting.run("list")
    create_topic(kafka_bootstrap, setting.topic, 2)
    with FeedProducer(kafka_bootstrap) as producer:
        for _ in range(8):
            producer.send(setting.topic, b"another", b"pump-1", partition=1)
    text = setting.run("redrive")
    assert "0 rejected records" in text
    assert "Left out: 2 no longer in their topic" in text
    assert "Left out: 2 another record lies there now" in text
