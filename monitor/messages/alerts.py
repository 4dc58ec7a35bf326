"""What users subscribe to: CloudEvents 1.0 in structured JSON, with everything a person needs at 3 a.m.

Rules of this file: pure, and deterministic: the same window on the same log gives the same bytes. Ids hold no clock and
no model version. The field names are a contract; within `v1` they are only added to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from monitor.backends.abstract import TopicPartition
from monitor.detector import levels
from monitor.detector.arrays import Float32Array
from monitor.detector.attribution import ChannelChange
from monitor.detector.incidents import Incident, Status
from monitor.detector.times import duration
from monitor.messages import wording

if TYPE_CHECKING:  # it needs JAX, and telemetry, which is there before, needs only the names in this file
    from monitor.detector.served import ServedModel

TYPE = "io.telltale.alert.v1"
SCHEMA = "urn:telltale:schema:alert:1"
CONTENT_TYPE = b"application/cloudevents+json; charset=UTF-8"


class _Struct(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Score(_Struct, frozen=True, omit_defaults=True):
    """`ratio` is value over threshold. `quantile`: the share of calibration windows below, of the series' own where the
    artifact keeps their quantiles. `static_threshold` is the one that does not follow, where the series' own scores of
    the last day have raised the one in force over it. Where `value`, and so the threshold, is of the mean over the
    series' last `smoothed_over` windows, `window_value` is that of the newest one alone."""

    kind: str
    value: float
    threshold: float
    ratio: float
    quantile: float
    static_threshold: float | None = None
    smoothed_over: int | None = None
    window_value: float | None = None


class Episode(_Struct, frozen=True):
    """The incident so far: event times, windows over the threshold, and the highest ratio among them."""

    started_at: str
    ended_at: str | None
    windows: int
    peak_ratio: float


class Window(_Struct, frozen=True, omit_defaults=True):
    """The window that caused this alert, and why; its numbers only where the configuration asks for them."""

    start: str
    end: str
    length: int
    missing_ratio: float = msgspec.field(default=0.0)
    imputed: list[str] = msgspec.field(default_factory=list)
    filled_ratio: float | None = None
    values: list[list[float]] | None = None
    reconstruction: list[list[float]] | None = None
    reason: str = msgspec.field(default="")


class Contributor(_Struct, frozen=True, rename={"first": "from", "last": "to"}):
    """Samples `from` to `to` of one channel: their share of the whole error, and their means, in the data's unit."""

    channel: str
    first: int
    last: int
    share: float
    observed: float
    expected: float


class Change(_Struct, frozen=True):
    """A channel's share of the whole error over the window, and by how much its root mean square error has grown since
    `before` the incident, both in the data's unit."""

    channel: str
    share: float
    change: float
    before: float


class Reported(_Struct, frozen=True):
    """An open incident of data quality of the same series: its rule, its channel if it is of one, and since when."""

    rule: str
    channel: str | None
    since: str


class Model(_Struct, frozen=True):
    name: str
    version: str
    sha256: str


