"""Reads a dead-letter topic, and writes rejected records to their topics again.

A record is written as it was, key, value, headers, timestamp and partition, with one header more: `telltale-redriven`,
where it lay. A note of it goes to the dead-letter topic in the same transaction, and what is noted is never redriven
again. So a crash leaves nothing half written, and whoever runs the command again continues where it stopped.

Rules of this file: how far the dead-letter topic is read is fixed first; memory holds at most the letters of one run.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from monitor.backends.abstract import Message, RecordColumns, TopicPartition
from monitor.backends.kafka import TopicRecord, list_topics
from monitor.backends.kafka.ranges import Bound, TopicRange
from monitor.backends.kafka.redriving import RecordPicker, Redriver
from monitor.config.options import Config
from monitor.deadletters.letters import Census, Letter, Selection, letters, place, redriven
from monitor.messages.dead_letters import REDRIVEN, Origin, Rejection, encode_note

# A transaction must end within kafka.transaction_timeout_ms.
MOST_RECORDS = 500
MOST_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class RedriveResult:
    """What a redrive takes, by group as in a list, and how many letters it leaves out, by why."""

    taken: Census = field(default_factory=Census)
    left_out: Counter[str] = field(default_factory=Counter)
    more: bool = False  # there are more than one run takes
    written: int = 0


def read_all(config: Config) -> Iterator[RecordColumns]:
    """The dead-letter topic from its beginning to its end of now. Raises as `TopicRange` does."""
    topic = config.output.dead_letters
    with TopicRange(config.kafka, topic, Bound("earliest"), Bound("latest"), want_headers=True) as found:
        yield from found.polls()


def take_census(config: Config, selection: Selection) -> Census:
    """All letters that are asked for, by reason, detail, topic and partition."""
    noted = {origin for columns in read_all(config) for origin in redriven(columns)}
    census = Census()
    for columns in read_all(config):
        for letter in letters(columns):
            census.add(letter, selection, noted)
    return census


def originals(config: Config, rejections: Iterable[Rejection]) -> Iterator[TopicRecord]:
    """The records that letters are about, as far as their topics still hold them."""
    wanted: dict[TopicPartition, list[int]] = {}
    there = list_topics(config.kafka)
    for rejection in rejections:
        if rejection.partition < there.get(rejection.topic, 0):
            wanted.setdefault(place(rejection), []).append(rejection.offset)
    if wanted:
        with RecordPicker(config.kafka, sorted({partition.topic for partition in wanted})) as picker:
            yield from picker.pick(wanted)


def is_it(record: TopicRecord, rejection: Rejection) -> bool:
    """Whether a record is the one that was rejected: a topic that was made again holds others at the same offsets."""
    return (None if record.value is None else hashlib.sha256(record.value).hexdigest()) == rejection.sha256


def redrive(config: Config, selection: Selection, *, limit: int, again: bool, write: bool) -> RedriveResult:
    """Writes at most `limit` of the records whose letters are asked for; without `write`, says which it would.

    `again` takes those, too, that were redriven before and rejected again.

    Raises:
        ConfigError: a permission or a topic is missing, or another process redrives for the same group.
        BackendError: the brokers can't be reached, or the outcome of a transaction is not known.
    """
    if not write:
        return _Run(config, selection, limit, again).run(None)
    with Redriver(config) as redriver:  # first: nobody else writes a note from here on
        return _Run(config, selection, limit, again).run(redriver)


class _Run:
    def __init__(self, config: Config, selection: Selection, limit: int, again: bool) -> None:
        self._config = config
        self._selection = selection
        self._limit = limit
        self._again = again
        self._outcome = RedriveResult()
        self._batch: list[tuple[Letter, TopicRecord]] = []
        self._batch_bytes = 0

    def run(self, redriver: Redriver | None) -> RedriveResult:
        chosen = self._choose()
        found: set[Origin] = set()
        for record in originals(self._config, (letter.rejection for letter in chosen.values())):
            letter = chosen[record.topic, record.partition, record.offset]
            found.add(letter.rejection.origin)
            if why := self._objection(letter, record):
                self._outcome.left_out[why] += 1
                continue
            self._outcome.taken.add(letter, Selection(), set())
            if redriver is not None:
                self._append(letter, record, redriver)
        if redriver is not None:
            self._write(redriver)
        gone = sum(letter.rejection.origin not in found for letter in chosen.values())
        self._outcome.left_out["no longer in their topic: retention deleted them, or it was recreated"] += gone
        return self._outcome

    def _choose(self) -> dict[tuple[str, int, int], Letter]:
        """The letters to be redriven by their record's place, the oldest of them if there are too many."""
        noted = {origin for columns in read_all(self._config) for origin in redriven(columns)}
        chosen: dict[tuple[str, int, int], Letter] = {}
        for columns in read_all(self._config):
            for letter in letters(columns):
                if letter is None or letter not in self._selection:
                    continue
                origin = letter.rejection.origin
                if why := self._refusal(letter.rejection, origin in noted):
                    self._outcome.left_out[why] += 1
                elif origin[:3] in chosen or len(chosen) < self._limit:
                    chosen[origin[:3]] = letter  # the newest letter of a topic that was recreated is of what lies there
                else:
                    self._outcome.more = True
        return chosen

    def _refusal(self, rejection: Rejection, is_noted: bool) -> str:
        if is_noted:
            return "redriven before"
        if rejection.records != 1 or (rejection.sha256 is None and rejection.size is not None):
            return "damaged batches: their records can't be read"
        if rejection.topic not in self._config.input.topics:
            return "of topics that input.topics does not name"
        return ""

    def _objection(self, letter: Letter, record: TopicRecord) -> str:
        if not is_it(record, letter.rejection):
            return "another record lies there now: the topic was recreated"
        if not self._again and any(name == REDRIVEN for name, _ in record.headers):
            return "redriven before, and rejected again (--again takes them)"
        return ""

    def _append(self, letter: Letter, record: TopicRecord, redriver: Redriver) -> None:
        size = len(record.key or b"") + len(record.value or b"")
        if len(self._batch) >= MOST_RECORDS or self._batch_bytes + size > MOST_BYTES:
            self._write(redriver)
        self._batch.append((letter, record))
        self._batch_bytes += size

    def _write(self, redriver: Redriver) -> None:
        if not self._batch:
            return
        value, headers = encode_note(letter.rejection.origin for letter, _ in self._batch)
        note = Message(self._config.output.dead_letters, None, value, headers)
        redriver.write([*(as_message(record) for _, record in self._batch), note])
        self._outcome.written += len(self._batch)
        self._batch, self._batch_bytes = [], 0


def as_message(record: TopicRecord) -> Message:
    """A record as it is written again."""
    kept = tuple((name, value) for name, value in record.headers if name != REDRIVEN)
    origin = f"{record.topic}-{record.partition}@{record.offset}".encode()
    return Message(
        record.topic,
        record.key,
        record.value,
        (*kept, (REDRIVEN, origin)),
        partition=record.partition,
        timestamp_ms=record.timestamp_ms if record.timestamp_ms >= 0 else None,
    )
