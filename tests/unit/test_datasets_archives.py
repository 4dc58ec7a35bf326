"""`.ts` and `.arff` files of the UEA and UCR archives; `.arff` checked against SciPy's reader."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import arff

from monitor.datafiles import SeriesTable, WindowTable
from monitor.errors import DataError
from training.datasets import ReadOptions, arff_format, read, ts_format

Written = Callable[[str], str]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(content: str) -> str:
        path = tmp_path / "data"
        path.write_text(content, encoding="utf-8")
        return str(path)

    return write


def windows(source: str, **options: Any) -> WindowTable:
    (table,) = read(source, kind="record", options=ReadOptions(**options))
    assert isinstance(table, WindowTable)
    return table


MULTIVARIATE = """# words about the data
@problemName Walking
@timeStamps false
@missing true
@univariate false
@dimensions 2
@equalLength true
@seriesLength 3
@classLabel true walking running
@data
1.5,?,2.0:0.1,0.2,0.3:running
1,2,3:4,5,NaN: walking
"""


def test_ts_with_dimensions_missing_values_and_class_names(written: Written) -> None:
    table = windows(written(MULTIVARIATE))
    nan = np.nan
    expected = [[[1.5, 0.1], [nan, 0.2], [2.0, 0.3]], [[1, 4], [2, 5], [3, nan]]]
    np.testing.assert_array_equal(table.windows, np.array(expected, np.float32))
    assert table.channels == ("0", "1")
    assert table.classes == ("walking", "running")
    assert table.labels is not None
    assert table.labels.tolist() == [1, 0]
    assert windows(written(MULTIVARIATE), label_column="none").labels is None
    assert windows(written(MULTIVARIATE), channels=("left", "right")).channels == ("left", "right")


def test_ts_with_numbers_for_classes_keeps_them(written: Written) -> None:
    table = windows(written("@univariate true\n@classLabel true -1 1\n@data\n1,2:1\n3,4:-1\n"))
    assert (table.classes, table.channels) == ((), ("value",))
    assert table.labels is not None
    assert table.labels.tolist() == [1, -1]
    unlabelled = windows(written("@univariate true\n@classLabel false\n@data\n1,2\n3,4\n"))
    assert unlabelled.labels is None
    assert unlabelled.windows[:, :, 0].tolist() == [[1, 2], [3, 4]]


def test_cases_of_many_lengths_are_series(written: Written) -> None:
    text = "@classLabel true a b\n@data\n1,2,3:b\n4:a\n"
    first, second = read(written(text), kind="sliding", options=ReadOptions())
    assert isinstance(first, SeriesTable)
    assert isinstance(second, SeriesTable)
    assert (first.series, first.samples[:, 0].tolist(), second.samples.tolist()) == ("1", [1, 2, 3], [[4]])
    assert first.labels is not None
    assert first.labels.tolist() == [1, 1, 1]
    with pytest.raises(DataError, match="record '1' has 3 samples, '2' has 1; windows need one length"):
        windows(written(text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("@classLabel true a\n1,2:a\n", "line 2: '1,2:a' before @data"),
        ("@classLabel true a\n", "no line @data"),
        ("@classLabel true a\n@data\n", "no cases"),
        ("@classLabel true a\n@data\n1,2:b\n", "line 3: class 'b'; the header names a"),
        ("@classLabel true a\n@data\na\n", "line 3: no samples"),
        ("@classLabel true a a\n@data\n1:a\n", "line 1: @classLabel true, and no classes or one twice"),
        ("@classLabel true a\n@data\n1,x:a\n", "line 3, dimension 1: could not convert"),
        ("@classLabel true a\n@data\n1,1_0:a\n", "line 3, dimension 1: could not convert .* '1_0'"),
        ("@classLabel true a\n@data\n1,2:1:a\n", "line 3: dimensions of 2, 1 samples"),
        ("@classLabel true a\n@data\n1:a\n1:2:a\n", "line 4: 2 dimensions, expected 1"),
        ("@classLabel true a\n@data\n1e39:a\n", "line 3, column value: 1e.39 is not finite"),
        ("@timeStamps true\n@data\n(0,1):a\n", "line 1: cases with time stamps are not read"),
        ("@targetLabel true\n@data\n1,2:0.5\n", "targets are numbers to predict"),
    ],
)
def test_refusals_of_ts(written: Written, text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        windows(written(text))


def test_regression_targets_can_be_left_out(written: Written) -> None:
    assert windows(written("@targetLabel true\n@data\n1,2:0.5\n"), label_column="none").windows.shape == (1, 2, 1)


def test_names_for_dimensions_that_are_not_there(written: Written) -> None:
    with pytest.raises(DataError, match="2 dimensions, but 1 names for them: x"):
        windows(written(MULTIVARIATE), channels=("x",))


def arff_text(values: np.ndarray[Any, Any], labels: list[str], classes: str) -> str:
    lines = ["% a comment", "@RELATION ecg", ""]
    lines += [f"@attribute att{at} numeric" for at in range(values.shape[1])]
    lines += [f"@ATTRIBUTE target {{{classes}}}", "@data"]
    cells = [[*("?" if np.isnan(value) else repr(float(value)) for value in row)] for row in values]
    lines += [",".join([*row, label]) for row, label in zip(cells, labels, strict=True)]
    return "\n".join(lines) + "\n"


def test_arff_as_scipy_reads_it(written: Written) -> None:
    values = np.random.default_rng(1).normal(size=(20, 7))
    values[3, 4] = np.nan
    labels = ["abnormal" if at % 3 else "normal" for at in range(20)]
    text = arff_text(values, labels, "normal, abnormal")
    table = windows(written(text))
    data, meta = arff.loadarff(io.StringIO(text))
    expected = np.array([[row[name] for name in meta.names()[:-1]] for row in data], dtype=np.float64)
    np.testing.assert_array_equal(table.windows[:, :, 0], expected.astype(np.float32))
    assert table.classes == meta["target"][1]
    assert table.labels is not None
    assert [table.classes[label] for label in table.labels] == [row["target"].decode() for row in data] == labels


def test_relational_arff_as_scipy_reads_it(written: Written) -> None:
    values = np.random.default_rng(2).normal(size=(5, 3, 4))  # cases, dimensions, samples
    lines = ["@relation walk", "@attribute relationalAtt relational"]
    lines += [f"  @attribute t{at} numeric" for at in range(4)]
    lines += ["@end relationalAtt", "@attribute classAtt {1,2}", "@data"]
    for at, case in enumerate(values):
        inner = r"\n".join(",".join(repr(float(value)) for value in row) for row in case)
        lines.append(f"'{inner}',{at % 2 + 1}")
    text = "\n".join(lines) + "\n"
    table = windows(written(text))
    data, _ = arff.loadarff(io.StringIO(text))
    expected = np.array([[[*row] for row in case["relationalAtt"].tolist()] for case in data])
    np.testing.assert_array_equal(table.windows, np.swapaxes(expected, 1, 2).astype(np.float32))
    assert table.labels is not None
    assert table.labels.tolist() == [int(case["classAtt"]) for case in data]


def test_arff_labels_by_name(written: Written) -> None:
    text = "@relation x\n@attribute 'my class' numeric\n@attribute a real\n@attribute b integer\n@data\n7,1,2\n-1,3,?\n"
    table = windows(written(text), label_column="my class")
    assert table.labels is not None
    assert table.labels.tolist() == [7, -1]
    np.testing.assert_array_equal(table.windows[:, :, 0], np.array([[1, 2], [3, np.nan]], np.float32))
    assert windows(written(text)).windows.shape == (2, 3, 1)
    assert windows(written(text.replace("'my class'", "label"))).windows.shape == (2, 2, 1)


HEAD = "@relation x\n@attribute a numeric\n@attribute c {u,v}\n@data\n"


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (HEAD + "1,w\n", {}, "line 5: class 'w'; attribute c names u, v"),
        (HEAD + "1\n", {}, "line 5: 1 cells, expected 2"),
        (HEAD + "{0 1}\n", {}, "line 5: a sparse row"),
        (HEAD + "x,u\n", {}, "line 5, dimension 1"),
        (HEAD, {}, "no cases"),
        (HEAD + "1,u\n", {"label_column": "d"}, "no attribute 'd'; there are: a, c"),
        (HEAD + "1,u\n", {"label_column": "a"}, "expected numeric attributes"),
        (HEAD.replace("@data", "@attribute d {u}\n@data") + "1,u,u\n", {}, "several nominal attributes: c, d"),
        (HEAD.replace("numeric", "date"), {}, "line 2: attribute 'a date' is not read"),
        (HEAD.replace("{u,v}", "{u,u}"), {}, "line 3: attribute"),
        (HEAD.replace("{u,v}", "numeric") + "1,0.5\n", {"label_column": "c"}, "line 5: label '0.5'"),
        ("@relation x\n@attribute a numeric\n", {}, "no line @data"),
        ("@relation x\nnonsense\n@data\n", {}, "line 2: 'nonsense' before @data"),
    ],
)
def test_refusals_of_arff(written: Written, text: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        windows(written(text), **options)


@pytest.mark.data
def test_ecg5000_in_three_forms(data_directory: Path, tmp_path: Path) -> None:
    """The archive's `.txt`, and the same beats as `.ts`, `.arff` and `.tsv`."""
    text = windows(str(data_directory / "ecg5000" / "ECG5000_TRAIN.txt"))
    assert text.labels is not None
    beats, labels = text.windows[:, :, 0].astype(np.float64), [str(label) for label in text.labels]
    rows = [",".join(map(repr, beat.tolist())) for beat in beats]
    forms = {
        "ts": "@classLabel true 1 2 3 4 5\n@data\n"
        + "".join(f"{row}:{label}\n" for row, label in zip(rows, labels, strict=True)),
        "arff": arff_text(beats, labels, "1,2,3,4,5"),
        "tsv": "".join(f"{label}\t{row}\n".replace(",", "\t") for row, label in zip(rows, labels, strict=True)),
    }
    for name, content in forms.items():
        path = tmp_path / f"ECG5000.{name}"
        path.write_text(content, encoding="utf-8")
        table = windows(str(path))
        np.testing.assert_array_equal(table.windows, text.windows)
        np.testing.assert_array_equal(table.labels, text.labels)


