"""Dead letters as they are read again: what they say, which are asked for, and how they are shown."""

from __future__ import annotations

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from monitor.backends.abstract import Damaged, TopicPartition
from monitor.backends.kafka import TopicRecord
from monitor.deadletters import cli, text
from monitor.deadletters.letters import MOST_KINDS, Census, Letter, Selection, kind_of, letters, redriven
from monitor.deadletters.redriving import as_message, is_it
from monitor.errors import Reason
from monitor.messages.dead_letters import REDRIVEN, DeadLetter, Origin, decode, encode, encode_note, headers
from tests.helpers import make_columns

PUMPS = TopicPartition("pumps", 3)
DEAD = TopicPartition("dead", 0)


def letter(
    offset: int, reason: Reason = Reason.MALFORMED, value: bytes | None = b"junk", detail: str = "bad"
) -> DeadLetter:
    columns = make_columns([value], keys=[b"pump-\xff"], first_offset=offset, partition=PUMPS)
    return DeadLetter.of(columns, 0, reason, detail)


def read(*found: DeadLetter) -> list[Letter | None]:
    columns = make_columns([encode(each) for each in found], partition=DEAD, headers=[headers(each) for each in found])
    return list(letters(columns))


@given(st.one_of(st.none(), st.binary(max_size=50)), st.sampled_from(Reason), st.integers(0, 2**53))
def test_a_letter_is_read_as_it_was_written(value: bytes | None, reason: Reason, offset: int) -> None:
    written = letter(offset, reason, value)
    found = decode(encode(written))
    assert (found.topic, found.partition, found.offset, found.reason) == (*PUMPS, offset, reason.value)
    record = TopicRecord(*PUMPS, offset, 0, b"pump", value, ())
    assert is_it(record, found)
    assert not is_it(record._replace(value=b"another" if value != b"another" else None), found)
    assert found.key == "pump-\\xff"


def test_notes_and_other_records_are_no_letters() -> None:
    origin = decode(encode(letter(7))).origin
    note, tags = encode_note([origin, Origin("pumps", 0, 1, None)])
    columns = make_columns(
        [note, b"hello", encode(letter(7)), None, b"{}"],
        partition=DEAD,
        headers=[tags, (), (), (), ((REDRIVEN, b"1"),)],
    )
    assert list(redriven(columns)) == [origin, Origin("pumps", 0, 1, None)]
    census = Census()
    for each in letters(columns):
        census.add(each, Selection(), set(redriven(columns)))
    (group,) = census.most_first()
    assert (census.others, group.letters, group.redriven) == (2, 1, 1)


@pytest.mark.parametrize(
    ("asked", "offsets"),
    [
        (Selection(), [1, 2, 3]),
        (Selection(reasons={"empty"}), [2]),
        (Selection(topics={"pumps"}, partitions={3}), [1, 2, 3]),
        (Selection(partitions={4}), []),
        (Selection(first_offset=2, end_offset=3), [2]),
        (Selection(since_ms=1), [2, 3]),
        (Selection(until_ms=1), [1]),
    ],
)
def test_which_letters_are_asked_for(asked: Selection, offsets: list[int]) -> None:
    found = read(letter(1), letter(2, Reason.EMPTY), letter(3))  # written at 0, 1 and 2 ms
    assert [each.rejection.offset for each in found if each in asked and each is not None] == offsets


def test_groups_are_counted_and_their_newest_is_the_example() -> None:
    census = Census()
    for each in read(letter(5), letter(9), letter(6), letter(1, Reason.EMPTY)):
        census.add(each, Selection(), set())
    first, second = census.most_first()
    assert (first.letters, first.first_offset, first.last_offset, first.example.rejection.offset) == (3, 5, 9, 6)
    assert (second.letters, second.example.rejection.reason) == (1, "empty")
    shown = text.census(census, "dead", {first.example.rejection.origin: b"ju\x07nk"}, limit=1)
    assert 'offset 6, key "pump-\\xff": bad' in shown
    assert "value  ju\\x07nk" in shown
    assert "1 rows more, 1 letters: --limit 0 shows all" in shown


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("flow is the text 'high', expected a number", 'flow is the text "it\'s"..., expected a number'),
        ("the time ts is the number 17, expected", "the time ts is the number -1.5e+300, expected"),
        ("the time is 1970-01-01T00:00:17.000Z, expected", "the time is 1999-12-31T23:00:00.250Z, expected"),
        ("JSON is malformed: invalid character (byte 17)", "JSON is malformed: invalid character (byte 2113)"),
        ("2592000 s ahead of the record's own timestamp", "4,001 s ahead of the record's own timestamp"),
        ("no field 'pressure'", "no field 'flow'"),
    ],
)
def test_details_are_counted_together_where_only_values_differ(one: str, another: str) -> None:
    census = Census()
    for each in read(letter(1, detail=one), letter(2, detail=another), letter(3, detail=one)):
        census.add(each, Selection(), set())
    by_name = one.startswith("no field")
    assert [group.letters for group in census.most_first()] == ([2, 1] if by_name else [3])
    assert census.most_first()[0].detail == kind_of(one)


