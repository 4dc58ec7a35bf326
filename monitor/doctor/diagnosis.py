"""What records are, and the options with which the daemon reads them: guessed from content, tried, and measured.

Rules of this file: pure; the caller passes the clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from monitor.backends.abstract import Headers, RecordColumns
from monitor.config.input import InputOptions
from monitor.datafiles import plausibility
from monitor.doctor import documents, joins, mappings, remarks, shapes, trial, units
from monitor.doctor.fields import Content, FieldLine, line_of, words
from monitor.doctor.joins import Joins
from monitor.doctor.shapes import Shape
from monitor.doctor.trial import Trial, split
from monitor.doctor.words import ambiguous, left_out, listing
from monitor.errors import ConfigError
from monitor.formats.decoder import InputRules
from monitor.formats.schemas import Schema

# Graces that are proposed: the next that is longer than twice the lateness seen.
_GRACES_MS = (1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000)
_ABOUT = 0.9  # of the most that can be used
_MOST_UNREAD = 3
_MOST_CHANNELS = 12  # numbers in a value that are channels rather than samples
_SHOWS = 5  # readings of each channel that would be there, if a series had it


@dataclass(slots=True, kw_only=True)
class Diagnosis:
    """What some records of a topic are.

    `options` are those of `input` that differ from the defaults, `mapping` the ready-made one among them, if any.
    `sentinels` are numbers by channel that seem to mean missing; `joins` says how readings make samples, where records
    carry some channels each. Where nothing can be read, `unread` are the first values, and `schema` is the id in front
    of them, of a schema that is not known.
    """

    shape: Shape
    options: dict[str, Any]
    trial: Trial
    mean_bytes: float
    keys: int
    fields: list[FieldLine] = field(default_factory=list)
    mapping: str = ""
    sentinels: dict[str, list[float]] = field(default_factory=dict)
    joins: Joins | None = None
    schema: int | None = None
    unread: list[bytes] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def channels(self) -> list[str]:
        """The channels' names."""
        return self.trial.channels

    @property
    def works(self) -> bool:
        """Whether the daemon would read most of these records."""
        return bool(self.channels) and 2 * self.trial.accepted > self.trial.records


@dataclass(frozen=True, slots=True)
class _Candidate:
    options: dict[str, Any]
    channels: list[str]
    mapping: str = ""


def examine(
    polls: Sequence[RecordColumns], now_us: int, schemas: Mapping[int, Schema | str] = MappingProxyType({})
) -> Diagnosis:
    """Looks at records, of each partition in the order of its log; there is one at least.

    `schemas` are those that are known of those that records were written with, by their ids.
    """
    values = [value for columns in polls for value in columns.values]
    keys = [key for columns in polls for key in columns.keys]
    has_headers = any(columns.headers is not None for columns in polls)
    headers: list[Headers] | None = None
    if has_headers:
        headers = [each for columns in polls for each in (columns.headers or [()] * len(columns.values))]
    looked = documents.of(values, schemas)
    shape = shapes.of(looked, keys, headers)
    _look_for_channels(shape, _Retry(polls, now_us, 0, schemas))
    retry = _Retry(polls, now_us, shape.length if shape.are_windows else 0, schemas)
    chosen, tried = _best(retry, _candidates(shape))
    if shape.series and chosen.options["series"] != shape.series:
        shape = shapes.of(looked, keys, headers, chosen.options["series"])
        chosen = replace(chosen, options=shapes.as_options(shape))
    chosen, tried = _ready_made(retry, chosen, tried, shape)
    found = Diagnosis(
        shape=shape,
        options=chosen.options,
        mapping=chosen.mapping,
        trial=tried,
        mean_bytes=float(np.mean([len(value) for value in values if value] or [0])),
        keys=len({key for key in keys if key}),
        schema=looked.schema,
        notes=[*shape.notes],
    )
    if not looked.known:
        found.unread = [value for value in values if value][:_MOST_UNREAD]
    found.fields = [line_of(each) for each in shape.fields.values()]
    if found.channels:
        for propose in (_kafkas_time, _missing, _suited, _together, _joined, _grace):
            propose(found, retry)
    found.notes += _notes(found, polls, now_us)
    return found