@pytest.mark.parametrize(
    ("parse", "header", "row"),
    [
        (ts_format.parse, lambda names: f"@classLabel true {' '.join(names)}", "1,2:c9999\n"),
        (
            arff_format.parse,
            lambda names: f"@relation r\n@attribute a numeric\n@attribute c {{{','.join(names)}}}",
            "1,c9999\n",
        ),
    ],
    ids=["ts", "arff"],
)
def test_many_classes_cost_a_case_no_more_than_one(parse: Any, header: Callable[[list[str]], str], row: str) -> None:
    def seconds(names: list[str]) -> float:
        text = f"{header(names)}\n@data\n{row * 10_000}"
        begun = time.process_time()
        assert set(parse(Path("f"), text).labels) == {"c9999"}
        return time.process_time() - begun

    assert seconds([f"c{at}" for at in range(10_000)]) < 8 * seconds(["c9999"])  # 40 times, compared one by one


def test_cases_that_would_not_fit_are_refused(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written("@classLabel false\n@data\n" + "1,2,3\n" * 20)
    monkeypatch.setattr("training.datasets.cases.MAX_CASE", 1)
    with pytest.raises(DataError, match="line 3: over 1 numbers in one case"):
        windows(source)
    monkeypatch.setattr("training.datasets.cases.MAX_BYTES", 1000)
    with pytest.raises(DataError, match="22 lines, 40 numbers: over 1000 bytes"):
        windows(source)