class Kafka(_Struct, frozen=True):
    """Where to read the window again."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int
    group: str


ScoreEndReason = Literal["recovered", "no_data", "forgotten", "silent", "topic_recreated"]
EndReason = Literal[ScoreEndReason, "not_watched"]
ENDINGS: dict[EndReason, str] = {
    "no_data": "resolved without a verdict: the series has stayed silent for quality.no_data_resolves_after_ms",
    "forgotten": "resolved without a verdict: more series came than are remembered, and this one was silent longest",
    "silent": "resolved without a verdict: the series was silent for longer than input.series_ttl",
    "topic_recreated": "resolved without a verdict: the input topic was deleted and made again",
    "not_watched": "resolved without a verdict: its check is off or begins anew, or the artifact lacks its channel",
}


class Data(_Struct, frozen=True, omit_defaults=True):
    """`reason` says why an incident is resolved. All but `recovered` end it without a window: `score` is then the
    incident's highest, `window` its span from the first window over the threshold to the last, and `kafka` holds the
    offset at which it was given up. An update with the reason `no_data` is as these, and says that the series has
    fallen silent. `labels` are those of the series at this record, where `input.labels` asks for some; they are
    attributes of the event, too. `quality` are the incidents of data quality that are open beside it. `channels`
    are all channels, the one whose error has grown most first, where the artifact says what errors are usual: at most
    100.
    """

    status: Literal["firing", "update", "resolved"]
    severity: Literal["info", "warning", "error", "critical"]
    fingerprint: str
    summary: str
    series: str
    score: Score
    episode: Episode
    window: Window
    contributors: list[Contributor]
    model: Model
    kafka: Kafka
    reason: ScoreEndReason | None = None
    labels: dict[str, str] | UnsetType = UNSET
    quality: list[Reported] = msgspec.field(default_factory=list)
    channels: list[Change] = msgspec.field(default_factory=list)


class Alert(_Struct, frozen=True):
    """One CloudEvent. `id` is the same whenever the same log is read again."""

    id: str
    source: str
    subject: str
    time: str
    data: Data
    partitionkey: str
    specversion: Literal["1.0"] = "1.0"
    type: str = TYPE
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str = SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """The window that moved an incident of `rule`: where it lies in the log and in time, and how it was scored.

    `values` are (rows, channels) in the data's unit, less the channels' levels; those of the samples come first.
    `before` are the channels' root mean square errors before the incident, scaled; None where they are not known.
    `static_threshold` is what `threshold` was before it followed the series' scores, None where it did not rise.
    `score` may be a mean of recent scores, of which `own_score` is the newest.
    """

    partition: TopicPartition
    series: str
    rule: str
    start_us: int
    end_us: int
    first_offset: int
    last_offset: int
    last_index: int
    score: float
    threshold: float
    missing_ratio: float
    values: Float32Array
    imputed: tuple[int, ...] = ()
    filled_ratio: float = 0.0
    static_threshold: float | None = None
    own_score: float | None = None
    quality: tuple[Reported, ...] = ()
    before: Float32Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why an incident of `rule` ends without a window, and at which input offset; `at_us` is the event time there.

    Or, with the reason `no_data`, why it may.
    """

    partition: TopicPartition
    series: str
    rule: str
    channel: str = ""
    offset: int
    at_us: int
    reason: EndReason
    quality: tuple[Reported, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Severity:
    """Ratios from which an alert is an error, and critical."""

    error_ratio: float = 2.0
    critical_ratio: float = 4.0

    def of(self, ratio: float) -> Literal["warning", "error", "critical"]:
        if ratio >= self.critical_ratio:
            return "critical"
        return "error" if ratio >= self.error_ratio else "warning"


class AlertWriter:
    """Writes alerts for one service about the decisions of one model."""

    def __init__(
        self,
        model: ServedModel,
        *,
        service: str,
        group: str,
        severity: Severity,
        include_window: bool = False,
    ) -> None:
        self.source = f"/telltale/{service}"
        manifest = model.manifest
        self._served = model
        self._group = group
        self._severity = severity
        self._include_window = include_window
        self._model = Model(name=manifest.name, version=manifest.version, sha256=model.artifact.digest)
        self._kind = manifest.score.kind
        self._length = manifest.window.length
        self._rate_hz = manifest.window.sampling_rate_hz
        self._levels = levels.of(manifest.channels)
        self._channels = [channel.name for channel in manifest.channels]
        self._by_channel = len(manifest.calibration.channel_errors) > 1  # contributors are

    def fingerprint(self, cause: Cause) -> str:
        """The incident's name for life, taken from the window that opened it."""
        return self._hash(cause, "incident")[:16]

    def write(self, status: Status, incident: Incident, cause: Cause, reconstruction: Float32Array) -> Alert:
        """The alert that reports `incident` after `cause`, where `reconstruction` was expected."""
        reconstruction = np.nan_to_num(reconstruction)  # where the model overflowed: JSON has no infinity
        resolved = status is Status.RESOLVED
        ratio = cause.score / cause.threshold
        is_over = not resolved and ratio > 1
        told = cause.values[: self._length], reconstruction[: self._length]
        reason = self._served.reason(cause.values) if is_over else ""
        made = self._served.attribution(*told, cause.threshold, cause.before) if is_over else []
        contributors = [Contributor(**each._asdict()) for each in made]
        changes = self._served.attribution.changes(*told, cause.before) if is_over else []
        return Alert(
            id=self._hash(cause, status.value)[:32],
            source=self.source,
            subject=cause.series,
            partitionkey=cause.series,
            time=rfc3339(cause.end_us),
            data=Data(
                status=status.value,
                severity="info" if resolved else self._severity.of(incident.peak_ratio),
                fingerprint=incident.fingerprint,
                summary=self._summary(status, incident, cause, reason, contributors),
                series=cause.series,
                score=Score(
                    kind=self._kind,
                    value=cause.score,
                    threshold=cause.threshold,
                    ratio=ratio,
                    quantile=self._served.quantiles.share_under(cause.score, cause.series),
                    static_threshold=cause.static_threshold,
                    smoothed_over=self._served.smoothed_over,
                    window_value=None if self._served.smoothed_over is None else cause.own_score,
                ),
                episode=self._episode(incident, resolved=resolved),
                window=Window(
                    start=rfc3339(cause.start_us),
                    end=rfc3339(cause.end_us),
                    length=self._length,
                    missing_ratio=cause.missing_ratio,
                    imputed=[self._channels[channel] for channel in cause.imputed],
                    filled_ratio=cause.filled_ratio or None,
                    values=self._shown(told[0]),
                    reconstruction=self._shown(told[1]),
                    reason=reason,
                ),
                contributors=contributors,
                model=self._model,
                kafka=self._kafka(cause.partition, cause.first_offset, cause.last_offset),
                reason="recovered" if resolved else None,
                quality=[*cause.quality],
                channels=[_short(each) for each in changes],
            ),
        )

    def _episode(self, incident: Incident, *, resolved: bool) -> Episode:
        return Episode(
            started_at=rfc3339(incident.started_us),
            ended_at=rfc3339(incident.ended_us) if resolved else None,
            windows=incident.windows,
            peak_ratio=incident.peak_ratio,
        )

    def end(self, incident: Incident, ending: Ending) -> Alert:
        """The alert that ends `incident` although no window is normal again. Its id is the incident's own."""
        return self._without_window(Status.RESOLVED, incident, ending, ENDINGS[ending.reason])

    def fall_silent(self, incident: Incident, ending: Ending, since_us: int) -> Alert:
        """The alert that says of an open incident that its series has sent nothing since a time."""
        said = f"no record since {rfc3339(since_us)}, while its incident is open"
        return self._without_window(Status.UPDATE, incident, ending, said, ending.at_us)

    def _without_window(self, status: Status, incident: Incident, ending: Ending, said: str, *of_id: int) -> Alert:
        assert ending.reason != "not_watched", "the score always is"
        resolved = status is Status.RESOLVED
        threshold = self._served.thresholds.of_series(ending.series)
        value = incident.peak_ratio * threshold
        started_at, ended_at = rfc3339(incident.started_us), rfc3339(incident.ended_us)
        peak = wording.times(incident.peak_ratio)
        quantile = self._served.quantiles.share_under(value, ending.series)
        parts = (self.source, *ending.partition, ending.series, incident.fingerprint, ending.rule, ending.reason)
        return Alert(
            id=digest((*parts, *of_id))[:32],
            source=self.source,
            subject=ending.series,
            partitionkey=ending.series,
            time=rfc3339(ending.at_us),
            data=Data(
                status=status.value,
                severity="info" if resolved else self._severity.of(incident.peak_ratio),
                fingerprint=incident.fingerprint,
                summary=f"{ending.series}: {said} ({_windows(incident)}, peak {peak} threshold)",
                series=ending.series,
                score=Score(
                    kind=self._kind,
                    value=value,
                    threshold=threshold,
                    ratio=incident.peak_ratio,
                    quantile=quantile,
                ),
                episode=self._episode(incident, resolved=resolved),
                window=Window(start=started_at, end=ended_at, length=self._length),
                contributors=[],
                model=self._model,
                kafka=self._kafka(ending.partition, ending.offset, ending.offset),
                reason=ending.reason,
                quality=[*ending.quality],
            ),
        )

    def _kafka(self, partition: TopicPartition, first_offset: int, last_offset: int) -> Kafka:
        return Kafka(
            topic=partition.topic,
            partition=partition.partition,
            first_offset=first_offset,
            last_offset=last_offset,
            group=self._group,
        )

    def _shown(self, numbers: Float32Array) -> list[list[float]] | None:
        return levels.put_back(numbers, self._levels).tolist() if self._include_window else None

    def _summary(
        self, status: Status, incident: Incident, cause: Cause, reason: str, contributors: list[Contributor]
    ) -> str:
        lasted = duration((incident.ended_us - incident.started_us) / 1e6)
        windows = _windows(incident)
        if status is Status.RESOLVED:
            peak = wording.times(incident.peak_ratio)
            text = f"{cause.series}: {_resolved(cause)} after {lasted} ({windows}, peak {peak} threshold)"
            return text + _beside(cause.quality)
        ratio = cause.score / cause.threshold
        text = f"{cause.series}: {self._served.score_noun} {wording.times(ratio)} threshold{_raised(cause)}"
        if self._severity.of(ratio) != self._severity.of(incident.peak_ratio) or ratio <= 1:
            text += f" now, {wording.times(incident.peak_ratio)} at its peak"
        if status is Status.UPDATE:
            text += f", {windows} over {lasted}"
        if reason:
            text += f"; {reason}"
        if contributors:
            worst = contributors[0]
            where = f"samples {worst.first}-{worst.last}"
            if self._rate_hz:
                first_s, last_s = worst.first / self._rate_hz, worst.last / self._rate_hz
                where = f"{wording.number(first_s, first_s)}-{wording.number(last_s, last_s)} s into the window"
            apart = worst.observed - worst.expected
            text += (
                f"; {'grown most' if self._by_channel else 'most of it'} on {worst.channel}, {where}: "
                f"{wording.number(worst.observed, apart)} where {wording.number(worst.expected, apart)} was expected"
            )
        others = [each.channel for each in contributors[1:]] if self._by_channel else []
        if others:
            text += f"; then on {' and '.join(others)}"
        return text + _beside(cause.quality)

    def _hash(self, cause: Cause, status: str) -> str:
        topic, partition = cause.partition
        # The window's end, for offsets repeat where a topic is deleted and recreated.
        origin = (topic, partition, cause.last_offset, cause.last_index, cause.end_us)
        return digest((self.source, *origin, cause.series, cause.rule, status))


def digest(parts: tuple[object, ...]) -> str:
    """What ids are made of."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def _raised(cause: Cause) -> str:
    """What raised the threshold, in words."""
    if cause.static_threshold is None:
        return ""
    return f" (raised from {cause.static_threshold:.3g} to {cause.threshold:.3g} by its scores of the last day)"


def _resolved(cause: Cause) -> str:
    if cause.static_threshold is None or cause.score <= cause.static_threshold:
        return "back to normal"
    return f"looks like a new normal, with a threshold{_raised(cause)},"


def _beside(quality: Sequence[Reported]) -> str:
    """The incidents of data quality beside an alert, in words."""
    if not quality:
        return ""
    first, more = quality[0], len(quality) - 1
    what = f"channel {first.channel!r}" if first.channel else "the series"
    others = f", and {more} more" if more else ""
    return f"; {what} is also reported by {first.rule} since {first.since}{others}"


def _windows(incident: Incident) -> str:
    return f"{incident.windows} window{'s' if incident.windows != 1 else ''}"


def _short(change: ChannelChange) -> Change:
    """In numbers of four digits: more of them say nothing of an error."""
    share, changed, before = (float(f"{number:.4g}") for number in change[1:])
    return Change(channel=change.channel, share=share, change=changed, before=before)


def rfc3339(time_us: int) -> str:
    """UTC with milliseconds; microseconds where there are any."""
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000)
    timespec = "microseconds" if time_us % 1000 else "milliseconds"
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def encode(alert: msgspec.Struct) -> bytes:
    """The record's value; labels are attributes of the event, too."""
    labels = _labels(alert)
    return msgspec.json.encode({**msgspec.to_builtins(alert), **labels} if labels else alert)


def headers(alert: msgspec.Struct) -> tuple[tuple[str, bytes], ...]:
    """The record's headers: the content type, and the event's attributes for those who filter without parsing."""
    attributes = ("specversion", "id", "source", "type", "subject", "time")
    named = {name: str(getattr(alert, name)) for name in attributes} | _labels(alert)
    return (("content-type", CONTENT_TYPE), *((f"ce_{name}", text.encode()) for name, text in named.items()))


def _labels(alert: Any) -> dict[str, str]:
    labels = getattr(getattr(alert, "data", None), "labels", UNSET)
    return {} if labels is UNSET else dict(labels)


def schema() -> dict[str, object]:
    """JSON Schema of an alert."""
    return msgspec.json.schema(Alert)
