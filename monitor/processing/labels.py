"""Labels of series, such as their site: what records say of them, and since which offset.

Rules of this file: pure, and the log alone decides. A label holds from the record that says it until another says it
anew, or the series is forgotten; a record without it leaves it as it is. What holds at an offset can be asked as long
as something up to there may still be decided, so a restart says the same. No Python loop over records, but over those
of series whose labels change.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import msgspec

from monitor.detector.arrays import Int64Array

_State = tuple[bytes | str | None, ...]


class Since(NamedTuple):
    """The labels of a series from an offset on."""

    offset: int
    labels: dict[str, str]


_decode = msgspec.msgpack.Decoder(list[Since]).decode


class Labels:
    """The labels of one partition's series."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._history: dict[bytes, list[Since]] = {}
        # What records say that changes nothing, as (key, label, ...), and by key
        self._known: set[_State] = set()
        self._known_of: dict[bytes, list[_State]] = {}

    def note(
        self,
        keys: Sequence[bytes | None],
        offsets: Int64Array,
        labels: Sequence[Sequence[str | None]],
        forgotten: Iterable[tuple[bytes, int]] = (),
    ) -> None:
        """Takes in what k records of known series say: for each label k texts, None where it is not said.

        `forgotten` are series that were forgotten on the way, each before the record at an offset.
        """
        states: list[_State] = list(zip(keys, *labels, strict=True))
        gone = [(offset, 0, (key,)) for key, offset in forgotten]
        odd = {state[0] for state in set(states) - self._known} | {state[0] for _, _, state in gone}
        if not odd:
            return
        steps = [(offset, 1, state) for state, offset in zip(states, offsets.tolist(), strict=True) if state[0] in odd]
        for offset, _, state in sorted([*gone, *steps], key=itemgetter(0, 1)):
            key = state[0]
            assert isinstance(key, bytes)
            self._take(key, offset, state[1:] if len(state) > 1 else None)

    def forget(self, forgotten: Iterable[tuple[bytes, int]]) -> None:
        """Series are forgotten, each before the record at an offset."""
        for key, offset in forgotten:
            self._take(key, offset, None)

    def _take(self, key: bytes, offset: int, said: Sequence[object] | None) -> None:
        """Notes what one record says; None: the series is forgotten."""
        history = self._history.setdefault(key, [])
        before = history[-1].labels if history else {}
        texts = zip(self._names, said or (), strict=False)
        after = {} if said is None else before | {name: str(text) for name, text in texts if text is not None}
        if after != before:
            history.append(Since(offset, after))
            self._known.difference_update(self._known_of.pop(key, ()))
        if said is not None:
            state = (key, *said)
            self._known.add(state)  # type: ignore[arg-type]
            self._known_of.setdefault(key, []).append(state)  # type: ignore[arg-type]

    def at(self, series: str, offset: int) -> dict[str, str]:
        """The labels of a series at an offset."""
        history = self._history.get(series.encode(), [])
        found = bisect_right(history, offset, key=itemgetter(0))
        return history[found - 1].labels if found else {}

    def snapshot(self, keys: Sequence[bytes], undecided_from: int) -> list[bytes]:
        """What is to be remembered of series; what held only before `undecided_from`, and other series, are dropped."""
        kept: dict[bytes, list[Since]] = {}
        for key in keys:
            history = self._history.get(key, [])
            first = max(0, bisect_right(history, undecided_from, key=itemgetter(0)) - 1)
            if history:
                kept[key] = history[first:]
        self._history = kept
        gone = [key for key in self._known_of if key not in kept]
        for key in gone:
            self._known.difference_update(self._known_of.pop(key))
        return [msgspec.msgpack.encode(kept.get(key, [])) for key in keys]

    def restore(self, found: Mapping[bytes, bytes]) -> None:
        """Puts back what `snapshot` returned, by key. Labels that are not asked for any more are left out."""
        for key, raw in found.items():
            history = [
                Since(offset, {name: text for name, text in labels.items() if name in self._names})
                for offset, labels in _decode(raw)
            ]
            if history:
                self._history[key] = history
