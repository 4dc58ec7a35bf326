"""The usual forms of a record that names its fields, as types that bound decoders read at once.

A form decodes only the fields that are needed. It takes less than `RecordReader` does, and what it takes it must take
in the same way: what is two things at once, or would have to be looked for in two places, has a type that no value
passes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from monitor.formats import paths
from monitor.formats.abstract import RecordSpec
from monitor.formats.layout import DTYPE, PAYLOAD, SCHEMA, RecordLayout
from monitor.formats.paths import NEVER, SCALAR, Leaf, RecordPath

UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_NUMBER: Any = float | None
_CHUNK: Any = list[list[_NUMBER]]
Getters = dict[str, Callable[[Any], Any]]


class Codec(Protocol):
    """What encodes records."""

    def forms(self, expected: RecordSpec, layout: RecordLayout) -> list[Form]:
        """The usual forms of records, each of which reads whole polls."""

    def decoder(self, kind: Any, *, lax: bool = False) -> Callable[[Any], Any]:
        """What decodes values of one type, and raises one of `UNREADABLE`; `lax`: numbers may be written as text."""

    def repaired(self, value: bytes) -> bytes:
        """A value that can't be decoded as it could be, where producers write it in another way; else as it is.

        Raises:
            RecordError: it is of another encoding; says which, and what to do.
        """

    def anyhow(self, value: bytes) -> Any:
        """Whatever a value says, None if nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One form of a record: what decodes it, and what gets from it the parts that are needed.

    `root` gets the record out of its envelope, `entries` its entry, or all of them where they are `several`; None: it
    is in none, and is itself one. `body` gets what an entry says, `around` what the record around it says.
    """

    decode: Callable[[Any], Any]
    body: Getters
    around: Getters
    root: Callable[[Any], Any] | None = None
    entries: Callable[[Any], Any] | None = None
    several: bool = False
    is_chunk: bool = False
    stamp_on_top: bool = False  # an entry's `stamp` is an attribute of its own, and nothing around it says one
    of_texts: bool = False  # what `body` gets of channels is a text


def usual(expected: RecordSpec, layout: RecordLayout, codec: Codec) -> list[Form]:
    """The usual forms of records, without those that have no type because a field of theirs is two things at once."""
    makers = _Makers(expected, layout, codec)
    found: list[Form] = []
    for made in (makers.samples, makers.lists, makers.chunks, makers.bare_chunks):
        with contextlib.suppress(ValueError):
            found += made()
    return found


class _Makers:
    def __init__(self, expected: RecordSpec, layout: RecordLayout, codec: Codec) -> None:
        self._layout = layout
        self._codec = codec
        self._lax = expected.numbers.texts
        self._takes_samples = expected.window_length is None
        self._chunk_types = [_CHUNK] if len(expected.channels) > 1 else [list[_NUMBER], _CHUNK]

    def samples(self) -> Iterator[Form]:
        """One entry a record, with its channels by name, or one reading."""
        return self._single(NEVER) if self._takes_samples else iter(())

    def chunks(self) -> Iterator[Form]:
        """One entry a record, a chunk."""
        for kind in self._chunk_types if self._layout.values is not None else ():
            yield from self._single(kind)

    def bare_chunks(self) -> Iterator[Form]:
        """Records that are a list of samples, and nothing else."""
        for kind in self._chunk_types if not (self._layout.of_lists or self._layout.channel) else ():
            yield Form(decode=self._decoder(kind), body={"values": itself}, around={}, is_chunk=True)

    def lists(self) -> Iterator[Form]:
        """Several entries a record, in a list."""
        layout = self._layout
        if not self._takes_samples:
            return
        body, of_body = paths.struct(self._body(NEVER))
        several: Any = list.__class_getitem__(body)
        if layout.of_lists:
            yield Form(decode=self._decoder(several), body=of_body, around={}, entries=itself, several=True)
        elif layout.entries is not None:
            yield from self._inside(several, of_body, several=True)

    def _single(self, chunk: Any) -> Iterator[Form]:
        is_chunk, entries = chunk is not NEVER, self._layout.entries
        if entries is not None:
            body, of_body = paths.struct(self._body(chunk))
            yield from self._inside(body, of_body, is_chunk=is_chunk)
        nothing = [] if entries is None else [Leaf("entries", entries, NEVER)]
        for decode, getters, root in self._enveloped([*self._body(chunk), *nothing]):
            on_top = self._layout.stamp is not None and len(self._layout.stamp.names) == 1
            yield Form(decode=decode, body=getters, around={}, root=root, is_chunk=is_chunk, stamp_on_top=on_top)

    def _inside(self, kind: Any, body: Getters, *, several: bool = False, is_chunk: bool = False) -> Iterator[Form]:
        """Entries that stand in a record, as `kind`."""
        assert self._layout.entries is not None
        around = [*map(self._leaf, self._layout.around()), Leaf("entries", self._layout.entries, kind, required=True)]
        for decode, getters, root in self._enveloped(around):
            yield Form(
                decode=decode,
                body=body,
                around=getters,
                root=root,
                entries=getters["entries"],
                several=several,
                is_chunk=is_chunk,
            )

    def _enveloped(self, leaves: list[Leaf]) -> Iterator[tuple[Callable[[Any], Any], Getters, Any]]:
        """What decodes records with these fields, what gets them, and what gets the record from its envelope."""
        if not self._layout.envelope:
            yield self._decoder(paths.struct(leaves)[0]), paths.struct(leaves)[1], None
            return
        inner, getters = paths.struct(leaves)
        outer, around = paths.struct(
            [Leaf("root", paths.named(PAYLOAD), inner, required=True), _schema(msgspec.Raw, required=True)]
        )
        if not self._lax:  # else a decimal in base64 could pass for a number that is written as text
            yield self._decoder(outer), getters, around["root"]
        bare, getters = paths.struct([*leaves, _schema(NEVER)])
        yield self._decoder(bare), getters, None

    def _body(self, chunk: Any) -> list[Leaf]:
        is_chunk = chunk is not NEVER
        leaves = []
        for name, where in self._layout.body():
            if name.startswith("channel_"):
                kind = NEVER if is_chunk else _NUMBER
                leaves.append(Leaf(name, where, kind, required=not is_chunk and not self._layout.partial))
            elif name == "values":
                leaves.append(Leaf(name, where, chunk, required=is_chunk))
            else:
                leaves.append(self._leaf((name, where)))
        return leaves

    def _leaf(self, named: tuple[str, RecordPath]) -> Leaf:
        name, where = named
        return Leaf(name, where, {"stamp": float | str, "rate": float}.get(name, Any))

    def _decoder(self, kind: Any) -> Callable[[Any], Any]:
        return self._codec.decoder(kind, lax=self._lax)


def itself(record: Any) -> Any:
    """A record that is its own entry, or is its list of them."""
    return record


def _schema(kind: Any, *, required: bool = False) -> Leaf:
    return Leaf("schema", paths.named(SCHEMA), kind, required)


def loose(layout: RecordLayout) -> Any:
    """The type of any record: dictionaries with what is needed of it, lists and single values."""
    body = [*_at(layout.body()), *([] if layout.values is None else [(DTYPE, Any)])]
    of_body: Any = paths.loose(body)
    several = list[of_body | list[Any] | SCALAR]
    entries = [] if layout.entries is None else [(layout.entries, several | of_body | SCALAR)]
    of_list: Any = several if layout.of_lists else list[Any]
    root: Any = paths.loose([*body, *entries])
    if layout.envelope:
        envelope = [(paths.named(SCHEMA), msgspec.Raw), (paths.named(PAYLOAD), root | of_list | SCALAR)]
        root = paths.loose([*body, *entries, *envelope])
    return root | of_list | SCALAR


def _at(named: Iterable[tuple[str, RecordPath]]) -> list[tuple[RecordPath, Any]]:
    return [(where, Any) for _, where in named]