@pytest.mark.parametrize(
    "detail",
    [
        "sensor_7 is null, expected a number",
        "tag2 is true, expected a number",
        "a number is infinite, or too large for float32 (3.4e38)",
        "a text is no time; expected RFC 3339, like 2026-11-21T08:22:07Z, or a number since 1970",
    ],
)
def test_numbers_in_names_and_in_what_is_expected_stay(detail: str) -> None:
    assert kind_of(detail) == detail
    assert kind_of(f"entry 3 of 17: {detail} at -5.5, 12:30") == f"entry N of N: {detail} at N, N"


def test_kinds_of_details_are_bounded() -> None:
    census = Census()
    for each in read(*(letter(at, detail="no field " + "x" * at) for at in range(MOST_KINDS + 7)), letter(0)):
        census.add(each, Selection(), set())
    first, *others = census.most_first()
    assert (first.detail, first.letters, len(others)) == ("other details", 8, MOST_KINDS)


def test_what_to_do_is_said_once_for_each_reason() -> None:
    census = Census()
    for each in read(letter(5), letter(6, detail="worse"), letter(1, Reason.EMPTY)):
        census.add(each, Selection(), set())
    shown = text.census(census, "dead", {}, limit=0)
    assert shown.count("malformed: ") == shown.count("empty: ") == 1
    assert "offset 6" in shown
    assert "offset 5" in shown
    assert set(text.REMEDIES) == set(Reason)


def test_none_may_mean_that_none_is_written_yet() -> None:
    shown = text.census(Census(), "dead", {}, limit=0)
    assert shown.startswith("dead: no such dead letters\nA dead letter is written when its partition is committed")


def test_a_batch_is_shown_with_its_offsets() -> None:
    damaged = Damaged(
        first_offset=3, next_offset=9, size=70, records=6, reason=Reason.CORRUPT_BATCH, detail="wrong checksum"
    )
    census = Census()
    for each in read(DeadLetter.of_batch(PUMPS, damaged)):
        census.add(each, Selection(), set())
    assert "offset 3 to 8, no key: wrong checksum" in text.census(census, "dead", {}, limit=0)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_a_value_is_shown_in_one_line_that_no_terminal_obeys(value: bytes) -> None:
    shown = text.safe(value)
    assert shown.isprintable()
    assert len(shown) <= text.SHOWN + 30


def test_a_long_value_is_cut() -> None:
    assert text.safe(b"x" * 10_000) == "x" * text.SHOWN + "... (10000 bytes)"
    assert text.safe(None) == "null"


def test_a_record_is_written_as_it_was() -> None:
    record = TopicRecord("pumps", 3, 9, 17, b"k", None, [("a", b"1"), (REDRIVEN, b"pumps-3@4"), ("a", b"2")])
    message = as_message(record)
    assert (message.key, message.value, message.partition, message.timestamp_ms) == (b"k", None, 3, 17)
    assert message.headers == (("a", b"1"), ("a", b"2"), (REDRIVEN, b"pumps-3@9"))
    assert as_message(record._replace(timestamp_ms=-1)).timestamp_ms is None


def test_times_and_offsets_of_the_command_line() -> None:
    assert cli.moment_ms("2026-01-01T00:00:00Z", "--since") == 1_767_225_600_000
    assert cli.moment_ms("1h", "--since") == pytest.approx(cli.moment_ms("60m", "--since"), abs=1000)
    with pytest.raises(typer.BadParameter, match="expected 90m, 2h or 3d"):
        cli.moment_ms("soon", "--since")
    assert cli._offsets(None) == (float("-inf"), float("inf"))
    assert cli._offsets("3:") == (3, float("inf"))
    with pytest.raises(typer.BadParameter, match="expected FROM:TO"):
        cli._offsets("3")
