"""Alerts of data quality: that data is missing, frozen or wrong, whatever the score says of it. CloudEvents, too.

They share the alerts' topic and life cycle, firing, update, resolved, and differ in their `type`.

Rules of this file: as in `alerts.py`. The same finding on the same log gives the same bytes, no id holds a clock, and
within `v1` fields are only added.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from monitor.backends.abstract import TopicPartition
from monitor.detector.incidents import Incident, Status
from monitor.detector.times import duration
from monitor.messages.alerts import ENDINGS, Alert, Ending, EndReason, Model, digest, rfc3339

if TYPE_CHECKING:  # as in alerts.py
    from monitor.detector.served import ServedModel

TYPE = "io.telltale.quality.v1"
SCHEMA = "urn:telltale:schema:quality:1"
DIGEST_TYPE = "io.telltale.quality.digest.v1"
DIGEST_SCHEMA = "urn:telltale:schema:quality-digest:1"
Severity = Literal["info", "warning", "error"]
# How many series a summary names.
_NAMED = 3


class _Struct(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Span(_Struct, frozen=True):
    """The incident in event time: from when on the data was not as it should be, and until when."""

    started_at: str
    ended_at: str | None


class Source(_Struct, frozen=True):
    """Where in the input it was found: at the record with this offset, or before it, where none came."""

    topic: str
    partition: int
    offset: int
    group: str


class QualityData(_Struct, frozen=True):
    """`value` is over `threshold` while the incident is open, both in `unit`; null where it ends without a value.

    `channel` is null where the whole series is meant. `reason` says why an incident is resolved. `labels` are as in an
    alert of the score.
    """

    status: Literal["firing", "update", "resolved"]
    severity: Severity
    fingerprint: str
    summary: str
    series: str
    rule: str
    channel: str | None
    value: float | None
    threshold: float | None
    unit: str | None
    episode: Span
    model: Model
    kafka: Source
    reason: EndReason | None = None
    labels: dict[str, str] | UnsetType = UNSET


class QualityAlert(_Struct, frozen=True):
    """One CloudEvent. `id` is the same whenever the same log is read again."""

    id: str
    source: str
    subject: str
    time: str
    data: QualityData
    partitionkey: str
    specversion: Literal["1.0"] = "1.0"
    type: str = TYPE
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str = SCHEMA


class Member(_Struct, frozen=True):
    """An incident that a digest names, as an alert of its own would; `ended_at` is null while it is open."""

    series: str
    channel: str | None
    fingerprint: str
    value: float | None
    threshold: float | None
    started_at: str
    ended_at: str | None
    reason: EndReason | None


class DigestData(_Struct, frozen=True):
    """Incidents of one rule in one partition, beside those with an alert of their own, all with the same status.

    `span` is the partition's time from the first of them on. `count` of them are named in `parts` messages, of which
    this is number `part`. After them `open` incidents of the rule are open in the partition, which has that many
    `series`.
    """

    status: Literal["firing", "update", "resolved"]
    severity: Severity
    summary: str
    rule: str
    unit: str | None
    count: int
    open: int
    series: int
    part: int
    parts: int
    incidents: list[Member]
    span: Span
    model: Model
    kafka: Source


class QualityDigest(_Struct, frozen=True):
    """One CloudEvent for many incidents. `id` is the same whenever the same log is read again."""

    id: str
    source: str
    subject: str
    time: str
    data: DigestData
    partitionkey: str
    specversion: Literal["1.0"] = "1.0"
    type: str = DIGEST_TYPE
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str = DIGEST_SCHEMA


# What is published on the alerts' topic.
Event = Alert | QualityAlert | QualityDigest


class Collected(NamedTuple):
    """What a digest is about: `members` of `total`, as part `part` of `parts`, from `start_us` to `end_us`.

    After it `open` incidents of the rule are open, in a partition of that many `series`; `whole`: it is of all of them.
    `reason`: why all of them ended, None where they have not, or not all for the same reason.
    """

    rule: str
    status: str
    start_us: int
    end_us: int
    part: int
    parts: int
    total: int
    members: list[Member]
    open: int
    series: int
    whole: bool
    reason: EndReason | None = None


def member_of(alert: QualityAlert) -> Member:
    """What a digest says instead of `alert`."""
    data = alert.data
    return Member(
        series=data.series,
        channel=data.channel,
        fingerprint=data.fingerprint,
        value=data.value,
        threshold=data.threshold,
        started_at=data.episode.started_at,
        ended_at=data.episode.ended_at,
        reason=data.reason,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found at one record of the log; see `Findings` and `Check` (`monitor/processing/checks.py`).

    `text` says what is wrong, `recovered` that it no longer is; `channel` is empty for the whole series.
    """

    partition: TopicPartition
    series: str
    rule: str
    channel: str
    severity: Literal["warning", "error"]
    unit: str
    start_us: int
    end_us: int
    last_offset: int
    last_index: int
    value: float
    threshold: float
    text: str
    recovered: str


