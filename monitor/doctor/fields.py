"""Fields of records, or columns of files: what stands in them, and what it may be good for.

Rules of this file: pure. A role is a guess from content first and names second; the report says why.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from msgspec import UNSET

from monitor.datafiles import dates
from monitor.detector import missing
from monitor.detector.arrays import Float64Array, Int64Array
from monitor.detector.times import NEWEST_US, NO_TIME, OLDEST_US, numbers_us, texts_us
from monitor.formats.numbers import is_number, is_number_text

MOST_DEPTH = 6
_LOOK_AT = 200  # texts
_DAY_US = 86_400_000_000
_MOST_WORDS = 5  # among numbers
_SHARE = 0.9  # of values that make a field what most of them are
_DISTINCT = 0.5  # of values, at most, where a field names something that has more than one record

_MOSTLY = 0.5  # of values, at least, are times where the field's name says that they are
_CALLED_TIME = re.compile(r"time|date|stamp|epoch|clock|utc|when|(?:^|[^a-z])(?:ts|t|at)(?:$|[^a-z])", re.IGNORECASE)
_FIRST_S = 1.26e9  # 2009-12: numbers that no name calls times are none before; there were few topics then
_LATER = re.compile(r"receiv|ingest|process|creat|insert|publish|updat|kafka|server|source")
_QUALITY = re.compile(r"(^|[._-])(q|quality|qualities|status|good|valid|validity|is_?good|opc_?quality)$", re.I)
_LABEL = re.compile(r"(^|[._-])(label|labels|anomaly|is_?anomaly|changepoint|class|target|attack|ground_?truth)$", re.I)
_NAME = re.compile(
    r"(^|[._-])(host|hostname|device|sensor|machine|asset|unit|engine|pump|station|node|equipment|id|name|series|tag|"
    r"source|patient|bed|serial|mac|instance|topic|entity)(_?(id|name|no|nr))?$|id$",
    re.I,
)
# Of whole numbers only what is called so; a pump or a node may be on or off.
_NUMBERED = re.compile(
    r"(^|[._-])(device|sensor|machine|asset|unit|engine|station|node|pump|meter|patient)_?(id|no|nr|number)$|(Id|ID|Nr|No)$|"
    r"^(unit|device|machine|engine|asset|sensor|station)$"
)
_GOOD = {"good", "ok", "192", "true", "valid", "1", "normal", "g"}
_BAD = {"bad", "uncertain", "0", "false", "invalid", "error", "stale", "substituted", "64", "questionable", "b", "u"}


@dataclass(slots=True)
class Field:
    """One field: its path, what it holds in each entry (`UNSET`: nothing), and whether the record around has it."""

    path: str
    values: list[Any]
    around: bool = False
    role: str = ""
    why: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """The last name of its path."""
        return PARTS.split(self.path)[-1].replace("\\", "")


@dataclass(slots=True)
class FieldLine:
    """A field as the report shows it."""

    path: str
    role: str
    seen: str
    missing: float


PARTS = re.compile(r"(?<!\\)\.")


class Content:
    """What a field's values are, counted once."""

    def __init__(self, found: Field) -> None:
        self.values = found.values
        self.there = [value for value in found.values if value is not UNSET]
        said = [value for value in self.there if not is_missing(value)]
        self.missing = len(self.there) - len(said)
        self.said = said
        kinds = Counter("number" if is_number(value) else type(value).__name__ for value in said)
        self.kind = kinds.most_common(1)[0][0] if kinds else "nothing"
        self.texts = [value for value in said if isinstance(value, str)]

    @cached_property
    def is_number(self) -> bool:
        """Whether nearly all are numbers."""
        return bool(self.said) and sum(map(is_number, self.said)) >= _SHARE * len(self.said)

    @cached_property
    def is_text_number(self) -> bool:
        """Whether nearly all are numbers that are written as text."""
        return bool(self.texts) and sum(map(is_text_number, self.texts)) >= _SHARE * len(self.said)

    @cached_property
    def has_decimal_commas(self) -> bool:
        """Whether texts are numbers with a decimal comma."""
        return (
            bool(self.texts) and sum(bool(_COMMA.fullmatch(each.strip())) for each in self.texts) > len(self.said) / 2
        )

    @cached_property
    def numbers(self) -> Float64Array:
        """Each entry's number (n,), NaN where there is none."""
        return np.array([as_number(value) for value in self.values], dtype=np.float64)

    @cached_property
    def finite(self) -> Float64Array:
        """The numbers that are there."""
        return self.numbers[np.isfinite(self.numbers)]

    @cached_property
    def distinct(self) -> Counter[str]:
        """How often each value is there, as text."""
        return Counter(str(value) for value in self.said if not isinstance(value, dict | list))

    @cached_property
    def times_us(self) -> Int64Array:
        """Each entry's value as a time (n,), `NO_TIME` where it is none."""
        found = np.full(len(self.values), NO_TIME, dtype=np.int64)
        rows = [row for row, value in enumerate(self.values) if is_number(value)]
        found[rows] = numbers_us(np.array([float(self.values[row]) for row in rows], dtype=np.float64))
        rows = [row for row, value in enumerate(self.values) if isinstance(value, str)]
        found[rows] = texts_us([self.values[row] for row in rows], "auto")
        rows = [row for row, value in enumerate(self.values) if isinstance(value, datetime)]
        found[rows] = [round(self.values[row].timestamp() * 1e6) for row in rows]
        found[(found < OLDEST_US) | (found >= NEWEST_US)] = NO_TIME
        return found

    @property
    def time_share(self) -> float:
        """Which share of the values can be a time."""
        return float((self.times_us != NO_TIME).sum()) / max(1, len(self.there))