class _Retry(NamedTuple):
    """Tries options on the same records. `length` of records that are windows, else 0."""

    polls: Sequence[RecordColumns]
    now_us: int
    length: int
    schemas: Mapping[int, Schema | str]

    def run(self, options: Mapping[str, Any], channels: Sequence[str]) -> Trial | None:
        """What comes of options; None where they can't be kept together, or there are no channels."""
        rules = as_rules(options)
        if rules is None or not channels:
            return None
        return trial.run(self.polls, rules, channels, self.now_us, length=self.length, schemas=self.schemas)

    def put(self, found: Diagnosis, options: Mapping[str, Any], channels: Sequence[str] | None = None) -> None:
        """Puts options, and channels, in place of those found, where they can be kept together."""
        tried = self.run(options, found.channels if channels is None else channels)
        if tried is not None:
            found.options, found.trial = dict(options), tried


def _look_for_channels(shape: Shape, retry: _Retry) -> None:
    """Takes a few numbers without names for one sample of so many channels, where they can be read so."""
    count = shape.length
    if not shape.are_windows or count > _MOST_CHANNELS or len(shape.names) != 1:
        return
    names = [str(at) for at in range(count)]
    tried = retry.run(shapes.as_options(shape), names)
    if tried is not None and 2 * tried.accepted > tried.records:
        shape.names, shape.length = names, 1
        shape.notes.append(
            f"values hold {count} numbers without names: they are taken for channels, called 0 to {count - 1}; "
            f"if they are {count} samples of one, use --channels value"
        )
    else:
        shape.notes.append(
            f"values are lists of {count} numbers, which are {count} samples of one channel; where they are channels, "
            "write a list of lists, [[3.1, 20.5]], or an object with their names"
        )


def _candidates(shape: Shape) -> list[_Candidate]:
    """What may be right, the likeliest first: they differ in what names the series."""
    options = shapes.as_options(shape)
    return [_Candidate(options | {"series": series}, shape.called) for series in shape.may_name_series or ["key"]]


def _best(retry: _Retry, candidates: Sequence[_Candidate]) -> tuple[_Candidate, Trial]:
    """The first of the candidates by which about as much can be used as by any."""
    all_tried = [(candidate, retry.run(candidate.options, candidate.channels)) for candidate in candidates]
    tried = [(candidate, each) for candidate, each in all_tried if each is not None]
    if not tried:
        return candidates[0], trial.nothing(retry.polls)
    most = max(each.usable for _, each in tried)
    return next((candidate, each) for candidate, each in tried if each.usable >= _ABOUT * most)


def _ready_made(retry: _Retry, chosen: _Candidate, tried: Trial, shape: Shape) -> tuple[_Candidate, Trial]:
    """What was chosen, said by a ready-made mapping where one reads as much."""
    for options in mappings.candidates(shape, chosen.options):
        found = retry.run(options, chosen.channels)
        if found is not None and (found.usable, found.accepted) >= (tried.usable, tried.accepted):
            return _Candidate(options, chosen.channels, str(options["mapping"])), found
    return chosen, tried


def as_rules(options: Mapping[str, Any]) -> InputRules | None:
    """The daemon's rules by options of `input`; None where they can't be kept together."""
    try:
        checked = InputOptions.model_validate(options)
        return InputRules.of(checked)
    except (ValidationError, ConfigError):
        return None


def _kafkas_time(found: Diagnosis, retry: _Retry) -> None:
    """Takes Kafka's own time where that in the records is of a zone that they don't say."""
    if said := remarks.in_zone(found.shape, found.trial):
        found.notes.append(said)
        retry.put(found, found.options | {"timestamp_field": ""})
        found.shape.fields[found.shape.time].role = "clock"
        found.shape = replace(found.shape, time="")


