"""Who may import whom. A wish until a test says so."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

from monitor import extensions
from monitor.detector import scores, windowing
from training import recipe_form

ROOT = Path(__file__).resolve().parents[2]
# What the pure core may use besides the standard library's pure parts
CORE = {"numpy", "jax", "flax", "safetensors", "msgspec", "monitor.arrays", "monitor.detector", "monitor.errors"}
IMPURE = {"time", "logging", "os.environ", "socket", "random", "structlog", "threading", "subprocess", "signal"}
TOPIC_READING = {
    "monitor.backends.abstract",
    "monitor.backends.kafka.ranges",
    "monitor.config",
    "monitor.configfile",
    "monitor.extensions",
    "monitor.series",
    "monitor.wire",
}
PURE = [
    "arrays",
    "detector",
    "wire",
    "processor",
    "deciding",
    "checks",
    "gates",
    "partition",
    "registry",
    "resuming",
    "series",
    "state",
    "alerts",
    "deadletters",
    "health",
    "holds",
    "backends.progress",
    "backlog",
    "checkpointing",
    "complaints",
]


def modules(package: str) -> list[tuple[str, Path]]:
    return [
        (".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path)
        for path in sorted((ROOT / package).rglob("*.py"))
    ]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def used_of_modules(path: Path) -> set[str]:
    """`module.name` for each use of a name in a module that a file imports, whatever the file calls the module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return {
        f"{called[node.value.id]}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in called
    }


def within(name: str, roots: set[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


MONITOR, TRAINING = modules("monitor"), modules("training")


@pytest.mark.parametrize(("name", "path"), MONITOR, ids=lambda value: str(value) if isinstance(value, str) else "")
def test_monitor(name: str, path: Path) -> None:
    found = imports(path)
    assert not {i for i in found if within(i, {"training", "tests"})}, "the daemon must run without the trainer"
    if not name.startswith("monitor.backends.kafka"):
        assert not {i for i in found if within(i, {"kafka"})}, "only backends/kafka talks to the client"
    if name not in ("monitor.telemetry", "monitor.http"):
        assert not {i for i in found if within(i, {"prometheus_client"})}
    if any(within(name, {f"monitor.{pure}"}) for pure in PURE):
        assert not {i for i in found if within(i, IMPURE)}, "pure modules have no clock, no log and no environment"
    if name.startswith("monitor.detector"):
        ours = {i for i in found if within(i, {"monitor"})}
        assert all(within(i, CORE) for i in ours if i != "monitor"), ours
        foreign = {i.split(".")[0] for i in found if not i.startswith("monitor")}
        assert not foreign & {"kafka", "pydantic", "typer", "structlog", "starlette", "uvicorn", "optax", "rich"}


@pytest.mark.parametrize(("name", "path"), TRAINING, ids=lambda value: str(value) if isinstance(value, str) else "")
def test_training(name: str, path: Path) -> None:
    ours = {i for i in imports(path) if within(i, {"monitor"})}
    allowed = {"monitor.arrays", "monitor.detector", "monitor.errors", "monitor.extras", "monitor.datafiles"}
    if name == "training.alert_policy":  # the operator's, by the daemon's own reading of it
        allowed |= {"monitor.configfile"}
    if name == "training.datasets.topic":  # reads what the daemon reads, and decodes it as the daemon does
        allowed |= TOPIC_READING
    strangers = {i for i in ours if not within(i, allowed) and i not in ("monitor", "monitor.__version__")}
    assert not strangers, f"{name} is a client of the shared core, not of the daemon"


def compared(path: Path) -> list[list[ast.AST]]:
    """What stands in each comparison of a file, and in each value of a `case`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [list(ast.walk(node)) for node in ast.walk(tree) if isinstance(node, ast.Compare | ast.MatchValue)]


def constants(inside: list[ast.AST]) -> set[object]:
    return {each.value for each in inside if isinstance(each, ast.Constant)}


@pytest.mark.parametrize("path", [p for _, p in MONITOR + TRAINING], ids=lambda p: p.name)
def test_nobody_asks_which_kind_of_window_it_is(path: Path) -> None:
    """They ask its row of `windowing.KINDS`, so that another kind is one row more."""
    assert not [found for inside in compared(path) if (found := constants(inside) & windowing.KINDS.keys())]


@pytest.mark.parametrize("path", [p for _, p in MONITOR + TRAINING], ids=lambda p: p.name)
def test_nobody_asks_which_kind_of_score_it_is(path: Path) -> None:
    """They ask its row of `scores.KINDS`, so that another kind is one row more. Losses have two of the names too."""
    losses = set(get_args(recipe_form.LossName))
    for inside in compared(path):
        kinds = set(scores.KINDS) - losses
        if any(isinstance(each, ast.Attribute) and each.attr == "kind" for each in inside):
            kinds = set(scores.KINDS)
        assert not constants(inside) & kinds


@pytest.mark.parametrize("path", [p for _, p in MONITOR + TRAINING], ids=lambda p: p.name)
def test_nobody_asks_which_format_it_is(path: Path) -> None:
    """They ask its class, so that another format is one row of `extensions.FORMATS` more."""
    compared = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Compare)]
    for node in compared:
        inside = list(ast.walk(node))
        named = any(isinstance(each, ast.Attribute) and each.attr == "format" for each in inside)
        assert not (
            named and {each.value for each in inside if isinstance(each, ast.Constant)} & extensions.FORMATS.keys()
        )


def looks_up_a_threshold(node: ast.Attribute) -> bool:
    """`manifest.threshold`, whatever the manifest hangs on."""
    if node.attr != "threshold":
        return False
    of = node.value
    name = of.attr if isinstance(of, ast.Attribute) else getattr(of, "id", "")
    return name.lstrip("_") in ("manifest", "Manifest")


@pytest.mark.parametrize(("name", "path"), MONITOR + TRAINING, ids=lambda each: each if isinstance(each, str) else "")
def test_a_threshold_is_looked_up_in_one_place(name: str, path: Path) -> None:
    """Elsewhere the series that have their own would be forgotten, or the operator's `model.threshold`."""
    if name in ("monitor.detector.thresholds", "monitor.detector.spec"):  # `spec` says what may be written
        return
    found = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and looks_up_a_threshold(node)
    ]
    assert not found, f"{name}: ask monitor.detector.thresholds"


@pytest.mark.parametrize(("name", "path"), MONITOR + TRAINING, ids=lambda each: each if isinstance(each, str) else "")
def test_an_artifact_gets_into_use_in_one_way(name: str, path: Path) -> None:
    """Nobody reads one, or checks it, but by `load_verified`, which can't be done by halves."""
    parts = {"monitor.detector.storage.load", "monitor.detector.artifact.check_known_answers"}
    used = imports(path) | used_of_modules(path)
    assert name == "monitor.detector.served" or not parts & used


@pytest.mark.parametrize("path", [p for _, p in MONITOR + TRAINING], ids=lambda p: p.name)
def test_a_file_can_be_read_in_a_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500
