"""What keeps a commit whole, each rule by the fault that it is there for: a real broker, and a network that fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import KafkaProducer

from monitor.backends.abstract import AbortedError, Commit, Message, Position, Restored, Revoked, TopicPartition
from monitor.backends.kafka import FeedProducer, KafkaBackend, read_topic, settings
from tests import kafka_proxy
from tests.contract.kafka_cluster import KafkaCluster
from tests.contract.turns import Turns
from tests.kafka_proxy import Fate, KafkaProxy, Request

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def feed(kafka_bootstrap: str) -> Iterator[FeedProducer]:
    with FeedProducer(kafka_bootstrap) as producer:
        yield producer


@pytest.fixture
def cluster(kafka_bootstrap: str, feed: FeedProducer) -> KafkaCluster:
    return KafkaCluster(kafka_bootstrap, feed)


@pytest.fixture
def proxy(kafka_bootstrap: str) -> Iterator[KafkaProxy]:
    with KafkaProxy(kafka_bootstrap) as made:
        yield made


@pytest.fixture
def start(cluster: KafkaCluster, proxy: KafkaProxy, request: pytest.FixtureRequest) -> Callable[..., Turns]:
    """Starts a backend that has read the one record there is, by the proxy; `client` are settings of its producer."""

    def start(**client: Any) -> Turns:
        backend = KafkaBackend(cluster.config(kafka={"bootstrap_servers": [proxy.bootstrap]}))
        backend._transactions._settings |= client
        request.addfinalizer(backend.close)
        backend.start()
        turns = Turns(backend)
        turns.until(lambda: turns.count() == 1)
        return turns

    return start


def alert(cluster: KafkaCluster, value: bytes = b"alert") -> Message:
    return Message(cluster.alerts, b"pump", value)


def shard(cluster: KafkaCluster, value: bytes) -> Message:
    return Message(cluster.state, b"windows/0", value, partition=0)


def test_no_offset_moves_past_an_alert_that_was_not_taken(
    cluster: KafkaCluster, start: Callable[..., Turns], proxy: KafkaProxy
) -> None:
    """Every send's result is looked at (D1): the client commits without a batch whose delivery timed out."""
    cluster.create(cluster.input, 1)
    cluster.feed(0, [(None, b"x", 1)])
    partition = TopicPartition(cluster.input, 0)
    # Our own timeouts forbid it (test_timeouts_keep_their_order); this rule must hold by itself.
    turns = start(request_timeout_ms=2_000, delivery_timeout_ms=3_000)
    first = turns.backend.commit(Commit([], turns.positions()))  # the producer knows all coordinators from here on
    cluster.feed(0, [(None, b"y", 2)])
    turns.until(lambda: turns.count() == 2)

    def lose_alerts(request: Request) -> Fate:
        lost = request.api_key == kafka_proxy.PRODUCE and cluster.alerts.encode() in request.body
        return Fate.LOST if lost else Fate.ANSWERED

    proxy.judge = lose_alerts
    with pytest.raises(AbortedError, match="Expiring 1 record"):
        turns.backend.commit(Commit([alert(cluster)], turns.positions()))
    assert proxy.count(kafka_proxy.PRODUCE) > 0
    proxy.judge = kafka_proxy.always_answered
    turns.recover()
    assert turns.backend.restore(partition).position == first[partition], "the offset stands still"
    turns.until(lambda: turns.count() == 1)
    turns.backend.commit(Commit([alert(cluster)], turns.positions()))
    assert cluster.visible(cluster.alerts) == [(0, b"pump", b"alert")]


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNANSWERED])
def test_a_commit_that_timed_out_is_never_sent_again(
    cluster: KafkaCluster, start: Callable[..., Turns], proxy: KafkaProxy, fate: Fate
) -> None:
    """Only a new producer settles an unknown outcome; its predecessor says no more."""
    cluster.create(cluster.input, 1)
    cluster.feed(0, [(None, b"x", 1)])
    partition = TopicPartition(cluster.input, 0)
    turns = start(request_timeout_ms=1_000)
    proxy.judge = lambda request: fate if request.api_key == kafka_proxy.END_TXN else Fate.ANSWERED
    with pytest.raises(AbortedError):
        turns.backend.commit(Commit([alert(cluster)], turns.positions()))
    ends = proxy.count(kafka_proxy.END_TXN)
    assert ends == 1
    proxy.judge = kafka_proxy.always_answered
    for _ in range(2):
        with pytest.raises(AbortedError, match=r"recover\(\) settles it"):
            turns.backend.commit(Commit([alert(cluster, b"again")], turns.positions()))
    assert proxy.count(kafka_proxy.END_TXN) == ends
    turns.recover()
    done = fate is Fate.UNANSWERED
    settled = turns.backend.restore(partition).position
    assert (None if settled is None else settled.offset) == (1 if done else None)
    if not done:
        turns.until(lambda: turns.count() == 1)
        turns.backend.commit(Commit([alert(cluster)], turns.positions()))
    assert cluster.visible(cluster.alerts) == [(0, b"pump", b"alert")]


