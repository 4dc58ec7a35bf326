"""Ctrl-C, SIGTERM and a closed terminal: one exception, raised only where no process can be left behind.

Rules of this file: a signal is never lost, and never interrupts clean-up, which takes a limited time.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedRun(BaseException):
    """The user wants to stop. Not an `Exception`, so that no library catches it as an error of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code that a shell reports for a process that ended by this signal."""
        return 128 + self.number


class Interruptions(AbstractContextManager["Interruptions"]):
    """While entered, signals raise `InterruptedRun` in the main thread, except where they are held back."""

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._held = 0
        self._closed = False
        self._pending: int | None = None

    def __enter__(self) -> Interruptions:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` leaves SIGHUP
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Delays signals until the block is left: between starting a process and registering it."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self._pending is not None and not self._held and not self._closed:
            raise InterruptedRun(self._pending)

    def close(self) -> None:
        """Ignores signals from now on: everything is being stopped already."""
        self._closed = True

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._pending = number
        if not self._held and not self._closed:
            raise InterruptedRun(number)
