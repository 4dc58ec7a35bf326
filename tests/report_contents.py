"""Contents of reports as training makes them: deterministic, synthetic, and of each form that a page has.

Rules of this file: the arrays are drawn by fixed seeds; every number that the page can be checked against follows from
them. Names carry markup on purpose: they come from strangers.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.report import selection
from training.report.content import (
    Alarms,
    ChannelErrors,
    DataFile,
    EpochLosses,
    Estimate,
    Generated,
    Latent,
    MetricsTable,
    Parameter,
    Rate,
    ReportContent,
    ReportedChannel,
    Row,
    Shown,
    Span,
    SubsetName,
    Tested,
    Threshold,
    Timeline,
    WindowForm,
)

HOSTILE = "<img src=x onerror=alert(1)> & `x` | %{y} </script>"
LENGTH, TESTED, ANOMALIES = 140, 900, 270
RECIPE = """[window]
kind = "record"
length = 140

[model]
name = "dense"
widths = [32, 16, 8]

[threshold]
method = "quantile"
quantile = 0.97
"""


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def beats(rng: np.random.Generator, anomalous: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(n, LENGTH, 1) curves like heart beats; an anomalous one lacks the late wave and sags."""
    at = np.linspace(0.0, 1.0, LENGTH)
    shift = rng.normal(0.0, 0.012, (len(anomalous), 1))

    def bump(place: float, width: float) -> NDArray[np.float64]:
        return np.exp(-0.5 * ((at - place - shift) / width) ** 2)

    late = np.where(anomalous, rng.uniform(0.0, 0.9, len(anomalous)), 1.0)[:, None]
    curve = (
        -2.6 * bump(0.12, 0.035) + 1.1 * bump(0.3, 0.09) * late + 1.9 * bump(0.78, 0.07) * late - 1.2 * (1 - late) * at
    )
    return (curve + rng.normal(0.0, 0.09, curve.shape))[..., None].astype(np.float32)


def rates(scores: NDArray[np.float64], threshold: float, a_day: float) -> tuple[Alarms, Rate]:
    """What `scores` of normal windows say of every threshold, with Poisson-like intervals."""
    lines = np.quantile(scores, np.linspace(0.02, 1.0, 120))
    over = np.array([(scores > line).sum() for line in lines], np.float64)
    scale = a_day / len(scores)
    low, high = np.maximum(over - 2 * np.sqrt(over), 0) * scale, (over + 2 * np.sqrt(over) + 3) * scale
    count = float((scores > threshold).sum())
    rate = Rate(value=count * scale, low=max(count - 2 * count**0.5, 0) * scale, high=(count + 2 * count**0.5) * scale)
    return Alarms(thresholds=lines, expected=over * scale, low=low, high=high), rate


@functools.cache
def labelled() -> ReportContent:
    """One channel, records, labels: everything but images and samples."""
    rng = np.random.default_rng(7)
    truth = np.arange(TESTED) % 10 < 10 * ANOMALIES // TESTED
    values = beats(rng, truth)
    mean = beats(np.random.default_rng(1), np.zeros(400, np.bool_)).mean(axis=0)
    rebuilt = (0.75 * mean + 0.25 * np.where(truth[:, None, None], mean, values)).astype(np.float32)
    scores = np.abs(values - rebuilt).mean(axis=(1, 2)).astype(np.float32)
    held = np.sort(scores[~truth].astype(np.float64) * rng.uniform(0.96, 1.04, int((~truth).sum())))
    threshold = float(np.quantile(held, 0.97))
    tested = Tested(scores=scores, flagged=scores > np.float32(threshold), truth=truth)
    index, (alarms, expected) = selection.shown(tested), rates(held, threshold, 90.0)
    axes = np.linalg.eigh(np.cov(values[..., 0].astype(np.float64), rowvar=False))[1][:, :-3:-1]
    fall = [float(np.exp(-n / 9)) for n in range(1, 61)]
    return ReportContent(
        name="ecg-beats",
        version="3f9a1c20",
        created="2025-11-03 12:40 UTC",
        model="dense autoencoder (32-16-8)",
        score="mean absolute error",
        recipe="ecg5000",
        recipe_text=RECIPE,
        seed=0,
        files=(
            DataFile(name="ECG5000_TRAIN.txt", rows=500, sha256=digest("a")),
            DataFile(name="ECG5000_TEST.txt", rows=4_500, sha256=digest("b")),
        ),
        channels=(ReportedChannel(name="lead II", unit="mV"),),
        window=WindowForm(whole_records=True, length=LENGTH, hop=LENGTH, sampling_rate_hz=125.0),
        windows=(("fit", 1_600), ("validation", 180), ("calibration", len(held)), ("test", TESTED)),
        split="drawn at random by the seed, before anything was learnt; no window is in two parts.",
        threshold=Threshold(
            value=threshold,
            method="quantile",
            how=f"quantile 0.97 of the scores of {len(held)} held-out normal windows",
            held_out=True,
            windows=len(held),
            expected=expected,
            quantiles=tuple((q, float(np.quantile(held, q))) for q in (0.5, 0.75, 0.9, 0.95, 0.97, 0.99, 0.995)),
        ),
        tested=tested,
        history=tuple(
            EpochLosses(number=n, loss=0.03 + 0.4 * part, validation=0.036 + 0.37 * part**1.1 + 4e-5 * n)
            for n, part in enumerate(fall, start=1)
        ),
        best_epoch=48,
        loss="mean absolute error",
        timeline=Timeline(
            unit="rows",
            spans=(
                Span(series="ECG5000", part="fit", start=0, end=1_600),
                Span(series="ECG5000", part="validation", start=1_600, end=1_780),
                Span(series="ECG5000", part="calibration", start=1_780, end=2_410),
                Span(series="ECG5000", part="test", start=2_410, end=3_310),
            ),
        ),
        shown=Shown(index=index, values=values[index], reconstructions=rebuilt[index]),
        alarms=alarms,
        tables=(table(),),
        latent=Latent(codes=values[..., 0] @ axes, truth=truth, explained=(0.61, 0.17), width=8),
        warnings=("The expected rate rests on 19 windows over the threshold; the interval says how little that is.",),
        notes=("Stopped at epoch 60 of 200: the validation loss had not improved for 12 epochs.",),
        missing="none were found",
        contamination="labels were used: anomalies are in no part but the test",
        environment=(("telltale", "0.2.0"), ("python", "3.11.9"), ("jax", "0.10.2"), ("platform", "cpu, x86_64")),
        parameters=tuple(
            Parameter(name=f"encoder.{i}.kernel", shape=shape, sha256=digest(str(shape)))
            for i, shape in enumerate(((140, 32), (32, 16), (16, 8)))
        ),
        command="telltale train ECG5000_TRAIN.txt ECG5000_TEST.txt --recipe ecg5000 --seed 0 --out ecg-beats",
    )  # fmt: skip


