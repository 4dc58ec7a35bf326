"""A Kafka client in a process of its own, as a program: create a topic, write records, read records.

The client of these tests meets brokers that are killed; what it leaves open then ends with its process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic


def create(servers: list[str], topic: str, replicas: str) -> None:
    KafkaAdminClient(bootstrap_servers=servers).create_topics([NewTopic(topic, 1, int(replicas))])


def write(servers: list[str], topic: str, *values: str) -> None:
    producer = KafkaProducer(bootstrap_servers=servers, acks="all")
    for value in values:
        producer.send(topic, value.encode()).get(timeout=30)


def read(servers: list[str], topic: str, count: str) -> None:
    values: list[bytes] = []
    consumer = KafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest", group_id=None)
    while len(values) < int(count):
        values.extend(record.value for records in consumer.poll(200).values() for record in records)
    print(b" ".join(values).decode())


def client(verb: str, bootstrap_servers: str, *arguments: str) -> list[str]:
    """Run this file as a program; the words that it says."""
    command = [sys.executable, "-m", "tests.integration.kafka_client", verb, bootstrap_servers, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()


VERBS: dict[str, Callable[..., None]] = {"create": create, "write": write, "read": read}

if __name__ == "__main__":
    VERBS[sys.argv[1]](sys.argv[2].split(","), *sys.argv[3:])
