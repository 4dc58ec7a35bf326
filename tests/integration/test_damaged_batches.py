"""Batches that can't be read, on a real broker: bytes flipped in its log, and what senders made unreadable.

The broker is this module's own. It serves what lies in its files, so that a byte flipped there is read by everybody.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import tracemalloc
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kafka.record.default_records as client_records
import pytest
from kafka import KafkaProducer
from kafka.codec import gzip_encode

from monitor.backends.abstract import Poll, TopicPartition
from monitor.backends.kafka import KafkaBackend, create_topic, end_offsets, framing, read_topic
from monitor.backends.kafka.ranges import Bound, TopicRange
from monitor.broker.cluster import LocalKafka
from monitor.config.options import Config
from monitor.detector import storage
from monitor.errors import DamagedError, DataError
from monitor.serving.daemon import Daemon
from monitor.serving.telemetry import Telemetry, Vitals
from tests.acceptance.daemon_process import TELLTALE, toml
from tests.helpers import make_artifact, make_processor
from tests.kafka_fixture import NO_RETENTION, require_kafka

pytestmark = pytest.mark.kafka
ARTIFACT = make_artifact(length=4, hop=2, threshold=0.8, batch_rows=64)
SCORER = ARTIFACT.scorer()
SAMPLE = b'{"value": 2.5}'  # every window of it is over the threshold


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    require_kafka()
    with LocalKafka(tmp_path_factory.mktemp("damaged"), port=0, settings=NO_RETENTION) as kafka:
        yield kafka


class UntilTheEnd(KafkaBackend):
    """Asks its daemon to stop once everything that the log holds is decided."""

    daemon: Daemon

    def poll(self, timeout_s: float, max_records: int) -> Poll:
        if self.lag() and self.daemon.caught_up():
            self.daemon.stop()
        return super().poll(timeout_s, max_records)


class Log:
    """One partition of a topic of its own, written batch by batch; and the daemons of one group that read it."""

    def __init__(self, broker: LocalKafka, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broker = broker
        self.bootstrap = broker.bootstrap_servers
        self.topic = f"damaged-{uuid.uuid4().hex[:8]}"
        self.place = TopicPartition(self.topic, 0)
        self._patch = monkeypatch
        create_topic(self.bootstrap, self.topic, 1)

    def batch(self, count: int, *, compression: str | None = None, value: bytes = SAMPLE) -> None:
        """One batch of `count` records of series a and b by turns."""
        producer = KafkaProducer(
            bootstrap_servers=self.bootstrap,
            compression_type=compression,
            linger_ms=10_000,
            batch_size=1 << 28,
            max_request_size=1 << 28,
            metrics_enabled=False,
        )
        try:
            for number in range(count):
                producer.send(self.topic, value, b"ab"[number % 2 : number % 2 + 1], partition=0)
            producer.flush()
        finally:
            producer.close()

    def gzip_with_a_tail(self, count: int) -> None:
        with self._patch.context() as patch:
            patch.setattr(client_records, "gzip_encode", lambda data: gzip_encode(data) + b"trailing bytes")
            self.batch(count, compression="gzip")

    def flip(self, offset: int, at: int = 75) -> None:
        """Flips a byte of the batch that begins at an offset, in the broker's file."""
        (segment,) = self.broker.data_dir.rglob(f"{self.topic}-0/00000000000000000000.log")
        data = memoryview(segment.read_bytes())
        place = 0
        while framing.first_offset(data, place) != offset:
            end = framing.end_of(data, place)
            assert end is not None, f"no batch begins at offset {offset}"
            place = end
        with segment.open("r+b") as file:
            file.seek(place + at)
            file.write(bytes([data[place + at] ^ 0x10]))

    def config(self, **source: Any) -> dict[str, Any]:
        return {
            "service": {"name": self.topic, "instance": "one"},
            "kafka": {"bootstrap_servers": [self.bootstrap], "group_id": self.topic, "session_timeout_ms": 6000},
            "input": {"topics": [self.topic], "start": "earliest", **source},
            "output": {"alerts": f"{self.topic}.alerts", "dead_letters": f"{self.topic}.dead"},
            "alerting": {"update_every": 1},
            "limits": {"checkpoint_interval_ms": 600_000},
        }

    def daemon(self, **source: Any) -> Daemon:
        config = Config.model_validate(self.config(**source))
        processor = make_processor(config, ARTIFACT)
        vitals = Vitals()
        telemetry = Telemetry(vitals, lambda: processor.counts, {}, 1.0)
        backend = UntilTheEnd(config)
        daemon = Daemon(config, backend, processor, SCORER, telemetry, vitals)
        backend.daemon = daemon
        return daemon

    def run(self, **source: Any) -> None:
        """Until the end of the log, and a clean stop."""
        daemon = self.daemon(**source)
        patience = threading.Timer(40, daemon.stop)
        patience.start()
        try:
            daemon.run()
        finally:
            patience.cancel()

    def crash(self, **source: Any) -> None:
        """Until the end of the log is committed; no last checkpoint."""
        daemon = self.daemon(**source)
        daemon._backend.start()
        try:
            for _ in range(300):
                daemon.turn()
                partition = daemon._processor._partitions.get(self.place)
                if partition is not None and partition.committed_offset == self.end:
                    return
            raise AssertionError("the end of the log was never committed")
        finally:
            daemon._backend.close()

    @property
    def end(self) -> int:
        return end_offsets(self.bootstrap, self.topic)[self.place]

    def letters(self) -> list[tuple[int, int, str]]:
        found = [json.loads(record.value or b"") for record in read_topic(self.bootstrap, f"{self.topic}.dead")]
        return [(letter["offset"], letter["last_offset"], letter["reason"]) for letter in found]

    def windows(self) -> set[tuple[str, int, int]]:
        """Series, first and last offset of each window that an alert tells of: with these samples, all of them."""
        found = [json.loads(record.value or b"") for record in read_topic(self.bootstrap, f"{self.topic}.alerts")]
        places = [(alert["data"]["series"], alert["data"]["kafka"]) for alert in found]
        assert len(places) == len({alert["id"] for alert in found})
        return {(series, kafka["first_offset"], kafka["last_offset"]) for series, kafka in places}

    def committed(self) -> int:
        backend = KafkaBackend(Config.model_validate(self.config()))
        try:
            backend.start()
            position = None
            for _ in range(100):
                if any(event.partition == self.place for event in backend.poll(0.1, 1).events):
                    position = backend.restore(self.place).position
                    break
            assert position is not None
            return position.offset
        finally:
            backend.close()


