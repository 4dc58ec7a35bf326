"""WFDB annotation files (`.atr` and others) in the MIT format: which samples lie in an abnormal beat.

    two bytes, little-endian: 6 bits of code, 10 bits of samples since the annotation before
    codes 59 to 63 are no annotations: a longer step, and attributes of the one before

Rules of this file: pure.

References: WFDB Applications Guide, annot(5): https://physionet.org/physiotools/wag/annot-5.htm; the classes of beats
are those of ANSI/AAMI EC57, as de Chazal et al. 2004 (doi:10.1109/TBME.2004.827359) map MIT-BIH's codes to them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import Int64Array
from monitor.errors import DataError

_SYMBOLS = (
    *(" ", "N", "L", "R", "a", "V", "F", "J", "A", "S", "E", "j", "/", "Q", "~", " ", "|", " ", "s", "T", "*", "D"),
    *('"', "=", "p", "B", "^", "t", "+", "u", "?", "!", "[", "]", "e", "n", "@", "x", "f", "(", ")", "r"),
)
NORMAL_BEATS = frozenset("NLRejB")
ABNORMAL_BEATS = frozenset("aVFJASE/Qnf?r")
AAMI_CLASSES = {"N": "NLRejB", "S": "AaJSn", "V": "VEr", "F": "F", "Q": "/fQ?"}
_SKIP, _NUMBER, _SUBTYPE, _CHANNEL, _TEXT = 59, 60, 61, 62, 63
_RESOLUTION = re.compile(rb"## time resolution: *([0-9.]{1,20})")


@dataclass(frozen=True, slots=True)
class Annotations:
    """`samples` (n,), counted from 0, and the `symbols` of n annotations."""

    samples: Int64Array
    symbols: tuple[str, ...]

    @property
    def abnormal(self) -> NDArray[np.bool_]:
        """Which are beats of a class other than N, (n,)."""
        return np.array([symbol in ABNORMAL_BEATS for symbol in self.symbols], dtype=np.bool_)

    @property
    def classes(self) -> NDArray[np.str_]:
        """The AAMI class of each, N, S, V, F or Q, (n,); empty where it is no beat."""
        of = {symbol: name for name, symbols in AAMI_CLASSES.items() for symbol in symbols}
        return np.array([of.get(symbol, "") for symbol in self.symbols], dtype="<U1")

    @property
    def beats(self) -> NDArray[np.bool_]:
        """Which are beats, (n,)."""
        return self.abnormal | np.array([symbol in NORMAL_BEATS for symbol in self.symbols], dtype=np.bool_)


def parse(path: Path, raw: bytes, rate_hz: float) -> Annotations:
    """The annotations of a file.

    Args:
        path: for messages.
        raw: the file's bytes.
        rate_hz: the record's; annotations that count in another one are refused.

    Raises:
        DataError: the file ends inside an annotation, steps before the record's start, or counts in another rate.
    """
    samples, symbols = list[int](), list[str]()
    at, now = 0, 0
    while True:
        if at + 2 > len(raw):
            raise DataError(f"{path}: ends without an end mark after {len(samples)} annotations; fetch it again")
        word = raw[at] | raw[at + 1] << 8
        code, step = word >> 10, word & 0x3FF
        at += 2
        if word == 0:
            return Annotations(np.array(samples, dtype=np.int64), tuple(symbols))
        if code == _SKIP:
            if at + 4 > len(raw):
                raise DataError(f"{path}: ends inside an annotation; fetch it again")
            high, low = raw[at : at + 2], raw[at + 2 : at + 4]  # the order of a PDP-11
            now += int.from_bytes(low + high, "little", signed=True)
            at += 4
        elif code == _TEXT:
            text = raw[at : at + step]
            if (stated := _RESOLUTION.match(text)) and not _same(stated[1], rate_hz):
                raise DataError(
                    f"{path}: counts at {stated[1].decode()} Hz, the record has {rate_hz:g} Hz; resample one of them"
                )
            at += step + step % 2
        elif code not in (_NUMBER, _SUBTYPE, _CHANNEL):
            now += step
            if not 0 <= now < 2**40:
                raise DataError(f"{path}: annotation {len(samples) + 1} is at sample {now}; fetch it again")
            samples.append(now)
            symbols.append(_SYMBOLS[code] if code < len(_SYMBOLS) else " ")


def _same(stated: bytes, rate_hz: float) -> bool:
    try:
        return abs(float(stated) - rate_hz) < 1e-6 * rate_hz
    except ValueError:
        return False


def mark(annotations: Annotations, count: int, margin: int) -> Int64Array:
    """Labels (count,): 1 within `margin` samples of an abnormal beat, and in ventricular flutter ([ to ]), else 0."""
    edges = np.zeros(count + 1, dtype=np.int64)
    places = annotations.samples[annotations.abnormal]
    spans = list(zip(places - margin, places + margin + 1, strict=True))
    begun: int | None = None
    for sample, symbol in zip(annotations.samples.tolist(), annotations.symbols, strict=True):
        if symbol == "[" and begun is None:
            begun = sample
        elif symbol == "]" and begun is not None:
            spans.append((np.int64(begun), np.int64(sample + 1)))
            begun = None
    if begun is not None:
        spans.append((np.int64(begun), np.int64(count)))
    for first, end in spans:
        edges[min(max(first, 0), count)] += 1
        edges[min(max(end, 0), count)] -= 1
    return (np.cumsum(edges[:-1]) > 0).astype(np.int64)
