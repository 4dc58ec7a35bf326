"""A position as the text that travels in the offset commit, atomic with the transaction."""

from __future__ import annotations

import json

from monitor.backends.abstract import NO_STATE, Position

VERSION = 1


def encode_position(position: Position) -> str:
    """Compact JSON, at most 70 bytes; the broker's offset.metadata.max.bytes is 4,096 by default."""
    return f'{{"v":{VERSION},"r":{position.replay_from},"s":{position.state_from}}}'


def decode_position(offset: int, metadata: str | None) -> Position:
    """The position committed as `offset` with `metadata`.

    Text that is not ours (another tool reset the group, say) gives `state_from` = NO_STATE: whatever state there is
    belongs to another offset.
    """
    plain = Position(offset, replay_from=offset, state_from=NO_STATE)
    try:
        document = json.loads(metadata or "")
        version, replay_from, state_from = document["v"], document["r"], document["s"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return plain
    if version != VERSION or type(replay_from) is not int or type(state_from) is not int:
        return plain
    if not 0 <= replay_from <= offset or state_from < 0:
        return plain
    return Position(offset, replay_from, state_from)
