"""WFDB records: written here in formats 16 and 212 by their description, and checked against the `wfdb` package.

The public data has MIT-BIH's headers and annotations and the decoded numbers, but no `.dat`: it is encoded anew.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace as change
from numpy.typing import NDArray

from monitor.datafiles import SeriesTable
from monitor.errors import DataError
from training.datasets import ReadOptions, read
from training.datasets.wfdb_annotations import AAMI_CLASSES, ABNORMAL_BEATS, NORMAL_BEATS, mark, parse
from training.recipes.schema import WindowPart
from training.windows.subsets import window_spec

# pandas says it of wfdb's own use of it.
THEIR_WARNINGS = pytest.mark.filterwarnings("ignore:The inplace keyword")
RECORDS = ("100", "106", "200", "208")


def encode(values: NDArray[np.int16], form: int) -> bytes:
    """Samples (n, signals) as a .dat file has them."""
    flat = values.ravel()
    if form == 16:
        return flat.astype("<i2").tobytes()
    pairs = np.append(flat, np.zeros(len(flat) % 2, np.int16)).astype(np.int64).reshape(-1, 2) & 0xFFF
    octets = np.stack([pairs[:, 0] & 0xFF, pairs[:, 0] >> 8 | (pairs[:, 1] >> 8) << 4, pairs[:, 1] & 0xFF], axis=1)
    packed = octets.astype(np.uint8).tobytes()
    return packed[: len(packed) - len(flat) % 2]


def checksum(column: NDArray[np.int16]) -> int:
    return int(np.int64(column.sum(dtype=np.int64)).astype(np.int16))


def write(folder: Path, values: NDArray[np.int16], form: int, lines: Sequence[str] | None = None) -> Path:
    """A record called r at 100 Hz; gain 200, zero 0."""
    (folder / "r.dat").write_bytes(encode(values, form))
    header = [f"r {values.shape[1]} 100 {len(values)}"]
    header += lines or [
        f"r.dat {form} 200 12 0 {column[0]} {checksum(column)} 0 lead {at}" for at, column in enumerate(values.T)
    ]
    (folder / "r.hea").write_text("\n".join(header) + "\n# words\n")
    return folder / "r.hea"


def only(path: Path, **options: Any) -> SeriesTable:
    (table,) = read(str(path), kind="sliding", options=ReadOptions(**options))
    assert isinstance(table, SeriesTable)
    return table


VALUES = np.random.default_rng(0).integers(-2047, 2048, size=(1001, 3)).astype(np.int16)


@pytest.mark.parametrize("form", [16, 212])
@pytest.mark.parametrize("name", ["r.hea", "r.dat", "r"])
def test_formats_gains_units_and_names(tmp_path: Path, form: int, name: str) -> None:
    lines = [
        f"r.dat {form} 100.5(7)/mmHg 12 3 {VALUES[0, 0]} {checksum(VALUES[:, 0])} 0 ABP",
        f"r.dat {form} 0 12 3 {VALUES[0, 1]} {checksum(VALUES[:, 1])} 0 two words",
        f"r.dat {form}",
    ]
    write(tmp_path, VALUES, form, lines)
    table = only(tmp_path / name)
    exact = VALUES.astype(np.float64)
    expected = np.stack([(exact[:, 0] - 7) / 100.5, (exact[:, 1] - 3) / 200, exact[:, 2] / 200], axis=1)
    np.testing.assert_array_equal(table.samples, expected.astype(np.float32))
    assert table.channels == ("ABP", "two words", "2")
    assert table.units == ("mmHg", "mV", "mV")
    assert table.series == "r"
    assert table.labels is None
    assert table.time_us is not None
    assert table.time_us[:3].tolist() == [0, 10_000, 20_000]
    chosen = only(tmp_path / name, channels=("2", "ABP"))
    np.testing.assert_array_equal(chosen.samples, table.samples[:, [2, 0]])
    assert chosen.units == ("mV", "mmHg")


@pytest.mark.parametrize(("form", "missing"), [(16, -32768), (212, -2048)])
def test_the_lowest_number_is_a_missing_one(tmp_path: Path, form: int, missing: int) -> None:
    values = VALUES.copy()
    values[5, 1] = missing
    table = only(write(tmp_path, values, form))
    assert np.argwhere(np.isnan(table.samples)).tolist() == [[5, 1]]


def test_several_files_offsets_and_a_base_time(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(b"head" + encode(VALUES[:, :1], 16))
    (tmp_path / "b.dat").write_bytes(encode(VALUES[:, 1:], 212))
    header = ["r/x 3 250/250(0) 0 1:02:03.5 02/01/1970", "a.dat 16+4", "b.dat 212", "b.dat 212"]
    header[0] = header[0].replace("r/x", "r")
    (tmp_path / "r.hea").write_text("\n".join(header))
    table = only(tmp_path / "r.hea")
    np.testing.assert_array_equal(table.samples, (VALUES / np.float64(200)).astype(np.float32))
    assert table.time_us is not None
    assert table.time_us[:2].tolist() == [90_123_500_000, 90_123_504_000]


def test_the_rate_of_the_header_goes_into_the_artifact(tmp_path: Path) -> None:
    """So that chunks without a rate have times, and alarms are counted by the day."""
    series = only(write(tmp_path, VALUES, 16))
    assert series.sampling_rate_hz == 100
    sliding = WindowPart(kind="sliding", length=50, hop=10)
    assert window_spec(sliding, [series]).sampling_rate_hz == 100
    other = replace(series, sampling_rate_hz=250.0)
    assert window_spec(sliding, [series, other]).sampling_rate_hz is None, "no rate is that of both"
    assert window_spec(change(sliding, sampling_rate_hz=125.0), [series]).sampling_rate_hz == 125, "the recipe's holds"


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    lines = ["r.dat 16 200 12 0 " + f"{VALUES[0, at]} {checksum(VALUES[:, at])} 0 ECG" for at in range(3)]
    assert only(write(tmp_path, VALUES, 16, lines)).channels == ("ECG", "ECG 2", "ECG 3")


def test_one_wrong_byte_is_found(tmp_path: Path) -> None:
    path = write(tmp_path, VALUES, 212)
    content = (tmp_path / "r.dat").read_bytes()
    (tmp_path / "r.dat").write_bytes(content[:700] + bytes([content[700] ^ 1]) + content[701:])
    with pytest.raises(DataError, match=r"signal lead \d has checksum -?\d+, the header says"):
        only(path)
    (tmp_path / "r.dat").write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(DataError, match="signal lead 0 begins with"):
        only(path)
    (tmp_path / "r.dat").write_bytes(content[:-3])
    with pytest.raises(DataError, match="holds 1000 samples of 3 signals in format 212, the header says 1001"):
        only(path)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("", "an empty header"),
        ("r", "line 1: number of signals ''"),
        ("r 2 100 5\nr.dat 16\n", "2 signals, and 1 lines"),
        ("r/3 1 100 5\nr.dat 16\n", "several segments"),
        ("r 1 0 5\nr.dat 16\n", "sampling rate of 0.0 Hz"),
        ("r 1 fast 5\nr.dat 16\n", "sampling rate 'fast'"),
        ("r 1 100 -5\nr.dat 16\n", "-5 samples"),
        ("r 1 100 5\nr.dat 80\n", "line 2: signal format 80; 16 and 212 are read"),
        ("r 1 100 5\nr.dat 16x4\n", "several samples per frame"),
        ("r 1 100 5\nr.dat 16:4\n", "skew"),
        ("r 1 100 5\n../r.dat 16\n", "in the header's own folder"),
        ("r 1 100 5\nr.dat 16 much\n", "gain 'much'"),
        ("r 1 100 5 25:00:00 01/01/2000\nr.dat 16\n", "base time"),
        ("r 1 100 5\nother.dat 16\n", "other.dat: can't be read"),
        ("r 2 100 5\nr.dat 16\nr.dat 212\n", "differ in format or offset"),
        ("r 1 100 999999999999\nr.dat 16\n", "the header says 999999999999"),
        ("r 1 100 5\nr.dat 16 1e-300\n", "too large for float32"),
    ],
)
def test_refusals_of_headers(tmp_path: Path, header: str, told: str) -> None:
    (tmp_path / "r.dat").write_bytes(bytes(range(1, 21)))
    (tmp_path / "r.hea").write_text(header)
    with pytest.raises(DataError, match=told):
        only(tmp_path / "r.hea")


def test_a_signal_can_be_dropped(tmp_path: Path) -> None:
    (tmp_path / "r.dat").write_bytes(bytes(20))
    (tmp_path / "r.hea").write_text("r 2 100 5\nr.dat 16 200 11 0 0 0 0 I\nr.dat 16 200 11 0 0 0 0 II\n")
    (table,) = read(str(tmp_path / "r.hea"), kind="sliding", options=ReadOptions(dropped=("I",)))
    assert (table.channels, table.samples.shape) == (("II",), (5, 1))  # type: ignore[union-attr]
    with pytest.raises(DataError, match="no channel is left without I, II"):
        read(str(tmp_path / "r.hea"), kind="sliding", options=ReadOptions(dropped=("I", "II")))


@pytest.mark.parametrize(
    "start",
    [
        "11:39:16 05/02/2020",
        "05-Feb-2020 11:39:16",
        "11:39:16 05-Feb-2020",
        "11:39:16.000 5/2/2020",
        "2020-02-05 11:39:16",
        "05.02.2020 11:39:16",
        "05/02/2020 11:39:16",
    ],
)
def test_base_times_as_challenges_write_them(tmp_path: Path, start: str) -> None:
    (tmp_path / "r.dat").write_bytes(bytes(10))
    (tmp_path / "r.hea").write_text(f"r 1 100 5 {start}\nr.dat 16\n")
    times_us = only(tmp_path / "r.hea").time_us
    assert times_us is not None
    assert int(times_us[0]) == 1_580_902_756_000_000


def test_a_record_is_no_set_of_windows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one long series"):
        read(str(write(tmp_path, VALUES, 16)), kind="record")


def annotation(code: int, step: int) -> bytes:
    return (code << 10 | step).to_bytes(2, "little")


def test_steps_attributes_and_the_end_of_annotations() -> None:
    far = (100_000).to_bytes(4, "little")
    raw = b"".join(
        [
            annotation(28, 5) + annotation(63, 3) + b"(N\0\0",
            annotation(1, 10) + annotation(61, 2) + annotation(62, 1) + annotation(60, 7),
            annotation(59, 0) + far[2:] + far[:2] + annotation(5, 1),
            b"\0\0",
            b"what follows the end is not read",
        ]
    )
    found = parse(Path("r.atr"), raw, 360.0)
    assert found.samples.tolist() == [5, 15, 100_016]
    assert found.symbols == ("+", "N", "V")
    assert (found.beats.tolist(), found.abnormal.tolist()) == ([False, True, True], [False, False, True])
    assert found.classes.tolist() == ["", "N", "V"]
    for at in range(len(raw) - 33):
        with pytest.raises(DataError, match="ends"):
            parse(Path("r.atr"), raw[:at], 360.0)


def test_annotations_that_count_in_another_rate() -> None:
    note = b"## time resolution: 1000"
    raw = annotation(22, 0) + annotation(63, len(note)) + note + annotation(1, 5) + b"\0\0"
    assert parse(Path("r.atr"), raw, 1000.0).samples.tolist() == [0, 5]
    with pytest.raises(DataError, match="counts at 1000 Hz, the record has 360 Hz"):
        parse(Path("r.atr"), raw, 360.0)


def test_samples_around_abnormal_beats_and_in_flutter_are_marked() -> None:
    #  sample   0  1  2  3  4  5  6  7  8  9 10 11
    #  symbol   N     V              [     ]     A
    steps = [(1, 0), (5, 2), (32, 5), (33, 2), (8, 2)]
    raw = b"".join(annotation(code, step) for code, step in steps) + b"\0\0"
    found = parse(Path("r.atr"), raw, 1.0)
    assert mark(found, 12, 1).tolist() == [0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1]
    assert mark(found, 3, 0).tolist() == [0, 0, 1]


@pytest.mark.data
@pytest.mark.parametrize("record", RECORDS)
def test_mit_bih(data_directory: Path, tmp_path: Path, record: str) -> None:
    """Samples, first value, checksum, annotations and AAMI classes of the public records, as their archive has them."""
    source = data_directory / "mitbih"
    with np.load(source / f"{record}.npz") as archive:
        adc, leads, beats_at = archive["signal_adc"], archive["leads"], archive["ann_sample"]
        symbols, classes = archive["ann_symbol"], archive["ann_aami"]
    for name in (f"{record}.hea", f"{record}.atr"):
        shutil.copy(source / name, tmp_path)
    (tmp_path / f"{record}.dat").write_bytes(encode(adc, 212))
    table = only(tmp_path / record, beat_margin_s=0.1)
    np.testing.assert_array_equal(table.samples, ((adc.astype(np.float64) - 1024) / 200).astype(np.float32))
    assert table.channels == tuple(leads.tolist())
    found = parse(tmp_path, (tmp_path / f"{record}.atr").read_bytes(), 360.0)
    assert found.samples.tolist() == beats_at.tolist()
    assert found.symbols == tuple(symbols.tolist())
    aami = classes.tolist()
    assert found.beats.tolist() == [bool(name) for name in aami]
    assert found.classes.tolist() == aami
    assert found.abnormal.tolist() == [name not in ("", "N") for name in aami]
    marked = np.zeros(len(adc), dtype=np.int64)
    for at in beats_at[found.abnormal]:
        marked[max(0, at - 36) : at + 37] = 1
    assert table.labels is not None
    np.testing.assert_array_equal(table.labels, marked)
    assert not NORMAL_BEATS & ABNORMAL_BEATS


@pytest.fixture
def wfdb() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("wfdb", reason="the wfdb package is not installed")


@THEIR_WARNINGS
@pytest.mark.parametrize("form", [16, 212])
def test_what_the_wfdb_package_writes_and_reads(tmp_path: Path, wfdb: Any, form: int) -> None:
    wfdb.wrsamp(
        "r",
        fs=360,
        units=["mV", "mmHg"],
        sig_name=["II", "ABP"],
        d_signal=VALUES[:, :2].astype(np.int64),
        fmt=[str(form)] * 2,
        adc_gain=[200.0, 12.5],
        baseline=[1024, -3],
        write_dir=str(tmp_path),
    )
    at = np.array([3, 500, 640, 900])
    wfdb.wrann(
        "r", "atr", sample=at, symbol=["N", "V", "+", "A"], aux_note=["", "", "(AFIB", ""], write_dir=str(tmp_path)
    )
    table = only(tmp_path / "r")
    theirs = wfdb.rdrecord(str(tmp_path / "r"))
    np.testing.assert_array_equal(table.samples, theirs.p_signal.astype(np.float32))
    assert table.channels == tuple(theirs.sig_name)
    assert table.units == tuple(theirs.units)
    annotations = wfdb.rdann(str(tmp_path / "r"), "atr")
    found = parse(tmp_path, (tmp_path / "r.atr").read_bytes(), 360.0)
    assert found.samples.tolist() == annotations.sample.tolist()
    assert found.symbols == tuple(annotations.symbol)
    # ours, read by them
    write(tmp_path, VALUES, form)
    np.testing.assert_array_equal(
        only(tmp_path / "r.hea").samples, wfdb.rdrecord(str(tmp_path / "r")).p_signal.astype(np.float32)
    )


@THEIR_WARNINGS
@pytest.mark.data
def test_annotations_as_the_wfdb_package_reads_them(data_directory: Path, wfdb: Any) -> None:
    for record in RECORDS:
        path = data_directory / "mitbih" / record
        theirs = wfdb.rdann(str(path), "atr")
        found = parse(path, path.with_suffix(".atr").read_bytes(), 360.0)
        assert found.samples.tolist() == theirs.sample.tolist()
        assert found.symbols == tuple(theirs.symbol)


def test_beats_are_normal_or_not_by_their_class() -> None:
    assert frozenset(AAMI_CLASSES["N"]) == NORMAL_BEATS
    assert frozenset("".join(symbols for name, symbols in AAMI_CLASSES.items() if name != "N")) == ABNORMAL_BEATS