class QualityWriter:
    """Writes alerts of data quality for one service."""

    def __init__(self, model: ServedModel, *, service: str, group: str) -> None:
        self._source = f"/telltale/{service}"
        self._group = group
        manifest = model.manifest
        self._model = Model(name=manifest.name, version=manifest.version, sha256=model.artifact.digest)

    def fingerprint(self, finding: Finding) -> str:
        """The incident's name for life, taken from the finding that opened it."""
        return self._hash(finding, "incident")[:16]

    def write(self, status: Status, incident: Incident, finding: Finding) -> QualityAlert:
        """The alert that reports `incident` after `finding`."""
        resolved = status is Status.RESOLVED
        lasted = duration((finding.end_us - incident.started_us) / 1e6)
        text = finding.text + (f", for {lasted} now" if status is Status.UPDATE else "")
        return self._alert(
            finding.series,
            id=self._hash(finding, status.value)[:32],
            at_us=finding.end_us,
            data=QualityData(
                status=status.value,
                severity="info" if resolved else finding.severity,
                fingerprint=incident.fingerprint,
                summary=f"{_where(finding)}: {f'{finding.recovered}, after {lasted}' if resolved else text}",
                series=finding.series,
                rule=finding.rule,
                channel=finding.channel or None,
                value=finding.value,
                threshold=finding.threshold,
                unit=finding.unit or None,
                episode=_span(incident, finding.end_us if resolved else None),
                model=self._model,
                kafka=self._place(finding.partition, finding.last_offset),
                reason="recovered" if resolved else None,
            ),
        )

    def end(self, incident: Incident, ending: Ending) -> QualityAlert:
        """The alert that ends `incident` although nothing is found to be well again. Its id is the incident's own."""
        parts = (self._source, *ending.partition, ending.series, incident.fingerprint, ending.rule, ending.reason)
        rule = ending.rule.replace("_", " ")
        return self._alert(
            ending.series,
            id=digest(parts)[:32],
            at_us=ending.at_us,
            data=QualityData(
                status="resolved",
                severity="info",
                fingerprint=incident.fingerprint,
                summary=f"{_where(ending)}: {rule} {ENDINGS[ending.reason]}",
                series=ending.series,
                rule=ending.rule,
                channel=ending.channel or None,
                value=None,
                threshold=None,
                unit=None,
                episode=_span(incident, max(incident.ended_us, ending.at_us)),
                model=self._model,
                kafka=self._place(ending.partition, ending.offset),
                reason=ending.reason,
            ),
        )

    def digest(
        self, found: Collected, partition: TopicPartition, offset: int, severity: Severity, unit: str
    ) -> QualityDigest:
        """The alert that names incidents that were collected; it was complete at input offset `offset`."""
        subject, span = str(partition), (rfc3339(found.start_us), rfc3339(found.end_us))
        place = (found.rule, found.status, found.start_us, found.part, found.members[0].fingerprint)
        return QualityDigest(
            id=digest((self._source, *partition, *place, "digest"))[:32],
            source=self._source,
            subject=subject,
            partitionkey=subject,
            time=span[1],
            data=DigestData(
                status=found.status,  # type: ignore[arg-type]
                severity="info" if found.status == "resolved" else severity,
                summary=_in_words(found, subject)
                + (f"; part {found.part} of {found.parts}" if found.parts > 1 else ""),
                rule=found.rule,
                unit=unit or None,
                count=found.total,
                open=found.open,
                series=found.series,
                part=found.part,
                parts=found.parts,
                incidents=found.members,
                span=Span(started_at=span[0], ended_at=span[1]),
                model=self._model,
                kafka=self._place(partition, offset),
            ),
        )

    def _alert(self, series: str, *, id: str, at_us: int, data: QualityData) -> QualityAlert:
        return QualityAlert(
            id=id, source=self._source, subject=series, partitionkey=series, time=rfc3339(at_us), data=data
        )

    def _place(self, partition: TopicPartition, offset: int) -> Source:
        return Source(topic=partition.topic, partition=partition.partition, offset=offset, group=self._group)

    def _hash(self, finding: Finding, status: str) -> str:
        topic, partition = finding.partition
        # The time, for offsets repeat where a topic is deleted and recreated, and where nothing comes.
        origin = (topic, partition, finding.last_offset, finding.last_index, finding.end_us)
        return digest((self._source, *origin, finding.series, finding.rule, finding.channel, status))


