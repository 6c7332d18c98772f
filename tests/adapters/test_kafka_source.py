"""The consumer against a real Kafka: what only Kafka can do to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import CorruptRecordException, RecordTooLargeError

from gateway.adapters import kafka_salvage
from gateway.adapters.kafka_client import KafkaConnection, topics_present
from gateway.adapters.kafka_salvage import NOT_UTF8
from gateway.adapters.kafka_source import KafkaSource
from gateway.core.model import CommitPoint
from gateway.core.signals import ConsumerRecreated, NotReadyYet, ReadFailed
from gateway.ports import CommitFailed
from gateway.simulation.broker import KafkaBroker, Topic
from tests.adapters.raw_batches import produce, raw_batch
from tests.conftest import Topics
from tests.contracts.sources import Journal, KafkaWorld, Member
from tests.waiting import wait_until

NewWorld = Callable[..., Awaitable[KafkaWorld]]


@pytest.fixture
async def new_world(kafka: KafkaBroker, topic_names: Topics) -> AsyncIterator[NewWorld]:
    """`await new_world(2)`: a topic of two partitions; None: the topic does not exist."""
    async with AsyncExitStack() as stack:

        async def new(partitions: int | None = 1, **configs: str) -> KafkaWorld:
            world = KafkaWorld(kafka, topic_names.results, partitions or 1)
            if partitions is not None:
                await kafka.create_topics(Topic(world.topic, partitions, configs))
            stack.push_async_callback(world.stack.aclose)
            return world

        yield new


async def assigned(member: Member, partitions: int = 1) -> None:
    await wait_until(lambda: member.journal.ready and len(member.journal.ready) == partitions)


async def read(member: Member, count: int, timeout_seconds: float = 15.0) -> list[bytes | None]:
    """Reads until there are so many records in all, and nothing was out of order."""
    try:
        async with asyncio.timeout(timeout_seconds):
            while len(member.records) < count:
                await member.read_once()
    except TimeoutError:
        pytest.fail(f"{len(member.records)} records of {count}; {list(member.signals)}")
    assert member.journal.breaches == []
    return member.values()


def numbered(first: int, last: int) -> list[bytes]:
    return [str(number).encode() for number in range(first, last)]


def source_of(member: Member) -> KafkaSource:
    assert isinstance(member.source, KafkaSource)
    return member.source


# Starting


async def test_brokers_that_are_missing_at_the_start_are_waited_for(
    kafka: KafkaBroker, new_world: NewWorld
) -> None:
    world = await new_world(1)
    await world.append(0, b"patience")
    await kafka.stop()
    try:
        member = world.member()
        starting = asyncio.create_task(world.started(member))
        await wait_until(lambda: len(member.signals.of(NotReadyYet)) >= 2)
        assert source_of(member).trouble
        assert list(await member.source.next_batch(10, 0.01)) == []
        assert not starting.done()
    finally:
        await kafka.start()
    async with asyncio.timeout(30):
        await starting
    assert await read(member, 1, 30.0) == [b"patience"]
    assert source_of(member).trouble is None


async def test_a_missing_topic_is_waited_for_and_not_created(
    kafka: KafkaBroker, new_world: NewWorld
) -> None:
    world = await new_world(None)
    member = world.member()
    starting = asyncio.create_task(world.started(member))
    await wait_until(lambda: len(member.signals.of(NotReadyYet)) >= 2)
    assert world.topic in (source_of(member).trouble or "")
    assert await topics_present(world.connection, {world.topic}) == set()
    await kafka.create_topics(Topic(world.topic, 1))
    await world.append(0, b"at last")
    await starting
    assert await read(member, 1) == [b"at last"]


async def test_a_start_without_brokers_can_be_cancelled_and_stopped(new_world: NewWorld) -> None:
    world = await new_world(1)
    world.connection = KafkaConnection("127.0.0.1:1", request_timeout_seconds=1.0)
    member = world.member()
    starting = asyncio.create_task(world.started(member))
    await wait_until(lambda: member.signals.of(NotReadyYet))
    starting.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait({starting})
        await source_of(member).stop()


async def test_a_consumer_that_was_told_of_no_brokers_is_not_kept(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So brokers answer that have just come back."""
    world = await new_world(1)
    await world.append(0, b"read")
    asked, told = AIOKafkaConsumer.start, 0

    async def start(consumer: AIOKafkaConsumer) -> None:
        nonlocal told
        await asked(consumer)
        told += 1
        if told == 1:
            consumer._client.cluster._brokers = {}

    monkeypatch.setattr(AIOKafkaConsumer, "start", start)
    member = await world.join()
    assert await read(member, 1) == [b"read"]
    (signal,) = member.signals.of(NotReadyYet)
    assert "no brokers" in str(signal)
    assert told == 2


