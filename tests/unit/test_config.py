"""The configuration: every problem at once, each with its place and remedy; and never a secret."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import file as configfile
from monitor.config.input import start_timestamp_ms
from monitor.config.options import Config
from monitor.config.sections import is_loopback
from monitor.errors import EXIT_CONFIG, ConfigError

SECRET = "hunter2-of-the-ward"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with an artifact, as far as the configuration looks."""
    (tmp_path / "artifact").mkdir()
    return tmp_path


def write(directory: Path, text: str) -> Path:
    path = directory / "telltale.toml"
    path.write_text(text, encoding="utf-8")
    return path


def load(directory: Path, text: str = "", **environment: str) -> Config:
    return configfile.load(write(directory, text), environment)


def problems(directory: Path, text: str, **environment: str) -> list[str]:
    """The lines below the headline, which says how many there are."""
    with pytest.raises(ConfigError) as caught:
        load(directory, text, **environment)
    headline, *lines = str(caught.value).splitlines()
    assert headline == f"{directory / 'telltale.toml'}: {len(lines)} problem{'s' if len(lines) != 1 else ''}"
    assert caught.value.exit_code == EXIT_CONFIG
    return [line.removeprefix("  ") for line in lines]


def only(directory: Path, text: str, **environment: str) -> str:
    (line,) = problems(directory, text, **environment)
    return line


# --- the file ---


def test_an_empty_file_is_the_defaults(directory: Path) -> None:
    loaded = load(directory)
    assert loaded.model.artifact == directory / "artifact"
    assert loaded.model_copy(update={"model": Config().model}) == Config()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file; `telltale config init` writes a commented one"):
        configfile.load(tmp_path / "telltale.toml", {})


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[kafka\n", b"a = 1\na = 2\n"])
def test_not_a_toml_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "telltale.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"telltale\.toml: (can't be read|not valid TOML): "):
        configfile.load(path, {})


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        configfile.load(tmp_path, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[kafak]\ngroup_id = "a"', 'kafak: unknown key; did you mean "kafka"?'),
        ('[kafka]\ngruop_id = "a"', 'kafka.gruop_id: unknown key; did you mean "group_id"?'),
        ("[http]\nlisten = 1", "http.listen: unknown key; known keys: host, port, allow_remote"),
        ("threshold = 1", "threshold: unknown key; known keys: service, kafka, input, output, model"),
        ("[model.window]\nlength = 3", "model.window: unknown key; known keys: artifact, threshold"),
    ],
)
def test_unknown_keys(directory: Path, text: str, said: str) -> None:
    assert only(directory, text).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[http]\nport = "8900"', "http.port: input should be a valid integer (found '8900')"),
        ("[http]\nport = 65536", "http.port: input should be less than or equal to 65535 (found 65536)"),
        ("[http]\nport = true", "http.port: input should be a valid integer (found True)"),
        ("[output]\ncreate_topics = 1", "output.create_topics: input should be a valid boolean (found 1)"),
        ("[service]\nname = 3", "service.name: input should be a valid string (found 3)"),
        ('[input]\ntopics = "a"', "input.topics: input should be a valid list (found 'a')"),
        ("[input]\ntopics = []", "input.topics: list should have at least 1 item"),
        ('[input]\ntopics = ["a", 1]', "input.topics.1: input should be a valid string (found 1)"),
        ('[input]\ntopics = ["a b"]', "input.topics.0: string should match pattern"),
        (
            '[input]\nformat = "xml"',
            "input.format: input should be 'json', 'f32', 'msgpack', 'csv' or 'avro' (found 'xml')",
        ),
        ("[model]\nthreshold = 0", "model.threshold: input should be greater than 0 (found 0)"),
        (
            "[model]\nthreshold = 1e39",
            "model.threshold: scores are float32: input should be from 1.18e-38 to 3.4e+38 (found 1e+39)",
        ),
        (
            "[model]\nthreshold = 1e-320",
            "model.threshold: scores are float32: input should be from 1.18e-38 to 3.4e+38 (found 1e-320)",
        ),
        (
            "[alerting]\nupdate_every = 1000001",
            "alerting.update_every: input should be less than or equal to 1000000 (found 1000001)",
        ),
        ("[model]\nthreshold = nan", "model.threshold: input should be a finite number (found nan)"),
        ("[model]\nthreshold = inf", "model.threshold: input should be a finite number (found inf)"),
        ('kafka = "localhost"', "kafka: should be a section, [kafka] (found 'localhost')"),
        ('[output]\nalerts = ".."', "output.alerts: string should match pattern"),
        (f'[kafka]\ngroup_id = "{"g" * 250}"', "kafka.group_id: string should have at most 249 characters"),
        (f'[kafka]\ngroup_id = "{"g" * 245}"', "config: kafka.group_id is too long to name the state topic after"),
    ],
)
def test_wrong_values(directory: Path, text: str, said: str) -> None:
    assert only(directory, text).startswith(said)


