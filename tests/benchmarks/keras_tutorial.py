"""The tutorial recipe in Keras 3 on TensorFlow, for `training_speed`: the tutorial, as Keras does it quickest.

Rules of this file: it runs by its path in an environment of its own (`make training-speed`), so nothing of this project
is imported; its only output is one line of JSON. What is chosen is kind to Keras: `numpy.loadtxt` and a permutation of
NumPy's, because pandas and scikit-learn, which the tutorial uses, take longer to import than they save; reconstructions
by calling the model, because `predict` compiles a function of its own; `fit` at its default `jit_compile="auto"`.

Reference: TensorFlow, "Intro to Autoencoders", third example.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402 - its backend is chosen by the environment
import numpy as np  # noqa: E402

IMPORTED = time.perf_counter()
NORMAL, TEST_SHARE = 1, 0.2
WIDTHS, BATCH, EPOCHS = (32, 16, 8), 512, 20


def read(files: list[Path]) -> Any:
    """Rows of the files: class and beat, (n, 141)."""
    return np.concatenate([np.loadtxt(file, dtype=np.float32) for file in files])


def divide(rows: Any, seed: int) -> tuple[Any, Any, Any]:
    """Normal training beats, test beats, and which of the latter are normal; scaled by the range of all training rows.

    The permutation is that of scikit-learn's `train_test_split`, as in the tutorial and in `training.windows.splits`.
    """
    order = np.random.RandomState(seed).permutation(len(rows))
    tested = int(np.ceil(TEST_SHARE * len(rows)))
    test, rest = rows[order[:tested]], rows[order[tested:]]
    low, high = rest[:, 1:].min(), rest[:, 1:].max()
    scaled = [(part[:, 1:] - low) / (high - low) for part in (rest[rest[:, 0] == NORMAL], test)]
    return scaled[0], scaled[1], test[:, 0] == NORMAL


def build(length: int, seed: int) -> Any:
    """The tutorial's model, compiled."""
    keras.utils.set_random_seed(seed)
    hidden = [keras.layers.Dense(width, activation="relu") for width in (*WIDTHS, *WIDTHS[-2::-1])]
    model = keras.Sequential([keras.Input((length,)), *hidden, keras.layers.Dense(length, activation="sigmoid")])
    model.compile(optimizer="adam", loss="mae")
    return model


def errors(model: Any, beats: Any) -> Any:
    """Mean absolute error of each beat."""
    return np.abs(keras.ops.convert_to_numpy(model(beats)) - beats).mean(axis=1)


def auroc(normal: Any, scores: Any) -> float:
    """The share of pairs, normal and not, in which the normal beat's error is the smaller; ties count half."""
    below = np.sort(scores[normal])
    other = scores[~normal]
    ranks = np.searchsorted(below, other, "left") + np.searchsorted(below, other, "right")
    return float(ranks.sum() / (2 * len(below) * len(other)))


class Watch(keras.callbacks.Callback):
    """The time of each epoch's end, and the AUROC after every `each`; what looking takes is not counted."""

    def __init__(self, test: Any, normal: Any, each: int, enough: float) -> None:
        super().__init__()
        self.ends: list[float] = []
        self.reached: int | None = None  # the epoch after which it was enough
        self._test, self._normal, self._each, self._enough = test, normal, each, enough
        self._began, self._looked = time.perf_counter(), 0.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        self.ends.append(now - self._began - self._looked)
        if self._each and (epoch + 1) % self._each == 0:
            if auroc(self._normal, errors(self.model, self._test)) >= self._enough:
                self.reached = epoch + 1
                self.model.stop_training = True
            self._looked += time.perf_counter() - now


def whole(files: list[Path], out: Path, seed: int) -> dict[str, Any]:
    """Load, compile, fit, calibrate, save: the tutorial as one process does it. Seconds of each stage, and figures."""
    marks = {"import": IMPORTED - STARTED}
    last = time.perf_counter()

    def mark(stage: str) -> None:
        nonlocal last
        marks[stage], last = time.perf_counter() - last, time.perf_counter()

    train, test, normal = divide(read(files), seed)
    mark("load")
    model = build(train.shape[1], seed)
    history = model.fit(train, train, epochs=EPOCHS, batch_size=BATCH, validation_data=(test, test), verbose=0)
    mark("fit")
    learnt = errors(model, train)
    threshold = float(learnt.mean() + learnt.std())
    scores = errors(model, test)
    said_normal = scores < threshold
    mark("calibrate")
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / "model.keras")
    (out / "threshold.json").write_text(json.dumps({"threshold": threshold}))
    mark("save")
    return {
        "seconds": marks,
        "windows": len(train),
        "loss": float(history.history["loss"][-1]),
        "validation_loss": float(history.history["val_loss"][-1]),
        "threshold": threshold,
        "accuracy": float((said_normal == normal).mean()),
        "auroc": auroc(normal, scores),
    }


def long(files: list[Path], seed: int, epochs: int, each: int, enough: float) -> dict[str, Any]:
    """Epoch ends in seconds from the beats in memory, compiling included, until AUROC `enough` on the test part."""
    train, test, normal = divide(read(files), seed)
    watch = Watch(test, normal, each, enough)
    model = build(train.shape[1], seed)
    model.fit(train, train, epochs=epochs, batch_size=BATCH, validation_data=(test, test), verbose=0, callbacks=[watch])
    return {"ends": watch.ends, "reached": watch.reached}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, help="directory for model and threshold")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=0, help="instead: so many, with the time of each")
    parser.add_argument("--each", type=int, default=0, help="look at the AUROC after each so many epochs")
    parser.add_argument("--enough", type=float, default=1.0, help="and stop at this one")
    asked = parser.parse_args()
    if asked.epochs:
        found = long(asked.files, asked.seed, asked.epochs, asked.each, asked.enough)
    else:
        found = whole(asked.files, asked.out, asked.seed)
    import tensorflow as tf

    found["versions"] = {"keras": keras.__version__, "tensorflow": tf.__version__, "numpy": np.__version__}
    json.dump(found, sys.stdout)
    print()


if __name__ == "__main__":
    main()
