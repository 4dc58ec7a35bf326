"""What a broker with TLS and passwords refuses is said at once, in words to act on; the right settings work."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import time
import tomllib
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient, ScramMechanism, UserScramCredentialDeletion, UserScramCredentialUpsertion

from monitor.backends.abstract import AbortedError
from monitor.backends.kafka import FeedProducer, KafkaBackend, check_access, create_topic, read_topic
from monitor.broker.certificates import Authority
from monitor.broker.cluster import LocalKafka
from monitor.broker.security import USER, directory, password
from monitor.broker.state import load
from monitor.config.connections import KafkaOptions
from monitor.config.options import Config
from monitor.detector import storage
from monitor.errors import BrokerError, ConfigError
from tests.acceptance.daemon_process import TELLTALE, DaemonProcess, toml
from tests.contract.turns import Turns
from tests.helpers import make_artifact
from tests.kafka_fixture import require_kafka

pytestmark = pytest.mark.kafka

NO_SASL: dict[str, Any] = {"sasl_mechanism": None, "username": None, "password_file": None}


@dataclass(frozen=True)
class Secured:
    """A broker with `--secure`, what lies beside it, and the section [kafka] that it wrote."""

    kafka: LocalKafka
    place: Path
    good: dict[str, Any]
    servers: dict[str, list[str]]
    made: dict[str, Path] = field(default_factory=dict)

    def settings(self, changes: dict[str, Any]) -> dict[str, Any]:
        """`good` with changes: None takes an option out, {name} in a text is a file or listener of ours."""
        files = {name: str(path) for name, path in self.made.items()} | {
            path.name.replace(".", "_"): str(path) for path in self.place.iterdir()
        }
        said = {name: value.format(**files) if isinstance(value, str) else value for name, value in changes.items()}
        if listener := said.pop("listener", None):
            said["bootstrap_servers"] = self.servers[listener]
        return {name: value for name, value in (self.good | said).items() if value is not None}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    require_kafka()
    data = tmp_path_factory.mktemp("secure")
    made = {"wrong_password": data / "wrong", "strange_pem": data / "strange.pem", "strange_key": data / "strange.key"}
    with LocalKafka(data / "kafka", port=0, secure=True) as kafka, Authority("another") as strange:
        place = directory(data / "kafka")
        state = load(data / "kafka")
        assert state is not None
        (broker,) = state.brokers
        certificate = strange.issue("telltale")
        for path, content in zip(made.values(), ("wrong\n", certificate.chain, certificate.key), strict=True):
            path.write_text(content)
            path.chmod(0o600)
        ports = {"plain": broker.port, "password": broker.sasl_port, "certificate": broker.tls_port}
        servers = {name: [f"127.0.0.1:{port}"] for name, port in ports.items()}
        yield Secured(kafka, place, tomllib.loads((place / "kafka.toml").read_text())["kafka"], servers, made)


CERTIFICATE: dict[str, Any] = NO_SASL | {"listener": "certificate", "security_protocol": "SSL"}
# What is changed, and words of the message
WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "password": (
        {"password_file": "{wrong_password}"},
        ["credentials of user 'telltale' are refused (SCRAM-SHA-512)", "kafka.password_file"],
    ),
    "password, PLAIN": (
        {"password_file": "{wrong_password}", "sasl_mechanism": "PLAIN"},
        ["credentials of user 'telltale' are refused (PLAIN)", "kafka.password_file"],
    ),
    "unknown user": ({"username": "nobody"}, ["credentials of user 'nobody' are refused", "kafka.username"]),
    "mechanism": (
        {"sasl_mechanism": "SCRAM-SHA-256"},
        ["does not take kafka.sasl_mechanism SCRAM-SHA-256", "SCRAM-SHA-512, PLAIN"],
    ),
    "no TLS to a listener with it": (
        NO_SASL | {"security_protocol": "PLAINTEXT"},
        ["the listener speaks TLS", "kafka.security_protocol"],
    ),
    "no TLS but SASL to a listener with both": (
        {"security_protocol": "SASL_PLAINTEXT"},
        ["the listener speaks TLS", "kafka.security_protocol to SASL_SSL"],
    ),
    "no SASL to a listener with it": (
        NO_SASL | {"security_protocol": "SSL"},
        ["the listener asks for SASL (SCRAM-SHA-512, PLAIN)", "kafka.security_protocol to SASL_SSL"],
    ),
    "TLS to a listener without": (
        {"listener": "plain"},
        ["the listener does not use TLS", "kafka.security_protocol to SASL_PLAINTEXT"],
    ),
    "SASL to a listener without": (
        {"listener": "plain", "security_protocol": "SASL_PLAINTEXT"},
        ["the listener does not use SASL", "kafka.security_protocol to PLAINTEXT"],
    ),
    "SASL to a listener with certificates": (
        {"listener": "certificate", "ssl_certfile": "{client_pem}", "ssl_keyfile": "{client_key}"},
        ["the listener does not use SASL", "kafka.security_protocol to SSL"],
    ),
    "no client certificate": (
        CERTIFICATE,
        ["asks for a client certificate", "kafka.ssl_certfile and kafka.ssl_keyfile"],
    ),
    "foreign client certificate": (
        CERTIFICATE | {"ssl_certfile": "{strange_pem}", "ssl_keyfile": "{strange_key}"},
        ["client certificate of kafka.ssl_certfile is refused", "authority that the broker trusts"],
    ),
    "no authority": ({"ssl_cafile": None}, ["by an authority that is not trusted here", "kafka.ssl_cafile"]),
    "another authority": ({"ssl_cafile": "{strange_pem}"}, ["by an authority that is not trusted", "kafka.ssl_cafile"]),
}


def run(directory: Path, kafka: dict[str, Any]) -> tuple[int, str, float]:
    """`telltale run` until it ends: its exit code, what it said, how long it took."""
    storage.save(make_artifact(kind="record", length=4), directory / "artifact")
    document = {"kafka": kafka, "model": {"artifact": str(directory / "artifact")}, "http": {"port": 0}}
    (directory / "telltale.toml").write_text(toml(document))
    begun = time.monotonic()
    done = subprocess.run(
        [*TELLTALE, "run", "--config", str(directory / "telltale.toml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, time.monotonic() - begun


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_refused_is_said_at_once(secured: Secured, wrong: str, tmp_path: Path) -> None:
    changes, words = WRONG[wrong]
    kafka = secured.settings(changes)
    code, said, seconds = run(tmp_path, kafka)
    assert code == 78, said
    assert seconds < 10
    assert f"Kafka at {kafka['bootstrap_servers'][0]}: " in said
    for word in words:
        assert word in said
    assert "Traceback" not in said
    assert password(secured.kafka.data_dir) not in said


def test_a_broker_that_is_down_is_no_mistake_of_ours(secured: Secured, tmp_path: Path) -> None:
    code, said, _ = run(tmp_path, secured.good | {"bootstrap_servers": ["127.0.0.1:1"]})
    assert (code, "can't reach Kafka at 127.0.0.1:1" in said) == (75, True), said


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sasl_mechanism": "PLAIN"},
        CERTIFICATE | {"ssl_certfile": "{client_pem}", "ssl_keyfile": "{client_key}"},
        NO_SASL | {"listener": "plain", "security_protocol": "PLAINTEXT"},
    ],
)
def test_the_right_settings_pass(secured: Secured, changes: dict[str, Any]) -> None:
    check_access(KafkaOptions.model_validate(secured.settings(changes)))


def test_an_alert_over_tls_with_a_password(secured: Secured, tmp_path: Path) -> None:
    topic = f"in.{uuid.uuid4().hex[:8]}"
    kafka = KafkaOptions.model_validate(secured.good)
    create_topic(kafka, topic)
    storage.save(make_artifact(kind="record", length=4, threshold=0.5), tmp_path / "artifact")
    document = {
        "kafka": secured.good | {"group_id": topic, "session_timeout_ms": 6000},
        "input": {"topics": [topic], "start": "earliest"},
        "output": {"alerts": f"{topic}.alerts", "dead_letters": f"{topic}.dead"},
        "model": {"artifact": str(tmp_path / "artifact")},
    }
    with DaemonProcess(tmp_path, document).start() as daemon, FeedProducer(kafka) as producer:
        producer.send(topic, b"[9, 9, 9, 9]", b"tank")
        producer.flush()
        (alert, *_) = read_topic(kafka, f"{topic}.alerts", until=bool, timeout_s=30)
        assert json.loads(alert.value or b"")["subject"] == "tank"
        assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("hosts", "starting", "words"),
    [
        (["127.0.0.1"], "-3d", ["certificate has expired", "renew it"]),
        (["kafka.example"], "-1d", ["certificate is not for 127.0.0.1", "kafka.bootstrap_servers"]),
        (["127.0.0.1"], "+2d", ["not valid yet", "clock"]),
    ],
)
def test_a_certificate_that_is_not_right_is_told(
    hosts: list[str], starting: str, words: list[str], tmp_path: Path
) -> None:
    with Authority() as authority, socket.create_server(("127.0.0.1", 0)) as listener:
        certificate = authority.issue("broker", hosts, days=1, starting=starting)
        (tmp_path / "ca.pem").write_text(authority.certificate)
        (tmp_path / "server.pem").write_text(certificate.key + certificate.chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem")

        def serve() -> None:
            plain, _ = listener.accept()
            with plain, pytest.raises(OSError, match="alert"):
                context.wrap_socket(plain, server_side=True).recv(1)

        server = threading.Thread(target=serve)
        server.start()
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ConfigError) as caught:
            check_access(
                KafkaOptions(bootstrap_servers=[where], security_protocol="SSL", ssl_cafile=tmp_path / "ca.pem")
            )
        server.join(10)
    for word in (where, *words):
        assert word in str(caught.value)


def change_user(bootstrap_servers: str, secret: str | None) -> None:
    """Gives the user `telltale` this password; None takes the user away."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    with closing(admin):
        change: Any = UserScramCredentialDeletion(USER, ScramMechanism.SCRAM_SHA_512)
        if secret is not None:
            change = UserScramCredentialUpsertion(USER, ScramMechanism.SCRAM_SHA_512, secret)
        admin.alter_user_scram_credentials([change])


