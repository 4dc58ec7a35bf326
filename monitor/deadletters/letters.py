"""What lies in a dead-letter topic: letters, notes of what was redriven, and which letters somebody asks for.

Rules of this file: pure; what is no letter is counted, and raises nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from monitor.backends.abstract import RecordColumns, TopicPartition
from monitor.messages.dead_letters import REDRIVEN, Origin, Rejection, decode, decode_note

# Details of one reason, topic and partition that are counted separately; those of further kinds are counted together.
MOST_KINDS = 100
OTHERS = "other details"
_VALUE = re.compile(r"""the (?:(text) (?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?:\.\.\.)?|(number) [^\s,;]+)""")
# Not those of names, as in sensor_7 and float32, nor of what a detail says was expected.
_DIGITS = re.compile(r"(?<![\w.:-])(?<!RFC )(?<!like )(?<!since )-?\d++(?:[.:,T-]*+\d++)*+Z?(?!\w)")


class Letter(NamedTuple):
    """A dead letter: what it says, and when it was written, in ms since 1970."""

    rejection: Rejection
    written_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which letters are asked for; what is empty or infinite asks for all. Ranges hold their first, not their last.

    `since_ms` and `until_ms` are when the letter was written, `first_offset` and `end_offset` the record's own.
    """

    reasons: Set[str] = frozenset()
    topics: Set[str] = frozenset()
    partitions: Set[int] = frozenset()
    since_ms: float = -math.inf
    until_ms: float = math.inf
    first_offset: float = -math.inf
    end_offset: float = math.inf

    def __contains__(self, letter: object) -> bool:
        if not isinstance(letter, Letter):
            return False
        rejection, written_ms = letter
        return (
            (not self.reasons or rejection.reason in self.reasons)
            and (not self.topics or rejection.topic in self.topics)
            and (not self.partitions or rejection.partition in self.partitions)
            and self.since_ms <= written_ms < self.until_ms
            and self.first_offset <= rejection.offset < self.end_offset
        )


def letters(columns: RecordColumns) -> Iterator[Letter | None]:
    """The letters among some records of a dead-letter topic; None for each record that is neither letter nor note."""
    for row, value in enumerate(columns.values):
        if not is_note(columns, row):
            try:
                yield Letter(decode(value or b""), int(columns.timestamps_ms[row]))
            except (msgspec.DecodeError, UnicodeDecodeError):
                yield None


def redriven(columns: RecordColumns) -> Iterator[Origin]:
    """The records that the notes among some records of a dead-letter topic are about."""
    for row, value in enumerate(columns.values):
        if is_note(columns, row):
            try:
                yield from decode_note(value or b"")
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue


def is_note(columns: RecordColumns, row: int) -> bool:
    """Whether a record of a dead-letter topic is a note of what was redriven."""
    headers = () if columns.headers is None else columns.headers[row]
    return any(name == REDRIVEN for name, _ in headers)


@dataclass(slots=True)
class Group:
    """Letters of one reason, detail, topic and partition: how many, when, at which offsets; the newest is the example.

    `detail` is without what differs from record to record.
    """

    example: Letter
    detail: str = ""
    letters: int = 0
    redriven: int = 0
    first_ms: float = math.inf
    last_ms: float = -math.inf
    first_offset: float = math.inf
    last_offset: float = -math.inf

    def add(self, letter: Letter, *, redriven: bool) -> None:
        """Counts one more."""
        self.letters += 1
        self.redriven += redriven
        self.first_ms, self.last_ms = min(self.first_ms, letter.written_ms), max(self.last_ms, letter.written_ms)
        self.first_offset = min(self.first_offset, letter.rejection.offset)
        self.last_offset = max(self.last_offset, letter.rejection.last_offset)
        if letter.written_ms >= self.example.written_ms:
            self.example = letter


@dataclass(slots=True)
class Census:
    """All letters of a topic that were asked for, by group; and how many records there are neither letter nor note."""

    groups: dict[tuple[str, str, int, str], Group] = field(default_factory=dict)
    others: int = 0
    _kinds: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def add(self, letter: Letter | None, selection: Selection, redriven: Set[Origin]) -> None:
        """Counts a letter if it is asked for; None is another record."""
        if letter is None:
            self.others += 1
        elif letter in selection:
            rejection = letter.rejection
            group = self._group_of(letter)
            group.add(letter, redriven=rejection.origin in redriven)

    def _group_of(self, letter: Letter) -> Group:
        rejection = letter.rejection
        source, kind = (rejection.reason, rejection.topic, rejection.partition), kind_of(rejection.detail)
        if (*source, kind) not in self.groups:
            self._kinds[source] += 1
            kind = kind if self._kinds[source] <= MOST_KINDS else OTHERS
        return self.groups.setdefault((*source, kind), Group(letter, kind))

    def most_first(self) -> list[Group]:
        """The groups, that with the most letters first."""
        return [group for _, group in sorted(self.groups.items(), key=lambda item: (-item[1].letters, item[0]))]


def kind_of(detail: str) -> str:
    """A detail without the values that differ from record to record; names of fields and channels stay."""
    return _DIGITS.sub("N", _VALUE.sub(r"a \1\2", detail))


def place(rejection: Rejection) -> TopicPartition:
    """The partition that a letter's record lies in."""
    return TopicPartition(rejection.topic, rejection.partition)
