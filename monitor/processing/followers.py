"""What follows the scores of a partition's series, window by window, and is remembered of each: a table of followers.

    scores, static thresholds -> advance -> scores and thresholds that verdicts are made of

A follower (`monitor/detector/following.py`) is a pure function of each series' own windows in order, so that a restart
can compute it again: what is remembered stands in the checkpoint, and the windows between it and the committed position
are cut, scored and handed over again, without anything being decided. Where there is no follower nothing of this is
done, and windows are not even cut.

Rules of this file: pure. Series are known by their serial numbers, which are never used again: windows may wait for
their scores while their series' row has gone to another one. A series is forgotten once all windows are decided.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor.detector import thresholds, windowing
from monitor.detector.arrays import Float32Array, Float64Array, Int64Array, grown
from monitor.detector.following import Follower, Following, FollowingRules, ScoredWindows
from monitor.detector.memory import Memory
from monitor.detector.resting import ErrorsAtRest
from monitor.detector.smoothing import Smoothing
from monitor.detector.spec import FollowSpec, Manifest
from monitor.detector.thresholds import Follow
from monitor.detector.windows import Windows

# Windows (n, length, channels) to how far each channel is from what is expected, (n, channels).
Errors = Callable[[Float32Array], Float32Array]

_ROOM = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class FollowOptions:
    """What the configuration says to followers; `AlertingOptions` (`monitor/config/options.py`) documents each."""

    follow: Follow = "auto"
    relearn_after_ms: int = 0


def followers_of(manifest: Manifest, options: FollowOptions) -> list[Follower]:
    """The followers that go with an artifact, in the order in which each sees what those before it made of scores."""
    made = list[Follower]()
    if manifest.score.smoothing is not None:
        made.append(Smoothing(manifest.score.smoothing))
    follows = thresholds.of(manifest, follow=options.follow).chosen.follows
    if follows is not None or options.relearn_after_ms:
        rules = FollowingRules.of(follows or FollowSpec())
        rules = replace(rules, raises=follows is not None, relearn_after_ms=options.relearn_after_ms)
        made.append(Following(rules))
    if len(usual := manifest.calibration.channel_errors) > 1:
        made.append(ErrorsAtRest(len(usual), windowing.overlap(manifest.window)))
    return made


def row_bytes(followers: Sequence[Follower]) -> int:
    """What is remembered of a series, in memory and in a snapshot."""
    return sum(follower.nothing.itemsize for follower in followers)


class Followers:
    """The followers of one partition, and what they remember of its series."""

    def __init__(self, followers: Sequence[Follower], artifact: str, errors: Errors) -> None:
        """`artifact` names what scores: what was remembered of other scores says nothing about these. `errors` are
        those of its scorer."""
        self._errors = errors
        self._followers = followers
        self._artifact = artifact
        self._memories = [Memory.full(0, follower.nothing) for follower in followers]
        self._serials = np.empty(0, dtype=np.int64)  # rising; of the first `_count` rows
        self._count = 0

    def begin(self, serials: Sequence[int]) -> None:
        """Makes room for new series, whose numbers are higher than any before."""
        first, self._count = self._count, self._count + len(serials)
        if self._count > len(self._serials):
            self._resize(np.arange(first), max(self._count, 2 * first, _ROOM))
        self._serials[first : self._count] = serials

    def _resize(self, kept: Int64Array, rows: int) -> None:
        """Makes room for so many rows, the first of which are those that are kept."""
        self._serials = grown(self._serials[kept], rows)
        for number, (follower, memory) in enumerate(zip(self._followers, self._memories, strict=True)):
            self._memories[number] = Memory.full(rows, follower.nothing)
            self._memories[number].put(slice(len(kept)), memory.take(kept))

    def keep(self, serials: Collection[int]) -> None:
        """Forgets all series but these, now and then: when more are forgotten than kept."""
        if self._count > 2 * len(serials) + _ROOM:
            known = self._serials[: self._count]
            kept = np.flatnonzero(np.isin(known, np.fromiter(serials, np.int64, len(serials))))
            self._count = len(kept)
            self._resize(kept, max(len(kept), _ROOM))

    def advance(self, windows: Windows, scores: Float32Array, static: Float64Array) -> ScoredWindows:
        """What followers make of the next windows, whose `series` are serial numbers."""
        seen = ScoredWindows(self._rows(windows.series), windows.end_us, scores, static)
        for follower, memory in zip(self._followers, self._memories, strict=True):
            seen = follower.advance(seen, memory, lambda rows: self._errors(windows.values[rows]))
        return seen

    def _rows(self, serials: Int64Array) -> Int64Array:
        return np.searchsorted(self._serials[: self._count], serials)

    def snapshot(self, serials: Int64Array) -> dict[str, bytes]:
        """What each follower remembers of these series, as many bytes for each, by its name, artifact and layout."""
        rows = self._rows(serials)
        return {
            self._name(follower): memory.take(rows).table().tobytes()
            for follower, memory in zip(self._followers, self._memories, strict=True)
        }

    def restore(self, serials: Int64Array, found: Mapping[str, bytes]) -> bool:
        """Puts back what `snapshot` returned; whether all go on. One starts over that is not there."""
        rows, go_on = self._rows(serials), True
        for follower, memory in zip(self._followers, self._memories, strict=True):
            kept = found.get(self._name(follower))
            if kept is not None and len(kept) == len(rows) * memory.layout.itemsize:
                memory.put(rows, Memory.of(np.frombuffer(kept, memory.layout)))
            else:
                go_on = False
        return go_on

    def _name(self, follower: Follower) -> str:
        return f"{follower.name} {self._artifact} {follower.nothing.dtype.descr}"
