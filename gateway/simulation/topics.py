"""Whole topics: a workload is sent into one, and what stands in others is read back.

For the demo and the tests. Nothing here is fit for topics that do not end. Everything raises
BrokerUnavailable when Kafka cannot be reached or refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from gateway.simulation.broker import BrokerUnavailable
from gateway.simulation.history import Source
from gateway.simulation.workload import Event

MAX_RECORD_BYTES = 4_194_304
"""What the sender lets pass: more than a topic takes by default, for records too large to keep."""
_AT_ONCE = 500
_POLL_SECONDS = 0.2


class Stored(NamedTuple):
    """A record as Kafka keeps it. `timestamp` is seconds since the epoch."""

    source: Source
    timestamp: float
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]

    def header(self, name: str) -> bytes | None:
        """The last header of this name; None if there is none, or it is null."""
        return dict(self.headers).get(name)


async def send(
    bootstrap_servers: str,
    topic: str,
    events: Sequence[Event],
    due: Callable[[int], float],
    clock: Callable[[], float],
    sent: Callable[[Source, Event], None],
) -> None:
    """Sends each event at the moment `due(place)` and stamps it with that moment, also if it is
    late: latencies measured from it hide no waiting. `sent` is told in the order of the events
    where each was stored; everything is durable when this returns."""
    with _translated():
        async with _producer(bootstrap_servers) as producer:
            under_way: list[tuple[Event, asyncio.Future[ConsumerRecord]]] = []
            for place, event in enumerate(events):
                moment = due(place)
                if (early := moment - clock()) > 0:
                    await _acknowledged(under_way, sent)
                    await asyncio.sleep(early)
                under_way.append((event, await _handed_over(producer, topic, event, moment)))
                if len(under_way) >= _AT_ONCE:
                    await _acknowledged(under_way, sent)
            await producer.flush()
            await _acknowledged(under_way, sent)


@asynccontextmanager
async def _producer(bootstrap_servers: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        enable_idempotence=True,
        acks="all",
        linger_ms=5,
        max_request_size=MAX_RECORD_BYTES,
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def _handed_over(
    producer: AIOKafkaProducer, topic: str, event: Event, moment: float
) -> asyncio.Future[ConsumerRecord]:
    stored: asyncio.Future[ConsumerRecord] = await producer.send(
        topic,
        event.value,
        event.key,
        timestamp_ms=int(moment * 1000),
        headers=list(event.headers),
    )
    return stored


async def _acknowledged(
    under_way: list[tuple[Event, asyncio.Future[ConsumerRecord]]],
    sent: Callable[[Source, Event], None],
) -> None:
    """Tells of what is stored by now; of everything once enough is under way."""
    must_wait = len(under_way) >= _AT_ONCE
    while under_way and (must_wait or under_way[0][1].done()):
        event, stored = under_way.pop(0)
        where = await stored
        sent(Source(where.topic, where.partition, where.offset), event)


async def read_all(bootstrap_servers: str, topics: Iterable[str]) -> list[Stored]:
    """Every record of these topics up to their ends of now, in offset order by partition.
    A topic that does not exist holds nothing."""
    partitions = await _partitions(bootstrap_servers, topics)
    if not partitions:
        return []
    async with _reader(bootstrap_servers, partitions) as consumer:
        records: list[Stored] = []
        ends = await consumer.end_offsets(partitions)
        while not await _has_reached(consumer, ends):
            records += await _batch(consumer)
        in_time = [r for r in records if r.source.offset < ends[TopicPartition(*r.source[:2])]]
        return sorted(in_time, key=lambda record: record.source)


async def follow(bootstrap_servers: str, topics: Iterable[str]) -> AsyncIterator[list[Stored]]:
    """The records of these topics from their beginning, as they come, for ever; an empty batch
    when there is nothing new. The topics must exist."""
    partitions = await _partitions(bootstrap_servers, topics)
    async with _reader(bootstrap_servers, partitions) as consumer:
        while True:
            yield await _batch(consumer)


@asynccontextmanager
async def _reader(
    bootstrap_servers: str, partitions: list[TopicPartition]
) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=2 * MAX_RECORD_BYTES,
    )
    with _translated():
        await consumer.start()
        try:
            consumer.assign(partitions)
            yield consumer
        finally:
            await consumer.stop()


async def _partitions(bootstrap_servers: str, topics: Iterable[str]) -> list[TopicPartition]:
    """Asks about all topics, since naming one that does not exist could create it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    with _translated():
        try:
            await admin.start()
            present = set(topics) & set(await admin.list_topics())
            described = await admin.describe_topics(sorted(present)) if present else []
        finally:
            await admin.close()
    return [
        TopicPartition(topic["topic"], partition["partition"])
        for topic in described
        for partition in topic["partitions"]
    ]


async def _batch(consumer: AIOKafkaConsumer) -> list[Stored]:
    batches = await consumer.getmany(timeout_ms=int(_POLL_SECONDS * 1000))
    return [_stored(record) for records in batches.values() for record in records]


async def _has_reached(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    for partition, end in ends.items():
        if await consumer.position(partition) < end:
            return False
    return True


def _stored(record: ConsumerRecord) -> Stored:
    source = Source(record.topic, record.partition, record.offset)
    return Stored(source, record.timestamp / 1000, record.key, record.value, record.headers)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerUnavailable(f"Kafka does not answer as it should: {error!r}.") from error
