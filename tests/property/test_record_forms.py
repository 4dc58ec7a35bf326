"""Records of any form, by any options, are read as a naive reader does that looks at one after the other."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.formats.decoder import Decoded, Decoder, InputRules
from tests.helpers import make_artifact, make_columns

CHANNELS = ("flow", "p.q")
MANIFEST = make_artifact(length=4, hop=2, channels=CHANNELS).manifest
AT_MS = 1_764_600_000_000
ABSENT = object()

Sample = tuple[int | float, bytes, list[float | None]]


class RefusedError(Exception):
    """The record can't be read."""


def find(record: Any, path: str) -> Any:
    if isinstance(record, dict) and path in record:
        return record[path]
    for name in path.split("."):
        if not isinstance(record, dict) or name not in record:
            return ABSENT
        record = record[name]
    return record


def first(*found: Any) -> Any:
    return next((each for each in found if each is not ABSENT), ABSENT)


def number(value: Any, rules: InputRules) -> float:
    if isinstance(value, str):
        if value in ("N/A", "NaN", "") or value in rules.missing_values:
            return math.nan
        if not rules.text_numbers or value not in ("7", "-9999", "1e2"):
            raise RefusedError
        value = float(value)
    if value is None or (value in rules.missing_values and not isinstance(value, bool)):
        return math.nan
    if isinstance(value, bool | dict | list) or abs(value) > 3.4028235e38:
        raise RefusedError
    return float(value)


def entry_of(body: Any, root: Any, rules: InputRules) -> Sample | None:
    if not isinstance(body, dict):
        raise RefusedError
    quality = first(find(body, "q"), find(root, "q")) if rules.quality_field else ABSENT
    bad = quality not in (ABSENT, None) and not (quality is True or quality in ("Good", "good"))
    numbers: list[float | None] = [None] * len(CHANNELS)
    if rules.channel_field:
        name = first(find(body, "m"), find(root, "m"))
        if isinstance(name, bool) or not isinstance(name, str | int) or str(name) not in CHANNELS:
            return None
        value: Any = math.nan if bad else find(body, str(rules.value_field))
        if value is ABSENT:
            raise RefusedError
        numbers[CHANNELS.index(str(name))] = number(value, rules)
    else:
        if "values" in body:
            raise RefusedError  # no chunk is drawn that can be read
        if not isinstance(body.get("rate_hz", 1), int | float) or isinstance(body.get("rate_hz"), bool):
            raise RefusedError
        found = [body.get(name, ABSENT) if not rules.channels else find(body, f"f.{name}") for name in CHANNELS]
        if rules.channels:
            found[1] = body["f"].get("p.q", ABSENT) if isinstance(body.get("f"), dict) else ABSENT
            found = [body.get(f"f.{name}", each) for name, each in zip(CHANNELS, found, strict=True)]
        if ABSENT in found and not rules.partial_records:
            raise RefusedError
        if all(value is ABSENT for value in found):
            return None
        numbers = [None if v is ABSENT else math.nan if bad else number(v, rules) for v in found]
    stamp: Any = first(find(body, "ts"), find(root, "ts"))
    if isinstance(stamp, bool) or not (stamp is ABSENT or isinstance(stamp, int | float)):
        raise RefusedError
    series = first(find(body, "id.x"), find(root, "id.x")) if rules.series == "field:id.x" else b"a"
    if series is not ABSENT and series != b"a" and (isinstance(series, bool) or not isinstance(series, str | int)):
        raise RefusedError
    name = b"a" if series == b"a" else b"" if series is ABSENT else str(series).encode()
    time_ms: Any = AT_MS if stamp is ABSENT else stamp
    if not AT_MS - 1e6 <= time_ms <= AT_MS + 1e6:
        raise RefusedError
    return time_ms, name, numbers


def bodies_of(record: Any, rules: InputRules) -> list[Any]:
    if isinstance(record, list) and rules.entries == "$":
        return record
    if not isinstance(record, dict):
        raise RefusedError
    found = find(record, rules.entries) if rules.entries not in ("", "$") else ABSENT
    return [record] if found is ABSENT else [] if found is None else found if isinstance(found, list) else [found]


def naive(record: Any, rules: InputRules) -> list[Sample]:
    if rules.connect_envelope and isinstance(record, dict) and {"schema", "payload"} <= record.keys():
        record = record["payload"]
        if record is None:
            return []
    if isinstance(record, list) and rules.entries == "data" and any(isinstance(each, dict) for each in record):
        if not all(isinstance(each, dict) for each in record):
            raise RefusedError
        bodies = [(body, each) for each in record for body in bodies_of(each, rules)]
    else:
        bodies = [(body, record) for body in bodies_of(record, rules)]
    entries = [entry for body, root in bodies if (entry := entry_of(body, root, rules)) is not None]
    joined: dict[Any, Sample] = {}
    for place, (time, series, numbers) in enumerate(entries):
        before = joined.setdefault((time, series, "" if partial(rules) else place), (time, series, [None] * 2))
        before[2][:] = [old if new is None else new for old, new in zip(before[2], numbers, strict=True)]
    return [*joined.values()]


def partial(rules: InputRules) -> bool:
    return bool(rules.partial_records or rules.channel_field)


