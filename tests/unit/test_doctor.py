"""`telltale doctor`'s core: what producers write is recognised by its content, and the options proposed for it work."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.backends.abstract import TopicPartition
from monitor.config.file import parse
from monitor.doctor import documents, report, topic
from monitor.doctor.configuration import toml
from monitor.doctor.diagnosis import Diagnosis, examine
from monitor.doctor.report import Place
from monitor.doctor.trial import order_of, sentinels
from monitor.doctor.words import safe, span
from tests.helpers import make_columns
from tests.unit.test_mappings import EXAMPLES

NOW_MS = 1_764_600_000_000
NOW_US = 1000 * NOW_MS + 3_600_000_000
RANDOM = np.random.default_rng(7).normal(size=400).tolist()
PLACE = Place(topic="pumps", partitions=1, held=300, sections={}, artifact="pumps-model", config="telltale.toml")


def look(
    values: Sequence[Any], keys: Sequence[bytes | None] | None = None, headers: list[Any] | None = None
) -> Diagnosis:
    encoded = [value if isinstance(value, bytes) or value is None else json.dumps(value).encode() for value in values]
    keys = [b"pump-%d" % (at % 3) for at in range(len(values))] if keys is None else keys
    stamps = [NOW_MS + 100 * at for at in range(len(values))]
    return examine([make_columns(encoded, keys=keys, timestamps_ms=stamps, headers=headers)], NOW_US)


def roles(found: Diagnosis) -> dict[str, str]:
    return {line.path: line.role for line in found.fields}


def plain(at: int, **more: Any) -> dict[str, Any]:
    return {"ts": NOW_MS + 1000 * at, "flow": 3 + RANDOM[at], "pressure": 12 + RANDOM[-at], **more}


def test_fields_are_recognised_by_their_content() -> None:
    found = look(
        [plain(at, SeqNo=at, site="north", rev=7, note=f"n{at}", received=NOW_MS + 1000 * at + 5) for at in range(300)]
    )
    assert roles(found) == {
        "ts": "time",
        "flow": "channel",
        "pressure": "channel",
        "SeqNo": "counter",
        "site": "label of its series",
        "rev": "constant",
        "note": "other",
        "received": "clock",
    }
    assert (found.channels, found.trial.accepted, len(found.trial.series)) == (["flow", "pressure"], 300, 3)


@pytest.mark.parametrize(
    ("factor", "unit"), [(1, "s since 1970"), (1e3, "ms since 1970"), (1e6, "us since 1970"), (1e9, "ns since 1970")]
)
def test_the_unit_of_time(factor: float, unit: str) -> None:
    found = look([{"when": int((NOW_MS / 1000 + at) * factor), "v": RANDOM[at]} for at in range(60)])
    assert found.options["timestamp_field"] == "when"
    assert unit in next(line.seen for line in found.fields if line.path == "when")
    assert {round(order.step_us / 1e6, 3) for order in found.trial.series.values()} == {3.0}


def test_a_time_as_text_and_none_at_all() -> None:
    found = look([{"t": f"2026-11-30T12:{at // 60:02d}:{at % 60:02d}Z", "v": RANDOM[at]} for at in range(100)])
    assert found.options["timestamp_field"] == "t"
    found = look([{"v": RANDOM[at]} for at in range(100)])
    assert (found.shape.time, found.trial.stated) == ("", 0.0)
    assert "Kafka's own timestamp" in report.of_topic(found, PLACE)


@pytest.mark.parametrize(
    ("keys", "series", "note"),
    [
        ([b"pump-%d" % (at % 3) for at in range(90)], "key", None),
        ([None] * 90, "field:device", "records have no key"),
        ([b"%d" % at for at in range(90)], "field:device", "they name records, not series"),
        ([b'"d%d"' % (at % 3) for at in range(90)], "key", 'keys are JSON, as "d0": connect_envelope takes'),
    ],
)
def test_what_names_the_series(keys: list[bytes | None], series: str, note: str | None) -> None:
    found = look([plain(at, device=f"d{at % 3}") for at in range(90)], keys)
    assert found.shape.series == series
    assert len(found.trial.series) == 3
    assert note is None or any(note in said for said in found.notes)


def test_a_key_that_is_the_same_everywhere_names_no_series() -> None:
    """By time it would be one series with three samples at each."""
    values = [{"at": NOW_MS + 1000 * at, "host": f"h{pump}", "v": RANDOM[at]} for at in range(60) for pump in range(3)]
    found = look(values, [b"telegraf"] * 180)
    assert found.options["series"] == "field:host"
    assert (len(found.trial.series), roles(found)["host"]) == (3, "series")


def test_what_is_in_two_partitions_is_two_series() -> None:
    """So the order of each is that of its partition alone."""
    polls = [
        make_columns(
            [json.dumps({"ts": NOW_MS + 1000 * at, "device": "d", "v": RANDOM[at]}).encode() for at in steps],
            keys=[None] * 50,
            timestamps_ms=[NOW_MS] * 50,
            partition=TopicPartition("pumps", partition),
        )
        for partition, steps in enumerate((range(0, 100, 2), range(1, 100, 2)))
    ]
    found = examine(polls, NOW_US)
    assert [each.late for each in found.trial.series.values()] == [0, 0]
    assert found.trial.spread == ["d"]
    assert any("are in several partitions" in note for note in found.notes)


def test_a_header_names_the_series() -> None:
    headers = [[("trace", b"%d" % at), ("device", b"d%d" % (at % 2))] for at in range(90)]
    found = look([plain(at) for at in range(90)], [None] * 90, headers)
    assert found.options["series"] == "header:device"
    assert found.trial.accepted == 90


def test_nothing_names_the_series() -> None:
    found = look([plain(at) for at in range(90)], [None] * 90)
    assert not found.works
    assert any("nothing names a series" in note for note in found.notes)
    assert "There is no configuration" in report.of_topic(found, PLACE)


@pytest.mark.parametrize(
    ("name", "record"), [(name, record) for name, record, _ in EXAMPLES], ids=lambda each: str(each)[:20]
)
def test_the_nearest_mapping(name: str, record: Any) -> None:
    """Of each mapping's documented examples, as far as one of them says anything."""
    found = look([varied(record, at) for at in range(60)])
    if found.mapping:
        assert found.mapping == name
    assert found.works or not found.channels or found.trial.usable == 0


