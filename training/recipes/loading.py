"""Recipes: everything that decides what is trained, as strict TOML. Shipped ones lie in `training/recipes/`.

Rules of this file: an unknown key is an error that says which key was meant; all problems are reported at once.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import msgspec

from monitor.detector import architectures, scores, spec, windowing
from monitor.detector.architectures import DenseSpec
from monitor.detector.spec import MAX_CHANNELS, MAX_SMOOTHED, MAX_WINDOW_LENGTH
from monitor.errors import DataError
from training.recipes.schema import ObjectivePart, Recipe
from training.thresholds import rules

MAX_EPOCHS = 1_000_000
MAX_STEPS = 1_000_000
MAX_PROTOTYPES = 4_096
MAX_BLOCKS = 100


def shipped() -> tuple[str, ...]:
    """Names of the recipes that come with Telltale."""
    names = [entry.name for entry in resources.files("training.recipes").iterdir()]
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
        text = resources.files("training.recipes").joinpath(f"{name}.toml").read_text("utf-8")
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
    max_hold_ms: float | None = None,
    quantile: float | None = None,
    alarms_per_day: float | None = None,
    normal_class: int | Literal["all"] | None = None,
    missing_values: tuple[str, ...] | None = None,
) -> Recipe:
    """`recipe` with what was given on the command line instead; None leaves it.

    Raises:
        DataError: the result can't be trained.
    """
    change = msgspec.structs.replace
    if epochs is not None:
        recipe = change(recipe, fit=change(recipe.fit, epochs=epochs, min_steps=0))
    if length is not None:
        recipe = change(recipe, window=change(recipe.window, length=length))
    if hop is not None:
        recipe = change(recipe, window=change(recipe.window, hop=hop))
    if max_hold_ms is not None:
        recipe = change(recipe, window=change(recipe.window, max_hold_ms=max_hold_ms))
    if quantile is not None:
        recipe = change(recipe, threshold=change(recipe.threshold, method="quantile", quantile=quantile))
    if alarms_per_day is not None:
        if quantile is not None:
            raise DataError("--quantile and --alarms-per-day each choose the threshold; give one of them")
        own = recipe.threshold
        share = own.leave_out if own.method == "budget" else max(own.leave_out, rules.left_out("budget"))
        budget = change(own, method="budget", alarms_per_day=alarms_per_day, leave_out=share)
        recipe = change(recipe, threshold=budget)
    if normal_class is not None:
        recipe = change(recipe, normal_class=normal_class)
    if missing_values is not None:
        recipe = change(recipe, missing_values=missing_values)
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


def text(recipe: Recipe) -> str:
    """`recipe` as TOML that `parse` reads again; what is None is left out."""
    return msgspec.toml.encode(_without_none(msgspec.to_builtins(recipe))).decode()


def _without_none(document: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in document.items()
        if value is not None
    }


def check(recipe: Recipe, where: str) -> Recipe:
    """`recipe` itself, if it can be trained.

    Raises:
        DataError: all problems at once, or that the kind of window is not known.
    """
    if unknown := windowing.problems(recipe.window.kind):
        raise DataError(f"recipe {where}: " + "; ".join(unknown))
    whole = windowing.whole_records(recipe.window.kind)
    problems = [f"{name} is {value}, must be {rule}" for name, value, holds, rule in _bounds(recipe) if not holds]
    # For the smallest windows that they may be; how large they are is only known with the data.
    smallest = max(recipe.window.length, 1), 1
    problems += architectures.problems(recipe.model, smallest, recipe.window.image_shape)
    learnt = recipe.window.template_beats
    problems += scores.problems(recipe.score.kind, recipe.model, smallest, learnt, recipe.scaling.kind)
    problems += rules.problems(recipe.threshold)
    problems += _exact_problems(recipe)
    if recipe.choose and (not recipe.split.calibration or recipe.scaling.kind == "window" or recipe.fit.trim):
        problems.append(
            "choose needs split.calibration over 0, fit.trim 0, and a scaling that is the same for all windows"
        )
    if recipe.threshold.method != "mean_std" and not recipe.split.held_out:
        problems.append(
            f'threshold.method "{recipe.threshold.method}" needs held-out rows: split.calibration must be over 0'
        )
    problems += _cross_fitting_problems(recipe)
    if recipe.score.smoothing > 1 and not recipe.split.held_out:
        problems.append("score.smoothing needs held-out rows: split.calibration, or split.cross_fit, must be over 0")
    if not whole and recipe.split.kind == "random":
        problems.append('sliding windows are split by "time" or by "series" (they overlap), not at "random"')
    if whole and recipe.split.kind != "random":
        problems.append('windows of one record each are split at "random"')
    if recipe.fit.patience and not recipe.split.validation:
        problems.append("fit.patience needs validation windows: split.validation must be over 0")
    if recipe.window.missing == "fill" and not recipe.window.max_missing_ratio:
        problems.append('window.missing "fill" needs to know up to where: window.max_missing_ratio must be over 0')
    if problems:
        raise DataError(f"recipe {where}: " + "; ".join(problems))
    return recipe


def _cross_fitting_problems(recipe: Recipe) -> list[str]:
    """What keeps a recipe from cross-fitting where it asks for it."""
    blocks, problems = recipe.split.cross_fit, []
    if not blocks:
        return []
    if not 2 <= blocks <= MAX_BLOCKS:
        problems.append(f"split.cross_fit is {blocks}, must be 0 (off) or 2 to {MAX_BLOCKS}")
    if recipe.split.calibration:
        problems.append("split.cross_fit takes the place of split.calibration, which must be 0")
    if recipe.split.kind != "time":
        problems.append('split.cross_fit is for blocks of time: split.kind must be "time"')
    return problems


def _exact_problems(recipe: Recipe) -> list[str]:
    """What keeps a model from being fitted exactly, where it is to be."""
    model, fit = recipe.model, recipe.fit
    if fit.method != "exact":
        return []
    problems = []
    linear = isinstance(model, DenseSpec) and (model.hidden, model.output) == ("linear", "linear")
    if not linear or not isinstance(model, DenseSpec) or len(model.widths) > 1 or model.code not in (None, "linear"):
        problems.append('fit.method "exact" is for a dense model of one width, with linear activations')
    if recipe.objective != ObjectivePart(loss="mse"):
        problems.append('fit.method "exact" minimises the squared error alone: objective.loss must be "mse"')
    if fit.patience or fit.trim:
        problems.append('fit.method "exact" has no epochs: fit.patience and fit.trim must be 0')
    return problems


def _bounds(recipe: Recipe) -> list[tuple[str, float, bool, str]]:
    """Name, value, whether it holds, and what must hold."""
    window, fit, split, objective, score = recipe.window, recipe.fit, recipe.split, recipe.objective, recipe.score
    sliding = not windowing.whole_records(window.kind) and not windowing.about_events(window.kind)
    least = 0 if fit.method == "exact" or fit.min_steps else 1
    bounds: list[tuple[str, float, bool, str]] = [
        ("window.length", window.length, 0 <= window.length <= MAX_WINDOW_LENGTH, f"0 to {MAX_WINDOW_LENGTH}"),
        ("window.hop", window.hop, 0 <= window.hop <= MAX_WINDOW_LENGTH, f"0 to {MAX_WINDOW_LENGTH}"),
        ("window.length", window.length, not sliding or window.length >= 1, "given where windows slide"),
        ("window.hop", window.hop, not sliding or window.hop >= 1, "given where windows slide"),
        ("fit.epochs", fit.epochs, least <= fit.epochs <= MAX_EPOCHS, f"{least} to {MAX_EPOCHS}"),
        ("fit.min_steps", fit.min_steps, 0 <= fit.min_steps <= MAX_STEPS, f"0 to {MAX_STEPS}"),
        ("fit.batch_size", fit.batch_size, fit.batch_size >= 1, "1 or more"),
        ("fit.learning_rate", fit.learning_rate, _positive(fit.learning_rate), "positive"),
        ("fit.epsilon", fit.epsilon, _positive(fit.epsilon), "positive"),
        ("objective.huber_delta", objective.huber_delta, _positive(objective.huber_delta), "positive"),
        (
            "objective.sparsity_target",
            objective.sparsity_target,
            0 < objective.sparsity_target < 1,
            "between 0 and 1",
        ),
        ("score.smoothing", score.smoothing, 1 <= score.smoothing <= MAX_SMOOTHED, f"1 to {MAX_SMOOTHED}"),
        ("score.smoothing", score.smoothing, sliding or score.smoothing == 1, "1 where each record is a window"),
        ("score.prototypes", score.prototypes, 1 <= score.prototypes <= MAX_PROTOTYPES, f"1 to {MAX_PROTOTYPES}"),
        ("score.memory", score.memory, 1 <= score.memory <= MAX_PROTOTYPES, f"1 to {MAX_PROTOTYPES}"),
        ("score.worst", score.worst, 1 <= score.worst <= MAX_CHANNELS, f"1 to {MAX_CHANNELS}"),
    ]
    shares = [
        ("window.max_missing_ratio", window.max_missing_ratio),
        ("split.test", split.test),
        ("split.calibration", split.calibration),
        ("split.validation", split.validation),
        ("fit.trim", fit.trim),
        ("objective.mask_ratio", objective.mask_ratio),
        ("objective.dropout", objective.dropout),
    ]
    bounds += [(name, share, 0 <= share < 1, "in [0, 1)") for name, share in shares]
    weights = [
        ("fit.clip_norm", fit.clip_norm),
        ("fit.weight_decay", fit.weight_decay),
        ("fit.warmup_epochs", fit.warmup_epochs),
        ("fit.patience", fit.patience),
        ("fit.min_delta", fit.min_delta),
        ("objective.noise_std", objective.noise_std),
        ("objective.l1", objective.l1),
        ("objective.sparsity_weight", objective.sparsity_weight),
        ("objective.contractive", objective.contractive),
        ("objective.beta", objective.beta),
        ("score.beta", score.beta),
    ]
    bounds += [(name, number, number == 0 or _positive(number), "0 or more") for name, number in weights]
    for name in ("sampling_rate_hz", "max_gap_ms", "max_hold_ms"):
        number = getattr(window, name)
        bounds.append((f"window.{name}", number or 0.0, number is None or _positive(number), "positive"))
    for name in ("before_ms", "after_ms"):
        bounds.append((f"window.{name}", getattr(window, name), _positive(getattr(window, name)), "positive"))
    learnt = window.template_beats
    bounds.append(("window.template_beats", learnt, spec.is_odd_square(learnt), "0, or the square of an odd number"))
    return bounds


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
        elif isinstance(value, dict) and (inner := _form_of(kinds.get(key), value)) is not None:
            problems += _unknown_keys(value, inner, f"{place}{key}.")
    return problems


def _form_of(kind: Any, value: dict[str, Any]) -> type[msgspec.Struct] | None:
    """The struct that `value` is meant to be: of a union the one that it says it is."""
    forms = [form for form in get_args(kind) or (kind,) if isinstance(form, type) and issubclass(form, msgspec.Struct)]
    if len(forms) == 1:
        return forms[0]
    return next((form for form in forms if form.__struct_config__.tag == value.get("kind")), None)


def _meant(name: str, known: tuple[str, ...] | list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
