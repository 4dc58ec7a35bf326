"""WFDB records as series: header, signals and, where they are there, annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from monitor.datafiles import SeriesTable
from monitor.datafiles.columns import choose
from monitor.datafiles.content import content, is_file
from monitor.datafiles.text import decoded
from monitor.errors import DataError
from training.datasets import wfdb_annotations, wfdb_header, wfdb_signals
from training.datasets.options import Kind, ReadOptions

_SUFFIXES = (".hea", ".dat", ".atr")


def header_of(path: Path) -> Path | None:
    """The header of the record that `path` names: with .hea, .dat, .atr, or without an ending, as WFDB's tools do."""
    if path.suffix == ".hea":
        return path
    if path.suffix in _SUFFIXES:
        beside = path.with_suffix(".hea")
        return beside if is_file(beside) else None
    beside = path.parent / f"{path.name}.hea"
    return beside if path.name and is_file(beside) and not path.exists() else None


def read(path: Path, kind: Kind, options: ReadOptions) -> SeriesTable:
    """The record with the header `path`; samples in the signals' own units.

    Time begins at the header's base time and date, or in 1970. Labels, where there is an annotation file: 1 for samples
    within `options.beat_margin_s` of a beat that is not of AAMI's class N, and in ventricular flutter; 0 for others.

    Raises:
        DataError: a file is missing or not what the header says.
    """
    if kind != "series":
        raise DataError(f"{path}: a WFDB record is one long series; choose a recipe with sliding windows")
    header = wfdb_header.parse(path, decoded(path, content(path)))
    samples = wfdb_signals.read_signals(path, header)
    names = tuple(signal.name for signal in header.signals)
    chosen = choose(path, names, options.channels, ())
    annotated = path.with_suffix(f".{options.annotator}")
    labels = None
    if options.label_column != "none" and is_file(annotated):
        found = wfdb_annotations.parse(annotated, content(annotated), header.rate_hz)
        labels = wfdb_annotations.mark(found, len(samples), round(options.beat_margin_s * header.rate_hz))
    return SeriesTable(
        samples=np.ascontiguousarray(samples[:, chosen]),
        channels=tuple(names[at] for at in chosen),
        time_us=header.start_us + np.rint(np.arange(len(samples)) * (1e6 / header.rate_hz)).astype(np.int64),
        labels=labels,
        series=header.record,
        source=str(path),
        units=tuple(header.signals[at].unit for at in chosen),
        sampling_rate_hz=header.rate_hz,
    )
