"""Settings, secrets and words of the Kafka backend: what needs no broker."""

from __future__ import annotations

import logging
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kafka import errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from pydantic import SecretStr

from monitor.backends.abstract import NO_STATE, AbortedError, Assigned, Event, Position, Revoked, TopicPartition, settle
from monitor.backends.kafka import settings
from monitor.backends.kafka.faults import explain, unreachable
from monitor.backends.kafka.greeting import RefusedError, Server, greet
from monitor.backends.kafka.position import decode_position, encode_position
from monitor.backends.kafka.topics import STATE, creation_command
from monitor.config.connections import KafkaOptions
from monitor.config.options import Config
from monitor.errors import BackendError, ConfigError, FencedError

CONFIG = Config.model_validate(
    {"service": {"instance": "pump-1"}, "kafka": {"group_id": "pumps", "username": "telltale"}}
)


def sasl(path: Path | None = None) -> KafkaOptions:
    return KafkaOptions(
        security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", username="telltale", password_file=path
    )


def test_a_password_file_is_read_without_its_newline(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("s3cret canary\n", encoding="utf-8")
    path.chmod(0o600)
    assert settings.read_password(sasl(path)) == "s3cret canary"
    connection = settings.connection(sasl(path), "x")
    assert connection["sasl_plain_password"] == "s3cret canary"
    assert connection["ssl_check_hostname"] is True


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_a_password_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "password"
    path.write_text("s3cret canary", encoding="utf-8")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=rf"mode {mode:04o}.*chmod 600") as caught:
        settings.read_password(sasl(path))
    assert "canary" not in str(caught.value)


def test_a_password_file_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        settings.read_password(sasl(tmp_path / "none"))
    path = tmp_path / "password"
    path.touch(mode=0o600)
    with pytest.raises(ConfigError, match="empty"):
        settings.read_password(sasl(path))


def test_timeouts_keep_their_order() -> None:
    for timeout_ms in (10_000, 30_000, 900_000):
        config = Config.model_validate({"kafka": {"transaction_timeout_ms": timeout_ms}})
        producer = settings.transactional(config)
        consumer = settings.member(config, CooperativeStickyAssignor())
        assert producer["request_timeout_ms"] <= producer["transaction_timeout_ms"]
        assert producer["transaction_timeout_ms"] < producer["delivery_timeout_ms"]
        assert producer["transaction_timeout_ms"] < consumer["max_poll_interval_ms"]
        assert consumer["fetch_max_bytes"] < consumer["receive_message_max_bytes"]


def test_names() -> None:
    assert settings.transactional_id(CONFIG) == "pumps/pump-1"
    assert settings.member(CONFIG, CooperativeStickyAssignor())["group_instance_id"] == "pump-1"


def test_the_client_never_logs_payloads() -> None:
    logger = logging.getLogger("kafka")
    before = logger.level
    try:
        logger.setLevel(logging.DEBUG)
        settings.quiet()
        assert logger.level == logging.INFO
        logger.setLevel(logging.ERROR)
        settings.quiet()
        assert logger.level == logging.ERROR
    finally:
        logger.setLevel(before)


