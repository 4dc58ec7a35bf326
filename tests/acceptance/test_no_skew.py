"""`replay` and the daemon give the same alerts for the same rows, also when the daemon is stopped and killed."""

from __future__ import annotations

import csv
import itertools
import random
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from monitor.backends.kafka import FeedProducer, create_topic, read_topic
from monitor.config.options import Config
from monitor.detector import storage
from monitor.detector.artifact import Artifact
from monitor.detector.spec import Manifest
from monitor.replay import FileSource, overridden, read_rows, replayed
from tests.acceptance.daemon_process import DaemonProcess, toml
from tests.helpers import make_artifact

pytestmark = pytest.mark.kafka


def with_threshold(artifact: Artifact, values: np.ndarray, share: float) -> Artifact:
    """The artifact with a threshold that `share` of the windows exceed."""
    threshold = float(np.quantile(artifact.scorer()(values.astype(np.float32)), 1 - share))
    manifest = msgspec.structs.replace(
        artifact.manifest, threshold=msgspec.structs.replace(artifact.manifest.threshold, value=threshold)
    )
    return replace(artifact, manifest=manifest)


class Case:
    """One file, one topic, one group."""

    def __init__(self, directory: Path, bootstrap: str, artifact: Artifact, source: FileSource) -> None:
        self.directory, self.bootstrap, self.source = directory, bootstrap, source
        self.artifact = directory / "artifact"
        storage.save(artifact, self.artifact)
        self.topic = f"in.{uuid.uuid4().hex[:8]}"
        self.document: dict[str, dict[str, Any]] = {
            "service": {"name": "skew", "instance": "one"},
            "kafka": {"bootstrap_servers": [bootstrap], "group_id": self.topic, "session_timeout_ms": 6000},
            # as `replay` takes it: rows without times begin in 1970
            "input": {
                "topics": [self.topic],
                "start": "earliest",
                "timestamp_unit": "ms",
                "oldest_time": "1970-01-01T00:00:00Z",
            },
            "output": {"alerts": f"{self.topic}.alerts", "dead_letters": f"{self.topic}.dead"},
            "model": {"artifact": str(self.artifact)},
            "limits": {"checkpoint_interval_ms": 500},
        }
        self.manifest: Manifest = artifact.manifest

    def config(self) -> Config:
        base = self.directory / "replay.toml"
        base.write_text(toml(self.document))
        return overridden(base, service=None, topic=None, threshold=None)

    def replayed(self) -> list[bytes]:
        return replayed(self.artifact, self.source, self.config())[0]

    def feed(self) -> None:
        """Writes the file's rows to the topic, row by row."""
        create_topic(self.bootstrap, self.topic, self.source.partitions)
        rows = read_rows(self.source, self.manifest)
        with FeedProducer(self.bootstrap) as producer:
            for key, value, timestamp_ms in zip(rows.keys, rows.values, rows.timestamps_ms, strict=True):
                producer.send(self.topic, value, key, timestamp_ms=timestamp_ms)
            producer.flush()

    def published(self) -> list[bytes]:
        return [record.value or b"" for record in read_topic(self.bootstrap, f"{self.topic}.alerts")]


def run_disturbed(case: Case, seed: int) -> None:
    """Runs the daemon over the topic, ending it three times on the way: SIGTERM, kill -9, kill -9."""
    rng = random.Random(seed)
    for end in ("stop", "kill", "kill", None):
        with DaemonProcess(case.directory / "daemon", case.document) as daemon:
            daemon.start()
            if end is None:
                daemon.wait_until(
                    lambda: daemon.get("/readyz")[0] == 200 and daemon.metric("telltale_consumer_lag_records") == 0,
                    "caught up",
                )
                time.sleep(0.5)
                assert daemon.stop() == 0
            else:
                time.sleep(rng.uniform(0.0, 0.4))
                if end == "stop":
                    assert daemon.stop() == 0
                else:
                    daemon.kill()


def check(case: Case) -> None:
    expected = case.replayed()
    assert len(expected) > 20, "a test without alerts shows nothing"
    case.feed()
    run_disturbed(case, seed=len(expected))
    published = case.published()
    assert sorted(published) == sorted(expected), f"{len(published)} alerts through Kafka, {len(expected)} replayed"


def test_ecg5000(tmp_path: Path, kafka_bootstrap: str, data_directory: Path) -> None:
    file = data_directory / "ecg5000" / "ECG5000_TEST.txt.gz"
    artifact = make_artifact(kind="record", length=140, widths=(32, 16, 8), batch_rows=1024)
    beats = np.loadtxt(data_directory / "ecg5000" / "ECG5000_TRAIN.txt", dtype=np.float32)[:, 1:, None]
    source = FileSource(path=file, series="chf07", partitions=3, label_column="first")
    check(Case(tmp_path, kafka_bootstrap, with_threshold(artifact, beats, 0.3), source))


def test_mitbih(tmp_path: Path, kafka_bootstrap: str, data_directory: Path) -> None:
    with np.load(data_directory / "mitbih" / "106.npz") as record:
        signal = (record["signal_adc"][:200_000].astype(np.float32) - 1024) / 200
    file = tmp_path / "106.npz"
    np.savez(file, MLII=signal[:, 0], V1=signal[:, 1])
    artifact = make_artifact(
        length=256, hop=36, channels=("MLII", "V1"), widths=(32, 8), batch_rows=256, sampling_rate_hz=360.0
    )
    windows = np.lib.stride_tricks.sliding_window_view(signal, 256, axis=0)[::36].transpose(0, 2, 1)
    check(Case(tmp_path, kafka_bootstrap, with_threshold(artifact, windows, 0.1), FileSource(path=file, series="106")))


def test_several_series_on_several_partitions(tmp_path: Path, kafka_bootstrap: str) -> None:
    rng = np.random.default_rng(7)
    file = tmp_path / "plant.csv"
    names = [f"pump-{number}" for number in range(9)]
    with file.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["sensor", "at", "flow", "pressure"])
        level = dict.fromkeys(names, 0.0)
        for tick, _ in zip(itertools.count(1), range(30_000), strict=False):
            name = names[rng.integers(len(names))]
            level[name] = 0.95 * level[name] + rng.normal() * (4 if rng.random() < 0.01 else 0.5)
            flow = "" if rng.random() < 0.002 else f"{level[name]:.5f}"
            writer.writerow([name, 1_700_000_000_000 + tick, flow, f"{rng.normal():.5f}"])
    artifact = make_artifact(length=20, hop=5, channels=("flow", "pressure"), widths=(8, 3), batch_rows=64)
    sample = rng.normal(size=(500, 20, 2))
    source = FileSource(path=file, series="", series_column="sensor", time_column="at", partitions=4)
    check(Case(tmp_path, kafka_bootstrap, with_threshold(artifact, sample, 0.2), source))
