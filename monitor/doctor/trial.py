"""Decodes records as the daemon would, by options that are proposed, and measures what comes of it.

Rules of this file: pure, and the daemon's own decoder: what is said of rejected records, times and samples is what the
daemon will do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from monitor.backends.abstract import RecordColumns, TopicPartition
from monitor.datafiles import plausibility
from monitor.detector.arrays import BoolArray, Float64Array, Int64Array
from monitor.detector.spec import Channel, WindowSpec
from monitor.formats.decoder import Decoder, InputRules, Rejected, StreamTime
from monitor.formats.schemas import Schema
from monitor.processing.series_keys import SeriesNumbers

GAP_STEPS = 2.5  # a step over so many usual ones is a gap
_ODD_STEPS = 0.1  # steps that differ from the usual one by more than this share of it are irregular
_FAR_KNOWN, _FAR = 0.5, 10.0  # ranges of all others from which a number is declared to mean missing


class Example(NamedTuple):
    """A rejected record: where it lies, and what is wrong."""

    partition: TopicPartition
    offset: int
    detail: str
    value: bytes | None


@dataclass(slots=True, kw_only=True)
class Order:
    """The times of one series, in the order of the log.

    `late_us` is how much older than the newest before it a sample is at most, `late` how many are older, `twice` how
    many are of a time that was there before; `step_us` the usual step from one time to the next (0: there is one time
    only), `odd` the share of steps that are others, `gaps` how many are over 2.5 usual ones, `gap_us` the longest.
    """

    samples: int
    first_us: int
    last_us: int
    late: int
    late_us: int
    twice: int
    step_us: float
    odd: float
    gaps: int
    gap_us: int


@dataclass(slots=True, kw_only=True)
class Trial:
    """What decoding brought: `values` (n, channels) of all samples, `carried` which of them records carry.

    `owners` (n,) says of which series each sample is, by its place in `series`, and `time_us` (n,) when it was.
    `series` are by name and partition: what is in two partitions is two series to the daemon.
    """

    records: int
    rejected: Counter[str]
    examples: dict[str, Example]
    channels: list[str]
    values: Float64Array
    carried: BoolArray
    owners: Int64Array
    time_us: Int64Array
    series: dict[tuple[str, TopicPartition], Order]
    stated: float  # share of the records whose value says when it was
    behind_us: float | None  # Kafka's timestamp minus the stated time, usually

    @property
    def names(self) -> list[str]:
        """The names of the series."""
        return sorted({name for name, _ in self.series})

    @property
    def spread(self) -> list[str]:
        """The names that are in several partitions."""
        counts = Counter(name for name, _ in self.series)
        return sorted(name for name, count in counts.items() if count > 1)

    def by_series(self, channel: int) -> dict[tuple[str, TopicPartition], Float64Array]:
        """A channel's numbers as they came, by series; those that records carry and that are not missing."""
        there = self.carried[:, channel] & np.isfinite(self.values[:, channel])
        parts = split(self.values[there, channel], self.owners[there], len(self.series))
        return {place: numbers for place, numbers in zip(self.series, parts, strict=True) if len(numbers)}

    @property
    def accepted(self) -> int:
        """How many records are not rejected."""
        return self.records - sum(self.rejected.values())

    @property
    def usable(self) -> int:
        """How many numbers would go into windows: those of samples that are neither late nor of a time that was."""
        lost = sum(max(each.late, each.twice) for each in self.series.values())
        samples = len(self.values)
        numbers = int((np.isfinite(self.values) & self.carried).sum())
        return round(numbers * (1 - lost / samples)) if samples else 0


class _Layout(NamedTuple):
    window: WindowSpec
    channels: tuple[Channel, ...]


def run(
    polls: Sequence[RecordColumns],
    rules: InputRules,
    channels: Sequence[str],
    now_us: int,
    *,
    length: int = 0,
    schemas: Mapping[int, Schema | str] = MappingProxyType({}),
) -> Trial:
    """Decodes records, of each partition in the order of its log. `length` of records that are windows, else 0.

    `schemas` are those that records were written with, by their ids; others are rejected.

    Raises:
        ConfigError: the rules can't be kept, such as a format that can't be loaded.
    """
    kind = "record" if length else "sliding"
    window = WindowSpec(kind=kind, length=length or 1, hop=length or 1)
    decoder = Decoder(_Layout(window, tuple(Channel(name=name) for name in channels)), rules, exact=True)
    for number, schema in schemas.items():
        decoder.schemas.add(number, schema)
    return _Run(decoder, [*channels]).of(polls, now_us)


def nothing(polls: Sequence[RecordColumns]) -> Trial:
    """What comes of records of which nothing is known to be read."""
    return Trial(
        records=sum(len(columns.values) for columns in polls),
        rejected=Counter(),
        examples={},
        channels=[],
        values=np.empty((0, 0)),
        carried=np.empty((0, 0), dtype=np.bool_),
        owners=np.empty(0, dtype=np.int64),
        time_us=np.empty(0, dtype=np.int64),
        series={},
        stated=0.0,
        behind_us=None,
    )