def flatten(entries: Sequence[Any], *, around: bool = False, skip: str = "") -> dict[str, Field]:
    """The fields of entries that are dictionaries, by path; lists stay as they are. `skip` is a path to leave out."""
    found: dict[str, Field] = {}
    for row, entry in enumerate(entries):
        for path, value in _leaves(entry, "", 0):
            if path == skip:
                continue
            if path not in found:
                found[path] = Field(path, [UNSET] * len(entries), around)
            found[path].values[row] = value
    return found


def _leaves(entry: Any, path: str, depth: int) -> Iterable[tuple[str, Any]]:
    if not isinstance(entry, dict) or depth == MOST_DEPTH:
        yield path, entry
        return
    for name, value in entry.items():
        below = f"{path}{'.' if path else ''}{escaped(str(name))}"
        yield from _leaves(value, below, depth + 1)


def escaped(name: str) -> str:
    """A name as a part of a path."""
    return name.replace("\\", "\\\\").replace(".", "\\.")


def can_be_named(name: str) -> bool:
    """Whether decoders and `telltale train --channels` take a name of a field or a channel."""
    return bool(name.strip()) and name.isprintable() and not set(name) & set('",\\')


def is_missing(value: Any) -> bool:
    """What producers write for a number that is not there."""
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and missing.is_missing(value))
    )


def is_text_number(text: str) -> bool:
    """Whether a text is a number."""
    return is_number_text(text.strip())


_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)


def as_number(value: Any) -> float:
    """A number, also one written as text; NaN for anything else."""
    try:
        if is_number(value) or (isinstance(value, str) and is_text_number(value)):
            return float(value)
        return float(value) if isinstance(value, bool) else math.nan
    except (OverflowError, ValueError):
        return math.nan


def classify(fields: Iterable[Field], owner: Sequence[Any] = ()) -> None:
    """Gives each field a role and says why; `owner` names each entry's series, as far as it is known."""
    for each in fields:
        if not each.role:
            each.role, each.why = _role(each, Content(each), owner)


def _role(found: Field, content: Content, owner: Sequence[Any]) -> tuple[str, str]:
    if not content.said:
        return "other", "empty in all records"
    if content.kind in ("list", "bytes"):
        return ("chunk", "a list of numbers") if _is_chunk(content) else ("other", "a list")
    return _role_of_values(found, content, owner)


def _role_of_values(found: Field, content: Content, owner: Sequence[Any]) -> tuple[str, str]:
    if _is_quality(found, content):
        return "quality", listed(content)
    if is_time(found, content):
        return "time", unit(content)
    if (what := _odd_time(found, content)) and not content.is_number:
        return "other", what
    if content.is_number or content.is_text_number or content.kind == "bool":
        return _role_of_numbers(found, content, owner)
    return _role_of_texts(content)


