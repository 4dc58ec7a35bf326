"""Recipes: everything that decides what is trained, as strict TOML. Shipped ones lie in `training/recipes/`.

Rules of this file: an unknown key is an error that says which key was meant; all problems are told at once.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_type_hints

import msgspec

from monitor.detector.spec import MAX_WINDOW_LENGTH, DenseSpec
from monitor.errors import DataError

MAX_EPOCHS = 1_000_000


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every part of a recipe."""


class WindowPart(Part, frozen=True):
    """How windows come about; `length` and `hop` in samples, 0 for the length of the data's own windows (`record`).

    `max_gap_ms`, `max_missing_ratio`: as in the artifact's `WindowSpec`.
    """

    kind: Literal["record", "sliding"]
    length: int = 0
    hop: int = 0
    sampling_rate_hz: float | None = None
    max_gap_ms: float | None = None
    max_missing_ratio: float = 0.0


class ScalingPart(Part, frozen=True):
    """`fit_on`: the normal training rows, or `all` training rows (the tutorial takes its range before it filters)."""

    kind: Literal["none", "minmax_global", "minmax", "standard"]
    fit_on: Literal["normal", "all"] = "normal"


class FitPart(Part, frozen=True):
    """Adam; `clip_norm` bounds the gradient's global norm, 0 for no bound. `epsilon` is Adam's."""

    epochs: int
    batch_size: int
    learning_rate: float
    clip_norm: float = 0.0
    epsilon: float = 1e-8


class SplitPart(Part, frozen=True):
    """Shares of the rows: `test` of all; `calibration` of what is left (0: thresholds come from the training rows).

    `random` permutes windows by seed; `time` takes fit, calibration and test one after the other from each series.
    """

    kind: Literal["random", "time"]
    test: float = 0.2
    calibration: float = 0.2


class ThresholdPart(Part, frozen=True):
    """`mean_std`: mean + `k` standard deviations of the training errors. `quantile`: that of held-out normal errors."""

    method: Literal["mean_std", "quantile"]
    k: float = 1.0
    quantile: float = 0.99


class Recipe(Part, frozen=True):
    """One way to train; `normal_class` is the label of normal rows, every other one is an anomaly."""

    name: str
    window: WindowPart
    scaling: ScalingPart
    model: DenseSpec
    fit: FitPart
    split: SplitPart
    threshold: ThresholdPart
    description: str = ""
    normal_class: int = 0


def shipped() -> tuple[str, ...]:
    """Names of the recipes that come with Telltale."""
    names = [entry.name for entry in resources.files("training").joinpath("recipes").iterdir()]
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load(name: str) -> Recipe:
    """The recipe called `name`, or the one in the file `name` where that ends in .toml.

    Raises:
        DataError: no such recipe, or what is wrong in it.
    """
    if name.endswith(".toml"):
        try:
            text = Path(name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"recipe {name}: can't be read: {error}") from None
    elif name in shipped():
        text = resources.files("training").joinpath("recipes", f"{name}.toml").read_text("utf-8")
    else:
        meant = _meant(name, shipped())
        raise DataError(f"no recipe {name!r}{meant}; there are {', '.join(shipped())}, or name a file ending in .toml")
    return parse(text, name)


def override(
    recipe: Recipe,
    *,
    epochs: int | None = None,
    length: int | None = None,
    hop: int | None = None,
    quantile: float | None = None,
    normal_class: int | None = None,
) -> Recipe:
    """`recipe` with what was given on the command line instead; None leaves it.

    Raises:
        DataError: the result can't be trained.
    """
    change = msgspec.structs.replace
    if epochs is not None:
        recipe = change(recipe, fit=change(recipe.fit, epochs=epochs))
    if length is not None:
        recipe = change(recipe, window=change(recipe.window, length=length))
    if hop is not None:
        recipe = change(recipe, window=change(recipe.window, hop=hop))
    if quantile is not None:
        recipe = change(recipe, threshold=ThresholdPart(method="quantile", quantile=quantile))
    if normal_class is not None:
        recipe = change(recipe, normal_class=normal_class)
    return check(recipe, recipe.name)


