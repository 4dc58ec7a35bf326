"""Reads the configuration: one TOML file, overridden by the environment; all problems are reported at once."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr, ValidationError

from monitor.config.options import Config, ModelOptions
from monitor.config.sections import FilePath
from monitor.errors import ConfigError

# Of connections, what commands read that connect to nobody: alerts name the group, and a format needs a registry.
_READ_OFFLINE = {"kafka": ("group_id",), "schema_registry": ("urls",)}
ENVIRONMENT_PREFIX = "TELLTALE__"
_SECTIONS_WITH_PASSWORD = ("kafka", "schema_registry")


def load(
    path: Path,
    environment: Mapping[str, str] | None = None,
    *,
    artifact_needed: bool = True,
    connects: bool = True,
) -> Config:
    """Reads the file, applies the environment, validates. A relative artifact path starts at the file's directory.

    Args:
        artifact_needed: whether it is a problem that `model.artifact` does not exist.
        connects: whether anybody will be connected to; else how is not read, and may lack a password.

    Raises:
        ConfigError: all problems at once, each with its option and, for a typo, the likely name.
    """
    environment = os.environ if environment is None else environment
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; `telltale config init` writes a commented one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    problems = []
    for section in _SECTIONS_WITH_PASSWORD:
        options = document.get(section)
        if isinstance(options, dict) and "password" in options:
            variable = f"{ENVIRONMENT_PREFIX}{section.upper()}__PASSWORD"
            problems.append(f"{section}.password: secrets don't belong in this file; use password_file or {variable}")
            options["password"] = ""
    problems += _override(document, environment)
    config, found = parse(document if connects else _without_connections(document))
    problems += found
    if artifact_needed and (absent := _absent_artifact(document, path.parent)):
        problems.append(absent)
    if config is None or problems:
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        raise ConfigError("\n".join([f"{path}: {count}", *(f"  {problem}" for problem in problems)]))
    artifact = path.parent / config.model.artifact
    return config.model_copy(update={"model": config.model.model_copy(update={"artifact": artifact})})


def _without_connections(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document with what is read of its connections where nobody is connected to."""
    left = dict(document)
    for section, names in _READ_OFFLINE.items():
        if isinstance(options := left.get(section), dict):
            left[section] = {name: value for name, value in options.items() if name in names}
    return left


def parse(document: Mapping[str, Any]) -> tuple[Config | None, list[str]]:
    """The configuration that a document describes, or None, and one line per problem."""
    try:
        return Config.model_validate(dict(document)), []
    except ValidationError as error:
        return None, [_say(problem) for problem in error.errors()]


def _absent_artifact(document: Mapping[str, Any], directory: Path) -> str:
    """The problem to report if `model.artifact` does not exist; from the document, as there may be no valid Config."""
    model = document.get("model", {})
    named = model.get("artifact", ModelOptions().artifact) if isinstance(model, dict) else None
    if not isinstance(named, (str, Path)) or (directory / named).exists():
        return ""
    return f"model.artifact: {directory / named}: does not exist; `telltale train` creates one"


def _override(document: dict[str, Any], environment: Mapping[str, str]) -> list[str]:
    """Overrides the document with TELLTALE__SECTION__FIELD; see `_value_of`."""
    problems = []
    for name, text in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        path = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        section = Config.model_fields.get(path[0])
        fields = section.annotation.model_fields if section and section.annotation else {}
        if len(path) != 2 or path[1] not in fields:
            problems.append(f"environment {name}: no such option; the form is {ENVIRONMENT_PREFIX}SECTION__FIELD")
            continue
        table = document.setdefault(path[0], {})
        if isinstance(table, dict):
            table[path[1]] = _value_of(text, fields[path[1]].annotation)
    return problems


def _value_of(text: str, annotation: Any) -> Any:
    """A variable's text as the option's value: lists in TOML or separated by commas, choices and booleans in any case,
    text unchanged, everything else in TOML."""
    if get_origin(annotation) is list:
        listed = _toml_value(text)
        return listed if isinstance(listed, list) else [item for item in map(str.strip, text.split(",")) if item]
    if get_origin(annotation) is Literal:
        return next((choice for choice in get_args(annotation) if choice.lower() == text.strip().lower()), text)
    if annotation is bool:
        return _toml_value(text.strip().lower())
    return text if _takes_text(annotation) else _toml_value(text)


def _takes_text(annotation: Any) -> bool:
    arguments = get_args(annotation)
    return annotation in (str, SecretStr, Path) or FilePath in arguments or Path in arguments


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _say(problem: Any) -> str:
    """One of pydantic's errors as a line of text: option, what is wrong, the likely remedy."""
    path = [str(part) for part in problem["loc"]]
    name = ".".join(path) or "config"
    if problem["type"] == "extra_forbidden":
        known = Config.model_fields
        if len(path) > 1:
            section = Config.model_fields[path[0]].annotation
            known = section.model_fields if section else {}
        close = difflib.get_close_matches(path[-1], known, n=1)
        remedy = f'did you mean "{close[0]}"?' if close else f"known keys: {', '.join(known)}"
        return f"{name}: unknown key; {remedy}"
    if problem["type"] == "model_type":
        problem = problem | {"msg": f"should be a section, [{name}]"}
    message = problem["msg"].removeprefix("Value error, ").removesuffix(" for <class 'pathlib.Path'>")
    found = problem.get("input")
    # Scalars only: a table in the wrong place may hold a secret
    shown = f" (found {found!r})" if isinstance(found, (str, int, float)) and "password" not in name else ""
    return f"{name}: {message[0].lower()}{message[1:]}{shown}"