def _restored(turns: Turns, partition: TopicPartition) -> Restored:
    """As the daemon does it: again, while clients still keep away from a broker that hung up a moment ago."""
    deadline = time.monotonic() + 20.0
    while True:
        try:
            turns.recover()
            return turns.backend.restore(partition)
        except AbortedError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize("at", [kafka_proxy.TXN_OFFSET_COMMIT, kafka_proxy.END_TXN])
def test_a_commit_that_nobody_answers_ends_in_time(
    cluster: KafkaCluster, start: Callable[..., Turns], proxy: KafkaProxy, at: int
) -> None:
    """D5: brokers go away inside a commit: its outcome is unknown; the client would wait for ever."""
    cluster.create(cluster.input, 1)
    cluster.feed(0, [(None, b"x", 1)])
    partition = TopicPartition(cluster.input, 0)
    turns = start()
    turns.backend._transactions._commit_s = 1.5  # type: ignore[attr-defined]

    def leave(request: Request) -> Fate:
        if request.api_key != at:
            return Fate.ANSWERED
        proxy.go_away()
        return Fate.LOST

    proxy.judge = leave
    began = time.monotonic()
    with pytest.raises(AbortedError, match="no broker confirmed"):
        turns.backend.commit(Commit([alert(cluster)], turns.positions()))
    assert 1.4 < time.monotonic() - began < 5
    proxy.judge = kafka_proxy.always_answered
    proxy.come_back()
    assert _restored(turns, partition).position is None, "the offset stands still"
    turns.until(lambda: turns.count() == 1, recover=True)
    turns.backend.commit(Commit([alert(cluster)], turns.positions()))
    assert cluster.visible(cluster.alerts) == [(0, b"pump", b"alert")]


def test_a_checkpoint_is_written_with_its_position_or_not_at_all(
    cluster: KafkaCluster, start: Callable[..., Turns]
) -> None:
    """Shards replace the older ones by their keys: alone, they would leave the committed position without any."""
    cluster.create(cluster.input, 1)
    cluster.create(cluster.alerts, 1, max_message_bytes="1000")
    cluster.feed(0, [(None, b"x", 1)])
    partition = TopicPartition(cluster.input, 0)
    turns = start()
    first = turns.backend.commit(Commit([], {partition: Position(1, 1, 0)}, {partition: [shard(cluster, b"at 1")]}))
    cluster.feed(0, [(None, b"y", 2)])
    turns.until(lambda: turns.count() == 2)
    refused = Commit([alert(cluster, bytes(5000))], {partition: Position(2, 2, 0)}, {partition: [shard(cluster, b"2")]})
    with pytest.raises(AbortedError, match=r"max\.message\.bytes"):
        turns.backend.commit(refused)
    turns.recover()
    restored = turns.backend.restore(partition)
    assert (restored.position, [record.value for record in restored.state]) == (first[partition], [b"at 1"])
    assert [record.value for record in read_topic(cluster.bootstrap, cluster.state)] == [b"at 1"]


