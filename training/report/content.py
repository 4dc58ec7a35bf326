"""What a report says, before it has a form: plain arrays, numbers and strings; whatever may be absent is None or empty.

Rules of this file: no plot, no markup, no file. All text is taken as it comes, also from strangers: it is escaped
where it is written (page.py, card.py). Arrays are not copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitor.detector.arrays import BoolArray, Float32Array, FloatArray, Int64Array
from monitor.errors import DataError

SubsetName = Literal["fit", "validation", "calibration", "test", "left out", "anomaly"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One source of data: `name` as a person wrote it, `rows` read from it, `sha256` of its bytes."""

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedChannel:
    """One number of a sample; `unit` may be empty."""

    name: str
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowForm:
    """The form of a window: `whole_records` where none begins at a hop: each record is one, or something that happens;
    `image_shape` (height, width) of an image."""

    whole_records: bool
    length: int
    hop: int
    sampling_rate_hz: float | None = None
    image_shape: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochLosses:
    """Losses after one epoch; `validation` None where nothing was held out."""

    number: int
    loss: float
    validation: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """`part` of `series`, from `start` up to `end`, in the unit of `Timeline`; "anomaly" is a labelled interval."""

    series: str
    part: SubsetName
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Which rows of each series went where. `unit`: rows, or time in microseconds since 1970 UTC."""

    unit: Literal["rows", "time"]
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """All test windows, as they were judged.

    Args:
        scores: (n,) higher = more anomalous, NaN = unscorable.
        flagged: (n,) what the detector says, by the window's own threshold.
        truth: (n,) labelled anomalous; None without labels.
        thresholds: (n,) each window's own threshold where series have their own; None where there is one for all.
    """

    scores: FloatArray
    flagged: BoolArray
    truth: BoolArray | None = None
    thresholds: FloatArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The test windows of which there are pictures: those of `selection.shown`.

    Args:
        index: (k,) indices into `Tested`, increasing.
        values: (k, length, channels), in the data's own unit.
        reconstructions: (k, length, channels), likewise.
        names: (k,) where each is from, as "machine-1, rows 400 to 463"; empty: "test window 17".
    """

    index: Int64Array
    values: Float32Array
    reconstructions: Float32Array
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """An expected rate of false alarms with its 95% interval; `low` and `high` None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """The threshold, and how it was chosen.

    Args:
        how: in words, as "quantile 0.99 of the scores of 800 held-out normal windows".
        held_out: whether the windows that chose it were kept from fitting.
        expected: false alarms to expect, in `rate_unit`; None where nothing says how many windows a day has.
        counting: which windows make an incident, the false alarm that is counted; nothing where that is not known.
        series: thresholds of single series by name.
    """

    value: float
    method: str
    how: str
    held_out: bool
    windows: int
    expected: Rate | None = None
    rate_unit: str = "a day per series"
    counting: str = ""
    series: tuple[tuple[str, float], ...] = ()
    quantiles: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarms:
    """Expected false alarms at each threshold, all (m,), in `Threshold.rate_unit`; `low` and `high` are a 95% interval.

    An alarm is an incident: windows over the threshold that follow each other closely open one.
    """

    thresholds: FloatArray
    expected: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Codes of test windows on their two principal axes.

    Args:
        codes: (n, 2)
        truth: (n,) or None without labels.
        explained: share of the codes' variance on each of the two axes.
        width: numbers of a code before projection.
    """

    codes: FloatArray
    truth: BoolArray | None
    explained: tuple[float, float]
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelErrors:
    """Mean absolute error of each channel, scaled: (channels,) on normal test windows (all without labels), and on
    anomalous ones; None where the test has none."""

    normal: FloatArray | None
    anomalous: FloatArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What a variational decoder makes.

    Args:
        samples: (n, length, channels) of codes drawn from the prior.
        walk: (axes, steps, length, channels): one code moved along single axes of the latent space.
        positions: (steps,) how far, in standard deviations of the prior.
    """

    samples: Float32Array
    walk: Float32Array | None = None
    positions: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A metric, with its bootstrap interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Metrics of one scorer. "baseline" needs no model; "oracle" chose its threshold by the labels."""

    name: str
    kind: Literal["detector", "baseline", "oracle"]
    cells: tuple[Estimate | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsTable:
    """One table: a row of cells for each scorer, a cell for each column."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One tensor of the model and the sha256 of its bytes."""

    name: str
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContent:
    """All that the report says of one training run.

    Args:
        model: in words, as "dense autoencoder (32-16-8)"; `score`: likewise, as "mean absolute error".
        split: how the data was split, in words; `windows`: how many each subset has, by its name.
        best_epoch: the one whose weights were kept; None where they are the last one's.
        warnings: what the reader must know before using the artifact; `notes`: what is good to know.
        missing: what was done with missing numbers; `contamination`: with anomalies among what was learnt. In words.
        watched: the windows that the validation loss is of, as "validation".
        command: reproduces the artifact.
    """

    name: str
    version: str
    created: str
    model: str
    score: str
    recipe: str
    recipe_text: str
    seed: int
    files: tuple[DataFile, ...]
    channels: tuple[ReportedChannel, ...]
    window: WindowForm
    windows: tuple[tuple[str, int], ...]
    split: str
    threshold: Threshold
    tested: Tested
    history: tuple[EpochLosses, ...] = ()
    best_epoch: int | None = None
    loss: str = "loss"
    watched: str = "validation"
    timeline: Timeline | None = None
    shown: Shown | None = None
    alarms: Alarms | None = None
    tables: tuple[MetricsTable, ...] = ()
    channel_errors: ChannelErrors | None = None
    latent: Latent | None = None
    generated: Generated | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    missing: str = ""
    contamination: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    parameters: tuple[Parameter, ...] = ()
    command: str = ""


def check(content: ReportContent) -> None:
    """Refuses arrays that don't belong together.

    Raises:
        DataError: all problems at once.
    """
    tested, shown, count = content.tested, content.shown, len(content.tested.scores)
    size = (content.window.length, len(content.channels))
    problems = _unequal("tested", count, flagged=tested.flagged, truth=tested.truth, thresholds=tested.thresholds)
    if shown is not None:
        problems += _unequal("shown", len(shown.index), names=shown.names or None)
        for name, array in (("values", shown.values), ("reconstructions", shown.reconstructions)):
            if array.shape != (len(shown.index), *size):
                problems.append(f"shown.{name} is {array.shape}, expected {(len(shown.index), *size)}")
        if len(shown.index) and not 0 <= int(shown.index.min()) <= int(shown.index.max()) < count:
            problems.append(f"shown.index goes past the {count} test windows")
    if (alarms := content.alarms) is not None:
        problems += _unequal(
            "alarms", len(alarms.thresholds), expected=alarms.expected, low=alarms.low, high=alarms.high
        )
    if (latent := content.latent) is not None:
        problems += _unequal("latent", len(latent.codes), truth=latent.truth)
    if (errors := content.channel_errors) is not None:
        problems += _unequal("channel_errors", size[1], normal=errors.normal, anomalous=errors.anomalous)
    if (made := content.generated) is not None and made.samples.shape[1:] != size:
        problems.append(f"generated.samples is {made.samples.shape}, expected (n, {size[0]}, {size[1]})")
    if made is not None and made.walk is not None and made.walk.shape[1:] != (len(made.positions), *size):
        problems.append(
            f"generated.walk is {made.walk.shape}, expected (axes, {len(made.positions)}, {size[0]}, {size[1]})"
        )
    for table in content.tables:
        problems += [
            f'table "{table.title}": "{row.name}" has {len(row.cells)} cells for {len(table.columns)} columns'
            for row in table.rows
            if len(row.cells) != len(table.columns)
        ]
    if problems:
        raise DataError("report: " + "; ".join(problems))


def _unequal(owner: str, count: int, **arrays: FloatArray | BoolArray | tuple[str, ...] | None) -> list[str]:
    return [
        f"{owner}.{name} has {len(array)} rows, expected {count}"
        for name, array in arrays.items()
        if array is not None and len(array) != count
    ]