odd: st.SearchStrategy[Any] = st.sampled_from(
    [1, 2.5, -9999, None, "N/A", "NaN", "7", "-9999", "1e2", "Bad", "x", True, {}, [], 1e39, 10**30]
)
usual = st.sampled_from([1, 2.5, 3, -4.25])
number_ = usual | usual | usual | odd
small: st.SearchStrategy[Any] = st.sampled_from(["a", "b", 7, None, True, {}, "flow"])
name_: st.SearchStrategy[Any] = st.sampled_from(["flow", "p.q", "flow", "p.q", "disk", 7, None, {}])
stamp = st.sampled_from([AT_MS, AT_MS + 1, AT_MS + 2]) | st.sampled_from([AT_MS, 5, "x", None, True, AT_MS * 1000.5])
inner = st.fixed_dictionaries({}, optional={"q": usual})
fields = st.fixed_dictionaries({}, optional={"flow": number_, "p.q": number_, "p": inner})
identity = st.fixed_dictionaries({}, optional={"x": small})
bodies = st.fixed_dictionaries(
    {},
    optional={
        "flow": number_,
        "p.q": number_,
        "f": fields | small,
        "f.flow": usual,
        "f.p.q": usual,
        "ts": stamp,
        "id": identity | small,
        "id.x": small,
        "m": name_,
        "value": number_,
        "v": st.fixed_dictionaries({"n": number_}) | small,
        "q": st.sampled_from(["Good", "good", True, "Bad", 1, None, {}]),
        "values": small,
        "rate_hz": st.sampled_from([1, 0, "x"]),
        "schema": small,
    },
)
useful = st.builds(
    lambda body, flow, other: body | {"flow": flow, "p.q": other, "f": {"flow": flow, "p.q": other}},
    bodies.map(lambda body: {name: body[name] for name in body if name in ("ts", "id", "m", "value", "v", "q")}),
    usual, number_,
)  # fmt: skip
anybody = useful | bodies
listed = st.lists(anybody | anybody | anybody | small, max_size=4)
roots = st.one_of(
    anybody,
    st.builds(lambda around, inner: around | {"data": inner}, anybody, anybody | listed | small),
    listed,
    small,
)
records = roots | st.builds(lambda schema, inner: {"schema": schema, "payload": inner}, small, roots)
options = st.fixed_dictionaries(
    {},
    optional={
        "channels": st.just({"*": "f.*"}), "entries": st.sampled_from(["", "data", "$"]), "channel_field": st.just("m"),
        "value_field": st.sampled_from(["value", "v.n"]), "quality_field": st.sampled_from(["q", ["q2", "q"]]),
        "good_quality": st.just(["Good", True]),
        "partial_records": st.booleans(), "text_numbers": st.booleans(), "missing_values": st.just([-9999, "Bad"]),
        "connect_envelope": st.booleans(), "series": st.sampled_from(["key", "field:id.x"]),
    },
).filter(lambda drawn: not ("channels" in drawn and "channel_field" in drawn))  # fmt: skip


def with_floats(record: Any) -> Any:
    """Without the numbers that MessagePack can't hold as integers."""
    if isinstance(record, dict):
        return {name: with_floats(value) for name, value in record.items()}
    if isinstance(record, list):
        return [*map(with_floats, record)]
    return float(record) if type(record) is int and record >= 2**64 else record


def decoded(values: list[bytes], rules: InputRules) -> Decoded:
    columns = make_columns(values, timestamps_ms=[AT_MS] * len(values))
    return Decoder(MANIFEST, rules).decode(columns, now_us=(AT_MS + 10_000) * 1000)


def samples_of(found: Decoded) -> list[Any]:
    samples = found.samples(np.arange(len(found.rows)), found.rows)
    carried = np.ones(samples.values.shape, bool) if samples.carried is None else samples.carried
    numbers = np.where(carried, samples.values.astype(str), "absent").tolist()
    keys = [found.keys[entry] for entry in samples.series]
    return list(
        zip(
            samples.offset.tolist(),
            samples.index.tolist(),
            (samples.time_us // 1000).tolist(),
            keys,
            numbers,
            strict=True,
        )
    )


@settings(max_examples=400)
@given(st.lists(records, max_size=8), options)
@example([{"flow": 1, "p.q": 2, "rate_hz": "x"}], {})
def test_records_are_read_as_a_naive_reader_does(drawn: list[Any], said: dict[str, Any]) -> None:
    rules = InputRules(**said)
    expected: list[Any] = []
    refused, ignored = [], []
    for row, record in enumerate(drawn):
        try:
            entries = naive(record, rules)
        except RefusedError:
            refused.append(row)
            continue
        ignored += [] if entries else [row]
        for index, (time, series, numbers) in enumerate(entries):
            shown = ["absent" if n is None else str(np.float32(n)) for n in numbers]
            expected.append((row, index, time, series or b"", shown))
    found = decoded([json.dumps(record).encode() for record in drawn], rules)
    packed = decoded(
        [msgspec.msgpack.encode(with_floats(record)) for record in drawn], replace(rules, format="msgpack")
    )
    assert [each.row for each in packed.rejected] == refused, packed.rejected
    assert samples_of(packed) == expected
    assert [each.row for each in found.rejected] == refused, found.rejected
    assert found.ignored.rows == ignored
    assert samples_of(found) == expected


@given(st.lists(records.map(lambda record: json.dumps(record).encode()) | st.binary(max_size=20), max_size=8), options)
def test_what_a_record_is_read_as_does_not_depend_on_its_neighbours(values: list[bytes], said: dict[str, Any]) -> None:
    rules = InputRules(**said)
    together, alone = decoded(values, rules), [decoded([value], rules) for value in values]
    assert [each.row for each in together.rejected] == [row for row, one in enumerate(alone) if one.rejected]
    assert [each[1:] for each in together.rejected] == [one.rejected[0][1:] for one in alone if one.rejected]
    assert together.ignored.readings == sum(one.ignored.readings for one in alone)
    expected = [(row, *each[1:]) for row, one in enumerate(alone) for each in samples_of(one)]
    assert samples_of(together) == expected
