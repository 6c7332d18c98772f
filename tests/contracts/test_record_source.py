"""What every RecordSource promises (gateway/ports.py), of the simulation and of Kafka alike."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.core.model import CommitPoint, Partition
from gateway.simulation.broker import KafkaBroker, Topic
from tests.conftest import Topics
from tests.contracts.sources import Journal, KafkaWorld, LogWorld, Member, World
from tests.waiting import wait_until

NewWorld = Callable[[int], Awaitable[World]]


@pytest.fixture(scope="session", params=["simulation", "kafka"])
def broker(request: pytest.FixtureRequest) -> KafkaBroker | None:
    """A real Kafka, or None for the simulation: that needs none."""
    return request.getfixturevalue("kafka") if request.param == "kafka" else None


@pytest.fixture
async def new_world(broker: KafkaBroker | None, topic_names: Topics) -> AsyncIterator[NewWorld]:
    """`await new_world(4)`: a topic of four partitions, and a group that has no member yet."""
    made: list[KafkaWorld] = []

    async def new(partitions: int) -> World:
        if broker is None:
            return LogWorld(partitions)
        await broker.create_topics(Topic(topic_names.results, partitions))
        made.append(KafkaWorld(broker, topic_names.results, partitions))
        return made[-1]

    yield new
    for world in made:
        await world.stack.aclose()


async def assigned(member: Member, partitions: int) -> None:
    await wait_until(lambda: member.journal.ready and len(member.journal.ready) == partitions)


def numbered(count: int) -> list[bytes]:
    return [str(number).encode() for number in range(count)]


async def test_records_come_in_offset_order_and_unchanged(new_world: NewWorld) -> None:
    world = await new_world(2)
    await world.append(0, *numbered(250))
    await world.append(1, *numbered(50))
    member = await world.join()
    member.read_on()
    await wait_until(lambda: len(member.records) == 300)
    for place, count in zip(world.places, (250, 50), strict=True):
        mine = [r for r in member.records if (r.topic, r.partition) == place]
        assert [r.offset for r in mine] == list(range(count))
        assert [r.value for r in mine] == numbered(count)
    await world.leave(member)
    assert member.journal.breaches == []


async def test_a_batch_is_empty_after_the_time_out(new_world: NewWorld) -> None:
    world = await new_world(1)
    member = await world.join()
    await assigned(member, 1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert list(await member.source.next_batch(10, 0.2)) == []
    assert 0.15 < loop.time() - began < 2.0
    await world.leave(member)


async def test_a_record_wakes_a_reader_that_waits(new_world: NewWorld) -> None:
    world = await new_world(1)
    member = await world.join()
    await assigned(member, 1)
    waiting = asyncio.create_task(member.read_once(timeout_seconds=30.0))
    await world.append(0, b"news")
    async with asyncio.timeout(10):
        await waiting
    assert member.values() == [b"news"]
    await world.leave(member)


async def test_a_paused_partition_yields_nothing_until_it_is_resumed(new_world: NewWorld) -> None:
    world = await new_world(2)
    member = await world.join()
    await assigned(member, 2)
    paused, other = world.places
    member.source.pause({paused})
    await world.append(0, *numbered(20))
    await world.append(1, *numbered(20))
    member.read_on()
    await wait_until(lambda: len(member.records) == 20)
    await world.append(1, b"later")
    await wait_until(lambda: len(member.records) == 21)
    assert {record.partition for record in member.records} == {other.partition}
    member.source.resume({paused})
    await wait_until(lambda: len(member.records) == 41)
    await world.leave(member)
    assert member.journal.breaches == []


async def test_pausing_in_the_midst_of_records_loses_none(new_world: NewWorld) -> None:
    world = await new_world(1)
    await world.append(0, *numbered(100))
    member = await world.join()
    await assigned(member, 1)
    while len(member.records) < 100:
        await member.read_once(max_records=7)
        member.source.pause(set(world.places))
        await member.read_once(timeout_seconds=0.0)
        member.source.resume(set(world.places))
    assert member.values() == numbered(100)
    await world.leave(member)
    assert member.journal.breaches == []


async def test_after_a_seek_the_next_record_stands_there(new_world: NewWorld) -> None:
    world = await new_world(1)
    (place,) = world.places
    await world.append(0, *numbered(30))
    member = await world.join()
    await assigned(member, 1)
    await wait_until(lambda: _read_and_count(member, 10, 10))
    member.source.seek(place, 4)
    member.sought(place, 4)
    assert member.source.position(place) == 4
    await wait_until(lambda: _read_and_count(member, 100, 36))
    assert [record.offset for record in member.records[10:]] == list(range(4, 30))
    await world.leave(member)
    assert member.journal.breaches == []


async def _read_and_count(member: Member, max_records: int, count: int) -> bool:
    await member.read_once(min(max_records, count - len(member.records)))
    return len(member.records) == count


async def test_the_position_is_behind_the_last_record_returned(new_world: NewWorld) -> None:
    world = await new_world(1)
    (place,) = world.places
    await world.append(0, *numbered(10))
    member = await world.join()
    await assigned(member, 1)
    assert member.source.position(place) == 0
    while len(member.records) < 10:
        await member.read_once(max_records=3)
        assert member.source.position(place) == len(member.records)
    assert member.source.position(Partition("unheard-of", 0)) is None
    assert member.source.log_end(place) == 10
    await world.leave(member)


async def test_a_cancelled_read_loses_nothing(new_world: NewWorld) -> None:
    world = await new_world(2)
    member = await world.join()
    await assigned(member, 2)
    chance = random.Random(7)
    sent = 0
    while sent < 300:
        reading = asyncio.create_task(member.read_once(max_records=5, timeout_seconds=1.0))
        await world.append(sent % 2, str(sent).encode())
        sent += 1
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait({reading})
    member.read_on()
    await wait_until(lambda: len(member.records) == sent)
    await world.leave(member)
    assert sorted(int(value or b"") for value in member.values()) == list(range(sent))
    assert member.journal.breaches == []


async def test_offset_and_note_come_back_at_the_next_assignment(new_world: NewWorld) -> None:
    world = await new_world(2)
    first, second = world.places
    await world.append(0, *numbered(10))
    member = await world.join()
    await assigned(member, 2)
    await member.source.commit({first: CommitPoint(4, "a note")})
    await world.leave(member)
    await world.append(0, b"10")
    successor = await world.join()
    await assigned(successor, 2)
    found = successor.journal.latest()
    assert (found[first].start, found[first].committed, found[first].note) == (4, 4, "a note")
    assert (found[first].log_start, found[first].log_end) == (0, 11)
    assert (found[second].start, found[second].committed, found[second].note) == (0, None, "")
    assert found[first].cluster
    successor.read_on()
    await wait_until(lambda: len(successor.records) == 7)
    assert [record.offset for record in successor.records] == list(range(4, 11))
    await world.leave(successor)


async def test_nothing_is_returned_before_the_listener_knows_all(new_world: NewWorld) -> None:
    world = await new_world(1)
    await world.append(0, *numbered(5))
    journal, may_go_on = Journal(), asyncio.Event()

    async def wait() -> None:
        await may_go_on.wait()

    journal.when_assigned = wait
    joining = asyncio.create_task(world.join(journal))
    await wait_until(lambda: journal.is_assigned)
    may_read = joining.done()
    if may_read:
        assert list(await joining.result().source.next_batch(10, 0.3)) == []
    may_go_on.set()
    member = await joining
    member.read_on()
    await wait_until(lambda: len(member.records) == 5)
    await world.leave(member)
    assert journal.breaches == []


async def test_two_members_and_back_lose_nothing_and_return_nothing_revoked(
    new_world: NewWorld,
) -> None:
    world = await new_world(4)
    first = await world.join()
    first.read_on()
    await assigned(first, 4)
    stop = asyncio.Event()
    sending = asyncio.create_task(_send_until(world, stop))
    second = await world.join()
    second.read_on()
    await wait_until(lambda: first.journal.ready and len(first.journal.ready) == 2)
    await assigned(second, 2)
    await wait_until(lambda: second.records)
    assert first.journal.latest().keys() | second.journal.latest().keys() == set(world.places)
    await world.leave(second)
    await assigned(first, 4)
    stop.set()
    sent = await sending
    await wait_until(lambda: {r.value for r in first.records + second.records} >= sent)
    assert first.journal.history.count(None) >= 2
    # Nothing was committed: each assignment begins at 0 again, for kept partitions too.
    assert all(one.start == 0 for told in first.journal.assignments for one in told)
    await world.leave(first)
    assert first.journal.breaches == []
    assert second.journal.breaches == []


async def _send_until(world: World, stop: asyncio.Event) -> set[bytes]:
    sent: set[bytes] = set()
    while not stop.is_set():
        values = [f"{len(sent) + number}".encode() for number in range(8)]
        for number, value in enumerate(values):
            await world.append(number % 4, value)
        sent.update(values)
        await asyncio.sleep(0.005)
    return sent


async def test_partitions_of_others_are_ignored(new_world: NewWorld) -> None:
    world = await new_world(1)
    (place,) = world.places
    stranger = Partition(world.topic, 77)
    await world.append(0, *numbered(3))
    member = await world.join()
    await assigned(member, 1)
    member.source.pause({stranger})
    member.source.resume({stranger})
    member.source.seek(stranger, 5)
    await member.source.commit({stranger: CommitPoint(5), place: CommitPoint(2)})
    assert dict(await world.committed()) == {place: CommitPoint(2)}
    member.read_on()
    await wait_until(lambda: len(member.records) == 3)
    await world.leave(member)
