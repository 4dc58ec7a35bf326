"""The schemas that records were written with, by the ids in front of the records.

Confluent's wire format, for Avro and Protobuf alike, is a zero byte, the schema's id as four bytes big-endian, and the
record. `Schemas` holds what is known; somebody else fetches what is not (`monitor/serving/schemas.py`), before the
records are decoded, so that decoding is pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

HEAD = 5  # bytes in front of a record: the zero byte, and the id


class Reference(NamedTuple):
    """A schema that another one names types of, by the `name` that it has there."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema as a registry has it: its `kind` (AVRO, PROTOBUF or JSON), its text, and all that it refers to.

    A schema stands in `references` after those that it refers to itself.
    """

    kind: str
    text: str
    references: tuple[Reference, ...] = ()


class Schemas:
    """Schemas by their ids; where the registry has none, a text that says so and what to do. Ids never change."""

    def __init__(self) -> None:
        self._known: dict[int, Schema | str] = {}

    def add(self, number: int, schema: Schema | str) -> None:
        """Makes a schema known, or that there is none."""
        self._known[number] = schema

    def get(self, number: int) -> Schema | str | None:
        """The schema with this id, or why there is none; None where nobody has asked for it."""
        return self._known.get(number)

    def unknown(self, numbers: Iterable[int]) -> set[int]:
        """Those of these ids that nobody has asked for."""
        return set(numbers) - self._known.keys()


def is_framed(value: bytes) -> bool:
    """Whether a value begins as in Confluent's wire format."""
    return value[:1] == b"\0" and len(value) >= HEAD


def id_of(value: bytes) -> int:
    """The id in front of a record."""
    return int.from_bytes(value[1:HEAD], "big")


def ids_of(values: Iterable[bytes | None]) -> set[int]:
    """The ids in front of records, as far as they have one."""
    return {id_of(head) for head in {value[:HEAD] for value in values if value} if is_framed(head)}
