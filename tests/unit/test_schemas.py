"""Records wait for their schemas in the order of their partitions, and only those that must."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.backends.abstract import Damaged, RecordColumns, TopicPartition
from monitor.config.connections import SchemaRegistryOptions
from monitor.errors import Reason, SchemaRegistryError
from monitor.formats.schemas import Schema, Schemas, id_of, ids_of, is_framed
from monitor.serving.schema_registry import SchemaRegistry
from monitor.serving.schemas import ABSENT_S, CONFIRM_S, RETRY_S, Fetcher, SchemaGate
from tests.schema_registry import SchemaRegistryServer

FIRST, SECOND = TopicPartition("pumps", 0), TopicPartition("pumps", 1)


def value(number: int) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + b"x"


def columns(partition: TopicPartition, *numbers: int | None, start: int = 0) -> RecordColumns:
    """Records written with the schemas of these ids; None: with none."""
    offsets = np.arange(start, start + len(numbers), dtype=np.int64)
    values: list[bytes | None] = [b"{}" if number is None else value(number) for number in numbers]
    return RecordColumns(partition, offsets, offsets, [None] * len(numbers), values, start + len(numbers))


class Machine:
    """A gate at a real registry, with a clock that the test moves."""

    def __init__(self, server: SchemaRegistryServer) -> None:
        self.now_s = 100.0
        self.schemas = Schemas()
        client = SchemaRegistry(SchemaRegistryOptions(urls=[server.url], timeout_ms=2_000))
        self.gate = SchemaGate(self.schemas, Fetcher(client.schema), lambda: self.now_s)
        self.passed: dict[TopicPartition, list[int]] = {FIRST: [], SECOND: []}

    def admit(self, *polled: RecordColumns) -> None:
        for one in self.gate.admit(polled):
            assert not self.schemas.unknown(ids_of(one.values))
            self.passed[one.partition] += one.offsets.tolist()

    def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.001)
            self.admit()

    def answered(self) -> None:
        self.until(lambda: not self.gate.asking)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.admit()


@pytest.fixture
def server() -> Iterator[SchemaRegistryServer]:
    with SchemaRegistryServer() as found:
        yield found


def test_the_wire_format() -> None:
    assert ids_of([value(1), None, b"", value(700_000), b'{"a": 1}', value(1), b"\0\0\0", b"\1\0\0\0\1x"]) == {
        1,
        700_000,
    }
    assert is_framed(b"\0\0\0\0\1")  # a record without fields has no more
    assert id_of(b"\0\1\2\3\4") == 0x01020304


def test_records_wait_from_the_first_on_whose_schema_is_not_known(server: SchemaRegistryServer) -> None:
    server.register("long")
    server.register("string")
    machine = Machine(server)
    machine.admit(columns(FIRST, None, 1, None, 2), columns(SECOND, None, None))
    assert machine.passed == {FIRST: [0], SECOND: [0, 1]}
    assert machine.gate.waiting == {FIRST: 3}
    machine.until(lambda: not machine.gate.waiting)
    assert machine.passed == {FIRST: [0, 1, 2, 3], SECOND: [0, 1]}
    assert machine.schemas.get(2) == Schema("AVRO", "string")
    assert machine.gate.take_released() == {FIRST}
    assert machine.gate.take_released() == set()
    machine.admit(columns(FIRST, 1, 2, start=4))
    assert machine.passed[FIRST] == [0, 1, 2, 3, 4, 5]
    assert server.requests == ["/schemas/ids/1", "/schemas/ids/2"]


def test_damaged_batches_keep_their_place(server: SchemaRegistryServer) -> None:
    server.register("long")
    machine = Machine(server)
    damaged = Damaged(first_offset=2, next_offset=5, size=100, records=None, reason=Reason.UNREADABLE_BATCH, detail="")
    passed: list[RecordColumns] = [
        *machine.gate.admit([columns(FIRST, 1, 1), RecordColumns.skipping(FIRST, damaged), columns(FIRST, 1, start=5)])
    ]
    assert not passed
    deadline = time.monotonic() + 10
    while len(passed) < 3 and time.monotonic() < deadline:
        passed += machine.gate.admit([])
    assert [one.next_offset for one in passed] == [2, 5, 6]
    assert passed[1].damaged is damaged


def test_while_the_registry_is_down_its_partitions_are_held_and_no_others(server: SchemaRegistryServer) -> None:
    server.register("long")
    machine = Machine(server)
    machine.admit(columns(SECOND, 1))
    machine.answered()
    server.stop()
    server.register("string")
    machine.admit(columns(FIRST, 1, 2), columns(SECOND, 1, start=1))
    machine.answered()
    assert machine.passed == {FIRST: [0], SECOND: [0, 1]}
    hold = machine.gate.holds()[FIRST]
    assert "records from offset 1 on are written by schema 2" in hold.reason
    assert "Connection refused" in hold.reason
    assert "start it" in hold.remedy
    assert "continues by itself, within 10 s" in hold.remedy
    assert (hold.offset, hold.again) == (1, False)
    assert machine.gate.holds().keys() == {FIRST}
    machine.admit(columns(FIRST, 1, start=2))
    asked = len(server.requests)
    server.start()
    machine.wait(RETRY_S - 0.1)
    assert not machine.gate.asking
    machine.wait(0.2)
    machine.answered()
    assert machine.passed == {FIRST: [0, 1, 2], SECOND: [0, 1]}
    assert machine.gate.holds() == {}
    assert len(server.requests) == asked + 1


def test_a_schema_that_is_not_there_is_asked_for_twice(server: SchemaRegistryServer) -> None:
    """A replica of the registry hears of what was just registered a moment later."""
    machine = Machine(server)
    machine.admit(columns(FIRST, 1, 2))
    machine.answered()
    assert machine.passed[FIRST] == []
    assert machine.gate.holds() == {}
    server.register("long")
    machine.wait(CONFIRM_S)
    machine.answered()
    assert machine.passed[FIRST] == [0, 1]
    assert machine.schemas.get(1) == Schema("AVRO", "long")
    assert "no schema with id 2" in str(machine.schemas.get(2))


def test_one_that_is_registered_later_is_found_later(server: SchemaRegistryServer) -> None:
    machine = Machine(server)
    machine.admit(columns(FIRST, 1))
    machine.answered()
    machine.wait(CONFIRM_S)
    machine.answered()
    assert machine.passed[FIRST] == [0]
    server.register("long")
    machine.admit(columns(FIRST, 1, start=1))
    assert machine.passed[FIRST] == [0, 1]  # nobody waits for it
    assert not machine.gate.asking
    machine.now_s += ABSENT_S
    machine.admit(columns(FIRST, 1, start=2))
    machine.answered()
    assert machine.schemas.get(1) == Schema("AVRO", "long")
    assert machine.passed[FIRST] == [0, 1, 2]
    machine.now_s += ABSENT_S
    machine.admit(columns(FIRST, 1, start=3))
    assert len(server.requests) == 3


def test_what_is_dropped_is_gone(server: SchemaRegistryServer) -> None:
    server.failing = 503
    machine = Machine(server)
    machine.admit(columns(FIRST, 1), columns(SECOND, 1))
    machine.answered()
    assert machine.gate.holds().keys() == {FIRST, SECOND}
    machine.gate.drop(FIRST)
    assert machine.gate.holds().keys() == {SECOND}
    machine.gate.clear()
    assert not machine.gate.waiting
    machine.admit(columns(FIRST, 1))
    assert machine.gate.holds().keys() == {FIRST}  # at once: it is known to have no answer
    assert len(server.requests) == 1


def test_a_defect_in_the_thread_is_no_outage() -> None:
    def fetch(number: int) -> Schema:
        raise ZeroDivisionError

    gate = SchemaGate(Schemas(), Fetcher(fetch), time.monotonic)
    gate.admit([columns(FIRST, 1)])
    with pytest.raises(ZeroDivisionError):
        deque(iter(lambda: gate.admit([]), None), maxlen=0)


class Puppet(Fetcher):
    """Answers when the test says, as the test says."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.given: list[tuple[int, Schema | str | Exception]] = []

    def ask(self, numbers: Any) -> None:
        self.asked += sorted(numbers)

    def answers(self) -> Iterator[tuple[int, Schema | str | Exception]]:
        given, self.given = self.given, []
        return iter(given)


