"""The records of `__consumer_offsets`, read: commits with their time and note, and generations.

Formats: OffsetCommitKey 0 and 1, OffsetCommitValue 0 to 4, GroupMetadataKey 2 and
GroupMetadataValue 0 to 4 of Apache Kafka 4.1 (`group-coordinator/src/main/resources`).
Anything else is not ours to read and yields None.
"""

from __future__ import annotations

import struct
from typing import NamedTuple


class OffsetCommitted(NamedTuple):
    group: str
    topic: str
    partition: int
    offset: int
    note: str
    timestamp: float
    """When the broker took the commit; seconds since the epoch."""


class GenerationMade(NamedTuple):
    group: str
    generation: int
    is_empty: bool
    """The group has no member in it."""


def read_offsets_record(
    key: bytes | None, value: bytes | None
) -> OffsetCommitted | GenerationMade | None:
    """A commit or a generation; None for deletions and for what is neither."""
    if key is None or value is None:
        return None
    keys = _Bytes(key)
    kind = keys.int16()
    if kind in (0, 1):
        group, topic, partition = keys.string(), keys.string(), keys.int32()
        return _commit(group, topic, partition, _Bytes(value))
    if kind == 2:
        return _generation(keys.string(), _Bytes(value))
    return None


def _commit(group: str, topic: str, partition: int, value: _Bytes) -> OffsetCommitted:
    version = value.int16()
    offset = value.int64()
    if version >= 3:
        value.int32()  # leader epoch
    note = value.compact_string() if version >= 4 else value.string()
    return OffsetCommitted(group, topic, partition, offset, note, value.int64() / 1000)


def _generation(group: str, value: _Bytes) -> GenerationMade:
    string = value.compact_string if value.int16() >= 4 else value.string
    string()  # protocol type
    generation = value.int32()
    string()  # protocol
    return GenerationMade(group, generation, is_empty=not string())  # the leader


class _Bytes:
    """Reads big-endian values one after the other. Raises struct.error past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def int16(self) -> int:
        return self._next(">h")

    def int32(self) -> int:
        return self._next(">i")

    def int64(self) -> int:
        return self._next(">q")

    def string(self) -> str:
        return self._text(self.int16())

    def compact_string(self) -> str:
        length = shift = 0
        while True:
            byte = self._next(">B")
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return self._text(length - 1)

    def _text(self, length: int) -> str:
        start, self._at = self._at, self._at + max(0, length)
        return self._data[start : self._at].decode()

    def _next(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(value)