class _Run:
    def __init__(self, decoder: Decoder, channels: list[str]) -> None:
        self._decoder = decoder
        self._channels = channels
        self._rejected: Counter[str] = Counter()
        self._examples: dict[str, Example] = {}
        self._places: dict[tuple[str, TopicPartition], int] = {}
        self._owners = [np.empty(0, dtype=np.int64)]
        self._times = [np.empty(0, dtype=np.int64)]
        self._values = [np.empty((0, len(channels)))]
        self._carried = [np.empty((0, len(channels)), dtype=np.bool_)]
        self._stated = [np.empty(0, dtype=np.bool_)]
        self._behind_us = [np.empty(0, dtype=np.int64)]

    def of(self, polls: Sequence[RecordColumns], now_us: int) -> Trial:
        streams: dict[TopicPartition, tuple[StreamTime, SeriesNumbers]] = {}
        for columns in polls:
            stream, numbers = streams.setdefault(columns.partition, (StreamTime(), SeriesNumbers()))
            self._take(columns, stream, numbers, now_us)
        stated, behind_us = np.concatenate(self._stated), np.concatenate(self._behind_us)
        owners, time_us = np.concatenate(self._owners), np.concatenate(self._times)
        return Trial(
            records=sum(len(columns.values) for columns in polls),
            rejected=self._rejected,
            examples=self._examples,
            channels=self._channels,
            values=np.concatenate(self._values),
            carried=np.concatenate(self._carried),
            owners=owners,
            time_us=time_us,
            series=dict(zip(self._places, map(order_of, split(time_us, owners, len(self._places))), strict=True)),
            stated=float(stated.mean()) if len(stated) else 0.0,
            behind_us=float(np.median(behind_us)) if len(behind_us) else None,
        )

    def _take(self, columns: RecordColumns, stream: StreamTime, numbers: SeriesNumbers, now_us: int) -> None:
        decoded = self._decoder.decode(columns, stream, now_us)
        series, refused = numbers.number(decoded.keys, decoded.rows)
        first: dict[int, Rejected] = {}  # why each record is rejected; those of several series may be for several
        for each in sorted(decoded.rejected + refused):
            first.setdefault(each.row, each)
        for row, reason, detail in first.values():
            self._rejected[reason.value] += 1
            where = columns.partition, int(columns.offsets[row])
            self._examples.setdefault(reason.value, Example(*where, detail, columns.values[row]))
        if refused:
            decoded, series = decoded.where(series >= 0), series[series >= 0]
        if not len(decoded.rows):
            return
        samples = decoded.samples(series, columns.offsets[decoded.rows])
        with np.errstate(invalid="ignore"):  # a signalling NaN
            self._values.append(samples.values.astype(np.float64))
        carried = samples.carried
        self._carried.append(np.ones(samples.values.shape, dtype=np.bool_) if carried is None else carried)
        self._stated.append(decoded.stated)
        own_us = columns.timestamps_ms[decoded.rows] * 1000
        self._behind_us.append((own_us - decoded.start_us)[decoded.stated])
        at = np.zeros(len(numbers.names), dtype=np.int64)
        for number in np.unique(samples.series).tolist():
            place = numbers.names[number], columns.partition
            at[number] = self._places.setdefault(place, len(self._places))
        self._owners.append(at[samples.series])
        self._times.append(samples.time_us)


def split(values: np.ndarray, owners: Int64Array, count: int) -> list[np.ndarray]:
    """Values (n,) by their owners (n,), of which there are `count`, in the order in which they are."""
    if not count:
        return []
    order = np.argsort(owners, kind="stable")
    return np.split(values[order], np.cumsum(np.bincount(owners, minlength=count))[:-1])


def order_of(time_us: Int64Array) -> Order:
    """The order of one series' times (n,), n at least 1."""
    newest = np.maximum.accumulate(time_us)
    lateness = newest[:-1] - time_us[1:]
    distinct = np.unique(time_us)
    steps = np.diff(distinct).astype(np.float64)
    usual = float(np.median(steps)) if len(steps) else 0.0
    gaps = steps[steps > GAP_STEPS * usual]
    even = steps[steps <= GAP_STEPS * usual]
    return Order(
        samples=len(time_us),
        first_us=int(distinct[0]),
        last_us=int(distinct[-1]),
        late=int((lateness > 0).sum()),
        late_us=int(max(0, lateness.max(initial=0))),
        twice=len(time_us) - len(distinct),
        step_us=usual,
        odd=float((np.abs(even - usual) > _ODD_STEPS * usual).mean()) if len(even) else 0.0,
        gaps=len(gaps),
        gap_us=int(gaps.max(initial=0)),
    )


def declarable(columns: Mapping[str, Float64Array]) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """The sentinels of each channel, by its numbers (n,): those that can be declared, and those that can't.

    What is declared is missing in all channels: so what is an ordinary number of another can't be.
    """
    found = {name: sentinels(column) for name, column in columns.items()}
    likely = {value for values in found.values() for value in values}
    ordinary = {
        value
        for column in columns.values()
        for value in likely - {marker.value for marker in _markers_of(column)}
        if (column == value).any() and np.isfinite(column[column != value]).any()
    }
    good = {name: kept for name, values in found.items() if (kept := [each for each in values if each not in ordinary])}
    bad = {name: kept for name, values in found.items() if (kept := [each for each in values if each in ordinary])}
    return good, bad


def sentinels(values: Float64Array) -> list[float]:
    """Numbers (n,) that are declared to mean missing: far beyond all others, and there more than once.

    One that is usual for this need only be half as far from the others as they are apart.
    """
    found = _markers_of(values)
    return sorted(each.value for each in found if each.seen > 1 and (each.is_known or each.ranges > _FAR))


def _markers_of(values: Float64Array) -> Iterator[plausibility.Marker]:
    return plausibility.markers_of(values[~np.isnan(values)], far=_FAR_KNOWN)
