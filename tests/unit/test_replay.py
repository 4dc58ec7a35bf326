"""`telltale replay`: how rows become records, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitor.config.options import Config
from monitor.detector import storage
from monitor.detector.artifact import Artifact
from monitor.errors import ConfigError, DataError
from monitor.replay import FileSource, overridden, read_rows, replay_file, replayed
from tests.helpers import make_artifact

SLIDING = make_artifact(length=4, hop=2, threshold=0.8)
TWO = make_artifact(length=4, hop=2, channels=("flow", "pressure"), threshold=0.8, sampling_rate_hz=250.0)
RECORD = make_artifact(kind="record", length=4, threshold=0.8, sampling_rate_hz=2.0)


def config(**options: Any) -> Config:
    return overridden(None, **({"service": None, "topic": None, "threshold": None} | options))


def saved(artifact: Artifact, directory: Path) -> Path:
    storage.save(artifact, directory / "artifact")
    return directory / "artifact"


def series_file(directory: Path, text: str, name: str = "plant.csv") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def test_rows_of_a_series_are_records(tmp_path: Path) -> None:
    path = series_file(tmp_path, "flow,pressure\n1,2\n3,\n,nan\n")
    rows = read_rows(FileSource(path=path, series="p1"), TWO.manifest)
    assert rows.keys == [b"p1"] * 3
    assert [json.loads(value) for value in rows.values] == [
        {"flow": 1, "pressure": 2}, {"flow": 3, "pressure": None}, {"flow": None, "pressure": None},
    ]  # fmt: skip
    assert rows.timestamps_ms == [0, 4, 8], "250 Hz"


def test_rows_with_times(tmp_path: Path) -> None:
    path = series_file(tmp_path, "at,value\n2024-11-21T08:22:07.310Z,1\n2024-11-21T08:22:07.310250Z,2\n")
    rows = read_rows(FileSource(path=path, series="s", time_column="at"), SLIDING.manifest)
    assert [json.loads(value)["ts"] for value in rows.values] == [1732177327310, 1732177327310.25]
    assert rows.timestamps_ms == [1732177327310, 1732177327310]


def test_rows_of_windows_are_records(tmp_path: Path) -> None:
    path = tmp_path / "beats.npy"
    np.save(path, np.array([[1, 2, 3, 4], [5, np.nan, 7, 8]]))
    rows = read_rows(FileSource(path=path, series="s"), RECORD.manifest)
    assert [json.loads(value) for value in rows.values] == [[1, 2, 3, 4], [5, None, 7, 8]]
    assert rows.timestamps_ms == [0, 2000], "four samples at 2 Hz"


def test_windows_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "beats.npy"
    np.save(path, np.zeros((5, 3)))
    with pytest.raises(DataError, match=r"windows of 3 samples x 1 channels, the artifact's are 4 x 1"):
        read_rows(FileSource(path=path, series="s"), RECORD.manifest)


def test_a_channel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = series_file(tmp_path, "flow,presure\n1,2\n")
    with pytest.raises(DataError, match="pressure"):
        read_rows(FileSource(path=path, series="s"), TWO.manifest)


def mixed_file(directory: Path, count: int = 240) -> tuple[Path, list[str]]:
    rng = np.random.default_rng(2)
    names = [f"pump-{rng.integers(5)}" for _ in range(count)]
    lines = [f"{name},{rng.normal() * 2:.5f}" for name in names]
    return series_file(directory, "\n".join(["sensor,value", *lines]) + "\n"), names


def test_what_is_trained_on_is_replayed(tmp_path: Path) -> None:
    """Every form that the trainer reads, with the columns that it finds by itself: the same records of each."""
    rows = [(f"pump-{row % 3}", 1_732_177_327_310 + row, row / 4, -row) for row in range(12)]
    names = ("series", "time", "flow", "pressure")
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    pq.write_table(pa.table(columns), tmp_path / "plant.parquet")
    text = "\n".join(",".join(map(str, row)) for row in rows)
    series_file(tmp_path, f"series,time,flow,pressure\n{text}\n")
    read = [
        read_rows(FileSource(path=tmp_path / name, series_column="series"), TWO.manifest)
        for name in ("plant.csv", "plant.parquet")
    ]
    assert read[0] == read[1]
    assert read[0].keys == [name.encode() for name, *_ in rows], "in the order of the file"
    assert read[0].timestamps_ms == [time for _, time, *_ in rows]
    assert json.loads(read[0].values[1]) == {"ts": 1732177327311, "flow": 0.25, "pressure": -1}


def test_a_file_of_several_series_takes_no_name(tmp_path: Path) -> None:
    path = series_file(tmp_path, "sensor,value\na,1\nb,2\n")
    with pytest.raises(DataError, match="2 series, so --series can't name them all"):
        read_rows(FileSource(path=path, series="s", series_column="sensor"), SLIDING.manifest)


def test_a_topic_is_no_file() -> None:
    with pytest.raises(DataError, match="replay reads files"):
        read_rows(FileSource(path=Path("kafka://localhost:9092/pumps")), SLIDING.manifest)


# The partition of each key on a topic of 3, as Kafka's own partitioner gives it: murmur2 of org.apache.kafka.common.
# utils.Utils, written down here once more from its Java text.
def murmur2(data: bytes) -> int:
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k ^= k >> 24
        h = (h * m & mask) ^ (k * m & mask)
    rest = data[whole:]
    if len(rest) >= 3:
        h ^= rest[2] << 16
    if len(rest) >= 2:
        h ^= rest[1] << 8
    if rest:
        h = (h ^ rest[0]) * m & mask
    h ^= h >> 13
    h = h * m & mask
    return h ^ h >> 15


def test_murmur2_is_kafkas() -> None:
    # UtilsTest.testMurmur2 of Apache Kafka
    for key, expected in ((b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)):
        assert murmur2(key) == expected & 0xFFFFFFFF


def test_alerts_carry_the_offsets_that_the_rows_have_on_kafka(tmp_path: Path) -> None:
    path, names = mixed_file(tmp_path)
    source = FileSource(path=path, series="", series_column="sensor", partitions=3)
    told, counts, _ = replayed(saved(SLIDING, tmp_path), source, config())
    assert len(told) > 5
    places, ends = [], dict.fromkeys(range(3), 0)
    for name in names:
        partition = (murmur2(name.encode()) & 0x7FFFFFFF) % 3
        places.append((name, partition, ends[partition]))
        ends[partition] += 1
    for alert in map(json.loads, told):
        kafka = alert["data"]["kafka"]
        assert (alert["subject"], kafka["partition"], kafka["last_offset"]) in places
        mine = [offset for name, _, offset in places if name == alert["subject"]]
        assert mine.index(kafka["last_offset"]) - mine.index(kafka["first_offset"]) == 3, "a window of four samples"
    assert counts.windows == sum(len(range(3, names.count(name), 2)) for name in set(names))


def test_source_and_topic_are_part_of_the_ids_and_nothing_else_is(tmp_path: Path) -> None:
    path, _ = mixed_file(tmp_path)
    artifact = saved(SLIDING, tmp_path)
    source = FileSource(path=path, series="", series_column="sensor")

    def ids(**options: Any) -> set[str]:
        return {json.loads(alert)["id"] for alert in replayed(artifact, source, config(**options))[0]}

    assert ids() == ids(service="telltale", topic="telltale.input")
    assert not ids() & ids(service="other")
    assert not ids() & ids(topic="other")


def test_missing_cells_make_windows_unscorable(tmp_path: Path) -> None:
    lines = ["value", *["0.01"] * 6, "", *["0.01"] * 5]
    path = tmp_path / "gappy.csv"
    path.write_text("a,value\n" + "\n".join(f"x,{line}" for line in lines[1:]) + "\n")
    _, counts, _ = replayed(saved(SLIDING, tmp_path), FileSource(path=path, series="s"), config())
    # 0-3, 2-5, 4-7, 6-9, 8-11: sample 6 is missing
    assert (counts.windows, counts.windows_unscorable, counts.samples_missing) == (5, 2, 1)


def test_alerts_go_to_a_file_and_the_summary_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = series_file(tmp_path, "value\n" + "9\n" * 8 + "0\n" * 20, "s.csv")
    artifact = saved(SLIDING, tmp_path)
    out = tmp_path / "alerts.jsonl"
    replay_file(artifact, FileSource(path=path, series="s"), alerts=out)
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert [alert["data"]["status"] for alert in told] == ["firing", "resolved"]
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("28 records, 13 windows (4 over the threshold, 0 unscorable), alerts: 1 firing, ")
    assert "rejected: none" in said.err
    replay_file(artifact, FileSource(path=path, series="s"))
    assert capfd.readouterr().out == out.read_text()


def test_alerts_are_in_order_of_time_whatever_their_precision(tmp_path: Path) -> None:
    rows = [f"{100 + place / 2000},{'a' if place % 2 else 'b'},9" for place in range(40)]
    path = series_file(tmp_path, "ts,sensor,value\n" + "\n".join(rows) + "\n")
    (tmp_path / "c.toml").write_text("[alerting]\nupdate_every = 1\n[model]\nartifact = 'artifact'\n")
    artifact = saved(SLIDING, tmp_path)
    source = FileSource(path=path, series="", series_column="sensor", time_column="ts")
    policy = overridden(tmp_path / "c.toml", service=None, topic=None, threshold=None)
    times = [json.loads(alert)["time"] for alert in replayed(artifact, source, policy)[0]]
    assert len({len(time) for time in times}) == 2
    # lengths made equal, text is in order of time
    padded = [time if len(time) == 27 else time[:-1] + "000Z" for time in times]
    assert padded == sorted(padded)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"threshold": 0.0}, "model.threshold"),
        ({"threshold": -1.0}, "model.threshold"),
        ({"topic": "no such/topic"}, "input.topics"),
        ({"topic": "telltale.alerts"}, "telltale.alerts"),
        ({"service": "a b"}, "service.name"),
    ],
)
def test_what_the_command_line_says_wrongly_is_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        config(**options)


def test_alerts_that_can_not_be_written(tmp_path: Path) -> None:
    path = series_file(tmp_path, "value\n9\n9\n9\n9\n")
    with pytest.raises(DataError, match="can't be written"):
        replay_file(saved(SLIDING, tmp_path), FileSource(path=path, series="s"), alerts=tmp_path / "no" / "such.jsonl")


def test_silence_at_the_end_is_not_judged_and_what_waits_is_published(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """b stops, which is found right before the file ends; then a could be silent, too."""
    rows = [f"{100 + at},{name},{at % 3}" for at in range(61) for name in "ab" if name == "a" or at < 50]
    path = series_file(tmp_path, "ts,sensor,value\n" + "\n".join(rows) + "\n")
    replay_file(saved(SLIDING, tmp_path), FileSource(path=path, series="", series_column="sensor", time_column="ts"))
    said = capfd.readouterr()
    (alert,) = [each for each in map(json.loads, said.out.splitlines()) if "quality" in each["type"]]
    assert (alert["subject"], alert["data"]["rule"], alert["data"]["status"]) == ("b", "no_data", "firing")
    assert "data quality: 1 firing (silence at the file's end is not judged); " in said.err
