"""Headers without a value: Kafka has them, and the client reads and encodes them, but its producer does not take them.

They pass as `_Null`, and become null where clients let headers be changed: in the serializer. Such a list is false, so
that the producer adds up no lengths, which it would do only for metadata that nobody reads.
"""

from __future__ import annotations

from typing import Any

from kafka.serializer import Serializer

from monitor.backends.abstract import Headers

Passed = list[tuple[str, bytes]]


class _Null(bytes):
    """Stands for no value."""


class _Uncounted(Passed):
    def __bool__(self) -> bool:
        return False


def passed(headers: Headers) -> Passed:
    """Headers as the producer takes them."""
    there = [(name, _Null() if value is None else value) for name, value in headers]
    return _Uncounted(there) if any(value is None for _, value in headers) else there


class NullHeaders(Serializer):  # type: ignore[misc] # the client has no types
    """Leaves a key as it is, and writes null where `passed` put what stands for it."""

    def serialize(self, _: str, headers: list[tuple[str, Any]], data: Any) -> Any:
        """The key, for the client."""
        if not headers:
            headers[:] = [(name, None if isinstance(value, _Null) else value) for name, value in headers]
        return data
