"""Deliberate bugs, one at a time, against the tests that should see them: `make mutants`.

    python -m tests.mutants [--no-kafka] [--jobs 2] [NAME ...]

Each is put into a copy of the tree, never into the tree itself. It ends with 1 where a bug was not caught that is not
listed as equivalent, where one was that is, or where the list is no longer true of the code.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from monitor.broker.cluster import LocalKafka
from tests.kafka_fixture import BOOTSTRAP_VARIABLE
from tests.mutants.listed import ROOT, Mutant, load, problems

PARTS = ("monitor", "training", "tests", "pyproject.toml", "README.md", "deploy")
TIMEOUT_S = 240
# Of pytest: all passed, some failed.
PASSED, FAILED = 0, 1
PYTEST = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider"]


class Outcome(NamedTuple):
    """What became of one mutant: `wrong` says why somebody has to look at it, None where all is well."""

    mutant: Mutant
    said: str
    seconds: float
    wrong: str | None


class Copy:
    """A copy of the tree in which one mutant lives at a time."""

    def __init__(self, place: Path) -> None:
        self.place = place
        unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, place / part, ignore=unwanted)
            else:
                shutil.copy2(ROOT / part, place / part)

    @contextlib.contextmanager
    def holding(self, mutant: Mutant) -> Iterator[None]:
        path = self.place / mutant.file
        before = path.read_text(encoding="utf-8")
        path.write_text(before.replace(mutant.find, mutant.replace), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(before, encoding="utf-8")

    def pytest(self, tests: Sequence[str]) -> tuple[int | None, str]:
        """The exit status, None past the time limit, and the last lines."""
        environment = {**os.environ, "PYTHONPATH": str(self.place), "TELLTALE_HYPOTHESIS": "mutants"}
        # No byte code: two mutants of one file may have the same size and, to the second, the same age.
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "TELLTALE_REQUIRE_KAFKA": "1"}
        command = [*PYTEST, *tests]
        try:
            done = subprocess.run(
                command, cwd=self.place, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            return None, f"not done within {TIMEOUT_S} s"
        return done.returncode, done.stdout + done.stderr


def judge(mutant: Mutant, code: int | None, output: str) -> tuple[str, str | None]:
    """What was seen, in words, and what is wrong about it."""
    if code == PASSED and mutant.equivalent:
        return "equivalent", None
    if code == PASSED:
        return "SURVIVED", f"{', '.join(mutant.tests)} passed; {mutant.why}"
    if code not in (FAILED, None):
        return "BROKEN", f"pytest ended with {code}: {output.strip()[-500:]}"
    if mutant.equivalent:
        return "CAUGHT", "it is listed as equivalent, but a test sees it: take the reason out of the list"
    if code is None:
        return f"caught: {output}", None
    failed = [line.split(" ")[1] for line in output.splitlines() if line.startswith("FAILED ")]
    return f"caught by {failed[0].split('::', 1)[-1] if failed else 'an error'}", None


def run(mutants: Sequence[Mutant], jobs: int, tell: Callable[[Outcome], None]) -> list[Outcome]:
    """Each mutant against its tests, `jobs` at a time."""
    with tempfile.TemporaryDirectory(prefix="telltale-mutants-") as directory, ThreadPoolExecutor(jobs) as pool:
        copies: queue.Queue[Copy] = queue.Queue()
        for number in range(jobs):
            copies.put(Copy(Path(directory) / str(number)))
        said = threading.Lock()

        def one(mutant: Mutant) -> Outcome:
            copy = copies.get()
            began = time.monotonic()
            try:
                with copy.holding(mutant):
                    found, wrong = judge(mutant, *copy.pytest(mutant.tests))
            finally:
                copies.put(copy)
            outcome = Outcome(mutant, found, time.monotonic() - began, wrong)
            with said:
                tell(outcome)
            return outcome

        _check_unchanged(copies, mutants)
        return list(pool.map(one, mutants))


def _check_unchanged(copies: queue.Queue[Copy], mutants: Sequence[Mutant]) -> None:
    """A test that fails without any mutant shows nothing with one."""
    copy = copies.get()
    code, output = copy.pytest(sorted({test for mutant in mutants for test in mutant.tests}))
    copies.put(copy)
    if code != PASSED:
        raise SystemExit(f"the tests do not pass as they are:\n{output[-3000:]}")


@contextlib.contextmanager
def broker(wanted: bool) -> Iterator[None]:
    """One broker for all mutants that need one."""
    if not wanted or os.environ.get(BOOTSTRAP_VARIABLE):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="telltale-mutants-") as directory:
        kafka = LocalKafka(Path(directory), port=0)
        os.environ[BOOTSTRAP_VARIABLE] = kafka.start()
        try:
            yield
        finally:
            kafka.stop()


def _tell(outcome: Outcome) -> None:
    print(f"{outcome.seconds:6.1f} s  {outcome.mutant.name}: {outcome.said}", flush=True)


def main(arguments: Sequence[str]) -> int:
    about = "Deliberate bugs, one at a time, against the tests that should see them."
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=about)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these; all without")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--no-kafka", action="store_true", help="leave out those that need a broker")
    parser.add_argument("--list", action="store_true", help="say what there is, and whether the list is true")
    options = parser.parse_args(arguments)
    mutants = load()
    if found := problems(mutants):
        print("\n".join(found))
        return 1
    if unknown := set(options.names) - {mutant.name for mutant in mutants}:
        parser.error(f"no mutant of the name {', '.join(sorted(unknown))}")
    chosen = [
        mutant
        for mutant in mutants
        if (not options.names or mutant.name in options.names) and not (options.no_kafka and mutant.kafka)
    ]
    if options.list:
        for mutant in chosen:
            print(f"{mutant.name:<45} {mutant.file}{'  (equivalent)' if mutant.equivalent else ''}")
        return 0
    began = time.monotonic()
    with broker(any(mutant.kafka for mutant in chosen)):
        outcomes = run(
            chosen, options.jobs, lambda it: print(f"{it.seconds:6.1f} s  {it.mutant.name}: {it.said}", flush=True)
        )
    wrong = [outcome for outcome in outcomes if outcome.wrong]
    print(f"\n{len(outcomes)} mutants in {time.monotonic() - began:.0f} s, {len(wrong)} to look at")
    for outcome in wrong:
        print(f"  {outcome.mutant.name} ({outcome.mutant.file}): {outcome.said}: {outcome.wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
