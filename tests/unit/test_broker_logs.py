"""Causes out of logs. The logs are from real brokers, shortened."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.broker import logs

PORT = """\
[2026-01-01 10:00:00,000] INFO Starting controller (kafka.server.ControllerServer)
[2026-01-01 10:00:01,000] ERROR [BrokerServer id=1] Fatal error during broker startup. (kafka.server.BrokerServer)
org.apache.kafka.common.KafkaException: Failed to bind to 127.0.0.1:9092: Address already in use.
\tat org.apache.kafka.server.network.Endpoints.open(Endpoints.java:100)
\tat kafka.Kafka.main(Kafka.scala)
Caused by: java.net.BindException: Address already in use
\tat java.base/sun.nio.ch.Net.bind0(Native Method)
\t... 10 more
[2026-01-01 10:00:01,100] INFO [BrokerServer id=1] shutting down (kafka.server.BrokerServer)
[2026-01-01 10:00:01,200] WARN something else (x)
not of an error
"""
HEAP = """\
Error occurred during initialization of VM
Could not reserve enough space for 524288KB object heap
"""
NATIVE = """\
#
# There is insufficient memory for the Java Runtime Environment to continue.
# Native memory allocation (mmap) failed to map 12345 bytes
"""
OUT = """\
[2026-01-01 10:00:00,000] INFO Starting controller (kafka.server.ControllerServer)
Terminating due to java.lang.OutOfMemoryError: Java heap space
"""


def test_errors_without_their_stacks() -> None:
    assert logs.cause(PORT).splitlines() == [
        "    [BrokerServer id=1] Fatal error during broker startup. (kafka.server.BrokerServer)",
        "    org.apache.kafka.common.KafkaException: Failed to bind to 127.0.0.1:9092: Address already in use.",
        "    Caused by: java.net.BindException: Address already in use",
        "  Another program has the port: choose another with --port, or --port 0 for a free one.",
    ]


@pytest.mark.parametrize("text", [HEAP, NATIVE, OUT])
def test_javas_own_words_about_memory(text: str) -> None:
    assert text.splitlines()[-1].lstrip("# ")[:20] in logs.cause(text) or "insufficient memory" in logs.cause(text)
    assert "choose another --heap" in logs.cause(text)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("java.io.IOException: No space left on device", "free space"),
        ("java.nio.file.AccessDeniedException: /data/x", "name another one with --data"),
        ("org.apache.kafka.common.KafkaException: Failed to acquire lock on file .lock in /data", "Another Kafka"),
        ("ConfigException: Invalid value x for configuration y", "--set"),
    ],
)
def test_remedies(line: str, remedy: str) -> None:
    assert remedy in logs.cause(f"[2026-01-01 10:00:01,000] ERROR failed (x)\n{line}\n")


def test_without_an_error_the_last_lines_are_given() -> None:
    text = "".join(f"[2026-01-01 10:00:00,{n:03}] INFO line {n} (x)\n" for n in range(100))
    assert [line.split()[-2] for line in logs.cause(text).splitlines()] == [str(n) for n in range(92, 100)]
    assert logs.cause("") == logs.cause("\n\n") == ""


def test_a_long_story_is_cut() -> None:
    text = "".join(f"[2026-01-01 10:00:00,{n:03}] ERROR {n} {'x' * 1000} (x)\n" for n in range(100))
    lines = logs.cause(text).splitlines()
    assert len(lines) == logs.QUOTED_LINES
    assert max(map(len, lines)) == logs.QUOTED_WIDTH + 4
    assert lines[0].startswith("    0 "), "the first error is the cause, the others follow from it"


def test_only_what_was_written_since(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\nnew\n")
    assert logs.read_since(log, 4) == "new\n"
    assert logs.read_since(log, 100) == "old\nnew\n", "it was rotated since"
    assert logs.read_since(tmp_path / "absent", 0) == ""