ANSWERS: tuple[Schema | str | Exception, ...] = (
    Schema("AVRO", "long"),
    "there is none",
    SchemaRegistryError("down", "wait"),
)
records = st.lists(st.sampled_from([None, 1, 2, 3]), min_size=1, max_size=4)
polls = st.lists(st.tuples(st.sampled_from([FIRST, SECOND]), records, st.data()), max_size=12)


@given(polls, st.data())
def test_whatever_the_registry_answers_nothing_is_lost_or_overtaken(polls: Any, data: st.DataObject) -> None:
    now_s, puppet, schemas = 0.0, Puppet(), Schemas()
    gate = SchemaGate(schemas, puppet, lambda: now_s)
    sent: dict[TopicPartition, int] = {FIRST: 0, SECOND: 0}
    passed: dict[TopicPartition, list[int]] = {FIRST: [], SECOND: []}

    def admit(*polled: RecordColumns) -> None:
        for one in gate.admit(polled):
            assert not schemas.unknown(ids_of(one.values))
            passed[one.partition] += one.offsets.tolist()

    for partition, numbers, _ in polls:
        admit(columns(partition, *numbers, start=sent[partition]))
        sent[partition] += len(numbers)
        now_s += data.draw(st.sampled_from([0.0, CONFIRM_S, RETRY_S, ABSENT_S]))
        for number in list(puppet.asked):
            if data.draw(st.booleans()):
                puppet.asked.remove(number)
                puppet.given.append((number, data.draw(st.sampled_from(ANSWERS))))
        assert len(puppet.asked) == len(set(puppet.asked)), "asked for twice at once"
    for _ in range(4):
        now_s += ABSENT_S
        puppet.given += [(number, ANSWERS[0]) for number in puppet.asked]
        puppet.asked.clear()
        admit()
    assert passed == {partition: list(range(count)) for partition, count in sent.items()}
    assert not gate.waiting
