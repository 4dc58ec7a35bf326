"""WFDB header files (`.hea`): which signals a record has, and where and how they are stored.

    100 2 360 650000                                       record, signals, samples per second, samples per signal
    100.dat 212 200 11 1024 995 -22131 0 MLII              file, format, gain, resolution, zero, first, checksum, ...

Rules of this file: pure. What is not read here (several segments, several samples per frame, skew) is refused by name.

References: WFDB Applications Guide, header(5): https://physionet.org/physiotools/wag/header-5.htm
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from monitor.datafiles.dates import column_us
from monitor.detector.times import NO_TIME
from monitor.errors import DataError

_DEFAULT_GAIN = 200.0  # per physical unit, where a header gives none or 0
_DEFAULT_RATE_HZ = 250.0
_FORMATS = (16, 212)
_MAX_SIGNALS = 1024
_FORMAT = re.compile(r"(\d{1,5})(?:x(\d{1,9}))?(?::(\d{1,9}))?(?:\+(\d{1,12}))?")
_GAIN = re.compile(r"([-+0-9.eE]+)(?:\(([-+]?\d{1,10})\))?(?:/(\S+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One line of a header; `first` and `checksum` are None where the line ends before them.

    A sample in `unit` is (stored number - `baseline`) / `gain`. `skip` bytes precede the samples in `file`.
    """

    file: str
    form: int
    skip: int
    gain: float
    baseline: int
    unit: str
    first: int | None
    checksum: int | None
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WfdbHeader:
    """A record; `samples` per signal, None where the header leaves it to the files; `start_us` since 1970, or 0."""

    record: str
    rate_hz: float
    samples: int | None
    start_us: int
    signals: tuple[Signal, ...]


def parse(path: Path, text: str) -> WfdbHeader:
    """A header's content.

    Raises:
        DataError: the line that can't be read, and what was expected.
    """
    lines = [(at, row.strip()) for at, row in enumerate(text.split("\n"), 1)]
    lines = [(at, row) for at, row in lines if row and not row.startswith("#")]
    if not lines:
        raise DataError(f"{path}: an empty header; expected: record, signals, rate, samples")
    line, words = lines[0][0], lines[0][1].split()
    record, _, segments = words[0].partition("/")
    if segments:
        raise DataError(f"{path}, line {line}: a record of several segments is not read; name a segment's header")
    count = _integer(path, line, "number of signals", words[1] if len(words) > 1 else "")
    if not 1 <= count <= _MAX_SIGNALS or len(lines) - 1 < count:
        raise DataError(f"{path}, line {line}: {count} signals, and {len(lines) - 1} lines for them; expected one each")
    rate = _number(path, line, "sampling rate", words[2].split("/")[0]) if len(words) > 2 else _DEFAULT_RATE_HZ
    if not 0 < rate <= 1e9:
        raise DataError(f"{path}, line {line}: a sampling rate of {rate} Hz; expected a positive one")
    samples = _integer(path, line, "number of samples", words[3]) if len(words) > 3 else 0
    if samples < 0:
        raise DataError(f"{path}, line {line}: {samples} samples; expected 0 or more")
    signals = [_signal(path, at, row) for at, row in lines[1 : count + 1]]
    return WfdbHeader(
        record=record,
        rate_hz=rate,
        samples=samples or None,
        start_us=_start_us(path, line, words[4:6]),
        signals=tuple(_distinct(signals)),
    )


def _signal(path: Path, line: int, row: str) -> Signal:
    words = row.split(None, 8)
    form = _FORMAT.fullmatch(words[1]) if len(words) > 1 else None
    if form is None or int(form[1]) not in _FORMATS:
        found = words[1] if len(words) > 1 else "none"
        raise DataError(f"{path}, line {line}: signal format {found[:20]}; 16 and 212 are read, convert it with xform")
    if int(form[2] or 1) != 1 or int(form[3] or 0):
        raise DataError(f"{path}, line {line}: several samples per frame, or skew ({words[1]}), are not read")
    if "/" in words[0] or "\\" in words[0] or words[0] in ("-", ".", ".."):
        raise DataError(f"{path}, line {line}: signal file {words[0]!r}; expected a name in the header's own folder")
    gain = _GAIN.fullmatch(words[2]) if len(words) > 2 else None
    if len(words) > 2 and gain is None:
        raise DataError(f"{path}, line {line}: gain {words[2][:40]!r}; expected GAIN(BASELINE)/UNIT")
    zero = _integer(path, line, "ADC zero", words[4]) if len(words) > 4 else 0
    per_unit = _number(path, line, "gain", gain[1]) if gain else 0.0
    return Signal(
        file=words[0],
        form=int(form[1]),
        skip=int(form[4] or 0),
        gain=per_unit or _DEFAULT_GAIN,
        baseline=int(gain[2]) if gain and gain[2] else zero,
        unit=(gain and gain[3]) or "mV",
        first=_integer(path, line, "first value", words[5]) if len(words) > 5 else None,
        checksum=_integer(path, line, "checksum", words[6]) if len(words) > 6 else None,
        name=words[8].strip() if len(words) > 8 else "",
    )


def _distinct(signals: Sequence[Signal]) -> list[Signal]:
    """Signals without a name are called by their index from 0; of a name that comes again, the second is "NAME 2"."""
    named, taken = list[Signal](), set[str]()
    for at, signal in enumerate(signals):
        plain = name = signal.name or str(at)
        again = 2
        while name in taken:
            name, again = f"{plain} {again}", again + 1
        taken.add(name)
        named.append(replace(signal, name=name))
    return named


def _start_us(path: Path, line: int, words: Sequence[str]) -> int:
    """Of a base time and date; a time without a date says nothing about the year, so the record starts in 1970.

    PhysioNet's Challenges write the date first, and its month by name: 05-Feb-2020 11:39:16.
    """
    if len(words) < 2:
        return 0
    for said in (f"{words[0]} {words[1]}", f"{words[1]} {words[0]}") if "/" not in words[1] else ():
        found, _ = column_us([said], day_first=True)
        if found[0] != NO_TIME:
            return int(found[0])
    try:
        day = datetime.strptime(words[1], "%d/%m/%Y").replace(tzinfo=UTC)
        *rest, seconds = map(float, words[0].split(":"))
        clock = sum(part * 60.0 ** (place + 1) for place, part in enumerate(reversed(rest))) + seconds
    except (ValueError, OverflowError):
        clock = math.nan
    if not 0 <= clock < 86_400:
        said = " ".join(words)[:40]
        raise DataError(
            f"{path}, line {line}: base time {said!r}; expected HH:MM:SS DD/MM/YYYY, or DD-Mon-YYYY HH:MM:SS"
        )
    return round(1e6 * (day.timestamp() + clock))


def _integer(path: Path, line: int, what: str, word: str) -> int:
    if not re.fullmatch(r"[-+]?\d{1,15}", word):
        raise DataError(f"{path}, line {line}: {what} {word[:40]!r}; expected a whole number")
    return int(word)


def _number(path: Path, line: int, what: str, word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{path}, line {line}: {what} {word[:40]!r}; expected a number")
    return number
