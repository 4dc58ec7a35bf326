"""Where a training run stands, and how an interrupted one goes on: Orbax keeps it, nothing of it is ever served.

Rules of this file: a run that goes on gives the same bits as one that was not interrupted. What belongs to other data
or another recipe is refused, never continued.
"""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import SeriesTable, WindowTable
from monitor.detector.autoencoder import State
from monitor.errors import DataError
from training.datasets.options import Table
from training.recipes.schema import Recipe

# Goes up where the same recipe, data and seed no longer give the same run: what a step draws, or how moments are kept.
FORM = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one pass came to: mean losses, in scaled units; `validation` is None without validation windows."""

    number: int
    loss: float
    validation: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FitProgress:
    """State and optimiser moments after `epoch` passes, the best state so far, and which rows weigh (n,).

    `history` is one list for the whole run, to which each pass adds.
    """

    state: State
    moments: Any
    best: State
    kept: NDArray[np.float32]
    best_loss: float = float("inf")
    best_epoch: int = 0
    history: list[Epoch] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Passes done."""
        return len(self.history)


def identity(recipe: Recipe, tables: Sequence[Table], seed: int) -> str:
    """What a checkpoint belongs to: the same recipe, data and seed give the same name, others another."""
    digest = hashlib.sha256(msgspec.json.encode([recipe, seed]))
    for table in tables:
        numbers = table.windows if isinstance(table, WindowTable) else table.samples
        times = table.time_us if isinstance(table, SeriesTable) else None
        digest.update(repr((table.channels, table.series, numbers.shape)).encode())
        for array in (numbers if table.exact is None else table.exact, table.labels, times):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class Checkpoints:
    """Saves every `every` epochs under `directory`; `identity` names the data, recipe and seed they belong to."""

    def __init__(self, directory: Path, identity: str, every: int, note: Callable[[str], None] = _log.info) -> None:
        """Raises `DataError` where `directory` can't be one. `note` is given what a run goes on from."""
        self._directory, self._identity, self._every, self._note = directory.absolute(), identity, every, note
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(
            f"{self._directory}: checkpoints can't be written: {error.strerror}; choose another --checkpoint"
        )

    def save(self, progress: FitProgress) -> None:
        """Keeps `progress` where its epoch is one of `every`, in the place of the one before."""
        if progress.epoch % self._every:
            return
        ocp = _orbax()
        told = {"form": FORM, "identity": self._identity, **_numbers(progress)}
        try:
            with (
                _uninterrupted(),
                ocp.CheckpointManager(self._directory, options=ocp.CheckpointManagerOptions(max_to_keep=2)) as manager,
            ):
                manager.save(
                    progress.epoch,
                    args=ocp.args.Composite(
                        arrays=ocp.args.StandardSave(_arrays(progress)), told=ocp.args.JsonSave(told)
                    ),
                )
        except OSError as error:
            raise self._unwritable(error) from None

    def restore(self, initial: FitProgress) -> FitProgress:
        """The newest checkpoint, or `initial` where there is none.

        Raises:
            DataError: it belongs to another run or version, or can't be read.
        """
        if not any(self._directory.iterdir()):
            return initial
        ocp = _orbax()
        with ocp.CheckpointManager(self._directory) as manager:
            newest = manager.latest_step()
            if newest is None:
                return initial
            try:
                told = manager.restore(newest, args=ocp.args.Composite(told=ocp.args.JsonRestore())).told
                if told.get("identity") != self._identity:
                    raise DataError(
                        f"{self._directory}: the checkpoint is of other data, another recipe or seed; choose another "
                        "--checkpoint, or remove it to start over"
                    )
                if told.get("form") != FORM:
                    raise DataError(
                        f"{self._directory}: the checkpoint is of another version of the trainer, which would not go "
                        "on to the same result; remove it to start over, or finish with that version"
                    )
                shapes = ocp.args.StandardRestore(_arrays(initial))
                arrays = manager.restore(newest, args=ocp.args.Composite(arrays=shapes)).arrays
            except (ValueError, KeyError, json.JSONDecodeError, OSError) as error:
                raise DataError(f"{self._directory}: the checkpoint can't be read: {error}; remove it") from None
        history = [Epoch(**epoch) for epoch in told["history"]]
        self._note(f"goes on after epoch {len(history)}, from {self._directory.name}")
        best_loss = float("inf") if told["best_loss"] is None else told["best_loss"]
        return FitProgress(**arrays, best_loss=best_loss, best_epoch=told["best_epoch"], history=history)


def _orbax() -> Any:
    """Orbax, which takes a second to import and logs temporary directories."""
    import orbax.checkpoint

    logging.getLogger("absl").setLevel(logging.ERROR)
    return orbax.checkpoint


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the end of the block: in the midst of it Orbax's threads would fail, with their tracebacks."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(*came[0])


def _arrays(progress: FitProgress) -> dict[str, Any]:
    return {"state": progress.state, "moments": progress.moments, "best": progress.best, "kept": progress.kept}


def _numbers(progress: FitProgress) -> dict[str, Any]:
    return {
        "best_loss": progress.best_loss if np.isfinite(progress.best_loss) else None,
        "best_epoch": progress.best_epoch,
        "history": [asdict(epoch) for epoch in progress.history],
    }
