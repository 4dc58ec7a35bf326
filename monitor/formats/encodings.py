"""What encodes a record, by its first bytes: for whoever expected something else, and must say what to do."""

from __future__ import annotations

from monitor.formats.schemas import HEAD, id_of

_BY_ID = "have the producer use a serializer that writes the schema's id before the record (Confluent's wire format)"
_BY_BATCH = "have the producer compress batches instead (compression.type)"
_COMPRESSED = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy"),
    (b"\x82SNAPPY", "snappy"),
    (b"\x78\x01", "zlib"),
    (b"\x78\x9c", "zlib"),
    (b"\x78\xda", "zlib"),
)
# The first bytes, and what has them
_KNOWN = (
    (b"\xc3\x01", f"in Avro's single-object encoding, which names no schema by an id; {_BY_ID}"),
    (b"Obj\x01", f"an Avro container file; {_BY_ID}"),
    (b"\x03\x00", f"written as for AWS Glue's schema registry; {_BY_ID}"),
    (b"\x03\x05", f"written as for AWS Glue's schema registry; {_BY_ID}"),
    (b"\xac\xed\x00\x05", "a serialized Java object; have the producer write JSON"),
    (b"<", "XML; have the producer write JSON"),
    *((first, f"compressed with {name}; {_BY_BATCH}") for first, name in _COMPRESSED),
    (b"{", 'JSON; set input.format = "json", or have the producer write another format'),
    (b"[", 'JSON; set input.format = "json", or have the producer write another format'),
)


def recognised(value: bytes) -> str:
    """What a record is, and what to do where something else is expected; empty where its first bytes don't show it."""
    if value.startswith(b"\0"):
        schema = f" and the id of schema {id_of(value)}" if len(value) > HEAD else ""
        return (
            f"the record begins with byte 0{schema}, as Confluent's serializers for Avro and Protobuf write it; "
            'for Avro set input.format = "avro" and schema_registry.urls'
        )
    start = value.lstrip()
    return next((f"the record is {what}" for first, what in _KNOWN if start.startswith(first)), "")
