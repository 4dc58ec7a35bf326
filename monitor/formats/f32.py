"""Records of raw little-endian float32, (samples, channels) row by row, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from monitor.detector.arrays import BoolArray, Int64Array
from monitor.detector.times import NO_TIME
from monitor.errors import Reason
from monitor.formats.abstract import RecordSpec
from monitor.formats.parsed import Outlines, Parsed, Rejected, drop_infinite


class F32Format:
    """Reads `f32` values. A record of another size than whole samples is refused."""

    names_fields: ClassVar[bool] = False

    def __init__(self, expected: RecordSpec) -> None:
        self._channels = len(expected.channels)
        self._sample_bytes = 4 * self._channels
        self._window_length = expected.window_length
        self._max_samples = expected.max_samples
        self._narrow = None if expected.keeps_float32 else expected.narrow
        self._numbers = expected.numbers

    def parse(self, values: list[bytes | None], rows: list[int]) -> Parsed:
        """Reads the values at `rows` (none of them empty)."""
        taken = values if len(rows) == len(values) else [values[row] for row in rows]
        there = np.array(rows, dtype=np.int64)
        sizes = np.fromiter(map(len, taken), np.int64, len(taken))  # type: ignore[arg-type]
        bad = np.flatnonzero(self._misshapen(sizes))
        odd = zip(there[bad].tolist(), sizes[bad].tolist(), strict=True)
        rejected = [Rejected(row, Reason.WRONG_SHAPE, self._problem(size)) for row, size in odd]
        if rejected:
            there, sizes = np.delete(there, bad), np.delete(sizes, bad)
            taken = [values[row] for row in there.tolist()]
        # join copies once; the array is aligned and ours
        samples = np.frombuffer(b"".join(taken), dtype="<f4").reshape(-1, self._channels)  # type: ignore[arg-type]
        samples = self._numbers.settle_float32(samples)
        if self._narrow is not None:
            samples = self._narrow(samples.astype(np.float64))
        no_times, no_rates = np.full(len(there), NO_TIME, dtype=np.int64), np.full(len(there), np.nan)
        return drop_infinite(Parsed(there, sizes // self._sample_bytes, samples, no_times, no_rates, rejected))

    def outlines(self, values: Sequence[bytes]) -> Outlines:
        """What is known of records that are refused: as many samples as are whole."""
        whole = np.fromiter(map(len, values), np.int64, len(values)) // self._sample_bytes
        nothing = np.full(len(values), NO_TIME, dtype=np.int64)
        return Outlines(np.clip(whole, 1, self._max_samples), nothing, np.full(len(values), np.nan))

    def _misshapen(self, sizes: Int64Array) -> BoolArray:
        """Which records of so many bytes (n,) hold no samples that are expected."""
        samples, rest = np.divmod(sizes, self._sample_bytes)
        misshapen: BoolArray = (rest > 0) | (samples > self._max_samples)
        return misshapen if self._window_length is None else misshapen | (samples != self._window_length)

    def _problem(self, size: int) -> str:
        samples, rest = divmod(size, self._sample_bytes)
        if rest:
            return f"{size} bytes are not whole samples of {self._channels} float32"
        if self._window_length is not None and samples != self._window_length:
            return f"{samples} samples, a window has {self._window_length}"
        return f"{samples} samples, at most {self._max_samples} a record (input.max_samples_per_record)"
