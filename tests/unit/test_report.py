"""The report's bytes: what they say, what they must not do, and what is refused. How it looks: acceptance tests."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn

from monitor.errors import DataError
from tests.report_contents import HOSTILE, images, labelled, unlabelled, variational
from tests.report_page import Page
from training.report import figures, pictures, selection, words
from training.report.card import model_card, plain
from training.report.content import ChannelErrors, EpochLosses
from training.report.content import Tested as Judged  # pytest takes names in Test for its own
from training.report.page import render
from training.report.theme import DARK, DARKENED, LIGHT

LIMIT_BYTES = 6_000_000
MAKERS = (labelled, unlabelled, images, variational)


@pytest.fixture(scope="module")
def pages() -> dict[str, bytes]:
    return {make.__name__: render(make()) for make in MAKERS}


@pytest.mark.parametrize("name", [make.__name__ for make in MAKERS])
def test_one_file_that_asks_nobody(pages: dict[str, bytes], name: str) -> None:
    page = Page(pages[name])
    assert len(pages[name]) < LIMIT_BYTES
    for tag, attrs in page.elements:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form"), tag
        assert "src" not in attrs
        assert not any(key.startswith("on") for key in attrs)
        assert (attrs.get("href") or "#").startswith(("#", "data:,"))
    policy = next(a["content"] or "" for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    runs = [a.get("type") is None for t, a in page.elements if t == "script"]
    scripts = [script for script, run in zip(page.scripts, runs, strict=True) if run]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts]
    assert len(hashes) == 2, "plotly.js once, and ours"
    assert f"script-src {' '.join(hashes)};" in policy
    assert policy.startswith("default-src 'none';")


def test_the_same_content_gives_the_same_bytes(pages: dict[str, bytes]) -> None:
    assert render(labelled()) == pages["labelled"]


def test_figures_agree_with_scikit_learn(pages: dict[str, bytes]) -> None:
    tested, text = labelled().tested, Page(pages["labelled"]).text
    assert tested.truth is not None
    true_negative, false_positive, false_negative, true_positive = (
        int(n) for n in sklearn.confusion_matrix(tested.truth, tested.flagged).ravel()
    )
    normal, anomalies = true_negative + false_positive, true_positive + false_negative
    assert f"Finds {true_positive} of {anomalies} anomalies, with {false_positive} false alarms among {normal} " in text
    assert f"Accuracy: {sklearn.accuracy_score(tested.truth, tested.flagged):.3f}." in text
    for name, positive in (("Anomaly", True), ("Normal", False)):
        precision, recall, f1, _ = sklearn.precision_recall_fscore_support(
            tested.truth, tested.flagged, pos_label=positive, average="binary"
        )
        told = f"{name} as the positive class: precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}."
        assert told in text
    assert f"ROC, area {sklearn.roc_auc_score(tested.truth, tested.scores):.3f}" in text
    assert f"average precision {sklearn.average_precision_score(tested.truth, tested.scores):.3f}" in text


def test_curves_are_scikit_learns(pages: dict[str, bytes]) -> None:
    """The area under the points that are drawn, which are fewer than all, is the area that is told."""
    tested = labelled().tested
    assert tested.truth is not None
    assert Page(pages["labelled"]).plots
    from training.report import figures

    roc = figures.curves(labelled())[0].figure.data[0]
    assert sklearn.auc(roc.x, roc.y) == pytest.approx(sklearn.roc_auc_score(tested.truth, tested.scores), abs=0.004)


def test_the_histogram_holds_every_score() -> None:
    from training.report import figures

    plot = figures.histogram(labelled())
    assert plot is not None
    for trace in plot.figure.data:
        assert float(np.sum(trace.y)) == pytest.approx(100.0, abs=1e-3)


@pytest.mark.parametrize(("spread", "step"), [(10.0, "D2"), (1e4, 1), (1e10, 2)])
def test_numbers_of_a_logarithmic_axis_have_room(spread: float, step: object) -> None:
    full = labelled()
    scores = full.tested.scores.astype(np.float64) * np.where(np.arange(900) == 0, spread, 1.0)
    plot = figures.histogram(replace(full, tested=replace(full.tested, scores=scores)))
    assert plot is not None
    assert plot.figure.layout.xaxis.type == "log"
    assert plot.figure.layout.xaxis.dtick == step


def test_baselines_stand_beside_the_metrics(pages: dict[str, bytes]) -> None:
    text = Page(pages["labelled"]).text
    first = text[: text.index("What a threshold costs")]
    for told in ("this model 0.964 0.955 to 0.971", "PCA baseline 0.951", "flag everything baseline",
                 "in hindsight oracle", "Expected false alarms 2.7 a day per series", "Before you use it",
                 "quantile 0.97 of the scores"):  # fmt: skip
        assert told in first, told


def test_absent_labels_are_told(pages: dict[str, bytes]) -> None:
    text = Page(pages["unlabelled"]).text
    assert "The data has no labels" in text
    assert "nobody knows how many of them should be" in text
    for untold in ("ROC, area", "Confusion", "Worst misses"):
        assert untold not in text
    assert "1 test window could not be scored and is in no metric." in text
    assert "the very ones that were fitted, so it is likely too low" in text
    assert "5 more are in the manifest." in text


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("labelled", ("Loss", "Codes", "Splits of each series", "Worst false alarms", "Worst misses")),
        ("unlabelled", ("Error by channel", "Codes", "Splits of each series", "Over the threshold")),
        ("images", ("Generated samples", "A walk through the latent space", "There is none: every labelled anomaly")),
        ("variational", ("Generated samples", "A walk through the latent space", "-2 standard deviations")),
    ],
)
def test_what_there_is_gets_drawn(pages: dict[str, bytes], name: str, titles: tuple[str, ...]) -> None:
    page = Page(pages[name])
    for title in titles:
        assert title in page.text, title
    canvases = [attrs for tag, attrs in page.elements if "canvas" in (attrs.get("class") or "").split()]
    assert len(canvases) == len(page.plots) > 10
    assert all(len(attrs["aria-label"] or "") > 20 for attrs in canvases), "each has a text in its place"


def test_strangers_text_is_only_text(pages: dict[str, bytes]) -> None:
    assert b"<img" not in pages["unlabelled"].split(b"</main>")[0]
    assert HOSTILE in Page(pages["unlabelled"]).text
    for plot in Page(pages["unlabelled"]).plots:
        assert "<img" not in json.dumps(plot)
        assert "%{y}" not in json.dumps(plot["layout"])


def test_little_is_enough() -> None:
    """Nothing but what must be; then not even a test window."""
    full = labelled()
    bare = replace(
        full, history=(), best_epoch=None, timeline=None, shown=None, alarms=None, tables=(), latent=None, warnings=(),
        notes=(), environment=(), parameters=(), command="", files=(), tested=replace(full.tested, truth=None),
    )  # fmt: skip
    assert "No losses were kept." in Page(render(bare)).text
    empty = replace(bare, tested=Judged(scores=np.zeros(0), flagged=np.zeros(0, np.bool_)))
    assert "Trained, but not tested" in Page(render(empty)).text
    assert b"Trained, but not tested" in model_card(empty)


def test_one_class_only() -> None:
    full = labelled()
    for truth, told in ((False, "No anomaly was in the test"), (True, "no normal window was in the test")):
        only = replace(full, tested=replace(full.tested, truth=np.full(len(full.tested.scores), truth)))
        text = Page(render(only)).text
        assert told in text
        assert "need both kinds of windows" in text


def test_anomalies_that_could_not_be_scored_are_not_absent() -> None:
    full, truth = labelled(), labelled().tested.truth
    assert truth is not None

    def headline(lost: Any) -> str:
        scores = np.where(lost, np.nan, full.tested.scores)
        content = replace(full, tested=replace(full.tested, scores=scores, flagged=full.tested.flagged & ~lost))
        told = words.warnings(content)
        of_anomalies = int((lost & truth).sum())
        assert any(f"{of_anomalies} of 270 anomalies could not be scored" in each for each in told) is (
            of_anomalies > 0
        )
        return words.verdict(content)

    assert headline(truth).startswith("270 anomalies in the test, and none that could be scored: 17 false alarms")
    assert headline(~truth) == "Finds 253 of 270 anomalies; no normal window could be scored"
    assert headline(truth | ~truth) == "Nothing is known of it: 900 test windows, and none that could be scored"
    assert headline(np.arange(900) == 0).startswith("Finds 25")


def test_a_window_is_measured_by_its_own_threshold() -> None:
    full = labelled()
    thresholds = full.tested.scores.astype(np.float64) / 2.5
    own = replace(
        full,
        tested=replace(full.tested, thresholds=thresholds),
        threshold=replace(full.threshold, series=(("pump-1", 0.1), ("pump-2", 0.2))),
    )
    assert full.shown is not None
    captions = [plot.caption for plot in pictures.examples(own, full.shown.index)]
    assert captions
    assert all(caption.endswith(", 2.5 times its threshold") for caption in captions)
    assert "(2 series have their own threshold instead): quantile" in words.threshold_choice(own)
    assert "Series have their own thresholds" in figures.histogram(own).caption  # type: ignore[union-attr]
    assert all("each series' own" in plot.caption for plot in figures.curves(own))
    wrong = replace(own, tested=replace(own.tested, thresholds=thresholds[1:]))
    with pytest.raises(DataError, match=r"tested\.thresholds has 899 rows"):
        render(wrong)


def test_a_threshold_that_the_labels_chose_is_not_said_to_come_from_normal_windows() -> None:
    full = labelled()
    told = words.threshold_choice(replace(full, threshold=replace(full.threshold, method="oracle")))
    assert told.endswith("The labels of the test windows chose the threshold.")


def test_channels_tell_only_of_windows_that_there_are() -> None:
    full, errors = unlabelled(), np.arange(8) / 10
    kinds = (
        (None, ChannelErrors(normal=errors), "0.7000 on test windows"),
        (True, ChannelErrors(normal=None, anomalous=errors), "0.7000 on anomalous windows"),
        (False, ChannelErrors(normal=errors), "0.7000 on normal windows"),
        (True, ChannelErrors(normal=errors / 2, anomalous=errors), "0.3500 on normal windows, 0.7000 on anomalous"),
    )
    for truth, found, told in kinds:
        marked = None if truth is None else np.full(len(full.tested.scores), truth)
        plot = figures.channels(replace(full, channel_errors=found, tested=replace(full.tested, truth=marked)))
        assert plot is not None
        assert told in plot.alt
        assert plot.alt.count(" on ") == told.count(" on ")
    assert figures.channels(replace(full, channel_errors=ChannelErrors(normal=None))) is None


def test_names_that_are_not_text_are_escaped() -> None:
    """A file's name may hold any bytes; Python keeps those that are not UTF-8 as lone surrogates."""
    odd = replace(labelled(), command="telltale train caf\udce9.csv")
    for page in (render(odd), model_card(odd)):
        assert b"caf\\udce9.csv" in page


