"""Where real producers put things: values of options of `input`, by the name of a mapping (`input.mapping`).

What the configuration says itself wins over these. Each has an example in `tests/unit/test_mappings.py`, from the
producer's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

MAPPINGS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # data_format = "json" of Telegraf's outputs, one metric a record or batches of them
        "telegraf": {
            "entries": "metrics",
            "channels": {"*": "fields.*"},
            "series": "field:tags.host",
            "timestamp_field": "timestamp",
            "partial_records": True,
        },
        # Debezium's change events, with or without schemas; the row as it is after the change
        "debezium": {
            "connect_envelope": True,
            "entries": "after",
            "timestamp_field": "source.ts_ms",
        },
        # Kafka Connect's JsonConverter, with or without schemas
        "connect": {"connect_envelope": True},
        # CloudEvents 1.0 in JSON, structured or binary
        "cloudevents": {
            "entries": "data",
            "series": "field:subject",
            "series_header": "ce_subject",
            "timestamp_field": "time",
            "timestamp_header": "ce_time",
            "format_header": "content-type",
        },
        # Payloads of Sparkplug B as JSON, as bridges from MQTT write them
        "sparkplug-json": {
            "entries": "metrics",
            "channel_field": "name",
            # without int_value: negative numbers stand there as large ones, and only the datatype says so
            "value_field": ["value", "double_value", "float_value", "doubleValue", "floatValue"],
            "quality_field": ["is_null", "isNull"],
            "good_quality": [False],
            "timestamp_field": "timestamp",
        },
        # The standard template of KEPServerEX's IoT Gateway
        "kepserverex": {
            "entries": "values",
            "channel_field": "id",
            "value_field": "v",
            "quality_field": "q",
            "timestamp_field": "t",
        },
    }
)
