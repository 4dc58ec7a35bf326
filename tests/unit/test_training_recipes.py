"""Recipes are strict, and those that are shipped are sound."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from monitor.detector import architectures
from monitor.errors import DataError
from training import recipes

SLIDING = (Path(recipes.__file__).parent / "sliding.toml").read_text()


@pytest.mark.parametrize("name", recipes.shipped())
def test_shipped_recipes_load_and_say_what_to_expect(name: str) -> None:
    recipe = recipes.load(name)
    assert recipe.name == name
    assert recipe.description
    text = (Path(recipes.__file__).parent / f"{name}.toml").read_text()
    assert "Expected" in text.split("\nname =")[0]


def test_every_kind_of_model_has_a_shipped_recipe() -> None:
    kinds = {type(architectures.single(recipes.load(name).model)) for name in recipes.shipped()}
    assert kinds == set(get_args(architectures.Single))
    assert {"ecg-beats", "ecg5000-tutorial", "sliding", "beats-ensemble"} <= set(recipes.shipped())


@pytest.mark.parametrize("name", recipes.shipped())
def test_a_recipe_as_text_is_the_recipe(name: str) -> None:
    recipe = recipes.load(name)
    assert recipes.parse(recipes.text(recipe), name) == recipe


def test_a_file_is_a_recipe_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SLIDING)
    assert recipes.load(str(path)) == recipes.load("sliding")
    with pytest.raises(DataError, match="can't be read"):
        recipes.load(str(tmp_path / "none.toml"))


def test_an_unknown_name_says_which_was_meant() -> None:
    with pytest.raises(DataError, match="did you mean sliding"):
        recipes.load("slidng")


def test_all_unknown_keys_are_told_at_once_with_what_was_meant() -> None:
    text = SLIDING.replace("epochs =", "epoch =").replace("widths =", "width =").replace("name =", "nmae =")
    with pytest.raises(DataError) as caught:
        recipes.parse(text, "here")
    for told in ("fit.epoch (did you mean epochs?)", "model.width (did you mean widths?)", "nmae (did you mean name?)"):
        assert told in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("epochs = 100\nmin_steps = 3000", "epochs = 0", "fit.epochs is 0"),
        ("min_steps = 3000", "min_steps = -1", "fit.min_steps is -1"),
        ("[fit]", '[fit]\nmethod = "exact"', "of one width, with linear activations; .* objective.loss must be"),
        ("learning_rate = 1e-3", "learning_rate = nan", "fit.learning_rate"),
        ("epochs = 100", 'epochs = "many"', "fit.epochs"),
        ("calibration = 0.25", "calibration = 0.0", "held-out"),
        ('kind = "time"', 'kind = "random"', 'split by "time"'),
        ("hop = 8", "hop = 0", "window.hop"),
        ("quantile = 0.99", "quantile = 99", "threshold.quantile is 99"),
        ('kind = "auto"', 'kind = "robst"', "robst"),
        ("epochs = 100", "epochs = ", "not TOML"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, told: str) -> None:
    assert old in SLIDING
    with pytest.raises(DataError, match=told):
        recipes.parse(SLIDING.replace(old, new), "here")


def test_numbers_of_the_command_line_leave_the_rest_of_the_rule() -> None:
    plant = recipes.load("plant")
    assert recipes.override(plant, quantile=0.999).threshold == plant.threshold
    still = msgspec.structs.replace(plant, threshold=msgspec.structs.replace(plant.threshold, follow="off"))
    assert recipes.override(still, alarms_per_day=1.0).threshold.follow == "off"


def test_overrides() -> None:
    recipe = recipes.override(recipes.load("sliding"), epochs=3, length=10, hop=2, quantile=0.5, normal_class=4)
    assert (recipe.fit.epochs, recipe.window.length, recipe.window.hop) == (3, 10, 2)
    assert (recipe.threshold.quantile, recipe.normal_class) == (0.5, 4)
    assert recipes.override(recipe, max_hold_ms=30_000).window.max_hold_ms == 30_000
    with pytest.raises(DataError, match="held-out"):
        recipes.override(recipes.load("ecg5000-tutorial"), quantile=0.99)
