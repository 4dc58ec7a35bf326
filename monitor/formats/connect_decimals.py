"""Decimals as Kafka Connect's JsonConverter and Debezium write them: the bytes of a whole number, in base64.

The schema beside the payload says their scale: how many of the digits come after the point. Without it such a text is
refused.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Iterator
from typing import Any

Path = tuple[str, ...]
_DECIMAL = "org.apache.kafka.connect.data.Decimal"
_VARIABLE = "io.debezium.data.VariableScaleDecimal"  # an object with a scale of its own
_DEEPEST, _MOST_DIGITS, _LONGEST = 32, 300, 1024  # levels of a schema, digits of a scale, characters of a number


def decimals(schema: Any) -> dict[Path, int | None]:
    """Where a payload of this schema has decimals, and the digits after the point; None: each says them itself."""
    return dict(_found(schema, ()))


def _found(schema: Any, path: Path) -> Iterator[tuple[Path, int | None]]:
    if not isinstance(schema, dict) or len(path) > _DEEPEST:
        return
    if schema.get("name") == _VARIABLE:
        yield path, None
    elif schema.get("name") == _DECIMAL:
        parameters = schema.get("parameters")
        scale = _whole(parameters.get("scale") if isinstance(parameters, dict) else None)
        if scale is not None:
            yield path, scale
    fields = schema.get("fields")
    for field in fields if isinstance(fields, list) else ():
        if isinstance(field, dict) and isinstance(field.get("field"), str):
            yield from _found(field, (*path, field["field"]))


def put_numbers(payload: Any, decimals_at: Iterable[tuple[Path, int | None]]) -> None:
    """Puts numbers where a payload has decimals; what is none stays as it is."""
    for (*way, name), scale in decimals_at:
        inside = payload
        for step in way:
            inside = inside.get(step) if isinstance(inside, dict) else None
        if isinstance(inside, dict) and name in inside:
            inside[name] = _number(inside[name], scale)


def _number(value: Any, scale: int | None) -> Any:
    if scale is None:
        if not isinstance(value, dict):
            return value
        own = _whole(value.get("scale"))
        return value if own is None else _number(value.get("value"), own)
    if not isinstance(value, str | bytes) or not 0 < len(value) <= _LONGEST:
        return value
    try:
        raw = value if isinstance(value, bytes) else base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return value
    unscaled = int.from_bytes(raw, "big", signed=True)
    try:
        return unscaled / 10**scale if scale >= 0 else float(unscaled * 10**-scale)
    except OverflowError:
        return math.inf


def _whole(value: Any) -> int | None:
    """A scale that can be believed."""
    try:
        scale = int(value) if isinstance(value, int | str) else None
    except ValueError:
        return None
    return scale if scale is not None and abs(scale) <= _MOST_DIGITS else None
