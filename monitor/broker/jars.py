"""The jars of Apache Kafka: their list, their cache, and the verification of their checksums.

Rules of this file: `jars.sha256` lists every jar with its SHA-256 checksum, as paths in a Maven repository, in the
format of `sha256sum --check`. Only jars that match the list get into a class path. All checksums are verified at every
start (45 MB, about 0.05 s). Only missing jars are downloaded: later starts need no network.

To change a version, edit `KAFKA_VERSION` and `BINDING` and write the list again:

    python -m monitor.broker.jars > new.sha256 && mv new.sha256 monitor/broker/jars.sha256
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.resources
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from monitor.errors import BrokerError

KAFKA_VERSION = "4.3.0"
KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
# The binding of SLF4J 1.7 to the log4j-core that Kafka brings: without one a broker ends without a message. Only the
# jar itself: resolved together with Kafka, its POM would change the version of Kafka's Jackson.
BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"
LIST_NAME = "jars.sha256"
FETCH_THREADS = 4  # the jars are many and small: the round trips dominate
FETCH_ATTEMPTS = 3
FETCH_TIMEOUT_SECS = 20


@dataclass(frozen=True, kw_only=True)
class Jar:
    """One line of the list."""

    path: PurePosixPath  # below a Maven repository: org/slf4j/slf4j-api/1.7.36/slf4j-api-1.7.36.jar
    sha256: str

    @property
    def coordinate(self) -> str:
        *group, artifact, version, _ = self.path.parts
        return f"{'.'.join(group)}:{artifact}:{version}"


def cache_dir() -> Path:
    """The cache of the jars: `TELLTALE_CACHE`, else the user's cache directory (XDG)."""
    chosen = os.environ.get("TELLTALE_CACHE")
    if chosen:
        return Path(chosen).expanduser() / f"kafka-{KAFKA_VERSION}"
    xdg = os.environ.get("XDG_CACHE_HOME")
    root = Path(xdg) if xdg else Path.home() / ".cache"
    return root / "telltale" / f"kafka-{KAFKA_VERSION}"


def read_list(text: str | None = None) -> list[Jar]:
    """The committed list; or the one in `text`."""
    if text is None:
        text = importlib.resources.files("monitor.broker").joinpath(LIST_NAME).read_text("ascii")
    jars = []
    for line in text.splitlines():
        sha256, _, path = line.partition("  ")
        jars.append(Jar(path=PurePosixPath(path), sha256=sha256))
    return jars


def class_path(report: Callable[[str], None], *, jars: list[Jar] | None = None) -> str:
    """The class path of Kafka, with every jar verified. Downloads missing ones.

    Raises:
        BrokerError: a jar's checksum differs, or a missing one can't be downloaded.
    """
    jars = read_list() if jars is None else jars
    cache = cache_dir()
    absent = [jar for jar in jars if not _is_right(jar, cache / jar.path)]
    if absent:
        with _cache_lock(cache):
            absent = [jar for jar in jars if not _is_right(jar, cache / jar.path)]  # another start may have downloaded
            if absent:
                report(f"Downloading Apache Kafka {KAFKA_VERSION} ({len(absent)} jars) to {cache}; needed once.")
                _fetch(absent, cache)
    return os.pathsep.join(str(cache / jar.path) for jar in jars)


def _is_right(jar: Jar, path: Path) -> bool:
    """True if the jar exists and is right, False if it is missing; raises if it is wrong."""
    try:
        found = _sha256(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise BrokerError(f"{path}: can't be read ({error.strerror}); make it readable or remove it") from error
    if found != jar.sha256:
        raise BrokerError(
            f"{path}: rejected, it is not the jar that Telltale was tested with: SHA-256 is {found}, expected "
            f"{jar.sha256}. Remove the file and start again: it is then downloaded again"
        )
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _cache_lock(cache: Path) -> Iterator[None]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise BrokerError(
            f"{cache}: Kafka's jars can't be kept there ({error.strerror}); name a writable directory in TELLTALE_CACHE"
        ) from error


def _fetch(jars: list[Jar], cache: Path) -> None:
    """Download jars with jgo into a staging directory, verify them, and only then move them into the cache."""
    for leftover in cache.glob("fetch-*"):  # of a start that was killed while it downloaded
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache) as staging:
            context = _maven(Path(staging))
            with ThreadPoolExecutor(FETCH_THREADS) as pool:
                for jar, staged in zip(jars, pool.map(lambda jar: _fetch_one(jar, context), jars), strict=True):
                    _is_right(jar, staged)
                    target = cache / jar.path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    staged.replace(target)
    except _FetchError as error:
        raise BrokerError(
            f"Apache Kafka {KAFKA_VERSION} could not be downloaded. Tried {FETCH_ATTEMPTS} times to get {error}. This "
            f"needs a network (Maven Central, or a repository named in jgo's settings) once, for about 45 MB; "
            f"afterwards the jars are taken from {cache}. Connect and start again, or copy that directory "
            "from a machine that has it"
        ) from error


class _FetchError(Exception):
    pass


def _fetch_one(jar: Jar, context: Any) -> Path:
    import requests  # jgo's own dependency

    artifact = context.create_dependency(jar.coordinate).artifact
    staged = Path(artifact.cached_path)
    for attempt in range(1, FETCH_ATTEMPTS + 1):
        try:
            return Path(artifact.resolve())
        except (requests.RequestException, RuntimeError, OSError) as error:
            staged.unlink(missing_ok=True)  # jgo would take an incomplete jar for a complete one
            if attempt == FETCH_ATTEMPTS:
                raise _FetchError(f"{jar.coordinate}: {type(error).__name__}: {error}") from error
    raise AssertionError("unreachable")


def _maven(repository: Path) -> Any:
    """jgo's Maven, with the repositories of the user's jgo settings after Maven Central."""
    try:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext
    except ImportError as error:
        raise BrokerError(
            "jgo is not installed; the local broker needs it: pip install 'telltale-kafka[broker]'"
        ) from error
    logging.getLogger("jgo").setLevel(logging.ERROR)  # we verify checksums ourselves
    return MavenContext(
        repo_cache=repository,
        remote_repos={"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories},
        timeout=FETCH_TIMEOUT_SECS,
    )


def resolve_list() -> str:
    """A new list: every jar that Kafka needs, and the binding, from the network, with their checksums."""
    with tempfile.TemporaryDirectory() as directory:
        repository = Path(directory)
        context = _maven(repository)
        kafka, binding = context.create_dependency(KAFKA), context.create_dependency(BINDING)
        kafka.scope = "compile"  # of the wrapper that jgo resolves: without one it would not be followed
        _, transitive = context.resolver.resolve([kafka])
        paths = sorted(Path(dependency.artifact.resolve()) for dependency in [kafka, binding, *transitive])
        return "".join(f"{_sha256(path)}  {path.relative_to(repository).as_posix()}\n" for path in paths)


if __name__ == "__main__":
    sys.stdout.write(resolve_list())
