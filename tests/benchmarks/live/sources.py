"""The five streams: what is learnt, what is then streamed, by which recipe, and how a producer of its kind writes it.

Rules of this file: what is learnt comes before what is streamed, or is the record that the data set gives for it, and
shares no row with it. Labels of learnt rows leave anomalous ones out of the fit; those of streamed rows are for the
count alone. Recipes are shipped ones, and what is chosen beside them is from learnt rows or from the recipe's own text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from monitor.datafiles import SeriesTable
from monitor.detector.arrays import Int64Array
from tests.benchmarks.series import skab, smd
from tests.benchmarks.series.contest import rows_of
from training import datasets
from training.datasets import ReadOptions
from training.metrics import nab, vus

SMD_FIRST_US = 1_767_225_600_000_000  # SMD has no times: a row a minute from 2026-01-01 on
ECG_FIRST_US = 1_767_225_600_000_000
ECG_LEARNT_S = 300
ECG_BEFORE_S, ECG_AFTER_S = 0.25, 0.45  # of a beat, around its R peak
IMS_LEARNT = 300  # rows, two days of the week


class Record(NamedTuple):
    """What a producer sends: `time_us` is the event time of its last sample."""

    time_us: int
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One command's worth. `streamed` are tables with times and labels (1: anomalous), one a series."""

    title: str
    recipe: str
    learnt: list[SeriesTable]
    streamed: list[SeriesTable]
    records: Callable[[SeriesTable], Iterator[Record]]
    compression: str
    options: tuple[str, ...] = ()
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    to_failure: bool = False  # unlabelled but for the last row, the failure
    partitions: int = 1


def rows_as_json(table: SeriesTable) -> Iterator[Record]:
    """A record a row: `{"ts": "2020-03-09T10:14:33Z", "Current": 1.33, ...}`."""
    assert table.time_us is not None
    names = [json.dumps(name) for name in table.channels]
    for time_us, row in zip(table.time_us.tolist(), table.samples.astype(str).tolist(), strict=True):
        numbers = ", ".join(f"{name}: {number}" for name, number in zip(names, row, strict=True))
        stamp = datetime.fromtimestamp(time_us / 1e6, UTC).isoformat().replace("+00:00", "Z")
        yield Record(time_us, table.series.encode(), f'{{"ts": "{stamp}", {numbers}}}'.encode())