async def test_without_a_commit_reading_begins_so_many_seconds_back(new_world: NewWorld) -> None:
    world = await new_world(3)
    producer, now = await world.producer(), time.time()
    for hours in (30, 25, 23, 1):
        stamp = int((now - hours * 3600) * 1000)
        await producer.send_and_wait(
            world.topic, str(hours).encode(), partition=0, timestamp_ms=stamp
        )
    old = int((now - 48 * 3600) * 1000)
    await producer.send_and_wait(world.topic, b"old", partition=1, timestamp_ms=old)
    member = world.member(start=24 * 3600.0)
    await world.started(member)
    await assigned(member, 3)
    starts = [member.journal.latest()[place].start for place in world.places]
    assert starts == [2, 1, 0]
    await world.append(1, b"new")
    assert set(await read(member, 3)) == {b"23", b"1", b"new"}


@pytest.mark.parametrize(("start", "first"), [("earliest", 0), ("latest", 3)])
async def test_reading_may_begin_at_either_end(new_world: NewWorld, start: str, first: int) -> None:
    world = await new_world(1)
    await world.append(0, *numbered(0, 3))
    member = world.member(start=start)
    await world.started(member)
    await assigned(member)
    await world.append(0, b"3")
    assert await read(member, 4 - first) == numbered(first, 4)


async def test_a_commit_below_the_start_of_the_log_is_reported(new_world: NewWorld) -> None:
    world = await new_world(1)
    (place,) = world.places
    await world.append(0, *numbered(0, 10))
    first = await world.join()
    await assigned(first)
    await first.source.commit({place: CommitPoint(2, "a note")})
    await world.leave(first)
    admin = await world.admin()
    await admin.delete_records({TopicPartition(*place): RecordsToDelete(6)})
    second = await world.join()
    assert await read(second, 4) == numbered(6, 10)
    found = second.journal.latest()[place]
    assert (found.committed, found.log_start, found.start, found.note) == (2, 6, 6, "")


