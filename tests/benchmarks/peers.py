"""The same job by other means: a loop as one writes it first, Quix Streams, Bytewax.

The job: one JSON sample a record, windows of LENGTH samples with a hop of HOP per series, the same model's score of
each, one message for each window over the threshold. All peers get what is kind to them: no cyclic garbage collection,
NumPy for the model (faster than JAX on few windows), the clock stopped at the last record, before the final commit.
"""

from __future__ import annotations

import gc
import json
import tempfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import orjson

from monitor.config.options import Config
from monitor.detector.arrays import Float32Array
from tests.benchmarks.contenders import HOP, LENGTH, Result, Stopwatch, Workload, join


class NumpyModel:
    """The artifact's dense autoencoder and its score, (n, LENGTH) -> (n,), in NumPy."""

    def __init__(self, weights: str) -> None:
        with np.load(weights) as found:
            count = (len(found) - 1) // 2
            self.layers = [(found[f"layers.{i}.kernel"], found[f"layers.{i}.bias"]) for i in range(count)]
            self.threshold = found["threshold"]

    def __call__(self, windows: Float32Array) -> Float32Array:
        values = windows
        for kernel, bias in self.layers[:-1]:
            values = np.tanh(values @ kernel + bias)
        kernel, bias = self.layers[-1]
        scores: Float32Array = np.abs(windows - (values @ kernel + bias)).mean(axis=1)
        return scores


class Tally:
    """Scores windows, counts them, and stops the watch with the last record."""

    def __init__(self, workload: Workload) -> None:
        self._model = NumpyModel(workload.weights)
        self._workload = workload
        self.records = self.windows = self.over = 0
        self.watch = Stopwatch()
        self.when_done: Callable[[], None] = lambda: None
        self._read: tuple[float, float] | None = None
        gc.collect()
        gc.freeze()
        gc.disable()

    def score(self, keys: list[Any], windows: list[Any]) -> list[tuple[Any, float]]:
        """The windows over the threshold, with their scores."""
        scores = self._model(np.array(windows, dtype=np.float32))
        over = np.flatnonzero(scores > self._model.threshold).tolist()
        self.windows += len(windows)
        self.over += len(over)
        self._stop_if_done()
        return [(keys[row], float(scores[row])) for row in over]

    def took(self, records: int) -> None:
        self.records += records
        self._stop_if_done()

    def _stop_if_done(self) -> None:
        done = self.records >= self._workload.records and self.windows >= self._workload.windows
        if done and self._read is None:
            self._read = self.watch.read()
            self.when_done()

    def result(self) -> Result:
        assert self._read is not None, "not every record came"
        seconds, cpu_s = self._read
        return Result(
            seconds=seconds, cpu_s=cpu_s, records=self.records, windows=self.windows, over=self.over, alerts=self.over
        )


class Rings:
    """The last LENGTH samples of each series, as one keeps them in plain Python."""

    def __init__(self) -> None:
        self._rings: dict[Any, deque[float]] = defaultdict(lambda: deque(maxlen=LENGTH))
        self._until: dict[Any, int] = defaultdict(lambda: LENGTH)

    def add(self, key: Any, value: float) -> list[float] | None:
        """The window that this sample closes, if it does."""
        ring = self._rings[key]
        ring.append(value)
        self._until[key] -= 1
        if self._until[key]:
            return None
        self._until[key] = HOP
        return list(ring)


def naive(workload: Workload, config: Config) -> Result:
    """kafka-python with the daemon's settings, `json.loads`, deques, NumPy; at least once, commits after each poll."""
    from kafka import KafkaProducer

    tally, rings = Tally(workload), Rings()
    producer = KafkaProducer(bootstrap_servers=config.kafka.bootstrap_servers)
    consumer = join(config, workload)
    tally.watch.start()
    consumer.resume(*consumer.assignment())
    while tally.records < workload.records:
        fetched = consumer.poll(timeout_ms=500, max_records=config.limits.max_poll_records)
        keys, windows, count = [], [], 0
        for records in fetched.values():
            for record in records:
                window = rings.add(record.key, json.loads(record.value)["value"])
                if window is not None:
                    keys.append(record.key)
                    windows.append(window)
            count += len(records)
        if windows:
            for key, score in tally.score(keys, windows):
                producer.send(config.output.alerts, key=key, value=b"%f" % score)
        tally.took(count)
        consumer.commit_async()
    producer.flush()
    consumer.close(autocommit=False)
    return tally.result()


def quix_memory(workload: Workload, config: Config) -> Result:
    """Quix Streams, windows in Python's memory, at least once: its fastest way."""
    tally, rings = Tally(workload), Rings()

    def build(frame: Any) -> Any:
        def update(value: dict[str, float], key: bytes, _time: int, _headers: Any) -> list[float]:
            if not tally.watch.started:
                tally.watch.start()
            window = rings.add(key, value["value"])
            found = [] if window is None else [score for _, score in tally.score([key], [window])]
            tally.took(1)
            return found

        return frame.apply(update, expand=True, metadata=True)

    return _quix(workload, config, tally, build, "at-least-once")