def is_called_time(found: Field) -> bool:
    """Whether a field's name speaks of time."""
    return _CALLED_TIME.search(found.name) is not None


def _odd_time(found: Field, content: Content) -> str:
    """What texts are that tell the time in a way in which a record's is not read; empty where they don't."""
    texts = [text for text in content.texts[:_LOOK_AT] if not is_text_number(text)]
    if not texts:
        return ""
    if all(map(dates.is_time_of_day, texts)):
        return f"times of day without a date, as {texts[0]}"
    if 0 < content.time_share < _MOSTLY and is_called_time(found):
        return f"a time in {content.time_share:.0%} of the records only, as {texts[0]}"
    if not all(map(dates.looks_like_time, texts)):
        return ""
    if all(map(dates.is_date, texts)) and content.time_share == 1:
        return f"dates without a time of day, as {texts[0]}"
    return f"times in a form that is not read, as {texts[0]}"


def _role_of_texts(content: Content) -> tuple[str, str]:
    if content.has_decimal_commas:
        return "other", "numbers with a decimal comma, as text"
    few = len(content.distinct) <= max(1, _DISTINCT * len(content.said))
    return ("name", listed(content)) if few else ("other", "text that differs from record to record")


def _role_of_numbers(found: Field, content: Content, owner: Sequence[Any]) -> tuple[str, str]:
    if content.kind == "bool":
        return "other", f"true or false: {listed(content)}"
    if _LABEL.search(found.name) and (content.finite == np.rint(content.finite)).all() and len(content.distinct) <= 20:
        return "label", f"whole numbers, {listed(content)}"
    if why := counts(content, owner):
        return "counter", why
    if _is_number_of_something(found, content):
        return "name", listed(content)
    if len(np.unique(content.finite)) <= 1:
        return "constant", f"always {content.finite[0]:g}" if len(content.finite) else "no number"
    same = _is_the_same_in_each(content, owner)
    return ("constant", f"one number in each series, {listed(content)}") if same else ("channel", "")


def _is_number_of_something(found: Field, content: Content) -> bool:
    """Whether whole numbers, each of which is there often, are those of devices, as the field's name says."""
    numbers = content.finite
    few = 1 < len(content.distinct) <= _DISTINCT * len(content.said)
    return few and _NUMBERED.search(found.name) is not None and bool((numbers == np.rint(numbers)).all())


def _is_the_same_in_each(content: Content, owner: Sequence[Any]) -> bool:
    """Whether a number never changes within a series, of which there are several that differ in it."""
    seen: dict[Any, set[float]] = {}
    for name, number in zip(owner, content.numbers.tolist(), strict=False):
        if not math.isnan(number):
            seen.setdefault(name, set()).add(number)
    varies = len({*map(frozenset, seen.values())}) > 1
    return varies and all(len(numbers) == 1 for numbers in seen.values()) and len(content.said) >= 5 * len(seen)


def _is_chunk(content: Content) -> bool:
    lists = [value for value in content.said if isinstance(value, list | bytes)]
    return bool(lists) and all(
        isinstance(value, bytes)
        or (value and all(is_number(each) or each is None or isinstance(each, list) for each in value))
        for value in lists[:50]
    )


def _is_quality(found: Field, content: Content) -> bool:
    if not _QUALITY.search(found.name) or len(content.distinct) > 12:
        return False
    words = {(f"{each:g}" if is_number(each) else str(each)).strip().lower() for each in content.said}
    return bool(words & _GOOD) and (words <= _GOOD | _BAD or "good" in words or content.kind == "bool")


def good_values(content: Content) -> list[Any]:
    """The values of a quality field that say that a reading is to be believed."""
    seen = {str(value): value for value in content.said}
    return [value for text, value in seen.items() if text.strip().lower() in _GOOD]


