"""Addresses of topic ranges, and what polls become: the same windows as the daemon's, from the same records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.backends.kafka.ranges import Bound
from monitor.config.connections import KafkaOptions
from monitor.detector.spec import WindowSpec
from monitor.detector.windowing import Sliding
from monitor.detector.windows import Samples
from monitor.errors import ConfigError, DataError
from monitor.formats.decoder import InputRules
from training.datasets import ReadOptions, read
from training.datasets.topic import Address, _layout, cluster_of, in_order, parse


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("kafka://sensors", Address((), "sensors", Bound("earliest"), Bound("latest"))),
        (
            "kafka://sensors?from=latest&to=earliest",
            Address((), "sensors", Bound("latest"), Bound("earliest")),
        ),
        (
            "kafka://broker:9092/a.b_c-1?from=offset:12&to=1767225600000",
            Address(("broker:9092",), "a.b_c-1", Bound("offset", 12), Bound("time", 1_767_225_600_000)),
        ),
        (
            "kafka://t?from=1767225600&to=1767225600000001",  # seconds, and us: the first ms at or after it
            Address((), "t", Bound("time", 1_767_225_600_000), Bound("time", 1_767_225_600_001)),
        ),
        (
            "kafka://a:1,b:2/t?from=2026-01-01T00:00:00Z&to=2026-01-01T02:00:00%2B02:00",
            Address(("a:1", "b:2"), "t", Bound("time", 1_767_225_600_000), Bound("time", 1_767_225_600_000)),
        ),
        (
            "kafka://t?from=2026-01-01&to=2026-01-01T02:00:00+02:00",
            Address((), "t", Bound("time", 1_767_225_600_000), Bound("time", 1_767_225_600_000)),
        ),
        (
            "kafka://t?from=2026-01-01T00:00:00.000001Z",  # the first ms at or after it
            Address((), "t", Bound("time", 1_767_225_600_001), Bound("latest")),
        ),
    ],
)
def test_addresses(source: str, expected: Address) -> None:
    assert parse(source) == expected


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("kafka://", "no topic"),
        ("kafka://broker:9092/", "no topic"),
        ("kafka:///topic", "no topic"),
        ("kafka://a topic", "no topic"),
        ("kafka://t?since=3", "unknown 'since'; from and to are known"),
        ("kafka://t?from", "from=''; expected earliest, latest, a time"),
        ("kafka://t?from=yesterday", "from='yesterday'"),
        ("kafka://t?to=offset:-1", "to='offset:-1'"),
    ],
)
def test_addresses_that_can_not_be_meant(source: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read(source, kind="sliding")


def test_brokers_elsewhere_are_not_asked_in_plain_text_unless_that_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"kafka://example\.org:9092: .*unencrypted.* or give a configuration"):
        read("kafka://example.org:9092/t", kind="sliding")
    address = parse("kafka://example.org:9092/t")
    allowed = cluster_of(KafkaOptions(allow_plaintext=True, group_id="g"), address)
    assert (allowed.bootstrap_servers, allowed.group_id) == (["example.org:9092"], "g")
    with pytest.raises(ConfigError, match="not host:port"):
        cluster_of(KafkaOptions(), parse("kafka://example/t"))
    with pytest.raises(ConfigError, match="no such file"):
        read("kafka://t", kind="sliding", options=ReadOptions(config=tmp_path / "none.toml"))


def windows_of(samples: Samples) -> list[Any]:
    windower = Sliding(WindowSpec(kind="sliding", length=2, hop=1), 1)
    windower.grow(1)
    windows: list[Any] = windower.append(samples).windows.values[:, :, 0].tolist()
    return windows


_chunks = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 3), st.sampled_from([0, 1, 700]), st.booleans()),
    min_size=1,
    max_size=12,
)


@given(_chunks)
def test_times_alone_say_what_is_late_as_the_daemon_has_it(chunks: list[tuple[int, int, int, bool]]) -> None:
    """Windows of records with and without times of their own, cut by the daemon's clocks, and by the table's times."""
    time_us, clock_us, ties = [], [], []
    for start_ms, count, period_us, stated in chunks:
        for at in range(count):
            time_us.append(start_ms * 1000 + at * period_us)
            clock_us.append(time_us[-1] if stated else start_ms * 1000)
            ties.append(not stated or (at > 0 and period_us < 1))
    rows = np.arange(len(time_us), dtype=np.int64)
    zeros = np.zeros(len(rows), dtype=np.int64)
    values = rows[:, None].astype(np.float32)
    theirs = Samples(
        zeros, values, np.array(time_us, np.int64), np.array(clock_us, np.int64), np.array(ties, np.bool_), rows, zeros
    )
    alone = in_order(theirs)
    ours = Samples(zeros, values, alone, alone, np.zeros(len(rows), np.bool_), rows, zeros)
    assert windows_of(ours) == windows_of(theirs)


TELEGRAF = b'{"fields":{"flow":3,"pressure":12,"on":true},"name":"pump","tags":{"host":"h1"},"timestamp":1764600000}'
LONG = [b'{"sensor":"p","metric":"%s","value":3.1,"ts":1764600000}' % name for name in (b"flow", b"pressure", b"flow")]
MAPPED: dict[str, tuple[dict[str, Any], list[bytes], str]] = {
    "the long form": (
        {"channel_field": "metric", "series": "field:sensor"},
        LONG,
        "with input.channel_field records do not say which are the channels; name them; .* --channels=flow,pressure$",
    ),
    "fields of Telegraf": (
        {
            "entries": "metrics",
            "channels": {"*": "fields.*"},
            "series": "field:tags.host",
            "timestamp_field": "timestamp",
        },
        [TELEGRAF, b'{"metrics":[%s]}' % TELEGRAF],
        "with input.entries .*--channels=flow,pressure$",
    ),
    "Connect's envelope": (
        {"connect_envelope": True},
        [b'{"schema":{},"payload":{"ts":1764600000,"flow":3,"id":"x"}}', b"junk"],
        "with input.connect_envelope .*--channels=flow$",
    ),
    "nothing that may be one": ({"channel_field": "metric"}, [b"{}", b"[1]"], "name them$"),
}


@pytest.mark.parametrize("form", MAPPED)
def test_channels_that_are_not_the_records_own_fields_are_to_be_named(form: str) -> None:
    options, values, said = MAPPED[form]
    with pytest.raises(DataError, match=said):
        _layout("kafka://t", values, InputRules(**options), "sliding", ReadOptions())
    assert _layout("kafka://t", values, InputRules(**options), "sliding", ReadOptions(channels=("flow",))) is not None
