"""One real broker for the whole test run, started by the product's own code."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

import pytest

from monitor.broker.cluster import LocalKafka
from monitor.broker.jars import class_path
from monitor.broker.process import java
from monitor.errors import BrokerError

# Where a broker runs already that the tests may use, so that many short runs need not start one each. It is to have
# the settings NO_RETENTION.
BOOTSTRAP_VARIABLE = "TELLTALE_TEST_BOOTSTRAP"
# Tests write records with times of their own, of 1970 or of last year. Retention goes by them: by default the broker
# deletes records older than a week, 30 s after its start and then every 5 minutes.
NO_RETENTION = {"log.retention.ms": "-1"}


def is_required() -> bool:
    """Whether a broker that does not start is an error (CI) or a reason to skip (at home)."""
    return os.environ.get("TELLTALE_REQUIRE_KAFKA") == "1" or bool(os.environ.get("CI"))


@functools.cache
def require_kafka() -> None:
    """Skip, or in CI fail, where a broker could not be started for want of Java or of the jars."""
    try:
        java()
        class_path(lambda _: None)
    except BrokerError as error:
        if is_required():
            raise
        pytest.skip(f"no broker: {error}")


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`127.0.0.1:PORT` of a broker that all tests share: each takes topics and groups of its own."""
    if running := os.environ.get(BOOTSTRAP_VARIABLE):
        yield running
        return
    kafka = LocalKafka(tmp_path_factory.mktemp("kafka"), port=0, settings=NO_RETENTION)
    try:
        bootstrap_servers = kafka.start()
    except BrokerError as error:
        if is_required():
            raise
        pytest.skip(f"no broker: {error}")
    yield bootstrap_servers
    kafka.stop()
