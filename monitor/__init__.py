"""Telltale: the anomaly monitor for Apache Kafka."""

__version__ = "0.1.0"
