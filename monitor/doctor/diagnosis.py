"""What records are, and the options with which the daemon reads them: guessed from content, tried, and measured.

Rules of this file: pure; the caller passes the clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from msgspec import UNSET
from pydantic import ValidationError

from monitor.backends.abstract import Headers, RecordColumns
from monitor.config.input import InputOptions
from monitor.detector.times import NEWEST_US, OLDEST_US
from monitor.doctor import documents, mappings, shapes, trial
from monitor.doctor.fields import Content, Field
from monitor.doctor.shapes import Shape
from monitor.doctor.trial import Trial
from monitor.errors import ConfigError
from monitor.formats.decoder import InputRules

# Graces that are proposed: the next that is longer than twice the lateness seen.
_GRACES_MS = (1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000)
_ABOUT = 0.9  # of the most that can be used
_OLD_US = 30 * 86_400_000_000


@dataclass(slots=True)
class FieldLine:
    """A field as the report shows it."""

    path: str
    role: str
    seen: str
    missing: float = 0.0


@dataclass(slots=True, kw_only=True)
class Diagnosis:
    """What some records of a topic are.

    `options` are those of `input` that differ from the defaults, `mapping` the ready-made one among them, if any.
    `sentinels` are numbers by channel that seem to mean missing.
    """

    shape: Shape
    options: dict[str, Any]
    trial: Trial
    mean_bytes: float
    keys: int
    fields: list[FieldLine] = field(default_factory=list)
    mapping: str = ""
    sentinels: dict[str, list[float]] = field(default_factory=dict)
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


def examine(polls: Sequence[RecordColumns], now_us: int) -> Diagnosis:
    """Looks at records, of each partition in the order of its log; there is one at least."""
    values = [value for columns in polls for value in columns.values]
    keys = [key for columns in polls for key in columns.keys]
    has_headers = any(columns.headers is not None for columns in polls)
    headers: list[Headers] | None = None
    if has_headers:
        headers = [each for columns in polls for each in (columns.headers or [()] * len(columns.values))]
    looked = documents.of(values)
    shape = shapes.of(looked, keys, headers)
    chosen, tried = _best(polls, _candidates(shape), shape.length if _are_windows(shape) else 0, now_us)
    if shape.series and chosen.options["series"] != shape.series:
        shape = shapes.of(looked, keys, headers, chosen.options["series"])
        chosen = replace(chosen, options=shapes.as_options(shape))
    chosen, tried = _ready_made(polls, chosen, tried, shape, now_us)
    found = Diagnosis(
        shape=shape,
        options=chosen.options,
        mapping=chosen.mapping,
        trial=tried,
        mean_bytes=float(np.mean([len(value) for value in values if value] or [0])),
        keys=len({key for key in keys if key}),
        notes=[*shape.notes],
    )
    found.fields = [line_of(each) for each in shape.fields.values()]
    _propose_missing(found, polls, now_us)
    _propose_grace(found)
    found.notes += _notes(found, polls, now_us)
    return found


def _are_windows(shape: Shape) -> bool:
    """Whether each record is a window of its own: all of one length, and none says when it was."""
    return shape.length > 1 and not shape.time and not shape.fields


def _candidates(shape: Shape) -> list[_Candidate]:
    """What may be right, the likeliest first: they differ in what names the series."""
    options = shapes.as_options(shape)
    return [_Candidate(options | {"series": series}, shape.called) for series in shape.may_name_series or ["key"]]


def _best(
    polls: Sequence[RecordColumns], candidates: Sequence[_Candidate], length: int, now_us: int
) -> tuple[_Candidate, Trial]:
    """The first of the candidates by which about as much can be used as by any."""
    tried = []
    for candidate in candidates:
        rules = as_rules(candidate.options)
        if rules is not None and candidate.channels:
            tried.append((candidate, trial.run(polls, rules, candidate.channels, now_us, length=length)))
    if not tried:
        return candidates[0], trial.run(polls, InputRules(), ["value"], now_us)
    most = max(each.usable for _, each in tried)
    return next((candidate, each) for candidate, each in tried if each.usable >= _ABOUT * most)


def _ready_made(
    polls: Sequence[RecordColumns], chosen: _Candidate, tried: Trial, shape: Shape, now_us: int
) -> tuple[_Candidate, Trial]:
    """What was chosen, said by a ready-made mapping where one reads as much."""
    for options in mappings.candidates(shape, chosen.options):
        rules = as_rules(options)
        if rules is not None and chosen.channels:
            found = trial.run(polls, rules, chosen.channels, now_us)
            if (found.usable, found.accepted) >= (tried.usable, tried.accepted):
                return _Candidate(options, chosen.channels, str(options["mapping"])), found
    return chosen, tried


def as_rules(options: Mapping[str, Any]) -> InputRules | None:
    """The daemon's rules by options of `input`; None where they can't be kept together."""
    try:
        checked = InputOptions.model_validate(options)
        return InputRules.of(checked)
    except (ValidationError, ConfigError):
        return None


def line_of(found: Field) -> FieldLine:
    """A field as the report shows it."""
    content = Content(found)
    absent = sum(value is UNSET for value in found.values)
    share = (content.missing + absent) / max(1, len(found.values))
    return FieldLine(found.path, found.role, found.why or _range(content), share)


def _range(content: Content) -> str:
    finite = content.finite
    if not len(finite):
        return ""
    text = f"{finite.min():.6g} to {finite.max():.6g}, usually {np.median(finite):.6g}"
    return f"{text}; numbers as text" if content.is_text_number and not content.is_number else text


def _propose_missing(found: Diagnosis, polls: Sequence[RecordColumns], now_us: int) -> None:
    """Declares numbers that seem to mean missing, where that does not refuse more."""
    for at, name in enumerate(found.channels):
        if likely := trial.sentinels(found.trial.values[:, at]):
            found.sentinels[name] = likely
    if found.sentinels:
        likely = sorted({each for values in found.sentinels.values() for each in values})
        options = found.options | {"missing_values": likely}
        rules = as_rules(options)
        if rules is not None:
            length = found.shape.length if _are_windows(found.shape) else 0
            found.options = options
            found.trial = trial.run(polls, rules, found.channels, now_us, length=length)


def _propose_grace(found: Diagnosis) -> None:
    late_us = max((each.late_us for each in found.trial.series.values()), default=0)
    if late_us:
        wanted = 2 * late_us / 1000
        found.options["grace_ms"] = next((each for each in _GRACES_MS if each >= wanted), math.ceil(wanted))


def _notes(found: Diagnosis, polls: Sequence[RecordColumns], now_us: int) -> list[str]:
    notes = [*_of_clocks(found, polls, now_us), *_of_series(found)]
    for each in found.shape.fields.values():
        if each.note:
            notes.append(f"{each.path}: {each.note}")
        if Content(each).has_decimal_commas:
            notes.append(f"{each.path} holds numbers with a decimal comma: write them with a point")
    return notes


def _of_clocks(found: Diagnosis, polls: Sequence[RecordColumns], now_us: int) -> list[str]:
    stamps = np.concatenate([columns.timestamps_ms for columns in polls]) * 1000
    notes = []
    broken = int(((stamps < OLDEST_US) | (stamps >= NEWEST_US)).sum())
    if broken:
        notes.append(
            f"{broken} of {len(stamps)} records have a Kafka timestamp that is no time in ms ({stamps[0] // 1000})"
        )
    elif found.trial.behind_us is not None and abs(found.trial.behind_us) > 3_600_000_000:
        hours = found.trial.behind_us / 3.6e9
        said = f"{abs(hours):,.1f} h {'after' if hours > 0 else 'before'} the times in their values"
        zone = "; is that a time zone?" if abs(hours * 4 - round(hours * 4)) < 0.02 and abs(hours) < 15 else ""
        notes.append(f"records were written {said}, usually{zone}")
    newest = max((each.last_us for each in found.trial.series.values()), default=now_us)
    if newest < now_us - _OLD_US:
        notes.append(
            "the newest sample is more than 30 days old: nothing has been written since, or the clock is wrong"
        )
    return notes


def _of_series(found: Diagnosis) -> list[str]:
    notes = []
    if spread := found.trial.spread:
        notes.append(
            f"{len(spread)} of {len(found.trial.names)} series are in several partitions, as {spread[0]}: each is a "
            "series of its own there, with a part of the samples; give the records a key that names the series"
        )
    if found.shape.format and as_rules({"format": found.shape.format}) is None:
        notes.append(f"records are {found.shape.format}, which no format that is installed reads (input.format)")
    if not found.shape.series and found.shape.format:
        notes.append("nothing names a series: give the records a key, such as the device's name")
    return notes


def usual_step_us(found: Trial) -> float:
    """The usual step between samples of a series; 0 where none has two."""
    steps = [each.step_us for each in found.series.values() if each.step_us]
    return float(np.median(steps)) if steps else 0.0
