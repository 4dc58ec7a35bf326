"""`telltale kafka topics` on a real broker: the remedies that the daemon names."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from monitor.backends.kafka import create_topic, list_topics
from tests.integration.broker_processes import telltale_kafka

pytestmark = pytest.mark.kafka


@pytest.fixture
def name() -> str:
    return f"topics-{uuid.uuid4().hex[:8]}"


def test_a_topic_is_created_once_and_widened(kafka_bootstrap: str, name: str) -> None:
    where = ("--bootstrap-server", kafka_bootstrap)
    made = telltale_kafka("topics", "create", name, "--partitions", "2", "--set", "retention.ms=1000", *where)
    assert (made.returncode, made.stdout) == (0, f"topic {name}: created, partitions: 2\n"), made.stderr
    again = telltale_kafka("topics", "create", name, "--partitions", "3", *where)
    assert (again.returncode, again.stdout) == (0, f"topic {name}: already exists\n")
    wider = telltale_kafka("topics", "alter", name, "--partitions", "4", "--set", "cleanup.policy=compact", *where)
    assert (wider.returncode, wider.stdout) == (0, f"topic {name}: changed\n"), wider.stderr
    assert list_topics(kafka_bootstrap)[name] == 4
    listed = telltale_kafka("topics", "list", *where)
    assert f"{name}  partitions: 4\n" in listed.stdout


def test_the_topics_of_a_configuration(kafka_bootstrap: str, name: str, tmp_path: Path) -> None:
    """Inputs and outputs, as wide as the input; the state topic is compacted: the daemon takes them as they are."""
    config = tmp_path / "telltale.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = ["{kafka_bootstrap}"]\ngroup_id = "{name}"\n[input]\ntopics = ["{name}.in"]\n'
        f'[output]\nalerts = "{name}.alerts"\ndead_letters = "{name}.dead"\n'
    )
    create_topic(kafka_bootstrap, f"{name}.in", 3)
    made = telltale_kafka("topics", "create", "--config", config)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines() == [
        f"topic {name}.in: already exists",
        *(f"topic {name}.{each}: created, partitions: 3" for each in ("alerts", "dead", "state")),
    ]
    assert list_topics(kafka_bootstrap).keys() >= {f"{name}.{each}" for each in ("in", "alerts", "dead", "state")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["alter", "no-such-topic", "--partitions", "3"], "topic no-such-topic could not be changed: "),
        (["create", "t", "--set", "no.such.setting=1"], "topic t could not be created: "),
        (["create"], "no topic is named; "),
        (["alter", "t"], "nothing to change; "),
    ],
)
def test_what_is_refused(kafka_bootstrap: str, arguments: list[str], said: str) -> None:
    refused = telltale_kafka("topics", *arguments, "--bootstrap-server", kafka_bootstrap)
    assert refused.returncode == 78
    assert refused.stderr.startswith(f"telltale: {said}"), refused.stderr
    assert "Traceback" not in refused.stderr