def test_addresses_in_a_card_are_not_links() -> None:
    assert plain("http://a.b www.a.b x@a.b") == r"http:\//a.b www\.a.b x\@a.b"


def test_many_points_are_cut(pages: dict[str, bytes]) -> None:
    count = 60_000
    rng = np.random.default_rng(0)
    scores = rng.gamma(3, 1, count)
    full, channels = unlabelled(), len(unlabelled().channels)
    tested = Judged(scores=scores, flagged=scores > 9, truth=rng.uniform(size=count) < 0.01)
    index = selection.shown(tested)
    values = rng.normal(size=(len(index), full.window.length, channels)).astype(np.float32)
    assert full.shown is not None
    shown = replace(full.shown, index=index, values=values, reconstructions=values * 0.5, names=())
    history = tuple(EpochLosses(number=n, loss=1 / n, validation=None) for n in range(1, 5_000))
    assert full.latent is not None
    latent = replace(full.latent, codes=rng.normal(size=(count, 2)), truth=tested.truth)
    page = render(replace(full, tested=tested, shown=shown, history=history, latent=latent))
    assert len(page) < LIMIT_BYTES


def test_arrays_that_do_not_fit_are_refused_all_at_once() -> None:
    full = labelled()
    assert full.shown is not None
    assert full.latent is not None
    wrong = replace(
        full,
        tested=replace(full.tested, flagged=full.tested.flagged[1:]),
        shown=replace(full.shown, values=full.shown.values[:, 1:]),
        latent=replace(full.latent, truth=np.zeros(3, np.bool_)),
    )
    for make in (render, model_card):
        with pytest.raises(DataError, match=r"tested\.flagged has 899 rows.*shown\.values is .*latent\.truth has 3"):
            make(wrong)


