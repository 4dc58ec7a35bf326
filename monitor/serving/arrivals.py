"""Logs how partitions are taken over, where that is not exactly where they were left."""

from __future__ import annotations

import structlog

from monitor.backends.abstract import Restored, TopicPartition
from monitor.processing.resuming import How, Resumed
from monitor.serving.telemetry import Vitals

log = structlog.get_logger("telltale")

# What is logged when a partition is not taken over where it was left, and what an operator can do.
RESUMED_TEXTS = {
    How.TOPIC_RECREATED: "The input topic was deleted and recreated; it is read from its beginning, and open incidents "
    "are resolved. Records of the old topic that were not processed are lost.",
    How.OFFSET_MISSING: "The group's offset expired or was deleted; continuing from the last checkpoint in the state "
    "topic; records after it are processed again. Raise the brokers' offsets.retention.minutes, or use another group "
    "to start over.",
    How.BEYOND_END: "The log ends before the group's offset; continuing as input.beyond_end says.",
}


def say_how(partition: TopicPartition, resumed: Resumed, restored: Restored, vitals: Vitals) -> None:
    """Logs and counts what an operator has to know; nothing where a partition is taken over as it was left."""
    where = {"partition": str(partition), "offset": resumed.live_from}
    if resumed.how in RESUMED_TEXTS:
        log.error(RESUMED_TEXTS[resumed.how], **where, beginning=restored.beginning, end=restored.end)
    elif resumed.how is How.PARTITION_ADDED:
        log.info("A partition was added to the topic; it is read from its beginning.", **where)
    if resumed.deleted:
        vitals.records_lost += resumed.deleted
        text = "Retention deleted records before they were read; raise retention.ms of the topic."
        log.error(text, **where, records=resumed.deleted)
    if resumed.state_lost:
        vitals.starts_without_state += 1
        log.error("Windows start empty.", partition=str(partition), reason=resumed.state_lost)
    if resumed.unreadable:
        log.error(
            "Incidents in the state can't be read and were omitted: no alert will resolve them, and a series that "
            "is still anomalous opens another one.",
            partition=str(partition),
            incidents=len(resumed.unreadable),
            reason=resumed.unreadable[0],
        )
