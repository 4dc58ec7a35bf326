"""The public series in TELLTALE_DATA as streams of samples: a part to learn from, and the rest, with labels."""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from monitor.detector.arrays import BoolArray, Float64Array, Int64Array

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Stream:
    """One series: `values` (n, channels), of which the first `learnt` rows are what a trainer would be given.

    `time_us` (n,) are the series' own times where it has any, else regular ones `period_s` apart. `anomalous` (n,) are
    the labels: of the process, not of its sensors.
    """

    group: str
    name: str
    values: Float64Array
    time_us: Int64Array
    learnt: int
    anomalous: BoolArray

    @property
    def weeks(self) -> float:
        """How long it goes on after what is learnt from."""
        times = self.time_us[self.learnt :]
        return float(times.max() - times.min()) / 604_800e6 if len(times) else 0.0


def streams(root: Path) -> Iterator[Stream]:
    """All series below `root`, group by group."""
    for read in (_skab, _nab, _smd, _smap, _ucr, _mitbih, _svdb, _ecg5000, _cmapss, _ims):
        yield from read(root)


def _regular(count: int, period_s: float) -> Int64Array:
    times: Int64Array = np.rint(1_600_000_000e6 + np.arange(count) * period_s * 1e6).astype(np.int64)
    return times


def _stamps_us(texts: list[str], form: str) -> Int64Array:
    seconds = [datetime.strptime(text + "+0000", form + "%z").timestamp() for text in texts]
    return np.rint(np.array(seconds) * 1e6).astype(np.int64)


def _skab(root: Path) -> Iterator[Stream]:
    """The record without anomalies goes before each run, as one series that learns from the former."""
    form = "%Y-%m-%d %H:%M:%S"

    def table(path: Path) -> tuple[Int64Array, Float64Array]:
        rows = list(csv.reader(path.open(), delimiter=";"))[1:]
        return _stamps_us([row[0] for row in rows], form), np.array([row[1:] for row in rows], dtype=np.float64)

    times, normal = table(root / "skab/anomaly-free/anomaly-free.csv")
    for path in sorted((root / "skab").glob("[vo]*/*.csv"), key=lambda each: (each.parent.name, int(each.stem))):
        when, rows = table(path)
        labels = np.concatenate([np.zeros(len(normal)), rows[:, 8]]) > 0
        values, time_us = np.concatenate([normal, rows[:, :8]]), np.concatenate([times, when])
        yield Stream("SKAB", f"{path.parent.name}/{path.stem}", values, time_us, len(normal), labels)


def _nab(root: Path) -> Iterator[Stream]:
    windows = json.loads((root / "nab/labels/combined_windows.json").read_text())
    for path in sorted((root / "nab/data").glob("*/*.csv")):
        rows = list(csv.reader(path.open()))[1:]
        time_us = _stamps_us([row[0] for row in rows], "%Y-%m-%d %H:%M:%S")
        labels = np.zeros(len(rows), dtype=np.bool_)
        for first, last in windows[f"{path.parent.name}/{path.name}"]:
            ends = _stamps_us([first.split(".")[0], last.split(".")[0]], "%Y-%m-%d %H:%M:%S")
            labels |= (time_us >= ends[0]) & (time_us <= ends[1])
        values = np.array([[float(row[1])] for row in rows])
        yield Stream("NAB", f"{path.parent.name}/{path.stem}", values, time_us, int(0.15 * len(rows)), labels)


def _smd(root: Path) -> Iterator[Stream]:
    for path in sorted((root / "smd/train").glob("*.gz")):
        name = path.name.removesuffix(".txt.gz")
        parts = [np.loadtxt(root / "smd" / part / path.name, delimiter=",") for part in ("train", "test")]
        labels = np.loadtxt(root / "smd/test_label" / f"{name}.txt") > 0
        values = np.concatenate(parts)
        labels = np.concatenate([np.zeros(len(parts[0]), dtype=np.bool_), labels])
        yield Stream("SMD", name, values, _regular(len(values), MINUTE_S), len(parts[0]), labels)


