"""The `.ts` files of the UEA and UCR archives: a header of `@` lines, then one case a line.

    @classLabel true walking running
    @data
    1.5,?,2.0:0.1,0.2,0.3:walking            dimensions between colons, the class last

References: Bagnall et al. 2018, "The UEA multivariate time series classification archive", arXiv:1811.00075.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monitor.errors import DataError
from training.datasets.cases import Cases, lines_of, one_length, samples_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    classes: tuple[str, ...] | None
    regression: bool
    first_line: int


def parse(path: Path, text: str, *, want_labels: bool = True) -> Cases:
    """The cases of a `.ts` file.

    Raises:
        DataError: the header is not whole or says what is not read here (time stamps), or a line is not a case.
    """
    lines = lines_of(path, text)
    header = _header(path, lines)
    if header.regression and want_labels:
        raise DataError(f"{path}: its targets are numbers to predict, not classes; read it with --label-column none")
    ends_in_label = header.classes is not None or header.regression
    classes = header.classes if want_labels else None
    known = frozenset(classes or ())
    values, labels, places = [], [], []
    for line, row in enumerate(lines[header.first_line :], header.first_line + 1):
        if not (row := row.strip()) or row.startswith(("#", "%")):
            continue
        *dimensions, label = row.split(":") if ends_in_label else [*row.split(":"), ""]
        label = label.strip()
        if classes is not None and label not in known:
            raise DataError(f"{path}, line {line}: class {label[:40]!r}; the header names {', '.join(classes[:20])}")
        if not dimensions:
            raise DataError(f"{path}, line {line}: no samples; expected numbers, a colon, and the class")
        found = [samples_of(path, line, at, cells.split(",")) for at, cells in enumerate(dimensions)]
        values.append(one_length(path, line, found))
        labels.append(label)
        places.append(line)
    return Cases(values=values, lines=places, labels=None if classes is None else labels, classes=classes or ())


def _header(path: Path, lines: list[str]) -> _Header:
    classes: tuple[str, ...] | None = None
    regression = False
    for line, row in enumerate(lines, 1):
        tag, *words = row.split() or [""]
        tag, says_yes = tag.lower(), bool(words) and words[0].lower() == "true"
        if tag == "@data":
            return _Header(classes=classes, regression=regression, first_line=line)
        if tag and not tag.startswith(("@", "#", "%")):
            raise DataError(f"{path}, line {line}: {row.strip()[:40]!r} before @data; a header has @ lines only")
        if tag == "@timestamps" and says_yes:
            raise DataError(f"{path}, line {line}: cases with time stamps are not read; write them as values only")
        if tag == "@targetlabel":
            regression = says_yes
        if tag == "@classlabel" and says_yes:
            classes = tuple(words[1:])
            if not classes or len(set(classes)) < len(classes):
                raise DataError(f"{path}, line {line}: @classLabel true, and no classes or one twice; name each once")
    raise DataError(f"{path}: no line @data; a .ts file has a header of @ lines, @data, then one case a line")
