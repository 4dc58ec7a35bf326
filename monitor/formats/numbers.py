"""What is a number in a record, and what says that there is none.

A missing number is null, or what producers make of one: NaN as C, Python, R and JavaScript print it, bare or as text,
and texts that say that there is none (`monitor.detector.missing`). `input.missing_values` declares others, such as
-9999, and `input.text_numbers` has numbers read that are written as text. Infinity is refused; so is any other text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from monitor.detector.arrays import BoolArray, Float32Array, Float64Array
from monitor.detector.missing import is_missing
from monitor.errors import Reason, RecordError

_NUMBER_TEXT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?", re.ASCII)
_STRING_OR_INFINITY = re.compile(rb'"(?:[^"\\]+|\\.?)*+"?|(?<![\w.])inf(?:inity)?(?![\w.])', re.DOTALL | re.IGNORECASE)
_OF_DECIMALS = (
    "; decimals in base64, as Kafka Connect and Debezium write them, need their schema (schemas.enable); or have "
    "numbers written: decimal.format = NUMERIC of the JsonConverter, decimal.handling.mode = double of Debezium"
)
# Forms of texts, and what whoever writes them can do
_HINTS = (
    (re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", re.ASCII), " without separators of thousands"),
    (re.compile(r"[+-]?[\d.,]+(?:[eE][+-]?\d+)? ?[^\d\s.,=][^\d=]{0,15}"), " alone, without a unit"),
    (re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE), "; infinity is none"),
    (re.compile(r"(?:[A-Za-z0-9+/]{4})*[A-Za-z0-9+/]{2,3}={1,2}"), _OF_DECIMALS),
)
_KINDS: dict[type, str] = {dict: "an object", list: "a list", tuple: "a list", bytes: "binary"}
_SHOWN = 40  # characters of a value in a message


class Numbers:
    """Reads single numbers, and settles columns of them, by the options of `input`."""

    def __init__(self, missing_values: Sequence[float | str] = (), *, text_numbers: bool = False) -> None:
        self._words = {value.strip().lower() for value in missing_values if isinstance(value, str)}
        self._missing = np.array([value for value in missing_values if not isinstance(value, str)], dtype=np.float64)
        self.texts = text_numbers
        self._says_numbers = any(not math.isnan(_float_or_nan(word)) for word in self._words)
        self._missing_values = missing_values

    def of_texts(self) -> Numbers:
        """The same, where all numbers are written as text."""
        return Numbers(self._missing_values, text_numbers=True)

    def one(self, value: Any, name: str) -> float:
        """A number, NaN where it is missing; `name` is the field that holds it.

        Raises:
            RecordError: it is none.
        """
        if value is None:
            return math.nan
        if is_number(value):
            return as_float(value)
        if isinstance(value, str):
            text = value.strip()
            if text.lower() in self._words or is_missing(text):
                return math.nan
            if self.texts and is_number_text(text):
                return float(text)
        raise RecordError(Reason.WRONG_TYPE, f"{name} is {shown(value)}, expected a number{self._hint(value)}")

    def each(self, texts: Sequence[str]) -> tuple[Float64Array, BoolArray]:
        """Numbers that are written as text (n,), as `one` reads each; and which of them it refuses."""
        try:
            numbers = np.fromiter(map(float, texts), np.float64, len(texts))
        except ValueError:
            numbers = np.fromiter(map(_float_or_nan, texts), np.float64, len(texts))
        unsure = ~np.isfinite(numbers)
        every = "".join(texts)
        if "_" in every or not every.isascii() or self._says_numbers or not self.texts:  # Python reads more as a number
            unsure[:] = True
        refused, known = np.zeros(len(texts), dtype=np.bool_), dict[str, float | None]()
        for index in np.flatnonzero(unsure).tolist():
            text = texts[index]
            number = known[text] if text in known else known.setdefault(text, self._or_none(text))
            numbers[index], refused[index] = math.nan if number is None else number, number is None
        return numbers, refused

    def _or_none(self, text: str) -> float | None:
        try:
            return self.one(text, "")
        except RecordError:
            return None

    def _hint(self, value: Any) -> str:
        if not isinstance(value, str):
            return ""
        text = value.strip()
        if _DECIMAL_COMMA.fullmatch(text) is not None:
            return " with a decimal point, not a comma"
        if not self.texts and is_number_text(text):
            return "; input.text_numbers = true reads numbers that are written as text"
        return next(
            (hint for form, hint in _HINTS if form.fullmatch(text) is not None),
            "; input.missing_values lists what stands for a missing number",
        )

    def settle(self, numbers: Float64Array) -> Float64Array:
        """`numbers` of any shape with NaN for those that mean missing, in place."""
        if len(self._missing):
            numbers[np.isin(numbers, self._missing)] = np.nan
        return numbers

    def settle_float32(self, numbers: Float32Array) -> Float32Array:
        """Likewise, for numbers that were float32 when they were written; `numbers` is left as it is."""
        if not len(self._missing):
            return numbers
        with np.errstate(over="ignore"):
            missing = np.isin(numbers, self._missing.astype(np.float32))
        return np.where(missing, np.float32(np.nan), numbers)


def has_infinity(value: bytes) -> bool:
    """Whether a bare infinity, as C, Python and JavaScript print it, stands in a value."""
    return any(found[0][-1:] in b"yYfF" for found in _STRING_OR_INFINITY.finditer(value))


def is_number_text(text: str) -> bool:
    """Whether a text is a number, with a decimal point."""
    return _NUMBER_TEXT.fullmatch(text) is not None


def _float_or_nan(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def as_float(number: float) -> float:
    """A number of any size as a float; one that is too large is infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def is_number(value: Any) -> TypeGuard[float]:
    """A number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """A value in a message: what kind it is, and its beginning."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"the text {value[:_SHOWN]!r}" + ("..." if len(value) > _SHOWN else "")
    if is_number(value):
        return f"the number {str(value)[:_SHOWN]}"
    return _KINDS.get(type(value), f"of type {type(value).__name__}")
