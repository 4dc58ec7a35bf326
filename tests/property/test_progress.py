"""Stalls are found whatever else happens, and nothing that only takes its time is called one. Time is a number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitor.backends.abstract import Progress, TopicPartition
from monitor.backends.progress import ROUNDS, Tracker

TIMEOUT_S = 30.0
INTERVAL_S = 3.0
ONE, TWO = TopicPartition("in", 0), TopicPartition("in", 1)


class Log:
    """A log that answers every three seconds where it ends, and a tracker that hears of it."""

    def __init__(self, partitions: int) -> None:
        self.tracker = Tracker(TIMEOUT_S)
        self.now = self.asked_s = 1_000.0
        self.ends = {TopicPartition("in", number): 0 for number in range(partitions)}
        self.read = dict.fromkeys(self.ends, 0)
        for partition in self.ends:
            self.tracker.assigned(partition)
            self.tracker.restored(partition, 0, 0, self.now)
            self.tracker.begun(partition, 0, self.now)

    def poll(
        self,
        *partitions: TopicPartition,
        seconds: float = 0.1,
        steady: bool = True,
        more: bool = False,
    ) -> list[TopicPartition]:
        """One poll that brings these partitions to their ends, and what is stalled then."""
        self.now += seconds
        moved = [(one, self.ends[one]) for one in partitions if self.read[one] < self.ends[one]]
        self.read |= dict(moved)
        self.tracker.polled(moved, self.now, steady=steady, more=more)
        if self.now - self.asked_s >= INTERVAL_S:
            self.asked_s = self.now
            for partition, end in self.ends.items():
                self.tracker.answered(partition, end, self.now)
        return list(self.tracker.stalled(self.now))

    def hold_back(self, polls: int, seconds: float = 0.5) -> None:
        """Some polls while a backlog is worked off: everything is paused, and nothing of it is a stall."""
        self.tracker.paused(self.ends)
        for _ in range(polls):
            assert self.poll(seconds=seconds) == []
        self.tracker.resumed(self.ends, self.now)

    def progress(self, partition: TopicPartition = ONE) -> Progress:
        return self.tracker.snapshot()[partition]


@given(st.integers(2, 30), st.integers(0, 5))
def test_a_partition_that_is_passed_over_is_found_while_others_move(partitions: int, arrivals: int) -> None:
    log = Log(partitions)
    stuck, *others = log.ends
    found_s = None
    for turn in range(2_000):
        log.ends[stuck] += arrivals + (turn == 0)
        for other in others:
            log.ends[other] += 1
        if stalled := log.poll(*others):
            assert stalled == [stuck]
            found_s = log.now - 1_000.0
            break
    assert found_s is not None
    rounds_s = ROUNDS * 0.1
    assert TIMEOUT_S <= found_s <= TIMEOUT_S + 3 * INTERVAL_S + rounds_s


@given(st.integers(2, 12), st.integers(0, 40), st.booleans())
def test_no_pause_in_between_hides_a_stall(partitions: int, held_back: int, in_turn: bool) -> None:
    """There is always a backlog: a poll that takes records of others, then polls that may take none, and so on."""
    log = Log(partitions)
    stuck, *others = log.ends
    began_s, rounds, stalled = log.now, 0.0, list[TopicPartition]()
    while not stalled:
        log.ends = {each: end + 3 for each, end in log.ends.items()}
        log.hold_back(held_back)
        moving = [others[0]] if in_turn else others
        others = [*others[1:], others[0]]
        stalled = log.poll(*moving)
        rounds += len(moving) / partitions
        assert log.now - began_s < TIMEOUT_S + 3 * INTERVAL_S or rounds < 2 * ROUNDS, "passed over and not found"
    assert stalled == [stuck]
    assert log.now - began_s >= TIMEOUT_S


@given(st.integers(1, 12), st.integers(0, 40))
def test_a_fair_turn_is_no_stall_whatever_is_held_back_in_between(partitions: int, held_back: int) -> None:
    log = Log(partitions)
    for _ in range(10):
        for partition in log.ends:
            log.ends = {each: end + 3 for each, end in log.ends.items()}
            log.hold_back(held_back)
            assert log.poll(partition) == []


@given(st.integers(0, 200))
def test_what_is_held_for_good_is_no_stall(passed_over: int) -> None:
    """However often it was passed over before: it is held back on purpose now."""
    log = Log(2)
    log.ends[ONE] = 9
    for _ in range(passed_over):
        log.ends[TWO] += 1
        assert log.poll(TWO) == []
    log.tracker.paused([ONE])
    for _ in range(500):
        log.ends[TWO] += 1
        log.tracker.paused([TWO])
        assert log.poll() == []
        log.tracker.resumed([TWO], log.now)
        assert log.poll(TWO) == []


def test_empty_polls_count_by_their_time() -> None:
    """A fetch that failed while all was held back is made anew after it; until it is answered polls may be frequent."""
    log = Log(1)
    log.ends[ONE] = 9
    while not log.progress().waiting_s:
        log.poll()
    log.hold_back(100)
    for _ in range(1_000):
        assert log.poll(seconds=0.001) == []


@given(st.integers(1, 20))
def test_all_stuck_is_found_too(partitions: int) -> None:
    log = Log(partitions)
    log.ends = dict.fromkeys(log.ends, 5)
    stalled: list[TopicPartition] = []
    while not stalled:
        stalled = log.poll(seconds=0.5)
        assert log.now < 1_000.0 + TIMEOUT_S + 3 * INTERVAL_S
    assert sorted(stalled) == sorted(log.ends)


@given(st.integers(1, 40), st.floats(0.05, 5.0), st.randoms(use_true_random=False))
def test_a_fair_turn_is_no_stall_however_slow(partitions: int, seconds: float, chance: object) -> None:
    """One partition a poll, each in its turn, all with a backlog: a round may take minutes."""
    log = Log(partitions)
    for _ in range(30):
        for partition in log.ends:
            log.ends = {each: end + 3 for each, end in log.ends.items()}
            assert log.poll(partition, seconds=seconds) == []


@given(st.integers(2, 8), st.integers(1, 40), st.floats(0.05, 2.0))
def test_responses_that_take_many_polls_are_no_stall_of_the_others(partitions: int, polls: int, seconds: float) -> None:
    """One partition after another is handed over in many polls, and what was, is fetched anew only after the last."""
    log = Log(partitions)
    for _ in range(4):
        for left, partition in enumerate(log.ends, 1 - partitions):
            for poll in range(polls):
                log.ends = {each: end + 3 for each, end in log.ends.items()}
                assert log.poll(partition, seconds=seconds, more=left < 0 or poll > 0) == []


@given(st.integers(2, 8), st.integers(1, 40))
def test_responses_that_take_many_polls_hide_no_stall(partitions: int, polls: int) -> None:
    log = Log(partitions)
    stuck, *others = log.ends
    rounds, stalled = 0, list[TopicPartition]()
    while not stalled:
        for poll in range(polls * len(others)):
            log.ends = {each: end + 3 for each, end in log.ends.items()}
            stalled = stalled or log.poll(others[poll // polls], more=poll < polls * len(others) - 1)
        rounds += 1
        assert rounds <= 2 * ROUNDS + 1 or log.now - 1_000.0 < TIMEOUT_S + 3 * INTERVAL_S + 0.1 * polls * partitions
    assert stalled == [stuck]


@given(st.integers(1, 400))
def test_a_loop_that_was_away_is_no_stall(away_s: int) -> None:
    """A slow commit: nobody polled. The log's answers are taken in after it."""
    log = Log(2)
    log.ends[ONE] = 9
    assert log.poll(seconds=3.0) == []
    assert log.poll(seconds=float(away_s)) == []
    assert log.poll(ONE, TWO) == []
    assert log.progress().waiting_s is None


