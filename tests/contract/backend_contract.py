"""What every `Backend` must do, as tests; `test_local.py` and `test_kafka.py` run them.

Rules of this file: a test sees a backend through its contract and the log through a `Cluster`, never more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import pytest

from monitor.backends.abstract import (
    AbortedError,
    Assigned,
    Commit,
    Message,
    Position,
    Restored,
    Revoked,
    StalledError,
    TopicPartition,
)
from monitor.errors import ConfigError, FencedError, Reason
from tests.contract.turns import PATIENCE_S, Cluster, Turns


class BackendContract:
    """Subclasses give the fixture `cluster`."""

    @pytest.fixture
    def start(self, cluster: Cluster, request: pytest.FixtureRequest) -> Callable[..., Turns]:
        """Starts backends, and closes them after the test."""

        def start(instance: str = "a", **sections: dict[str, Any]) -> Turns:
            backend = cluster.backend(cluster.config(instance, **sections))
            request.addfinalizer(backend.close)
            backend.start()
            return Turns(backend)

        return start

    def message(self, cluster: Cluster, value: bytes, key: bytes = b"pump") -> Message:
        return Message(cluster.alerts, key, value)

    def test_records_come_back_as_they_were_written(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        rows = [(b"k1", b"v1", 1000), (None, b"v2", 3000), (b"k3", None, 2000), (b"", b"", 4000)]
        cluster.feed(0, rows)
        turns = start()
        turns.until(lambda: turns.count() == 4)
        partition = TopicPartition(cluster.input, 0)
        assert turns.rows[partition] == [(i, at, key, value) for i, (key, value, at) in enumerate(rows)]
        assert turns.columns[0].headers is None
        assert turns.next[partition] == 4
        assert all(type(value) is bytes for _, _, _, value in turns.rows[partition] if value is not None)

    def test_headers_come_only_when_asked_for(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(b"k", b"v", 1)], headers=[("series", b"pump-7")])
        turns = start(input={"series": "header:series"})
        turns.until(lambda: turns.count() == 1)
        assert [list(map(tuple, headers)) for headers in turns.columns[0].headers or ()] == [[("series", b"pump-7")]]

    def test_a_poll_returns_at_most_what_was_asked_for(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 2)
        for partition in (0, 1):
            cluster.feed(partition, [(None, b"%d" % i, i) for i in range(500)])
        turns = start()
        sizes: list[int] = []
        deadline = time.monotonic() + PATIENCE_S
        while sum(sizes) < 1000 and time.monotonic() < deadline:
            sizes.append(turns.turn(0.1, 70))
        assert sum(sizes) == 1000
        assert max(sizes) == 70
        for rows in turns.rows.values():
            assert [row[0] for row in rows] == list(range(500))

    def test_silent_until_begin(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 2)
        cluster.feed(0, [(None, b"x", 1)])
        turns = start()
        deadline = time.monotonic() + PATIENCE_S
        while len(turns.owned) < 2 and time.monotonic() < deadline:
            turns.turn(begin=False)
        assert turns.owned == {TopicPartition(cluster.input, 0), TopicPartition(cluster.input, 1)}
        assert all(isinstance(event, Assigned) for event in turns.events)
        assert sum(turns.turn(0.1, begin=False) for _ in range(5)) == 0
        turns.begin(TopicPartition(cluster.input, 0))
        turns.until(lambda: turns.count() == 1)

    def test_begin_reads_from_the_given_offset(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"%d" % i, i) for i in range(10)])
        turns = start()
        turns.until(lambda: turns.count() == 10)
        partition = TopicPartition(cluster.input, 0)
        turns.rows.clear()
        turns.backend.begin(partition, 7)
        turns.until(lambda: turns.count() == 3)
        assert [row[0] for row in turns.rows[partition]] == [7, 8, 9]
        with pytest.raises(ValueError, match="not ours"):
            turns.backend.begin(TopicPartition(cluster.input, 5), 0)

    def test_a_commit_is_one_thing(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1), (None, b"y", 2)])
        turns = start()
        turns.until(lambda: turns.count() == 2)
        partition = TopicPartition(cluster.input, 0)
        committed = turns.backend.commit(
            Commit([self.message(cluster, b"alert")], {partition: Position(2, replay_from=1, state_from=0)})
        )
        assert committed == {partition: Position(2, 1, 0)}
        assert cluster.visible(cluster.alerts) == [(0, b"pump", b"alert")]
        restored = turns.backend.restore(partition)
        assert restored.position == Position(2, 1, 0)
        assert (restored.beginning, restored.end) == (0, 2)
        # Positions alone are a commit as well.
        cluster.feed(0, [(None, b"z", 3)])
        turns.until(lambda: turns.count() == 3)
        turns.backend.commit(Commit([], {partition: Position(3, 3, 0)}))
        assert turns.backend.restore(partition).position == Position(3, 3, 0)

    def test_a_group_that_never_committed(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1)])
        turns = start()
        turns.until(lambda: bool(turns.owned))
        restored = turns.backend.restore(TopicPartition(cluster.input, 0))
        assert (restored.position, restored.state, restored.beginning, restored.end) == (None, (), 0, 1)

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_recover_settles_an_unknown_outcome(
        self, cluster: Cluster, start: Callable[..., Turns], when: Literal["before", "after"]
    ) -> None:
        cluster.create(cluster.input, 2)
        for number in (0, 1):
            cluster.feed(number, [(None, b"x", 1), (None, b"y", 2)])
        turns = start()
        turns.until(lambda: turns.count() == 4)
        cluster.fail_next_commit(turns.backend, when)
        with pytest.raises(AbortedError):
            turns.backend.commit(Commit([self.message(cluster, b"alert")], turns.positions()))
        with pytest.raises(AbortedError):
            turns.backend.commit(Commit([self.message(cluster, b"again")], turns.positions()))
        tried = turns.positions()
        owned = turns.backend.recover()
        assert owned == {TopicPartition(cluster.input, 0), TopicPartition(cluster.input, 1)}
        assert turns.quiet(0.3) == 0
        done = when == "after"
        for partition in owned:
            assert turns.backend.restore(partition).position == (tried[partition] if done else None)
        assert [row[1:] for row in cluster.visible(cluster.alerts)] == ([(b"pump", b"alert")] if done else [])
        turns.rows.clear()
        for partition in owned:
            turns.begin(partition)
        if not done:
            turns.until(lambda: turns.count() == 4)
        turns.backend.commit(Commit([self.message(cluster, b"next")], turns.positions()))
        assert [row[2] for row in cluster.visible(cluster.alerts)] == [b"alert"] * done + [b"next"]

    def test_state_is_the_newest_value_per_key(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 2)
        cluster.feed(1, [(None, b"x", 1)])
        turns = start()
        turns.until(lambda: turns.count() == 1)
        partition = TopicPartition(cluster.input, 1)
        position = Position(1, 1, 0)

        def state(key: bytes, value: bytes | None) -> Message:
            return Message(cluster.state, key, value, partition=1)

        turns.backend.commit(Commit([state(b"i1", b"open"), state(b"i2", b"open")], {partition: position}))
        turns.backend.commit(Commit([state(b"i1", b"worse"), state(b"i2", None)], {partition: position}))
        turns.backend.commit(Commit([state(b"i3", b"open")], {partition: position}))
        restored = turns.backend.restore(partition)
        assert [(record.key, record.value) for record in restored.state] == [(b"i1", b"worse"), (b"i3", b"open")]
        assert turns.backend.restore(TopicPartition(cluster.input, 0)).state == ()

        # A checkpoint stands for everything before it.
        committed = turns.backend.commit(
            Commit([], {partition: position}, {partition: [state(b"s0", b"shard 0"), state(b"s1", b"shard 1")]})
        )[partition]
        assert committed.state_from >= 5
        turns.backend.commit(Commit([state(b"i4", b"open")], {partition: committed}))
        restored = turns.backend.restore(partition)
        assert restored.position == committed
        assert [(record.key, record.value) for record in restored.state] == [
            (b"s0", b"shard 0"),
            (b"s1", b"shard 1"),
            (b"i4", b"open"),
        ]

    def test_aborted_state_is_never_restored(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1)])
        turns = start()
        turns.until(lambda: turns.count() == 1)
        partition = TopicPartition(cluster.input, 0)
        kept = Message(cluster.state, b"k", b"kept", partition=0)
        turns.backend.commit(Commit([kept], {partition: Position(1, 1, 0)}))
        cluster.fail_next_commit(turns.backend, "before")
        with pytest.raises(AbortedError):
            turns.backend.commit(
                Commit([Message(cluster.state, b"k", b"aborted", partition=0)], {partition: Position(1, 1, 0)})
            )
        turns.recover()
        assert [record.value for record in turns.backend.restore(partition).state] == [b"kept"]

    def test_members_share_partitions(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 4)
        first = start("a")
        first.until(lambda: len(first.owned) == 4)
        second = start("b")
        first.until(lambda: len(first.owned) == len(second.owned) == 2, second)
        assert not first.owned & second.owned
        gone = [event.partition for event in first.events if isinstance(event, Revoked)]
        assert set(gone) == second.owned
        for number in range(4):
            cluster.feed(number, [(None, b"x", 1)])
        first.until(lambda: first.count() + second.count() == 4, second)
        assert first.quiet() + second.quiet() == 0
        assert set(first.rows) == first.owned
        assert set(second.rows) == second.owned
        for turns in (first, second):
            turns.backend.commit(Commit([], turns.positions()))
        second.backend.close()
        first.until(lambda: len(first.owned) == 4)
        for number in range(4):
            cluster.feed(number, [(None, b"y", 2)])
        first.until(lambda: first.count() == 2 + 4)
        assert all(rows[-1] == (1, 2, None, b"y") for rows in first.rows.values())

    def test_a_rebalance_ends_what_is_uncommitted(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 2)
        cluster.feed(0, [(None, b"x", 1)])
        cluster.feed(1, [(None, b"x", 1)])
        first = start("a")
        first.until(lambda: first.count() == 2)
        second = start("b")
        deadline = time.monotonic() + PATIENCE_S
        with pytest.raises(AbortedError):  # noqa: PT012 - whichever turn hears of it
            while time.monotonic() < deadline:
                first.turn()
                second.turn()
        first.recover()
        assert len(first.owned) in (1, 2)
        # Rebalances go on for a while; each ends what was read in between, for both.
        first.until(
            lambda: len(first.owned) == len(second.owned) == 1 and first.count() == second.count() == 1,
            second,
            recover=True,
        )

    def test_a_damaged_batch_is_reported_between_its_neighbours(
        self, cluster: Cluster, start: Callable[..., Turns]
    ) -> None:
        """Behind good ones, two in a row, and at the end; nothing that lies around them is lost or read twice."""
        cluster.create(cluster.input, 2)
        good: list[tuple[bytes | None, bytes | None, int]] = [(b"k", b"v", 1), (b"k", b"v", 2)]
        for number in (0, 1):
            cluster.feed(number, good)
        cluster.feed_damaged(0)
        cluster.feed_damaged(0)
        cluster.feed(0, good)
        cluster.feed_damaged(0)
        turns = start()
        hurt = TopicPartition(cluster.input, 0)
        turns.until(lambda: turns.next.get(hurt) == 7 and turns.count() == 6)
        assert [row[0] for row in turns.rows[hurt]] == [0, 1, 4, 5]
        told = [(first, first + 1, Reason.TOO_LARGE) for first in (2, 3, 6)]
        assert turns.damaged() == told
        places = [columns.next_offset for columns in turns.columns if columns.partition == hurt]
        assert places == sorted(places)
        assert turns.backend.lag()[hurt] == 0
        turns.backend.commit(Commit([], turns.positions()))
        restored = turns.backend.restore(hurt).position
        assert restored is not None
        assert restored.offset == 7
        turns.backend.begin(hurt, 3)
        turns.until(lambda: len(turns.damaged()) == 5)
        assert turns.damaged()[3:] == told[1:]
        cluster.feed(0, good)
        turns.until(lambda: turns.next[hurt] == 9)

    def test_pause_and_resume(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 2)
        turns = start()
        turns.until(lambda: len(turns.owned) == 2)
        paused = TopicPartition(cluster.input, 0)
        turns.backend.pause([paused])
        for number in (0, 1):
            cluster.feed(number, [(None, b"x", 1)])
        turns.until(lambda: turns.count() == 1)
        assert turns.quiet(0.3) == 0
        assert turns.rows[paused] == []
        turns.backend.resume([paused])
        turns.until(lambda: turns.count() == 2)
        assert len(turns.rows[paused]) == 1

    @pytest.mark.parametrize("go_on", ["resume", "begin", "recover"])
    def test_a_partition_held_half_read_goes_on(
        self, cluster: Cluster, start: Callable[..., Turns], go_on: str
    ) -> None:
        """D16: the client never fetched it again once others had been read meanwhile."""
        cluster.create(cluster.input, 3)
        for number in range(3):
            cluster.feed(number, [(None, b"%d" % i, i) for i in range(2_000)])
        turns = start()
        turns.until(lambda: turns.count() > 0 and len(turns.owned) == 3, max_records=100)
        held = max(turns.rows, key=lambda partition: len(turns.rows[partition]))
        assert 0 < len(turns.rows[held]) < 2_000, "half read"
        turns.backend.pause([held])
        others = [partition for partition in turns.owned if partition != held]
        turns.until(lambda: all(len(turns.rows[partition]) == 2_000 for partition in others), max_records=700)
        assert len(turns.rows[held]) < 2_000
        if go_on == "resume":
            turns.backend.resume([held])
        elif go_on == "begin":
            turns.backend.begin(held, turns.next[held])
        else:
            next_offset = turns.next[held]
            turns.backend.recover()
            turns.backend.begin(held, next_offset)
        turns.until(lambda: turns.count() == 6_000)
        for rows in turns.rows.values():
            assert [row[0] for row in rows] == list(range(2_000))

    def test_progress_of_what_is_read_and_committed(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 2)
        cluster.feed(0, [(None, b"x", 1), (None, b"y", 2)])
        began = time.monotonic()
        turns = start(limits={"ready_age_ms": 1_000})
        full, empty = TopicPartition(cluster.input, 0), TopicPartition(cluster.input, 1)
        turns.until(lambda: turns.count() == 2 and len(turns.owned) == 2)
        progress = turns.backend.progress()
        assert (progress[full].read, progress[full].committed, progress[full].assured_s) == (2, None, None)
        assert (progress[empty].read, progress[empty].committed, progress[empty].assured_s) == (0, None, None)
        turns.backend.commit(Commit([], turns.positions()))
        committed = time.monotonic()
        for partition, offset in ((full, 2), (empty, 0)):
            assert turns.backend.progress()[partition].committed == offset
            assert (turns.backend.progress()[partition].assured_s or 0) > began
        turns.until(lambda: all((one.assured_s or 0) > committed for one in turns.backend.progress().values()))
        assert {one.end for one in turns.backend.progress().values()} == {0, 2}, "each is known to be at its end"
        assert (turns.backend.answered_s() or 0) > committed
        cluster.feed(0, [(None, b"z", 3)])
        turns.until(lambda: turns.backend.progress()[full].end == 3)
        behind = turns.backend.progress()[full].assured_s
        assert turns.quiet(1.0) + turns.count() >= 3
        assert turns.backend.progress()[full].assured_s == behind, "read, but not committed"
        assert turns.backend.progress()[full].waiting_s is None

    def test_a_partition_that_is_never_fetched_again(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        """Whatever the cause: it is found, and a new client reads on, nothing lost and nothing twice."""
        cluster.create(cluster.input, 2)
        turns = start(limits={"stall_timeout_ms": 1_500})
        turns.until(lambda: len(turns.owned) == 2)
        stuck, other = TopicPartition(cluster.input, 0), TopicPartition(cluster.input, 1)
        cluster.stall(turns.backend, stuck)
        cluster.feed(0, [(None, b"x", 1)])
        cluster.feed(1, [(None, b"x", 1)])
        turns.until(lambda: turns.count() == 1)
        deadline = time.monotonic() + PATIENCE_S
        with pytest.raises(StalledError, match=str(stuck)):  # noqa: PT012 - it takes its time
            while time.monotonic() < deadline:
                turns.turn()
        assert turns.backend.progress()[stuck].stalls == 1
        turns.recover()
        turns.until(lambda: turns.count() == 2)
        assert [row[0] for row in turns.rows[stuck]] == [row[0] for row in turns.rows[other]] == [0]
        assert turns.backend.progress()[stuck].stalls == 0

    @pytest.mark.parametrize("others", [1, 0])
    def test_an_input_topic_that_is_gone_is_said(
        self, cluster: Cluster, start: Callable[..., Turns], others: int
    ) -> None:
        """Also where it was the only one: somebody answers, so contact is not what is lost."""
        topics = [cluster.input, f"{cluster.name}.other"][: 1 + others]
        for topic in topics:
            cluster.create(topic, 1)
        turns = start(input={"topics": topics}, limits={"ready_age_ms": 1_000})
        turns.until(lambda: len(turns.owned) == len(topics))
        assert turns.backend.troubles() == []
        gone = topics[-1]
        cluster.delete(gone, turns.backend)
        turns.until(lambda: len(turns.owned) == others and bool(turns.backend.troubles()))
        (trouble,) = turns.backend.troubles()
        assert trouble.startswith(f"input topic {gone} is not there")
        assert (turns.backend.answered_s() or 0) > time.monotonic() - 1.0
        cluster.create(gone, 1)
        turns.until(lambda: len(turns.owned) == len(topics) and not turns.backend.troubles(), recover=True)

    def test_a_stall_is_found_under_a_backlog(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        """As the daemon works one off: everything is held back while it decides, and resumed for one poll."""
        cluster.create(cluster.input, 2)
        turns = start(limits={"stall_timeout_ms": 1_500})
        turns.until(lambda: len(turns.owned) == 2)
        stuck = TopicPartition(cluster.input, 0)
        cluster.stall(turns.backend, stuck)
        cluster.feed(0, [(None, b"x", 1)])
        cluster.feed(1, [(None, b"%d" % i, i) for i in range(2_000)])
        deadline = time.monotonic() + PATIENCE_S
        with pytest.raises(StalledError, match=str(stuck)):  # noqa: PT012 - it takes its time
            while time.monotonic() < deadline:
                turns.backend.pause(list(turns.owned))
                turns.turn(0.2)
                turns.backend.resume(list(turns.owned))
                turns.turn(0.05, 5)
        assert turns.count() > 5, "the other one was read"

    def test_what_is_paused_does_not_count_as_stalled(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        turns = start(limits={"stall_timeout_ms": 1_000})
        turns.until(lambda: len(turns.owned) == 1)
        turns.backend.pause(list(turns.owned))
        cluster.feed(0, [(None, b"x", 1)])
        assert turns.quiet(2.5) == 0
        turns.backend.resume(list(turns.owned))
        turns.until(lambda: turns.count() == 1)

    def test_offset_at(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1000), (None, b"y", 2000), (None, b"z", 3000)])
        turns = start()
        turns.until(lambda: turns.count() == 3)
        at = {
            moment: turns.backend.offset_at(TopicPartition(cluster.input, 0), moment)
            for moment in (0, 1500, 2000, 9000)
        }
        assert at == {0: 0, 1500: 1, 2000: 1, 9000: 3}

    def test_lag(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"%d" % i, i) for i in range(100)])
        turns = start()
        partition = TopicPartition(cluster.input, 0)
        deadline = time.monotonic() + PATIENCE_S
        while turns.count() == 0 and time.monotonic() < deadline:
            turns.turn(0.1, 10)
        assert turns.backend.lag() == {partition: 90}
        turns.until(lambda: turns.count() == 100)
        assert turns.backend.lag() == {partition: 0}

    def test_a_second_daemon_of_the_same_name_fences_the_first(
        self, cluster: Cluster, start: Callable[..., Turns]
    ) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1)])
        first = start("a")
        first.until(lambda: first.count() == 1)
        second = start("a")
        second.until(lambda: second.count() == 1)
        with pytest.raises(FencedError, match=r"service\.instance"):
            first.backend.commit(Commit([self.message(cluster, b"zombie")], first.positions()))
        second.backend.commit(Commit([self.message(cluster, b"alert")], second.positions()))
        assert [row[2] for row in cluster.visible(cluster.alerts)] == [b"alert"]

    def test_a_restart_goes_on_where_the_last_commit_was(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"%d" % i, i) for i in range(5)])
        first = start("a")
        first.until(lambda: first.count() == 5)
        partition = TopicPartition(cluster.input, 0)
        first.backend.commit(Commit([], {partition: Position(3, 1, 0)}))
        first.backend.close()
        first.backend.close()
        second = start("a")
        second.until(lambda: second.count() == 2)
        assert [row[0] for row in second.rows[partition]] == [3, 4]
        assert second.backend.restore(partition).position == Position(3, 1, 0)

    def test_the_state_topic_becomes_as_wide_as_the_input(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 3)
        cluster.create_state(1)
        turns = start()
        turns.until(lambda: len(turns.owned) == 3)
        last = TopicPartition(cluster.input, 2)
        state = Message(cluster.state, b"k", b"v", partition=2)
        turns.backend.commit(Commit([state], turns.positions()))
        assert [record.value for record in turns.backend.restore(last).state] == [b"v"]

    def test_partitions_are_added_while_we_run(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1)])
        turns = start()
        turns.until(lambda: turns.count() == 1)
        turns.backend.commit(Commit([self.message(cluster, b"alert")], turns.positions()))
        first, last = TopicPartition(cluster.input, 0), TopicPartition(cluster.input, 2)
        assert not turns.restored[first].added
        cluster.widen(3, turns.backend)
        cluster.feed(2, [(None, b"y", 1)])
        turns.until(lambda: len(turns.owned) == 3 and turns.count() == 2, recover=True)
        assert turns.restored[last].added
        assert turns.restored[last].position is None
        assert turns.restored[last].partitions == 3
        state = [Message(cluster.state, b"k", b"v%d" % each, partition=each) for each in range(3)]
        committed = turns.backend.commit(Commit(state, turns.positions(), {last: [state[2]]}))
        restored = turns.backend.restore(last)
        assert restored.position == committed[last]
        assert [record.value for record in restored.state] == [b"v2"]

    def test_a_state_topic_that_we_may_not_widen(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        start().backend.close()  # which creates the outputs
        turns = start("b", output={"create_topics": False})
        turns.until(lambda: len(turns.owned) == 1)
        cluster.widen(2, turns.backend)
        with pytest.raises(ConfigError, match=rf"state topic {cluster.state} has 1 partitions; expected 2"):
            turns.until(lambda: len(turns.owned) == 2, recover=True)

    def test_the_state_is_found_without_the_groups_offsets(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1), (None, b"y", 2)])
        first = start()
        first.until(lambda: first.count() == 2)
        partition = TopicPartition(cluster.input, 0)
        before = [Message(cluster.state, b"k", value, partition=0) for value in (b"long" * 2000, b"short", None)]
        state = Message(cluster.state, b"k", b"v", partition=0)
        first.backend.commit(Commit(before, first.positions(), {partition: [state]}))
        topic_id = first.restored[partition].topic_id
        first.backend.close()
        cluster.expire()
        restored = self.taken_over(start, partition)
        assert (restored.position, restored.topic_id, restored.added) == (None, topic_id, False)
        assert [record.value for record in restored.state] == [b"v"]
        assert restored.history == ((b"k", b""), (b"k", b"short"), (b"k", None), (b"k", b"v"))

    def taken_over(self, start: Callable[..., Turns], partition: TopicPartition) -> Restored:
        turns = start()
        turns.until(lambda: turns.owned == {partition})
        return turns.restored[partition]

    def test_a_topic_that_was_made_again_has_another_id(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1), (None, b"y", 2)])
        first = start()
        first.until(lambda: first.count() == 2)
        partition = TopicPartition(cluster.input, 0)
        state = Message(cluster.state, b"k", b"v", partition=0)
        first.backend.commit(Commit([], first.positions(), {partition: [state]}))
        topic_id = first.restored[partition].topic_id
        assert topic_id
        first.backend.close()
        cluster.recreate(1)
        restored = self.taken_over(start, partition)
        assert restored.topic_id not in ("", topic_id)
        assert restored.position is None, "the broker forgets a group's offsets with their topic"
        assert [record.value for record in restored.state] == [b"v"], "but not the state"

    def test_a_topic_that_is_made_again_with_fewer_partitions_leaves_orphans(
        self, cluster: Cluster, start: Callable[..., Turns]
    ) -> None:
        cluster.create(cluster.input, 4)
        first = start()
        first.until(lambda: len(first.owned) == 4)
        state = [Message(cluster.state, b"k", b"v%d" % each, partition=each) for each in range(4)]
        first.backend.commit(Commit(state, first.positions()))
        first.backend.close()
        cluster.recreate(2)
        turns = start()
        turns.until(lambda: len(turns.owned) == 2, recover=True)
        found = {at.partition: [record.value for record in each.state] for at, each in turns.restored.items()}
        assert found == {0: [b"v0", b"v2"], 1: [b"v1", b"v3"]}

    def test_a_topic_that_is_made_again_while_we_read_is_noticed(
        self, cluster: Cluster, start: Callable[..., Turns]
    ) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"x", 1), (None, b"y", 2)])
        turns = start()
        turns.until(lambda: turns.count() == 2)
        partition = TopicPartition(cluster.input, 0)
        before = turns.restored[partition].topic_id
        cluster.recreate(1, turns.backend)
        cluster.feed(0, [(None, b"new %d" % i, i) for i in range(5)])  # the old position exists in it
        turns.until(
            lambda: (
                turns.restored[partition].topic_id != before and [row[0] for row in turns.rows[partition]][-1:] == [4]
            ),
            recover=True,
        )
        values = [row[3] for row in turns.rows[partition]]
        assert values[-5:] == [b"new %d" % i for i in range(5)], "all of the new topic"

    def test_retention_that_overtook_us_is_an_abort(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 1)
        cluster.feed(0, [(None, b"%d" % i, i) for i in range(10)])
        turns = start()
        turns.until(lambda: turns.count() == 10)
        partition = TopicPartition(cluster.input, 0)
        turns.backend.commit(Commit([], {partition: Position(3, 3, 0)}))
        cluster.trim(0, 6)
        turns.backend.begin(partition, 3)
        deadline = time.monotonic() + PATIENCE_S
        with pytest.raises(AbortedError, match="retention"):  # noqa: PT012 - the fetch takes a few turns
            while time.monotonic() < deadline:
                turns.turn()
        assert turns.backend.recover() == {partition}
        restored = turns.backend.restore(partition)
        assert (restored.position, restored.beginning, restored.end) == (Position(3, 3, 0), 6, 10)

    def test_a_missing_input_topic_is_named(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        with pytest.raises(ConfigError, match=cluster.input):
            start()

    def test_missing_output_topics_are_all_named(self, cluster: Cluster, start: Callable[..., Turns]) -> None:
        cluster.create(cluster.input, 3)
        with pytest.raises(ConfigError) as caught:
            start(output={"create_topics": False})
        for topic in (cluster.alerts, f"{cluster.name}.dead", cluster.state):
            assert topic in str(caught.value)