def table() -> MetricsTable:
    """Metrics of a detector and its baselines; two baselines have no intervals, and one has no AUROC."""

    def cells(*values: float) -> tuple[Estimate, ...]:
        return tuple(Estimate(value=v, low=v - 0.009, high=min(v + 0.007, 1.0)) for v in values)

    rows = (
        Row(name="this model", kind="detector", cells=cells(0.964, 0.949, 0.93, 0.939, 0.984, 0.974)),
        Row(name="PCA", kind="baseline", cells=cells(0.951, 0.931, 0.905, 0.918, 0.979, 0.966)),
        Row(name="nearest neighbours", kind="baseline", cells=cells(0.958, 0.94, 0.919, 0.929, 0.982, 0.97)),
        Row(name="random", kind="baseline", cells=tuple(Estimate(value=v) for v in (0.68, 0.3, 0.03, 0.055, 0.5, 0.3))),
        Row(name="flag everything", kind="baseline",
            cells=(*(Estimate(value=v) for v in (0.3, 0.3, 1.0, 0.462)), None, None)),
        Row(name="best threshold in hindsight", kind="oracle", cells=cells(0.969, 0.955, 0.943, 0.949, 0.984, 0.974)),
    )  # fmt: skip
    columns = ("accuracy", "precision", "recall", "F1", "AUROC", "AUC-PR")
    return MetricsTable(title="Test metrics, with 95% bootstrap intervals", columns=columns, rows=rows)