def test_all_problems_at_once(directory: Path) -> None:
    text = """
    [kafka]
    password = "hunter2-of-the-ward"
    bootstrap_servers = ["nowhere"]
    [input]
    topics = ["a", "a"]
    strat = "latest"
    [model]
    artifact = "missing"
    [http]
    port = -1
    """
    found = problems(directory, text, TELLTALE__ALERTING__OPEN_AFTR="3")
    assert [line.partition(": ")[0] for line in found] == [
        "kafka.password",
        "environment TELLTALE__ALERTING__OPEN_AFTR",
        "kafka.bootstrap_servers",
        "input.topics",
        "input.strat",
        "http.port",
        "model.artifact",
    ]
    assert SECRET not in "\n".join(found)


def test_configurations_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().http.port = 1  # type: ignore[misc]


# --- the artifact ---


def test_artifact_is_relative_to_the_file(directory: Path) -> None:
    (directory / "models").mkdir()
    assert load(directory, '[model]\nartifact = "models"').model.artifact == directory / "models"
    absolute = directory / "models"
    assert load(directory, f'[model]\nartifact = "{absolute}"').model.artifact == absolute


def test_artifact_that_is_not_there(tmp_path: Path) -> None:
    said = f"model.artifact: {tmp_path / 'artifact'}: does not exist; `telltale train` creates one"
    assert problems(tmp_path, "") == [said]
    assert problems(tmp_path, "[htpp]")[-1] == said, "also when the rest can't be understood"
    assert "gone" in only(tmp_path, "", TELLTALE__MODEL__ARTIFACT="gone")
    assert only(tmp_path, "[model]\nartifact = 3") == "model.artifact: input is not a valid path (found 3)"
    assert len(problems(tmp_path, "model = 3")) == 1
    configfile.load(write(tmp_path, ""), {}, artifact_needed=False)


# --- the environment ---


@pytest.mark.parametrize(
    ("name", "text", "section", "option", "value"),
    [
        ("KAFKA__GROUP_ID", "ward-3", "kafka", "group_id", "ward-3"),
        ("KAFKA__GROUP_ID", "3", "kafka", "group_id", "3"),
        ("INPUT__TOPICS", '["a","b"]', "input", "topics", ["a", "b"]),
        ("INPUT__TOPICS", "a,b", "input", "topics", ["a", "b"]),
        ("INPUT__TOPICS", "7", "input", "topics", ["7"]),
        ("KAFKA__BOOTSTRAP_SERVERS", "a:9092, b:9092,", "kafka", "bootstrap_servers", ["a:9092", "b:9092"]),
        ("INPUT__START", "2026-11-21T08:00:00Z", "input", "start", "2026-11-21T08:00:00Z"),
        ("INPUT__FORMAT", "f32", "input", "format", "f32"),
        ("HTTP__PORT", "0", "http", "port", 0),
        ("OUTPUT__CREATE_TOPICS", "false", "output", "create_topics", False),
        ("MODEL__THRESHOLD", "0.5", "model", "threshold", 0.5),
        ("KAFKA__SSL_CAFILE", "7", "kafka", "ssl_cafile", Path("7")),
        ("OUTPUT__CREATE_TOPICS", "False", "output", "create_topics", False),
        ("LOG__LEVEL", "debug", "log", "level", "debug"),
        ("LOG__LEVEL", "INFO", "log", "level", "info"),
    ],
)
def test_environment_overrides(directory: Path, name: str, text: str, section: str, option: str, value: object) -> None:
    document = '[kafka]\ngroup_id = "file"\nallow_plaintext = true\n[http]\nport = 1'
    loaded = load(directory, document, **{f"TELLTALE__{name}": text})
    assert getattr(getattr(loaded, section), option) == value


@pytest.mark.parametrize("name", ["KAFKA", "KAFKA__GRUOP", "KAFKA__GROUP_ID__X", "KAFAK__GROUP_ID", "__"])
def test_environment_without_such_an_option(directory: Path, name: str) -> None:
    said = only(directory, "", **{f"TELLTALE__{name}": SECRET})
    assert said == f"environment TELLTALE__{name}: no such option; the form is TELLTALE__SECTION__FIELD"


