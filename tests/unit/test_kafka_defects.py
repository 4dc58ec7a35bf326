"""The list of the client's defects has every number that the code cites, once, and names files and tests that exist."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import kafka
import pytest

import monitor.backends.kafka as package

OURS = Path(package.__file__).parent
ROOT = OURS.parents[2]
TEXT = (OURS / "DEFECTS.md").read_text(encoding="utf-8")
ENTRIES = dict(re.findall(r"^### (D\d+)\. [^\n]+\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))


def cited(text: str) -> set[str]:
    """Numbers that stand alone or in ranges: D6, D1-D10."""
    found = set(re.findall(r"\bD\d+\b", text))
    for first, last in re.findall(r"\bD(\d+)-D(\d+)\b", text):
        found |= {f"D{number}" for number in range(int(first), int(last) + 1)}
    return found


@pytest.mark.parametrize("path", sorted(OURS.glob("*.py")), ids=lambda path: path.name)
def test_every_number_cited_is_in_the_list(path: Path) -> None:
    assert cited(path.read_text(encoding="utf-8")) <= ENTRIES.keys()


def test_every_number_is_given_once() -> None:
    numbers = re.findall(r"^### (D\d+)\.", TEXT, re.MULTILINE)
    assert len(numbers) == len(set(numbers)) == len(ENTRIES)


def test_every_entry_says_where_and_what_we_do() -> None:
    for number, text in ENTRIES.items():
        assert "**Where:**" in text, number
        assert "**Workaround:**" in text, number


def test_the_list_is_of_the_client_that_is_installed() -> None:
    assert f"kafka-python {version('kafka-python')}" in TEXT


def test_files_and_tests_that_are_named_exist() -> None:
    client = Path(kafka.__file__).parent
    for path in set(re.findall(r"`((?:[a-z_]+/)*[a-z0-9_]+\.py)`", TEXT)):
        assert list(client.rglob(path)), path
    for text in re.findall(r"\*\*Test:\*\*([^*#]*)", TEXT):
        sources = [(ROOT / path).read_text(encoding="utf-8") for path in re.findall(r"tests/[\w/]+\.py", text)]
        assert sources, text
        for name in re.findall(r"\btest_\w+(?!\w|\.py)", text):
            assert any(f"def {name}(" in source for source in sources), name