def _missing(found: Diagnosis, retry: _Retry) -> None:
    """Declares numbers and words that seem to mean missing, where that does not refuse more."""
    found.sentinels, others = trial.declarable(dict(zip(found.channels, found.trial.values.T, strict=True)))
    found.notes += [ambiguous(*each) for each in others.items()]
    likely = sorted({each for values in found.sentinels.values() for each in values})
    odd = {path: words(Content(each)) for path, each in found.shape.fields.items() if each.role in ("channel", "value")}
    for path, texts in odd.items():
        if texts:
            listed = ", ".join(map(repr, texts))
            found.notes.append(f"{path}: {listed} stands among numbers, so missing_values below declares it as missing")
    if declared := [*likely, *sorted({text for texts in odd.values() for text in texts})]:
        retry.put(found, found.options | {"missing_values": declared})


def _suited(found: Diagnosis, retry: _Retry) -> None:
    """Leaves out channels that tell the time or only rise, as long as others are left."""
    columns = {name: [*found.trial.by_series(at).values()] for at, name in enumerate(found.channels)}
    odd = {name: what for name in columns if (what := plausibility.unsuited(name, columns[name]))}
    found.notes += left_out(odd)
    if not odd or len(odd) == len(columns):
        return
    paths = {path: name for name, path in found.shape.channels.items()}
    for line in found.fields:
        line.role = odd.get(paths.get(line.path, ""), line.role)
    retry.put(found, found.options, [name for name in columns if name not in odd])


def _together(found: Diagnosis, retry: _Retry) -> None:
    """Chooses channels that series have together: a window needs all channels of its artifact."""
    tried = found.trial
    by_series: dict[frozenset[str], list[str]] = {}
    for (name, _), part in zip(tried.series, split(tried.carried, tried.owners, len(tried.series)), strict=True):
        carried = part.sum(axis=0)
        if carried.sum() >= _SHOWS * len(found.channels):
            there = frozenset(np.array(found.channels)[carried > 0].tolist())
            by_series.setdefault(there, []).append(name)
    if len(by_series) < 2:
        return
    whole = {group: sum(len(names) for each, names in by_series.items() if each >= group) for group in by_series}
    best = max(by_series, key=lambda group: (whole[group] * len(group), sorted(group)))
    without = [name for group, names in by_series.items() if not group >= best for name in names]
    left = [name for name in found.channels if name not in best]
    if not without and not left:
        return
    groups = "; ".join(f"{listing(sorted(names))} have {listing(sorted(group))}" for group, names in by_series.items())
    found.notes.append(
        f"series have different channels, and a window needs all channels of its artifact: {groups}. The command "
        f"below is for {listing([name for name in found.channels if name in best])}, in {whole[best]} series; for "
        "others train another artifact, and give it a daemon of its own"
    )
    retry.put(found, found.options, [name for name in found.channels if name in best])


def _joined(found: Diagnosis, _: _Retry) -> None:
    """Puts together what comes apart, where records carry some channels each."""
    found.joins = joins.of(found.trial)
    if found.joins is not None and found.joins.tolerance_ms:
        found.options["join_tolerance_ms"] = found.joins.tolerance_ms


def _grace(found: Diagnosis, _: _Retry) -> None:
    late_us = max((each.late_us for each in found.trial.series.values()), default=0)
    if late_us:
        wanted = 2 * late_us / 1000
        found.options["grace_ms"] = next((each for each in _GRACES_MS if each >= wanted), math.ceil(wanted))


def _notes(found: Diagnosis, polls: Sequence[RecordColumns], now_us: int) -> Iterator[str]:
    yield from remarks.of_clocks(found.shape, found.trial, polls, now_us)
    yield from remarks.of_series(found.shape, found.trial)
    yield from remarks.of_kinds(found.shape)
    yield from units.of(found.shape, found.trial)
    if found.shape.format and as_rules({"format": found.shape.format}) is None:
        yield f"records are {found.shape.format}, which no format that is installed reads (input.format)"
    for each in found.shape.fields.values():
        if each.note:
            yield f"{each.path}: {each.note}"
        if Content(each).has_decimal_commas:
            yield f"{each.path} holds numbers with a decimal comma: write them with a point"


def usual_step_us(found: Diagnosis) -> float:
    """The usual step between samples of a series; 0 where none has two."""
    if found.joins is not None:
        return found.joins.step_us
    steps = [each.step_us for each in found.trial.series.values() if each.step_us]
    return float(np.median(steps)) if steps else 0.0
