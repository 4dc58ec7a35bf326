"""Apache Kafka behind the `Backend` contract; the only package of the product that imports kafka-python."""

from monitor.backends.kafka.backend import KafkaBackend
from monitor.backends.kafka.clients import (
    TopicReader,
    TopicRecord,
    alter_topic,
    create_topic,
    delete_topic,
    end_offsets,
    list_topics,
    read_topic,
)
from monitor.backends.kafka.connecting import check_access
from monitor.backends.kafka.feed import FeedProducer, partition_of

__all__ = [
    "FeedProducer",
    "KafkaBackend",
    "TopicReader",
    "TopicRecord",
    "alter_topic",
    "check_access",
    "create_topic",
    "delete_topic",
    "end_offsets",
    "list_topics",
    "partition_of",
    "read_topic",
]
