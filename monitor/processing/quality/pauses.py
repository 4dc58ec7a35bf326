"""How often series send: learned from the partition's time between the records of each, in blocks of such pauses.

A series is known after `FIRST` pauses, and goes by the last 128 to 256 from then on.

    usual pause    the mean, without the two longest
    limit          `PERIODS` usual pauses; four times the second longest at least, and the least that is asked for

So one long pause that is not reported, such as an outage of all, changes nothing. Who sends in bursts, in chunks, or
only what has changed, is measured by the pauses between. While little is known, more is asked for: eight times the
second longest after eight pauses, and `YOUNG` times the least until a series is as old.

One that is reported raises the limit to four times as long, of which more than `MOST` limits do not count: so that who
pauses now and then is not reported again and again. The limit is that at least until the first block that is full
`RAISED_US` later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from monitor.detector.arrays import BoolArray, Int64Array
from monitor.detector.event_time import counts_of, firsts_of
from monitor.detector.memory import Memory
from monitor.detector.times import NEVER_US

PERIODS = 10
FIRST, SECOND, BLOCK = 8, 32, 128  # pauses after which the limit is learned anew: the third again and again
LONGEST, FEW = 4, 32  # the limit is (LONGEST + FEW / pauses) times the second longest pause, at least
YOUNG = 30
MOST = 5
RAISED_US = 14 * 86_400 * 1_000_000

# What is remembered of a series.
FIELDS = (
    "limit_us",
    "usual_us",
    "pauses",  # so many, up to now
    "since_us",  # when the first of them began, the first of the present block, and the first of the block before
    "block_us",
    "before_us",
    "longest_us",  # of the present block, and of the block before
    "second_us",
    "longest_before_us",
    "second_before_us",
    "raised_us",  # what the limit is at least; 0 where that is over
    "raised_until_us",
)


class Longest(NamedTuple):
    """The longest and the second longest of some pauses, (m,) times."""

    first_us: Int64Array
    second_us: Int64Array

    @classmethod
    def of(cls, pauses_us: Int64Array, begins: Int64Array) -> Longest:
        """Of pauses (n,), of which some follow each of `begins` (m,)."""
        if len(begins) == len(pauses_us):
            return cls(pauses_us, np.zeros_like(pauses_us))
        first_us = np.maximum.reduceat(pauses_us, begins)
        is_first = pauses_us == np.repeat(first_us, counts_of(begins, len(pauses_us)))
        several = np.add.reduceat(is_first, begins, dtype=np.int64) > 1
        second_us = np.maximum.reduceat(np.where(is_first, 0, pauses_us), begins)
        return cls(first_us, np.where(several, first_us, second_us))

    def and_of(self, first_us: Int64Array, second_us: Int64Array) -> Longest:
        """Of these pauses and of others."""
        next_us = np.minimum(self.first_us, first_us)
        second_us = np.maximum(np.maximum(self.second_us, second_us), next_us)
        return Longest(np.maximum(self.first_us, first_us), second_us)


class Long(NamedTuple):
    """Which of some pauses were over the limit (k,), with the limit and the usual pause as they were known then.

    `block_us` is when the block of each began, `NEVER_US` where that was before these pauses.
    """

    pause: Int64Array
    limit_us: Int64Array
    usual_us: Int64Array
    block_us: Int64Array


class _Parts(NamedTuple):
    """k parts of the pauses of m series, those in one block each: whose they are, and where they begin.

    `opens` marks the first of each series, `lasts` (m,) are the last ones. `full` (f,) are the parts that fill their
    block, and `total` (f,) is how many pauses of their series there were then.
    """

    of: Int64Array
    begins: Int64Array
    opens: BoolArray
    lasts: Int64Array | slice
    full: Int64Array
    total: Int64Array

    @classmethod
    def made(cls, known: Int64Array, counts: Int64Array, firsts: Int64Array) -> _Parts:
        """Of `counts` (m,) pauses of each series from `firsts` (m,) on, with `known` (m,) before them."""
        series, until = np.arange(len(known)), known + counts
        first, last = _blocks(known), _blocks(until)
        if (first == last).all():
            return cls(series, firsts, np.ones(len(known), dtype=np.bool_), slice(None), series[:0], series[:0])
        parts = last - first + (until > _pauses(last))
        of = np.repeat(series, parts)
        number = np.arange(len(of)) - np.repeat(np.cumsum(parts) - parts, parts)
        block = first[of] + number
        begins = firsts[of] + np.maximum(_pauses(block) - known[of], 0)
        full = np.flatnonzero(block < last[of])
        return cls(of, begins, number == 0, np.cumsum(parts) - 1, full, _pauses(block[full] + 1))


def learn(memory: Memory, series: Int64Array, before_us: Int64Array, at_us: Int64Array, least_us: int) -> Long:
    """Learns from pauses (n,), those of a series together and in order; each lasted from `before_us` to `at_us`.

    Those of the long ones that are reported raise limits: see `raised`.
    """
    firsts = firsts_of(series)
    rows, counts = series[firsts], counts_of(firsts, len(series))
    known, pauses_us = memory["pauses"][rows], at_us - before_us
    parts = _Parts.made(known, counts, firsts)
    own = rows[parts.of]
    new = Longest.of(pauses_us, parts.begins)
    longest = new.and_of(*(memory[name][own] * parts.opens for name in ("longest_us", "second_us")))
    limit_us, usual_us, block_us = memory["limit_us"][own], memory["usual_us"][own], np.full(len(own), NEVER_US)
    memory["pauses"][rows] = known + counts
    memory["longest_us"][rows], memory["second_us"][rows] = (column[parts.lasts] for column in longest)
    if len(parts.full):
        then = _fill(memory, own, parts, longest, before_us, at_us, least_us)
        goes_on = ~np.append(parts.opens, True)[parts.full + 1]  # the series has pauses after that
        next_part = parts.full[goes_on] + 1
        limit_us[next_part], usual_us[next_part], block_us[next_part] = (column[goes_on] for column in then)
        for name in ("longest_us", "second_us"):
            memory[name][own[parts.full[~goes_on]]] = 0
    none = firsts[:0]
    if not (new.first_us > limit_us).any():  # as it mostly is
        return Long(none, none, none, none)
    part = np.repeat(np.arange(len(own)), counts_of(parts.begins, len(series)))
    pause = np.flatnonzero(pauses_us > limit_us[part])
    return Long(pause, limit_us[part[pause]], usual_us[part[pause]], block_us[part[pause]])


def raised(
    memory: Memory,
    rows: Int64Array,
    long: Long,
    pause_us: Int64Array,
    at_us: Int64Array,
    reported: Callable[[Int64Array, Int64Array], BoolArray],
) -> Int64Array:
    """The limits of long pauses (k,), as those before each raise them that are reported; remembers what they raise.

    `rows` (k,) are their series, those of a series together and in order, and `at_us` (k,) when they ended. `reported`
    says of some of them, by their indices and limits, which are.
    """
    limit_us, number = long.limit_us.copy(), np.arange(len(rows)) - np.searchsorted(rows, rows)
    for each in range(number.max(initial=-1) + 1):  # the first of each series, then the second: there are few
        some = np.flatnonzero(number == each)
        goes_on = long.block_us[some] < memory["raised_until_us"][rows[some]]
        limit_us[some] = np.maximum(limit_us[some], memory["raised_us"][rows[some]] * goes_on)
        some = some[reported(some, limit_us[some])]
        memory["raised_us"][rows[some]] = LONGEST * np.minimum(pause_us[some], MOST * limit_us[some])
        memory["raised_until_us"][rows[some]] = at_us[some] + RAISED_US
    over = memory["block_us"][rows] >= memory["raised_until_us"][rows]
    memory["raised_us"][rows[over]] = 0
    memory["limit_us"][rows] = np.maximum(memory["limit_us"][rows], memory["raised_us"][rows])
    return limit_us


def _fill(
    memory: Memory,
    own: Int64Array,
    parts: _Parts,
    longest: Longest,
    before_us: Int64Array,
    at_us: Int64Array,
    least_us: int,
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Learns from blocks that are full; the limit and usual pause that are known with each (f,), and when it ended."""
    full, rows, opens = parts.full, own[parts.full], parts.opens[parts.full]
    began_us = np.where(opens, memory["block_us"][rows], before_us[parts.begins[full]])
    ended_us = at_us[(parts.begins + counts_of(parts.begins, len(at_us)))[full] - 1]
    block = {
        "before_us": began_us,
        "longest_before_us": longest.first_us[full],
        "second_before_us": longest.second_us[full],
    }
    # The block before each is the full part before it, or the one that is remembered.
    previous = np.arange(len(full)) - 1
    before = {name: np.where(opens, memory[name][rows], column[previous]) for name, column in block.items()}
    both = Longest(block["longest_before_us"], block["second_before_us"]).and_of(
        before["longest_before_us"], before["second_before_us"]
    )
    pauses = parts.total - _pauses(np.maximum(_blocks(parts.total) - 2, 0))
    usual_us = (ended_us - before["before_us"] - both.first_us - both.second_us) // (pauses - 2)
    limit_us = np.maximum(PERIODS * usual_us, np.rint((LONGEST + FEW / pauses) * both.second_us).astype(np.int64))
    young = ended_us - memory["since_us"][rows] < YOUNG * least_us
    limit_us = np.maximum(limit_us, np.where(young, YOUNG * least_us, least_us))
    over = ended_us >= memory["raised_until_us"][rows]
    limit_us = np.maximum(limit_us, np.where(over, 0, memory["raised_us"][rows]))
    memory["raised_us"][rows[over]] = 0
    for name, column in {**block, "block_us": ended_us, "limit_us": limit_us, "usual_us": usual_us}.items():
        memory[name][rows] = column  # of several of a series the last one counts
    return limit_us, usual_us, ended_us


def _blocks(pauses: Int64Array) -> Int64Array:
    """How many blocks so many pauses fill."""
    blocks: Int64Array = pauses // BLOCK + (pauses >= FIRST) + (pauses >= SECOND)
    return blocks


def _pauses(blocks: Int64Array) -> Int64Array:
    """How many pauses fill so many blocks."""
    return np.where(blocks > 2, (blocks - 2) * BLOCK, np.array([0, FIRST, SECOND])[np.minimum(blocks, 2)])
