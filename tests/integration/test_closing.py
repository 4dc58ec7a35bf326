"""Clients that are closed: by the thread that reads from their sockets, and without an error in the log."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable

import pytest

from monitor.backends.kafka.clients import TopicReader, create_topic, end_offsets
from monitor.backends.kafka.feed import FeedProducer

pytestmark = pytest.mark.kafka


def _consumer(bootstrap: str, topic: str) -> None:
    with TopicReader(bootstrap, topic) as reader:
        reader.poll()


def _producer(bootstrap: str, topic: str) -> None:
    with FeedProducer(bootstrap) as feed:
        feed.send(topic, b"value", b"key", partition=0)
        feed.flush()


def _admin(bootstrap: str, topic: str) -> None:
    assert end_offsets(bootstrap, topic)


@pytest.mark.parametrize("use", [_consumer, _producer, _admin])
def test_sockets_are_closed_by_the_thread_that_reads_them(
    kafka_bootstrap: str, caplog: pytest.LogCaptureFixture, use: Callable[[str, str], None]
) -> None:
    topic = f"closing-{uuid.uuid4().hex[:8]}"
    create_topic(kafka_bootstrap, topic)
    before = set(threading.enumerate())
    caplog.clear()
    caplog.set_level(logging.INFO, logger="kafka")
    use(kafka_bootstrap, topic)
    closed = [record for record in caplog.records if record.getMessage().endswith("Closing transport")]
    # The last one closed is the connection to the broker that bootstrap named; the client's own thread reads from it.
    # Closed in ours, it would be an error with a traceback whenever that thread is about to read.
    assert len(closed) >= 2
    assert closed[-1].thread != threading.get_ident()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert set(threading.enumerate()) == before
