"""What the documents for developers name is there: files, names of the code, targets of make."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitor import __version__

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]
PATH = re.compile(r"[\w.@-]+/[\w./@-]*|[\w.-]+\.(?:py|md|toml|txt|yaml)")
NAME = re.compile(r"_?[A-Za-z]\w*(?:\.\w+)*")


def quoted(paragraph: str) -> list[str]:
    """What stands between backticks, and where links go."""
    return re.findall(r"`([^`\n]+)`", paragraph) + re.findall(r"\]\(([^)#:]+)\)", paragraph)


def paragraphs(document: Path) -> list[str]:
    """Blocks of text, items of lists and rows of tables, without the code blocks."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.split(r"\n(?=\n|\||- |\d+\. )", text)


def missing_paths(paragraph: str) -> list[str]:
    """Paths that are not there: from the root, or beside one that the paragraph named before."""
    missing, here = [], ROOT
    for name in filter(PATH.fullmatch, quoted(paragraph)):
        found = ROOT / name
        if found.exists():
            here = found if found.is_dir() else found.parent
        elif not (here / name).exists():
            missing.append(name)
    return missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_is_there(document: Path) -> None:
    found = paragraphs(document)
    assert sum(bool(PATH.fullmatch(name)) for each in found for name in quoted(each)) > 15
    assert not [name for each in found for name in missing_paths(each)]
    assert missing_paths("`monitor/formats/f32.py` beside `xml.py` and `monitor/xml.py`") == [
        "xml.py",
        "monitor/xml.py",
    ]


def test_every_name_is_one_of_the_code() -> None:
    files = [path for package in ("monitor", "training") for path in (ROOT / package).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in [*files, ROOT / "tests/unit/test_layering.py"])
    defined = re.findall(r"\b(?:def|class) (\w+)|^ *(\w+)(?:: [^\n=]+)? = ", code, re.MULTILINE)
    known = {name for pair in defined for name in pair} | {path.stem for path in files} | {"monitor", "training", "v1"}
    names = [name for each in paragraphs(DOCUMENTS[0]) for name in quoted(each) if NAME.fullmatch(name)]
    names = [name for name in names if not PATH.fullmatch(name)]
    assert len(names) > 30
    assert not [name for name in names if name.split(".")[-1] not in known]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_target_is_one_of_make(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = document.read_text(encoding="utf-8")
    called = {target for line in re.findall(r"(?:`|\$ )make ([^`\n#&]*)", text) for target in line.split()}
    targets = {target for target in called if "=" not in target}
    assert targets
    assert not [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)]


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == __version__
