"""Who may import whom. A wish until a test says so."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

from monitor import extensions
from monitor.detector import scores, windowing
from training.recipes import schema

ROOT = Path(__file__).resolve().parents[2]
# The rooms, and which others each may import. A room names only rooms that stand before it: there is no circle, and no
# arrow upward.
MONITOR_ROOMS = {
    "errors": "",
    "extensions": "errors",
    "extras": "errors",
    "detector": "errors",
    "config": "detector errors extensions",
    "datafiles": "detector errors",
    "backends": "config detector errors",
    "formats": "backends detector errors extensions",
    "messages": "backends detector errors",
    "processing": "backends detector errors extensions formats messages",
    "serving": "backends config detector errors formats messages processing",
    "inspection": "detector",
    "reference": "config serving",
    "replay": "backends config datafiles detector errors processing serving",
    "deadletters": "backends config detector errors messages",
    "broker": "backends config errors",
    "doctor": "backends broker config datafiles detector errors formats processing serving",
    "demo": "backends broker config datafiles detector errors messages",
    "cli": "broker config deadletters demo doctor errors extras inspection reference replay serving",
    "__main__": "cli",
}
TRAINING_ROOMS = {
    "metrics": "",
    "thresholds": "",
    "recipes": "thresholds",
    "datasets": "",
    "fitting": "datasets recipes",
    "windows": "datasets fitting recipes",
    "codec": "fitting",
    "export": "fitting",
    "evaluation": "fitting metrics recipes thresholds windows",
    "choosing": "fitting metrics recipes windows",
    "report": "codec datasets fitting metrics recipes thresholds windows",
    "pipeline": "choosing datasets evaluation export fitting metrics recipes report thresholds windows",
    "commands": "codec datasets evaluation fitting metrics pipeline recipes thresholds windows",
}
# What of the backends the pure rooms may use: what a log is, and nothing that reaches one.
CONTRACT = {"monitor.backends.abstract"}
# What the pure core may use besides the standard library's pure parts.
CORE = {"numpy", "jax", "flax", "safetensors", "msgspec", "monitor.detector", "monitor.errors"}
IMPURE = {"time", "logging", "os.environ", "socket", "random", "structlog", "threading", "subprocess", "signal"}
PURE = [
    "detector",
    "formats",
    "messages",
    "processing",
    "backends.progress",
    "backends.remedies",
    "deadletters.letters",
    "doctor.cells",
    "doctor.configuration",
    "doctor.diagnosis",
    "doctor.documents",
    "doctor.fields",
    "doctor.joins",
    "doctor.mappings",
    "doctor.readings",
    "doctor.remarks",
    "doctor.shapes",
    "doctor.trial",
    "doctor.units",
    "doctor.words",
    "serving.backlog",
    "serving.checkpointing",
    "serving.complaints",
    "serving.health",
    "serving.holds",
    "serving.idle",
]
# What the trainer may use of the daemon, and where: it is a client of the shared core.
SHARED = {"monitor.detector", "monitor.errors", "monitor.extras", "monitor.datafiles"}
SHARED_BY = {
    # the operator's policy, by the daemon's own reading of it
    "training.thresholds.alert_policy": {"monitor.config"},
    # reads what the daemon reads, and decodes it as the daemon does
    "training.datasets.topic": {
        "monitor.backends.abstract",
        "monitor.backends.kafka.ranges",
        "monitor.config",
        "monitor.extensions",
        "monitor.formats",
        "monitor.processing.series_keys",
        "monitor.serving.schema_registry",
    },
}


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


def room(name: str) -> str:
    """The room of a module: what follows the package's name; "" is the package itself."""
    return name.split(".")[1] if "." in name else ""


MONITOR, TRAINING = modules("monitor"), modules("training")
ALL = {name for name, _ in MONITOR + TRAINING}


@pytest.mark.parametrize(("rooms", "most"), [(MONITOR_ROOMS, 20), (TRAINING_ROOMS, 14)], ids=["monitor", "training"])
def test_rooms_are_few_and_in_order(rooms: dict[str, str], most: int) -> None:
    assert len(rooms) <= most
    before: set[str] = set()
    for name, others in rooms.items():
        assert set(others.split()) <= before, f"{name} imports a room that stands after it"
        before.add(name)


@pytest.mark.parametrize(
    ("package", "found", "rooms"),
    [("monitor", MONITOR, MONITOR_ROOMS), ("training", TRAINING, TRAINING_ROOMS)],
    ids=["monitor", "training"],
)
def test_rooms_import_what_their_row_says(package: str, found: list[tuple[str, Path]], rooms: dict[str, str]) -> None:
    used: dict[str, set[str]] = {name: set() for name in rooms}
    for name, path in found:
        if room(name):
            others = {room(each) for each in imports(path) & ALL if within(each, {package})}
            used[room(name)] |= others - {room(name), ""}
    assert used == {name: set(others.split()) for name, others in rooms.items()}


@pytest.mark.parametrize(("name", "path"), MONITOR, ids=lambda value: str(value) if isinstance(value, str) else "")
def test_monitor(name: str, path: Path) -> None:
    found = imports(path)
    assert not {i for i in found if within(i, {"training", "tests"})}, "the daemon must run without the trainer"
    if not name.startswith("monitor.backends.kafka"):
        assert not {i for i in found if within(i, {"kafka"})}, "only backends/kafka talks to the client"
    if name not in ("monitor.serving.telemetry", "monitor.serving.http"):
        assert not {i for i in found if within(i, {"prometheus_client"})}
    if any(within(name, {f"monitor.{pure}"}) for pure in PURE):
        assert not {i for i in found if within(i, IMPURE)}, "pure modules have no clock, no log and no environment"
    if room(name) in ("formats", "messages", "processing"):
        reached = {i for i in found & ALL if within(i, {"monitor.backends"})} - {"monitor.backends"}
        assert reached <= CONTRACT, "what a log is, and nothing that reaches one"
    if room(name) == "detector":
        ours = {i for i in found if within(i, {"monitor"})}
        assert all(within(i, CORE) for i in ours if i != "monitor"), ours
        foreign = {i.split(".")[0] for i in found if not i.startswith("monitor")}
        assert not foreign & {"kafka", "pydantic", "typer", "structlog", "starlette", "uvicorn", "optax", "rich"}


@pytest.mark.parametrize(("name", "path"), TRAINING, ids=lambda value: str(value) if isinstance(value, str) else "")
def test_training(name: str, path: Path) -> None:
    ours = {i for i in imports(path) if within(i, {"monitor"})}
    allowed = SHARED | SHARED_BY.get(name, set())
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
    losses = set(get_args(schema.LossName))
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
