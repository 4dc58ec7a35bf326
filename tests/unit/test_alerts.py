"""Alerts as others read them: JSON Schema, the CloudEvents SDK, and a person at 3 a.m."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from monitor.backends.abstract import TopicPartition
from monitor.detector import scores, spec
from monitor.detector.arrays import Float32Array
from monitor.detector.attribution import Attribution
from monitor.detector.incidents import SCORE_RULE, Incident, Status
from monitor.detector.served import ServedModel
from monitor.messages import alerts
from monitor.messages.alerts import AlertWriter, Cause, Severity, rfc3339
from tests.helpers import make_artifact

LENGTH = 10
TINY = make_artifact(length=LENGTH, hop=5, channels=("flow", "pressure"), threshold=0.5)
PLAIN, SCORER = TINY.manifest, TINY.scorer()
RATED = msgspec.structs.replace(PLAIN, window=msgspec.structs.replace(PLAIN.window, sampling_rate_hz=250.0))
START_US = 1_732_177_327_310_000  # 2024-11-21T08:22:07.310Z, by `date -u -d @1732177327.310`


def attribution(manifest: spec.Manifest) -> Attribution:
    return Attribution(manifest, scores.KINDS[manifest.score.kind].sample_limit)


def writer(
    manifest: spec.Manifest = PLAIN,
    threshold: float | None = None,
    table: Float32Array | None = None,
    service: str = "ward-3",
    group: str = "g",
    include_window: bool = False,
) -> AlertWriter:
    artifact = replace(TINY, manifest=manifest, calibration_table=table, digest="ab" * 32)
    model = ServedModel.of(artifact, SCORER, threshold)
    return AlertWriter(model, service=service, group=group, severity=Severity(), include_window=include_window)


def cause(**changes: Any) -> Cause:
    """A window that is 0 but for flow at samples 3 to 5, which is 2.0."""
    values = np.zeros((LENGTH, 2), dtype=np.float32)
    values[3:6, 0] = 2.0
    made = Cause(
        threshold=0.5,
        partition=TopicPartition("ecg", 2),
        series="bed-7",
        rule=SCORE_RULE,
        start_us=START_US,
        end_us=START_US + 36_000,
        first_offset=100,
        last_offset=109,
        last_index=0,
        score=0.75,
        missing_ratio=0.0,
        values=values,
    )
    return replace(made, **changes)


# What is expected in place of `cause`: 0.5 for the 2.0.
EXPECTED = np.zeros((LENGTH, 2), dtype=np.float32)
EXPECTED[3:6, 0] = 0.5


def incident(**changes: Any) -> Incident:
    one = Incident(
        over=1, fingerprint="f" * 16, started_us=START_US, ended_us=START_US + 36_000, windows=1, peak_ratio=1.5
    )
    return msgspec.structs.replace(one, **changes)


def write(
    status: Status = Status.FIRING,
    told: Cause | None = None,
    of: Incident | None = None,
    expected: np.ndarray = EXPECTED,
    **options: Any,
) -> alerts.Alert:
    return writer(**options).write(status, of or incident(), told or cause(), expected)


EVERY = [(status, full) for status in Status for full in (False, True)]


@pytest.mark.parametrize(("status", "full"), EVERY)
def test_an_alert_keeps_its_own_json_schema(status: Status, full: bool) -> None:
    schema = json.loads(json.dumps(alerts.schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    document = json.loads(alerts.encode(write(status, include_window=full)))
    assert list(validator.iter_errors(document)) == []
    del document["data"]["fingerprint"]
    assert list(validator.iter_errors(document))


@pytest.mark.parametrize(("status", "full"), EVERY)
def test_the_cloudevents_sdk_reads_an_alert(status: Status, full: bool) -> None:
    alert = write(status, include_window=full)
    message = KafkaMessage(dict(alerts.headers(alert)), alert.subject.encode(), alerts.encode(alert))
    event = from_structured(message, JSONFormat(), CloudEvent)
    assert event.get_id() == alert.id
    assert event.get_source() == "/telltale/ward-3"
    assert event.get_type() == "io.telltale.alert.v1"
    assert event.get_specversion() == "1.0"
    assert event.get_subject() == "bed-7"
    assert event.get_datacontenttype() == "application/json"
    assert event.get_dataschema() == "urn:telltale:schema:alert:1"
    # the SDK's own parser of times
    assert event.get_time() == datetime(2024, 11, 21, 8, 22, 7, 346_000, tzinfo=UTC)
    assert event.get_extension("partitionkey") == "bed-7"
    assert event.get_data() == json.loads(msgspec.json.encode(alert.data))


def test_headers_repeat_the_attributes() -> None:
    alert = write(told=cause(series="Bett Ä 7"))
    headers = dict(alerts.headers(alert))
    document = json.loads(alerts.encode(alert))
    assert headers.pop("content-type") == b"application/cloudevents+json; charset=UTF-8"
    assert {name: value.decode() for name, value in headers.items()} == {
        f"ce_{name}": document[name] for name in ("specversion", "id", "source", "type", "subject", "time")
    }


def test_an_id_follows_from_the_windows_position_and_the_status() -> None:
    seen = {write().id}
    changes: list[dict[str, Any]] = [
        {"partition": TopicPartition("ecg", 3)},
        {"partition": TopicPartition("ecg2", 2)},
        {"series": "bed-8"},
        {"last_offset": 110},
        {"last_index": 1},
        {"end_us": 5},  # the same offset of a topic that was made again
    ]
    seen |= {write(told=cause(**change)).id for change in changes}
    seen |= {write(status).id for status in (Status.UPDATE, Status.RESOLVED)}
    seen |= {write(service="ward-4").id}
    assert len(seen) == 1 + len(changes) + 2 + 1
    assert all(len(found) == 32 and set(found) <= set("0123456789abcdef") for found in seen)


def test_an_id_does_not_follow_from_clock_model_score_or_policy() -> None:
    other = msgspec.structs.replace(PLAIN, name="other", version="9", created="2031-01-01T00:00:00Z")
    same = [
        write(manifest=other),
        writer(other, threshold=0.1, group="h", include_window=True).write(
            Status.FIRING, incident(), cause(), EXPECTED
        ),
        write(told=cause(score=9.0, start_us=0, first_offset=0)),
        write(of=incident(windows=7, fingerprint="e" * 16)),
    ]
    assert {alert.id for alert in same} == {write().id}
    assert writer(other).fingerprint(cause()) == writer().fingerprint(cause())
    assert alerts.encode(write()) == alerts.encode(write())


def test_the_quantile_is_that_of_the_series_own_calibration() -> None:
    calibration = msgspec.structs.replace(PLAIN.calibration, series=("bed-7", "bed-8"))
    own = msgspec.structs.replace(PLAIN, calibration=calibration)
    table = np.array([[0.25, 0.75, 1.0], [0.5, 1.0, 2.0]], np.float32)

    def quantile(series: str, score: float) -> float:
        told = writer(own, table=table).write(Status.FIRING, incident(), cause(series=series, score=score), EXPECTED)
        return told.data.score.quantile

    # Tables are at the probabilities 0, 0.5 and 1; that of all series is 0.1, 0.4, 2.
    assert quantile("bed-7", 0.75) == 0.5
    assert quantile("bed-8", 0.75) == 0.25
    assert quantile("bed-8", 3.0) == 1.0
    assert quantile("unseen", 1.2) == pytest.approx(0.75)
    assert write(told=cause(score=1.2)).data.score.quantile == pytest.approx(0.75)


def test_the_planted_deviation_is_found() -> None:
    (found,) = write().data.contributors
    assert msgspec.to_builtins(found) == {
        "channel": "flow", "from": 3, "to": 5, "share": 1.0, "observed": 2.0, "expected": 0.5,
    }  # fmt: skip


def test_contributors_are_the_worst_runs_in_order() -> None:
    values = np.zeros((LENGTH, 2), dtype=np.float32)
    values[0, 1] = 4.0  # in units of the scaling (0.5, 8): 0.5, under the threshold with what follows
    values[2:4, 0] = 1.0  # 2 x 2.0 = 4.0
    values[6, 0] = 1.5  # 3.0
    values[3:6, 1] = 8.0  # 3 x 1.0 = 3.0, as much: then the channels' order counts
    values[9, 0] = 0.375  # 0.75
    scaled = msgspec.structs.replace(PLAIN, scaling=spec.ScalingSpec(kind="none", offset=(0, 0), scale=(0.5, 8.0)))
    found = attribution(scaled)(values, np.zeros_like(values), 0.5)
    # errors by hand: 0.5 + 4.0 + 3.0 + 3.0 + 0.75 = 11.25 in all; the threshold is 0.5, and 0.5 is not over it
    assert [(c.channel, c.first, c.last) for c in found] == [("flow", 2, 3), ("flow", 6, 6), ("pressure", 3, 5)]
    assert [c.share for c in found] == pytest.approx([4 / 11.25, 3 / 11.25, 3 / 11.25])
    assert [(c.observed, c.expected) for c in found] == [(1, 0), (1.5, 0), (8, 0)]


def test_samples_far_less_wrong_than_the_worst_are_not_named_beside_it() -> None:
    """Else the means were of both, and nothing that was ever read."""
    values = np.zeros((LENGTH, 2), dtype=np.float32)
    values[:, 0] = 2.0
    values[[2, 5, 6], 0] = -9999.0
    found = attribution(PLAIN)(values, np.zeros_like(values), 0.5)
    assert [(c.channel, c.first, c.last, c.observed) for c in found] == [
        ("flow", 5, 6, -9999.0),
        ("flow", 2, 2, -9999.0),
    ]


def test_contributors_of_a_window_that_is_scaled_by_its_own_moments() -> None:
    values = np.zeros((LENGTH, 2), dtype=np.float32)
    values[:, 0] = [2.0, -2.0] * 5  # a deviation of 2, over the least, 0.5
    reconstruction = values.copy()
    reconstruction[2:4, 0] += 0.75  # 0.375 in its unit: not over 0.5, though 1.5 in that of the least
    reconstruction[6, 0] -= 3.0  # 1.5
    reconstruction[8, 1] = 8.0  # the channel is flat, so by the least, 8: 1.0
    scaling = spec.ScalingSpec(kind="window", offset=(0, 0), scale=(0.5, 8.0))
    found = attribution(msgspec.structs.replace(PLAIN, scaling=scaling))(values, reconstruction, 0.5)
    assert [(c.channel, c.first, c.last) for c in found] == [("flow", 6, 6), ("pressure", 8, 8)]
    assert [c.share for c in found] == pytest.approx([1.5 / 3.25, 1.0 / 3.25])


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.5, 3.0]))
def test_shares_are_shares(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    values, reconstruction = rng.normal(size=(2, LENGTH, 2)).astype(np.float32) * 5
    found = attribution(PLAIN)(values, reconstruction, threshold)
    shares = [c.share for c in found]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1 + 1e-12
    assert len(found) <= 3
    errors = np.abs(values.astype(np.float64) - reconstruction)
    for c in found:
        column = PLAIN.channels.index(spec.Channel(name=c.channel))
        run = errors[c.first : c.last + 1, column]
        assert (run > threshold).all()
        assert c.share == pytest.approx(run.sum() / errors.sum())
        assert c.observed == pytest.approx(values[c.first : c.last + 1, column].mean(dtype=np.float64))


@pytest.mark.parametrize("size", [3e38, -3e38, np.inf])
def test_numbers_at_float32s_end_are_still_json(size: float) -> None:
    huge = cause(values=np.full((LENGTH, 2), 3e38, np.float32), score=float(np.finfo(np.float32).max))
    expected = np.full((LENGTH, 2), size, np.float32)
    scaled = msgspec.structs.replace(PLAIN, scaling=spec.ScalingSpec(kind="none", offset=(0, 0), scale=(1e-3, 1.0)))
    alert = writer(scaled, include_window=True).write(Status.FIRING, incident(peak_ratio=6.8e38), huge, expected)
    document = json.loads(alerts.encode(alert))
    assert list(jsonschema.Draft202012Validator(alerts.schema()).iter_errors(document)) == []


@pytest.mark.parametrize(
    ("ratio", "expected"), [(1.01, "warning"), (1.99, "warning"), (2.0, "error"), (3.9, "error"), (4.0, "critical")]
)
def test_severity(ratio: float, expected: str) -> None:
    assert Severity().of(ratio) == expected
    assert write(of=incident(peak_ratio=ratio)).data.severity == expected
    assert write(Status.UPDATE, of=incident(peak_ratio=ratio)).data.severity == expected
    assert write(Status.RESOLVED, of=incident(peak_ratio=ratio)).data.severity == "info"


def test_what_an_alert_says_of_score_window_and_position() -> None:
    data = write().data
    quantile = data.score.quantile
    assert quantile == pytest.approx(0.609375)
    assert data.score == alerts.Score(kind="mae", value=0.75, threshold=0.5, ratio=1.5, quantile=quantile)
    assert data.window == alerts.Window(start="2024-11-21T08:22:07.310Z", end="2024-11-21T08:22:07.346Z", length=10)
    assert data.kafka == alerts.Kafka(topic="ecg", partition=2, first_offset=100, last_offset=109, group="g")
    assert data.model == alerts.Model(name="tiny", version="1", sha256="ab" * 32)
    assert data.episode == alerts.Episode(
        started_at="2024-11-21T08:22:07.310Z", ended_at=None, windows=1, peak_ratio=1.5
    )


def test_a_resolution_has_an_end_and_no_contributors() -> None:
    end_us = START_US + 3_600_000_000
    data = write(Status.RESOLVED, of=incident(ended_us=end_us, windows=9)).data
    assert data.episode.ended_at == "2024-11-21T09:22:07.310Z"
    assert data.contributors == []
    assert data.fingerprint == "f" * 16


def test_the_window_itself_only_when_asked_for() -> None:
    document = json.loads(alerts.encode(write()))
    assert not {"values", "reconstruction"} & document["data"]["window"].keys()
    full = json.loads(alerts.encode(write(include_window=True)))["data"]["window"]
    assert full["values"] == cause().values.tolist()
    assert full["reconstruction"] == EXPECTED.tolist()


@pytest.mark.parametrize(
    ("time_us", "expected"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_732_177_327_310_000, "2024-11-21T08:22:07.310Z"),
        (1_732_177_327_310_250, "2024-11-21T08:22:07.310250Z"),
        (-1_000, "1969-12-31T23:59:59.999Z"),
        (253_402_300_799_999_000, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times(time_us: int, expected: str) -> None:
    assert rfc3339(time_us) == expected


@given(st.integers(0, 253_402_300_799_999_999))
def test_times_are_read_back(time_us: int) -> None:
    read = datetime.fromisoformat(rfc3339(time_us))
    assert (read - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) == time_us


def test_summaries() -> None:
    assert write().data.summary == (
        "bed-7: reconstruction error 1.50x threshold; most of it on flow, samples 3-5: 2.00 where 0.50 was expected"
    )
    lasting = incident(windows=7, ended_us=START_US + 4_500_000)
    assert write(Status.UPDATE, of=lasting).data.summary == (
        "bed-7: reconstruction error 1.50x threshold, 7 windows over 4.5 s; most of it on flow, samples 3-5: "
        "2.00 where 0.50 was expected"
    )
    assert write(Status.RESOLVED).data.summary == (
        "bed-7: back to normal after 0.036 s (1 window, peak 1.50x threshold)"
    )
    assert "; most of it on flow, 0.0120-0.0200 s into the window: 2.00" in write(manifest=RATED).data.summary


KNOWING = msgspec.structs.replace(
    PLAIN, calibration=msgspec.structs.replace(PLAIN.calibration, channel_errors=(0.5, 0.25))
)


def test_all_channels_are_listed_by_how_much_their_error_has_grown() -> None:
    values = cause().values.copy()
    values[:, 1] = 1.0
    before = np.array([0.125, 0.75], dtype=np.float32)
    data = write(told=cause(values=values, before=before), manifest=KNOWING).data
    flow = float(f"{np.sqrt(3 * 1.5**2 / 10) - 0.125:.4g}")
    assert data.channels == [
        alerts.Change(channel="flow", share=0.3103, change=flow, before=0.125),
        alerts.Change(channel="pressure", share=0.6897, change=0.25, before=0.75),
    ]
    assert [each.channel for each in data.contributors] == ["flow", "pressure"]
    assert data.summary == (
        "bed-7: reconstruction error 1.50x threshold; grown most on flow, samples 3-5: 2.00 where 0.50 was expected; "
        "then on pressure"
    )
    as_usual = write(told=cause(values=values), manifest=KNOWING).data
    assert [each.before for each in as_usual.channels] == [0.25, 0.5]


def test_what_errors_are_usual_changes_no_alert_of_an_artifact_that_does_not_know() -> None:
    assert b'"channels"' not in alerts.encode(write())
    assert write(told=cause(before=np.ones(2, np.float32))) == write()
    resolved = write(Status.RESOLVED, manifest=KNOWING).data
    assert (resolved.channels, resolved.contributors) == ([], [])


def test_what_is_reported_beside_the_score_is_linked() -> None:
    since = "2024-11-21T08:20:00.000Z"
    flat = alerts.Reported(rule="flatline", channel="flow", since=since)
    silent = alerts.Reported(rule="no_data", channel=None, since=since)
    for status in Status:
        alert = write(status, cause(quality=(flat, silent)))
        assert alert.data.quality == [flat, silent]
        assert alert.data.summary == (
            f"{write(status).data.summary}; channel 'flow' is also reported by flatline since {since}, and 1 more"
        )
        assert (
            list(jsonschema.Draft202012Validator(alerts.schema()).iter_errors(json.loads(alerts.encode(alert)))) == []
        )
    assert write(told=cause(quality=(silent,))).data.summary.endswith(
        f"; the series is also reported by no_data since {since}"
    )
    assert b'"quality"' not in alerts.encode(write())


@pytest.mark.parametrize(
    ("ratio", "peak", "severity", "said"),
    [
        (1.5, 1.9, "warning", "1.50x threshold; most"),
        (1.5, 3.0, "error", "1.50x threshold now, 3.00x at its peak; most"),
        (2.5, 25_432.1, "critical", "2.50x threshold now, 25,400x at its peak; most"),
        (0.75, 1.9, "warning", "0.75x threshold now, 1.90x at its peak"),
    ],
)
def test_a_summary_says_what_the_severity_is_of(ratio: float, peak: float, severity: str, said: str) -> None:
    data = write(told=cause(score=ratio / 2), of=incident(peak_ratio=peak)).data
    assert data.severity == severity
    assert said in data.summary


def test_an_update_blames_nobody_for_a_window_under_the_threshold() -> None:
    data = write(Status.UPDATE, cause(score=0.25), incident(windows=9, peak_ratio=3.0)).data
    assert data.contributors == []
    assert data.summary == "bed-7: reconstruction error 0.50x threshold now, 3.00x at its peak, 9 windows over 0.036 s"


def test_summaries_without_exponents() -> None:
    values, reconstruction = np.zeros((2, LENGTH, 2), dtype=np.float32)
    values[:, 1], reconstruction[:, 1] = 101_325, 101_279
    said = write(told=cause(values=values), expected=reconstruction).data.summary
    assert said.endswith("pressure, samples 0-9: 101325.0 where 101279.0 was expected")
    for seconds, expected in ((99, "99 s"), (1234, "21 min"), (7_260, "2 h 1 min"), (90_000, "25 h 0 min")):
        after = write(Status.RESOLVED, of=incident(ended_us=START_US + seconds * 1_000_000)).data.summary
        assert f"back to normal after {expected} (" in after