@functools.cache
def unlabelled() -> ReportContent:
    """Eight channels of a machine, sliding windows of a timed series, no labels, names that are markup."""
    rng, count, length, width = np.random.default_rng(11), 640, 64, 8
    at = np.arange(length)[None, :, None] + rng.uniform(0, 50, (count, 1, 1))
    values = np.sin(at / (4 + np.arange(width))) * (1 + np.arange(width)) + rng.normal(0, 0.1, (count, length, width))
    strange = np.where(rng.uniform(size=count) < 0.03, 6.0, 1.0)
    rebuilt = values - strange[:, None, None] * (0.06 * values + rng.normal(0, 0.05, values.shape))
    scores = np.abs(values - rebuilt).mean(axis=(1, 2))
    scores[5] = np.nan
    held = rng.gamma(30, float(np.nanmedian(scores)) / 30, 500)
    threshold = float(np.quantile(held, 0.99))
    tested = Tested(scores=scores, flagged=np.nan_to_num(scores) > threshold)
    index, (alarms, expected) = selection.shown(tested), rates(held, threshold, 1_440.0)
    start, day = 1_750_000_000_000_000, 86_400_000_000
    names: tuple[SubsetName, ...] = ("fit", "validation", "calibration", "left out", "test", "anomaly")
    parts: tuple[tuple[SubsetName, float, float], ...] = tuple(
        (name, a, b) for name, a, b in zip(names, (0, 5, 6, 7.5, 8, 9), (5, 6, 7.5, 8, 12, 9.2), strict=True)
    )  # fmt: skip
    return replace(
        labelled(),
        name=HOSTILE,
        model="GRU autoencoder",
        recipe="machine",
        recipe_text=f"# {HOSTILE}\n",
        files=(DataFile(name=f"plant/{HOSTILE}.parquet", rows=17_280, sha256=digest("c")),),
        channels=(
            ReportedChannel(name=HOSTILE, unit="<b>"),
            *(ReportedChannel(name=f"valve_{i}_pressure", unit="bar") for i in range(7))
        ),
        window=WindowForm(whole_records=False, length=length, hop=16),
        windows=(("fit", 5_400), ("validation", 1_080), ("calibration", len(held)), ("test", count)),
        split="by time: the first five twelfths for fitting, the last third for the test.",
        threshold=Threshold(
            value=threshold, method="false_alarm_budget", how="at most 14 false alarms a day by 500 scores",
            held_out=False, windows=len(held), expected=expected,
            series=tuple((f"pump-{i}", threshold + i / 9) for i in range(45)),
        ),
        tested=tested,
        history=(),
        best_epoch=None,
        timeline=Timeline(
            unit="time",
            spans=tuple(
                Span(series=f"pump-{i}", part=part, start=start + a * day, end=start + b * day)
                for i in range(5) for part, a, b in parts
            ),
        ),
        shown=Shown(
            index=index, values=values[index].astype(np.float32), reconstructions=rebuilt[index].astype(np.float32),
            names=tuple(f"pump-{i % 5}, rows {16 * i:,} to {16 * i + length - 1:,}" for i in index),
        ),
        alarms=alarms,
        tables=(),
        channel_errors=ChannelErrors(normal=rng.uniform(0.02, 0.2, width)),
        latent=Latent(codes=rng.normal(size=(count, 2)), truth=None, explained=(0.4, 0.2), width=16),
        warnings=(f"The channel {HOSTILE} did not vary in the fit split.", "The threshold was chosen on fitted data."),
    )  # fmt: skip


@functools.cache
def images() -> ReportContent:
    """Digits of 8 x 8 against noise, from a variational model with samples and a walk."""
    rng, count, side = np.random.default_rng(5), 240, 8
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1) - 3.5
    size = rng.uniform(1.5, 3.2, count)
    ring = np.exp(-((np.linalg.norm(grid, axis=-1)[None] - size[:, None, None]) ** 2) / 0.6) * 16
    truth = np.arange(count) % 4 == 0
    values = np.where(truth[:, None, None], rng.uniform(0, 16, ring.shape), ring).reshape(count, side * side, 1)
    rebuilt = 0.9 * ring.reshape(values.shape) + 0.4
    scores = np.abs(values - rebuilt).mean(axis=(1, 2))
    tested = Tested(scores=scores, flagged=scores > 1.2, truth=truth)
    index, steps = selection.shown(tested), np.linspace(-3, 3, 11)
    radii = np.clip(2.3 + 0.35 * steps[None, :] * np.array([1.0, 0.5, 0.0])[:, None], 0.3, 4)
    walk = (
        np.exp(-((np.linalg.norm(grid, axis=-1) - radii[..., None, None]) ** 2) / 0.6).reshape(3, 11, side * side, 1)
        * 16
    )
    return replace(
        labelled(),
        name="digits",
        model="variational autoencoder (32-16-4)",
        channels=(ReportedChannel(name="brightness"),),
        window=WindowForm(whole_records=True, length=side * side, hop=side * side, image_shape=(side, side)),
        threshold=Threshold(value=1.2, method="sigma", how="mean + 3 standard deviations", held_out=True, windows=200),
        tested=tested,
        timeline=None,
        shown=Shown(
            index=index, values=values[index].astype(np.float32), reconstructions=rebuilt[index].astype(np.float32)
        ),
        alarms=None,
        latent=Latent(codes=rng.normal(size=(count, 2)), truth=truth, explained=(0.5, 0.3), width=4),
        generated=Generated(
            samples=ring[:12].reshape(12, -1, 1).astype(np.float32),
            walk=walk.astype(np.float32),
            positions=tuple(steps.tolist()),
        ),
        warnings=(),
    )


@functools.cache
def variational() -> ReportContent:
    """Curves of a variational model: samples, and a walk along four axes."""
    at, steps = np.linspace(0, 1, LENGTH), np.linspace(-2, 2, 9)
    axes = np.stack([np.sin(np.pi * at * (i + 1)) for i in range(4)])
    mean = beats(np.random.default_rng(1), np.zeros(400, np.bool_)).mean(axis=0)[:, 0]
    walk = (mean + 0.5 * steps[None, :, None] * axes[:, None, :])[..., None].astype(np.float32)
    drawn = beats(np.random.default_rng(3), np.zeros(10, np.bool_))
    return replace(
        labelled(),
        model="variational autoencoder (32-16-4)",
        generated=Generated(samples=drawn, walk=walk, positions=tuple(steps.tolist())),
    )
