"""A log in memory, daemons that work on it one after the other, and a transcript of what they published.

Both clocks, the monotonic one and that of the day, stand still but for a second that each poll takes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

from monitor import extensions
from monitor.backends.abstract import AbortedError, Commit, Headers, Poll, Position, TopicPartition
from monitor.backends.kafka.position import decode_position
from monitor.backends.local import LocalBackend, LocalLog
from monitor.config.options import Config
from monitor.detector.served import ServedModel, load_verified
from monitor.errors import TelltaleError
from monitor.formats.schemas import Schema
from monitor.serving.assembly import make_processor
from monitor.serving.backlog import Pace
from monitor.serving.daemon import Daemon
from monitor.serving.telemetry import Telemetry, Vitals

HERE = Path(__file__).parent
INPUT = "plant.pumps"
START_MS = 1_796_083_200_000  # 2026-12-01T00:00:00Z
SLICE_BYTES = 1 << 20

load = lru_cache(load_verified)


def ms(seconds: float) -> int:
    """Milliseconds since 1970 of a time that counts from the beginning of the log."""
    return START_MS + round(1000 * seconds)


class _Member(LocalBackend):
    """Time goes on with each poll, and what is committed is written down."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.log, cluster.config, lambda: cluster.now_s)
        self._cluster = cluster

    def poll(self, timeout_s: float, max_records: int) -> Poll:
        self._cluster.tick()
        self._cluster.note_positions()
        return super().poll(timeout_s, max_records)

    def commit(self, commit: Commit) -> dict[TopicPartition, Position]:
        try:
            return super().commit(commit)
        except AbortedError:
            self._cluster.note("AbortedError")
            raise
        finally:
            self._cluster.note_positions()