def test_plotly_comes_with_the_first_page() -> None:
    code = (
        "import sys, training.report, training.report.page, training.report.card, training.report.content; "
        "print('plotly' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_every_colour_of_a_plot_has_a_dark_one(pages: dict[str, bytes]) -> None:
    assert len(set(LIGHT.values())) == len(LIGHT), "the script tells them apart by value"
    fixed = {"rgba(0,0,0,0)", "#000000", "#ffffff"}
    for page in pages.values():
        for plot in Page(page).plots:
            for found in re.findall(r'"((?:#[0-9a-f]{6}|rgba?\([^)"]*\)))"', json.dumps(plot)):
                assert found in DARKENED or found in fixed, found


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read(palette: dict[str, str]) -> None:
    """Contrast of at least 4.5, and 3 for lines: WCAG 2.2, 1.4.3 and 1.4.11."""

    def luminance(value: str) -> float:
        parts = [int(value[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    def contrast(a: str, b: str) -> float:
        low, high = sorted((luminance(a), luminance(b)))
        return (high + 0.05) / (low + 0.05)

    for role in ("ink", "muted"):
        assert contrast(palette[role], palette["surface"]) >= 4.5, role
    for role in ("normal", "anomaly", "held", "other", "amber"):
        assert contrast(palette[role], palette["surface"]) >= 3.0, role