def _in_words(found: Collected, subject: str) -> str:
    """What a digest says."""
    over = found.status == "resolved"
    if found.whole:
        if over:
            return f"all {found.series:,} series of {subject} send again"
        since = max((each.started_at for each in found.members), key=datetime.fromisoformat)
        return f"nothing from any of the {found.series:,} series of {subject} since {since}"
    named = ", ".join(_where(each) for each in found.members[:_NAMED]) + (", ..." if found.total > _NAMED else "")
    if found.rule == "no_data" and over and found.reason != "recovered":
        series, now = f"{found.total:,} series of {subject}", f"({found.open:,} silent now)"
        if found.reason is None:
            return f"{series} send again, or are no longer watched: {named} {now}"
        return f"no data of {series} {ENDINGS[found.reason]}: {named} {now}"
    if found.rule == "no_data":
        verb = "send again" if over else "have fallen silent"
        return f"{found.total:,} of {found.series:,} series of {subject} {verb}: {named} ({found.open:,} silent now)"
    rule, verb = found.rule.replace("_", " "), "ended" if over else "began"
    return (
        f"{found.total:,} more incidents of {rule} {verb} in {subject} from {rfc3339(found.start_us)} to "
        f"{rfc3339(found.end_us)}: {named} ({found.open:,} open now; there are {found.series:,} series)"
    )


def _where(of: Finding | Ending | Member) -> str:
    return f"{of.series}, {of.channel}" if of.channel else of.series


def _span(incident: Incident, ended_us: int | None) -> Span:
    return Span(
        started_at=rfc3339(incident.started_us),
        ended_at=None if ended_us is None else rfc3339(ended_us),
    )


class _Typed(msgspec.Struct):
    type: str


def decode(value: bytes | str) -> Event:
    """What `alerts.encode` wrote.

    Raises:
        msgspec.DecodeError: it is none of ours.
    """
    kind = msgspec.json.decode(value, type=_Typed).type
    if kind == TYPE:
        return msgspec.json.decode(value, type=QualityAlert)
    if kind == DIGEST_TYPE:
        return msgspec.json.decode(value, type=QualityDigest)
    return msgspec.json.decode(value, type=Alert)


def schema() -> dict[str, object]:
    """JSON Schema of an alert of data quality."""
    return msgspec.json.schema(QualityAlert)


def digest_schema() -> dict[str, object]:
    """JSON Schema of a digest of such alerts."""
    return msgspec.json.schema(QualityDigest)
