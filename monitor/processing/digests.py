"""Where many series have the same problem at once: one digest that names all of them, or a few alerts.

Of a partition, a rule and a status, the first `MOST` alerts of data quality within one minute of the partition's time
are published by themselves. The others are collected, and published together when that minute is over.

Silence is of many series at once more often than of one, so its alerts wait for others like them: for an eighth of the
limit of the first. Then one digest names them, if they are more than `MOST`, or all series of the partition; else each
has an alert of its own. They wait no longer than until all series are silent, or all are back.

Nothing is published of an incident before its first alert: while that waits, the others wait with it.

Rules of this file: pure. What waits is state, written in the commit in which it is; so nothing is lost or repeated
between. Their incidents live on as if each had been published. Records hold what was added since the last commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from monitor.backends.abstract import StateRecord, TopicPartition
from monitor.detector.times import FOREVER_US, NEVER_US
from monitor.messages.quality import Collected, Member, QualityAlert, member_of
from monitor.processing.snapshots import partition_name

MOST = 10
MINUTE_US = 60_000_000
# For which part of their threshold, in seconds, alerts of a rule wait for others, and for how long at most.
WAITS = {"no_data": 8}
LONGEST_US = 10 * MINUTE_US
_STATUSES = ("firing", "update", "resolved")  # in the order in which they are published
# About the size of what one message names: Kafka's limit is 1 MiB by default.
PART_BYTES = 500_000
_MEMBER_BYTES = 250
Kind = tuple[str, str]  # rule and status
StateChange = tuple[TopicPartition, bytes, bytes | None]


class _Waiting(msgspec.Struct, kw_only=True):
    """Alerts of a kind that wait, as a record: from when to when, the first of them, and how many parts follow."""

    begun_us: int
    until_us: int
    alerts: list[QualityAlert] = []
    parts: int = 0


class _Tally(msgspec.Struct, frozen=True, kw_only=True):
    """A minute (minutes since 1970), the ids of alerts published by themselves in it, and what waits."""

    minute: int
    published: list[tuple[str, str, list[str]]]
    waiting: list[tuple[str, str, _Waiting]]


class _Group:
    """What waits of one kind, and its records."""

    def __init__(self, waiting: _Waiting) -> None:
        self.waiting = waiting
        self.members: dict[str, Member] = {}  # by fingerprint
        self._new: list[Member] = []  # since the last commit
        self.parts: list[bytes] = []  # as they were written

    def add(self, alert: QualityAlert) -> None:
        fingerprint = alert.data.fingerprint
        if fingerprint in self.members:
            return
        self.members[fingerprint] = member_of(alert)
        self._new.append(self.members[fingerprint])
        if len(self.members) <= MOST:
            self.waiting.alerts.append(alert)

    def write(self) -> None:
        """Writes down what is new."""
        self.parts += [msgspec.json.encode(part) for part in _split(self._new)]
        self._new, self.waiting.parts = [], len(self.parts)

    @classmethod
    def read(cls, waiting: _Waiting, parts: list[bytes]) -> _Group:
        found = cls(waiting)
        found.parts = parts
        members = (member for part in parts for member in msgspec.json.decode(part, type=list[Member]))
        found.members = {member.fingerprint: member for member in members}
        return found


class Digests:
    """What of one partition is published by itself, and what is collected."""

    def __init__(self, name: TopicPartition) -> None:
        self._name = name
        self._minute = 0
        self._published: dict[Kind, list[str]] = {}
        self._groups: dict[Kind, _Group] = {}
        self._gone: Counter[Kind] = Counter()  # how many records of what waits no more are to be deleted
        self._changed = False
        self.open: Counter[str] = Counter()  # incidents by rule, their alerts being published, waiting or held back

    @property
    def due_us(self) -> int:
        """The partition's time at which what waits first is published; `FOREVER_US`: nothing waits."""
        return min((group.waiting.until_us for group in self._groups.values()), default=FOREVER_US)

    def note(self, alert: QualityAlert) -> None:
        """An incident begins or ends, whether that is published or held back. Next, `put` it, if it is published."""
        if alert.data.status != "update":
            begins = alert.data.status == "firing"
            self.open[alert.data.rule] = max(0, self.open[alert.data.rule] + (1 if begins else -1))

    def put(self, alert: QualityAlert, now_us: int, series: int) -> Iterator[QualityAlert | Collected]:
        """Takes an alert in; what is to be published now, where the partition has that many series.

        First take what is due at `now_us`.
        """
        kind = rule, _ = alert.data.rule, alert.data.status
        self._come_to(now_us)
        published, wait_us, behind_us = self._published.get(kind, []), _wait_us(alert), self._behind_us(alert)
        waits = wait_us or behind_us > now_us or kind in self._groups or len(published) >= MOST
        if alert.id in published or not waits:
            yield self._publish(kind, alert)
            return
        if kind not in self._groups:
            until_us = now_us + wait_us
            if len(published) >= MOST:
                until_us = max(until_us, (self._minute + 1) * MINUTE_US)
            self._groups[kind] = _Group(_Waiting(begun_us=now_us, until_us=until_us))
        group = self._groups[kind]
        group.waiting.until_us = max(group.waiting.until_us, behind_us)
        group.add(alert)
        self._changed = True
        if rule in WAITS and self._is_complete(kind, series):
            for each in self._up_to(kind):
                yield from self._close(each, now_us, series)

    def _up_to(self, kind: Kind) -> list[Kind]:
        """What waits of the rule of a kind that is published before it, and the kind itself."""
        rule, status = kind
        kinds = [(rule, each) for each in _STATUSES[: _STATUSES.index(status) + 1]]
        return [each for each in kinds if each in self._groups]

    def _behind_us(self, alert: QualityAlert) -> int:
        """Until when what was said of the incident before waits; `NEVER_US`: nothing does."""
        before = [self._groups[each] for each in self._up_to((alert.data.rule, alert.data.status))]
        waits = (each.waiting.until_us for each in before if alert.data.fingerprint in each.members)
        return max(waits, default=NEVER_US)

    def take_due(self, series: int) -> Iterator[QualityAlert | Collected]:
        """What is due next is published, where the partition has that many series at that time."""
        due_us = self.due_us
        self._come_to(due_us)
        due = [kind for kind, group in self._groups.items() if group.waiting.until_us == due_us]
        for kind in sorted(due, key=lambda kind: (kind[0], _STATUSES.index(kind[1]))):
            yield from self._close(kind, due_us, series)

    def begin(self, minute: int = 0) -> None:
        """A minute in which nothing was published by itself yet; 0: what comes next may be of an earlier one."""
        self._changed |= bool(self._published)
        self._minute, self._published = minute, {}

    def _come_to(self, now_us: int) -> None:
        if now_us // MINUTE_US > self._minute:
            self.begin(now_us // MINUTE_US)

    def _is_complete(self, kind: Kind, series: int) -> bool:
        """No more of the kind can come: all series are silent, or none is any more."""
        rule, status = kind
        return self.open[rule] >= series if status == "firing" else not self.open[rule]

    def _publish(self, kind: Kind, alert: QualityAlert) -> QualityAlert:
        published = self._published.setdefault(kind, [])
        published += [alert.id] if alert.id not in published else []
        self._changed = True
        return alert

    def _close(self, kind: Kind, now_us: int, series: int) -> Iterator[QualityAlert | Collected]:
        """Publishes what waits of a kind: as one, where that is of all series, or of many."""
        group = self._groups.pop(kind)
        self._gone[kind] = max(self._gone[kind], len(group.parts))
        self._changed = True
        members = [*group.members.values()]
        whole = kind[0] in WAITS and self._is_complete(kind, series) and len(members) > 1
        reasons = {member.reason for member in members}
        whole &= kind[1] == "firing" or (reasons == {"recovered"} and len(members) >= series)
        few = MOST - len(self._published.get(kind, ())) if kind[0] in WAITS else 1
        if len(members) <= few and not whole:
            yield from (self._publish(kind, alert) for alert in group.waiting.alerts)
            return
        parts = [*_split(members)]
        for number, part in enumerate(parts, 1):
            yield Collected(
                *kind,
                start_us=group.waiting.begun_us,
                end_us=now_us,
                part=number,
                parts=len(parts),
                total=len(members),
                members=part,
                open=self.open[kind[0]],
                series=series,
                whole=whole,
                reason=members[0].reason if len(reasons) == 1 else None,
            )

    def changes(self) -> list[StateChange]:
        """The records that say what has changed since the last call."""
        if not self._changed:
            return []
        self._changed = False
        changes: list[StateChange] = []
        for kind, group in sorted(self._groups.items()):
            known = len(group.parts)
            group.write()
            changes += [(self._name, self._key(kind, n), group.parts[n]) for n in range(known, len(group.parts))]
        for kind, gone in sorted(self._gone.items()):
            left = len(self._groups[kind].parts) if kind in self._groups else 0
            changes += [(self._name, self._key(kind, number), None) for number in range(left, gone)]
        self._gone.clear()
        return [(self._name, self._key(), self._tally()), *changes]

    def _tally(self) -> bytes | None:
        if not self._published and not self._groups:
            return None
        published = [(*kind, ids) for kind, ids in sorted(self._published.items())]
        waiting = [(*kind, group.waiting) for kind, group in sorted(self._groups.items())]
        return msgspec.json.encode(_Tally(minute=self._minute, published=published, waiting=waiting))

    def checkpoint(self) -> list[tuple[bytes, bytes]]:
        """All records that there are."""
        tally = self._tally()
        groups = sorted(self._groups.items())
        parts = [(self._key(kind, n), part) for kind, group in groups for n, part in enumerate(group.parts)]
        return [] if tally is None else [(self._key(), tally), *parts]

    def restore(self, records: Iterable[StateRecord]) -> None:
        """Puts back what was written; what can't be read is as good as not there."""
        prefix = b"/".join((b"digest", partition_name(self._name), b""))
        mine = {record.key: record.value for record in records if record.key.startswith(prefix)}
        try:
            tally = msgspec.json.decode(mine[self._key()], type=_Tally)
            groups = {
                (rule, status): _Group.read(found, [mine[self._key((rule, status), n)] for n in range(found.parts)])
                for rule, status, found in tally.waiting
            }
        except (KeyError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        self._minute, self._groups = tally.minute, groups
        self._published = {(rule, status): ids for rule, status, ids in tally.published}

    def _key(self, kind: Kind | None = None, part: int = 0) -> bytes:
        last = "tally" if kind is None else f"{'.'.join(kind)}.{part}"
        return b"/".join((b"digest", partition_name(self._name), last.encode()))


def _wait_us(alert: QualityAlert) -> int:
    """How long an alert waits for others; one that ends an incident without a value does not."""
    share, threshold = WAITS.get(alert.data.rule), alert.data.threshold
    return 0 if share is None or threshold is None else min(int(threshold * 1e6) // share, LONGEST_US)


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