def seconds_as_chunks(table: SeriesTable) -> Iterator[Record]:
    """A record a second, as a monitor sends: `{"ts": 1767225600000, "rate_hz": 360, "values": [[-0.3], ...]}`."""
    assert table.time_us is not None
    rate = round(table.sampling_rate_hz or 0)
    for first in range(0, len(table.samples) - rate + 1, rate):
        values = [[round(number, 3) for number in row] for row in table.samples[first : first + rate].tolist()]
        chunk = {"ts": int(table.time_us[first]) // 1000, "rate_hz": rate, "values": values}
        yield Record(int(table.time_us[first + rate - 1]), table.series.encode(), json.dumps(chunk).encode())


def skab_prefixes(data: Path) -> Stream:
    """The leaderboard's division: each run's first 400 rows are learnt, all by one model; the rest is streamed."""
    runs = _skab_runs(data)
    return Stream(
        title="SKAB, 30 runs of a water loop, 8 channels, 1 Hz; learnt from each run's first 400 rows",
        recipe="plant",
        learnt=[rows_of(run, skab.LEARNT) for run in runs],
        streamed=[rows_of(run, skab.TESTED) for run in runs],
        records=rows_as_json,
        compression="zstd",
        partitions=3,
    )


def skab_normal_record(data: Path) -> Stream:
    """The record that SKAB gives for learning; all runs are streamed whole."""
    options = ReadOptions(channels=skab.CHANNELS, time_column="datetime")
    path = data / "skab" / "anomaly-free" / "anomaly-free.csv"
    (normal,) = datasets.read(str(path), kind="sliding", options=options, note=print)
    assert isinstance(normal, SeriesTable)
    return replace(
        skab_prefixes(data),
        title="SKAB, the same runs whole; learnt from its anomaly-free record",
        learnt=[normal],
        streamed=_skab_runs(data),
    )


def _skab_runs(data: Path) -> list[SeriesTable]:
    return [
        replace(run, series=f"{part}-{run.series}") for part in skab.PARTS for run in skab.read(data / "skab", part)
    ]


def smd_machine(data: Path, machine: str = "machine-1-2") -> Stream:
    """A machine's first half is learnt, which has no labels; its second half is streamed."""
    first, second = smd.read(data / "smd", machine)
    first_us = SMD_FIRST_US + len(first.samples) * 60_000_000
    return Stream(
        title=f"SMD {machine}, 38 metrics, a row a minute; learnt from its first half",
        recipe="servers",
        learnt=[replace(first, series=machine, time_us=_every(60_000_000, SMD_FIRST_US, len(first.samples)))],
        streamed=[replace(second, series=machine, time_us=_every(60_000_000, first_us, len(second.samples)))],
        records=rows_as_json,
        compression="lz4",
    )


def machine_temperature(data: Path) -> Stream:
    """NAB's own division: 750 rows to learn from. The recipe's text says to close incidents late."""
    name = "realKnownCause/machine_temperature_system_failure.csv"
    options = ReadOptions(labels=data / "nab" / "labels" / "combined_windows.json")
    (table,) = datasets.read(str(data / "nab" / "data" / name), kind="sliding", options=options, note=lambda _: None)
    assert isinstance(table, SeriesTable)
    learnt = nab.probation(len(table.samples))
    return Stream(
        title="NAB machine_temperature, one channel, a row every 5 minutes; learnt from its first 2.6 days",
        recipe="metrics",
        learnt=[rows_of(table, slice(0, learnt))],
        streamed=[rows_of(table, slice(learnt, None))],
        records=rows_as_json,
        compression="snappy",
        config={"alerting": {"close_after": 100}},
    )


def heartbeats(data: Path, record: str = "106") -> Stream:
    """The first five minutes are learnt, but for abnormal beats; the rest is streamed. An event is a run of those.

    Windows are a period, as the recipe wants them, by autocorrelation of the learnt part, as in `series.ucr`.
    """
    with np.load(data / "mitbih" / f"{record}.npz") as file:
        signal = (file["signal_adc"][:, :1].astype(np.float32) - 1024) / 200
        rate, abnormal = int(file["fs_hz"]), np.isin(file["ann_aami"], ["S", "V", "F", "Q"])
        peaks = file["ann_sample"][abnormal].astype(np.int64)
    labels = np.zeros(len(signal), dtype=np.int64)
    for peak in peaks.tolist():
        labels[max(0, peak - round(ECG_BEFORE_S * rate)) : peak + round(ECG_AFTER_S * rate)] = 1
    time_us = ECG_FIRST_US + (np.arange(len(signal)) * 1_000_000 // rate)
    table = SeriesTable(
        samples=signal,
        channels=("MLII",),
        time_us=time_us,
        labels=labels,
        series=f"record-{record}",
        sampling_rate_hz=float(rate),
    )
    learnt = ECG_LEARNT_S * rate
    period = vus.period(signal[:learnt, 0])
    return Stream(
        title=f"MIT-BIH {record}, lead MLII, 360 Hz; learnt from its first 5 minutes",
        recipe="rhythm",
        learnt=[rows_of(table, slice(0, learnt))],
        streamed=[rows_of(table, slice(learnt, None))],
        records=seconds_as_chunks,
        compression="gzip",
        options=("--window", str(period), "--hop", str(rate // 20)),
    )


def bearings(data: Path) -> Stream:
    """The first two days are learnt; what is streamed ends with the failure."""
    path = data / "ims_bearing" / "merged_dataset_BearingTest_2.csv"
    numbers = np.genfromtxt(path, delimiter=",", skip_header=1, usecols=(1, 2, 3, 4), dtype=np.float32)
    stamps = [line.partition(",")[0] for line in path.read_text().splitlines()[1:]]
    moments = [datetime.strptime(stamp, "%Y.%m.%d.%H.%M.%S").replace(tzinfo=UTC) for stamp in stamps]
    labels = np.zeros(len(numbers), dtype=np.int64)
    labels[-1] = 1
    table = SeriesTable(
        samples=numbers,
        channels=("bearing1", "bearing2", "bearing3", "bearing4"),
        time_us=np.array([int(moment.timestamp()) * 1_000_000 for moment in moments], dtype=np.int64),
        labels=labels,
        series="test-2",
    )
    return Stream(
        title="IMS bearing test 2, 4 bearings, a row every 10 minutes; learnt from its first 2 days",
        recipe="plant",
        learnt=[rows_of(table, slice(0, IMS_LEARNT))],
        streamed=[rows_of(table, slice(IMS_LEARNT, None))],
        records=rows_as_json,
        compression="gzip",
        to_failure=True,
    )


def _every(step_us: int, first_us: int, count: int) -> Int64Array:
    return first_us + np.arange(count, dtype=np.int64) * step_us


STREAMS: dict[str, Callable[[Path], Stream]] = {
    "skab": skab_prefixes,
    "skab-normal": skab_normal_record,
    "smd": smd_machine,
    "nab": machine_temperature,
    "mitbih": heartbeats,
    "ims": bearings,
}