def _smap(root: Path) -> Iterator[Stream]:
    with (root / "smap_msl/labeled_anomalies.csv").open() as file:
        spans = {row["chan_id"]: ast.literal_eval(row["anomaly_sequences"]) for row in csv.DictReader(file)}
    for path in sorted((root / "smap_msl/train").glob("*.npy")):
        parts = [np.load(root / "smap_msl" / part / path.name) for part in ("train", "test")]
        labels = np.zeros(len(parts[0]) + len(parts[1]), dtype=np.bool_)
        for first, last in spans[path.stem]:
            labels[len(parts[0]) + first : len(parts[0]) + last + 1] = True
        values = np.concatenate(parts)
        yield Stream("SMAP/MSL", path.stem, values, _regular(len(values), MINUTE_S), len(parts[0]), labels)


def _ucr(root: Path) -> Iterator[Stream]:
    """Their rates are not given; as ECGs at 250 Hz most of them are near it."""
    for path in sorted((root / "ucr_anomaly").glob("*.txt")):
        train, first, last = map(int, path.stem.split("_")[-3:])
        values = np.loadtxt(path)[:, None]
        labels = np.zeros(len(values), dtype=np.bool_)
        labels[first - 1 : last] = True
        yield Stream("UCR", path.stem.split("_")[3], values, _regular(len(values), 1 / 250), train, labels)


def _mitbih(root: Path) -> Iterator[Stream]:
    for path in sorted((root / "mitbih").glob("*.npz")):
        with np.load(path) as kept:
            values = kept["signal_adc"].astype(np.float64)
        labels = np.zeros(len(values), dtype=np.bool_)
        yield Stream("MIT-BIH", path.stem, values, _regular(len(values), 1 / 360), int(0.15 * len(values)), labels)


def _svdb(root: Path) -> Iterator[Stream]:
    table = np.loadtxt(root / "svdb_mba_ecg/MBA_ECG805_data.out", delimiter=",")
    times = _regular(len(table), 1 / 128)
    yield Stream("svdb", "805", table[:, :1], times, int(0.15 * len(table)), table[:, 1] > 0)


def _ecg5000(root: Path) -> Iterator[Stream]:
    """Beat after beat as one series; those of the training file that are normal come first."""
    train = np.loadtxt(root / "ecg5000/ECG5000_TRAIN.txt")
    test = np.loadtxt(root / "ecg5000/ECG5000_TEST.txt.gz")
    beats = np.concatenate([train[train[:, 0] == 1], test])
    values = beats[:, 1:].reshape(-1, 1)
    labels = np.repeat(beats[:, 0] != 1, 140)
    yield Stream("ECG5000", "chf07", values, _regular(len(values), 1 / 140), 292 * 140, labels)


def _cmapss(root: Path) -> Iterator[Stream]:
    """The first 80 engines are learnt from, as far as half of their life; each of the others is a series after it."""
    table = np.loadtxt(root / "cmapss/train_FD001.txt.gz")
    units = [table[table[:, 0] == unit][:, 2:] for unit in np.unique(table[:, 0])]
    normal = np.concatenate([unit[: len(unit) // 2] for unit in units[:80]])
    for number, unit in enumerate(units[80:], 81):
        values = np.concatenate([normal, unit])
        labels = np.arange(len(values)) >= len(normal) + len(unit) // 2
        yield Stream("C-MAPSS", f"unit {number}", values, _regular(len(values), 3600), len(normal), labels)


def _ims(root: Path) -> Iterator[Stream]:
    rows = list(csv.reader((root / "ims_bearing/merged_dataset_BearingTest_2.csv").open()))[1:]
    time_us = _stamps_us([row[0] for row in rows], "%Y.%m.%d.%H.%M.%S")
    values = np.array([row[1:] for row in rows], dtype=np.float64)
    labels = np.arange(len(values)) >= len(values) // 2
    yield Stream("ims_bearing", "test 2", values, time_us, len(values) // 4, labels)
