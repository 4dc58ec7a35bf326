"""Arbitrary records over all formats and mappings, in seconds: `make fuzz` reads a million of them."""

from __future__ import annotations

import random
import typing

import pytest

from monitor import extensions
from monitor.config.input import InputOptions
from tests.benchmarks.fuzz.lanes import (
    ARTIFACTS,
    LAYOUTS,
    THREE,
    Base,
    Lane,
    bases,
    configured,
    lane,
    outputs,
)
from tests.benchmarks.fuzz.records import BASE_MS, SHAPES, Good, Maker, Row, as_json

BASES, LEFT_OUT = bases()
RECORDS, COMPARED = 150, 80


def lanes_of(base: Base) -> int:
    """How many with options drawn; `make fuzz` has more."""
    return 1 if base.mapping else 4


def test_every_format_and_every_mapping_is_read() -> None:
    assert {base.format for base in BASES} == {*extensions.FORMATS}, LEFT_OUT
    assert {base.mapping for base in BASES} == {*typing.get_args(InputOptions.model_fields["mapping"].annotation)}, (
        LEFT_OUT
    )


@pytest.mark.parametrize("base", BASES, ids=lambda base: f"{base.format}-{base.mapping or 'alone'}")
def test_each_record_is_accepted_ignored_or_one_dead_letter(base: Base) -> None:
    for number in range(lanes_of(base)):
        one = lane(base, random.Random(f"quick {base} {number}"), number)
        for _ in range(2):
            one.take(one.maker.rows(RECORDS))
        assert not one.problems, f"{one.name}: {one.problems[0]}"
        assert one.accepted + one.ignored + one.rejected.total() == 2 * RECORDS


@pytest.mark.parametrize("base", BASES, ids=lambda base: f"{base.format}-{base.mapping or 'alone'}")
def test_the_same_comes_of_a_log_in_any_pieces_and_after_any_crash(base: Base) -> None:
    for number in range(lanes_of(base)):
        one = lane(base, random.Random(f"pieces {base} {number}"), number)
        rows = one.maker.rows(COMPARED)
        whole = outputs(one.config, one.artifact, rows, None)
        for way in range(2):
            assert outputs(one.config, one.artifact, rows, random.Random(way)) == whole, f"{one.name}, way {way}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_good_records_are_read_by_the_layout_that_is_theirs(layout: str) -> None:
    """Else lanes would show only that everything is refused."""
    shapes, paths = LAYOUTS[layout]
    channels = ("value",) if layout == "chunks" else THREE
    rows = []
    for at, shape in enumerate(shapes * 4):
        good = Good("pump-1", BASE_MS + 1000 * at, channels, [0.1] * len(channels))
        headers = [("sensor", b"pump-1")]
        rows.append(Row(b"pump-1", as_json(SHAPES[shape](good)), good.ms, headers))
    artifact = ARTIFACTS["one channel" if layout == "chunks" else "sliding"]
    one = Lane(layout, configured(paths, {}, {}), artifact, Maker(random.Random(0), channels, shapes, "json"))
    one.take(rows)
    assert (one.accepted, one.rejected) == (len(rows), {})