async def test_an_answer_that_leaves_partitions_out_is_not_taken_for_no_commits(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So aiokafka reads the answer of a coordinator that is still loading."""
    world = await new_world(1)
    (place,) = world.places
    await world.append(0, *numbered(0, 10))
    first = await world.join()
    await assigned(first)
    await first.source.commit({place: CommitPoint(7)})
    await world.leave(first)
    asked = AIOKafkaAdminClient.list_consumer_group_offsets
    answers = 0

    async def answer(*arguments: object, **named: object) -> object:
        nonlocal answers
        answers += 1
        return {} if answers == 1 else await asked(*arguments, **named)

    monkeypatch.setattr(AIOKafkaAdminClient, "list_consumer_group_offsets", answer)
    second = await world.join()
    assert await read(second, 3) == numbered(7, 10)
    assert len(_failures(second)) == 1


async def test_records_deleted_under_a_reader_begin_a_new_assignment(new_world: NewWorld) -> None:
    world = await new_world(1)
    (place,) = world.places
    await world.append(0, *numbered(0, 10))
    member = await world.join()
    await assigned(member)
    await read(member, 10)
    admin = await world.admin()
    await world.append(0, *numbered(10, 20))
    await admin.delete_records({TopicPartition(*place): RecordsToDelete(15)})
    member.source.seek(place, 3)
    member.sought(place, 3)
    await read(member, 15, 30.0)
    assert member.values()[10:] == numbered(15, 20)
    assert len(member.signals.of(ConsumerRecreated)) == 1
    assert len(member.journal.assignments) == 2


async def test_a_commit_of_a_log_that_is_no_more_begins_at_the_start_of_the_new_one(
    kafka: KafkaBroker, new_world: NewWorld
) -> None:
    world = await new_world(1)
    (place,) = world.places
    await world.append(0, *numbered(0, 3))
    first = await world.join()
    await assigned(first)
    await first.source.commit({place: CommitPoint(500, "of another log")})
    await world.leave(first)
    second = await world.join()
    assert await read(second, 3, 30.0) == numbered(0, 3)
    found = second.journal.latest()[place]
    assert (found.committed, found.start, found.note) == (500, 0, "")


# What a log may hold


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_is_read(new_world: NewWorld, codec: str) -> None:
    world = await new_world(1)
    producer = AIOKafkaProducer(
        bootstrap_servers=world.kafka.bootstrap_servers, compression_type=codec, linger_ms=20
    )
    await producer.start()
    world.stack.push_async_callback(producer.stop)
    sent = [await producer.send(world.topic, b"x" * 500 + b"%d" % n) for n in range(50)]
    await asyncio.gather(*sent)
    member = await world.join()
    assert await read(member, 50) == [b"x" * 500 + b"%d" % n for n in range(50)]


async def test_records_keep_key_time_and_headers(new_world: NewWorld) -> None:
    world = await new_world(1)
    producer = await world.producer()
    headers = [("a", b"1"), ("a", b"2"), ("null", None), ("bytes", b"\xff\x00")]
    await producer.send_and_wait(
        world.topic, None, key=b"k", headers=headers, timestamp_ms=1_700_000_000_123
    )
    member = await world.join()
    await read(member, 1)
    (record,) = member.records
    assert (record.key, record.value, record.headers) == (b"k", None, tuple(headers))
    assert record.timestamp == pytest.approx(1_700_000_000.123)


async def test_aborted_transactions_are_not_read_and_markers_are_passed(
    new_world: NewWorld,
) -> None:
    world = await new_world(1)
    (place,) = world.places
    producer = AIOKafkaProducer(
        bootstrap_servers=world.kafka.bootstrap_servers, transactional_id=world.topic
    )
    await producer.start()
    world.stack.push_async_callback(producer.stop)
    for value, is_kept in ((b"kept", True), (b"aborted", False), (b"last", True)):
        await producer.begin_transaction()
        await producer.send_and_wait(world.topic, value, partition=0)
        await (producer.commit_transaction() if is_kept else producer.abort_transaction())
    member = await world.join()
    assert await read(member, 2) == [b"kept", b"last"]
    await wait_until(lambda: _position_after_reading(member))
    assert member.source.position(place) == member.source.log_end(place) == 6


async def _position_after_reading(member: Member) -> bool:
    await member.read_once()
    (place,) = member.journal.latest()
    return member.source.position(place) == 6


async def test_gaps_of_compaction_are_jumped(new_world: NewWorld) -> None:
    configs = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.01",
        "max.compaction.lag.ms": "200",
    }
    world = await new_world(1, **configs)
    producer = await world.producer()
    for number in range(20):
        await producer.send_and_wait(world.topic, b"%d" % number, key=b"same")

    async def is_compacted() -> bool:
        # A new segment closes the old one; only closed ones are compacted.
        await producer.send_and_wait(world.topic, b"next", key=b"next")
        member = world.member(group_id=f"{world.topic}-{time.monotonic_ns()}")
        await world.started(member)
        await assigned(member)
        (found,) = member.journal.latest().values()
        while (member.source.position(found.partition) or 0) < found.log_end:
            await member.read_once()
        await world.leave(member)
        assert member.journal.breaches == []
        return b"19" in member.values() and len(member.records) < found.log_end

    await wait_until(is_compacted, 30.0, every_seconds=0.3)


@pytest.mark.parametrize("max_records", [1, 2, 100])
async def test_a_header_name_that_is_not_utf8_stops_nothing(
    new_world: NewWorld, max_records: int
) -> None:
    world = await new_world(2)
    await produce(world, 0, raw_batch([(b"0", []), (b"1", [])]))
    await produce(
        world, 0, raw_batch([(b"2", []), (b"3", [(b"\xff\xfea", b"v"), (b"ok", None)]), (b"4", [])])
    )
    await produce(world, 0, raw_batch([(b"5", [])]))
    await world.append(1, *numbered(100, 150))
    member = await world.join()
    await assigned(member, 2)
    async with asyncio.timeout(15):
        while len(member.records) < 56:
            await member.read_once(max_records)
    mine = [record for record in member.records if record.partition == 0]
    assert [record.value for record in mine] == numbered(0, 6)
    assert mine[3].headers == ((NOT_UTF8 + "\\xff\\xfea", b"v"), ("ok", None))
    assert member.journal.breaches == []
    assert source_of(member).statistics()["records_salvaged"]
    assert list(member.signals) == []


async def test_bytes_that_cannot_be_read_stop_their_partition_only_and_say_where(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brokers check what they are sent, so what is corrupt is played: both parsers refuse it."""

    def refuse(*_: object) -> None:
        raise CorruptRecordException("wrong checksum")

    monkeypatch.setattr(kafka_salvage, "read_first_batch", refuse)
    world = await new_world(2)
    await world.append(0, b"0")
    await produce(world, 0, raw_batch([(b"1", [(b"\xff", b"v")])]))
    await world.append(0, b"2")
    await world.append(1, *numbered(100, 150))
    member = world.member()
    await world.started(member)
    await assigned(member, 2)
    await wait_until(lambda: _failures_after_reading(member, 3), every_seconds=0.0)
    where = f"{world.topic}/0/"
    assert where in (source_of(member).trouble or "")
    assert all(where in failure.error for failure in _failures(member))
    assert [failure.retry_in_seconds for failure in _failures(member)] == [0.5, 1.0, 2.0]
    await world.append(1, b"more")
    await wait_until(lambda: _read_value(member, b"more"))
    assert b"1" not in member.values()
    # What an operator does with a whole group, a test does with its one partition.
    member.source.seek(world.places[0], 2)
    member.sought(world.places[0], 2)
    await wait_until(lambda: _read_value(member, b"2"))
    assert source_of(member).trouble is None
    assert member.journal.breaches == []


def _failures(member: Member) -> list[ReadFailed]:
    return [signal for signal in member.signals if isinstance(signal, ReadFailed)]


async def _failures_after_reading(member: Member, count: int) -> bool:
    await member.read_once()
    return len(_failures(member)) >= count


async def test_a_record_larger_than_a_fetch_is_read_all_the_same(new_world: NewWorld) -> None:
    world = await new_world(1)
    values = [b"a" * 5000, b"b", b"c" * 60_000, b"d"]
    for value in values:
        await world.append(0, value)
    member = world.member(max_partition_fetch_bytes=1024, fetch_max_bytes=2048)
    await world.started(member)
    assert await read(member, 4) == values


async def test_what_aiokafka_would_skip_as_too_large_is_read_again(new_world: NewWorld) -> None:
    """It counts such a record as read before it raises; brokers from before 0.10.1 cause it."""
    world = await new_world(1)
    member = await world.join()
    await assigned(member)
    consumer = source_of(member)._consumer
    (partition,) = consumer.assignment()
    consumer._fetcher._set_error(partition, RecordTooLargeError("one record"))
    consumer._subscription.subscription.assignment.state_value(partition).consumed_to(1)
    await world.append(0, *numbered(0, 3))
    assert await read(member, 3) == numbered(0, 3)
    assert len(_failures(member)) == 1


# Membership


async def test_a_commit_in_a_revocation_counts_and_none_after_it(new_world: NewWorld) -> None:
    world = await new_world(2)
    await world.append(0, *numbered(0, 9))
    await world.append(1, *numbered(0, 9))
    journal = Journal()
    first = await world.join(journal)
    first.read_on()
    await assigned(first, 2)
    held_back: list[asyncio.Task[None]] = []

    async def commit_at(offset: int) -> None:
        await first.source.commit({place: CommitPoint(offset) for place in world.places})

    async def last_commit() -> None:
        journal.when_revoked = None
        await commit_at(5)
        held_back.append(asyncio.create_task(_commit_until_assigned(journal, commit_at)))

    journal.when_revoked = last_commit
    second = await world.join()
    second.read_on()
    await assigned(second, 1)
    await asyncio.wait(held_back)
    assert {point.offset for point in (await world.committed()).values()} == {5}
    (kept,) = second.journal.latest().values()
    assert kept.start == 5
    await world.leave(second)
    await world.leave(first)
    assert journal.breaches == []


async def test_a_commit_that_waits_its_turn_into_the_end_of_an_assignment_is_refused(
    new_world: NewWorld,
) -> None:
    world = await new_world(2)
    journal = Journal()
    first = await world.join(journal)
    first.read_on()
    await assigned(first, 2)
    commits: list[asyncio.Task[None]] = []

    async def begin_two() -> None:
        for offset in (5, 6):
            points = {place: CommitPoint(offset) for place in world.places}
            commits.append(asyncio.create_task(first.source.commit(points)))
        await asyncio.sleep(0)  # both have begun: one is on its way, the other waits for it

    journal.when_revoked = begin_two
    second = await world.join()
    second.read_on()
    await assigned(second, 1)
    under_way, waiting = await asyncio.gather(*commits, return_exceptions=True)
    assert under_way is None
    assert isinstance(waiting, CommitFailed)
    assert {point.offset for point in (await world.committed()).values()} == {5}


async def test_a_commit_under_way_is_over_before_the_group_goes_on(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka reads the generation when it sends: a late commit would count for the next one."""
    sent = GroupCoordinator._do_commit_offsets

    async def sent_late(*arguments: object) -> None:
        await asyncio.sleep(0.7)
        await sent(*arguments)

    monkeypatch.setattr(GroupCoordinator, "_do_commit_offsets", sent_late)
    world = await new_world(2)
    journal = Journal()
    first = await world.join(journal)
    first.read_on()
    await assigned(first, 2)
    commits: list[asyncio.Task[None]] = []
    were_over: list[bool] = []

    async def begin_one() -> None:
        points = {place: CommitPoint(0) for place in world.places}
        commits.append(asyncio.create_task(first.source.commit(points)))
        await asyncio.sleep(0)

    async def look() -> None:
        were_over.extend(commit.done() for commit in commits)

    journal.when_revoked, journal.when_assigned = begin_one, look
    second = await world.join()
    second.read_on()
    await assigned(second, 1)
    await assigned(first, 1)
    assert were_over == [True]
    await asyncio.gather(*commits)


async def test_a_rebalance_does_not_wait_for_a_look_up_that_gets_no_answer(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = AIOKafkaAdminClient.list_consumer_group_offsets

    async def answer(*arguments: object, partitions: list[TopicPartition]) -> object:
        return {} if len(partitions) == 4 else await asked(*arguments, partitions=partitions)

    monkeypatch.setattr(AIOKafkaAdminClient, "list_consumer_group_offsets", answer)
    world = await new_world(4)
    first = await world.join()
    first.read_on()
    await wait_until(lambda: _failures(first))
    second = await world.join()
    second.read_on()
    await assigned(second, 2)
    await assigned(first, 2)
    assert len(first.journal.history) == 1  # it was never told of the four


async def test_two_members_in_one_process_share_no_assignor(new_world: NewWorld) -> None:
    world = await new_world(1)
    assignors = set()
    for _ in range(2):
        member = await world.join()
        assignors.update(source_of(member)._consumer._partition_assignment_strategy)
    assert len(assignors) == 2


async def _commit_until_assigned(
    journal: Journal, commit_at: Callable[[int], Awaitable[None]]
) -> None:
    refused = 0
    while not journal.is_assigned:
        try:
            await commit_at(6)
        except CommitFailed:
            refused += 1
        await asyncio.sleep(0)
    assert refused


async def test_a_broker_that_freezes_during_a_commit_fails_it_in_time(
    kafka: KafkaBroker, new_world: NewWorld
) -> None:
    world = await new_world(1)
    (place,) = world.places
    member = world.member(commit_timeout_seconds=0.5, session_timeout_seconds=10.0)
    await world.started(member)
    await assigned(member)
    loop = asyncio.get_running_loop()
    kafka.suspend()
    try:
        began = loop.time()
        with pytest.raises(CommitFailed):
            await member.source.commit({place: CommitPoint(0, "frozen")})
        assert 0.3 < loop.time() - began < 2.0
        began = loop.time()
        assert list(await member.source.next_batch(10, 0.2)) == []
        assert loop.time() - began < 2.0
    finally:
        kafka.resume()
    await world.append(0, b"thawed")
    await read(member, 1, 30.0)
    await member.source.commit({place: CommitPoint(1, "thawed")})
    assert dict(await world.committed()) == {place: CommitPoint(1, "thawed")}


async def test_a_note_that_is_too_long_fails_its_commit(new_world: NewWorld) -> None:
    world = await new_world(1)
    (place,) = world.places
    member = await world.join()
    await assigned(member)
    with pytest.raises(CommitFailed, match="OffsetMetadataTooLarge"):
        await member.source.commit({place: CommitPoint(0, "x" * 5000)})


async def test_a_broker_that_restarts_costs_no_record(
    kafka: KafkaBroker, new_world: NewWorld
) -> None:
    world = await new_world(1)
    await world.append(0, *numbered(0, 5))
    member = await world.join()
    await read(member, 5)
    await kafka.stop()
    await member.read_once(timeout_seconds=0.2)
    await kafka.start()
    await world.append(0, *numbered(5, 10))
    await wait_until(lambda: _read_value(member, b"9"), 40.0)
    assert member.journal.breaches == []
    assert set(member.values()) == set(numbered(0, 10))


async def _read_value(member: Member, value: bytes) -> bool:
    await member.read_once()
    return value in member.values()


async def test_who_does_not_poll_leaves_the_group_also_after_a_failed_read(
    new_world: NewWorld,
) -> None:
    """aiokafka counts a poll that raised as one that never ends."""
    world = await new_world(1)
    await produce(world, 0, raw_batch([(b"0", [(b"\xff", b"v")])]))
    idle = world.member(max_poll_interval_seconds=1.0)
    await world.started(idle)
    await read(idle, 1)
    heir = await world.join()
    heir.read_on()
    await assigned(heir, 1)
    await wait_until(lambda: heir.records)


async def test_polling_while_all_is_paused_keeps_the_membership(new_world: NewWorld) -> None:
    world = await new_world(1)
    member = world.member(max_poll_interval_seconds=0.5)
    await world.started(member)
    await assigned(member)
    member.source.pause(set(world.places))
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < 2.0:
        await member.read_once()
    assert len(member.journal.history) == 1


async def test_a_consumer_that_stops_yielding_is_replaced(new_world: NewWorld) -> None:
    world = await new_world(1)
    member = world.member(stuck_after_seconds=0.8)
    await world.started(member)
    await assigned(member)
    stuck = source_of(member)._consumer
    stuck._fetcher._fetch_task.cancel()  # what such a stall looks like from outside
    await world.append(0, b"under way")
    await world.append(0, b"unseen")
    await wait_until(lambda: _read_value(member, b"unseen"), 30.0)
    (signal,) = member.signals.of(ConsumerRecreated)
    assert "lag" in signal.why
    assert member.journal.history[1] is None
    assert source_of(member)._consumer is not stuck


async def test_three_stuck_consumers_in_a_row_are_a_failure(new_world: NewWorld) -> None:
    world = await new_world(1)
    await world.append(0, b"unseen")
    journal = Journal()
    member = world.member(journal, stuck_after_seconds=0.4)
    source = source_of(member)

    async def get_stuck() -> None:
        source._consumer._fetcher._fetch_task.cancel()

    journal.when_assigned = get_stuck
    await world.started(member)
    member.read_on()
    async with asyncio.timeout(30):
        assert "in a row" in await source.wait_failed()
    assert len(member.signals.of(ConsumerRecreated)) == 2


async def test_frozen_brokers_are_not_the_consumers_fault(
    kafka: KafkaBroker, new_world: NewWorld
) -> None:
    world = await new_world(1)
    member = world.member(stuck_after_seconds=0.4, request_timeout_seconds=1.0)
    await world.started(member)
    await assigned(member)
    kafka.suspend()
    try:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < 3.0:
            await member.read_once()
    finally:
        kafka.resume()
    assert member.signals.of(ConsumerRecreated) == []


async def test_who_has_not_been_heard_for_a_session_no_longer_knows_what_it_owns(
    kafka: KafkaBroker, new_world: NewWorld
) -> None:
    world = await new_world(1)
    member = world.member(session_timeout_seconds=1.5, heartbeat_seconds=0.2)
    source = source_of(member)
    assert not source.is_owner()
    await world.started(member)
    await assigned(member)
    member.read_on()
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < 2.5:
        assert source.is_owner(), "heartbeats are answered"
        await asyncio.sleep(0.05)
    kafka.suspend()
    frozen_at = loop.time()
    try:
        await wait_until(lambda: not source.is_owner(), 5.0)
        assert 1.0 < loop.time() - frozen_at < 2.5
        while loop.time() - frozen_at < 3.0:
            assert not source.is_owner(), "only an answer can change that"
            await asyncio.sleep(0.05)
    finally:
        kafka.resume()
    await wait_until(source.is_owner, 15.0)


async def test_stop_is_quick_and_leaves_the_group_at_once(new_world: NewWorld) -> None:
    world = await new_world(1)
    member = world.member(session_timeout_seconds=30.0)
    await world.started(member)
    await assigned(member)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await source_of(member).stop()
    heir = await world.join()
    heir.read_on()
    await assigned(heir)
    assert loop.time() - began < 5.0
    assert list(await member.source.next_batch(1, 0.01)) == []
    with pytest.raises(CommitFailed):
        await member.source.commit({world.places[0]: CommitPoint(0)})


async def test_stop_is_bounded_when_brokers_are_frozen(
    kafka: KafkaBroker, new_world: NewWorld
) -> None:
    world = await new_world(1)
    member = world.member(stop_timeout_seconds=0.5)
    await world.started(member)
    await assigned(member)
    kafka.suspend()
    try:
        async with asyncio.timeout(4):
            await source_of(member).stop()
    finally:
        kafka.resume()