def parse(text: str, where: str) -> Recipe:
    """The recipe in `text`; `where` names it in messages."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError(f"recipe {where}: not TOML: {error}") from None
    unknown = _unknown_keys(document, Recipe, "")
    if unknown:
        raise DataError(f"recipe {where}: " + "; ".join(unknown))
    try:
        recipe = msgspec.convert(document, Recipe)
    except msgspec.ValidationError as error:
        raise DataError(f"recipe {where}: {str(error).replace('$.', '')}") from None
    return check(recipe, where)


def check(recipe: Recipe, where: str) -> Recipe:
    """`recipe` itself, if it can be trained.

    Raises:
        DataError: all problems at once.
    """
    window, fit, split, threshold = recipe.window, recipe.fit, recipe.split, recipe.threshold
    sliding = window.kind == "sliding"
    bounds: list[tuple[str, float, bool, str]] = [
        ("window.length", window.length, 0 <= window.length <= MAX_WINDOW_LENGTH, f"0 to {MAX_WINDOW_LENGTH}"),
        ("window.hop", window.hop, 0 <= window.hop <= MAX_WINDOW_LENGTH, f"0 to {MAX_WINDOW_LENGTH}"),
        ("window.length", window.length, not sliding or window.length >= 1, "given where windows slide"),
        ("window.hop", window.hop, not sliding or window.hop >= 1, "given where windows slide"),
        ("window.max_missing_ratio", window.max_missing_ratio, 0 <= window.max_missing_ratio < 1, "in [0, 1)"),
        ("fit.epochs", fit.epochs, 1 <= fit.epochs <= MAX_EPOCHS, f"1 to {MAX_EPOCHS}"),
        ("fit.batch_size", fit.batch_size, fit.batch_size >= 1, "1 or more"),
        ("fit.learning_rate", fit.learning_rate, _positive(fit.learning_rate), "positive"),
        ("fit.clip_norm", fit.clip_norm, fit.clip_norm == 0 or _positive(fit.clip_norm), "positive, or 0 for none"),
        ("fit.epsilon", fit.epsilon, _positive(fit.epsilon), "positive"),
        ("split.test", split.test, 0 <= split.test < 1, "in [0, 1)"),
        ("split.calibration", split.calibration, 0 <= split.calibration < 1, "in [0, 1)"),
        ("threshold.k", threshold.k, math.isfinite(threshold.k), "finite"),
        ("threshold.quantile", threshold.quantile, 0 < threshold.quantile <= 1, "in (0, 1]"),
    ]
    for name in ("sampling_rate_hz", "max_gap_ms"):
        number = getattr(window, name)
        bounds.append((f"window.{name}", number or 0.0, number is None or _positive(number), "positive"))
    problems = [f"{name} is {value}, must be {rule}" for name, value, holds, rule in bounds if not holds]
    if threshold.method == "quantile" and not split.calibration:
        problems.append('threshold.method "quantile" needs held-out rows: split.calibration must be over 0')
    if sliding != (split.kind == "time"):
        problems.append('sliding windows are split by "time" (they overlap), records at "random"')
    if problems:
        raise DataError(f"recipe {where}: " + "; ".join(problems))
    return recipe


def _positive(number: float) -> bool:
    return math.isfinite(number) and number > 0


def _unknown_keys(document: dict[str, Any], form: type[msgspec.Struct], place: str) -> list[str]:
    kinds = get_type_hints(form)
    config = form.__struct_config__
    known = {*form.__struct_fields__, *((config.tag_field,) if config.tag_field else ())}
    problems = []
    for key, value in document.items():
        if key not in known:
            problems.append(f"unknown key {place}{key}{_meant(key, sorted(known))}")
        elif isinstance(value, dict) and isinstance(kinds.get(key), type) and issubclass(kinds[key], msgspec.Struct):
            problems += _unknown_keys(value, kinds[key], f"{place}{key}.")
    return problems


def _meant(name: str, known: tuple[str, ...] | list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