def test_state_behind_a_dead_members_open_transaction_is_waited_for(
    cluster: KafkaCluster, start: Callable[..., Turns]
) -> None:
    """State is read to the log's end: the last stable offset stands before the dead member's first message."""
    cluster.create(cluster.input, 1)
    cluster.feed(0, [(None, b"x", 1)])
    partition = TopicPartition(cluster.input, 0)
    turns = start()
    dead = KafkaProducer(
        bootstrap_servers=cluster.bootstrap, transactional_id=f"{cluster.name}/dead", metrics_enabled=False
    )
    try:
        dead.init_transactions()
        dead.begin_transaction()
        dead.send(cluster.state, b"unfinished", b"k", partition=0).get(timeout=10)
        turns.backend.commit(Commit([shard(cluster, b"committed behind it")], {partition: Position(1, 1, 0)}))
        ends = threading.Timer(1.0, dead.abort_transaction)  # in place of its timeout, which takes longer
        ends.start()
        began = time.monotonic()
        restored = turns.backend.restore(partition)
        ends.join()
    finally:
        dead.close()
    assert [record.value for record in restored.state] == [b"committed behind it"]
    assert time.monotonic() - began > 0.5, "it was read only after the transaction had ended"


def test_a_member_removed_while_it_rejoins_keeps_nothing(
    cluster: KafkaCluster, start: Callable[..., Turns], proxy: KafkaProxy
) -> None:
    """What it owned others have decided on since (D38): its position and its state are theirs no more."""
    cluster.create(cluster.input, 2)
    cluster.feed(0, [(None, b"x", 1)])
    partitions = {TopicPartition(cluster.input, each) for each in range(2)}
    first = start()
    first.until(lambda: first.owned == partitions)
    first.backend.commit(Commit([], first.positions()))
    proxy.judge = lambda request: Fate.LOST if request.api_key == kafka_proxy.JOIN_GROUP else Fate.ANSWERED
    joins = proxy.count(kafka_proxy.JOIN_GROUP)
    first.backend._member._consumer._coordinator.request_rejoin()  # type: ignore[attr-defined]
    first.until(lambda: proxy.count(kafka_proxy.JOIN_GROUP) > joins)
    cluster.expel("a")  # as the end of its session does
    backend = KafkaBackend(cluster.config("b"))
    try:
        backend.start()
        second = Turns(backend)
        second.until(lambda: second.owned == partitions)
        cluster.feed(0, [(None, b"y", 2)])
        second.until(lambda: second.count() == 1)
        second.backend.commit(Commit([alert(cluster)], second.positions()))
        proxy.judge = kafka_proxy.always_answered
        proxy.cut()
        members = [first.backend._member, backend._member]  # type: ignore[attr-defined]
        first.until(lambda: all(m.steady() for m in members) and first.owned | second.owned == partitions, second)
    finally:
        backend.close()
    lost = {event.partition for event in first.events if isinstance(event, Revoked) and event.lost}
    assert lost == partitions
    assert [row[3] for row in first.rows[TopicPartition(cluster.input, 0)]] == [b"x"], "the other one has decided y"


def test_a_client_that_can_not_be_replaced_now_is_replaced_later(
    cluster: KafkaCluster, start: Callable[..., Turns], proxy: KafkaProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a stall, brokers may be away: that is waited for like every outage, and nothing ends the process."""
    cluster.create(cluster.input, 1)
    cluster.feed(0, [(None, b"x", 1)])
    turns = start()
    monkeypatch.setattr(settings, "BOOTSTRAP_TIMEOUT_MS", 500)
    turns.backend._renew = True  # type: ignore[attr-defined]
    proxy.judge = lambda _: Fate.LOST
    with pytest.raises(AbortedError, match="recover: can't reach"):
        turns.backend.recover()
    assert turns.backend.lag() == {}
    proxy.judge = kafka_proxy.always_answered
    assert turns.backend.recover() == set(), "a new client owns nothing before it polls"
    turns.rows.clear()
    turns.until(lambda: turns.count() == 1)
