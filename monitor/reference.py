"""Reference documentation of options and metrics, generated from their declarations.

`python -m monitor.reference` updates `deploy/telltale.toml` and the tables of `README.md`; tests compare.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from monitor.config.file import ENVIRONMENT_PREFIX
from monitor.config.options import Config

WIDTH = 100
HEADER = f"""\
# Telltale's configuration. Every option is here, with its default; those without one are commented out.
# Written by `telltale config init`.
#
# The environment overrides this file: {ENVIRONMENT_PREFIX}SECTION__OPTION, for example
#   {ENVIRONMENT_PREFIX}KAFKA__GROUP_ID=ward-3
#   {ENVIRONMENT_PREFIX}INPUT__TOPICS='["ecg.ward-3", "ecg.ward-4"]'
# This file never contains secrets. `telltale config show` prints the effective configuration.
# What changes a score (window, scaling, model) is not an option: it belongs to the artifact.
"""


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """(name, class) of every section, in the order of the file."""
    for name, field in Config.model_fields.items():
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, BaseModel)
        yield name, field.annotation


def commented_toml() -> str:
    """A configuration file with every option at its default and its description above it."""
    lines = [HEADER.rstrip("\n")]
    for name, section in sections():
        lines += ["", f"# {section.__doc__}", f"[{name}]"]
        for option, field in section.model_fields.items():
            lines += ["", *(f"# {line}" for line in textwrap.wrap(_described(field), WIDTH - 2))]
            if field.annotation is SecretStr:
                continue  # not an option of the file: it would be rejected
            lines.append(
                f"{option} = {_toml(field.default)}"
                if field.default is not None
                else f"# {option} = {_toml((field.examples or [''])[0])}"
            )
    return "\n".join(lines) + "\n"


def markdown_table() -> str:
    """README's table of options."""
    rows = ["| option | default | what it does |", "|---|---|---|"]
    for name, section in sections():
        for option, field in section.model_fields.items():
            secret_or_unset = field.annotation is SecretStr or field.default is None
            default = "" if secret_or_unset else f"`{_toml(field.default)}`"
            rows.append(f"| `{name}.{option}` | {default} | {_cell(_described(field))} |")
    return "\n".join(rows)


def metrics_table() -> str:
    """README's table of metrics."""
    from monitor.serving.telemetry import metric_names

    rows = ["| metric | what it counts |", "|---|---|"]
    return "\n".join(rows + [f"| `{name}` | {_cell(text)} |" for name, text in metric_names()])


def between_markers(text: str, name: str) -> str | None:
    """What stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`, None where the markers are missing."""
    found = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", text, re.DOTALL)
    return found and found[1].strip("\n")


def with_tables(text: str) -> str:
    """A README with its tables as they are now; text without markers comes back as it is."""
    for name, table in (("config", markdown_table()), ("metrics", metrics_table())):
        begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
        head, _, rest = text.partition(begin)
        _, found, tail = rest.partition(end)
        text = f"{head}{begin}{table}\n{end}{tail}" if found else text
    return text


def _described(field: FieldInfo) -> str:
    """The description and, unless it says so itself, which values are allowed."""
    description = field.description or ""
    if get_origin(field.annotation) is Literal:
        values = [str(value) for value in get_args(field.annotation) if value]
        missing = [value for value in values if value not in re.findall(r"[\w-]+", description)]
        return f"{description} One of {', '.join(values)}." if missing else description
    bounds = ", ".join(filter(None, map(_bound, field.metadata))).capitalize()
    return f"{description} {bounds}." if bounds else description


def _bound(constraint: Any) -> str:
    match constraint:
        case Ge(ge=least) if least not in (-1, 0, 1):  # those are obvious
            return f"at least {least}"
        case Gt(gt=least):
            return f"more than {least}"
        case Le(le=most):
            return f"at most {most}"
    return ""


def _toml(value: Any) -> str:
    """A default as TOML. JSON's strings, numbers, booleans and arrays of them are TOML's too."""
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Writes the generated files and tables into the source tree."""
    root = Path(__file__).resolve().parent.parent
    readme = root / "README.md"
    for path, text in (
        (root / "deploy" / "telltale.toml", commented_toml()),
        (readme, with_tables(readme.read_text(encoding="utf-8"))),
    ):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stderr.write(f"{path.relative_to(root)} written\n")


if __name__ == "__main__":
    main()
