"""A range of a topic on a real broker: what is read, where it ends, and what is told of the rest."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaProducer

from monitor.backends.abstract import TopicPartition
from monitor.backends.kafka import FeedProducer, create_topic
from monitor.backends.kafka.ranges import Bound, TopicRange
from monitor.datafiles import SeriesTable, WindowTable
from monitor.errors import BackendError, ConfigError, DataError
from training.datasets import ReadOptions, read

pytestmark = pytest.mark.kafka

START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
Records = Sequence[tuple[int, str | None, object, int]]
Fed = Callable[..., str]


@pytest.fixture
def fed(kafka_bootstrap: str) -> Fed:
    """Makes a topic of (partition, key, value, ms after the start) and returns its address."""

    def feed(records: Records, *, partitions: int = 1, headers: Sequence[tuple[str, bytes]] = ()) -> str:
        topic = f"range-{uuid.uuid4().hex[:8]}"
        create_topic(kafka_bootstrap, topic, partitions)
        with FeedProducer(kafka_bootstrap) as producer:
            for partition, key, value, after_ms in records:
                raw = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
                producer.send(
                    topic,
                    raw,
                    None if key is None else key.encode(),
                    partition=partition,
                    timestamp_ms=START_MS + after_ms,
                    headers=headers,
                )
        return f"kafka://{kafka_bootstrap}/{topic}"

    return feed


def series(source: str, notes: list[str] | None = None, **options: Any) -> dict[str, SeriesTable]:
    told: list[str] = []
    tables = read(source, kind="sliding", options=ReadOptions(**options), note=told.append)
    if notes is None:
        assert not told
    else:
        notes += told
    assert all(isinstance(table, SeriesTable) for table in tables)
    return {table.series: table for table in tables}  # type: ignore[misc]


def since_start_ms(table: SeriesTable) -> list[float]:
    assert table.time_us is not None
    found: list[float] = ((table.time_us - 1000 * START_MS) / 1000).tolist()
    return found


def test_series_of_all_partitions_with_their_times(fed: Fed) -> None:
    source = fed(
        [
            (0, "a", {"ts": START_MS + 5, "flow": 1, "heat": 10}, 7),
            (1, "b", {"ts": "2026-01-01T00:00:01Z", "flow": 2, "heat": None}, 1000),
            (0, "a", {"ts": START_MS + 6, "heat": 11, "flow": 3}, 8),
        ],
        partitions=2,
    )
    found = series(source)
    assert set(found) == {"a", "b"}
    assert found["a"].channels == ("flow", "heat")
    assert found["a"].samples.tolist() == [[1, 10], [3, 11]]
    np.testing.assert_array_equal(found["b"].samples, np.array([[2, np.nan]], np.float32))
    assert (since_start_ms(found["a"]), since_start_ms(found["b"])) == ([5, 6], [1000])
    assert series(source, channels=("heat",))["a"].samples.tolist() == [[10], [11]]


def test_records_without_times_have_their_own_in_order(fed: Fed) -> None:
    found = series(fed([(0, "a", {"v": at}, 10 * (at // 2)) for at in range(4)]))["a"]
    assert since_start_ms(found) == [0, 0.001, 10, 10.001]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("?from=earliest&to=latest", [0, 1, 2, 3, 4]),
        ("?from=offset:1&to=offset:3", [1, 2]),
        (f"?from={START_MS + 1000}&to={START_MS + 3000}", [1, 2]),
        ("?from=2026-01-01T00:00:00.5Z&to=2026-01-01T00:00:03.001", [1, 2, 3]),
        ("?from=2026-01-01T00:00:04Z", [4]),
    ],
)
def test_bounds(fed: Fed, bounds: str, expected: list[int]) -> None:
    source = fed([(0, "a", {"v": at}, 1000 * at) for at in range(5)])
    assert series(source + bounds)["a"].samples[:, 0].tolist() == expected


def test_an_empty_range_and_one_beyond_the_log(fed: Fed) -> None:
    source = fed([(0, "a", {"v": 1}, 0)])
    for bounds in ("?from=latest", "?from=2030-01-01", "?to=earliest"):
        with pytest.raises(DataError, match="no records from `from` to `to`"):
            series(source + bounds)
    notes: list[str] = []
    assert len(series(source + "?to=offset:9", notes)["a"].samples) == 1
    assert len(notes) == 1
    assert "to=offset:9, but the log holds 0 to 1" in notes[0]


def test_what_can_not_be_read_is_counted_by_reason(fed: Fed) -> None:
    source = fed(
        [
            (0, "a", b"{", 0),
            (0, "a", None, 0),
            (0, "a", {"v": 1}, 0),
            (0, "a", {"w": 1}, 0),
            (0, None, {"v": 1}, 0),
            (0, "a", b'{"v": 1e999}', 0),
            (0, "a", {"v": 2}, 1),
        ]
    )
    notes: list[str] = []
    table = series(source, notes)["a"]
    # what was refused before the first sample is of no series yet; what came after it is missing
    np.testing.assert_array_equal(table.samples, [[1], [np.nan], [np.nan], [2]])
    assert table.time_us is not None
    assert np.diff(table.time_us).tolist() == [1, 1, 998]
    (told,) = notes
    assert "5 of 7 records can't be read" in told
    for reason in ("1 malformed", "1 empty", "1 missing_channel", "1 bad_series", "1 not_finite"):
        assert reason in told
    assert "offset 0:" in told
    with pytest.raises(DataError, match=r"7 of 7 records can't be read: .*no channel 'speed'|7 of 7"):
        series(source, [], channels=("speed",))


def test_nothing_that_says_what_a_record_is(fed: Fed) -> None:
    with pytest.raises(DataError, match="none of 2 records names a channel"):
        series(fed([(0, "a", b"junk", 0), (0, "a", {"name": "x"}, 0)]))


def test_chunks_of_samples(fed: Fed) -> None:
    source = fed([(0, "a", {"ts": START_MS, "rate_hz": 100, "values": [[1, 2], [3, 4]]}, 0), (0, "a", [[5, 6]], 20)])
    found = series(source)["a"]
    assert found.channels == ("0", "1")
    assert found.samples.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert since_start_ms(found) == [0, 10, 20]


def test_records_that_are_windows(fed: Fed) -> None:
    source = fed([(1, "a", [1, 2, None], 0), (0, "b", [4, 5, 6], 1), (0, "b", [7, 8], 1)], partitions=2)
    notes: list[str] = []
    (table,) = read(source, kind="record", options=ReadOptions(window_length=3), note=notes.append)
    assert isinstance(table, WindowTable)
    np.testing.assert_array_equal(table.windows[:, :, 0], np.array([[4, 5, 6], [1, 2, np.nan]], np.float32))
    assert "1 of 3 records can't be read: 1 wrong_shape" in notes[0]


def test_one_key_in_two_partitions_is_two_series(fed: Fed) -> None:
    notes: list[str] = []
    source = fed([(0, "a", {"v": 1}, 0), (1, "a", {"v": 2}, 0)], partitions=2)
    tables = read(source, kind="sliding", note=notes.append)
    assert len(tables) == 2
    assert "1 series in several partitions" in notes[0]


def test_how_records_are_written_comes_from_the_daemons_configuration(
    fed: Fed, tmp_path: Path, kafka_bootstrap: str
) -> None:
    config = tmp_path / "telltale.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = ["{kafka_bootstrap}"]\n[input]\nformat = "f32"\nseries = "header:sensor"\n'
    )
    values = np.array([[1, 2], [3, 4]], "<f4")
    source = fed([(0, "ignored", values.tobytes(), 0)], headers=[("sensor", b"s1")])
    topic = source.rpartition("/")[2]
    found = series(f"kafka://{topic}", config=config, channels=("x", "y"), sampling_rate_hz=50.0)["s1"]
    assert found.samples.tolist() == values.tolist()
    assert since_start_ms(found) == [0, 20]
    with pytest.raises(DataError, match="f32 records hold numbers only; name --channels"):
        series(f"kafka://{topic}", config=config)


def test_labels_by_series_and_time(fed: Fed, tmp_path: Path) -> None:
    labels = tmp_path / "intervals.csv"
    labels.write_text("series,start,end\na,2026-01-01T00:00:01Z,2026-01-01T00:00:02Z\n")
    source = fed([(0, key, {"v": at}, 1000 * at) for at in range(4) for key in "ab"])
    found = series(source, labels=labels)
    assert found["a"].labels is not None
    assert found["b"].labels is not None
    assert (found["a"].labels.tolist(), found["b"].labels.tolist()) == ([0, 1, 1, 0], [0, 0, 0, 0])


def test_only_what_is_committed_is_read(fed: Fed, kafka_bootstrap: str) -> None:
    source = fed([(0, "a", {"v": 0}, 0)])
    topic = source.rpartition("/")[2]
    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap.split(","), transactional_id=topic)
    producer.init_transactions()
    for value, commit in ((1, True), (2, False), (3, True), (4, False)):
        producer.begin_transaction()
        producer.send(topic, json.dumps({"v": value}).encode(), b"a", timestamp_ms=START_MS + value).get(timeout=30)
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    assert series(source)["a"].samples[:, 0].tolist() == [0, 1, 3]
    producer.begin_transaction()
    producer.send(topic, b'{"v": 5}', b"a").get(timeout=30)
    assert series(source)["a"].samples[:, 0].tolist() == [0, 1, 3], "what is open is not waited for"
    producer.abort_transaction()
    producer.close()


def test_a_topic_that_is_not_there_and_a_broker_that_is_not(kafka_bootstrap: str) -> None:
    with pytest.raises(ConfigError, match="topic nobody does not exist"):
        series(f"kafka://{kafka_bootstrap}/nobody")
    with pytest.raises(BackendError, match=r"can't reach Kafka at 127\.0\.0\.1:1 "):
        series("kafka://127.0.0.1:1/t")


def test_many_records_in_many_polls(fed: Fed, kafka_bootstrap: str) -> None:
    count = 30_000
    source = fed([(at % 3, str(at % 7), {"v": at}, at) for at in range(count)], partitions=3)
    parts = dict[TopicPartition, list[int]]()
    with TopicRange(kafka_bootstrap, source.rpartition("/")[2], Bound("offset", 10), Bound("offset", 9_990)) as topic:
        for polled in topic.polls():
            parts.setdefault(polled.partition, []).extend(polled.offsets.tolist())
    assert {partition.partition for partition in parts} == {0, 1, 2}
    assert all(offsets == list(range(10, 9_990)) for offsets in parts.values())
    tables = read(source, kind="sliding", note=lambda _: None)
    assert sum(table.samples.sum(dtype=np.float64) for table in tables if isinstance(table, SeriesTable)) == (
        count * (count - 1) / 2
    )


def test_samples_take_the_places_that_the_daemon_gives_them(fed: Fed, tmp_path: Path, kafka_bootstrap: str) -> None:
    """Readings of single channels are put together by time, and what is out of order within the grace is in order."""
    config = tmp_path / "telltale.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = ["{kafka_bootstrap}"]\n'
        '[input]\ntimestamp_unit = "ms"\nchannel_field = "metric"\ngrace_ms = 2000\n'
    )
    readings = [(at, name) for at in (0, 2, 1, 3, 4) for name in ("flow", "pressure")]
    source = fed(
        [
            (0, "a", {"ts": START_MS + 1000 * at, "metric": name, "value": 10 * at + (name == "flow")}, 1000 * at)
            for at, name in readings
            if (at, name) != (3, "flow")
        ]
    )
    topic = source.rpartition("/")[2]
    found = series(f"kafka://{topic}", config=config, channels=("flow", "pressure"))["a"]
    np.testing.assert_array_equal(found.samples, [[1, 0], [11, 10], [21, 20], [np.nan, 30], [41, 40]])
    assert since_start_ms(found) == [0, 1000, 2000, 3000, 4000]
