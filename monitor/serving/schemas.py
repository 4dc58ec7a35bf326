"""Records that wait for the schemas that they were written with, and the thread that fetches those.

A record whose schema is not known waits, and with it what follows in its partition; all other partitions continue. What
the registry does not have is asked for twice before it is believed: a replica may not have heard yet of what was
registered a moment ago. Then its records are decoded, that is rejected. While the registry does not answer, or not as
one does, nothing is rejected: the partitions that need it are held, and it is asked again.

Rules of this file: the loop's thread never waits. What is known stays known, so that an outage of the registry costs
nothing until there is a new schema.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from monitor.backends.abstract import RecordColumns, TopicPartition
from monitor.errors import SchemaRegistryError
from monitor.formats.schemas import Schema, Schemas, id_of, ids_of, is_framed
from monitor.serving.holds import Hold

RETRY_S = 5.0  # between two questions that had no answer
CONFIRM_S = 2.0  # until a schema is asked for again that the registry did not have
ABSENT_S = 60.0  # likewise, from the second time on, while records come that need it


class Fetcher:
    """Asks a registry in a thread of its own."""

    def __init__(self, fetch: Callable[[int], Schema | str]) -> None:
        """`fetch` answers which schema has an id, and raises `SchemaRegistryError` where that can't be known now."""
        self._fetch = fetch
        self._questions: SimpleQueue[list[int]] = SimpleQueue()
        self._answers: SimpleQueue[tuple[int, Schema | str | Exception]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def ask(self, numbers: Iterable[int]) -> None:
        """Asks for the schemas with these ids, one after the other."""
        self._questions.put(sorted(numbers))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="telltale-schemas", daemon=True)
            self._thread.start()

    def answers(self) -> Iterator[tuple[int, Schema | str | Exception]]:
        """The answers since the last call; an exception where there was none."""
        while True:
            try:
                yield self._answers.get_nowait()
            except Empty:
                return

    def _run(self) -> None:
        while True:
            for number in self._questions.get():
                try:
                    answer: Schema | str | Exception = self._fetch(number)
                except Exception as error:
                    answer = error
                self._answers.put((number, answer))


@dataclass(slots=True)
class _Queue:
    """Records of one partition; the first of them needs one of the schemas `needs`."""

    columns: deque[RecordColumns]
    needs: set[int]


class SchemaGate:
    """Lets records pass whose schemas are known, in the order of their partitions."""

    def __init__(
        self,
        schemas: Schemas,
        fetcher: Fetcher,
        clock: Callable[[], float],
        *,
        timeout_s: float = RETRY_S,
        with_schemas: Callable[[RecordColumns], list[bytes | None]] = lambda columns: columns.values,
    ) -> None:
        """`clock` tells when to ask again, in seconds; an answer takes `timeout_s` at most.

        `with_schemas` are the values that are written with a schema, None for the others.
        """
        self._continues_s = RETRY_S + timeout_s
        self._schemas = schemas
        self._with_schemas = with_schemas
        self._fetcher = fetcher
        self._clock = clock
        self._queues: dict[TopicPartition, _Queue] = {}
        self._asking: set[int] = set()
        self._due_s: dict[int, float] = {}  # when to ask again, for those that were asked for
        self._failures: dict[int, SchemaRegistryError] = {}  # those without an answer
        self._absent: set[int] = set()  # those that the registry does not have; believed if known, too
        self._released: set[TopicPartition] = set()

    def admit(self, columns: Iterable[RecordColumns]) -> list[RecordColumns]:
        """What can be decoded now: of these records, and of those that have waited."""
        now = self._clock()
        ready = self._released_by(self._collect(now))
        for one in columns:
            if (queue := self._queues.get(one.partition)) is not None:
                queue.columns.append(one)
            else:
                ready += self._pass(one, now)
        self._ask(set().union(*(queue.needs for queue in self._queues.values())), now)
        return ready

    def _collect(self, now: float) -> set[int]:
        """Takes the answers in; the ids that are known from now on."""
        known = set()
        for number, answer in self._fetcher.answers():
            self._asking.discard(number)
            self._failures.pop(number, None)
            if isinstance(answer, SchemaRegistryError):
                self._failures[number] = answer
                self._due_s[number] = now + RETRY_S
            elif isinstance(answer, Exception):
                raise answer
            elif isinstance(answer, str) and number not in self._absent:
                self._absent.add(number)
                self._due_s[number] = now + CONFIRM_S
            else:
                if isinstance(answer, Schema):
                    self._absent.discard(number)
                self._due_s[number] = now + ABSENT_S
                self._schemas.add(number, answer)
                known.add(number)
        return known

    def _released_by(self, known: set[int]) -> list[RecordColumns]:
        ready: list[RecordColumns] = []
        for partition in [name for name, queue in self._queues.items() if queue.needs & known]:
            waiting = self._queues.pop(partition).columns
            while waiting and partition not in self._queues:
                ready += self._pass(waiting.popleft(), self._clock())
            if partition in self._queues:
                self._queues[partition].columns.extend(waiting)
            else:
                self._released.add(partition)
        return ready

    def _pass(self, columns: RecordColumns, now: float) -> list[RecordColumns]:
        """The records before the first whose schema is not known; the others wait."""
        values = self._with_schemas(columns)
        numbers = ids_of(values)
        if stale := numbers & self._absent:
            self._ask(stale, now)
        needs = self._schemas.unknown(numbers)
        if not needs:
            return [columns]
        first = next(
            index for index, value in enumerate(values) if value and is_framed(value) and id_of(value) in needs
        )
        self._queues[columns.partition] = _Queue(deque([columns.rows(first, len(columns.values))]), needs)
        return [columns.rows(0, first)] if first else []

    def _ask(self, numbers: set[int], now: float) -> None:
        due = {number for number in numbers - self._asking if now >= self._due_s.get(number, now)}
        if due:
            self._asking |= due
            self._fetcher.ask(due)

    @property
    def asking(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._asking)

    @property
    def waiting(self) -> Counter[TopicPartition]:
        """How many records wait, by partition."""
        return Counter({name: sum(len(one.offsets) for one in queue.columns) for name, queue in self._queues.items()})

    def holds(self) -> dict[TopicPartition, Hold]:
        """The partitions that wait although the registry was asked, and why."""
        found = {}
        for partition, queue in self._queues.items():
            number = min(queue.needs & self._failures.keys(), default=None)
            if number is not None:
                offset, failure = int(queue.columns[0].offsets[0]), self._failures[number]
                reason = f"records from offset {offset} on are written by schema {number}, and {failure.reason}"
                remedy = (
                    f"{failure.remedy}. No record is lost: the partition continues by itself, within "
                    f"{self._continues_s:g} s after the registry answers"
                )
                found[partition] = Hold(reason, remedy, offset, again=False)
        return found

    def take_released(self) -> set[TopicPartition]:
        """The partitions that need not wait any longer, since the last call."""
        released, self._released = self._released, set()
        return released

    def drop(self, partition: TopicPartition) -> None:
        """Drops a partition's records."""
        self._queues.pop(partition, None)
        self._released.discard(partition)

    def clear(self) -> None:
        """Drops all records: they will be read again."""
        self._queues.clear()
        self._released.clear()