def is_time(found: Field, content: Content) -> bool:
    """Whether a field's values are times: they can be, and its name or they themselves say so."""
    if content.kind in ("bool", "nothing"):
        return False
    named = is_called_time(found)
    if content.time_share < (_MOSTLY if named else _SHARE):
        return False
    known = content.times_us[content.times_us != NO_TIME]
    if content.kind == "datetime":
        return True
    if content.texts and not content.is_text_number:
        texts = content.texts[:_LOOK_AT]
        return not (all(map(dates.is_date, texts)) and len({*texts}) < len(texts))
    return named or bool((known >= _FIRST_S * 1e6).all() and _is_even(known))


def _is_even(times_us: Int64Array) -> bool:
    """Whether times, each once, go on by even steps of less than a day, as no other large numbers do."""
    steps = np.diff(np.unique(times_us)).astype(np.float64)
    usual = float(np.median(steps)) if len(steps) else 0.0
    return 0 < usual < _DAY_US and float((np.abs(steps - usual) <= 0.1 * usual).mean()) >= _SHARE


def unit(content: Content) -> str:
    """How the times of a field are written."""
    if content.kind == "datetime":
        return "timestamps of MessagePack's own"
    if content.texts and not content.is_text_number:
        return f"text, as {content.texts[0][:40]}"
    largest = float(np.median(np.abs(content.finite))) if len(content.finite) else 0.0
    units = ("s", "ms", "us", "ns")
    at = int(np.searchsorted([1e11, 1e14, 1e17], largest, side="right"))
    written = "numbers as text" if content.is_text_number else "numbers"
    return f"{units[at]} since 1970, {written}"


def counts(content: Content, owner: Sequence[Any]) -> str:
    """Why a field's numbers count something, of the file or of each series; empty if they don't."""
    numbers = content.numbers
    if len(content.finite) < 5 or (content.finite != np.rint(content.finite)).any():
        return ""
    groups: dict[Any, list[float]] = {}
    for row, number in enumerate(numbers.tolist()):
        if not math.isnan(number):
            groups.setdefault(owner[row] if row < len(owner) else None, []).append(number)
    steps = np.concatenate([np.diff(each) for each in groups.values()] or [np.empty(0)])
    if not len(steps):
        return ""
    usual = float(np.median(steps))
    share = float((steps == usual).mean())
    if usual > 0 and share >= _SHARE and (steps > 0).mean() >= 0.95:
        return f"counts: rises by {usual:g} from record to record"
    return ""


def words(content: Content) -> list[str]:
    """Texts among numbers that are none, and are there more than once: they say that there is no number."""
    if not content.texts or not (content.is_number or content.is_text_number):
        return []
    odd = Counter(text.strip() for text in content.texts if not is_text_number(text))
    return sorted(text for text, count in odd.items() if count > 1 and text and text.isprintable())[:_MOST_WORDS]


def listed(content: Content, most: int = 4) -> str:
    """The values that are there most often."""
    found = content.distinct.most_common(most)
    text = ", ".join(each[:40] for each, _ in found)
    return text + (f", ... ({len(content.distinct)} in all)" if len(content.distinct) > most else "")


def time_rank(found: Field) -> tuple[int, ...]:
    """Orders the fields that are times: which is most likely when a sample was taken comes first."""
    name = found.name.lower()
    usual = ("ts", "timestamp", "@timestamp", "time", "datetime", "date", "event_time", "eventtime", "t")
    at = usual.index(name) if name in usual else len(usual)
    return (bool(_LATER.search(found.path.lower())), found.around, at, found.path.count("."))


def name_rank(found: Field) -> tuple[int, ...]:
    """Orders the fields that name something: which is most likely the series comes first."""
    content = Content(found)
    usual = bool(_NAME.search(found.name))
    several = len(content.distinct) > 1
    return (not usual, not several, found.path.count("."), -len(content.distinct))


def line_of(found: Field) -> FieldLine:
    """A field as the report shows it."""
    content = Content(found)
    absent = sum(value is UNSET for value in found.values)
    share = (content.missing + absent) / max(1, len(found.values))
    return FieldLine(found.path, found.role, found.why or _range(content), share)


def _range(content: Content) -> str:
    finite = content.finite
    if not len(finite):
        return ""
    text = f"{finite.min():.6g} to {finite.max():.6g}, usually {np.median(finite):.6g}"
    return f"{text}; numbers as text" if content.is_text_number and not content.is_number else text