def quix_exactly_once(workload: Workload, config: Config) -> Result:
    """Quix Streams, windows in its own state (RocksDB and a changelog topic), exactly once."""
    tally = Tally(workload)

    def build(frame: Any) -> Any:
        def first(value: dict[str, float]) -> float:
            if not tally.watch.started:
                tally.watch.start()
            return value["value"]

        def update(value: float, state: Any) -> list[float]:
            kept = state.get("window")
            window = [value] if kept is None else [*kept, value]
            found = []
            if len(window) == LENGTH:
                found = [score for _, score in tally.score([None], [window])]
                window = window[HOP:]
            state.set("window", window)
            tally.took(1)
            return found

        return frame.apply(first).apply(update, stateful=True, expand=True)

    return _quix(workload, config, tally, build, "exactly-once")


def _quix(workload: Workload, config: Config, tally: Tally, build: Any, guarantee: Any) -> Result:
    from quixstreams import Application

    with tempfile.TemporaryDirectory(prefix="telltale-quix-") as directory:
        app = Application(
            broker_address=config.kafka.bootstrap_servers[0],
            consumer_group=config.kafka.group_id,
            auto_offset_reset="earliest",
            processing_guarantee=guarantee,
            commit_every=config.limits.max_poll_records,
            state_dir=directory,
            loglevel=None,
        )
        source = app.topic(workload.topic, key_deserializer="bytes", value_deserializer="json")
        sink = app.topic(config.output.alerts, value_serializer="json")
        build(app.dataframe(source)).to_topic(sink)
        tally.when_done = app.stop
        app.run()
    return tally.result()


def bytewax_keyed(workload: Workload, config: Config) -> Result:
    """Bytewax as its guide has it: its Kafka source, state by key, a recovery store that snapshots every epoch."""
    import bytewax.operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.recovery import RecoveryConfig, init_db_dir
    from bytewax.testing import run_main

    tally = Tally(workload)

    class Window(op.StatefulBatchLogic[float, list[float], list[float]]):
        """The samples of one series since the last window began."""

        def __init__(self, kept: list[float] | None) -> None:
            self._kept = kept or []

        def on_batch(self, values: list[float]) -> tuple[list[list[float]], bool]:
            kept = self._kept
            kept += values
            last = len(kept) - LENGTH + 1
            windows = [kept[first : first + LENGTH] for first in range(0, last, HOP)]
            del kept[: HOP * len(windows)]
            return windows, self.DISCARD if not kept else self.RETAIN

        def snapshot(self) -> list[float]:
            return list(self._kept)

    def read(messages: list[Any]) -> list[tuple[str, float]]:
        if not tally.watch.started:
            tally.watch.start()
        return [(message.key.decode(), orjson.loads(message.value)["value"]) for message in messages]

    def score(windows: list[tuple[str, list[float]]]) -> list[Any]:
        found = tally.score([key for key, _ in windows], [window for _, window in windows]) if windows else []
        return [KafkaSinkMessage(key.encode(), b"%f" % value) for key, value in found]

    def count(samples: list[Any]) -> list[Any]:
        tally.took(len(samples))
        return samples

    from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource

    servers = config.kafka.bootstrap_servers
    flow = Dataflow("benchmark")
    stream = op.input("in", flow, KafkaSource(servers, [workload.topic], tail=False, batch_size=10_000))
    keyed = op.flat_map_batch("count", op.flat_map_batch("read", stream, read), count)
    windows = op.stateful_batch("window", keyed, Window)
    op.output("out", op.flat_map_batch("score", windows, score), KafkaSink(servers, config.output.alerts))
    with tempfile.TemporaryDirectory(prefix="telltale-bytewax-") as directory:
        init_db_dir(directory, 1)
        run_main(flow, recovery_config=RecoveryConfig(directory))
    return tally.result()


def bytewax_bare(workload: Workload, config: Config) -> Result:
    """Bytewax reduced to its Kafka source and one callback a batch, windows in a dict: its fastest way, no recovery."""
    import bytewax.operators as op
    from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
    from bytewax.dataflow import Dataflow
    from bytewax.testing import run_main

    tally, rings = Tally(workload), Rings()
    servers = config.kafka.bootstrap_servers
    loads = orjson.loads

    def update(messages: list[KafkaSourceMessage[bytes, bytes]]) -> Iterable[KafkaSinkMessage[bytes, bytes]]:
        if not tally.watch.started:
            tally.watch.start()
        keys, windows = [], []
        for message in messages:
            window = rings.add(message.key, loads(message.value)["value"])
            if window is not None:
                keys.append(message.key)
                windows.append(window)
        found = tally.score(keys, windows) if windows else []
        tally.took(len(messages))
        return [KafkaSinkMessage(key, b"%f" % score) for key, score in found]

    flow = Dataflow("benchmark")
    stream = op.input("in", flow, KafkaSource(servers, [workload.topic], tail=False, batch_size=10_000))
    op.output("out", op.flat_map_batch("score", stream, update), KafkaSink(servers, config.output.alerts))
    run_main(flow)
    return tally.result()
