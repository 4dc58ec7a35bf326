"""Another format is a file, and a row of `extensions.FORMATS` or the entry point of a package that is installed.

The toy is tests/toys/semicolons.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monitor import extensions
from monitor.backends.local import LocalBackend, LocalLog
from monitor.config import file as configfile
from monitor.config.input import InputOptions
from monitor.config.options import Config
from monitor.errors import ConfigError
from monitor.formats.abstract import FormatKind
from monitor.formats.decoder import Decoder, InputRules
from monitor.serving.daemon import Daemon
from monitor.serving.telemetry import Telemetry, Vitals
from tests.helpers import make_artifact, make_columns, make_processor
from tests.toys.semicolons import Semicolons

ARTIFACT = make_artifact(length=4, hop=4, channels=("flow", "pressure"), threshold=0.8, max_missing_ratio=0.2)
TOY = "tests.toys.semicolons:Semicolons"
RECORDS = [b"0.1;0.2", b"0.1;0.1", b"0.2;", b"0.1;0.2", b"9;9", b"9;9", b"9;", b"9;9", b"9,5;9", b"9;9;9", b"1e39;9"]


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy as one of ours."""
    monkeypatch.setitem(extensions.FORMATS, "semicolons", TOY)


class Packages:
    """Installs distributions that hold nothing but entry points."""

    def __init__(self, place: Path, patch: pytest.MonkeyPatch) -> None:
        self._place = place
        patch.syspath_prepend(place)

    def add(self, distribution: str, **formats: str) -> None:
        info = self._place / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        points = "\n".join(f"{name} = {place}" for name, place in formats.items())
        (info / "entry_points.txt").write_text(f"[{extensions.FORMAT_GROUP}]\n{points}\n")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packages:
    return Packages(tmp_path, monkeypatch)


def configured(directory: Path, text: str) -> Config:
    path = directory / "telltale.toml"
    path.write_text(f'[input]\nstart = "earliest"\ntimestamp_unit = "ms"\noldest_time = 1970-01-01T00:00:00Z\n{text}')
    return configfile.load(path, {}, artifact_needed=False)


def problem(directory: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(directory, text)
    _, line = str(caught.value).splitlines()
    return line.strip()


def published(config: Config) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The alerts and dead letters of a daemon that reads `RECORDS`."""
    log = LocalLog({"telltale.input": 1})
    for at_ms, value in enumerate(RECORDS):
        log.append("telltale.input", 0, key=b"pump", value=value, timestamp_ms=at_ms)
    processor, vitals = make_processor(config, ARTIFACT), Vitals()
    telemetry = Telemetry(vitals, lambda: processor.counts, {}, 1.0)
    backend = LocalBackend(log, config)
    Daemon(config, backend, processor, processor.model.scorer, telemetry, vitals).run(until_caught_up=True)
    alerts, letters = (
        [json.loads(value) for value in log.read(topic, 0).values if value is not None]
        for topic in (config.output.alerts, config.output.dead_letters)
    )
    return alerts, letters


def test_a_daemon_reads_records_of_it_and_publishes_alerts_and_dead_letters(row: None, tmp_path: Path) -> None:
    (alert,), letters = published(configured(tmp_path, 'format = "semicolons"'))
    assert (alert["subject"], alert["data"]["status"]) == ("pump", "firing")
    assert (alert["data"]["kafka"]["first_offset"], alert["data"]["kafka"]["last_offset"]) == (4, 7)
    assert alert["data"]["window"]["missing_ratio"] == 0.125
    assert [(letter["offset"], letter["reason"], letter["detail"]) for letter in letters] == [
        (8, "malformed", "could not convert string to float: b'9,5'"),
        (9, "wrong_shape", "3 numbers, expected 2"),
        (10, "not_finite", "a number is infinite, or too large for float32 (3.4e38)"),
    ]


def test_a_package_that_is_installed_adds_it(packages: Packages, tmp_path: Path) -> None:
    packages.add("telltale-semicolons", semicolons=TOY)
    config = configured(tmp_path, 'format = "semicolons"')
    assert extensions.load_format("semicolons") is Semicolons
    assert [letter["offset"] for letter in published(config)[1]] == [8, 9, 10]


def test_a_name_that_is_not_known_is_refused_with_those_that_are(packages: Packages, tmp_path: Path) -> None:
    expected = "input.format: input should be 'json', 'f32', 'msgpack', 'csv' or 'avro' (found 'semicolon')"
    assert problem(tmp_path, 'format = "semicolon"') == expected
    packages.add("telltale-semicolons", semicolons=TOY, json="nowhere:Format")
    known = "'json', 'f32', 'msgpack', 'csv', 'avro' or 'semicolons'"
    expected = f"input.format: input should be {known} (found 'semicolon')"
    assert problem(tmp_path, 'format = "semicolon"') == expected
    with pytest.raises(ConfigError, match=known):
        Decoder(ARTIFACT.manifest, InputRules(format="semicolon"))


def test_who_is_to_blame_is_named(packages: Packages, tmp_path: Path) -> None:
    packages.add("telltale-protobuf", protobuf="nowhere_at_all:ProtobufFormat", words="json:dumps", twice=TOY)
    packages.add("telltale-other", twice=TOY)
    assert problem(tmp_path, 'format = "protobuf"') == (
        "input.format: telltale-protobuf 1.2 adds it, and can't be loaded: ModuleNotFoundError: No module named "
        "'nowhere_at_all'; fix that package, or remove it (found 'protobuf')"
    )
    assert problem(tmp_path, 'format = "words"') == (
        "input.format: telltale-protobuf 1.2 adds it, but json:dumps is no format (monitor.formats.abstract) "
        "(found 'words')"
    )
    named, _, remedy = problem(tmp_path, 'format = "twice"').removeprefix("input.format: ").partition(" all add it; ")
    assert sorted(named.split(", ")) == ["telltale-other 1.2", "telltale-protobuf 1.2"]
    assert remedy == "keep one of them (found 'twice')"


def test_a_name_of_ours_is_ours_and_nobody_is_asked(packages: Packages, monkeypatch: pytest.MonkeyPatch) -> None:
    packages.add("telltale-better-json", json="nowhere:Format")
    monkeypatch.setattr(extensions, "entry_points", lambda **_: pytest.fail("packages were looked through"))
    rules = InputRules(oldest_time="1970-01-01T00:00:00Z")
    values = Decoder(ARTIFACT.manifest, rules).decode(make_columns([b'{"flow": 1, "pressure": 2}'])).values
    assert values.tolist() == [[1, 2]]


def test_a_series_stands_in_a_field_only_where_there_are_any(row: None, tmp_path: Path) -> None:
    said = problem(tmp_path, 'format = "semicolons"\nseries = "field:pump"')
    needs = "needs a format whose records name their fields, such as json; semicolons records hold numbers only"
    assert said.startswith(f"input: series field:NAME {needs}")


@pytest.mark.parametrize("name", extensions.FORMATS)
def test_each_of_ours_is_there_and_the_option_says_so(name: str) -> None:
    kind: FormatKind = extensions.load_format(name)
    assert isinstance(kind.names_fields, bool)
    assert name in (InputOptions.model_fields["format"].description or "")
