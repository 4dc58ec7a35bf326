"""How the demo looks: colours, a progress bar and curves on a terminal; plain lines everywhere else.

Rules of this file: output only. The plain form has no control characters, so that a log of it can be read, and only
ASCII, so that every terminal can show it.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Protocol, Self

import rich.progress
import typer
from rich.console import Console
from rich.text import Text

from monitor.demo.alert_text import AlertText

_NAME_WIDTH = 9
_SERIES_WIDTH = 11
_PLAIN_PROGRESS_S = 5.0
_COLOURS = {"info": "green", "warning": "yellow", "error": "red", "critical": "bold red"}


class Screen(Protocol):
    """What the demo needs of a screen; a context manager, so that the bar is always removed."""

    def title(self, text: str) -> None: ...
    def begin(self, name: str, text: str) -> None:
        """Begins a step that may take a while; without a text only a bar is shown."""

    def end(self, name: str, text: str) -> None:
        """Ends the step; `text` is its result."""

    def progress(self, share: float, text: str) -> None:
        """Shows the step's progress, 0 to 1."""

    def alert(self, shown: AlertText) -> None: ...
    def note(self, text: str) -> None: ...
    def summary(self, lines: list[tuple[str, str]], verdict: str, *, good: bool) -> None: ...
    def closing(self, lines: list[str]) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def for_this_terminal() -> Screen:
    """The live form if stdout is a terminal that can show it."""
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return LiveScreen()
    return PlainScreen()


class PlainScreen:
    """Lines for a pipe, a log, a dumb terminal."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()
        self._spoke_s = 0.0

    def title(self, text: str) -> None:
        typer.echo(f"Telltale demo: {text}")

    def begin(self, name: str, text: str) -> None:
        if text:
            self._say(name, f"{text} ...")

    def end(self, name: str, text: str) -> None:
        self._say(name, text)

    def progress(self, share: float, text: str) -> None:
        if share and text and time.monotonic() - self._spoke_s > _PLAIN_PROGRESS_S:
            self._say("", f"{share:4.0%}  {text}")

    def alert(self, shown: AlertText) -> None:
        truth = f"  [{shown.truth}]" if shown.truth else ""
        self._say("alert", f"{shown.at:>7}  {shown.series:<{_SERIES_WIDTH}}{shown.status:<9} {shown.text}{truth}")

    def note(self, text: str) -> None:
        self._say("", text)

    def summary(self, lines: list[tuple[str, str]], verdict: str, *, good: bool) -> None:
        typer.echo("")
        for name, text in lines:
            typer.echo(f"{name:<{_NAME_WIDTH}} {text}")
        typer.echo(("" if good else "FAILED: ") + verdict)

    def closing(self, lines: list[str]) -> None:
        typer.echo("\n".join(["", *lines]))

    def _say(self, name: str, text: str) -> None:
        self._spoke_s = time.monotonic()
        typer.echo(f"{self._spoke_s - self._started_s:6.1f} s  {name:<{_NAME_WIDTH}}{text}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class LiveScreen:
    """Lines above, the current step with its bar below."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._curves = (self._console.encoding or "").lower().startswith("utf")
        self._bar = rich.progress.Progress(
            rich.progress.SpinnerColumn("dots" if self._curves else "line"),
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=24),
            rich.progress.TextColumn("{task.fields[text]}"),
            rich.progress.TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task: rich.progress.TaskID | None = None

    def title(self, text: str) -> None:
        self._console.print(Text.assemble(("Telltale demo", "bold"), f"  {text}"))
        self._console.print()

    def begin(self, name: str, text: str) -> None:
        self._clear()
        self._task = self._bar.add_task(f"{name:<{_NAME_WIDTH}}", total=None, text=text)

    def end(self, name: str, text: str) -> None:
        self._clear()
        self._console.print(Text.assemble((f"{name:<{_NAME_WIDTH}} ", "bold cyan"), text))

    def progress(self, share: float, text: str) -> None:
        if self._task is not None:
            self._bar.update(self._task, total=1.0, completed=share, text=text)

    def alert(self, shown: AlertText) -> None:
        resolved = shown.status == "resolved"
        colour = "dim green" if resolved else _COLOURS[shown.severity]
        line = Text.assemble(
            (f"{shown.at:>7}  ", "dim"), f"{shown.series:<{_SERIES_WIDTH}}", (f"{shown.status:<9} ", colour)
        )
        line.append(shown.text, "dim" if resolved else "")
        self._console.print(line)
        if shown.right is None:
            return
        under = Text(" " * _NAME_WIDTH)
        if self._curves and shown.observed:
            under.append_text(
                Text.assemble((shown.observed, colour), ("  expected  ", "dim"), (shown.expected, "cyan"), "  ")
            )
        mark = ("\u2713 " if shown.right else "\u2717 ") if self._curves else ""
        under.append(f"{mark}{shown.truth}", "green" if shown.right else "bold red")
        self._console.print(under)

    def note(self, text: str) -> None:
        self._console.print(Text(f"{'':{_NAME_WIDTH}} {text}", "dim"))

    def summary(self, lines: list[tuple[str, str]], verdict: str, *, good: bool) -> None:
        self._clear()
        self._console.print()
        for name, text in lines:
            self._console.print(Text.assemble((f"{name:<{_NAME_WIDTH}} ", "bold cyan"), text))
        self._console.print()
        self._console.print(Text(verdict, "bold green" if good else "bold red"))

    def closing(self, lines: list[str]) -> None:
        self._console.print()
        for line in lines:
            self._console.print(Text(line), soft_wrap=True)

    def _clear(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()
        self._bar.stop()
