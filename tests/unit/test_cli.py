"""The command as a person or a supervisor meets it: quick help, exit codes, one message and no traceback."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from monitor import __version__
from monitor.detector import storage
from tests.helpers import make_artifact


def telltale(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "monitor", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_lists_the_commands_and_is_quick() -> None:
    code = "import sys; from monitor.cli import main; sys.argv = ['telltale', '--help']\ntry: main()\nfinally: "
    code += (
        "print(sorted({'jax', 'flax', 'optax', 'kafka', 'uvicorn', 'pydantic'} & sys.modules.keys()), file=sys.stderr)"
    )
    started = time.process_time(), time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    print(f"--help took {time.monotonic() - started[1]:.2f} s")
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]", "what --help must not wait for"
    for command in ("run", "inspect", "replay", "config", "kafka", "demo", "train", "evaluate"):
        assert f" {command} " in done.stdout


def test_version() -> None:
    done = telltale("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"telltale {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [["run", "--confg", "x"], ["rum"], ["inspect"], ["replay", "a"], ["replay", "a", "b", "--partitions", "0"]],
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    done = telltale(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_no_arguments_show_the_help() -> None:
    done = telltale()
    assert "Usage: telltale" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def refused(code: int, *arguments: str | Path) -> str:
    done = telltale(*arguments)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("telltale: ")
    return done.stderr


def test_what_is_ours_to_refuse_has_its_code_and_one_message(tmp_path: Path) -> None:
    assert "nothing is there" in refused(78, "inspect", tmp_path / "none")
    assert "no such file; `telltale config init`" in refused(78, "run", "--config", tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("[kafka\n")
    assert "not valid TOML" in refused(78, "config", "show", "-c", tmp_path / "broken.toml")


def test_replay_refuses_in_one_message(tmp_path: Path) -> None:
    storage.save(make_artifact(length=4, hop=2), tmp_path / "a")
    (tmp_path / "s.csv").write_text("value\n1\n2\n3\n4\n")
    assert "other.csv" in refused(78, "replay", tmp_path / "a", tmp_path / "other.csv")
    message = refused(78, "replay", tmp_path / "a", tmp_path / "s.csv", "--threshold", "-1", "--topic", "a/b")
    assert "model.threshold" in message
    assert "input.topics" in message
    assert message.count("\n") == 1


def test_what_nobody_foresaw_is_70_and_asks_for_a_report() -> None:
    code = """
import sys, typer
from monitor import cli
@cli.app.command()
def defect() -> None:
    raise ZeroDivisionError("unforeseen")
sys.argv = ["telltale", "defect"]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 70
    assert "ZeroDivisionError: unforeseen" in done.stderr
    assert done.stderr.endswith("telltale: this is a bug in Telltale; please report it with the lines above\n")


def test_results_go_to_stdout(tmp_path: Path) -> None:
    storage.save(make_artifact(length=4, hop=2), tmp_path / "a")
    done = telltale("inspect", tmp_path / "a")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("name        tiny 1")
    assert telltale("config", "init").stdout.startswith("# Telltale's configuration.")
