"""What the daemon says of what it would otherwise pass over. Kinds of cases from public reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from monitor.backends.abstract import Restored
from monitor.config.file import load
from monitor.detector import storage
from monitor.detector.artifact import Artifact
from monitor.detector.spec import ThresholdSpec
from monitor.errors import ConfigError
from monitor.replay import FileSource, overridden, replayed, summary
from monitor.serving.complaints import Complaints
from monitor.serving.telemetry import Telemetry, Vitals
from tests.helpers import INPUT, counts_of, make_artifact, make_columns, make_config, make_processor_at_zero, work
from training.thresholds import alert_policy

PLAIN = make_artifact(length=4, hop=4)
PUMPS = ThresholdSpec(value=0.5, method="quantile", series={f"pump-{at}": 0.1 * at for at in range(1, 6)})
PER_SERIES = replace(PLAIN, manifest=msgspec.structs.replace(PLAIN.manifest, threshold=PUMPS))


def reported(keys: list[bytes], artifact: Artifact = PER_SERIES) -> tuple[list[dict[str, object]], float]:
    """What the log says of series without a threshold of their own, and the metric."""
    processor = make_processor_at_zero(make_config(), artifact)
    work(processor, processor.model.scorer, make_columns([b'{"value": 1}'] * len(keys), keys=keys))
    telemetry = Telemetry(Vitals(), counts_of(processor), {}, 0.5)
    metric = telemetry.registry.get_sample_value("telltale_series_unmatched_total")
    assert metric is not None
    complaints = Complaints()
    lines = [line.fields for line in complaints.due(processor.counts, 0.0) if line.fields["reason"] == "unmatched"]
    assert not [line for line in complaints.due(processor.counts, 1e9) if line.fields["reason"] == "unmatched"], "once"
    return lines, metric


@pytest.mark.parametrize(
    "key",
    [
        '"pump-1"',
        "Pump-1",
        "pump-1 ",
        "plant/pump-1",
        '{"schema":{"type":"string"},"payload":"pump-1"}',
        "1",
        "pumpe-1",
    ],
)
def test_a_series_that_no_threshold_is_for_is_said_once_and_counted(key: str) -> None:
    (line,), metric = reported([b"pump-2", key.encode(), key.encode(), b"pump-3"])
    assert (line["count"], metric) == (1, 1)
    assert line["detail"] == f"series {key!r}; the artifact has thresholds of 5 series: 'pump-1', 'pump-2', 'pump-3'"


def test_many_are_one_line_with_examples() -> None:
    (line,), metric = reported([b"a", b"b", b"c", b"d", b"pump-1", b"a"])
    assert (line["count"], metric) == (4, 4)
    assert str(line["detail"]).startswith("series 'a', 'b', 'c'; the artifact has thresholds of 5 series")


def test_nothing_is_said_where_all_match_or_none_has_its_own() -> None:
    assert reported([b"pump-1", b"pump-5"]) == ([], 0)
    assert reported([b"a", b"b"], PLAIN) == ([], 0)


def test_a_restored_series_is_counted_once() -> None:
    """After an unknown outcome all is restored; a restart says it again, as nobody reads the old log."""
    processor = make_processor_at_zero(make_config(), PER_SERIES)
    for _ in range(3):
        work(processor, processor.model.scorer, make_columns([b'{"value": 1}'], keys=[b"stranger"]))
        processor.revoke(INPUT)
        processor.assign(INPUT, Restored(position=None, state=(), beginning=0, end=0), 0)
    assert processor.counts.unmatched == {"stranger"}


def test_replay_says_it_too(tmp_path: Path) -> None:
    storage.save(PER_SERIES, tmp_path / "artifact")
    (tmp_path / "pumps.csv").write_text("pump,value\n" + "".join(f"{name},1\n" for name in ("pump-1", "P1", "P2") * 4))
    config = overridden(None, service=None, topic=None, threshold=None)
    source = FileSource(path=tmp_path / "pumps.csv", series_column="pump")
    _, counts, seconds = replayed(tmp_path / "artifact", source, config)
    assert "series without a threshold of their own: 2; " in summary(counts, seconds)


def test_a_command_that_connects_to_nobody_needs_no_password(tmp_path: Path) -> None:
    """The daemon's configuration is given to `train`, `evaluate`, `calibrate` and `replay` for its alerting."""
    path = tmp_path / "telltale.toml"
    path.write_text(
        '[kafka]\ngroup_id = "plant"\nbootstrap_servers = ["broker.example:9093"]\nsecurity_protocol = "SASL_SSL"\n'
        'sasl_mechanism = "SCRAM-SHA-512"\nusername = "telltale"\nssl_cafile = "/no.pem"\n[alerting]\nopen_after = 2\n'
    )
    with pytest.raises(ConfigError, match="a password is needed"):
        load(path, {}, artifact_needed=False)
    assert load(path, {}, artifact_needed=False, connects=False).kafka.group_id == "plant"
    assert alert_policy.assumed(path).alerting.policy.open_after == 2
    assert overridden(path, service=None, topic=None, threshold=None).alerting.open_after == 2
    path.write_text(path.read_text() + "close_aftre = 3\n")
    with pytest.raises(ConfigError, match='did you mean "close_after"'):
        alert_policy.assumed(path)


def test_lists_from_the_environment_take_commas(tmp_path: Path) -> None:
    path = tmp_path / "telltale.toml"
    path.write_text("")
    environment = {
        "TELLTALE__KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9092, localhost:9093",
        "TELLTALE__LOG__LEVEL": "INFO",
        "TELLTALE__INPUT__TOPICS": "a,b",
    }
    found = load(path, environment, artifact_needed=False)
    assert found.kafka.bootstrap_servers == ["127.0.0.1:9092", "localhost:9093"]
    assert (found.log.level, found.input.topics) == ("info", ["a", "b"])
