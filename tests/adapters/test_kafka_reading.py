"""How much is returned at once, where a small batch holds very much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka.codec import zstd_encode

from gateway.adapters.kafka_reading import MOST_BYTES_AT_ONCE
from gateway.simulation.broker import KafkaBroker, Topic
from tests.adapters.raw_batches import RawHeaders, produce, raw_batch
from tests.conftest import Topics
from tests.contracts.sources import KafkaWorld, Member
from tests.waiting import wait_until

ZSTD = 4
LARGE = [str(number).encode() * 700_000 for number in range(10)]
"""7 MB, of which a batch of some 1 kB is made."""
UNREADABLE_FOR_AIOKAFKA = [(b"\xff", b"v")]


@pytest.fixture
async def world(kafka: KafkaBroker, topic_names: Topics) -> AsyncIterator[KafkaWorld]:
    world = KafkaWorld(kafka, topic_names.results, 2)
    await kafka.create_topics(Topic(world.topic, 2))
    async with world.stack:
        yield world


async def produce_small(
    world: KafkaWorld, partition: int, values: list[bytes], headers: RawHeaders = ()
) -> None:
    records = [(value, headers) for value in values]
    batch = raw_batch(records, attributes=ZSTD, compress=zstd_encode)
    assert len(batch) < 10_000
    await produce(world, partition, batch)


async def read_bounded(member: Member, count: int) -> None:
    """Reads until there are so many records in all; none of the reads returns very much."""
    async with asyncio.timeout(15):
        while (before := len(member.records)) < count:
            await member.read_once()
            sizes = [len(record.value or b"") for record in member.records[before:]]
            assert len(sizes) <= 1 or sum(sizes) <= MOST_BYTES_AT_ONCE
    assert member.journal.breaches == []


@pytest.mark.parametrize("headers", [(), UNREADABLE_FOR_AIOKAFKA])
async def test_a_small_batch_that_holds_very_much_is_returned_in_parts(
    world: KafkaWorld, headers: RawHeaders
) -> None:
    await produce_small(world, 0, [*LARGE, b"x" * (MOST_BYTES_AT_ONCE + 1)], headers)
    await produce_small(world, 1, LARGE, headers)
    member = await world.join()
    await read_bounded(member, 21)
    for partition, count in ((0, 11), (1, 10)):
        offsets = [r.offset for r in member.records if r.partition == partition]
        assert offsets == list(range(count))
        assert member.source.position(world.places[partition]) == count


async def test_what_is_kept_back_waits_for_a_pause_and_is_dropped_by_a_seek(
    world: KafkaWorld,
) -> None:
    place = world.places[0]
    await produce_small(world, 0, LARGE)
    member = await world.join()
    await read_bounded(member, 2)
    assert member.source.position(place) == 2
    member.source.pause({place})
    for _ in range(5):
        await member.read_once()
    assert len(member.records) == 2
    member.source.resume({place})
    await read_bounded(member, 4)
    assert member.values() == LARGE[:4]
    member.source.seek(place, 8)
    member.sought(place, 8)
    await read_bounded(member, 6)
    assert member.values()[4:] == LARGE[8:]
    await world.append(0, b"behind")
    await wait_until(lambda: read_value(member, b"behind"))
    assert member.journal.breaches == []


async def read_value(member: Member, value: bytes) -> bool:
    await member.read_once()
    return member.values()[-1] == value
