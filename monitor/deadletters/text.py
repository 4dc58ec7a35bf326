"""What `telltale deadletters` prints. Bytes of records are shown so that no terminal obeys them."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from monitor.deadletters.letters import Census, Group
from monitor.deadletters.redriving import Outcome
from monitor.detector.times import written
from monitor.messages.dead_letters import Origin

SHOWN = 240  # characters of a value, at most
HEAD = ("reason", "topic", "partition", "letters", "redriven", "first", "last", "offsets")
_RIGHT = {"partition", "letters", "redriven", "records"}
_WIDTH = 118

LATE = (
    "The records keep their time. Where the series has gone on since, their samples are late: they are dropped and "
    "counted (telltale_samples_late_total), and don't fill the holes that the rejected records left. What is decided "
    "anew are records that are whole windows, and series that have sent nothing since."
)


def safe(value: bytes | None) -> str:
    """A value as text on one line: what can't be printed stands as an escape."""
    if value is None:
        return "null"
    text = value[: 4 * SHOWN].decode("utf-8", "backslashreplace")
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return shown if len(shown) <= SHOWN and len(value) <= 4 * SHOWN else f"{shown[:SHOWN]}... ({len(value)} bytes)"


def census(found: Census, topic: str, values: Mapping[Origin, bytes | None], limit: int) -> str:
    """The table of groups, an example of each under its row."""
    groups = found.most_first()
    shown = groups[: limit or None]
    lines = [headline(found, topic)]
    if shown:
        lines += ["", *table(HEAD, [row_of(group) for group in shown], [example(group, values) for group in shown])]
    if len(groups) > len(shown):
        rest = sum(group.letters for group in groups[len(shown) :])
        lines += ["", f"{len(groups) - len(shown)} rows more, {rest} letters: --limit 0 shows all"]
    return "\n".join(lines)


def headline(found: Census, topic: str) -> str:
    """How many letters there are, and since when."""
    groups = found.groups.values()
    letters, again = sum(group.letters for group in groups), sum(group.redriven for group in groups)
    others = f"; {found.others} records there are no dead letters" if found.others else ""
    if not letters:
        return f"{topic}: no such dead letters{others}"
    first, last = min(group.first_ms for group in groups), max(group.last_ms for group in groups)
    redriven = f", {again:,} of them redriven" if again else ""
    return f"{topic}: {letters:,} dead letters{redriven}, {when(first)} to {when(last)} UTC{others}"


def row_of(group: Group) -> list[str]:
    """A group's cells."""
    rejection = group.example.rejection
    return [
        rejection.reason,
        rejection.topic,
        str(rejection.partition),
        f"{group.letters:,}",
        f"{group.redriven:,}",
        when(group.first_ms),
        when(group.last_ms),
        offsets(int(group.first_offset), int(group.last_offset)),
    ]


def offsets(first: int, last: int) -> str:
    """One offset, or the first and last of several."""
    return str(first) if first == last else f"{first} to {last}"


def records(count: int) -> str:
    """How many rejected records there are."""
    return f"{count:,} rejected record{'' if count == 1 else 's'}"


def example(group: Group, values: Mapping[Origin, bytes | None]) -> list[str]:
    """The newest letter of a group in two lines."""
    rejection = group.example.rejection
    key = "no key" if rejection.key is None else f'key "{safe(rejection.key.encode())}"'
    there = rejection.origin in values
    value = safe(values[rejection.origin]) if there else "no longer in the topic"
    where = offsets(rejection.offset, rejection.last_offset)
    return [f"offset {where}, {key}: {safe(rejection.detail.encode())}", f"value  {value}"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[Sequence[str]] = ()) -> list[str]:
    """Columns of text under their names, and notes under each row."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for cell, width, name in zip(cells, widths, head, strict=True)
        ]
        return "  ".join(padded).rstrip()

    lines = [line(head)]
    for at, row in enumerate(rows):
        lines.append(line(row))
        lines += [f"    {note}" for note in (notes[at] if notes else ())]
    return lines


def outcome(found: Outcome, topic: str, *, wrote: bool, stamped: Sequence[str]) -> str:
    """What a redrive did, or would do."""
    groups = found.taken.most_first()
    count = sum(group.letters for group in groups)
    if wrote:
        lines = [f"{topic}: {records(found.written)} written to their topics again"]
    else:
        lines = [f"{topic}: {records(count)} would be written to their topics again"]
    head = ("reason", "topic", "partition", "records", "offsets")
    rows = [[*(cells := row_of(group))[:4], cells[-1]] for group in groups]
    lines += ["", *table(head, rows), ""] if rows else [""]
    lines += [f"Left out: {left:,} {why}." for why, left in found.left_out.most_common() if left]
    if found.more:
        lines.append("There are more than --limit; the next run takes them.")
    if stamped and count:
        lines.append(f"The brokers stamp records of {', '.join(stamped)}: their Kafka timestamps are not kept.")
    if count:
        lines += textwrap.wrap(LATE, _WIDTH)
    if count and not wrote:
        lines.append("Nothing was written; --yes writes.")
    return "\n".join(lines).rstrip()


def as_json(found: Census, topic: str, values: Mapping[Origin, bytes | None], limit: int) -> str:
    """The same for programs; an example's value is base64, absent where it is gone, null where it was."""
    groups = [_group(group, values) for group in found.most_first()[: limit or None]]
    document = {
        "topic": topic,
        "letters": sum(group.letters for group in found.groups.values()),
        "redriven": sum(group.redriven for group in found.groups.values()),
        "other_records": found.others,
        "groups": groups,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _group(group: Group, values: Mapping[Origin, bytes | None]) -> dict[str, Any]:
    rejection = group.example.rejection
    named: dict[str, Any] = msgspec.to_builtins(rejection)
    if rejection.origin in values:
        value = values[rejection.origin]
        named["value_base64"] = None if value is None else base64.b64encode(value).decode()
    return {
        "reason": rejection.reason,
        "topic": rejection.topic,
        "partition": rejection.partition,
        "letters": group.letters,
        "redriven": group.redriven,
        "first": written(int(group.first_ms) * 1000),
        "last": written(int(group.last_ms) * 1000),
        "first_offset": int(group.first_offset),
        "last_offset": int(group.last_offset),
        "example": named,
    }


def when(time_ms: float) -> str:
    """A time to the second, without its zone."""
    return written(int(time_ms) // 1000 * 1_000_000)[:19].replace("T", " ")
