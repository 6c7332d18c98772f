"""Reading the one batch that aiokafka's parser refuses.

A header name that is not UTF-8 is legal to every broker; aiokafka 0.14 raises UnicodeDecodeError
for it, for ever, and with it for everything else in that fetch. So the batch is fetched once more
and read here, leniently in that one point and strictly in all others.

Format: https://kafka.apache.org/documentation/#recordbatch (magic 2, the only one since Kafka 4).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.errors import CorruptRecordException, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.util import calc_crc32c

from gateway.core.model import Record

NOT_UTF8 = "\ufffd"
"""How the name of a header starts that was not UTF-8. The rest is its bytes, strange ones as \\xNN,
so that nothing is lost and every later writer can encode it."""

_BATCH = struct.Struct(">qiibIhiqqqhii")
_CHECKED_FROM = 21  # the checksum covers everything behind itself
_COUNTED_FROM = 12  # the length counts everything behind itself
_READ_COMMITTED = 1
_CODEC, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_DECOMPRESS = {
    0: bytes,
    1: gzip_decode,
    2: snappy_decode,
    3: lz4_decode,
    4: zstd_decode,
}


class Salvaged(NamedTuple):
    """The readable records of one batch, and where the next batch starts."""

    records: list[Record]
    next_offset: int


class Fetched(NamedTuple):
    """Bytes of a log from the batch that holds the offset asked for, and the (producer id, first
    offset) of each aborted transaction that overlaps them."""

    batches: bytes
    aborted: Sequence[tuple[int, int]]


async def fetch(consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> Fetched:
    """What the leader holds from `offset` on. Raises KafkaError."""
    client = consumer._client
    wanted = [(partition.topic, [(partition.partition, offset, 1)])]
    # One byte at most: brokers answer with the first batch whole, however large, and no more.
    request = FetchRequest(500, 1, 1, _READ_COMMITTED, wanted)
    response = await client.send(client.cluster.leader_for_partition(partition), request)
    ((_, ((_, error_code, _, *rest),)),) = response.topics
    if error_code:
        raise for_code(error_code)(f"fetching {partition} at {offset}")
    aborted = rest[2] if response.API_VERSION >= 11 else rest[-2]
    return Fetched(bytes(rest[-1]), aborted or ())


def read_first_batch(fetched: Fetched, partition: TopicPartition, offset: int) -> Salvaged:
    """The records at and after `offset` of the first batch, none of an aborted transaction.

    Raises KafkaError if the batch is not whole, or anything else in it than a header's name is
    not as the format demands: corrupt bytes are never delivered.
    """
    raw = fetched.batches
    if len(raw) < _BATCH.size:
        raise CorruptRecordException("no whole batch")
    base, length, _, magic, checksum, attributes, last, *_ = _BATCH.unpack_from(raw)
    next_offset = base + last + 1
    batch = raw[: _COUNTED_FROM + length]
    if magic != 2 or len(batch) != _COUNTED_FROM + length:
        raise CorruptRecordException(f"no whole batch of format 2, but of {magic}")
    if calc_crc32c(batch[_CHECKED_FROM:]) != checksum:
        raise CorruptRecordException("wrong checksum")
    if next_offset <= offset:
        raise CorruptRecordException("a batch of other offsets")
    if attributes & _CONTROL or _is_aborted(batch, fetched.aborted):
        return Salvaged([], next_offset)
    try:
        records = _records(batch, partition)
    except (IndexError, ValueError) as error:
        raise CorruptRecordException(f"malformed record: {type(error).__name__}") from error
    return Salvaged([record for record in records if record.offset >= offset], next_offset)


def _is_aborted(batch: bytes, aborted: Sequence[tuple[int, int]]) -> bool:
    """The broker lists only transactions that end at or behind the offset asked for, which this
    batch holds; a producer has one transaction at a time. So its id and start decide."""
    base, *_, attributes, _, _, _, producer, _, _, _ = _BATCH.unpack_from(batch)
    return bool(attributes & _TRANSACTIONAL) and any(
        producer == its_producer and first <= base for its_producer, first in aborted
    )


def _records(batch: bytes, partition: TopicPartition) -> list[Record]:
    base, *_, attributes, _, first_time, last_time, _, _, _, count = _BATCH.unpack_from(batch)
    topic, number = partition
    cursor = _Cursor(_DECOMPRESS[attributes & _CODEC](batch[_BATCH.size :]))
    records = []
    for _ in range(count):
        end = cursor.varint() + cursor.position
        cursor.take(1)
        delta = cursor.varint()
        time = last_time if attributes & _LOG_APPEND_TIME else first_time + delta
        offset = base + cursor.varint()
        key, value = cursor.nullable(), cursor.nullable()
        headers = tuple((_name(cursor), cursor.nullable()) for _ in range(cursor.varint()))
        if cursor.position != end:
            raise ValueError("a record's length")
        records.append(Record(topic, number, offset, time / 1000, key, value, headers))
    return records


def _name(cursor: _Cursor) -> str:
    raw = cursor.take(cursor.varint())
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return NOT_UTF8 + raw.decode(errors="backslashreplace")


class _Cursor:
    """Walks over bytes and never past their end: then it raises IndexError or ValueError."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.position = 0

    def take(self, size: int) -> bytes:
        end = self.position + size
        if size < 0 or end > len(self._raw):
            raise ValueError("a length")
        taken = self._raw[self.position : end]
        self.position = end
        return taken

    def nullable(self) -> bytes | None:
        size = self.varint()
        return None if size < 0 else self.take(size)

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._raw[self.position]
            self.position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7
            if shift > 63:
                raise ValueError("a number")
