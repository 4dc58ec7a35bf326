"""The contract on the log in memory, and the accidents that only it can order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import pytest

from monitor.backends.abstract import AbortedError, Backend, Commit, Headers, Position, Revoked, TopicPartition
from monitor.backends.local import LocalBackend, LocalLog
from monitor.config.options import Config
from monitor.errors import BackendError, Reason
from tests.contract.backend_contract import BackendContract
from tests.contract.turns import Cluster, Turns


class LocalCluster(Cluster):
    def __init__(self) -> None:
        super().__init__("local")
        self.log = LocalLog()

    def create(self, topic: str, partitions: int) -> None:
        self.log.create_topic(topic, partitions)

    def create_state(self, partitions: int) -> None:
        self.log.create_topic(self.state, partitions)

    def widen(self, partitions: int, *backends: Backend) -> None:
        self.log.add_partitions(self.input, partitions)

    def recreate(self, partitions: int, *backends: Backend) -> None:
        self.log.create_topic(self.input, partitions)

    def delete(self, topic: str, *backends: Backend) -> None:
        self.log.delete_topic(topic)
        self.log.rebalance(self.name)

    def expire(self) -> None:
        self.log.positions[self.name].clear()

    def trim(self, partition: int, beginning: int) -> None:
        self.log.trim(TopicPartition(self.input, partition), beginning)

    def feed(
        self, partition: int, rows: Sequence[tuple[bytes | None, bytes | None, int]], headers: Headers = ()
    ) -> None:
        for key, value, timestamp_ms in rows:
            self.log.append(self.input, partition, key, value, timestamp_ms, headers)

    def feed_damaged(self, partition: int) -> None:
        self.log.append_damaged(self.input, partition, 1, Reason.TOO_LARGE)

    def backend(self, config: Config) -> Backend:
        return LocalBackend(self.log, config)

    def visible(self, topic: str) -> list[tuple[int, bytes | None, bytes | None]]:
        return [
            (partition.partition, key, value)
            for partition in self.log.partitions(topic)
            for read in [self.log.read(topic, partition.partition)]
            for key, value in zip(read.keys, read.values, strict=True)
        ]

    def stall(self, backend: Backend, partition: TopicPartition) -> None:
        self.log.stall(partition)

    def fail_next_commit(self, backend: Backend, when: Literal["before", "after"]) -> None:
        self.log.fail_next_commit(when)


class TestLocalBackend(BackendContract):
    @pytest.fixture
    def cluster(self) -> LocalCluster:
        return LocalCluster()

    def test_a_crashed_member_is_replaced(self, cluster: LocalCluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 2)
        first, second = start("a"), start("b")
        first.until(lambda: len(first.owned) == len(second.owned) == 1, second)
        cluster.log.crash(first.backend)  # type: ignore[arg-type]
        second.until(lambda: len(second.owned) == 2)
        with pytest.raises(BackendError, match="crashed"):
            first.turn()

    def test_a_member_that_slept_loses_its_partitions(self, cluster: LocalCluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        turns = start("a")
        turns.until(lambda: len(turns.owned) == 1)
        cluster.log.rebalance("local", lost=[turns.backend])  # type: ignore[list-item]
        turns.turn()
        assert Revoked(TopicPartition(cluster.input, 0), lost=True) in turns.events
        assert turns.owned == {TopicPartition(cluster.input, 0)}

    def test_retention_is_not_silent(self, cluster: LocalCluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"%d" % i, i) for i in range(10)])
        turns = start()
        turns.until(lambda: turns.count() == 10)
        partition = TopicPartition(cluster.input, 0)
        turns.backend.commit(Commit([], {partition: Position(3, 3, 0)}))
        turns.backend.begin(partition, 3)
        cluster.log.trim(partition, 6)
        with pytest.raises(AbortedError, match="retention"):
            turns.turn()
        assert turns.backend.recover() == {partition}
        restored = turns.backend.restore(partition)
        assert restored.position == Position(3, 3, 0)
        assert restored.beginning == 6

    def test_a_million_records_are_cheap(self, cluster: LocalCluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        count = 1_000_000
        cluster.log.extend(cluster.input, 0, [b"k"] * count, [b"v"] * count, range(count))
        backend = start().backend
        partition = TopicPartition(cluster.input, 0)
        backend.poll(0, 1)
        backend.begin(partition, 0)
        seen = 0
        while columns := backend.poll(0, 20_000).columns:
            seen += len(columns[0].offsets)
        assert seen == count