def test_environment_of_a_wrong_type(directory: Path) -> None:
    assert "input.topics.1: " in only(directory, "", TELLTALE__INPUT__TOPICS="a, b c")
    assert "log.level: " in only(directory, "", TELLTALE__LOG__LEVEL="loud")
    assert "http.port" in only(directory, "", TELLTALE__HTTP__PORT="many")
    assert "kafka: " in only(directory, "kafka = 3", TELLTALE__KAFKA__GROUP_ID="a")


def test_other_variables_are_not_ours(directory: Path) -> None:
    load(directory, TELLTALE_DATA="x", TELLTALE_CACHE="y", PATH="z")


# --- secrets ---


SASL = """[kafka]
bootstrap_servers = ["b:9093"]
security_protocol = "SASL_SSL"
sasl_mechanism = "PLAIN"
username = "u"
"""


def test_password_in_the_file_is_refused(directory: Path) -> None:
    said = problems(directory, f'{SASL}password = "{SECRET}"')
    assert said[0] == (
        "kafka.password: secrets don't belong in this file; use password_file or TELLTALE__KAFKA__PASSWORD"
    )
    assert SECRET not in str(said)


@pytest.mark.parametrize("text", [f'[[kafka]]\npassword = "{SECRET}"', f'[kafka]\npasword = "{SECRET}"'])
def test_misplaced_passwords_are_not_printed(directory: Path, text: str) -> None:
    assert SECRET not in only(directory, text)


def test_password_from_the_environment_is_never_shown(directory: Path) -> None:
    loaded = load(directory, SASL, TELLTALE__KAFKA__PASSWORD=SECRET)
    assert loaded.kafka.password.get_secret_value() == SECRET
    for shown in (repr(loaded), str(loaded), loaded.model_dump_json(), repr(loaded.model_dump())):
        assert SECRET not in shown


def test_config_show_hides_secrets(directory: Path) -> None:
    path = write(directory, SASL)
    done = subprocess.run(
        [sys.executable, "-m", "monitor", "config", "show", "--config", str(path)],
        capture_output=True, text=True, timeout=60, check=True, env={"TELLTALE__KAFKA__PASSWORD": SECRET},
    )  # fmt: skip
    assert SECRET not in done.stdout + done.stderr
    assert json.loads(done.stdout)["kafka"]["password"] == "**********"


def test_sasl_needs_its_parts(directory: Path) -> None:
    said = only(directory, '[kafka]\nsecurity_protocol = "SASL_SSL"')
    for part in ("sasl_mechanism is needed", "username is needed", "password_file, or TELLTALE__KAFKA__PASSWORD"):
        assert part in said
    load(directory, f'{SASL}password_file = "/run/secrets/kafka"')


def test_client_certificates_come_with_keys(directory: Path) -> None:
    assert "go together" in only(directory, '[kafka]\nssl_certfile = "a.pem"')


# --- what leaves this machine ---


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "broker", "10.0.0.1", "127.0.0.1.example.org", "localhost.example.org", "127.evil"]
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT"])
def test_plaintext_stays_here(directory: Path, protocol: str) -> None:
    text = SASL.replace("SASL_SSL", protocol) + 'password_file = "p"\n'
    said = only(directory, text)
    assert f"security_protocol {protocol} would send to b:9093 unencrypted" in said
    assert "allow_plaintext = true" in said
    load(directory, text + "allow_plaintext = true")
    load(directory, text.replace("b:9093", "127.0.0.1:9093"))
    assert "localhost.example.org:1" in only(
        directory, text.replace("b:9093", 'localhost:1", "localhost.example.org:1')
    )


@pytest.mark.parametrize("server", ["broker", "broker:", ":9092", "broker:0", "broker:65536", "broker:x"])
def test_servers_are_host_and_port(directory: Path, server: str) -> None:
    assert f"'{server}' is not host:port" in only(directory, f'[kafka]\nbootstrap_servers = ["{server}"]')


def test_http_stays_here(directory: Path) -> None:
    assert "set allow_remote = true" in only(directory, '[http]\nhost = "0.0.0.0"')
    load(directory, '[http]\nhost = "0.0.0.0"\nallow_remote = true')
    load(directory, '[http]\nhost = "::1"')


# --- sections of their own ---