@given(st.integers(0, 2**60), st.integers(0, 2**60) | st.just(2**60), st.integers(0, 2**60))
@example(2**60, 2**60, 0)
def test_a_position_survives_its_text(offset: int, replayed: int, state_from: int) -> None:
    """A checkpoint may stand for the offset itself: so it does after every clean stop."""
    position = Position(offset, min(offset, replayed), state_from)
    text = encode_position(position)
    assert len(text) < 100
    assert decode_position(offset, text) == position


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "x", "{}", "[]", "null", "[" * 9999),
        *('{"v":2,"r":1,"s":1}', '{"v":1,"r":11,"s":0}', '{"v":1,"r":-1,"s":0}', '{"v":1,"r":1,"s":-1}'),
        *('{"v":1,"r":true,"s":0}', '{"v":1,"r":1.0,"s":0}', '{"v":1,"r":"1","s":0}'),
    ],
)
def test_foreign_metadata_means_no_state_and_no_replay(text: str | None) -> None:
    assert decode_position(10, text) == Position(10, replay_from=10, state_from=NO_STATE)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (errors.TopicAuthorizationFailedError({"telltale.alerts"}), ConfigError, "--operation Write .*telltale.alerts"),
        (errors.TopicAuthorizationFailedError({"telltale.input"}), ConfigError, "--operation Read .*telltale.input"),
        (errors.GroupAuthorizationFailedError("pumps"), ConfigError, "User:telltale.*--group pumps"),
        (errors.TransactionalIdAuthorizationFailedError(), ConfigError, "--transactional-id pumps/ .*prefixed"),
        (errors.SaslAuthenticationFailedError("no"), AbortedError, "credentials of User:telltale: .*no"),
        (errors.ProducerFencedError(), FencedError, r"service\.instance"),
        (errors.FencedInstanceIdError(), FencedError, r"service\.instance"),
        (errors.InvalidTransactionTimeoutError(), ConfigError, "transaction_timeout_ms"),
        (errors.MessageSizeTooLargeError(), AbortedError, r"max\.message\.bytes"),
        (errors.KafkaTimeoutError("late"), AbortedError, "commit: KafkaTimeoutError: .*late"),
        (errors.CommitFailedError(), AbortedError, "rebalanced"),
        (ValueError("Unrecognized partition 3"), AbortedError, "Unrecognized partition 3"),
    ],
)
def test_every_error_says_who_is_to_blame(error: Exception, kind: type[Exception], words: str) -> None:
    found = explain(error, "commit", CONFIG)
    assert type(found) is kind
    with pytest.raises(kind, match=words):
        raise found


def test_the_transaction_managers_own_reason_counts() -> None:
    found = explain(errors.KafkaError("error state"), "commit", CONFIG, errors.ProducerFencedError())
    assert type(found) is FencedError


@pytest.mark.parametrize(
    ("tried", "kind"),
    [
        ("[Errno 111] refused", BackendError),
        ("certificate verify failed: CERTIFICATE_VERIFY_FAILED", ConfigError),
        ("[SSL: WRONG_VERSION_NUMBER]", ConfigError),
        ("SaslAuthenticationFailedError: bad", ConfigError),
    ],
)
def test_an_unreachable_cluster_is_named(tried: str, kind: type[Exception]) -> None:
    found = unreachable(KafkaOptions(), tried)
    assert type(found) is kind
    assert "127.0.0.1:9092" in str(found)
    assert tried in str(found)


def test_who_answers_in_another_protocol_is_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as connection:
                while connection.recv(1000):
                    connection.sendall(struct.pack(">iib", 5, 0, 0))

        thread = threading.Thread(target=answer)
        thread.start()
        server = Server("127.0.0.1", listener.getsockname()[1], 5.0)
        kafka = KafkaOptions(
            security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN", username="u", password=SecretStr("p")
        )
        with pytest.raises(RefusedError, match=r"not a Kafka broker .*bootstrap_servers"):
            greet(server, kafka)
        thread.join()


def test_the_command_that_creates_the_state_topic() -> None:
    assert creation_command(CONFIG, "pumps.state", 6, STATE).startswith(
        "telltale kafka topics create pumps.state --partitions 6 --set cleanup.policy=compact"
    )


def test_an_assignment_that_was_taken_back_is_not_reported() -> None:
    one, two = TopicPartition("t", 1), TopicPartition("t", 2)
    events: list[Event] = [Assigned(one), Assigned(two), Revoked(one), Revoked(two), Assigned(two)]
    assert settle(events) == (Revoked(one), Revoked(two), Assigned(two))


def test_the_watchdog_ends_a_process_that_hangs() -> None:
    program = (
        "import time\nfrom monitor.backends.kafka.watchdog import Watchdog\n"
        "with Watchdog().armed(0.1, 'commit'):\n    time.sleep(30)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 75
    assert "deadline" in done.stderr


def test_the_watchdog_does_not_count_time_in_which_the_process_was_stopped() -> None:
    program = (
        "import time\nfrom monitor.backends.kafka.watchdog import Watchdog\n"
        "with Watchdog().armed(3.0, 'commit'):\n    print('armed', flush=True)\n    time.sleep(2)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "armed\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        process.send_signal(signal.SIGCONT)
        assert process.wait(20) == 0
