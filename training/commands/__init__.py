"""`telltale train`, `evaluate` and the autoencoder's other uses, as `monitor.cli` finds them by their entry point.

Rules of this file: what computes is imported inside the commands, so that `telltale --help` stays quick. Results go to
stdout, progress and notes to stderr. Errors are raised; `monitor.cli` turns them into messages and exit codes.
"""

from __future__ import annotations

import typer

from training.commands.calibrate import calibrate
from training.commands.codes import decode, denoise, encode, sample
from training.commands.evaluate import evaluate
from training.commands.train import train


def commands(app: typer.Typer) -> None:
    """Adds the trainer's commands to the one command."""
    for command in (train, evaluate, calibrate, encode, decode, denoise, sample):
        app.command()(command)
