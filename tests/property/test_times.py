"""Times as text: what is read by columns is read as one by one, and as Python reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.detector.times import NO_TIME, Unit, compact_dates, iso_us, numbers_us, text_us, texts_us

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
zones = st.one_of(
    st.just(""),
    st.sampled_from(
        ["Z", "z", " UTC", " GMT", "+01", "-0230", " +0000 UTC", "+01:00[Europe/Berlin]", "+24:00", "+1:00"]
    ),
    st.builds(
        "{}{:02d}{}{:02d}".format,
        st.sampled_from("+-"),
        st.integers(0, 25),
        st.sampled_from(["", ":"]),
        st.integers(0, 61),
    ),
)
fractions = st.one_of(st.just(""), st.builds("{}{}".format, st.sampled_from(".,"), st.text("0123456789", max_size=12)))
stamps = st.builds(
    "{:04d}-{:02d}-{:02d}{}{:02d}:{:02d}:{:02d}{}{}".format,
    st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32), st.sampled_from(["T", "t", " ", "_"]),
    st.integers(0, 24), st.integers(0, 60), st.integers(0, 61), fractions, zones,
)  # fmt: skip
texts = st.one_of(stamps, st.text(max_size=30), st.text("0123456789-:.TZ+ ", min_size=15, max_size=30))


def alone(text: str) -> int:
    try:
        return text_us(text)
    except ValueError:
        return NO_TIME


@given(st.lists(texts, max_size=12))
@example(
    ["2026-11-21T08:22:07.310Z", "2026-11-21T08:22:07+01:0", "2026-11-21T08:22:07.3é0Z", "２026-11-21T08:22:07.310Z"]
)
@example(["2026-11-21T08:22:60Z", "2026-11-21T24:00:00Z", "2026-11-21T24:00:01Z", "2026-02-29T08:00:00Z"])
def test_together_texts_are_read_as_alone(found: list[str]) -> None:
    assert texts_us(found, "auto").tolist() == [alone(text) for text in found]


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),
    st.integers(-1439, 1439),
    st.sampled_from(["T", " "]),
)
def test_a_text_is_the_time_that_was_written(moment: datetime, offset_min: int, mark: str) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    expected = (aware - EPOCH) // timedelta(microseconds=1)
    naive = (moment.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
    written = [aware.isoformat(mark), moment.isoformat(mark)]
    assert texts_us(written).tolist() == [iso_us(text) for text in written] == [expected, naive]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-11-21t08:22:07z", "2026-11-21T08:22:07Z"),
        ("2026-11-21 08:22:07", "2026-11-21T08:22:07Z"),
        ("2026-11-21T09:22:07+0100", "2026-11-21T08:22:07Z"),
        ("2026-11-21T09:22:07+01", "2026-11-21T08:22:07Z"),
        ("2026-11-21T08:22:07,5Z", "2026-11-21T08:22:07.5Z"),
        ("2026-11-21T08:22:07.123456999Z", "2026-11-21T08:22:07.123456Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2017-01-01T05:29:60.25+05:30", "2017-01-01T00:00:00.25Z"),
        ("2026-11-20T24:00:00Z", "2026-11-21T00:00:00Z"),
        ("2026-11-21 08:22:07.5 +0000 UTC", "2026-11-21T08:22:07.5Z"),
        ("2026-11-21T09:22:07+01:00[Europe/Berlin]", "2026-11-21T08:22:07Z"),
        ("20261121T082207Z", "2026-11-21T08:22:07Z"),
        ("2026-11-21", "2026-11-21T00:00:00Z"),
        (" 2026-11-21T08:22:07Z\n", "2026-11-21T08:22:07Z"),
    ],
)
def test_forms_of_a_time(text: str, same: str) -> None:
    assert iso_us(text) == iso_us(same) == (datetime.fromisoformat(same) - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    "text", ["2026-02-29T08:00:00Z", "2026-11-21T08:22:61Z", "2026-11-21T25:00:00Z", "soon", "", "nan"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="expected RFC 3339"):
        text_us(text)


AT_US = 1_764_600_000_123_456


@pytest.mark.parametrize("number", [1764600000.123456, 1764600000123.456, 1764600000123456.0])
def test_a_numbers_unit_follows_from_its_size(number: float) -> None:
    assert numbers_us(np.array([number])).tolist() == [AT_US]
    assert text_us(str(number)) == AT_US
    both = np.array([number, 1764600000.0, 5.0, -7.0, 1e300, np.nan])
    assert numbers_us(both).tolist() == [AT_US, 1764600000_000_000, 5_000_000, -7_000_000, NO_TIME, NO_TIME]


def test_nanoseconds_are_read_to_the_microsecond() -> None:
    assert abs(int(numbers_us(np.array([float(AT_US * 1000)]))[0]) - AT_US) <= 1


@pytest.mark.parametrize(("unit", "expected"), [("s", 7_000_000), ("ms", 7_000), ("us", 7), ("ns", 0)])
def test_a_unit_that_is_said_holds_for_any_size(unit: Unit, expected: int) -> None:
    assert numbers_us(np.array([7.0]), unit).tolist() == [expected]
    assert text_us("7", unit) == expected


@pytest.mark.parametrize("number", [20261121.0, 202611210000.0, 20261121000000.0])
def test_dates_without_marks_are_dates_for_the_daemon_as_for_files(number: float) -> None:
    expected = iso_us("2026-11-21")
    assert numbers_us(np.array([number])).tolist() == [expected]
    dates = compact_dates(np.array([number, number]))
    assert dates is not None
    assert dates[0].tolist() == [expected, expected]
    assert text_us(f"{number:.0f}") == expected