def test_silence_is_no_stall_of_ours() -> None:
    log = Log(1)
    log.ends[ONE] = 9
    log.poll(seconds=3.0)
    for _ in range(600):  # nobody answers for a minute
        log.tracker.polled([], log.now, steady=True)
        log.now += 0.1
        assert log.tracker.stalled(log.now) == []
    assert log.poll(seconds=0.1) == [], "the answer after it begins anew"
    assert log.progress().waiting_s == log.now


def test_what_is_paused_does_not_wait() -> None:
    log = Log(2)
    log.ends = {ONE: 9, TWO: 9}
    log.tracker.paused([ONE, TWO])
    for _ in range(1_000):
        assert log.poll() == []
    log.tracker.resumed([ONE, TWO], log.now)
    assert log.progress().waiting_s == log.now, "from now on"
    assert any(log.poll() for _ in range(1_000))


def test_a_rebalance_is_no_stall() -> None:
    log = Log(1)
    log.ends[ONE] = 9
    for _ in range(1_000):
        assert log.poll(steady=False) == []


def test_stalls_in_a_row_are_counted_until_it_moves_on() -> None:
    log = Log(1)
    log.ends[ONE] = 9
    for times in (1, 2, 3):
        while not log.poll(seconds=0.5):
            pass
        assert log.progress().stalls == times
        log.tracker.silenced([ONE])
        log.read[ONE] = 0
        log.tracker.begun(ONE, 0, log.now)
        assert log.progress().stalls == times, "reading the same again is no progress"
    log.poll(ONE)
    assert log.progress().stalls == 0


def test_a_commit_that_moves_and_an_answer_at_the_end_are_proof() -> None:
    log = Log(1)
    assert log.progress().assured_s == 1_000.0, "restored at its end"
    log.ends[ONE] = 5
    while log.now < 1_020.0:
        log.poll(ONE)
    assert log.progress().assured_s == 1_000.0, "read, not committed"
    log.tracker.committed(ONE, 3, log.now)
    first = log.now
    assert log.progress().assured_s == first
    while log.now < 1_040.0:
        log.poll(ONE)
    assert log.progress().assured_s == first, "behind, and no commit moved"
    log.tracker.committed(ONE, 3, log.now)
    assert log.progress().assured_s == first, "behind, and a commit of the same offset"
    log.tracker.committed(ONE, 5, log.now)
    while log.now < 1_060.0:
        log.poll(ONE)
    assert log.now - (log.progress().assured_s or 0) <= INTERVAL_S + 0.2, "each answer says that this is the end"


def test_what_was_proved_outlives_a_recovery_and_ends_with_the_partition() -> None:
    log = Log(2)
    log.tracker.silenced([ONE])
    assert log.tracker.snapshot().keys() == {ONE}
    assert log.progress().assured_s == 1_000.0
    assert log.progress().read is None
    log.tracker.revoked(ONE)
    log.tracker.committed(ONE, 5, log.now)
    log.tracker.answered(ONE, 5, log.now)
    assert log.tracker.snapshot() == {}
