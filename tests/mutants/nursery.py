"""Runs pytest again and again in the directory it is started in, each time in a fork that has the libraries loaded.

Loading them takes longer than most tests. A line of stdin is a JSON array: a time limit in seconds, and arguments for
pytest. A line of stdout is the answer: the exit status (null past the limit), and the output.

Rules of this file: nothing of ours is loaded before the fork, so that each run sees the files as they are by then.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import IO

LIBRARIES = ("numpy", "jax", "jax.numpy", "hypothesis", "pytest", "pydantic", "msgspec", "kafka", "kafka.admin")
# By name, and of no consequence where they are not there.
MORE_LIBRARIES = ("structlog", "prometheus_client", "zstandard", "lz4.frame", "snappy")
_LOOK_S = 0.02
# A bug may ask for more memory than the machine has: that is an error of the test, and not the end of other processes.
_MOST_BYTES = 4 << 30


def run(limit_s: float, arguments: list[str]) -> tuple[int | None, str]:
    """The exit status of pytest, None past the limit, and what it wrote."""
    with tempfile.TemporaryFile() as output:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # JAX warns of forks; it has started nothing yet
            child = os.fork()
        if not child:
            _be_pytest(arguments, output)
        return _wait(child, limit_s), _text(output)


def _be_pytest(arguments: list[str], output: IO[bytes]) -> None:
    status = 70
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_BYTES, _MOST_BYTES))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        status = int(sys.modules["pytest"].main(arguments))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait(child: int, limit_s: float) -> int | None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(_LOOK_S)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _text(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode("utf-8", "replace")


def main() -> None:
    sys.path[0] = str(Path.cwd())
    for name in (*LIBRARIES, *MORE_LIBRARIES):
        try:
            importlib.import_module(name)
        except ImportError:
            if name in LIBRARIES:
                raise
    for line in sys.stdin:
        limit_s, *arguments = json.loads(line)
        print(json.dumps(run(limit_s, arguments)), flush=True)


if __name__ == "__main__":
    main()
