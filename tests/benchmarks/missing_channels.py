"""One channel of many is missing: which way to fill it in leaves the scores of the others as they were.

An artifact is fitted on a machine's first half. Of its second half one channel at a time is erased, throughout; then
the windows are scored with it filled in, by

    whole       nothing erased
    mean        the channel's mean in training
    known       its mean over the artifact's known windows, of which there are eight
    once, twice, thrice     what the model makes of it, from `known` on, so often
    masked      as `thrice`, and the error is that of the other channels alone, as a mean of theirs

and it is counted how many windows without an anomaly are over the threshold, and how many anomalies have a window over
it. Channels are weighed alike: means over all of them, and the worst one.

    python -m tests.benchmarks.missing_channels --recipe servers
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from monitor.detector.arrays import Float32Array
from monitor.detector.served import ServedModel, load_verified
from tests.benchmarks.series.smd import MACHINES, read

HOP = 5


def windows_of(values: Float32Array, length: int) -> Float32Array:
    """(n, length, channels), every `HOP` rows."""
    views = np.lib.stride_tricks.sliding_window_view(values, length, axis=0)[::HOP]
    return np.ascontiguousarray(views.transpose(0, 2, 1), dtype=np.float32)


def ways(model: ServedModel, windows: Float32Array, channel: int, mean: float) -> Iterator[tuple[str, Float32Array]]:
    """Scores by each way of filling `channel` in."""
    filled = windows.copy()
    filled[:, :, channel] = mean
    yield "mean", model.scorer(filled)
    filled[:, :, channel] = model.artifact.known_windows[:, :, channel].mean()
    yield "known", model.scorer(filled)
    channels = windows.shape[2]
    for name in ("once", "twice", "thrice"):
        filled[:, :, channel] = model.scorer.reconstruct(filled)[:, :, channel]
        found = model.scorer(filled)
        yield name, found
    yield "masked", found * np.float32(channels / (channels - 1))


def shares(scores: Float32Array, threshold: float, marked: np.ndarray, events: list[tuple[int, int]]) -> list[float]:
    """Share of normal windows over the threshold, per 10,000; and the share of events found."""
    over = scores > np.float32(threshold)
    found = [bool(over[first:end].any()) for first, end in events]
    return [1e4 * float(over[~marked].mean()), float(np.mean(found)) if found else float("nan")]


def measure(data: Path, machine: str, recipe: str) -> None:
    first, second = read(data, machine)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "artifact"
        train = ["train", str(data / "train" / f"{machine}.txt.gz"), "--recipe", recipe, "--out", str(out)]
        subprocess.run([sys.executable, "-m", "monitor", *train], check=True, stdout=subprocess.DEVNULL)
        model = load_verified(out)
    length = model.manifest.window.length
    windows = windows_of(second.samples, length)
    assert second.labels is not None
    labels = np.lib.stride_tricks.sliding_window_view(second.labels > 0, length)[::HOP]
    marked = np.asarray(labels.any(axis=1))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(np.int8), [0]])))
    events = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    threshold = model.manifest.threshold.value
    whole = shares(model.scorer(windows), threshold, marked, events)
    found: dict[str, list[list[float]]] = {}
    for channel in range(windows.shape[2]):
        mean = float(np.nanmean(first.samples[:, channel]))
        for name, scores in ways(model, windows, channel, mean):
            found.setdefault(name, []).append(shares(scores, threshold, marked, events))
    print(f"\n{machine}, {recipe}: {len(windows)} windows of {length}, {len(events)} anomalies")
    print(f"{'':8}{'over, of 10,000':>18}{'worst channel':>16}{'found':>8}{'worst':>8}")
    print(f"{'whole':8}{whole[0]:18.1f}{'':16}{whole[1]:8.2f}")
    for name, rows in found.items():
        over, share = np.array(rows).T
        print(f"{name:8}{over.mean():18.1f}{over.max():16.1f}{share.mean():8.2f}{share.min():8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TELLTALE_DATA", "data")) / "smd")
    parser.add_argument("--recipe", default="servers")
    parser.add_argument("--machines", nargs="*", default=list(MACHINES))
    options = parser.parse_args()
    for machine in options.machines:
        measure(options.data, machine, options.recipe)


if __name__ == "__main__":
    main()