@pytest.mark.slow
def test_credentials_that_become_wrong_while_we_run(tmp_path: Path) -> None:
    """For a moment: nothing ends. For a minute: status 78, and contact was lost with the reason before."""
    topic = f"in.{uuid.uuid4().hex[:8]}"
    storage.save(make_artifact(kind="record", length=4, threshold=0.5), tmp_path / "artifact")
    again = {"connections.max.reauth.ms": "3000"}
    with LocalKafka(tmp_path / "kafka", port=0, secure=True, settings=again) as kafka:
        good = tomllib.loads((directory(tmp_path / "kafka") / "kafka.toml").read_text())["kafka"]
        document = {
            "kafka": good | {"group_id": topic, "session_timeout_ms": 6000},
            "input": {"topics": [topic], "start": "earliest"},
            "output": {"alerts": f"{topic}.alerts", "dead_letters": f"{topic}.dead"},
            "model": {"artifact": str(tmp_path / "artifact")},
        }
        create_topic(kafka.bootstrap_servers, topic)
        with DaemonProcess(tmp_path, document).start() as daemon, FeedProducer(kafka.bootstrap_servers) as producer:

            def lost() -> list[str]:
                return [each["reason"] for each in daemon.events() if each["event"] == "Contact with Kafka lost."]

            change_user(kafka.bootstrap_servers, None)
            daemon.wait_until(lost, "contact is lost")
            assert "credentials of user 'telltale' are refused" in lost()[0]
            change_user(kafka.bootstrap_servers, password(tmp_path / "kafka"))
            producer.send(topic, b"[9, 9, 9, 9]", b"tank")
            producer.flush()
            assert read_topic(kafka.bootstrap_servers, f"{topic}.alerts", until=bool, timeout_s=90)
            daemon.wait_until(lambda: daemon.get("/readyz")[0] == 200, "ready again")
            change_user(kafka.bootstrap_servers, None)
            assert daemon.wait(150) == 78
        said = daemon.log_text()
        assert "credentials of user 'telltale' are refused (SCRAM-SHA-512)" in said
        assert password(tmp_path / "kafka") not in daemon.log_path.read_text()


