"""The writer behind outcomes and dead letters, on a real Kafka that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from gateway.adapters.kafka_client import KafkaConnection, topics_present
from gateway.adapters.producer_run import Message, Reduce
from gateway.adapters.topic_writer import Pace, TopicWriter
from gateway.core.signals import UnexpectedError, WriteDelayed
from gateway.simulation.broker import KafkaBroker, Topic
from tests.conftest import FreshTopics, Topics
from tests.contracts.logs import QUICK, Signals, everything_in
from tests.waiting import wait_until


@pytest.fixture
def signals() -> Signals:
    return Signals()


@asynccontextmanager
async def writing(
    kafka: KafkaBroker, topic: str, signals: Signals, pace: Pace = QUICK
) -> AsyncIterator[TopicWriter]:
    connection = KafkaConnection(kafka.bootstrap_servers, request_timeout_seconds=1.0)
    writer = TopicWriter(connection, topic, "outcomes", signals, pace)
    writer.start()
    try:
        yield writer
    finally:
        await writer.stop(5.0)


class Durable:
    """Which of the numbered messages were told durable, in order."""

    def __init__(self, writer: TopicWriter) -> None:
        self.numbers: list[int] = []
        self._writer = writer

    def write(self, number: int, message: Message, reduce: Reduce | None = None) -> None:
        self._writer.write(message, lambda: self.numbers.append(number), reduce)

    def are(self, count: int) -> Callable[[], bool]:
        return lambda: len(self.numbers) >= count


def numbered(number: int) -> Message:
    return Message(b"%d" % number, key=b"k%d" % (number % 7))


async def test_a_broker_frozen_past_every_timeout_loses_and_repeats_nothing(
    kafka: KafkaBroker, fresh_topics: FreshTopics, signals: Signals
) -> None:
    topic = (await fresh_topics()).outcomes
    async with writing(kafka, topic, signals) as writer:
        durable = Durable(writer)
        durable.write(0, numbered(0))
        await wait_until(durable.are(1))
        kafka.suspend()
        try:
            for number in range(1, 3000):
                durable.write(number, numbered(number))
            # Longer than a request may take, so that connections are given up meanwhile.
            await wait_until(lambda: len(signals.of(WriteDelayed)) >= 5)
            assert durable.numbers == [0]
            assert writer.trouble is not None
        finally:
            kafka.resume()
        await wait_until(durable.are(3000), 40)
    assert sorted(durable.numbers) == list(range(3000))
    assert writer.trouble is None
    written = [int(record.value) for record in await everything_in(kafka, topic)]
    assert sorted(written) == list(range(3000))


async def test_a_broker_that_crashes_and_returns_loses_nothing(
    kafka: KafkaBroker, fresh_topics: FreshTopics, signals: Signals
) -> None:
    topic = (await fresh_topics()).outcomes
    async with writing(kafka, topic, signals) as writer:
        durable = Durable(writer)
        for number in range(2000):
            durable.write(number, numbered(number))
            if number == 1000:
                await wait_until(durable.are(1))
                await kafka.kill()
        await kafka.start()
        await wait_until(durable.are(2000), 40)
    assert sorted(durable.numbers) == list(range(2000))
    written = {int(record.value) for record in await everything_in(kafka, topic)}
    assert written == set(range(2000))


async def test_a_missing_topic_is_waited_for_and_never_created(
    kafka: KafkaBroker, topic_names: Topics, signals: Signals
) -> None:
    topic = topic_names.outcomes
    async with writing(kafka, topic, signals) as writer:
        durable = Durable(writer)
        durable.write(1, Message(b"1"))
        await wait_until(lambda: len(signals.of(WriteDelayed)) >= 2)
        assert writer.trouble == f"topic {topic} does not exist"
        connection = KafkaConnection(kafka.bootstrap_servers)
        assert await topics_present(connection, [topic]) == set()
        await kafka.create_topics(Topic(topic))
        await wait_until(durable.are(1))
        assert writer.trouble is None


async def test_missing_brokers_are_waited_for(signals: Signals, topic_names: Topics) -> None:
    connection = KafkaConnection("127.0.0.1:9", request_timeout_seconds=1.0)
    writer = TopicWriter(connection, topic_names.outcomes, "outcomes", signals, QUICK)
    writer.start()
    writer.write(Message(b"1"), lambda: None)
    await wait_until(lambda: len(signals.of(WriteDelayed)) >= 2)
    assert writer.trouble is not None
    assert "127.0.0.1" in writer.trouble
    assert writer.pending() == 1
    await writer.stop(0.1)


async def test_batches_shrink_to_what_the_topic_takes(
    kafka: KafkaBroker, topic_names: Topics, signals: Signals
) -> None:
    await kafka.create_topics(Topic(topic_names.outcomes, configs={"max.message.bytes": "20000"}))
    async with writing(kafka, topic_names.outcomes, signals) as writer:
        durable = Durable(writer)
        for number in range(1200):
            durable.write(number, Message(b"%d" % number + b" " * 90))
        await wait_until(durable.are(1200), 60)
    assert sorted(durable.numbers) == list(range(1200))


async def test_a_message_that_the_topic_refuses_holds_nobody_up_and_is_reduced(
    kafka: KafkaBroker, topic_names: Topics, signals: Signals
) -> None:
    await kafka.create_topics(Topic(topic_names.outcomes, configs={"max.message.bytes": "5000"}))
    small = Message(b"small")

    def reduce(level: int) -> Message | None:
        return small if level == 1 else None

    async with writing(kafka, topic_names.outcomes, signals) as writer:
        durable = Durable(writer)
        for number in range(10):
            durable.write(number, numbered(number))
        durable.write(10, Message(b"x" * 6000), reduce)
        for number in range(11, 20):
            durable.write(number, numbered(number))
        await wait_until(durable.are(20))
    assert sorted(durable.numbers) == list(range(20))
    values = [record.value for record in await everything_in(kafka, topic_names.outcomes)]
    assert values.count(b"small") == 1


async def test_what_was_on_its_way_beside_a_refused_message_is_written_all_the_same(
    kafka: KafkaBroker, topic_names: Topics, signals: Signals
) -> None:
    configs = {"max.message.bytes": "50000"}
    await kafka.create_topics(Topic(topic_names.outcomes, partitions=3, configs=configs))
    pace = replace(QUICK, batch_bytes=40_000)
    async with writing(kafka, topic_names.outcomes, signals, pace) as writer:
        durable = Durable(writer)
        for number in range(6000):
            durable.write(number, Message(b"%d" % number + b" " * 90))
            if number % 1500 == 100:
                durable.write(-number, Message(b"x" * 60_000), lambda _: Message(b"-1"))
        await wait_until(durable.are(6004), 60)
    assert len(set(durable.numbers)) == len(durable.numbers) == 6004
    written = [int(record.value) for record in await everything_in(kafka, topic_names.outcomes)]
    assert set(written) == {-1, *range(6000)}


async def test_a_message_that_can_never_be_written_holds_nobody_up(
    kafka: KafkaBroker, topic_names: Topics, signals: Signals
) -> None:
    await kafka.create_topics(Topic(topic_names.outcomes, configs={"max.message.bytes": "5000"}))
    async with writing(kafka, topic_names.outcomes, signals) as writer:
        durable = Durable(writer)
        durable.write(0, Message(b"x" * 6000))  # the broker refuses it
        durable.write(1, Message(b"x", headers=[("\udcff", b"")]))  # the client cannot encode it
        await wait_until(lambda: len(signals.of(WriteDelayed)) >= 6)
        for number in range(2, 500):
            durable.write(number, numbered(number))
        await wait_until(durable.are(498), 30)
        assert writer.pending() == 2
    assert sorted(durable.numbers) == list(range(2, 500))
    assert signals.of(UnexpectedError)


async def test_a_callback_that_fails_keeps_no_other_from_being_told(
    kafka: KafkaBroker, fresh_topics: FreshTopics, signals: Signals
) -> None:
    topic = (await fresh_topics()).outcomes
    async with writing(kafka, topic, signals) as writer:
        durable = Durable(writer)
        writer.write(Message(b"0"), lambda: [][0])
        durable.write(1, Message(b"1"))
        await wait_until(lambda: writer.pending() == 0)
    assert durable.numbers == [1]
    assert [signal.error for signal in signals.of(UnexpectedError)] == ["IndexError"]


async def test_stopping_while_brokers_are_silent_is_bounded_and_tells_nothing_more(
    kafka: KafkaBroker, fresh_topics: FreshTopics, signals: Signals
) -> None:
    topic = (await fresh_topics()).outcomes
    async with writing(kafka, topic, signals) as writer:
        durable = Durable(writer)
        durable.write(0, numbered(0))
        await wait_until(durable.are(1))
        others = asyncio.all_tasks()
        kafka.suspend()
        try:
            for number in range(1, 2000):
                durable.write(number, numbered(number))
            async with asyncio.timeout(6):
                await writer.stop(0.5)
        finally:
            kafka.resume()
    assert durable.numbers == [0]
    left = {task for task in asyncio.all_tasks() - others if not task.done()}
    assert not left


async def test_partitions_added_later_leave_the_order_of_a_key_alone(
    kafka: KafkaBroker, topic_names: Topics, signals: Signals
) -> None:
    await kafka.create_topics(Topic(topic_names.outcomes))
    async with writing(kafka, topic_names.outcomes, signals) as writer:
        durable = Durable(writer)
        durable.write(0, numbered(0))
        await wait_until(durable.are(1))
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        await admin.start()
        await admin.create_partitions({topic_names.outcomes: NewPartitions(3)})
        await admin.close()
        for number in range(1, 50):
            durable.write(number, numbered(number))
        await wait_until(durable.are(50))
    records = await everything_in(kafka, topic_names.outcomes)
    for key in {record.key for record in records}:
        numbers = [int(record.value) for record in records if record.key == key]
        assert numbers == sorted(numbers)
