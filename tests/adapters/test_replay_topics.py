"""Searching a real Kafka for copies, and writing them: nothing overlooked, nothing twice."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from gateway.adapters.kafka_client import KafkaConnection, topics_present
from gateway.adapters.replay_topics import InputTopicsOfReplay
from gateway.adapters.topic_reader import TopicReader, Unread
from gateway.core.model import Partition, Record, Source
from gateway.core.replays import Copy, Edit, WriteRefused, copy_of
from gateway.simulation.broker import KafkaBroker
from tests.adapters.raw_batches import produce_to, raw_batch
from tests.conftest import FreshTopics

FAR_AHEAD = 4_000_000_000.0


@dataclass
class World:
    brokers: str
    topic: str
    reader: TopicReader
    inputs: InputTopicsOfReplay

    async def write(self, value: bytes, partition: int = 0) -> Record:
        """An event, as it stands in the topic."""
        source = await self.inputs.write(Copy(Partition(self.topic, partition), b"k", value, ()))
        assert isinstance(source, Source)
        record = await self.inputs.read_at(source)
        assert record is not None
        return record

    async def copy(self, record: Record) -> Source | WriteRefused:
        return await self.inputs.write(copy_of(record, Edit()))


@pytest.fixture
async def world(kafka: KafkaBroker, fresh_topics: FreshTopics) -> AsyncIterator[World]:
    topic = (await fresh_topics(partitions=2)).results
    connection = KafkaConnection(kafka.bootstrap_servers)
    async with (
        TopicReader(connection, patience_seconds=3.0) as reader,
        InputTopicsOfReplay(connection, reader, [topic]) as inputs,
    ):
        yield World(kafka.bootstrap_servers, topic, reader, inputs)


async def test_a_copy_is_found_by_its_offset_whatever_the_clocks_say(world: World) -> None:
    record = await world.write(b"0")
    await world.copy(record)
    for moment in (0.0, time.time(), FAR_AHEAD, -1e300, 1e300):
        known = await world.inputs.known_of({record.source: moment})
        assert known.copies == {record.source: {round(record.timestamp * 1000)}}
        assert (known.unsure, known.foreign) == ({}, {})


async def test_a_copy_is_found_by_its_time_in_a_topic_that_was_made_anew(world: World) -> None:
    """Its source stood far behind in the former topic; the new one has grown past that since."""
    former = Record(world.topic, 0, 20, 1e9, b"key", b"value")
    dead_lettered = time.time()
    await world.copy(former)
    for number in range(30):
        await world.write(b"%d" % number)
    known = await world.inputs.known_of({former.source: dead_lettered})
    assert known.copies == {former.source: {1_000_000_000_000}}
    # What stands at its offset now is another record, and has no copy.
    assert round((await world.inputs.read_at(former.source) or former).timestamp) != 1e9


async def test_an_open_transaction_of_somebody_else_hides_no_copy(world: World) -> None:
    record = await world.write(b"0")
    producer = AIOKafkaProducer(
        bootstrap_servers=world.brokers, transactional_id=f"somebody-else-{world.topic}"
    )
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(world.topic, b"theirs", partition=0)
    await world.copy(record)
    known = await world.inputs.known_of({record.source: time.time()})
    await producer.abort_transaction()
    await producer.stop()
    assert known.copies[record.source]


async def test_each_source_gets_its_own_copies_and_no_others(world: World) -> None:
    sources = [await world.write(b"%d" % n, n % 2) for n in range(6)]
    for record in sources[::2]:
        await world.copy(record)
    known = await world.inputs.known_of({record.source: time.time() for record in sources})
    assert [bool(known.copies[record.source]) for record in sources] == [True, False] * 3


async def test_topics_and_partitions_that_are_not_ours_are_told_and_not_made(world: World) -> None:
    beyond, other = Source(world.topic, 2, 0), Source(f"{world.topic}-other", 0, 0)
    known = await world.inputs.known_of({beyond: 0.0, other: 0.0})
    assert known.foreign == {
        beyond: f"{world.topic} has no partition 2",
        other: f"{other.topic} is not one of input.topics",
    }
    assert await world.inputs.read_at(other) is None
    connection = KafkaConnection(world.brokers)
    assert await topics_present(connection, [other.topic]) == set()


async def test_where_bytes_cannot_be_read_nothing_is_sure(world: World, kafka: KafkaBroker) -> None:
    records = [await world.write(b"value-%d" % number) for number in range(3)]
    sound = await world.write(b"sound", 1)
    [log] = (kafka.data / "kafka").rglob(f"{world.topic}-0/{0:020}.log")
    place = log.read_bytes().index(b"value-1")
    with log.open("r+b") as file:
        file.seek(place)
        file.write(b"V")
    known = await world.inputs.known_of({one.source: 0.0 for one in (*records, sound)})
    assert known.unsure == {one.source: f"{world.topic}/0/1 cannot be read" for one in records}


async def test_a_refused_copy_does_not_stand_in_the_way_of_the_next(world: World) -> None:
    """The refused one has used up a sequence number of its producer."""
    record = await world.write(b"0")
    large = record._replace(value=b"x" * 2_000_000)
    for _ in range(2):
        assert await world.copy(large) == WriteRefused("too large for the topic")
        assert isinstance(await world.copy(record), Source)
    known = await world.inputs.known_of({record.source: 0.0})
    assert len(known.copies[record.source]) == 1
    spans = await world.reader.spans([world.topic])
    assert spans[Partition(world.topic, 0)].end == 3


async def test_strange_header_names_are_read_past(world: World) -> None:
    record = await world.write(b"0")
    strange = raw_batch([(b"1", [(b"\xff", b"v")]), (b"2", [(b"\xfe", None)])])
    await produce_to(world.brokers, TopicPartition(world.topic, 0), strange)
    await world.copy(record)
    assert (await world.inputs.known_of({record.source: 0.0})).copies[record.source]
    found = [one async for one in world.reader.read(await world.reader.spans([world.topic]))]
    assert not [one for one in found if isinstance(one, Unread)]
    assert [one.source.offset for one in found if isinstance(one, Record)] == [0, 1, 2, 3]
