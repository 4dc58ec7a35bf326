"""What the demo shows: recordings to train on, and records to stream with the truth about them.

Two sources. Synthetic: electrocardiograms of made-up patients; each has a clean recording for training and another one,
of other randomness, with premature beats planted in it. Real: the heartbeats of ECG5000, half of them for training.

Rules of this file: all randomness comes from the seed; no Kafka, no clock, no terminal. One patient-hour is streamed in
all, however many patients share it, so that a run takes as long for 1 as for 64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import read_windows
from monitor.demo.ecg import synthesise
from monitor.demo.findings import PlantedInterval
from monitor.errors import DataError

RECIPE = Path(__file__).with_name("ecg-demo.toml")
RATE_HZ = 125
# A bedside monitor sends several packets a second; this one five.
CHUNK = 25
# About 25 s for the hour: 450,000 samples, 18,000 records.
SAMPLES_PER_S = 18_000
DEFAULT_MINUTES = 60.0
# Clean signal to train on, all patients together; `ecg-demo.toml` says how it is divided.
CLEAN_MINUTES = 120.0
PLANTED_PER_HOUR = 24
FIRST_PLANTED_S = 10.0

ECG5000 = ("ECG5000_TRAIN.txt", "ECG5000_TEST.txt.gz")
NORMAL_BEAT = 1
# The data set's beats have no time and no order; a pulse of 75.
BEAT_US = 800_000
BEATS_PER_S = 80
# Two in five of its beats are abnormal. In the stream, one in twenty, so that most are events of their own.
ABNORMAL_ONE_IN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One record of the stream: due `due_s` after the start; its first sample was taken at `start_us`."""

    due_s: float
    series: str
    start_us: int
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything that one demo needs.

    what, what_one: what is planted, in the plural and the singular.
    training: files for the trainer; recipe: which recipe it takes.
    alerting: the daemon's policy, as its configuration has it.
    slack_us: length of a window, see `findings`.
    speed: event time over real time.
    """

    title: str
    what: str
    what_one: str
    training: tuple[Path, ...]
    recipe: str
    alerting: dict[str, int]
    series: tuple[str, ...]
    records: tuple[Sent, ...]
    planted: tuple[PlantedInterval, ...]
    planted_counts: bool
    samples: int
    start_us: int
    stop_us: int
    slack_us: int
    speed: float
    training_text: str

    @property
    def series_hours(self) -> float:
        return (self.stop_us - self.start_us) / 3.6e9 * len(self.series)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """A heart, the seed of its clean recording, and that of the monitored one."""

    name: str
    heart_rate_bpm: float
    amplitude: float
    clean_seed: int
    seed: int


def synthetic(directory: Path, *, seed: int, patients: int, minutes: float, now_us: int) -> Scenario:
    """Made-up patients: writes their clean recordings to `directory`.

    Args:
        minutes: length of the monitored signal, all patients together.
        now_us: when the monitored signal ends, in event time.
    """
    persons = list(people(seed, patients))
    clean_s, duration_s = CLEAN_MINUTES * 60 / patients, minutes * 60 / patients
    if duration_s < 2 * FIRST_PLANTED_S:
        raise DataError(f"{minutes:g} minutes for {patients} patients: give each at least {2 * FIRST_PLANTED_S:g} s")
    start_us = now_us // 1_000_000 * 1_000_000 - math.ceil(duration_s) * 1_000_000
    training, planted, records = [], [], []
    for number, person in enumerate(persons):
        heart = {"heart_rate_bpm": person.heart_rate_bpm, "amplitude": person.amplitude, "sampling_rate_hz": RATE_HZ}
        clean = synthesise(
            seed=person.clean_seed, duration_s=clean_s, ectopic_count=0, first_ectopic_s=0.0, **heart
        )  # fmt: skip
        training.append(directory / f"{person.name}.npz")
        np.savez(training[-1], ecg_mv=clean.signal_mv)
        count = _share(round(PLANTED_PER_HOUR * minutes / 60), patients, number)
        watched = synthesise(
            seed=person.seed, duration_s=duration_s, ectopic_count=count, first_ectopic_s=FIRST_PLANTED_S, **heart
        )  # fmt: skip
        planted += [
            PlantedInterval(series=person.name, start_us=start_us + _us(each.start), stop_us=start_us + _us(each.stop))
            for each in watched.ectopics
        ]
        records += list(_chunks(person.name, watched.signal_mv, start_us, SAMPLES_PER_S / (RATE_HZ * patients)))
    records.sort(key=lambda record: record.due_s)
    return Scenario(
        title=f"{patients} patient{'s' if patients > 1 else ''}, {minutes / patients:.3g} minutes of ECG each, "
        f"{len(planted)} premature beats planted by seed {seed}",
        what="premature beats",
        what_one="premature beat",
        training=tuple(training),
        recipe=str(RECIPE),
        # Three consecutive windows over the threshold open an incident, see ecg-demo.toml. Two seconds without one,
        # some two beats, close it: with one second and seed 112, the end of a planted beat opened a second incident.
        alerting={"open_after": 3, "close_after": 16, "update_every": 40},
        series=tuple(person.name for person in persons),
        records=tuple(records),
        planted=tuple(sorted(planted)),
        planted_counts=True,
        samples=CHUNK * len(records),
        start_us=start_us,
        stop_us=start_us + round(duration_s * 1e6),
        slack_us=_us(64),
        speed=SAMPLES_PER_S / (RATE_HZ * patients),
        training_text=f"{CLEAN_MINUTES / 60:g} hours of clean ECG of the same patients",
    )


def heartbeats(directory: Path, data: Path, *, seed: int, patients: int, now_us: int) -> Scenario:
    """ECG5000: one half of the beats is written to `directory` to train on, the other one streamed, a record a beat.

    Raises:
        DataError: the files are not there, or are something else.
    """
    missing = [name for name in ECG5000 if not (data / name).is_file()]
    if missing:
        raise DataError(f"{data}: no {' and no '.join(missing)}; the files come from timeseriesclassification.com")
    tables = [read_windows(data / name) for name in ECG5000]
    beats = np.concatenate([table.windows[:, :, 0] for table in tables])
    labels = np.concatenate([_labels(table.labels, data) for table in tables])
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(beats))
    learnt, shown = order[: len(order) // 2], order[len(order) // 2 :]
    file = directory / "ecg5000.npz"
    np.savez(file, windows=beats[learnt], labels=labels[learnt])
    normal, abnormal = shown[labels[shown] == NORMAL_BEAT], shown[labels[shown] != NORMAL_BEAT]
    streamed = rng.permutation(np.concatenate([normal, abnormal[: len(normal) // (ABNORMAL_ONE_IN - 1)]]))
    names = tuple(f"chf07-{number + 1}" for number in range(patients))
    start_us = now_us // 1_000_000 * 1_000_000 - math.ceil(len(streamed) / patients) * BEAT_US
    records, planted = [], []
    for number, beat in enumerate(streamed.tolist()):
        series, at_us = names[number % patients], start_us + number // patients * BEAT_US
        value = msgspec.json.encode({"ts": at_us // 1000, "values": beats[beat].astype(np.float64).tolist()})
        records.append(Sent(due_s=number / BEATS_PER_S, series=series, start_us=at_us, value=value))
        if labels[beat] != NORMAL_BEAT:
            planted.append(PlantedInterval(series=series, start_us=at_us, stop_us=at_us + BEAT_US))
    return Scenario(
        title=f"{len(streamed):,} real heartbeats of ECG5000 in {patients} series, {len(planted)} of them abnormal",
        what="abnormal beats",
        what_one="abnormal beat",
        training=(file,),
        recipe="ecg-beats",
        alerting={"open_after": 1, "close_after": 1, "update_every": 0},
        series=names,
        records=tuple(records),
        planted=tuple(sorted(planted)),
        planted_counts=False,
        samples=len(records) * beats.shape[1],
        start_us=start_us,
        stop_us=start_us + math.ceil(len(streamed) / patients) * BEAT_US,
        slack_us=0,
        speed=BEATS_PER_S * BEAT_US / 1e6 / patients,
        training_text=f"{int((labels[learnt] == NORMAL_BEAT).sum()):,} other normal beats of the same heart",
    )


def people(seed: int, patients: int) -> Iterator[Patient]:
    """The made-up patients of a seed."""
    for number in range(patients):
        rng = np.random.default_rng([seed, number])
        clean_seed, own_seed = rng.integers(0, 2**31, 2).tolist()
        yield Patient(
            name=f"patient-{number + 1}",
            heart_rate_bpm=float(rng.uniform(55.0, 95.0)),
            amplitude=float(rng.uniform(0.8, 1.2)),
            clean_seed=clean_seed,
            seed=own_seed,
        )


def _share(total: int, parts: int, number: int) -> int:
    """`total` divided as evenly as can be; what part `number` gets, at least 1."""
    return max(1, total // parts + (number < total % parts))


def _chunks(series: str, signal_mv: NDArray[np.float32], start_us: int, speed: float) -> Iterator[Sent]:
    whole = len(signal_mv) // CHUNK
    rows = np.round(signal_mv[: whole * CHUNK].astype(np.float64), 4).reshape(whole, CHUNK).tolist()
    for number, values in enumerate(rows):
        at_us = start_us + _us(number * CHUNK)
        value = msgspec.json.encode({"ts": at_us // 1000, "rate_hz": RATE_HZ, "values": values})
        # A chunk is complete when its last sample is.
        due_s = (number + 1) * CHUNK / RATE_HZ / speed
        yield Sent(due_s=due_s, series=series, start_us=at_us, value=value)


def _us(samples: int) -> int:
    return samples * 1_000_000 // RATE_HZ


def _labels(labels: NDArray[np.int64] | None, data: Path) -> NDArray[np.int64]:
    if labels is None:
        raise DataError(f"{data}: the beats have no labels; ECG5000's files have them in the first column")
    return labels
