"""The contract on a real Apache Kafka, and what only Kafka can do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaConnectionError
from kafka.protocol.producer import EndTxnRequest
from kafka.structs import OffsetAndMetadata

from monitor.backends.abstract import (
    NO_STATE,
    AbortedError,
    Commit,
    Message,
    Position,
    Revoked,
    StalledError,
    TopicPartition,
)
from monitor.backends.kafka import FeedProducer, KafkaBackend, end_offsets, open_transactions, read_topic
from monitor.backends.kafka.clocks import wall_ms
from monitor.backends.kafka.succession import end_transactions_of_former_members
from monitor.config.connections import KafkaOptions
from monitor.errors import BackendError, ConfigError, FencedError
from tests.contract.backend_contract import BackendContract
from tests.contract.kafka_cluster import KafkaCluster
from tests.contract.turns import PATIENCE_S, Turns

pytestmark = pytest.mark.kafka
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def feed(kafka_bootstrap: str) -> Iterator[FeedProducer]:
    with FeedProducer(kafka_bootstrap) as producer:
        yield producer


class TestKafkaBackend(BackendContract):
    @pytest.fixture
    def cluster(self, kafka_bootstrap: str, feed: FeedProducer) -> KafkaCluster:
        return KafkaCluster(kafka_bootstrap, feed)

    def test_output_topics_are_created_with_their_settings(
        self, cluster: KafkaCluster, start: Callable[..., Turns]
    ) -> None:
        cluster.create(cluster.input, 3)
        start()
        for topic in (cluster.alerts, f"{cluster.name}.dead", cluster.state):
            assert len(end_offsets(cluster.bootstrap, topic)) == 3

    def test_topics_that_do_not_fit_are_all_reported(self, cluster: KafkaCluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 3, cleanup_policy="compact")
        cluster.create(cluster.state, 2, cleanup_policy="delete")
        cluster.create(cluster.alerts, 1, cleanup_policy="compact")
        with pytest.raises(ConfigError) as caught:
            start()
        lines = str(caught.value).splitlines()
        assert "3 problems" in lines[0]  # that the state topic is narrow is ours to mend
        for line, pattern in zip(
            lines[1:],
            [
                rf"input topic {cluster.input} has cleanup.policy=compact; expected delete",
                rf"output topic {cluster.alerts} has cleanup.policy=compact",
                rf"output topic {cluster.state} has cleanup.policy=delete; expected compact",
            ],
            strict=True,
        ):
            assert re.search(pattern, line), line

    def test_the_command_that_creates_a_topic_is_named(
        self, cluster: KafkaCluster, start: Callable[..., Turns]
    ) -> None:
        cluster.create(cluster.input, 3)
        with pytest.raises(ConfigError) as caught:
            start(output={"create_topics": False})
        command = rf"telltale kafka topics create {cluster.state} --partitions 3 .*compact.* --bootstrap-server \S+"
        assert re.search(command, str(caught.value))

    def test_a_record_of_ten_megabytes(self, cluster: KafkaCluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1, max_message_bytes="12000000")
        large = os.urandom(10_000_000)
        cluster.feed(0, [(b"before", b"x", 1), (b"large", large, 2), (b"after", b"y", 3)])
        turns = start()
        turns.until(lambda: turns.count() == 3)
        assert [row[2] for row in turns.rows[TopicPartition(cluster.input, 0)]] == [b"before", b"large", b"after"]
        assert turns.rows[TopicPartition(cluster.input, 0)][1][3] == large

    @pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
    def test_compressed_input(self, cluster: KafkaCluster, start: Callable[..., Turns], compression: str) -> None:
        cluster.create(cluster.input, 1)
        with FeedProducer(cluster.bootstrap, compression=compression) as feed:
            for i in range(1000):
                feed.send(cluster.input, b"value %d" % i, b"key", partition=0)
        turns = start()
        turns.until(lambda: turns.count() == 1000)
        assert turns.rows[TopicPartition(cluster.input, 0)][-1][3] == b"value 999"

    def test_restore_ends_behind_an_aborted_tail(self, cluster: KafkaCluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1)])
        turns = start()
        turns.until(lambda: turns.count() == 1)
        partition = TopicPartition(cluster.input, 0)
        kept = Message(cluster.state, b"k", b"kept", partition=0)
        turns.backend.commit(Commit([kept], {partition: Position(1, 1, 0)}))
        for _ in range(3):
            cluster.fail_next_commit(turns.backend, "before")
            with pytest.raises(AbortedError):
                turns.backend.commit(
                    Commit([Message(cluster.state, b"k", b"aborted", partition=0)] * 50, turns.positions())
                )
            turns.recover()
        began = time.monotonic()
        assert [record.value for record in turns.backend.restore(partition).state] == [b"kept"]
        assert time.monotonic() - began < 5
        # From a position inside the aborted tail there is nothing to find, and nothing to wait for.
        turns.backend.commit(Commit([], {partition: Position(1, 1, 60)}))
        assert turns.backend.restore(partition).state == ()

    def test_who_has_no_leader_is_not_waited_for_for_ever(
        self, cluster: KafkaCluster, start: Callable[..., Turns], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("monitor.backends.kafka.consumer._LEADER_TIMEOUT_MS", 500)
        cluster.create(cluster.input, 1)
        backend = start().backend
        assert isinstance(backend, KafkaBackend)
        nowhere = TopicPartition(cluster.input, 7)
        for question in (lambda: backend._member.bounds(nowhere), lambda: backend.offset_at(nowhere, 0)):
            began = time.monotonic()
            with pytest.raises(AbortedError, match="KafkaTimeoutError"):
                question()
            assert time.monotonic() - began < 5

    def test_a_state_topic_that_is_gone(self, cluster: KafkaCluster, start: Callable[..., Turns]) -> None:
        """Deleted, and then made again: what is lost is said each time, and what helps; that is tried."""
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1)])
        turns = start()
        turns.until(lambda: turns.count() == 1)
        partition = TopicPartition(cluster.input, 0)
        kept = Message(cluster.state, b"k", b"kept", partition=0)
        turns.backend.commit(Commit([kept], {partition: Position(1, 1, 1)}))
        cluster.delete(cluster.state)
        said = r"held the windows of all series, and which incidents are open.*"
        with pytest.raises(ConfigError, match=rf"{said}topics create {cluster.state} --partitions 1 .*alter-offsets"):
            turns.backend.restore(partition)
        cluster.create_state(1)
        with pytest.raises(ConfigError, match=rf"recreated; it {said}alter-offsets .*-o {cluster.input}:0:OFFSET"):
            turns.backend.restore(partition)
        turns.backend.close()
        cluster.expel("a")
        with cluster._admin() as admin:
            admin.alter_group_offsets(cluster.name, {KafkaPartition(*partition): OffsetAndMetadata(1, "", -1)})
        again = start()
        again.until(lambda: len(again.owned) == 1)
        assert again.restored[partition].position == Position(1, 1, NO_STATE)
        assert again.restored[partition].state == ()

    def test_what_an_old_client_says_late_is_not_heard(
        self, cluster: KafkaCluster, start: Callable[..., Turns]
    ) -> None:
        """Its close may outlast our patience: its listener goes on, on its own thread."""
        cluster.create(cluster.input, 1)
        turns = start()
        turns.until(lambda: len(turns.owned) == 1)
        backend, partition = turns.backend, TopicPartition(cluster.input, 0)
        assert isinstance(backend, KafkaBackend)
        listener = backend._member._consumer._subscription.rebalance_listener
        backend._renew = True
        turns.recover()
        turns.until(lambda: len(turns.owned) == 1)
        listener.on_partitions_revoked([KafkaPartition(*partition)])
        cluster.feed(0, [(None, b"x", 1)])
        turns.until(lambda: turns.count() == 1)
        assert turns.owned == {partition}

    def test_what_is_assigned_and_not_known_of_is_found(
        self, cluster: KafkaCluster, start: Callable[..., Turns]
    ) -> None:
        """Whatever the cause: it would be read by nobody, and missed by nobody."""
        cluster.create(cluster.input, 2)
        turns = start()
        turns.until(lambda: len(turns.owned) == 2)
        backend, partition = turns.backend, TopicPartition(cluster.input, 0)
        assert isinstance(backend, KafkaBackend)
        backend._member._events.append(Revoked(partition))
        deadline = time.monotonic() + PATIENCE_S
        with pytest.raises(StalledError, match=str(partition)):  # noqa: PT012 - it takes its time
            while time.monotonic() < deadline:
                turns.turn()
        turns.recover()
        cluster.feed(0, [(None, b"x", 1)])
        turns.until(lambda: turns.count() == 1)

    def test_committed_input_only(self, cluster: KafkaCluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        turns = start()
        turns.until(lambda: len(turns.owned) == 1)
        producer = KafkaProducer(
            bootstrap_servers=cluster.bootstrap, transactional_id=cluster.name, metrics_enabled=False
        )
        try:
            producer.init_transactions()
            for value, commit in ((b"1", True), (b"2", False), (b"3", True), (b"4", False)):
                producer.begin_transaction()
                producer.send(cluster.input, value)
                producer.flush()
                (producer.commit_transaction if commit else producer.abort_transaction)()
        finally:
            producer.close()
        partition = TopicPartition(cluster.input, 0)
        end = end_offsets(cluster.bootstrap, cluster.input)[partition]
        turns.until(lambda: turns.next[partition] == end)
        assert [row[3] for row in turns.rows[partition]] == [b"1", b"3"]
        assert turns.backend.lag() == {partition: 0}

    def test_a_transaction_that_hangs_is_named_with_its_offset(
        self,
        cluster: KafkaCluster,
        start: Callable[..., Turns],
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Five records of one, 295 behind it: to a reader of what is committed the partition ends before them all."""
        monkeypatch.setattr(open_transactions, "HELD_S", 1.0)
        cluster.create(cluster.input, 1)
        partition = TopicPartition(cluster.input, 0)
        cluster.feed(0, [(None, b"before", 1)])
        turns = start()
        turns.until(lambda: turns.count() == 1)
        producer = KafkaProducer(
            bootstrap_servers=cluster.bootstrap, transactional_id=f"{cluster.name}.hangs", metrics_enabled=False
        )
        try:
            producer.init_transactions()
            producer.begin_transaction()
            for _ in range(5):
                producer.send(cluster.input, b"open", partition=0)
            producer.flush()
            cluster.feed(0, [(None, b"behind", at) for at in range(295)])
            turns.until(lambda: bool(turns.backend.troubles()))
            assert turns.count() == 1
            (trouble,) = turns.backend.troubles()
            assert trouble.startswith(f"an open transaction at offset 1 of {partition} holds back 300 offsets since 20")
            assert turns.backend.progress()[partition].held_back == 300
            (said,) = [vars(record) for record in caplog.records if "open transaction" in record.message]
            assert (said["offset"], said["behind"]) == (1, 300)
            _follow(said["remedy"])
            turns.until(lambda: turns.count() == 296)
            turns.until(lambda: not turns.backend.troubles())
        finally:
            producer.close(timeout=0)
        assert turns.backend.progress()[partition].held_back == 0
        assert "The transaction has ended." in caplog.messages

    def test_retention_is_not_silent(self, cluster: KafkaCluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1)])
        turns = start()
        turns.until(lambda: turns.count() == 1)
        partition = TopicPartition(cluster.input, 0)
        turns.backend.commit(Commit([], turns.positions()))
        # Beyond the end is out of range like before the beginning, and needs no waiting for a log cleaner.
        turns.backend.begin(partition, 1000)
        deadline = time.monotonic() + PATIENCE_S
        with pytest.raises(AbortedError, match="retention"):  # noqa: PT012 - the fetch takes a few turns
            while time.monotonic() < deadline:
                turns.turn()
        turns.recover()
        cluster.feed(0, [(None, b"y", 2)])
        turns.until(lambda: turns.count() == 1)

    def test_a_message_too_large_for_its_topic(self, cluster: KafkaCluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.create(cluster.alerts, 1, max_message_bytes="1000")
        cluster.feed(0, [(None, b"x", 1)])
        turns = start()
        turns.until(lambda: turns.count() == 1)
        with pytest.raises(AbortedError, match=r"max\.message\.bytes"):
            turns.backend.commit(Commit([self.message(cluster, bytes(5000))], turns.positions()))
        turns.recover()
        turns.until(lambda: turns.count() == 1)
        turns.backend.commit(Commit([self.message(cluster, b"alert")], turns.positions()))
        assert cluster.visible(cluster.alerts) == [(0, b"pump", b"alert")]

    def test_a_kill_leaves_nothing_open(self, cluster: KafkaCluster, start: Callable[..., Turns]) -> None:
        """What a killed process leaves behind: an open transaction with messages and offsets in it."""
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1)])
        first = start("a")
        first.until(lambda: first.count() == 1)
        cluster.fail_next_commit(first.backend, "before")
        with pytest.raises(AbortedError):
            first.backend.commit(Commit([self.message(cluster, b"lost")], first.positions()))
        began = time.monotonic()
        second = start("a")
        second.until(lambda: second.count() == 1)
        assert time.monotonic() - began < 5, "the successor waited for the transaction's timeout"
        second.backend.commit(Commit([self.message(cluster, b"alert")], second.positions()))
        assert [row[2] for row in cluster.visible(cluster.alerts)] == [b"alert"]

    def test_a_producer_that_sent_requests_twice_is_replaced(
        self, cluster: KafkaCluster, start: Callable[..., Turns]
    ) -> None:
        """Its first EndTxn may still come, and would end the next transaction half-way, if the epoch were the same."""
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1)])
        turns = start("a")
        turns.until(lambda: turns.count() == 1)
        transactions = turns.backend._transactions  # type: ignore[attr-defined]
        first = transactions._producer
        network = first._sender._client
        send, ends = network.send, 0

        def lose_the_connection(node: Any, request: Any, **options: Any) -> Any:
            nonlocal ends
            answer = send(node, request, **options)
            if isinstance(request, EndTxnRequest):
                ends += 1
                if ends == 1:
                    network._manager._conns[node].close(KafkaConnectionError("ordered by the test"))
            return answer

        network.send = lose_the_connection
        for value in (b"1", b"2", b"3"):
            turns.backend.commit(Commit([self.message(cluster, value)], turns.positions()))
        assert ends >= 2, "EndTxn was not sent again, so the test shows nothing"
        before, after = (each._transaction_manager.producer_id_and_epoch for each in (first, transactions._producer))
        assert (after.producer_id, after.epoch) == (before.producer_id, before.epoch + 1)
        assert [row[2] for row in cluster.visible(cluster.alerts)] == [b"1", b"2", b"3"]

    def test_an_id_that_nobody_in_the_group_took_is_taken_back_once(
        self, cluster: KafkaCluster, start: Callable[..., Turns]
    ) -> None:
        """As after a sleep that no clock here has seen: a virtual machine that was paused."""
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1)])
        turns = start("a")
        turns.until(lambda: turns.count() == 1)

        def take_the_id() -> None:
            taker = KafkaProducer(
                bootstrap_servers=cluster.bootstrap, transactional_id=f"{cluster.name}/a", metrics_enabled=False
            )
            taker.init_transactions()
            taker.close()

        take_the_id()
        with pytest.raises(AbortedError, match="ended our transaction"):
            turns.backend.commit(Commit([self.message(cluster, b"alert")], turns.positions()))
        turns.recover()
        turns.until(lambda: turns.count() == 1)
        turns.backend.commit(Commit([self.message(cluster, b"alert")], turns.positions()))
        take_the_id()
        with pytest.raises(FencedError, match=r"service\.instance"):
            turns.backend.commit(Commit([self.message(cluster, b"again")], turns.positions()))
        assert [row[2] for row in cluster.visible(cluster.alerts)] == [b"alert"]

    def test_a_clock_that_is_a_day_ahead(
        self, cluster: KafkaCluster, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Output topics are stamped by the brokers, which refuse times of ours that are more than an hour ahead."""
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1)])
        backend = KafkaBackend(cluster.config(), now_ms=lambda: wall_ms() + DAY_MS)
        request.addfinalizer(backend.close)
        backend.start()
        turns = Turns(backend)
        turns.until(lambda: turns.count() == 1)
        assert backend.clock_ahead_s() is None
        backend.commit(Commit([self.message(cluster, b"alert")], turns.positions()))
        ahead_s = backend.clock_ahead_s()
        assert ahead_s is not None
        assert 86_390 < ahead_s < 86_410
        assert "24.0 h ahead of the brokers'" in [getattr(record, "difference", None) for record in caplog.records]
        (record,) = read_topic(cluster.bootstrap, cluster.alerts)
        assert abs(record.timestamp_ms - wall_ms()) < 60_000

    def test_a_clock_that_is_a_day_ahead_of_topics_that_keep_our_times(
        self, cluster: KafkaCluster, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
    ) -> None:
        cluster.create(cluster.input, 1)
        cluster.create(cluster.alerts, 1)
        cluster.feed(0, [(None, b"x", 1)])
        backend = KafkaBackend(cluster.config(), now_ms=lambda: wall_ms() + DAY_MS)
        request.addfinalizer(backend.close)
        backend.start()
        command = f"alter {cluster.alerts} --set message.timestamp.type=LogAppendTime"
        assert any(command in getattr(record, "command", "") for record in caplog.records)
        turns = Turns(backend)
        turns.until(lambda: turns.count() == 1)
        said = r"refuses our time: it takes times up to 20.*clock says .*alter TOPIC --set message\.timestamp\.type"
        with pytest.raises(AbortedError, match=said):
            backend.commit(Commit([self.message(cluster, b"alert")], turns.positions()))

    def test_an_idle_daemon_hears_that_it_is_fenced(self, cluster: KafkaCluster, start: Callable[..., Turns]) -> None:
        """Without a commit only the heartbeat's answer tells; the client keeps it to itself."""
        cluster.create(cluster.input, 1)
        first = start("a")
        first.until(lambda: len(first.owned) == 1)
        second = start("a")
        second.until(lambda: len(second.owned) == 1)
        deadline = time.monotonic() + PATIENCE_S
        with pytest.raises(FencedError, match=r"service\.instance"):  # noqa: PT012 - heartbeats take their time
            while time.monotonic() < deadline:
                first.turn()

    def test_a_rebalance_waits_for_a_commit(self, cluster: KafkaCluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 2)
        for number in (0, 1):
            cluster.feed(number, [(None, b"x", 1)])
        first = start("a")
        first.until(lambda: first.count() == 2)
        second = start("b")
        deadline = time.monotonic() + PATIENCE_S
        uncommitted = True
        while len(second.owned) < 1 and time.monotonic() < deadline:
            first.turn()
            if uncommitted and first.hurry:
                first.backend.commit(Commit([], first.positions()))
                uncommitted = False
            if second.turn():
                pytest.fail("a record was read again although it was committed before the rebalance")
        assert len(first.owned) == len(second.owned) == 1
        assert not uncommitted, "the rebalance was never seen while records were uncommitted"

    @pytest.mark.parametrize("arrive", ["between polls", "during a poll"])
    def test_added_partitions_are_read_though_the_rejoin_is_slow(
        self, cluster: KafkaCluster, start: Callable[..., Turns], monkeypatch: pytest.MonkeyPatch, arrive: str
    ) -> None:
        """D20: a rejoin for new partitions whose SyncGroup outlasts a poll was never completed."""
        cluster.create(cluster.input, 1)
        cluster.create(cluster.state, 3, cleanup_policy="compact")
        turns = start()
        turns.until(lambda: len(turns.owned) == 1)
        cluster.widen(3)
        coordinator = turns.backend._member._consumer._coordinator  # type: ignore[attr-defined]
        send = coordinator._manager.send

        async def late(*request: Any, **options: Any) -> Any:
            answer = await send(*request, **options)
            await coordinator._net.sleep(0.5)  # a remote cluster, or one that is busy
            return answer

        def sent(request: Any, *arguments: Any, **options: Any) -> Any:
            if type(request).__name__ != "SyncGroupRequest":
                return send(request, *arguments, **options)
            return coordinator._manager.call_soon(lambda: late(request, *arguments, **options))

        def hear() -> None:
            coordinator._cluster.request_update()  # what metadata_max_age_ms does in time
            while len(coordinator._cluster.partitions_for_topic(cluster.input)) < 3:
                time.sleep(0.01)

        ready = coordinator.ensure_coordinator_ready

        def hear_meanwhile(*arguments: Any, **options: Any) -> bool:
            monkeypatch.setattr(coordinator, "ensure_coordinator_ready", ready)
            hear()
            return bool(ready(*arguments, **options))

        monkeypatch.setattr(coordinator._manager, "send", sent)
        if arrive == "between polls":
            hear()
        else:
            monkeypatch.setattr(coordinator, "ensure_coordinator_ready", hear_meanwhile)
        for number in (1, 2):
            cluster.feed(number, [(None, b"x", 1)])
        turns.until(lambda: turns.count() == 2)
        assert len(turns.owned) == 3

    def test_another_member_waits_for_an_open_transaction(
        self, cluster: KafkaCluster, start: Callable[..., Turns]
    ) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1)])
        first = start("a")
        first.until(lambda: first.count() == 1)
        partition = TopicPartition(cluster.input, 0)
        first.backend.commit(Commit([Message(cluster.state, b"k", b"1", partition=0)], {partition: Position(1, 1, 0)}))
        cluster.fail_next_commit(first.backend, "before")
        with pytest.raises(AbortedError):
            first.backend.commit(
                Commit([Message(cluster.state, b"k", b"2", partition=0)], {partition: Position(1, 0, 0)})
            )
        first.backend.close()
        second = start("b")
        second.until(lambda: second.owned == {partition})
        restored = second.backend.restore(partition)
        assert restored.position == Position(1, 1, 0)
        assert [record.value for record in restored.state] == [b"1"]

    @pytest.mark.parametrize("sent", ["offsets", "state"])
    def test_a_dead_members_transaction_is_ended_by_its_successor(
        self, cluster: KafkaCluster, start: Callable[..., Turns], sent: str
    ) -> None:
        """Open is what it has sent: all but EndTxn, or nothing but the state's records."""
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1)])
        first = start("a", kafka={"transaction_timeout_ms": 60_000})
        first.until(lambda: first.count() == 1)
        if sent == "offsets":
            cluster.fail_next_commit(first.backend, "before")
        else:
            first.backend._transactions._producer.send_offsets_to_transaction = None  # type: ignore[attr-defined]
        lost = Message(cluster.state, b"k", b"lost", partition=0)
        with pytest.raises((AbortedError, TypeError)):
            first.backend.commit(Commit([lost], first.positions()))
        first.backend.close()
        began = time.monotonic()
        second = start("b")
        second.until(lambda: second.count() == 1)
        assert time.monotonic() - began < 20, "6 s of session, 60 s of transaction"
        second.backend.commit(Commit([self.message(cluster, b"alert")], second.positions()))
        assert [row[2] for row in cluster.visible(cluster.alerts)] == [b"alert"]

    def test_only_the_gone_of_our_group_are_taken_for_dead(
        self, cluster: KafkaCluster, start: Callable[..., Turns]
    ) -> None:
        cluster.create(cluster.input, 2)
        first, second = start("a"), start("b")
        first.until(lambda: len(first.owned) == len(second.owned) == 1, second)
        gone = f"{cluster.name}/gone"
        others = [f"other-{cluster.name}", f"{cluster.name}/their/a"]  # of other programs
        producers = [
            KafkaProducer(bootstrap_servers=cluster.bootstrap, transactional_id=name, metrics_enabled=False)
            for name in (gone, *others)
        ]
        for each in producers:
            each.init_transactions()
        alive = first.backend._transactions._producer  # type: ignore[attr-defined]
        for each in (alive, *producers):
            each.begin_transaction()
            each.send(cluster.alerts, b"alert")
            each.flush()
        admin = second.backend._admin  # type: ignore[attr-defined]
        opened = [
            each.transactional_id
            for listed in admin.list_transactions(state_filters=["Ongoing"]).values()
            for each in listed
        ]
        assert {f"{cluster.name}/a", gone, *others} <= set(opened)
        assert end_transactions_of_former_members(admin, cluster.config("stranger")) == [], "only a member may say"
        assert end_transactions_of_former_members(admin, cluster.config("b")) == [gone]
        alive.commit_transaction()
        for each in producers[1:]:
            each.abort_transaction()
        for each in producers:
            each.close(timeout=0)
        assert [row[2] for row in cluster.visible(cluster.alerts)] == [b"alert"]

    def test_who_has_left_is_not_taken_for_its_own_rival(
        self, cluster: KafkaCluster, start: Callable[..., Turns]
    ) -> None:
        """A static member that was paused for too long leaves only in its own eyes; the group still has its name."""
        cluster.create(cluster.input, 1)
        turns = start()
        turns.until(lambda: len(turns.owned) == 1)
        member = turns.backend._member  # type: ignore[attr-defined]
        member._consumer._coordinator.reset_generation()  # as at max_poll_interval_ms
        assert not member.displaced()
        turns.until(member.steady)

    def test_what_asks_for_ends_outlives_any_error(
        self, cluster: KafkaCluster, start: Callable[..., Turns], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Green hangs on its answers: were its thread to end, all would be red until somebody starts it again."""
        cluster.create(cluster.input, 1)
        failed: set[str] = set()
        ends = KafkaConsumer.end_offsets

        def fail(*arguments: object, **options: object) -> object:
            if threading.current_thread() is threading.main_thread():
                return ends(*arguments, **options)
            failed.add("ends")
            raise RuntimeError("ordered by the test")

        def fail_first(*_: object) -> None:
            failed.add("topics")
            raise RuntimeError("ordered by the test")

        with monkeypatch.context() as fault:
            fault.setattr(KafkaConsumer, "end_offsets", fail)
            turns = start(limits={"ready_age_ms": 3_000})
            turns.until(lambda: "ends" in failed)
            fault.setattr("monitor.backends.kafka.sentinel._refresh", fail_first)
            turns.until(lambda: "topics" in failed)
        (progress,) = turns.backend.progress().values()
        answered_s = turns.backend.answered_s() or 0.0
        turns.until(lambda: (turns.backend.answered_s() or 0.0) > answered_s)
        turns.until(lambda: turns.backend.progress()[TopicPartition(cluster.input, 0)] != progress)

    def test_an_unreachable_broker(self, cluster: KafkaCluster, unused_port: int) -> None:
        server = f"127.0.0.1:{unused_port}"
        backend = KafkaBackend(cluster.config(kafka={"bootstrap_servers": [server]}))
        began = time.monotonic()
        with pytest.raises(BackendError, match=rf"can't reach Kafka at {server} over PLAINTEXT: .*refused.*bootstrap"):
            backend.start()
        assert time.monotonic() - began < 10
        backend.close()

    def test_a_broker_that_speaks_another_protocol(self, cluster: KafkaCluster) -> None:
        backend = KafkaBackend(cluster.config(kafka={"security_protocol": "SSL"}))
        began = time.monotonic()
        with pytest.raises(ConfigError, match=r"does not use TLS .*set kafka\.security_protocol to PLAINTEXT"):
            backend.start()
        assert time.monotonic() - began < 10
        backend.close()

    def test_plain_clients_say_what_is_wrong(self, cluster: KafkaCluster) -> None:
        with pytest.raises(ConfigError, match="does not exist"):
            read_topic(KafkaOptions(bootstrap_servers=cluster.bootstrap.split(",")), cluster.input)


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _follow(remedy: str) -> None:
    """Does what the log says about a transaction whose producer is gone."""
    describe, abort = (found.split() for found in re.findall(r"python (-m kafka\.admin .*? -p \d+(?: --.*)?)", remedy))
    as_json = [*describe[:2], "--format", "json", *describe[2:]]
    said = subprocess.run([sys.executable, *as_json], capture_output=True, text=True, check=True)
    ((producers,),) = (found.values() for found in json.loads(said.stdout).values())
    (owner,) = [each for each in producers if each["current_transaction_start_offset"] >= 0]
    given = {"ID": str(owner["producer_id"]), "EPOCH": str(owner["producer_epoch"])}
    subprocess.run([sys.executable, *(given.get(word, word) for word in abort)], check=True, capture_output=True)
