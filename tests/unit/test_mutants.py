"""The list of deliberate bugs says when it is no longer true, and the judge what somebody has to look at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.mutants import nursery
from tests.mutants.__main__ import judge
from tests.mutants.listed import Mutant, load, problems


def mutant(**changes: object) -> Mutant:
    given = {
        "name": "a",
        "file": "code.py",
        "find": "x = 1",
        "replace": "x = 2",
        "why": "w",
        "tests": ("tests/test_code.py::TestOne::test_it[1]",),
    }
    return Mutant(**(given | changes))  # type: ignore[arg-type]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "code.py").write_text("x = 1\ny = 0\nz = 0  # y\n", encoding="utf-8")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_code.py").write_text("class TestOne:\n    def test_it(self): ...\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"file": "gone.py"}, "there is no file gone.py"),
        ({"find": "x = 3"}, "its text stands 0 times in code.py"),
        ({"find": "= 0"}, "its text stands 2 times in code.py"),
        ({"replace": "x ="}, "with it code.py is no Python"),
        ({"find": "# y", "replace": "# n"}, "it changes nothing"),
        ({"tests": ("gone.py",)}, "there is no gone.py"),
        ({"tests": ("tests/test_code.py::test_gone",)}, "there is no tests/test_code.py::test_gone"),
    ],
)
def test_what_is_no_longer_true_is_said(tree: Path, changes: dict[str, object], told: str) -> None:
    assert problems([mutant()], tree) == []
    (found,) = problems([mutant(**changes)], tree)
    assert found.startswith("a: ")
    assert told in found


def test_names_are_told_apart(tree: Path) -> None:
    assert problems([mutant(), mutant()], tree) == ["a: the name stands in the list twice"]


def test_only_a_survivor_that_is_not_excused_is_wrong() -> None:
    excused = mutant(equivalent="nobody can tell")
    failed = "FAILED tests/unit/test_a.py::test_b - assert 1 == 2\n"
    assert judge(mutant(), 1, failed) == ("caught by test_b", None)
    assert judge(mutant(), None, "not done within 9 s") == ("caught: not done within 9 s", None)
    assert judge(excused, 0, "") == ("equivalent", None)
    for case in ((mutant(), 0, ""), (excused, 1, failed), (mutant(), 2, "ERROR collecting"), (mutant(), 5, "")):
        assert judge(*case)[1] is not None


def test_there_are_at_least_sixty() -> None:
    assert sum(not each.equivalent for each in load()) >= 60


def test_each_run_sees_the_files_as_they_are(tmp_path: Path) -> None:
    code, test = tmp_path / "code_of_ours.py", tmp_path / "test_code.py"
    test.write_text(
        "import code_of_ours as code, time\ndef test_it():\n    assert code.x == 1\n    time.sleep(code.s)\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with subprocess.Popen(
        [sys.executable, nursery.__file__], cwd=tmp_path, env=environment, stdin=PIPE, stdout=PIPE, text=True
    ) as started:
        assert started.stdin is not None
        assert started.stdout is not None
        answers = []
        for text, limit_s in (("x, s = 1, 0", 60), ("x, s = 2, 0", 60), ("x, s = 1, 90", 1)):
            code.write_text(text, encoding="utf-8")
            started.stdin.write(json.dumps([limit_s, "-q", "-p", "no:cacheprovider", str(test)]) + "\n")
            started.stdin.flush()
            answers.append(json.loads(started.stdout.readline()))
        started.stdin.close()
    assert [status for status, _ in answers] == [0, 1, None]
    assert "assert 2 == 1" in answers[1][1]


def test_the_list_is_true_of_the_code() -> None:
    """What to do where it is not: see tests/mutants/README.md."""
    assert problems(load()) == []
