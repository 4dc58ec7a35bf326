"""What `telltale deadletters` prints. Bytes of records are shown so that no terminal obeys them."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from monitor.deadletters.letters import Census, Group
from monitor.deadletters.redriving import RedriveResult
from monitor.detector.times import written
from monitor.errors import Reason
from monitor.messages.dead_letters import Origin

# What to do about records of each reason; a newer daemon may know others.
REMEDIES: Mapping[str, str] = {
    Reason.EMPTY: "an empty value holds no sample; a producer's deletions (tombstones) can be left as they are",
    Reason.TOO_LARGE: "raise input.max_record_bytes if such records are meant to be read",
    Reason.MALFORMED: "compare the value with input.format; `telltale doctor TOPIC` proposes the format",
    Reason.WRONG_TYPE: "correct the producer, or say where the numbers are: input.mapping, input.channels, "
    "input.text_numbers, input.missing_values; `telltale doctor TOPIC` proposes them",
    Reason.WRONG_SHAPE: "compare the value with the artifact's window and channels (`telltale inspect ARTIFACT`)",
    Reason.MISSING_CHANNEL: "input.partial_records = true reads records with some of the channels; if the channels "
    "have other names or places there, `telltale doctor TOPIC` proposes input.mapping or input.channels",
    Reason.NOT_FINITE: "correct the producer: infinity is no measurement; a missing number is null or NaN",
    Reason.BAD_TIMESTAMP: "correct the producer's clock, or input.timestamp_field, input.timestamp_unit or "
    "input.oldest_time",
    Reason.FUTURE_TIMESTAMP: "correct the producer's clock; input.max_future_ms says how far ahead is believed",
    Reason.BAD_SERIES: "give the records a key, or say in input.series where the name of their series is",
    Reason.UNKNOWN_FORMAT: "correct the records' content-type, or see input.content_types",
    Reason.UNKNOWN_SCHEMA: "see the schema registry and the section [schema_registry]; then redrive them",
    Reason.CORRUPT_BATCH: "damaged on the brokers' disks: another replica may have it intact",
    Reason.UNREADABLE_BATCH: "another replica may have it intact; input.max_batch_bytes limits an unpacked batch",
}
SHOWN = 240  # characters of a value, at most
HEAD = ("reason", "topic", "partition", "letters", "redriven", "first", "last", "offsets")
_RIGHT = {"partition", "letters", "redriven", "records"}
_WIDTH = 118
_REMEDY = textwrap.TextWrapper(_WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)

UNWRITTEN = (
    "A dead letter is written when its partition is committed, which one that is held never is. Whether records were\n"
    "rejected there is in the daemon's log, in /readyz and in telltale_records_rejected_total."
)
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
    reasons = dict.fromkeys(group.example.rejection.reason for group in shown)
    remedies = [f"{reason}: {REMEDIES[reason]}" for reason in reasons if reason in REMEDIES]
    if remedies:
        lines += ["", "What to do, and then `telltale deadletters redrive`:"]
        lines += [line for each in remedies for line in _REMEDY.wrap(each)]
    return "\n".join(lines)


def headline(found: Census, topic: str) -> str:
    """How many letters there are, and since when."""
    groups = found.groups.values()
    letters, again = sum(group.letters for group in groups), sum(group.redriven for group in groups)
    others = f"; {found.others} records there are no dead letters" if found.others else ""
    if not letters:
        return f"{topic}: no such dead letters{others}\n{UNWRITTEN}"
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


def outcome(found: RedriveResult, topic: str, *, wrote: bool, stamped: Sequence[str]) -> str:
    """What a redrive did, or would do."""
    groups = found.taken.most_first()
    count = sum(group.letters for group in groups)
    if wrote:
        lines = [f"{topic}: {records(found.written)} written to their topics again"]
    else:
        lines = [f"{topic}: {records(count)} would be written to their topics again"]
    head = ("reason", "topic", "partition", "records", "offsets")
    rows = [[*(cells := row_of(group))[:4], cells[-1]] for group in groups]
    lines += ["", *table(head, rows, [[safe(group.detail.encode())] for group in groups]), ""] if rows else [""]
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
        "detail": group.detail,
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