def test_one_refusal_while_we_run_is_tried_again(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a password that is being changed: whether a refusal lasts is the sentinel's to find out."""
    topic = f"in.{uuid.uuid4().hex[:8]}"
    create_topic(KafkaOptions.model_validate(secured.good), topic)
    config = Config.model_validate({"kafka": secured.good | {"group_id": topic}, "input": {"topics": [topic]}})
    monkeypatch.setattr("monitor.backends.kafka.backend._RECOVER_DEADLINE_S", 1.0)
    backend = KafkaBackend(config)
    with closing(backend):
        turns = Turns(backend)
        backend.start()
        turns.until(lambda: len(turns.owned) == 1)
        (partition,) = turns.owned
        change_user(secured.servers["plain"][0], None)
        try:
            with pytest.raises(AbortedError, match="did not let us begin transactions"):
                backend.recover()
            backend._reader().close()
            with pytest.raises(AbortedError, match="restore: can't reach Kafka"):
                backend.restore(partition)
            backend._renew = True
            with pytest.raises(AbortedError, match="recover: can't reach Kafka"):
                backend.recover()
        finally:
            change_user(secured.servers["plain"][0], password(secured.kafka.data_dir))
        turns.recover()
        turns.until(lambda: len(turns.owned) == 1)


def test_secrets_are_the_users_alone(secured: Secured) -> None:
    assert secured.place.stat().st_mode & 0o077 == 0
    secret = password(secured.kafka.data_dir)
    for path in secured.kafka.data_dir.rglob("*"):
        if path.is_file() and secret.encode() in path.read_bytes():
            assert path.stat().st_mode & 0o077 == 0, path
    assert not list(secured.kafka.data_dir.rglob("*.arguments"))


def test_a_second_start_finds_what_the_first_one_made(secured: Secured) -> None:
    before = {path.name: path.read_bytes() for path in secured.place.iterdir()}
    secured.kafka.restart()
    check_access(KafkaOptions.model_validate(secured.good))
    assert {path.name: path.read_bytes() for path in secured.place.iterdir()} == before
    with pytest.raises(BrokerError, match="--secure"):
        LocalKafka(secured.kafka.data_dir, secure=False).start()
