"""Ends what a dead member left open, so that its successor need not wait until it times out.

A member that dies inside a transaction leaves the offsets of its partitions undecided. The group gives the partitions
away when its session has ended; the transaction stays open for its `transaction.timeout.ms`, and up to the broker's
`transaction.abort.timed.out.transaction.cleanup.interval.ms` longer. Beginning transactions under its id ends it at
once, and fences the member in case it was only suspended: it then starts over (fences.py).

Rules of this file: only members that the group's coordinator no longer knows are fenced, never one that is alive
and has lost a partition to us in a rebalance. Everything else, missing rights included, is left to the timeout.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from monitor.backends.kafka import settings
from monitor.backends.kafka.connecting import connect, discard_producer
from monitor.config.options import Config
from monitor.errors import TelltaleError

_log = logging.getLogger(__name__)
# A member that is alive decides its transaction in milliseconds.
OWNER_PATIENCE_S = 2.0


def end_transactions_of_former_members(admin: Any, config: Config) -> list[str]:
    """Aborts open transactions of members that the group no longer has; their ids. Waits some seconds for brokers."""
    ended: list[str] = []
    gone: list[str] = []
    with _left_to_the_timeout():
        gone = _of_former_members(admin, config)
    for transactional_id in gone:
        with _left_to_the_timeout():
            _end(config, transactional_id)
            ended.append(transactional_id)
    if ended:
        _log.warning("Ended what members left open that the group no longer has.", extra={"transactions": ended})
    return ended


@contextmanager
def _left_to_the_timeout() -> Iterator[None]:
    try:
        yield
    except (KafkaError, TelltaleError) as error:
        _log.warning("A dead member's transaction must time out by itself.", extra={"reason": str(error)})


def _of_former_members(admin: Any, config: Config) -> list[str]:
    """Transactional ids. Open transactions first, then members: one that began in between is not in the first list."""
    prefix = settings.transactional_id_prefix(config)
    found = admin.list_transactions(state_filters=["Ongoing"])
    opened = [each.transactional_id for listed in found.values() for each in listed]
    group = admin.describe_groups([config.kafka.group_id])[config.kafka.group_id]
    present = {member["group_instance_id"] for member in group["members"]}
    # A group that does not list us does not show who else is gone.
    if settings.identity(config) not in present:
        return []
    names = [(each, each.removeprefix(prefix)) for each in opened if each.startswith(prefix)]
    # What can't be a member's name is another program's id.
    return [each for each, name in names if settings.IDENTITY.fullmatch(name) and name not in present]


def _end(config: Config, transactional_id: str) -> None:
    options = settings.transactional(config) | {"transactional_id": transactional_id}
    producer = connect(KafkaProducer, config.kafka, options)
    try:
        producer.init_transactions()
    finally:
        discard_producer(producer)
