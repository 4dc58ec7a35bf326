"""No byte of an artifact can be changed unnoticed, and no bytes bring out another exception than ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detector import artifact as form
from monitor.detector import storage
from monitor.errors import ArtifactError
from tests.helpers import make_artifact


@cache
def files() -> dict[str, bytes]:
    made = replace(make_artifact(length=4, widths=(2,)), extras={"metrics.json": b'{"auroc": 0.99}\n'}, digest="")
    return form.encode(made)


@cache
def packed() -> bytes:
    return storage.pack(form.decode(files()))


@given(data=st.data())
def test_any_changed_byte_of_any_file_is_refused(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(files())))
    at = data.draw(st.integers(0, len(files()[name]) - 1))
    flip = data.draw(st.integers(1, 255))
    content = bytearray(files()[name])
    content[at] ^= flip
    with pytest.raises(ArtifactError):
        form.decode({**files(), name: bytes(content)})


@given(at=st.integers(0, 10**9), flip=st.integers(1, 255))
def test_any_changed_byte_of_the_zip_is_refused(tmp_path_factory: pytest.TempPathFactory, at: int, flip: int) -> None:
    content = bytearray(packed())
    content[at % len(content)] ^= flip
    with pytest.raises(ArtifactError):
        load(tmp_path_factory, bytes(content))


@given(cut=st.integers(0, 10**9), more=st.binary(max_size=20))
def test_a_zip_cut_short_or_with_more_behind_it_is_refused(
    tmp_path_factory: pytest.TempPathFactory, cut: int, more: bytes
) -> None:
    content = packed()[: cut % (len(packed()) + 1)] + more
    if content != packed():
        with pytest.raises(ArtifactError):
            load(tmp_path_factory, content)


@given(raw=st.one_of(st.binary(max_size=300), st.binary(max_size=100).map(lambda rest: b"PK\x03\x04" + rest)))
def test_arbitrary_bytes_are_refused_everywhere(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    attempts: tuple[Callable[[], object], ...] = (
        lambda: load(tmp_path_factory, raw),
        lambda: form.decode({**files(), form.MANIFEST: raw}),
        lambda: form.decode(signed(json.loads(files()[form.MANIFEST]), raw)),
    )
    for attempt in attempts:
        with pytest.raises(ArtifactError):
            attempt()


_text = st.text(st.characters(codec="utf-8"), max_size=8)
_numbers = st.integers() | st.just(10**400) | st.floats(allow_nan=False, allow_infinity=False)
_json = st.recursive(
    st.none() | st.booleans() | _numbers | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
def test_any_json_with_a_right_digest_is_served_or_refused(data: st.DataObject) -> None:
    document = json.loads(files()[form.MANIFEST])
    place, key = data.draw(st.sampled_from(_places(document)))
    place[key] = data.draw(_json)
    try:
        decoded = form.decode(signed(document, files()[form.PARAMS]))
        form.check_known_answers(decoded, decoded.scorer())
    except ArtifactError:
        return


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every container and key of a JSON document."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
    found = [(node, key) for key in keys]
    for _, key in list(found):
        found += _places(node[key])
    return found


def signed(document: dict[str, Any], params: bytes) -> dict[str, bytes]:
    """A manifest whose sums and digest are right, whatever else it says."""
    if isinstance(document.get("files"), dict):
        document["files"][form.PARAMS] = hashlib.sha256(params).hexdigest()
    document.pop("digest", None)
    document["digest"] = form._digest(document)
    return {**files(), form.PARAMS: params, form.MANIFEST: form._canonical(document)}


def load(factory: pytest.TempPathFactory, content: bytes) -> form.Artifact:
    path: Path = factory.getbasetemp() / "artifact.zip"
    path.write_bytes(content)
    return storage.load(path)