@pytest.fixture
def log(broker: LocalKafka, monkeypatch: pytest.MonkeyPatch) -> Log:
    return Log(broker, monkeypatch)


def whole(*parts: range) -> set[tuple[str, int, int]]:
    """The windows of some parts of the log, none of them across their borders: length 4, hop 2, two series by turns."""
    found = set()
    for part in parts:
        for number, series in enumerate("ab"):
            mine = list(part)[number::2]
            found |= {(series, mine[end - 4], mine[end - 1]) for end in range(4, len(mine) + 1, 2)}
    return found


def test_bytes_behind_a_gzip_batch_are_passed_over(log: Log) -> None:
    log.batch(8)
    log.gzip_with_a_tail(8)
    log.batch(8)
    log.run()
    assert log.letters() == []
    assert log.windows() == whole(range(24))
    assert log.committed() == 24


def test_one_message_that_unpacks_to_much_more(log: Log) -> None:
    """The client takes four times as much memory as that."""
    log.batch(8)
    log.batch(1, compression="gzip", value=bytes(150_000_000))
    log.batch(8)
    tracemalloc.start()
    try:
        log.run()
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    assert log.letters() == [(8, 8, "too_large")]
    assert log.windows() == whole(range(8), range(9, 17))


def test_flipped_bytes_are_skipped(log: Log) -> None:
    """Behind good ones in one fetch, two in a row, and at the end; and nothing of it is told twice."""
    for count in (10, 4, 12, 4, 4, 12, 4):
        log.batch(count)
    for offset in (10, 26, 30, 46):
        log.flip(offset)
    log.run(damaged_batches="skip")
    hurt = [(10, 13, "corrupt_batch"), (26, 29, "corrupt_batch"), (30, 33, "corrupt_batch"), (46, 49, "corrupt_batch")]
    parts = [range(10), range(14, 26), range(34, 46)]
    assert log.letters() == hurt
    assert log.windows() == whole(*parts)
    assert log.committed() == 50
    log.batch(8)
    log.run()  # what was skipped once does not stop it, nor is it told of again
    assert log.letters() == hurt
    assert log.windows() == whole(*parts, range(50, 58))


def test_flips_in_the_range_that_refills_windows(log: Log) -> None:
    """After a crash the windows are filled again from before the batch; the group's offset is moved by nothing."""
    log.batch(6)
    log.run()  # a checkpoint at 6
    for count in (8, 4, 6):
        log.batch(count)
    log.flip(14)
    log.crash(damaged_batches="skip")
    assert log.letters() == [(14, 17, "corrupt_batch")]
    log.flip(6)  # this one was read while it was whole
    log.crash()
    assert log.letters() == [(14, 17, "corrupt_batch")]
    assert log.committed() == 24
    log.batch(8)
    log.run()
    assert log.letters() == [(14, 17, "corrupt_batch")]
    assert log.windows() == whole(range(14), range(18, 32))
    assert log.committed() == 32


