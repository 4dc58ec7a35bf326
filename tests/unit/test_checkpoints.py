"""An interrupted run goes on to the same bits; another run's checkpoint is refused; several devices change nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from monitor.detector import autoencoder
from monitor.detector.architectures import DenseSpec, EnsembleSpec, ModelSpec
from monitor.errors import DataError
from training.fitting import checkpoints
from training.fitting import fit as fitting
from training.fitting.checkpoints import Checkpoints, Epoch
from training.fitting.reconstructing import reconstructions
from training.recipes.schema import FitPart, ObjectivePart

WINDOWS = np.random.default_rng(0).normal(size=(50, 6, 1)).astype(np.float32)
DENSE = DenseSpec(widths=(4, 2), output="linear")


class StoppedError(Exception):
    """What the interruption looks like from inside."""


def task(model: ModelSpec, objective: ObjectivePart, **options: Any) -> fitting.Task:
    given = FitPart(epochs=6, batch_size=16, learning_rate=1e-2)
    return fitting.Task(
        model=model,
        shape=autoencoder.Shape((6, 1)),
        options=msgspec.structs.replace(given, **options),
        objective=objective,
        seed=3,
    )


@pytest.mark.parametrize(
    ("model", "objective", "options"),
    [
        (DENSE, ObjectivePart(), {"patience": 2, "trim": 0.1}),
        (EnsembleSpec(members=2, member=DENSE), ObjectivePart(noise_std=0.1), {}),
    ],
)
def test_an_interrupted_run_goes_on_to_the_same_bits(
    tmp_path: Path, model: ModelSpec, objective: ObjectivePart, options: dict[str, float]
) -> None:
    wanted = task(model, objective, **options)
    whole = fitting.fit(WINDOWS, WINDOWS[:8], wanted)

    def interrupt(epoch: Epoch) -> None:
        if epoch.number == 4:
            raise StoppedError

    with pytest.raises(StoppedError):
        fitting.fit(WINDOWS, WINDOWS[:8], wanted, on_epoch=interrupt, checkpoints=Checkpoints(tmp_path / "c", "a", 3))
    told: list[Epoch] = []
    notes: list[str] = []
    saved = Checkpoints(tmp_path / "c", "a", 3, notes.append)
    resumed = fitting.fit(WINDOWS, WINDOWS[:8], wanted, on_epoch=told.append, checkpoints=saved)
    assert notes == ["goes on after epoch 3, from c"]
    assert [epoch.number for epoch in told] == list(range(4, len(whole.history) + 1)), "went on after the third"
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    for name, tensor in whole.parameters.items():
        np.testing.assert_array_equal(resumed.parameters[name], tensor)
    np.testing.assert_array_equal(resumed.trimmed, whole.trimmed)


def test_what_is_no_directory_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match=r"checkpoints can't be written: .*; choose another --checkpoint"):
            Checkpoints(place, "a", 1)


def test_an_interruption_waits_for_the_checkpoint(tmp_path: Path) -> None:
    """In the midst of saving a signal would end Orbax's threads, each with a traceback."""
    saved = Checkpoints(tmp_path / "c", "a", 1)
    run = fitting._Run(task(DENSE, ObjectivePart()), WINDOWS, WINDOWS[:0])
    progress = run.advance(run.start())
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell ignores it for what it runs in the background

    def save() -> None:
        with checkpoints._uninterrupted():
            signal.raise_signal(signal.SIGINT)
            saved.save(progress)

    with pytest.raises(KeyboardInterrupt):
        save()
    assert saved.restore(run.start()).epoch == 1
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    wanted = task(DENSE, ObjectivePart(), epochs=2)
    fitting.fit(WINDOWS, WINDOWS[:0], wanted, checkpoints=Checkpoints(tmp_path / "c", "mine", 1))
    with pytest.raises(DataError, match="other data, another recipe or seed"):
        fitting.fit(WINDOWS, WINDOWS[:0], wanted, checkpoints=Checkpoints(tmp_path / "c", "yours", 1))


def test_another_versions_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = task(DENSE, ObjectivePart(), epochs=2)
    monkeypatch.setattr(checkpoints, "FORM", checkpoints.FORM - 1)
    fitting.fit(WINDOWS, WINDOWS[:0], wanted, checkpoints=Checkpoints(tmp_path / "c", "mine", 1))
    monkeypatch.undo()
    with pytest.raises(DataError, match="of another version of the trainer"):
        fitting.fit(WINDOWS, WINDOWS[:0], wanted, checkpoints=Checkpoints(tmp_path / "c", "mine", 1))


def test_early_stopping_keeps_the_best() -> None:
    options = task(DENSE, ObjectivePart(), epochs=200, learning_rate=0.1, patience=5)
    found = fitting.fit(WINDOWS[:20], WINDOWS[20:], options)
    losses = [epoch.validation for epoch in found.history if epoch.validation is not None]
    assert len(losses) == len(found.history)
    assert len(found.history) < 200
    assert found.best_epoch == int(np.argmin(losses)) + 1
    assert len(found.history) - found.best_epoch == 5


def test_trimming_leaves_out_what_is_unlike_the_rest() -> None:
    odd = WINDOWS.copy() * np.float32(0.1)
    odd[:5] += 5
    found = fitting.fit(odd, odd[:0], task(DENSE, ObjectivePart(), epochs=30, trim=0.1))
    assert found.trimmed.sum() == 5
    assert found.trimmed[:5].all()


def test_what_is_trimmed_belongs_to_the_parameters_that_are_kept() -> None:
    options = task(DENSE, ObjectivePart(), epochs=200, learning_rate=0.1, patience=5, trim=0.2)
    found = fitting.fit(WINDOWS, WINDOWS[:8], options)
    assert found.best_epoch < len(found.history), "later parameters were given up"
    made = reconstructions(DENSE, options.shape, found.parameters, WINDOWS)
    worst = np.argsort(np.abs(WINDOWS - made).mean(axis=(1, 2)))[-10:]
    assert sorted(np.flatnonzero(found.trimmed).tolist()) == sorted(worst.tolist())


def test_a_run_keeps_one_history() -> None:
    """No copy of it for each epoch: thousands of them would cost the square of that."""
    run = fitting._Run(task(DENSE, ObjectivePart()), WINDOWS, WINDOWS[:0])
    progress = run.start()
    history = progress.history
    for number in (1, 2, 3):
        progress = run.advance(progress)
        assert progress.history is history
        assert progress.epoch == history[-1].number == number


DEVICES = """
import jax, numpy as np
from monitor.detector import autoencoder
from monitor.detector.architectures import DenseSpec
from training.fitting import checkpoints
from training.fitting import fit as fitting
from training.recipes.schema import FitPart
windows = np.random.default_rng(0).normal(size=(50, 6, 1)).astype(np.float32)
task = fitting.Task(
    model=DenseSpec(widths=(4, 2), output="linear"), shape=autoencoder.Shape((6, 1)), seed=3,
    options=FitPart(epochs=5, batch_size=18, learning_rate=1e-2),
)
found = fitting.fit(windows, windows[:8], task)
print(jax.device_count(), *(f"{epoch.loss:.9f}" for epoch in found.history))
"""


def test_several_devices_divide_a_batch_and_change_nothing() -> None:
    lines = []
    for devices in (1, 4):
        environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        done = subprocess.run(
            [sys.executable, "-c", DEVICES], env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        lines.append(done.stdout.split())
    assert [line[0] for line in lines] == ["1", "4"]
    one, four = (np.array(line[1:], np.float64) for line in lines)
    np.testing.assert_allclose(one, four, rtol=1e-5)
