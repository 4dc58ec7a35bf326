"""kafka-python's records as columns: the hot path.

Rules of this file: one pass in C per column, no Python statement per record.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from kafka.consumer.fetcher import ConsumerRecord

from monitor.backends.abstract import RecordColumns, TopicPartition

# ConsumerRecord is a named tuple: fetching by index inside map() takes half the time of an attribute in a loop.
_OFFSET, _TIMESTAMP, _KEY, _VALUE, _HEADERS = (
    itemgetter(ConsumerRecord._fields.index(name)) for name in ("offset", "timestamp", "key", "value", "headers")
)


def columns(
    partition: TopicPartition, records: Sequence[Any], next_offset: int, *, want_headers: bool
) -> RecordColumns:
    """The records of one partition as columns; `next_offset` is the client's position after them."""
    count = len(records)
    return RecordColumns(
        partition=partition,
        offsets=np.fromiter(map(_OFFSET, records), np.int64, count),
        timestamps_ms=np.fromiter(map(_TIMESTAMP, records), np.int64, count),
        keys=list(map(_KEY, records)),
        values=list(map(_VALUE, records)),
        next_offset=next_offset,
        headers=list(map(_HEADERS, records)) if want_headers else None,
    )
