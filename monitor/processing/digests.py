"""Where thousands of series have the same problem at once: a few alerts, and one digest that names all others.

Of a partition, a rule and a status, the first `MOST` alerts of data quality within one minute of the partition's time
are published by themselves. The others are collected, and published together when time has passed that minute: at a
record, or at a tick. Their incidents live on as if each had been published.

Rules of this file: pure. What is collected is state, written in the commit in which it is; so nothing is lost or
repeated between. Records hold what was added since the last commit, and never change until the minute is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from monitor.backends.abstract import StateRecord, TopicPartition
from monitor.detector.times import FOREVER_US
from monitor.messages.quality import Collected, Member, QualityAlert, member_of
from monitor.processing.snapshots import partition_name

MOST = 10
MINUTE_US = 60_000_000
# About the size of what one message names: Kafka's limit is 1 MiB by default.
PART_BYTES = 500_000
_MEMBER_BYTES = 250
StateChange = tuple[TopicPartition, bytes, bytes | None]


class _Tally(msgspec.Struct, frozen=True, kw_only=True):
    """A minute (minutes since 1970), the ids of alerts published by themselves, and how many records follow."""

    minute: int
    published: list[tuple[str, str, list[str]]]
    parts: int


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    minute: int
    members: list[tuple[str, str, Member]]


class Digests:
    """What of one partition is published by itself, and what is collected."""

    def __init__(self, name: TopicPartition) -> None:
        self._name = name
        self._minute = 0
        self._published: dict[tuple[str, str], list[str]] = {}
        self._members: dict[tuple[str, str], dict[str, Member]] = {}
        self._new: list[tuple[str, str, Member]] = []  # since the last commit
        self._parts: list[bytes] = []  # as they were written
        self._gone = 0  # records of an earlier minute that are to be deleted
        self._changed = False

    @property
    def due_us(self) -> int:
        """The partition's time at which what is collected is published; `FOREVER_US`: nothing is."""
        return (self._minute + 1) * MINUTE_US if self._members else FOREVER_US

    def admits(self, alert: QualityAlert, now_us: int) -> bool:
        """Whether an alert is published by itself; else it is collected. First take what is due at `now_us`."""
        data = alert.data
        kind, minute = (data.rule, data.status), now_us // MINUTE_US
        if minute > self._minute and not self._members:
            self._begin(minute)
        published = self._published.setdefault(kind, [])
        if alert.id in published or len(published) < MOST:
            published += [alert.id] if alert.id not in published else []
            self._changed = True
            return True
        members = self._members.setdefault(kind, {})
        if data.fingerprint not in members:
            members[data.fingerprint] = member_of(alert)
            self._new.append((*kind, members[data.fingerprint]))
            self._changed = True
        return False

    def take_due(self, now_us: int) -> Iterator[Collected]:
        """What was collected in a minute that is over at `now_us`, in messages of moderate size."""
        if now_us < self.due_us:
            return
        minute_us = self._minute * MINUTE_US
        for (rule, status), members in sorted(self._members.items()):
            parts = [*_split([*members.values()])]
            for number, part in enumerate(parts, 1):
                yield Collected(rule, status, minute_us, minute_us + MINUTE_US, number, len(parts), len(members), part)
        self._begin(now_us // MINUTE_US)

    def _begin(self, minute: int) -> None:
        self._changed |= bool(self._published)
        self._gone = max(self._gone, len(self._parts))
        self._minute = minute
        self._published, self._members, self._new, self._parts = {}, {}, [], []

    def changes(self) -> list[StateChange]:
        """The records that say what has changed since the last call."""
        if not self._changed:
            return []
        known = len(self._parts)
        for part in _split([each for *_, each in self._new]):
            kinds = self._new[: len(part)]
            self._new = self._new[len(part) :]
            self._parts.append(msgspec.json.encode(_Part(minute=self._minute, members=kinds)))
        self._changed = False
        changes: list[StateChange] = [(self._name, self._key("tally"), self._tally())]
        changes += [(self._name, self._key(number), self._parts[number]) for number in range(known, len(self._parts))]
        changes += [(self._name, self._key(number), None) for number in range(len(self._parts), self._gone)]
        self._gone = 0
        return changes

    def _tally(self) -> bytes | None:
        if not self._published:
            return None
        published = [(*kind, ids) for kind, ids in sorted(self._published.items())]
        return msgspec.json.encode(_Tally(minute=self._minute, published=published, parts=len(self._parts)))

    def checkpoint(self) -> list[tuple[bytes, bytes]]:
        """All records that there are."""
        tally = self._tally()
        parts = [(self._key(number), part) for number, part in enumerate(self._parts)]
        return [(self._key("tally"), tally), *parts] if tally is not None else []

    def restore(self, records: Iterable[StateRecord]) -> None:
        """Puts back what was written; what can't be read is as good as not there."""
        prefix = self._key("")
        mine = {record.key.removeprefix(prefix): record.value for record in records if record.key.startswith(prefix)}
        try:
            tally = msgspec.json.decode(mine[b"tally"], type=_Tally)
            raw = [mine[str(number).encode()] for number in range(tally.parts)]
            parts = [msgspec.json.decode(part, type=_Part) for part in raw]
        except (KeyError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        self._minute, self._parts = tally.minute, raw
        self._published = {(rule, status): ids for rule, status, ids in tally.published}
        for rule, status, member in (each for part in parts for each in part.members):
            self._members.setdefault((rule, status), {})[member.fingerprint] = member

    def _key(self, part: int | str) -> bytes:
        return b"/".join((b"digest", partition_name(self._name), str(part).encode()))


def _split(members: Sequence[Member]) -> Iterator[list[Member]]:
    """`members` in lists of about `PART_BYTES`."""
    part: list[Member] = []
    size = 0
    for member in members:
        size += _MEMBER_BYTES + 2 * len(member.series.encode()) + 2 * len((member.channel or "").encode())
        part.append(member)
        if size >= PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
