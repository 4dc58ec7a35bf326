"""Rows of series: never more than the limit and some spare ones, each with one owner at a time, in log order."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import extensions
from monitor.errors import Reason
from monitor.processing.checks import checks_of, row_bytes
from monitor.processing.registry import Numbered, SeriesRegistry, segments_of
from monitor.processing.snapshots import UNKNOWN_US
from monitor.serving.assembly import PARTITION_BYTES, bytes_of_series, most_series, quality_rules
from tests.helpers import make_artifact, make_config


def number(registry: SeriesRegistry, *keys: bytes | None, first: int = 0) -> Numbered:
    places = np.arange(len(keys))
    return registry.number(list(keys), places, places + first, (places + first) * 1_000_000)


def test_the_one_seen_longest_ago_goes() -> None:
    registry = SeriesRegistry(2)
    found = number(registry, b"a", b"b", b"a", b"c", b"a", b"b")
    gone = [(registry.names[each.serial], each.offset, each.reason) for each in found.forgotten]
    assert gone == [("b", 3, "forgotten"), ("c", 5, "forgotten")]
    assert len(registry) == 2


def test_a_series_that_comes_back_is_another_one() -> None:
    registry = SeriesRegistry(1)
    number(registry, b"a")
    before = registry.serial(b"a")
    number(registry, b"b", b"a", first=1)
    assert registry.serial(b"a") not in (None, before)


def test_a_row_has_one_owner_in_each_segment() -> None:
    registry = SeriesRegistry(3)
    keys = [b"k%d" % (place * place % 11) for place in range(200)]
    found = number(registry, *keys)
    assert registry.rows <= registry.most_rows == 4
    offsets = np.arange(200)
    owners: dict[int, bytes] = {}
    for part, segment, _ in segments_of(found.segments, offsets):
        assert segment is not None
        for row in segment.rows:
            owners.pop(row, None)
        for row, key in zip(found.rows[part].tolist(), keys[part], strict=True):
            assert owners.setdefault(row, key) == key


def test_silence_is_measured_in_the_partitions_time() -> None:
    registry = SeriesRegistry(9, ttl_us=10_000_000)
    found = number(registry, b"a", *[b"b"] * 11, b"b")
    assert [(registry.names[each.serial], each.offset, each.reason) for each in found.forgotten] == [
        ("a", 11, "silent")
    ]
    assert len(registry) == 1


def test_a_record_that_is_behind_takes_no_time_back() -> None:
    registry = SeriesRegistry(9, ttl_us=10_000_000)
    keys, at_s = [b"a", b"a", b"b", b"a", b"c"], [100, 108, 50, 109, 112]  # b was heard at 108 by the partition's time
    found = registry.number(keys, np.arange(5), np.arange(5), np.array(at_s) * 1_000_000)
    assert (found.forgotten, len(registry)) == ([], 3)


def test_who_comes_back_from_a_checkpoint_is_older_than_whoever_reports() -> None:
    registry = SeriesRegistry(2)
    registry.restore([b"a", b"b"], np.array([UNKNOWN_US, UNKNOWN_US]))
    number(registry, b"a")
    found = number(registry, b"c", first=1)
    assert [registry.names[each.serial] for each in found.forgotten] == ["b"]


def test_memory_follows_the_limit_not_the_names() -> None:
    registry = SeriesRegistry(100)
    for first in range(0, 20_000, 1000):
        found = number(registry, *[b"name %d" % (first + place) for place in range(1000)], first=first)
        for gone in found.forgotten:
            registry.release(gone.serial)
    assert len(registry) == len(registry.names) == 100
    assert registry.rows <= 112


def test_the_row_before_a_record() -> None:
    registry = SeriesRegistry(1)
    number(registry, b"a")
    row = int(registry.rows_before([b"a"], np.array([1]))[0])
    found = number(registry, b"a", b"b", b"b", b"a", first=10)
    asked = [(b"a", 11), (b"a", 12), (b"a", 14), (b"b", 10), (b"b", 13), (b"b", 14), (None, 12), (b"x", 12)]
    before = registry.rows_before([key for key, _ in asked], np.array([offset for _, offset in asked]))
    new_b, new_a = int(found.rows[1]), int(found.rows[3])
    assert before.tolist() == [row, -1, new_a, -1, new_b, -1, -1, -1]


@pytest.mark.parametrize(("length", "channels"), [(8, 1), (140, 1), (1000, 4), (20_000, 1)])
def test_the_default_limit_follows_memory(length: int, channels: int) -> None:
    artifact = make_artifact(length=length, channels=[f"c{each}" for each in range(channels)], widths=(1,))
    limit = most_series(make_config(), artifact)
    assert limit == min(100_000, PARTITION_BYTES // bytes_of_series(make_config(), artifact)) > 0
    assert most_series(make_config(input={"max_series": 7}), artifact) == 7


def test_windows_of_a_series_take_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, record = make_artifact(length=140), make_artifact(kind="record", length=140)
    config = make_config()
    remembered = row_bytes(checks_of(record.manifest, quality_rules(config)))
    assert bytes_of_series(config, record) == 512 + remembered > 512
    monkeypatch.setattr(extensions, "CHECKS", {})
    assert bytes_of_series(config, whole) == 512 + 512 * (4 + 16)
    assert bytes_of_series(config, record) == 512


Records = list[list[bytes | None]]  # the series that each names


def forgotten(records: Records, limit: int) -> list[tuple[str, int]]:
    """Who is forgotten, and at which record, by a naive list of series, oldest first."""
    seen: OrderedDict[bytes, None] = OrderedDict()
    found = []
    for offset, keys in enumerate(records):
        if None in keys or len({*keys}) > limit:
            continue
        for key in keys:
            if key not in seen and len(seen) >= limit:
                found.append((seen.popitem(last=False)[0].decode(), offset))
            seen[key or b""] = None
            seen.move_to_end(key or b"")
    return found


@given(
    st.lists(st.lists(st.sampled_from([None, *(b"k%d" % number for number in range(12))]), max_size=6), max_size=40),
    st.sampled_from([1, 2, 3, 5, 9]),
    st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=5),
)
def test_records_of_several_series_forget_the_same_however_they_come(
    records: Records, limit: int, cuts: list[tuple[int, bool]]
) -> None:
    registry, found, owners = SeriesRegistry(limit), list[tuple[str, int]](), dict[int, bytes]()
    restarts = {cut for cut, restarts in cuts if restarts}
    for begin, end in pairwise([0, *sorted(min(cut, len(records)) for cut, _ in cuts), len(records)]):
        if begin in restarts:
            registry, owners, (_, keys, at_us) = SeriesRegistry(limit), {}, registry.by_age()
            segment = registry.restore(keys, at_us)
            owners.update(zip(segment.rows, keys, strict=True))
        entries = [(key, offset) for offset in range(begin, end) for key in records[offset]]
        offsets = np.array([offset for _, offset in entries], dtype=np.int64)
        numbered = registry.number([key for key, _ in entries], offsets, offsets, offsets)
        found += [(registry.release(each.serial), each.offset) for each in numbered.forgotten]
        refused = {each.row for each in numbered.rejected}
        assert refused == {o for o in range(begin, end) if None in records[o] or len({*records[o]}) > limit}
        for part, segment_, _ in segments_of(numbered.segments, offsets):
            for row in segment_.rows if segment_ is not None else ():
                owners.pop(row, None)
            for row, (key, offset) in zip(numbered.rows[part].tolist(), entries[part], strict=True):
                assert (row < 0) == (offset in refused)
                assert row < 0 or owners.setdefault(row, key or b"") == key
    assert found == forgotten(records, limit)
    assert registry.rows <= 2 * limit + 6


def test_a_record_of_too_many_series_is_refused_with_the_option() -> None:
    registry = SeriesRegistry(2)
    zeros = np.zeros(5, dtype=np.int64)
    found = registry.number([b"a", b"b", b"a", b"b", b"c"], zeros, zeros, zeros)
    assert found.rows.tolist() == [-1] * 5
    text = "the record names 3 series, at most 2 are kept (input.max_series)"
    assert {(each.reason, each.detail) for each in found.rejected} == {(Reason.BAD_SERIES, text)}
    assert len(registry) == 0
