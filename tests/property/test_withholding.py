"""A partition is held by counts in log order: however its records are cut into polls, and nothing of it gets out."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.backends.abstract import Restored, TopicPartition
from monitor.backends.local import LocalBackend, LocalLog
from monitor.config.options import Config
from monitor.errors import DamagedError, Reason
from monitor.formats.decoder import Ignored, Rejected
from monitor.processing.withholding import BLOCK, FIRST, Withholding
from monitor.serving.daemon import Daemon
from monitor.serving.telemetry import Telemetry, Vitals
from tests.helpers import make_artifact, make_columns, make_config, make_processor

ARTIFACT = make_artifact(length=6, hop=2, threshold=0.8, batch_rows=8)
SCORER = ARTIFACT.scorer()
TOPIC = "telltale.input"
BAD, GOOD = b"junk", b'{"value": 0.1}'


def held(refused: list[bool], cuts: list[int], ratio: float, run: int = 0) -> bool:
    withholding = Withholding(ratio, run)
    for begin, end in pairwise([0, *sorted(min(cut, len(refused)) for cut in cuts), len(refused)]):
        part = refused[begin:end]
        rejected = [Rejected(row, Reason.MALFORMED, "junk") for row, bad in enumerate(part) if bad]
        withholding.received(make_columns([b"x"] * len(part), first_offset=begin), rejected)
        if withholding.why:
            return True
    return False


def oracle(refused: list[bool], ratio: float, run: int = 0) -> bool:
    """Record by record."""
    if len(refused) >= FIRST and all(refused[:FIRST]):
        return True
    if run and any(bad and len(list(group)) > run for bad, group in groupby(refused)):
        return True
    blocks = [refused[at : at + BLOCK] for at in range(0, len(refused), BLOCK)]
    return any(sum(block) > int(ratio * BLOCK) for block in blocks)


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([1, FIRST - 1, FIRST, 449, 500, 501, 950, BLOCK])), max_size=6),
    st.lists(st.integers(0, 5_000), max_size=6),
    st.sampled_from([0.5, 0.9]),
    st.sampled_from([0, 1, FIRST - 2, 450, 950]),
)
@example([(False, 500), (True, 500)], [], 0.5, 0)
@example([(False, 501), (True, 499), (False, 501), (True, 499)], [], 0.5, 0)
def test_any_cuts_hold_the_same(runs: list[tuple[bool, int]], cuts: list[int], ratio: float, run: int) -> None:
    refused = [bad for bad, count in runs for _ in range(count)]
    assert held(refused, cuts, ratio, run) == oracle(refused, ratio, run)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.lists(st.integers(0, 40), max_size=6), st.integers(1, 6))
@example([True, False, True], [3], 1)
def test_a_run_is_found_at_its_first_offset_in_any_cuts(refused: list[bool], cuts: list[int], run: int) -> None:
    refused = [False, *refused]
    assert held(refused, cuts, 0.999, run) == oracle(refused, 0.999, run)
    withholding = Withholding(0.999, run)
    for begin, end in pairwise([0, *sorted(min(cut, len(refused)) for cut in cuts), len(refused)]):
        part = refused[begin:end]
        rejected = [Rejected(row, Reason.MALFORMED, "junk") for row, bad in enumerate(part) if bad]
        withholding.received(make_columns([b"x"] * len(part), first_offset=begin), rejected)
        if withholding.why:
            text = "".join("x" if bad else "." for bad in refused)
            assert withholding.since == text.index("x" * (run + 1))
            return


@given(
    st.lists(st.tuples(st.sampled_from("irxi"), st.sampled_from([1, 5, 499, BLOCK - 1, BLOCK])), max_size=5),
    st.lists(st.integers(0, 4_000), max_size=6),
    st.booleans(),
)
def test_a_partition_that_never_holds_a_channel_is_held(
    runs: list[tuple[str, int]], cuts: list[int], restored: bool
) -> None:
    """i: ignored, r: rejected, x: accepted."""
    records = "".join(kind * count for kind, count in runs)
    before = records[: records.index("x")] if "x" in records else records
    expected = before.count("i") >= BLOCK and not restored
    withholding, known = Withholding(0.9999), restored
    for begin, end in pairwise([0, *sorted(min(cut, len(records)) for cut in cuts), len(records)]):
        part = records[begin:end]
        rejected = [Rejected(row, Reason.MALFORMED, "junk") for row, kind in enumerate(part) if kind == "r"]
        rows = [row for row, kind in enumerate(part) if kind == "i"]
        ignored = Ignored(len(rows), rows, "it has 'disk', expected one of 'flow'")
        columns = make_columns([b"x"] * len(part), first_offset=begin)
        withholding.received(columns, rejected, ignored, known=known)
        if withholding.why:
            break
        known = known or "x" in part
    if "refused" not in withholding.why:
        assert bool(withholding.why) == expected
    if "ignored" in withholding.why:
        assert withholding.since == records.index("i")
        assert "it has 'disk', expected one of 'flow'" in withholding.why


def test_it_can_be_switched_off() -> None:
    assert not held([True] * 5_000, [], 1.0, 10)


class Setting:
    """Two partitions of a log, and a daemon on them."""

    def __init__(self, bad: list[bytes], good: list[bytes], **options: Any) -> None:
        self.log = LocalLog({TOPIC: 2})
        for partition, values in enumerate((bad, good)):
            self.log.extend(TOPIC, partition, [b"a"] * len(values), values, list(range(len(values))))
        self.options = options

    def run(self, turns: int = 60, **options: Any) -> Vitals:
        daemon, backend, vitals = self.daemon(**options)
        backend.start()
        for _ in range(turns):
            daemon.turn()
        self.holds = dict(vitals.health.holds)
        assert daemon.drain()
        return vitals

    def run_until_stopped(self) -> None:
        self.daemon()[0].run(until_caught_up=True)

    def daemon(self, **options: Any) -> tuple[Daemon, LocalBackend, Vitals]:
        limits = {"max_poll_records": 7, "commit_interval_ms": 1, "idle_commit_interval_ms": 1}
        config: Config = make_config(input={"start": "earliest", **self.options, **options}, limits=limits)
        processor = make_processor(config, ARTIFACT)
        vitals = Vitals()
        telemetry = Telemetry(vitals, lambda: processor.counts, {}, 1.0)
        backend = LocalBackend(self.log, config)
        return Daemon(config, backend, processor, SCORER, telemetry, vitals), backend, vitals

    def committed(self) -> list[int]:
        return [self.log.positions["telltale"][TopicPartition(TOPIC, number)].offset for number in (0, 1)]

    def letters(self) -> int:
        dead = "telltale.deadletters"
        return sum(len(self.log.read(dead, number).values) for _, number in self.log.partitions(dead))


def test_a_partition_is_held_and_the_others_go_on() -> None:
    setting = Setting([BAD] * 60, [GOOD] * 60)
    vitals = setting.run()
    assert (setting.committed(), setting.letters(), vitals.held) == ([0, 60], 0, 1)
    assert (
        "telltale.input-0 is held: all of the first 20 records were refused; most often malformed"
        in (setting.holds["held"])
    )
    setting.run()
    assert (setting.committed(), setting.letters()) == ([0, 60], 0), "again, after a restart"
    vitals = setting.run(max_rejected_ratio=1.0)
    assert (setting.committed(), setting.letters(), vitals.held) == ([60, 60], 60, 0)


def test_a_trickle_of_refused_records_is_not_passed_one_by_one() -> None:
    setting = Setting([BAD] * 19, [GOOD] * 3)
    assert setting.run().held == 0
    assert (setting.committed(), setting.letters()) == ([0, 3], 0)
    assert "telltale.input-0 is not committed: all 19 records so far were refused" in setting.holds["held"]
    setting.log.append(TOPIC, 0, key=b"a", value=GOOD, timestamp_ms=99)
    setting.run()
    assert (setting.committed(), setting.letters()) == ([20, 3], 19), "the first that is accepted lets them go"
    assert not setting.holds


def test_later_a_share_of_a_block_holds() -> None:
    setting = Setting([GOOD] * 50 + [BAD] * 2_000, [GOOD] * 3)
    vitals = setting.run(turns=500)
    offset, _ = setting.committed()
    assert vitals.held == 1
    assert 50 <= offset <= 950
    assert setting.letters() == offset - 50
    assert "more than 900 of 1000 records in a row were refused" in setting.holds["held"]


def test_a_run_holds_whatever_the_share() -> None:
    setting = Setting([GOOD] * 50 + [BAD] * 31 + [GOOD] * 50, [GOOD] * 3)
    vitals = setting.run(max_rejected_run=30)
    assert vitals.held == 1
    assert "more than 30 records one after the other were refused; most often malformed" in setting.holds["held"]
    assert setting.letters() == setting.committed()[0] - 50 < 31
    assert setting.run(max_rejected_run=31).held == 0
    assert (setting.committed(), setting.letters()) == ([131, 3], 31)


def test_the_daemon_stops_where_it_is_told_to() -> None:
    setting = Setting([BAD] * 60, [GOOD] * 60, on_rejected="stop")
    with pytest.raises(DamagedError, match=r"all of the first 20 records were refused.*Correct model\.artifact"):
        setting.run_until_stopped()
    bad, good = setting.committed()
    assert (bad, setting.letters()) == (0, 0)
    assert good > 0, "what the other partition had processed is committed"


def test_nothing_more_of_a_held_partition_is_taken_in() -> None:
    processor = make_processor(make_config(), ARTIFACT)
    place = TopicPartition(TOPIC, 0)
    processor.assign(place, Restored(None, (), beginning=0, end=100), 0)
    processor.receive(make_columns([BAD] * FIRST))
    assert place in processor.held
    counted = processor.counts.records.copy()
    processor.receive(make_columns([GOOD] * 50, first_offset=FIRST))
    assert (processor.counts.records, processor.next_batch()) == (counted, None)
