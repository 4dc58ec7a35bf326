"""One partition's state: series, incidents, windows, and how far it was decided."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from monitor.backends.abstract import Damaged, Position, Restored, StateRecord, TopicPartition
from monitor.detector import windowing
from monitor.detector.arrays import Float64Array, grown
from monitor.detector.following import Follower
from monitor.detector.incidents import SCORE_RULE, Incident, IncidentKey
from monitor.detector.served import ServedModel
from monitor.detector.spec import Manifest
from monitor.detector.times import FOREVER_US
from monitor.detector.windows import Windows
from monitor.formats.decoder import InputRules, StreamTime
from monitor.messages.alerts import Ending, EndReason, Reported, rfc3339
from monitor.processing import incident_records, resuming, snapshots, time_records
from monitor.processing.checks import Check, Checks, Found, row_bytes
from monitor.processing.digests import Digests
from monitor.processing.followers import Followers
from monitor.processing.followers import row_bytes as followers_bytes
from monitor.processing.labels import Labels
from monitor.processing.outbox import Outbox
from monitor.processing.registry import Forgotten, Segment, SeriesRegistry
from monitor.processing.resuming import How, Resumed
from monitor.processing.turns import Turn
from monitor.processing.withholding import Withholding

# So many ticks since a checkpoint, where no record comes, make another one due: each is about 25 bytes of a record.
MOST_TICKS = 1_000
# Rules under whose open incidents a window under the threshold does not count towards closing the score's incident.
_BLINDING = {"no_data", "flatline", "nan_ratio"}


@dataclass(frozen=True, slots=True)
class Halt:
    """Why nothing more of a partition is taken in: a damaged batch, or that its records are refused, and since where.

    What lies before offset `committed` is committed, or is with the next commit; nothing from there on ever is.
    `refused_from` is the offset of the first refused record that made it so, None where no record was accepted.
    """

    why: str
    committed: int
    damaged: Damaged | None = None
    refused_from: int | None = None


class PartitionState:
    """Everything remembered of one partition, and what it has to publish."""

    def __init__(
        self,
        name: TopicPartition,
        model: ServedModel,
        rules: InputRules,
        checks: Mapping[str, Check],
        followers: Sequence[Follower],
    ) -> None:
        manifest = model.manifest
        self.name = name
        self._artifact = model.artifact.digest
        self._channels = [channel.scored for channel in manifest.channels]  # other levels are other samples
        self._held = f"held {self._channels}"  # in snapshots, beside what checks remember
        self._channel_names = {channel.name for channel in manifest.channels}
        self._rules_going_on = {SCORE_RULE}  # whose incidents go on: beside the score's, of what checks remember
        self.series = SeriesRegistry(rules.max_series, rules.series_ttl * 1_000_000, rules.series)
        self.windower = windowing.windower(manifest.window, len(manifest.channels), rules.order)
        self.checks = Checks(checks, self._channels) if checks else None
        self.followers = Followers(followers, self._artifact, model.scorer.errors) if followers else None
        self._followers_begin = False  # some remember nothing, though there is a checkpoint
        self._remembered_bytes = row_bytes(checks) + followers_bytes(followers)
        self.labels = Labels([*rules.labels]) if rules.labels else None
        self.time = StreamTime()
        # An input offset, and the time there, at the newest checkpoint; None where that is not known.
        self._time_at: tuple[int, StreamTime] | None = None
        self._ticks_written = -1  # -1: not even that there is a clock
        self._ticked = False  # since the last commit
        self.ticks_to_come: deque[tuple[int, int]] = deque()  # made before, to be made again at their input offsets
        self._threshold_of = model.thresholds.of_series
        self._serials = np.empty(0, dtype=np.int64)  # of the series that has a row, by row; -1: none had it yet
        self._thresholds = np.empty(0, dtype=np.float64)  # its threshold, by row
        # Active ones, by rule and channel, then by serial
        self.incidents: defaultdict[tuple[str, str], dict[int, Incident]] = defaultdict(dict)
        # Those restored, by key until the first record is decided: series come and go while windows are refilled.
        self.restored: dict[IncidentKey, Incident] = {}
        self.leaving: deque[Forgotten] = deque()  # forgotten, but windows of theirs may still have to be decided
        self.outbox = Outbox()
        self.digests = Digests(name)
        self.stored: set[IncidentKey] = set()  # those whose record in the log is not a tombstone
        self.ended: list[tuple[Incident, Ending]] = []  # incidents that nobody can close any more, to be published
        self.live = False  # a record was decided
        self.offset = 0  # first input offset not decided yet
        self.read_to = 0  # first input offset not read yet; behind `live_from` while windows are being refilled
        self.live_from = 0
        self.stopped_at: Damaged | None = None  # nothing after it is read
        self.withholding = Withholding(rules.max_rejected_ratio, rules.max_rejected_run)
        self.committed_offset = -1
        self._replay_from = 0
        self._state_from = 0
        self._topic_id = ""
        self._partitions = 0
        self._checkpointed_at = -1  # offset that the newest checkpoint in the log stands for

    @classmethod
    def resume(
        cls,
        name: TopicPartition,
        restored: Restored,
        start: int,
        model: ServedModel,
        rules: InputRules,
        checks: Mapping[str, Check],
        followers: Sequence[Follower],
    ) -> tuple[PartitionState, Resumed]:
        """A partition's state as far as the log holds it and it can be continued; `resuming` says where.

        Raises:
            ConfigError: the log ends before the group's position, and `input.beyond_end` says to stop.
        """
        mark = snapshots.newest_mark(name, restored.state)
        known = snapshots.knows(name, restored.state) or incident_records.knows(name, restored.state)
        point = resuming.find(name, restored, mark, start, rules.beyond_end, state=known)
        made, resumed = cls(name, model, rules, checks, followers), point.resumed
        made._topic_id, made._partitions = restored.topic_id, restored.partitions
        if restored.position is not None and resumed.how is not How.TOPIC_RECREATED:
            made._partitions = restored.position.partitions or restored.partitions
        made._stand_at(resumed.live_from)
        unreadable = made._recall(restored, resumed)
        state_lost = ""
        if point.refill is not None:
            made.committed_offset = -1 if resumed.irregular else point.refill.offset
            made._replay_from, made._state_from = point.refill.replay_from, point.refill.state_from
            state_lost = made._refill(point.refill, restored.state, model.manifest)
            made._recall_time(point.refill, restored.state)
        made._end_unwatched(resumed.live_from)
        made.digests.open = made.open_by_rule() + Counter(ending.rule for _, ending in made.ended)
        resumed = replace(
            resumed,
            begin=made.read_to,
            state_lost=resumed.state_lost or state_lost,
            unreadable=tuple(unreadable),
            checks_begin=point.refill is not None
            and (made._followers_begin or not made._rules_going_on.issuperset(checks)),
            other_artifact="" if mark is None or mark.artifact == made._artifact else mark.artifact,
        )
        if resumed.irregular:
            made._checkpointed_at = -1
        return made, resumed

    def _recall(self, restored: Restored, resumed: Resumed) -> list[str]:
        """Takes the incidents over, or ends those of a topic that is gone; what is wrong with those left out."""
        records = restored.state
        found, unreadable = incident_records.readable_incidents(self.name, records)
        self.stored.update(found)
        self.digests.restore(records)
        if resumed.how is not How.TOPIC_RECREATED:
            self.restored = found
            if resumed.how is How.OFFSET_MISSING:
                undecided_us = incident_records.undecided_us(self.name, records, self._channels)
                self._go_back(incident_records.at_checkpoint(self.name, restored.history, found, undecided_us))
            return unreadable
        for key, incident in found.items():
            self.outbox.changed.add(key)
            self.end(self.name, key, incident, resumed.begin, incident.ended_us, "topic_recreated")
        for partition, key, incident in incident_records.orphaned_incidents(self.name.topic, self._partitions, records):
            self.outbox.orphans.append((partition, incident_records.incident_key(partition, *key)))
            self.end(partition, key, incident, 0, incident.ended_us, "topic_recreated")
        return unreadable

    def _end_unwatched(self, offset: int) -> None:
        """Ends the incidents that nobody could close any more.

        Their rule is switched off now, or begins anew, knowing nothing of them; or the artifact lacks their channel.
        """
        for key, incident in self.restored.items():
            if not self._watches(key):
                self.outbox.changed.add(key)
                self.end(self.name, key, incident, offset, incident.ended_us, "not_watched")
        self.restored = {key: incident for key, incident in self.restored.items() if self._watches(key)}

    def _watches(self, key: IncidentKey) -> bool:
        return key.rule in self._rules_going_on and (not key.channel or key.channel in self._channel_names)

    def _go_back(self, incidents: dict[IncidentKey, Incident]) -> None:
        """What was decided since the checkpoint is decided again, so that incidents are what they were there."""
        self.outbox.changed |= {
            key for key in incidents | self.restored if incidents.get(key) != self.restored.get(key)
        }
        self.restored = incidents

    def _recall_time(self, position: Position, records: Sequence[StateRecord]) -> None:
        """Takes over how far time had come at the checkpoint, and what the clock said since."""
        found = time_records.decode_time(self.name, position.replay_from, records)
        if found is None and self.refilling:
            self._time_at = None
        if found is not None:
            self.time = found
            self._time_at = (position.replay_from, replace(found))
            self._ticks_written = self._ticks_made
            self.ticks_to_come.extend(found.idle)

    def end(
        self,
        partition: TopicPartition,
        key: IncidentKey,
        incident: Incident,
        offset: int,
        at_us: int,
        reason: EndReason,
    ) -> None:
        """Ends an incident without a window, at an input offset and its event time; published only if it was open."""
        if incident.open:
            ending = Ending(
                partition=partition,
                series=key.series.decode(),
                rule=key.rule,
                channel=key.channel,
                offset=offset,
                at_us=at_us,
                reason=reason,
            )
            self.ended.append((incident, ending))

    def _refill(self, position: Position, records: Sequence[StateRecord], manifest: Manifest) -> str:
        """Puts the checkpoint's windows back, so that reading may begin at its offset; else says what is wrong."""
        channels = None if windowing.whole_records(manifest.window.kind) else self._channels
        try:
            found = snapshots.decode_checkpoint(self.name, position.replay_from, records, channels)
        except snapshots.StateError as error:
            return str(error)
        if problem := self.windower.problem(found.tails):
            return f"checkpoint of {self.name}: {problem}"
        segment = self.series.restore(found.series, found.seen_us)
        self.begin_segment(segment)
        rows = np.array(segment.rows, dtype=np.int64)
        self.windower.restore(rows, found.tails, found.waiting)
        if self.checks is not None:
            self._rules_going_on |= self.checks.restore(rows, found.checks)
        if self.followers is not None:
            self._followers_begin = not self.followers.restore(self._serials[rows], found.checks)
        if self.labels is not None:
            self.labels.restore(dict(zip(found.series, found.labels, strict=False)))
        self.windower.hold_again(rows, found.checks.get(self._held, b""))
        self.read_to = self._checkpointed_at = position.replay_from
        return ""

    def _stand_at(self, offset: int) -> None:
        self.offset = self.read_to = self.live_from = self._replay_from = offset
        self._time_at = (offset, StreamTime())

    @property
    def halt(self) -> Halt | None:
        """Why nothing more is taken in; None where it is."""
        if not self.withholding.why and self.stopped_at is None:
            return None
        committed = self.offset
        if self.withholding.withheld:
            committed = self.committed_offset if self.committed_offset >= 0 else self.live_from
        return Halt(self.withholding.why, committed, self.stopped_at, self.withholding.since)

    @property
    def wants_checkpoint(self) -> bool:
        """Something was decided since the last one, or ticks have become many, and the state stands for it."""
        is_old = self._checkpointed_at != self.offset or len(self.time.idle) > MOST_TICKS
        return is_old and not self.refilling and not self.withholding.withheld

    def checkpoint_bytes(self) -> int:
        """About the size of a checkpoint."""
        return (
            len(self.series) * (self.windower.snapshot_bytes + self._remembered_bytes + 72)
            + self.windower.waiting_bytes
        )

    @property
    def refilling(self) -> bool:
        """Windows don't stand for `offset` yet, so a checkpoint would be wrong."""
        return self.read_to < self.live_from

    def advance(self, next_offset: int) -> None:
        """Notes how far the input was read."""
        self.read_to = next_offset
        self.offset = max(next_offset, self.live_from)

    @property
    def _ticks_made(self) -> int:
        return len(self.time.ticks) + len(self.time.idle)

    def tick(self, time_us: int) -> None:
        """Notes that no record has come up to `time_us`."""
        self.time.idle.append((self.offset, time_us))
        self._ticked = True

    @property
    def due_us(self) -> int:
        """The partition's time from which on something is to be decided, if no record comes before."""
        due_us = FOREVER_US if self.checks is None else self.checks.due_us()
        return min(due_us, self.windower.due_us, self.digests.due_us)

    @property
    def moved(self) -> bool:
        """There is something to commit: an offset, or a tick."""
        return self.offset != self.committed_offset or self._ticked

    def go_live(self, offset: int, time_us: int) -> Segment:
        """Before the first record is decided: every series gets its incidents back, and who is over the limit goes.

        Returns:
            The segment of those series that have incidents but no windows: the checkpoint lacks them.
        """
        self.live = True
        unknown = {key.series for key in self.restored if self.series.serial(key.series) is None}
        segment = self.series.recall(unknown, time_us)
        for key, incident in self.restored.items():
            serial = self.series.serial(key.series)
            assert serial is not None
            self.incidents[key.watched][serial] = incident
        self.restored = {}
        gone = self.series.shrink(offset, time_us)
        if self.labels is not None:
            names = [self.series.names[each.serial].encode() for each in gone]
            self.labels.forget([(name, offset) for name in names])
        self.leaving.extend(gone)
        return segment

    def begin_segment(self, segment: Segment) -> None:
        """Gives the rows of new series to them."""
        rows = self.series.rows
        self.windower.grow(rows, self.series.most_rows)
        self.windower.clear(np.array(segment.rows, dtype=np.int64))
        if self.checks is not None:
            self.checks.begin(rows, segment.rows)
        if self.followers is not None:
            self.followers.begin(segment.serials)
        if rows > len(self._serials):
            size = max(rows, 2 * len(self._serials))
            self._serials, self._thresholds = grown(self._serials, size, -1), grown(self._thresholds, size)
        self._serials[segment.rows] = segment.serials
        names = self.series.names
        self._thresholds[segment.rows] = [self._threshold_of(names.get(serial, "")) for serial in segment.serials]

    def settle(self) -> None:
        """All windows are decided: what followers remember of forgotten series is not asked for any more."""
        if self.followers is not None:
            self.followers.keep(self.series.names)

    def known(self, windows: Windows) -> tuple[Windows, Float64Array]:
        """`windows` of rows as windows of serial numbers, which stay when rows go to others; and their thresholds."""
        return replace(windows, series=self._serials[windows.series]), self._thresholds[windows.series]

    def check(self, turn: Turn, windows: Windows) -> Found | None:
        """What the checks find in a turn, among the windows that its samples closed."""
        found = None if self.checks is None else self.checks.take(turn, windows)
        if found is None:
            return None
        findings = replace(found.findings, series=self._serials[found.findings.series])
        return replace(found, findings=findings)

    def note_damage(self, turn: Turn) -> None:
        """Any series may have lost samples in a batch that can't be read: `turn` says so, and nothing else."""
        if self.checks is not None:
            self.checks.note_damage(turn)

    def name_at(self, row: int) -> str:
        """The name of the series that has a row, or had it last; empty where nobody knows it any more."""
        return self.series.names.get(int(self._serials[row]), "")

    def let_go(self, until: float) -> None:
        """Ends what is left of series that were forgotten up to offset `until`; all windows before it are decided."""
        while self.leaving and self.leaving[0].offset <= until:
            gone = self.leaving.popleft()
            for watched in sorted(self.incidents):
                self.give_up(gone.serial, watched, gone.offset, gone.at_us, gone.reason)
            self.series.release(gone.serial)

    def give_up(self, serial: int, watched: tuple[str, str], offset: int, at_us: int, reason: EndReason) -> None:
        """Ends the incident that a series may have, as `end` does."""
        incident = self.incidents[watched].pop(serial, None)
        if incident is not None:
            key = IncidentKey(self.series.names[serial].encode(), *watched)
            self.outbox.changed.add(key)
            self.end(self.name, key, incident, offset, at_us, reason)

    def is_blind(self, serial: int) -> bool:
        """Whether an incident says of a series that it sends nothing, or that a channel is frozen or missing."""
        found = (incidents.get(serial) for (rule, _), incidents in self.incidents.items() if rule in _BLINDING)
        return any(incident is not None and incident.open for incident in found)

    def reported(self, serial: int) -> tuple[Reported, ...]:
        """The open incidents of data quality of a series, in order of rule and channel."""
        found = ((*watched, incidents.get(serial)) for watched, incidents in sorted(self.incidents.items()))
        return tuple(
            Reported(rule=rule, channel=channel or None, since=rfc3339(incident.started_us))
            for rule, channel, incident in found
            if rule != SCORE_RULE and incident is not None and incident.open
        )

    def open_by_rule(self) -> Counter[str]:
        """How many incidents are open, by rule."""
        found = Counter(key.rule for key, incident in self.restored.items() if incident.open)
        for (rule, _), incidents in self.incidents.items():
            found[rule] += sum(incident.open for incident in incidents.values())
        return found

    def _active_incidents(self) -> dict[IncidentKey, Incident]:
        names = self.series.names
        return self.restored | {
            IncidentKey(names[serial].encode(), *watched): incident
            for watched, incidents in self.incidents.items()
            for serial, incident in incidents.items()
        }

    def incidents_of(self, watched: tuple[str, str]) -> Mapping[Any, Incident]:
        """The active incidents of a rule and channel, by what stands for the series: its serial, or its name."""
        if self.live:
            return self.incidents.get(watched, {})
        return {key.series: incident for key, incident in self.restored.items() if key.watched == watched}

    def _incident(self, key: IncidentKey) -> Incident | None:
        serial = self.series.serial(key.series)
        return self.restored.get(key) if serial is None or not self.live else self.incidents[key.watched].get(serial)

    def take_outbox(self) -> tuple[Outbox, list[tuple[TopicPartition, bytes, bytes | None]]]:
        """Everything to publish since the last call, and the state records that go with it."""
        changes = self._changes()
        self.series.settle()
        taken, self.outbox = self.outbox, Outbox()
        return taken, changes

    def _changes(self) -> list[tuple[TopicPartition, bytes, bytes | None]]:
        """Records of the incidents that changed; a tombstone for each that is closed now. And the clock's ticks."""
        changes: list[tuple[TopicPartition, bytes, bytes | None]] = [(*orphan, None) for orphan in self.outbox.orphans]
        for key in map(IncidentKey._make, sorted(self.outbox.changed)):
            incident = self._incident(key)
            value = None if incident is None else incident_records.encode_incident(incident)
            if value is None and key not in self.stored:
                continue
            changes.append((self.name, incident_records.incident_key(self.name, *key), value))
            if value is None:
                self.stored.discard(key)
            else:
                self.stored.add(key)
        if self.time.clocked and self._time_at is not None and self._ticks_made > self._ticks_written:
            self._ticks_written, time = self._ticks_made, self.time
            changes.append((self.name, *time_records.encode_time(self.name, *self._time_at, time.ticks, time.idle)))
        return changes + self.digests.changes()

    def checkpoint(self) -> list[tuple[bytes, bytes]]:
        """Records that stand for the whole state at `offset`: all windows, and every active incident."""
        self._checkpointed_at = self.offset
        incidents = [
            (incident_records.incident_key(self.name, *key), value)
            for key, incident in sorted(self._active_incidents().items())
            if (value := incident_records.encode_incident(incident)) is not None
        ]
        rows, keys, seen_us = self.series.by_age()
        checks = {} if self.checks is None else self.checks.snapshot(rows)
        if self.followers is not None:
            checks = checks | self.followers.snapshot(self._serials[rows])
        if held := self.windower.held(rows):
            checks = checks | {self._held: held}
        tails, waiting = self.windower.snapshot(rows), self.windower.waiting(rows)
        first = self.offset if waiting is None or not len(waiting) else int(waiting.samples.offset.min())
        labels = [] if self.labels is None else self.labels.snapshot(keys, first)
        checkpoint = snapshots.Checkpoint(keys, seen_us, tails, checks, waiting, labels)
        mark = snapshots.Mark(self.offset, self._topic_id, self._artifact)
        shards = snapshots.encode_checkpoint(self.name, mark, self._channels, checkpoint)
        return [*shards, *incidents, *self.digests.checkpoint(), *self._checkpoint_time()]

    def _checkpoint_time(self) -> list[tuple[bytes, bytes]]:
        """Time as it is now; nothing is to be remembered of it where there was no clock."""
        self.time.ticks, self.time.idle = {}, []
        self._ticks_written = 0 if self.time.clocked else -1
        self._time_at = (self.offset, replace(self.time))
        return [time_records.encode_time(self.name, *self._time_at, {})] if self.time.clocked else []

    def position(self, *, checkpointed: bool) -> Position:
        """What to commit."""
        replay_from = self.offset if checkpointed else self._replay_from
        return Position(self.offset, replay_from, self._state_from, self._topic_id, self._partitions)

    def committed(self, position: Position) -> None:
        """Notes what became durable."""
        self._ticked = False
        self.committed_offset = position.offset
        self._replay_from, self._state_from = position.replay_from, position.state_from