def test_by_default_its_partition_is_held_until_the_batch_is_whole(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (10, 4, 10):
        log.batch(count)
    log.flip(10)
    daemon = log.daemon()
    daemon.run()  # ends as everything else is decided
    assert daemon._vitals.held == 1
    assert "offsets 10 to 13" in daemon._vitals.health.holds["held"]
    assert (log.committed(), log.letters(), log.windows()) == (10, [], whole(range(10)))
    monkeypatch.setattr("monitor.serving.holds.EVERY_S", 1.0)
    daemon, whole_again = log.daemon(), False
    daemon._backend.start()
    try:
        for _ in range(300):
            daemon.turn()
            if daemon._vitals.held and not whole_again:
                log.flip(10)  # as from a leader that holds it whole
                whole_again = True
            if daemon._processor.counts.records[log.topic] == 14:
                break
        assert daemon.drain()
    finally:
        daemon._backend.close()
    assert (log.committed(), log.letters(), log.windows()) == (24, [], whole(range(24)))


def test_it_stops_with_a_remedy_that_works(log: Log, tmp_path: Path) -> None:
    """The process: exit code 78, a message whose words are the remedy, and the remedy."""
    storage.save(ARTIFACT, tmp_path / "artifact")
    config = tmp_path / "telltale.toml"
    document = log.config(damaged_batches="stop") | {
        "http": {"port": 0},
        "log": {"format": "json"},
        "model": {"artifact": "artifact"},
    }
    config.write_text(toml(document))
    for count in (10, 4, 10):
        log.batch(count)
    log.flip(10)

    def run() -> subprocess.CompletedProcess[str]:
        command = [*TELLTALE, "run", "--config", str(config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    done = run()
    assert done.returncode == 78, done.stderr
    assert f"topic {log.topic}, partition 0: a batch of records can't be read, offsets 10 to 13" in done.stderr
    assert "its checksum is wrong" in done.stderr
    assert log.committed() == 10
    assert log.windows() == whole(range(10))
    assert log.letters() == []
    option = re.search(r'start with input\.(\w+) = \\?"(\w+)\\?"', done.stderr)
    assert option is not None, done.stderr
    log.run(**{option[1]: option[2]})
    assert log.letters() == [(10, 13, "corrupt_batch")]
    assert log.windows() == whole(range(10), range(14, 24))


def test_stop_stops_at_what_a_sender_made_unreadable(log: Log) -> None:
    log.batch(10)
    log.batch(4, compression="gzip", value=bytes(100_000))
    log.batch(10)
    with pytest.raises(DamagedError, match=r"offsets 10 to 13, \d+ bytes: .*unpacks to more than 50000 bytes"):
        log.run(damaged_batches="stop", max_batch_bytes=50_000)
    assert log.committed() == 10
    log.run(max_batch_bytes=50_000)
    assert log.letters() == [(10, 13, "too_large")]
    assert log.windows() == whole(range(10), range(14, 24))


@pytest.mark.parametrize("at", [11, 16, 3])
def test_a_header_that_is_wrong(log: Log, at: int) -> None:
    """Length, format and first offset. (A length that is too large stops its broker from answering at all.)"""
    for count in (10, 4, 10):
        log.batch(count)
    log.flip(10, at)
    log.run(damaged_batches="skip")
    assert log.letters() == [(10, 13, "corrupt_batch")]
    assert log.windows() == whole(range(10), range(14, 24))


def test_a_range_of_a_topic_says_what_it_can_not_read(log: Log) -> None:
    for count in (10, 4, 10):
        log.batch(count)
    log.flip(10)
    with (
        TopicRange(log.bootstrap, log.topic, Bound("earliest"), Bound("latest")) as topic,
        pytest.raises(DataError, match=r"partition 0: .*offsets 10 to 13.*to=offset:10, or from=offset:14"),
    ):
        list(topic.polls())
    with TopicRange(log.bootstrap, log.topic, Bound("offset", 14), Bound("latest")) as topic:
        assert sum(len(columns.offsets) for columns in topic.polls()) == 10
    with TopicRange(log.bootstrap, log.topic, Bound("earliest"), Bound("offset", 10)) as topic:
        assert sum(len(columns.offsets) for columns in topic.polls()) == 10
