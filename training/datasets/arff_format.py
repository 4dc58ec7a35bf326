r"""The `.arff` files of the UEA and UCR archives: attributes that are samples, or one relational attribute.

    @attribute att0 numeric                  a sample each
    @attribute target {1,2}                  the class: nominal
    @data
    0.1,0.2,1
    '0.1,0.2\n0.3,0.4',walking               relational: a line of text for each dimension, `\n` written out

References: https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.datafiles import LABEL_NAMES
from monitor.datafiles.cells import as_number
from monitor.errors import DataError
from training.datasets.cases import Cases, lines_of, one_length, samples_of

_NUMERIC = ("numeric", "real", "integer")
_QUOTES = "'\""


@dataclass(frozen=True, slots=True)
class _Attribute:
    """`kind` is numeric, nominal (with its `classes`) or relational."""

    name: str
    kind: str
    classes: tuple[str, ...] = ()


def parse(path: Path, text: str, *, label_column: str | None = None) -> Cases:
    """The cases of an `.arff` file.

    Args:
        path: for messages.
        text: the file's.
        label_column: an attribute's name, or "none". Default: the nominal attribute, or one called like a label.

    Raises:
        DataError: says which line, and what was expected.
    """
    lines = lines_of(path, text)
    attributes, first_line = _header(path, lines)
    label_at = _label(path, attributes, label_column)
    sample_at = [at for at, each in enumerate(attributes) if at != label_at and each.kind != "nominal"]
    relational = [at for at in sample_at if attributes[at].kind == "relational"]
    if len(relational) > 1 or (relational and len(sample_at) > 1) or not sample_at:
        raise DataError(f"{path}: expected numeric attributes, or one relational one, and a nominal one for the class")
    known = frozenset(() if label_at is None else attributes[label_at].classes)
    values, labels, places = [], [], []
    for line, row in enumerate(lines[first_line:], first_line + 1):
        if not (row := row.strip()) or row.startswith("%"):
            continue
        if row.startswith("{"):
            raise DataError(f"{path}, line {line}: a sparse row is not read; write all values")
        cells = list(_cells(row))
        if len(cells) != len(attributes):
            raise DataError(f"{path}, line {line}: {len(cells)} cells, expected {len(attributes)}, one per attribute")
        if relational:
            parts = cells[relational[0]].replace("\\n", "\n").split("\n")
        else:
            parts = [",".join(cells[at] for at in sample_at)]
        found = [samples_of(path, line, at, part.split(",")) for at, part in enumerate(parts)]
        values.append(one_length(path, line, found))
        places.append(line)
        if label_at is not None:
            labels.append(_class(path, line, attributes[label_at], known, cells[label_at].strip()))
    if label_at is None:
        return Cases(values=values, lines=places)
    classes = attributes[label_at].classes or tuple(sorted(set(labels)))
    return Cases(values=values, lines=places, labels=labels, classes=classes)


def _class(path: Path, line: int, attribute: _Attribute, known: frozenset[str], cell: str) -> str:
    if attribute.kind == "nominal":
        if cell not in known:
            said = ", ".join(attribute.classes[:20])
            raise DataError(f"{path}, line {line}: class {cell[:40]!r}; attribute {attribute.name} names {said}")
        return cell
    try:
        return str(int(number)) if (number := as_number(cell)).is_integer() else str(int(cell))
    except (ValueError, OverflowError):
        raise DataError(f"{path}, line {line}: label {cell[:40]!r}; labels must be whole numbers") from None


def _label(path: Path, attributes: Sequence[_Attribute], wanted: str | None) -> int | None:
    if wanted == "none":
        return None
    names = [each.name for each in attributes]
    if wanted is not None:
        if wanted not in names:
            raise DataError(f"{path}: no attribute {wanted!r}; there are: {', '.join(names[-50:])}")
        if attributes[names.index(wanted)].kind == "relational":
            raise DataError(f"{path}: attribute {wanted!r} is relational, no label")
        return names.index(wanted)
    nominal = [at for at, each in enumerate(attributes) if each.kind == "nominal"]
    if len(nominal) > 1:
        found = ", ".join(names[at] for at in nominal[:20])
        raise DataError(f"{path}: several nominal attributes: {found}; say --label-column, or none")
    called = [at for at, name in enumerate(names) if name.lower() in LABEL_NAMES]
    return next(iter([*nominal, *called]), None)


def _header(path: Path, lines: Sequence[str]) -> tuple[list[_Attribute], int]:
    """The attributes, and how many lines the header has."""
    found: list[_Attribute] = []
    inside = ""  # the relational attribute whose parts follow
    for line, row in enumerate(lines, 1):
        words = row.strip().split(None, 1)
        tag = words[0].lower() if words else ""
        if tag == "@data":
            return found, line
        if tag == "@end":
            inside = ""
        elif tag == "@attribute" and not inside:
            found.append(_attribute(path, line, words[1] if len(words) > 1 else ""))
            inside = found[-1].name if found[-1].kind == "relational" else ""
        elif tag and not tag.startswith(("%", "@relation", "@attribute")):
            raise DataError(f"{path}, line {line}: {row.strip()[:40]!r} before @data; expected @attribute NAME TYPE")
    raise DataError(f"{path}: no line @data; an .arff file has @attribute lines, @data, then one case a line")


def _attribute(path: Path, line: int, text: str) -> _Attribute:
    text = text.strip()
    if text[:1] in _QUOTES and text[:1]:
        name, _, form = text[1:].partition(text[0])
    else:
        name, _, form = text.replace("\t", " ").partition(" ")
    form = form.strip()
    if form.startswith("{") and form.endswith("}"):
        classes = tuple(cell.strip() for cell in _cells(form[1:-1]))
        if len(set(classes)) == len(classes) and all(classes):
            return _Attribute(name, "nominal", classes)
    kind = form.split()[0].lower() if form else ""
    if not name or (kind not in _NUMERIC and kind != "relational"):
        raise DataError(
            f"{path}, line {line}: attribute {text[:60]!r} is not read; expected NAME and numeric, relational, or "
            "{its classes, each once}"
        )
    return _Attribute(name, "relational" if kind == "relational" else "numeric")


def _cells(row: str) -> Iterator[str]:
    """Cells between commas; a quoted one may hold commas."""
    at = 0
    while True:
        while at < len(row) and row[at] in " \t":
            at += 1
        if at < len(row) and row[at] in _QUOTES:
            end = row.find(row[at], at + 1)
            end = len(row) if end < 0 else end
            yield row[at + 1 : end]
            comma = row.find(",", end)
        else:
            comma = row.find(",", at)
            yield row[at : comma if comma >= 0 else len(row)]
        if comma < 0:
            return
        at = comma + 1
