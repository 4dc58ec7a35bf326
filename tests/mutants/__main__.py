"""Deliberate bugs, one at a time, against the tests that should see them: `make mutants`.

    python -m tests.mutants [--no-kafka] [--jobs 2] [NAME ...]

Each is put into a copy of the tree, never into the tree itself. It ends with 1 where a bug was not caught that is not
listed as equivalent, where one was that is, or where the list is no longer true of the code.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import json
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
from py_compile import PycInvalidationMode
from typing import NamedTuple

from monitor.broker.cluster import LocalKafka
from tests.kafka_fixture import BOOTSTRAP_VARIABLE, NO_RETENTION
from tests.mutants.listed import ROOT, Mutant, load, problems

PACKAGES = ("monitor", "training", "tests")
PARTS = (*PACKAGES, "pyproject.toml", "README.md", "deploy")
TIMEOUT_S = 240
# Of pytest: all passed, some failed.
PASSED, FAILED = 0, 1
PYTEST = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider"]


class Outcome(NamedTuple):
    """What became of one mutant: `wrong` says why somebody has to look at it, None where all is well."""

    mutant: Mutant
    said: str
    seconds: float
    wrong: str | None


class Copy:
    """A copy of the tree in which one mutant lives at a time, and a process that runs tests in it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, place / part, ignore=unwanted)
            else:
                shutil.copy2(ROOT / part, place / part)
        # By their content: two mutants of one file may have the same size and, to the second, the same age.
        for part in PACKAGES:
            compileall.compile_dir(place / part, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        environment = {**os.environ, "PYTHONPATH": str(place), "TELLTALE_HYPOTHESIS": "mutants"}
        # Plugins would be loaded before the fork with the libraries that they come with, which pytest warns of.
        environment |= {"TELLTALE_REQUIRE_KAFKA": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        self._nursery = subprocess.Popen(
            [sys.executable, str(place / "tests" / "mutants" / "nursery.py")],
            cwd=place,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

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
        """The exit status, None past the time limit, and the output."""
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(json.dumps([TIMEOUT_S, *PYTEST, *tests]) + "\n")
        self._nursery.stdin.flush()
        answer = self._nursery.stdout.readline()
        if not answer:
            raise SystemExit(f"what runs the tests has ended with {self._nursery.wait()}")
        code, output = json.loads(answer)
        return code, f"not done within {TIMEOUT_S} s" if code is None else output

    def close(self) -> None:
        """Ends the process."""
        self._nursery.communicate()


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
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="telltale-mutants-")))
        copies: queue.Queue[Copy] = queue.Queue()
        for number in range(jobs):
            copy = Copy(directory / str(number))
            stack.callback(copy.close)
            copies.put(copy)
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
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

        _check_unchanged(pool, copies, mutants)
        return list(pool.map(one, mutants))


def _check_unchanged(pool: ThreadPoolExecutor, copies: queue.Queue[Copy], mutants: Sequence[Mutant]) -> None:
    """A test that fails without any mutant shows nothing with one."""
    by_file: dict[str, set[str]] = {}
    for test in (test for mutant in mutants for test in mutant.tests):
        by_file.setdefault(test.split("::", 1)[0], set()).add(test)

    def check(file: str) -> None:
        copy = copies.get()
        try:
            code, output = copy.pytest([file] if file in by_file[file] else sorted(by_file[file]))
        finally:
            copies.put(copy)
        if code != PASSED:
            raise SystemExit(f"the tests do not pass as they are:\n{output[-3000:]}")

    list(pool.map(check, by_file))


@contextlib.contextmanager
def broker(wanted: bool) -> Iterator[None]:
    """One broker for all mutants that need one."""
    if not wanted or os.environ.get(BOOTSTRAP_VARIABLE):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="telltale-mutants-") as directory:
        kafka = LocalKafka(Path(directory), port=0, settings=NO_RETENTION)
        os.environ[BOOTSTRAP_VARIABLE] = kafka.start()
        try:
            yield
        finally:
            kafka.stop()


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
