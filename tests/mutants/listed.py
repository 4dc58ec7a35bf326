"""The list of deliberate bugs, and whether it is still true of the code."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutants.toml")


class Mutant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bug: in `file` the text `find`, which stands there once, becomes `replace`.

    `why` says what goes wrong with it, `tests` are the test files, or tests, that should see it. `equivalent` is the
    reason why none can, for a change that nobody can observe.
    """

    name: str
    file: str
    find: str
    replace: str
    why: str
    tests: tuple[str, ...]
    kafka: bool = False
    equivalent: str = ""


def load(path: Path = LIST) -> list[Mutant]:
    """The mutants in the order of the file."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    return [msgspec.convert(entry, Mutant) for entry in document["mutant"]]


def problems(mutants: Sequence[Mutant], root: Path = ROOT) -> list[str]:
    """What is no longer true; each with the name of its mutant."""
    twice = [name for name, count in Counter(mutant.name for mutant in mutants).items() if count > 1]
    return [f"{name}: the name stands in the list twice" for name in twice] + [
        f"{mutant.name}: {problem}" for mutant in mutants if (problem := _problem(mutant, root))
    ]


def _problem(mutant: Mutant, root: Path) -> str | None:
    path = root / mutant.file
    if not path.is_file():
        return f"there is no file {mutant.file}"
    text = path.read_text(encoding="utf-8")
    count = text.count(mutant.find)
    if count != 1:
        return f"its text stands {count} times in {mutant.file}, expected once; bring {LIST.name} up to date"
    for test in mutant.tests:
        file, _, inside = test.partition("::")
        function = inside.split("[", 1)[0].rpartition("::")[2]
        if not (root / file).is_file() or function not in _functions(root):
            return f"there is no {test}"
    try:
        changed = ast.parse(text.replace(mutant.find, mutant.replace))
    except SyntaxError as error:
        return f"with it {mutant.file} is no Python: {error}"
    if ast.dump(changed) == _dumped(text):
        return "it changes nothing"
    return None


@cache
def _functions(root: Path) -> frozenset[str]:
    """Names of all test functions, in whatever file: those of a class may be inherited. "" stands for a whole file."""
    found = {""}
    for path in (root / "tests").rglob("*.py"):
        found.update(re.findall(r"^ *def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    return frozenset(found)


@cache
def _dumped(text: str) -> str:
    return ast.dump(ast.parse(text))
