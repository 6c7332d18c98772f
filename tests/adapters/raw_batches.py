"""Record batches that no well-behaved producer writes, byte by byte.

Written from Kafka's description of the format, not with the parser under test.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import NoError, NotLeaderForPartitionError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c

from tests.contracts.sources import KafkaWorld
from tests.waiting import wait_until

RawHeaders = Sequence[tuple[bytes, bytes | None]]


def raw_batch(
    records: Sequence[tuple[bytes | None, RawHeaders]],
    *,
    attributes: int = 0,
    compress: Callable[[bytes], bytes] = bytes,
    base_offset: int = 0,
    producer_id: int = -1,
) -> bytes:
    """A batch of format 2."""
    now, count = int(time.time() * 1000), len(records)
    body = b"".join(_record(n, value, headers) for n, (value, headers) in enumerate(records))
    fields = (attributes, count - 1, now, now, producer_id, -1, -1, count)
    checked = struct.pack(">hiqqqhii", *fields) + compress(body)
    rest = struct.pack(">ibI", -1, 2, calc_crc32c(checked)) + checked
    return struct.pack(">qi", base_offset, len(rest)) + rest


def _record(number: int, value: bytes | None, headers: RawHeaders) -> bytes:
    fields = b"\0" + _varint(0) + _varint(number) + _bytes(None) + _bytes(value)
    fields += _varint(len(headers))
    for name, content in headers:
        fields += _bytes(name) + _bytes(content)
    return _varint(len(fields)) + fields


def _bytes(value: bytes | None) -> bytes:
    return _varint(-1) if value is None else _varint(len(value)) + value


def _varint(number: int) -> bytes:
    zigzag, out = (number << 1) ^ (number >> 63), b""
    while zigzag > 0x7F:
        out += bytes([zigzag & 0x7F | 0x80])
        zigzag >>= 7
    return out + bytes([zigzag])


async def produce(world: KafkaWorld, partition: int, batch: bytes) -> None:
    """Durable when it returns."""
    await produce_to(world.kafka.bootstrap_servers, TopicPartition(world.topic, partition), batch)


async def produce_to(brokers: str, partition: TopicPartition, batch: bytes) -> int:
    """Durable when it returns; the offset of its first record."""
    client = AIOKafkaClient(bootstrap_servers=brokers)
    await client.bootstrap()
    offsets: list[int] = []

    async def is_durable() -> bool:
        await client.force_metadata_update()
        leader = client.cluster.leader_for_partition(partition)
        topics = [(partition.topic, [(partition.partition, batch)])]
        answer = await client.send(leader, ProduceRequest(None, -1, 5000, topics))
        _, code, offset, *_ = answer.topics[0][1][0]
        assert code in (NoError.errno, NotLeaderForPartitionError.errno), answer
        offsets.append(offset)
        return bool(code == NoError.errno)

    try:
        client.add_topic(partition.topic)
        await wait_until(is_durable)
    finally:
        await client.close()
    return offsets[-1]
