"""Recipes, which decide what is trained: `schema` says what one may hold, `loading` reads and checks it."""

from training.recipes.loading import load, override, parse, shipped, text

__all__ = ["load", "override", "parse", "shipped", "text"]
