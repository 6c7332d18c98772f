"""What only a real Kafka, and those who write to it, can do to the outcomes tail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import orjson
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import CorruptRecordException

from gateway.adapters import kafka_salvage
from gateway.adapters.kafka_client import KafkaConnection, topics_present
from gateway.adapters.outcome_tail import KafkaOutcomeTail, Reach
from gateway.adapters.outcomes import outcome_to_json
from gateway.core.endings import Endings, ToldEndings
from gateway.core.signals import (
    EndingsLearned,
    OutcomesIgnored,
    ReadFailed,
    TailBehind,
    UnexpectedError,
)
from gateway.simulation.broker import KafkaBroker, Topic
from tests.adapters.raw_batches import produce_to, raw_batch
from tests.conftest import Topics
from tests.contracts.sources import Signals
from tests.contracts.test_outcome_tail import PLAIN, Ear
from tests.waiting import wait_until

TELL_EVERY_SECONDS = 0.2


@dataclass
class Room:
    """A topic of outcomes, whoever writes there, and who listens."""

    kafka: KafkaBroker
    topic: str
    producer: AIOKafkaProducer
    admin: AIOKafkaAdminClient
    stack: AsyncExitStack
    signals: Signals = field(default_factory=Signals)

    async def create(self, partitions: int = 1, **configs: str) -> None:
        await self.kafka.create_topics(Topic(self.topic, partitions, configs))

    def listen(
        self, ear: Ear | ToldEndings, seconds: float = 3600.0, most: int = 10_000
    ) -> KafkaOutcomeTail:
        reach = Reach(self.topic, seconds, most, 0.3, 1.0, TELL_EVERY_SECONDS)
        connection = KafkaConnection(self.kafka.bootstrap_servers, request_timeout_seconds=3.0)
        tail = KafkaOutcomeTail(connection, reach, ear, self.signals, time.time)
        tail.start()
        self.stack.push_async_callback(tail.stop)
        return tail

    async def say(self, *jobs: str, partition: int | None = None, seconds_ago: float = 0.0) -> None:
        moment = round((time.time() - seconds_ago) * 1000)
        for job in jobs:
            value = outcome_to_json(replace(PLAIN, job_id=job))
            await self.write(value, partition=partition, timestamp_ms=moment)

    async def write(
        self,
        value: bytes | None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        await self.producer.send_and_wait(
            self.topic, value, b"k", partition=partition, timestamp_ms=timestamp_ms
        )


@pytest.fixture
async def room(kafka: KafkaBroker, topic_names: Topics) -> AsyncIterator[Room]:
    async with AsyncExitStack() as stack:
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
        await producer.start()
        stack.push_async_callback(producer.stop)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        await admin.start()
        stack.push_async_callback(admin.close)
        yield Room(kafka, topic_names.outcomes, producer, admin, stack)


def heard(ear: Ear, *jobs: str) -> Callable[[], bool]:
    def has_heard() -> bool:
        return ear.jobs == list(jobs)

    return has_heard


async def test_what_is_older_than_the_window_is_not_read(room: Room) -> None:
    await room.create(1)
    await room.say("long ago", seconds_ago=7200)
    await room.say("of late", seconds_ago=600)
    ear = Ear()
    assert await room.listen(ear, seconds=3600).wait_caught_up(15)
    assert ear.jobs == ["of late"]


async def test_no_more_is_read_than_the_endings_hold(room: Room) -> None:
    await room.create(2)
    for partition in range(2):
        await room.say(*(f"{partition}-{n}" for n in range(10)), partition=partition)
    ear = Ear()
    assert await room.listen(ear, most=6).wait_caught_up(15)
    assert sorted(map(str, ear.jobs)) == [f"{one}-{n}" for one in range(2) for n in range(7, 10)]


async def test_what_strangers_write_is_ignored_and_signalled_together(room: Room) -> None:
    await room.create(1)
    plain = orjson.loads(outcome_to_json(replace(PLAIN, job_id="a")))
    nonsense = [
        None,
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 10_000,
        b"[]",
        b"x" * 900_000,
        orjson.dumps(plain | {"version": 2}),
        orjson.dumps(plain | {"job": "j" * 20_000}),
        orjson.dumps(plain).replace(b'"attempts":1', b'"attempts":1e999'),
        orjson.dumps(plain | {"source": [1, 2, 3]}),
    ]
    for value in nonsense * 3:
        await room.write(value)
    hostile = [
        plain | {"target": "default\nx", "job": "b"},
        plain | {"source": {"topic": "job-results", "partition": -1, "offset": -9}, "job": "c"},
        plain | {"source": {"topic": "x" * 9000, "partition": 1e15, "offset": 0}, "job": "d"},
        plain | {"digest": "00" * 400, "job": "e"},
        plain | {"job": "f\ndefault"},
    ]
    for fields in hostile:
        await room.write(orjson.dumps(fields))
    await produce_to(
        room.kafka.bootstrap_servers,
        _partition(room),
        raw_batch([(outcome_to_json(replace(PLAIN, job_id="g")), [(b"\xff\xfe", b"v")])]),
    )
    await room.say("last")
    endings = Endings(1000)
    feed = ToldEndings(endings, ["default"], ["job-results"], shares_digests=True)
    began = asyncio.get_running_loop().time()
    tail = room.listen(feed)
    assert await tail.wait_caught_up(15)
    await wait_until(lambda: _ignored(room) == 3 * len(nonsense))
    elapsed = asyncio.get_running_loop().time() - began
    assert len(room.signals.of(OutcomesIgnored)) <= 1 + elapsed / TELL_EVERY_SECONDS
    for job in "cdefg":
        assert (endings.of("default", job) is not None) == (job != "f"), job
    assert endings.of("default", "last") is not None
    assert endings.of("default", "f\ndefault") is not None
    assert endings.of("default", "b") is None
    assert room.signals.of(UnexpectedError) == []
    assert tail.trouble is None


async def test_what_a_transaction_took_back_is_not_heard(room: Room) -> None:
    await room.create(1)
    producer = AIOKafkaProducer(
        bootstrap_servers=room.kafka.bootstrap_servers, transactional_id=room.topic
    )
    await producer.start()
    room.stack.push_async_callback(producer.stop)
    await producer.begin_transaction()
    await producer.send_and_wait(room.topic, outcome_to_json(replace(PLAIN, job_id="taken back")))
    await producer.abort_transaction()
    ear = Ear()
    tail = room.listen(ear)
    assert await tail.wait_caught_up(15), "the log ends in a marker"
    await room.say("kept")
    await wait_until(heard(ear, "kept"))


async def test_a_missing_topic_is_named_not_created_and_heard_once_it_is_there(
    room: Room,
) -> None:
    ear = Ear()
    tail = room.listen(ear)
    began = asyncio.get_running_loop().time()
    assert not await tail.wait_caught_up(0.7)
    assert asyncio.get_running_loop().time() - began < 1.5
    assert room.signals.of(TailBehind)
    await wait_until(lambda: tail.trouble == f"OSError: topic {room.topic} does not exist")
    assert await topics_present(KafkaConnection(room.kafka.bootstrap_servers), [room.topic]) == (
        set()
    )
    await room.create(1)
    await room.say("a")
    await wait_until(heard(ear, "a"), 20)
    assert tail.trouble is None


async def test_partitions_that_are_added_are_heard_too(room: Room) -> None:
    await room.create(1)
    await room.say("a")
    ear = Ear()
    tail = room.listen(ear)
    assert await tail.wait_caught_up(15)
    await room.admin.create_partitions({room.topic: NewPartitions(total_count=3)})
    await room.producer.client.force_metadata_update()
    await wait_until(lambda: _writable(room, 2))
    await room.say("b", partition=2)
    await room.say("c", partition=0)
    await wait_until(lambda: sorted(map(str, ear.jobs)) == ["a", "b", "c"])


async def test_bytes_that_nobody_can_read_silence_their_partition_for_a_while_only(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise CorruptRecordException("wrong checksum")

    monkeypatch.setattr(kafka_salvage, "read_first_batch", refuse)
    await room.create(2)
    ear = Ear()
    tail = room.listen(ear)
    await room.say("a", partition=0)
    await wait_until(heard(ear, "a"))
    await produce_to(
        room.kafka.bootstrap_servers, _partition(room), raw_batch([(b"b", [(b"\xff", b"v")])])
    )
    await wait_until(lambda: room.signals.of(ReadFailed))
    await room.say("of another partition", partition=1)
    await wait_until(heard(ear, "a", "of another partition"))
    await wait_until(lambda: _ignored(room) == 1)
    assert await tail.wait_caught_up(15)
    await room.say("c", partition=0)
    await wait_until(heard(ear, "a", "of another partition", "c"))


async def test_frozen_brokers_hold_nobody_up_and_are_heard_again_when_they_thaw(
    room: Room,
) -> None:
    await room.create(1)
    ear = Ear()
    tail = room.listen(ear)
    assert await tail.wait_caught_up(15)
    room.kafka.suspend()
    try:
        began = asyncio.get_running_loop().time()
        assert not await tail.wait_caught_up(1.0)
        assert asyncio.get_running_loop().time() - began < 1.5
    finally:
        room.kafka.resume()
    await room.say("a")
    await wait_until(heard(ear, "a"), 30)
    assert await tail.wait_caught_up(15)


async def test_a_broker_that_restarts_is_heard_on_from_where_it_was_left(room: Room) -> None:
    await room.create(1)
    ear = Ear()
    tail = room.listen(ear)
    await room.say("a")
    await wait_until(heard(ear, "a"))
    await room.kafka.stop()
    assert not await tail.wait_caught_up(0.5)
    await room.kafka.start()
    await room.say("b")
    await wait_until(heard(ear, "a", "b"), 40)


async def test_a_topic_made_anew_is_heard_from_its_beginning(room: Room) -> None:
    await room.create(1)
    await room.say("a", "b", "c")
    ear = Ear()
    tail = room.listen(ear)
    assert await tail.wait_caught_up(15)
    await room.admin.delete_topics([room.topic])
    await wait_until(lambda: _can_create(room), 20, every_seconds=0.2)
    await room.say("d")
    await wait_until(lambda: ear.jobs[-1] == "d", 40)


async def test_what_is_behind_and_learned_can_be_seen(room: Room) -> None:
    await room.create(1)
    await room.say(*(f"job{n}" for n in range(5)))
    tail = room.listen(Ear())
    assert tail.behind() is None
    assert await tail.wait_caught_up(15)
    await wait_until(lambda: tail.behind() == 0)
    assert tail.statistics() == {
        "trouble": None,
        "partitions": 1,
        "behind": 0,
        "heard": 5,
        "learned": 5,
    }
    assert sum(signal.endings for signal in room.signals.of(EndingsLearned)) == 5  # type: ignore[attr-defined]


def _ignored(room: Room) -> int:
    return sum(signal.records for signal in room.signals if isinstance(signal, OutcomesIgnored))


def _partition(room: Room) -> TopicPartition:
    return TopicPartition(room.topic, 0)


async def _writable(room: Room, partition: int) -> bool:
    await room.producer.client.force_metadata_update()
    return partition in await room.producer.partitions_for(room.topic)


async def _can_create(room: Room) -> bool:
    try:
        await room.create(1)
    except Exception:  # the deletion goes on
        return False
    return True
