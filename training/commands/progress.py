"""How far training is: a bar on a terminal, otherwise a line every tenth of the way. On stderr."""

from __future__ import annotations

import sys
from types import TracebackType

import rich.progress
import typer
from rich.console import Console

from training.fitting.checkpoints import Epoch


class ProgressBar:
    """Shows each epoch; a context manager, so that the bar is removed whatever happens."""

    def __init__(self) -> None:
        self._epochs = self._every = 1
        self._bar: rich.progress.Progress | None = None
        if sys.stderr.isatty():
            self._bar = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(),
                rich.progress.MofNCompleteColumn(),
                rich.progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("fitting", total=None)

    def __enter__(self) -> ProgressBar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, epochs: int) -> None:
        """A fit of so many epochs begins."""
        self._epochs, self._every = epochs, max(epochs // 10, 1)
        if self._bar is not None:
            self._bar.reset(self._task, total=epochs)

    def advance(self, epoch: Epoch) -> None:
        text = f"loss {epoch.loss:.5f}"
        if epoch.validation is not None:
            text += f", validation {epoch.validation:.5f}"
        if self._bar is not None:
            self._bar.update(self._task, completed=epoch.number, description=f"fitting  {text}")
        elif epoch.number % self._every == 0 or epoch.number == self._epochs:
            typer.echo(f"epoch {epoch.number}/{self._epochs}: {text}", err=True)
