"""An alert says the labels that its series had at its record, however the log is cut, and after a restart too."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from monitor.backends.local import LocalBackend, LocalLog
from monitor.config.options import Config
from monitor.errors import ConfigError
from monitor.processing.labels import Labels
from monitor.serving.daemon import Daemon
from monitor.serving.telemetry import Telemetry, Vitals
from tests.helpers import make_artifact, make_config, make_processor

SITES, LINES = [None, "north", "south"], [None, "A7", "B1"]
KEYS = [b"a", b"b", b"c"]
said = st.tuples(st.sampled_from(KEYS), st.sampled_from(SITES), st.sampled_from(LINES), st.sampled_from([None, *KEYS]))


@given(st.lists(said, max_size=30), st.lists(st.integers(0, 30), max_size=5), st.integers(0, 30))
def test_any_cuts_and_a_restart_remember_what_a_naive_reader_does(
    records: list[tuple[bytes, str | None, str | None, bytes | None]], cuts: list[int], restart: int
) -> None:
    """The last of each tuple is forgotten before the record."""
    expected: list[dict[bytes, dict[str, str]]] = []
    now: dict[bytes, dict[str, str]] = {key: {} for key in KEYS}
    for key, site, line, gone in records:
        if gone is not None:
            now = now | {gone: {}}
        new = {name: text for name, text in (("site", site), ("line", line)) if text is not None}
        now = now | {key: now[key] | new}
        expected.append(now)
    labels = Labels(["site", "line"])
    restart = min(restart, len(records))
    for first, end in pairwise([0, *sorted({restart, *(min(cut, len(records)) for cut in cuts)}), len(records)]):
        if first == restart:
            kept, labels = labels.snapshot(KEYS, restart), Labels(["site", "line"])
            labels.restore(dict(zip(KEYS, kept, strict=True)))
        part = records[first:end]
        keys, sites, lines = [r[0] for r in part], [r[1] for r in part], [r[2] for r in part]
        gone_at = [(r[3], at) for at, r in enumerate(part, first) if r[3] is not None]
        labels.note(keys, np.arange(first, end), [sites, lines], gone_at)
    for offset in range(max(0, restart - 1), len(records)):
        for key in KEYS:
            assert labels.at(key.decode(), offset) == expected[offset][key], offset


ARTIFACT = make_artifact(length=4, hop=2, threshold=0.8, batch_rows=8)
SITE = {"site": "header:site", "line": "field:tags.line"}


def record(log: LocalLog, at: int, site: bytes | None, line: Any) -> None:
    value: dict[str, Any] = {"ts": 1_764_600_000_000 + at * 1000, "value": 9.0 if at % 12 >= 6 else 0.1}
    if line is not None:
        value["tags"] = {"line": line}
    headers = [] if site is None else [("site", site)]
    log.append(
        "telltale.input", 0, key=b"pump", value=json.dumps(value).encode(), timestamp_ms=value["ts"], headers=headers
    )


def run(log: LocalLog, config: Config) -> None:
    processor, vitals = make_processor(config, ARTIFACT), Vitals()
    telemetry = Telemetry(vitals, lambda: processor.counts, {}, 1.0)
    Daemon(config, LocalBackend(log, config), processor, processor.model.scorer, telemetry, vitals).run(
        until_caught_up=True
    )


@pytest.mark.parametrize("restarts", [[], [3], [7, 8, 20, 33]])
def test_alerts_carry_them_and_a_restart_says_the_same(restarts: list[int]) -> None:
    often = {"update_every": 1, "close_after": 1}
    config = make_config(input={"start": "earliest", "labels": SITE}, alerting=often)
    log = LocalLog({"telltale.input": 1})
    for at in range(40):
        if at in restarts:
            run(log, config)
        record(log, at, {0: b"north", 20: b"south"}.get(at), {2: "A7", 21: 7, 22: None}.get(at))
    run(log, config)
    alerts = log.read("telltale.alerts", 0)
    events = [json.loads(value) for value in alerts.values if value is not None]
    found = [(event["data"]["kafka"]["last_offset"], event["data"]["labels"]) for event in events]
    assert len(found) >= 6
    for offset, labels in found:
        expected = {"site": "north" if offset < 20 else "south", "line": "A7" if offset < 21 else "7"}
        assert labels == expected, offset
    for event, headers in zip(events, alerts.headers or [], strict=True):
        assert (event["site"], event["line"]) == (event["data"]["labels"]["site"], event["data"]["labels"]["line"])
        assert dict(headers)["ce_site"] == event["site"].encode()
    assert JSONFormat().read(None, json.dumps(events[0])).get_extension("site") == "north"


@pytest.mark.parametrize("restarts", [[], [14], [20]])
@pytest.mark.parametrize("limits", [{"max_series": 1}, {"series_ttl": 60}])
def test_what_ends_with_a_forgotten_series_still_has_its_labels(limits: dict[str, int], restarts: list[int]) -> None:
    """Who filters by them would hear of its beginning alone."""
    config = make_config(input={"start": "earliest", "labels": SITE} | limits)
    log = LocalLog({"telltale.input": 1})
    for at in range(20):
        if at in restarts:
            run(log, config)
        record(log, at, b"north", "A7")
    if 20 in restarts:
        run(log, config)
    late = json.dumps({"ts": 1_764_600_300_000, "value": 0.1}).encode()
    log.append("telltale.input", 0, key=b"other", value=late, timestamp_ms=1_764_600_300_000, headers=[])
    run(log, config)
    *_, last = [json.loads(value) for value in log.read("telltale.alerts", 0).values if value is not None]
    assert last["data"]["reason"] in ("forgotten", "silent")
    assert last["data"]["labels"] == {"site": "north", "line": "A7"}


def test_without_them_alerts_are_as_they_were() -> None:
    log = LocalLog({"telltale.input": 1})
    for at in range(20):
        record(log, at, b"north", "A7")
    run(log, make_config(input={"start": "earliest"}))
    events = [json.loads(value) for value in log.read("telltale.alerts", 0).values if value is not None]
    assert events
    assert not any("labels" in event["data"] or "site" in event for event in events)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [({"source": "header:x"}, "'source' is an attribute of CloudEvents"), ({"Site": "header:x"}, "pattern"),
     ({"site": "x"}, "pattern"), ({"site": "field:a..b"}, "pattern")],
)  # fmt: skip
def test_a_name_must_be_one_of_an_attribute_and_a_place_one(labels: dict[str, str], problem: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=problem):
        make_config(input={"labels": labels})
