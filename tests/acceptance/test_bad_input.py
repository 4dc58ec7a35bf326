"""Every kind of bad record, mixed into a stream on a real broker: none stops the daemon, none is lost, none costs the
good ones anything.

The expected alerts are those of the same stream without the bad records, from a second daemon on a second topic.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from monitor.backends.kafka import FeedProducer, TopicRecord, create_topic, read_topic
from monitor.detector import storage
from monitor.messages import alerts, quality
from tests.acceptance.daemon_process import DaemonProcess
from tests.helpers import make_artifact

pytestmark = pytest.mark.kafka

LENGTH, HOP = 10, 5
ARTIFACT = make_artifact(length=LENGTH, hop=HOP, channels=("flow", "pressure"), threshold=0.8, batch_rows=64)
SERIES = [f"pump-{number}" for number in range(6)]
EPOCH_MS = 1_732_177_327_310
FAR_MS = 4_102_444_800_000
GOOD = b'{"flow": 1, "pressure": 2}'
KEY = b"pump-0"

# value, key, reason
BAD: dict[str, tuple[bytes | None, bytes | None, str]] = {
    "broken JSON": (b'{"flow": 1, "press', KEY, "malformed"),
    "no JSON": (b"hello", KEY, "malformed"),
    "Infinity": (b'{"flow": 1, "pressure": Infinity}', KEY, "not_finite"),
    "1e999": (b'{"flow": 1e999, "pressure": 1}', KEY, "not_finite"),
    "1e39": (b'{"flow": 1, "pressure": -1e39}', KEY, "not_finite"),
    "no bytes": (b"", KEY, "empty"),
    "tombstone": (None, KEY, "empty"),
    "10 MB": (b'{"flow": 1, "pressure": 1, "note": "' + b"x" * 10_000_000 + b'"}', KEY, "too_large"),
    "deep nesting": (b'{"note": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", KEY, "malformed"),
    "bad UTF-8": (b'\xff\xfe{"flow": 1}', KEY, "malformed"),
    "binary": (bytes(range(256)), KEY, "malformed"),
    "text for a number": (b'{"flow": "1", "pressure": 1}', KEY, "wrong_type"),
    "a bool for a number": (b'{"flow": true, "pressure": 1}', KEY, "wrong_type"),
    "a list for an object": (b'["flow", "pressure"]', KEY, "wrong_type"),
    "only null": (b"null", KEY, "wrong_type"),
    "a missing channel": (b'{"flow": 1}', KEY, "missing_channel"),
    "a channel in another spelling": (b'{"Flow": 1, "pressure": 1}', KEY, "missing_channel"),
    "ragged chunk": (b'{"values": [[1, 2], [3]]}', KEY, "wrong_shape"),
    "empty chunk": (b'{"values": []}', KEY, "wrong_shape"),
    "chunk without end": (b'{"values": [%s]}' % b",".join([b"[1,2]"] * 10_001), KEY, "wrong_shape"),
    "sample and chunk": (b'{"flow": 1, "pressure": 1, "values": [[1, 2]]}', KEY, "wrong_shape"),
    "rate of 0": (b'{"rate_hz": 0, "values": [[1, 2]]}', KEY, "wrong_type"),
    "far future": (b'{"ts": 4102444800000, "flow": 1, "pressure": 1}', KEY, "future_timestamp"),
    "before 1970": (b'{"ts": -1, "flow": 1, "pressure": 1}', KEY, "bad_timestamp"),
    "a clock never set": (b'{"ts": "1970-01-01T00:00:12", "flow": 1, "pressure": 1}', KEY, "bad_timestamp"),
    "a timestamp of 2100": (b'{"flow": 1, "pressure": 1.5}', KEY, "future_timestamp"),
    "null key": (GOOD, None, "bad_series"),
    "empty key": (GOOD, b"", "bad_series"),
    "overlong key": (GOOD, b"k" * 257, "bad_series"),
    "a key as large as a record": (GOOD, b"\xff" * 700_000, "bad_series"),
    "control characters in the key": (GOOD, b"pump\r\n\x1b[2J", "bad_series"),
    "a key that is not UTF-8": (GOOD, b"pump-\xe9", "bad_series"),
    "two documents": (GOOD + GOOD, KEY, "malformed"),
}


def good_stream(count: int, rng: random.Random) -> list[tuple[bytes, bytes, int]]:
    """(key, value, timestamp) with a fault on every series now and then, and a missing number in one in 300."""
    rows = []
    for number in range(count):
        at, series = EPOCH_MS + number, rng.choice(SERIES)
        wild = (number // 400) % 5 == 3
        numbers = [rng.gauss(0, 4 if wild else 0.05) for _ in range(2)]
        flow = "null" if rng.random() < 1 / 300 else f"{numbers[0]:.5f}"
        rows.append((series.encode(), f'{{"ts": {at}, "flow": {flow}, "pressure": {numbers[1]:.5f}}}'.encode(), at))
    return rows


class Stream:
    """One topic and the daemon on it."""

    def __init__(self, directory: Path, bootstrap: str, name: str) -> None:
        self.bootstrap, self.topic = bootstrap, f"{name}.{uuid.uuid4().hex[:8]}"
        large = {"max.message.bytes": str(16 * 1024 * 1024), "message.timestamp.after.max.ms": str(2**62)}
        create_topic(bootstrap, self.topic, 1, topic_settings=large)
        document: dict[str, dict[str, Any]] = {
            "kafka": {"bootstrap_servers": [bootstrap], "group_id": self.topic, "session_timeout_ms": 6000},
            "input": {
                "topics": [self.topic],
                "start": "earliest",
                "max_samples_per_record": 200,
                "max_missing_ratio": 0.0,
            },
            "output": {"alerts": f"{self.topic}.alerts", "dead_letters": f"{self.topic}.dead"},
            "model": {"artifact": str(directory / "artifact")},
            # While one of these has an incident, windows don't end the score's: rejected and missing numbers differ.
            "quality": {"no_data": False, "nan_ratio": False, "flatline": False},
            "alerting": {"open_after": 2, "update_every": 5},
        }
        self.daemon = DaemonProcess(directory / name, document)

    def run(self, records: list[tuple[bytes | None, bytes | None, int]]) -> dict[str, float]:
        """Feeds (key, value, timestamp) while the daemon runs; the metrics at the end."""
        with self.daemon as daemon, FeedProducer(self.bootstrap) as producer:
            daemon.start()
            for key, value, at in records:
                producer.send(self.topic, value, key, timestamp_ms=at)
            producer.flush(120)
            daemon.wait_until(
                lambda: daemon.metric("telltale_records_consumed_total") == len(records), "all read", timeout_s=120
            )
            names = ("windows_scored", "windows_unscorable", "samples_missing", "records_rejected", "aborts", "commits")
            metrics: dict[str, float] = {}
            # Records count when they are read, windows when they are scored, and a commit follows both.
            while metrics != (metrics := {name: daemon.metric(f"telltale_{name}_total") for name in names}):
                time.sleep(1.5)
            del metrics["commits"]
            assert daemon.stop() == 0
        assert not [e for e in daemon.events() if e.get("level") in ("error", "critical")], daemon.log_text()
        return metrics

    def alerts(self, kind: str = alerts.TYPE) -> list[dict[str, Any]]:
        found = [json.loads(record.value or b"") for record in read_topic(self.bootstrap, f"{self.topic}.alerts")]
        return [alert for alert in found if alert["type"] == kind]

    def letters(self) -> list[TopicRecord]:
        return read_topic(self.bootstrap, f"{self.topic}.dead")


def content(alert: dict[str, Any]) -> dict[str, Any]:
    """Everything that does not depend on offsets, topic and group."""
    data = {k: v for k, v in alert["data"].items() if k not in ("kafka", "fingerprint")}
    return {"subject": alert["subject"], "time": alert["time"], "data": data}


Rows = list[tuple[bytes | None, bytes | None, int]]
# How many samples a rejected record of KEY had, as far as allowed; one if it is not listed.
HELD = {"ragged chunk": 2, "a list for an object": 2, "chunk without end": 200}


def with_holes(records: Rows) -> Rows:
    """`records` with missing samples in place of rejected ones: right after the last one of their series."""
    held = {BAD[name][0]: count for name, count in HELD.items()}
    bad = {(value, key) for value, key, _ in BAD.values()}
    newest: float | None = None
    rows: Rows = []
    for key, value, at in records:
        if (value, key) not in bad:
            if key == KEY:
                newest = json.loads(value or b"")["ts"]
            rows.append((key, value, at))
        elif key == KEY and newest is not None:  # no series begins with a rejected record
            count = held.get(value, 1)
            newest += 0.001  # ms
            hole = {"ts": newest, "rate_hz": 1e9, "values": [[None, None]] * count}
            newest += count / 1e6
            rows.append((key, json.dumps(hole).encode(), at))
    return rows


def unscorable(rows: Rows) -> tuple[int, int, int]:
    """Windows in all, windows that hold a missing sample, and missing samples, counted by hand."""
    windows = holed = missing_samples = 0
    for series in SERIES:
        missing: list[bool] = []
        for value in [json.loads(value or b"") for key, value, _ in rows if key == series.encode()]:
            missing += [True] * len(value["values"]) if "values" in value else [value["flow"] is None]
        missing_samples += sum(missing)
        for end in range(LENGTH, len(missing) + 1, HOP):
            windows += 1
            holed += any(missing[end - LENGTH : end])
    return windows, holed, missing_samples


def test_bad_records_among_good_ones(tmp_path: Path, kafka_bootstrap: str) -> None:
    assert len(BAD) >= 20
    rng = random.Random(11)
    storage.save(ARTIFACT, tmp_path / "artifact")
    good = good_stream(6_000, rng)
    kinds = [*BAD, *rng.choices([name for name in BAD if name != "10 MB"], k=300 - len(BAD))]  # 5 %
    rng.shuffle(kinds)
    records: Rows = list(good)
    for name in kinds:
        value, key, _ = BAD[name]
        position = rng.randrange(len(records))
        records.insert(position, (key, value, FAR_MS if name == "a timestamp of 2100" else good[0][2] + position))

    clean, dirty = Stream(tmp_path, kafka_bootstrap, "clean"), Stream(tmp_path, kafka_bootstrap, "dirty")
    expected = clean.run(with_holes(records))
    found = dirty.run(records)

    windows, holed, missing = unscorable(with_holes(records))
    assert holed > unscorable(list(good))[1] > 20
    assert (expected["windows_scored"], expected["windows_unscorable"]) == (windows, holed)
    assert expected["samples_missing"] == missing
    assert found["samples_missing"] == unscorable(list(good))[2], "what is refused is counted as refused"
    assert (expected["records_rejected"], found["records_rejected"]) == (0, len(kinds))
    assert {**found, "records_rejected": 0, "samples_missing": missing} == {**expected, "aborts": found["aborts"]}
    assert expected["aborts"] == found["aborts"] == 0

    published = [content(alert) for alert in clean.alerts()]
    assert len(published) > 20, "a test without alerts shows nothing"
    assert {alert["data"]["status"] for alert in published} == {"firing", "update", "resolved"}
    assert [content(alert) for alert in dirty.alerts()] == published
    named = {alert["data"]["rule"] for alert in dirty.alerts(quality.TYPE)}
    assert "schema_mismatch" in named, "that records are rejected is said of the series, too"
    assert clean.letters() == []

    letters = dirty.letters()
    documents = [json.loads(letter.value or b"") for letter in letters]
    offsets = [offset for offset, record in enumerate(records) if record[1] not in {value for _, value, _ in good}]
    assert [document["offset"] for document in documents] == offsets, "each once, in order"
    reasons = {(value, key): reason for value, key, reason in BAD.values()}
    for letter, document in zip(letters, documents, strict=True):
        key, value, at = records[document["offset"]]
        assert document["reason"] == reasons[value, key]
        assert dict(letter.headers) == {"content-type": b"application/json", "reason": document["reason"].encode()}
        assert (document["topic"], document["partition"], document["timestamp_ms"]) == (dirty.topic, 0, at)
        assert document["size"] == (None if value is None else len(value))
        assert document["sha256"] == (None if value is None else hashlib.sha256(value).hexdigest())
        assert document["detail"]
        assert letter.key == (None if key is None else key[:1024])
    assert Counter(d["reason"] for d in documents) == Counter(BAD[name][2] for name in kinds)

    lines = [event for event in dirty.daemon.events() if event.get("event", "").startswith("Records were rejected")]
    said: Counter[str] = Counter()
    for line in lines:
        said[line["reason"]] += line["count"]
        key, value, _ = records[line["offset"]]
        assert (line["topic"], line["partition"], line["reason"]) == (dirty.topic, 0, reasons[value, key])
        assert line["detail"]
    assert said == Counter(BAD[name][2] for name in kinds), "nothing is left uncounted"
    assert len(lines) < 60, "one a minute and reason"
