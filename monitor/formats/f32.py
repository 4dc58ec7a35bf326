"""Records of raw little-endian float32, (samples, channels) row by row, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

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
        rejected = []
        good = []
        for row in rows:
            problem = self._problem(values[row] or b"")
            if problem is None:
                good.append(row)
            else:
                rejected.append(Rejected(row, Reason.WRONG_SHAPE, problem))
        taken = values if len(good) == len(values) else [values[row] for row in good]
        # join copies once; the array is aligned and ours
        samples = np.frombuffer(b"".join(taken), dtype="<f4").reshape(-1, self._channels)  # type: ignore[arg-type]
        samples = self._numbers.settle_float32(samples)
        if self._narrow is not None:
            samples = self._narrow(samples.astype(np.float64))
        counts = np.fromiter(map(len, taken), np.int64, len(taken)) // self._sample_bytes  # type: ignore[arg-type]
        no_times, no_rates = np.full(len(good), NO_TIME, dtype=np.int64), np.full(len(good), np.nan)
        parsed = Parsed(np.array(good, dtype=np.int64), counts, samples, no_times, no_rates, rejected)
        return drop_infinite(parsed)

    def outlines(self, values: Sequence[bytes]) -> Outlines:
        """What is known of records that are refused: as many samples as are whole."""
        whole = np.fromiter(map(len, values), np.int64, len(values)) // self._sample_bytes
        nothing = np.full(len(values), NO_TIME, dtype=np.int64)
        return Outlines(np.clip(whole, 1, self._max_samples), nothing, np.full(len(values), np.nan))

    def _problem(self, value: bytes) -> str | None:
        samples, rest = divmod(len(value), self._sample_bytes)
        if rest:
            return f"{len(value)} bytes are not whole samples of {self._channels} float32"
        if self._window_length is not None and samples != self._window_length:
            return f"{samples} samples, a window has {self._window_length}"
        if samples > self._max_samples:
            return f"{samples} samples, at most {self._max_samples} a record (input.max_samples_per_record)"
        return None