class Cluster:
    """Topics, one group, and one daemon at a time."""

    def __init__(self, artifact: str, partitions: int = 1, **sections: dict[str, Any]) -> None:
        """`sections` are those of the daemon's configuration that differ from its defaults."""
        self.sections: dict[str, dict[str, Any]] = {
            "service": {"name": "golden", "instance": "one"},
            "kafka": {"group_id": "golden"},
            "input": {"topics": [INPUT], "start": "earliest"},
            # What a check remembers is in every checkpoint: the score's logs go without.
            "quality": dict.fromkeys(extensions.CHECKS, False),
        }
        self.configure(**sections)
        loaded = load(HERE / f"{artifact}.zip")
        self.artifact, self.scorer = loaded.artifact, loaded.scorer
        self.log = LocalLog({INPUT: partitions})
        self.schemas: dict[int, Schema | str] = {}  # that were fetched before records need them
        self.now_s = 0.0
        self._committed: dict[TopicPartition, Position] = {}
        self._noted: list[str] = []

    def configure(self, **sections: dict[str, Any]) -> None:
        """Changes the configuration; a daemon that is started later has it."""
        for name, section in sections.items():
            self.sections[name] = self.sections.get(name, {}) | section
        self.config = Config.model_validate(self.sections)

    def send(
        self, value: Any, key: str | bytes | None, partition: int = 0, *, at_s: float = 0.0, headers: Headers = ()
    ) -> None:
        """Appends a record; what is not bytes becomes JSON."""
        raw = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        named = key.encode() if isinstance(key, str) else key
        self.log.append(INPUT, partition, named, raw, ms(at_s), headers)

    def samples(
        self,
        key: str,
        first_s: float,
        numbers: Sequence[Any],
        partition: int = 0,
        *,
        step_s: float = 1.0,
        names: tuple[str, ...] = ("flow", "pressure"),
    ) -> None:
        """Appends samples that state their time; one number stands for all channels, and a list for each of them."""
        for place, number in enumerate(numbers):
            values = number if isinstance(number, list) else [number] * len(names)
            at_s = first_s + place * step_s
            self.send({"ts": ms(at_s), **dict(zip(names, values, strict=True))}, key, partition, at_s=at_s)

    def start(self) -> Daemon:
        """A daemon that is about to join the group."""
        model = ServedModel.of(self.artifact, self.scorer, self.config.model.threshold)
        self._processor = make_processor(self.config, model)
        for number, schema in self.schemas.items():
            self._processor.schemas.add(number, schema)
        vitals = Vitals()
        telemetry = Telemetry(vitals, lambda: self._processor.counts, {}, 1.0)
        self._backend = _Member(self)
        pace = Pace(SLICE_BYTES, SLICE_BYTES)
        self.note("A daemon starts")
        return Daemon(
            self.config,
            self._backend,
            self._processor,
            self.scorer,
            telemetry,
            vitals,
            clock=lambda: self.now_s,
            pace=pace,
        )

    def work(self) -> None:
        """A daemon that stops once it has decided everything, or where it must."""
        daemon = self.start()
        try:
            # Garbage is collected as each daemon starts, which takes longer than all else here.
            with self._day(), mock.patch("gc.collect"):
                daemon.run(until_caught_up=True)
        except TelltaleError as error:
            self.note(type(error).__name__)
        self._end("stops")

    def work_and_crash(self) -> None:
        """A daemon that ends without a word once it has decided everything."""
        daemon = self.start()
        self._backend.start()
        with self._day():
            daemon.turn()
            while not daemon.caught_up():
                daemon.turn()
        self.log.crash(self._backend)
        self._end("crashes")

    def turns(self, *happens: Callable[[], object]) -> None:
        """A daemon that makes two turns after each thing that happens, then stops."""
        daemon = self.start()
        self._backend.start()
        with self._day():
            for happen in happens:
                happen()
                daemon.turn()
                daemon.turn()
            daemon.drain()
        self._end("stops")

    def lose_partitions(self) -> None:
        """The group takes them away from the daemon without a word, and then gives them back."""
        self.log.rebalance(self.config.kafka.group_id, lost=[self._backend])

    def _day(self) -> AbstractContextManager[object]:
        return mock.patch("time.time_ns", side_effect=lambda: ms(self.now_s) * 1_000_000)

    def _end(self, how: str) -> None:
        counts = self._processor.counts
        named = {name: getattr(counts, name) for name in COUNTED}
        named["samples_late"] += counts.samples_duplicate  # they were counted together
        named |= {"rejected": counts.rejected.total(), "forgotten": counts.forgotten.total()}
        self.note(", ".join([f"It {how}", *(f"{name} {count}" for name, count in named.items() if count)]))

    def tick(self) -> None:
        """A second passes."""
        self.now_s += 1.0

    def note_positions(self) -> None:
        """Writes down what was committed since the last time."""
        positions = self.log.positions[self.config.kafka.group_id]
        for name in sorted(positions.keys() | self._committed.keys()):
            position = positions.get(name)
            if position != self._committed.get(name):
                self.note(f"{name} {'has no position' if position is None else position}")
        self._committed = dict(positions)

    def set_offset(self, place: TopicPartition, offset: int) -> None:
        """Commits another offset, as a tool does that knows nothing of our state."""
        self.log.positions[self.config.kafka.group_id][place] = decode_position(offset, "")

    def note(self, text: str) -> None:
        """Adds a line to the transcript."""
        self._noted.append(f"{self.now_s:g} s: {text}")

    def transcript(self) -> str:
        """What was committed when, and all records of the output topics: key, headers and value of each, whole."""
        output = self.config.output
        lines = [*self._noted]
        for topic in (output.alerts, output.dead_letters, self.config.state_topic):
            for place in self.log.partitions(topic):
                lines += _records(self.log, place)
        return "\n".join(lines) + "\n"


COUNTED = (
    "replayed", "samples", "samples_missing", "samples_late", "gaps", "windows", "windows_anomalous",
    "windows_unscorable",
)  # fmt: skip


def _records(log: LocalLog, place: TopicPartition) -> Iterator[str]:
    read = log.read(place.topic, place.partition)
    headers = read.headers or []
    for offset, key, value, named in zip(read.offsets, read.keys, read.values, headers, strict=True):
        yield f"\n{place} at {offset}: {_text(key)}"
        yield from (f"  {name}: {_text(content)}" for name, content in named)
        yield f"  {_text(value)}"


def _text(raw: bytes | None) -> str:
    """Bytes as the text that they are, else in base64."""
    if raw is None:
        return "(null)"
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = ""
    return text if text.isprintable() and text else f"(base64) {base64.b64encode(raw).decode()}"