def varied(record: Any, at: int) -> Any:
    """A record like another one, of another time: numbers that may be values move, and those that are times go on."""
    if isinstance(record, dict):
        return {name: varied(value, at) for name, value in record.items()}
    if isinstance(record, list):
        return [varied(each, at) for each in record]
    if isinstance(record, str) and record[:4] == "2018":
        return f"2018-04-05T17:{at:02d}:00Z"
    if isinstance(record, bool) or not isinstance(record, int | float):
        return record
    return record + at * (1000 if record > 1e11 else 1) if record > 1e9 else record + RANDOM[at]


def test_order_gaps_and_duplicates_are_measured_in_each_series() -> None:
    order = [0, 1, 2, 4, 3, 5, 5, 6, 20, 21]
    found = look([{"ts": NOW_MS + 1000 * at, "v": RANDOM[at]} for at in order for _ in range(2)], [b"a", b"b"] * 10)
    (one, other) = found.trial.series.values()
    assert one == other
    assert (one.late, one.late_us, one.twice, one.gaps, one.gap_us) == (1, 1_000_000, 1, 1, 14_000_000)
    text = report.of_topic(found, PLACE)
    assert "2 of 20 samples out of order, by up to 1 s; 2 of a time that was there before" in text
    assert "2 in 2 of 2 series, the longest 14 s" in text


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40))
def test_order_agrees_with_a_naive_count(times: list[int]) -> None:
    found = order_of(np.array(times, dtype=np.int64))
    late = [max(times[:at], default=0) - time for at, time in enumerate(times)]
    assert found.late == sum(each > 0 for each in late)
    assert found.late_us == max(0, *late)
    assert found.twice == sum(time in times[:at] for at, time in enumerate(times))
    assert (found.first_us, found.last_us, found.samples) == (min(times), max(times), len(times))


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ([-9999.0] * 3, [-9999.0]),
        ([999.9] * 5, [999.9]),
        ([-1e30, -1e30], [-1e30]),
        ([-9999.0], []),  # once may be a fault
        ([25.0] * 3, []),  # far, but not beyond belief
        ([], []),
    ],
)
def test_numbers_that_mean_missing(odd: list[float], expected: list[float]) -> None:
    assert sentinels(np.array([*RANDOM, *odd, np.nan])) == expected
    found = look([{"ts": NOW_MS + at, "v": value} for at, value in enumerate([*RANDOM, *odd])])
    assert found.sentinels == ({"v": expected} if expected else {})