@pytest.mark.parametrize(
    ("start", "milliseconds"),
    [
        ("2026-11-21T08:00:00Z", 1_795_248_000_000),
        ("2026-11-21T09:00:00.250+01:00", 1_795_248_000_250),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_start_at_a_time(directory: Path, start: str, milliseconds: int) -> None:
    assert start_timestamp_ms(load(directory, f'[input]\nstart = "{start}"').input.start) == milliseconds
    assert start_timestamp_ms(load(directory, f"[input]\nstart = {start}").input.start) == milliseconds, "unquoted"


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_start_is_the_same_instant(moment: datetime) -> None:
    found = start_timestamp_ms(moment.isoformat())
    assert found is not None
    assert abs(found - moment.timestamp() * 1000) <= 1


@pytest.mark.parametrize("start", ["latest", "earliest"])
def test_start_at_an_end(directory: Path, start: str) -> None:
    assert load(directory, f'[input]\nstart = "{start}"').input.start == start
    assert start_timestamp_ms(start) is None


@pytest.mark.parametrize(
    "start", ['"newest"', '""', '"2026-11-21T08:00:00"', "2026-11-21", '"1969-12-31T23:59:59Z"', "7"]
)
def test_start_must_be_known(directory: Path, start: str) -> None:
    assert only(directory, f"[input]\nstart = {start}").startswith("input.start: ")


@pytest.mark.parametrize("series", ["key", "header:bed", "field:bed"])
def test_series(directory: Path, series: str) -> None:
    assert load(directory, f'[input]\nseries = "{series}"').input.series == series


def test_series_that_can_not_be(directory: Path) -> None:
    assert "string should match" in only(directory, '[input]\nseries = "header:"')
    problem = only(directory, '[input]\nformat = "f32"\nseries = "field:bed"')
    assert "needs a format whose records name their fields, such as json; f32 records hold numbers only" in problem
    problem = only(directory, '[input]\nformat = "f32"\nlabels = {site = "header:site", line = "field:tags.line"}')
    assert "labels.line = 'field:tags.line' needs a format whose records name their fields" in problem


@pytest.mark.parametrize(
    "text",
    [
        '[input]\ntopics = ["telltale.alerts"]',
        '[output]\nalerts = "telltale.deadletters"',
        '[output]\nstate = "telltale.alerts"',
        '[input]\ntopics = ["telltale.state"]',
        '[kafka]\ngroup_id = "g"\n[output]\nalerts = "g.state"',
    ],
)
def test_topics_have_one_use_each(directory: Path, text: str) -> None:
    assert "is used twice" in only(directory, text)


def test_silence_resolves_nothing_while_samples_wait(directory: Path) -> None:
    assert only(directory, "[input]\ngrace_ms = 5000\n[quality]\nno_data_resolves_after_ms = 4999") == (
        "config: quality.no_data_resolves_after_ms 4999 is below input.grace_ms 5000: incidents of a series would be "
        "resolved while its samples still wait; set it to at least 5000, or to 0, so that silence resolves none"
    )
    assert "3600000 is below input.grace_ms 3600001" in only(directory, "[input]\ngrace_ms = 3_600_001")


@pytest.mark.parametrize(
    "quality",
    [
        "no_data_resolves_after_ms = 5000",
        "no_data_resolves_after_ms = 0",
        "no_data_resolves_after_ms = 1\nno_data = false",
    ],
    ids=["as long", "never", "no_data off"],
)
def test_silence_that_may_resolve(directory: Path, quality: str) -> None:
    assert load(directory, f"[input]\ngrace_ms = 5000\n[quality]\n{quality}").input.grace_ms == 5000


def test_a_topic_is_read_once(directory: Path) -> None:
    assert only(directory, '[input]\ntopics = ["a", "b", "a"]') == "input.topics: topic 'a' is listed twice"


def test_state_topic_is_named_after_the_group() -> None:
    assert Config().state_topic == "telltale.state"
    assert configfile.parse({"kafka": {"group_id": "g"}})[0].state_topic == "g.state"  # type: ignore[union-attr]
    assert configfile.parse({"output": {"state": "s"}})[0].state_topic == "s"  # type: ignore[union-attr]


def test_severities_are_in_order(directory: Path) -> None:
    assert "critical_ratio 1.5 is below error_ratio 2.0" in only(directory, "[alerting]\ncritical_ratio = 1.5")


@given(
    st.dictionaries(
        st.sampled_from([*Config.model_fields, "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(SECRET),
            lambda inner: (
                st.lists(inner) | st.dictionaries(st.sampled_from(["password", "port", "topics", "a"]), inner)
            ),
        ),
    )
)
def test_any_document_is_a_configuration_or_has_problems(document: dict[str, Any]) -> None:
    made, found = configfile.parse(document)
    assert (made is None) == bool(found)
    assert not [line for line in found if "password" in line and SECRET in line]
