"""A position as the text that travels in the offset commit, atomic with the transaction."""

from __future__ import annotations

import json

from monitor.backends.abstract import NO_STATE, Position

VERSION = 2


def encode_position(position: Position) -> str:
    """Compact JSON, at most 130 bytes; the broker's offset.metadata.max.bytes is 4,096 by default."""
    return json.dumps(
        {
            "v": VERSION,
            "r": position.replay_from,
            "s": position.state_from,
            "t": position.topic_id,
            "n": position.partitions,
        },
        separators=(",", ":"),
    )


def decode_position(offset: int, metadata: str | None) -> Position:
    """The position committed as `offset` with `metadata`, of this version or of version 1, which knew no topic id.

    Text that is not ours (another tool reset the group, say) gives `state_from` = NO_STATE: whatever state there is
    belongs to another offset.
    """
    plain = Position(offset, replay_from=offset, state_from=NO_STATE)
    try:
        document = json.loads(metadata or "")
        version, replay_from, state_from = document["v"], document["r"], document["s"]
        topic_id, partitions = (document["t"], document["n"]) if version != 1 else ("", 0)
    except (ValueError, TypeError, KeyError, RecursionError):
        return plain
    if version not in (1, VERSION) or type(topic_id) is not str:
        return plain
    if any(type(number) is not int for number in (replay_from, state_from, partitions)):
        return plain
    if not 0 <= replay_from <= offset or state_from < 0 or partitions < 0:
        return plain
    return Position(offset, replay_from, state_from, topic_id, partitions)