def test_what_is_rejected_is_shown_with_an_example() -> None:
    values: list[Any] = [plain(at) for at in range(100)]
    values[7], values[9] = b"\x1b[31mjunk", {"ts": NOW_MS, "flow": 1}
    found = look(values)
    assert dict(found.trial.rejected) == {"malformed": 1, "missing_channel": 1}
    text = report.of_topic(found, PLACE)
    assert "1 malformed, as telltale.input-0 at offset 7: JSON is malformed" in text
    assert r"\x1b[31mjunk" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (b'{"a": 1}', "json"),
        (b'\xef\xbb\xbf{"a": NaN}', "json"),
        (b'\x00\x00\x00\x00\x07{"a": 1}', "json"),
        (b"\x81\xa1a\x01", "msgpack"),
        (b"1764600000,3.1,12", "csv"),
        (b"3.1;12", "csv"),
        (np.array([1.5, -2.25], "<f4").tobytes(), "f32"),
        (b"hello", ""),
        (b"3.14", "csv"),
        (b"2026-11-30 12:00:00;3,14;12", "csv"),
        (b"a,b,c", ""),
        (b"", ""),
    ],
)
def test_formats(value: bytes, form: str) -> None:
    assert documents.of([value] * 5).format == form


@given(st.lists(st.one_of(st.none(), st.binary(max_size=40), st.text(max_size=20).map(str.encode)), min_size=1))
@example([b"\x00\x00\x81\x7f"])
def test_any_bytes_are_looked_at_without_an_error(values: list[bytes | None]) -> None:
    found = look(values, [None] * len(values))
    assert found.trial.records == len(values)
    report.of_topic(found, PLACE)


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=12,
)


@given(st.lists(_JSON, min_size=1, max_size=8))
def test_any_documents_are_looked_at_without_an_error(values: list[Any]) -> None:
    found = look([json.dumps(value).encode() for value in values])
    text = report.of_topic(found, PLACE)
    if found.works:
        assert parse(tomllib.loads(report.configuration(found, PLACE)))[1] == []
    assert all(line.isprintable() for line in text.splitlines())


def test_the_configuration_is_whole_and_valid() -> None:
    found = look([plain(at, device=f"d{at % 3}") for at in range(90)], [None] * 90)
    sections = {"kafka": {"bootstrap_servers": ["127.0.0.1:1"], "group_id": "g"}}
    place = Place(topic="pumps", partitions=1, held=900, sections=sections, artifact="m", config="t.toml")
    made, problems = parse(tomllib.loads(report.configuration(found, place)))
    assert problems == []
    assert made is not None
    assert (made.input.topics, made.input.series, made.kafka.group_id) == (["pumps"], "field:device", "g")
    train, run = report.commands(found, place)
    assert train == ("telltale train kafka://pumps --config t.toml --channels flow,pressure --recipe plant --out m")
    assert run == "telltale run --config t.toml"


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.one_of(st.text(max_size=8), st.booleans(), st.integers())))
def test_any_options_are_written_as_toml(options: dict[str, Any]) -> None:
    document = tomllib.loads(
        toml({"input": options | {"nested": {"*": "a.*", "x y": "b"}, "list": ["a", 1, True]}}, {})
    )
    expected = options | {"nested": {"*": "a.*", "x y": "b"}, "list": ["a", 1, True]}
    assert document["input"] == expected


def test_records_are_taken_evenly_from_partitions() -> None:
    held = {TopicPartition("t", at): count for at, count in enumerate([0, 5, 1000, 1000])}
    assert [*topic.shares(held, 1000).values()] == [0, 5, 498, 497]
    assert sum(topic.shares(held, 10_000).values()) == 2005


def test_words() -> None:
    assert [span(each) for each in (1, 1_500, 2e6, 90e6, 7.2e9)] == ["1 us", "1.5 ms", "2 s", "1.5 min", "2 h"]
    assert safe("a\x1bb\n", 20) == r"a\x1bb\n"
    assert safe("x" * 30, 10) == "x" * 7 + "..."
