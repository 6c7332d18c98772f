"""Bugs that other tools of this kind have shipped. Each test is named after the project and the
number of the report, tells what happened there, and shows that it does not happen here.

`tests/mutations/shipped_bugs.py` holds for each of them the change to our code that brings the bug
back; `python -m tests.mutations.run` applies them one by one and expects red.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gateway.core.backpressure import Budgets
from gateway.core.model import CommitPoint, Partition
from gateway.core.note import LONGEST, decode
from gateway.core.room import RoomBounds
from gateway.core.signals import IntakePaused
from gateway.ports import Assigned
from gateway.simulation.log import DeadLettersInMemory
from tests.flow.world import EXPIRED, THROTTLED, TOPIC, SmallWorld, small_world

UNLIMITED = 10**9


def jobs(count: int, first: int = 0) -> list[str]:
    return [f"job{number}:succeeded:1" for number in range(first, first + count)]


def unsettled_below_the_commit(world: SmallWorld) -> list[str]:
    """Values of records that are committed and have no outcome: lost, if nobody holds them."""
    done = {outcome.source for outcome in world.outcomes.durable}
    return [
        (record.value or b"").decode()
        for record in world.log.records(TOPIC)
        if record.offset < (world.committed(record.partition) or 0) and record.source not in done
    ]


async def ends_clean(world: SmallWorld, seconds: float) -> None:
    """Everything that was sent has an outcome, and all of it is committed."""
    await asyncio.sleep(seconds)
    sent = {(record.value or b"").decode() for record in world.log.records(TOPIC)}
    assert set(world.kinds()) == sent
    for place in world.log.partitions(TOPIC):
        assert world.committed(place.partition) == world.log.end(place)


async def test_parallel_consumer_826_a_close_amid_work_loses_nothing() -> None:
    """Closing committed what had been read, not what had been done."""
    async with small_world() as world:
        world.codepipeline.seconds = 5.0
        first = await world.member()
        world.send(*jobs(60))
        await asyncio.sleep(7)
        first.flow.stop_reading()
        await first.partitions.partitions_revoked()  # SIGTERM whose drain was skipped
        await first.source.stop()
        assert 0 < (world.committed() or 0) < 60
        assert unsettled_below_the_commit(world) == []
        await world.member()
        await ends_clean(world, 120)


async def test_parallel_consumer_827_a_revocation_amid_work_loses_nothing() -> None:
    """Work that waited when partitions were revoked was dropped and counted as done."""
    async with small_world(partitions=4) as world:
        world.codepipeline.seconds = 5.0
        await world.member()
        world.send(*jobs(200))
        await asyncio.sleep(7)
        second = await world.member()
        assert unsettled_below_the_commit(world) == []
        await asyncio.sleep(7)
        await second.stop()
        assert unsettled_below_the_commit(world) == []
        await ends_clean(world, 400)


async def test_parallel_consumer_857_consumption_goes_on_after_a_rebalance() -> None:
    """What a lost assignment had in hand was never taken off the books, so that after some
    rebalances the consumer believed itself full, and read nothing more, silently."""
    async with small_world(partitions=2) as world:
        budgets = Budgets(records=30, bytes=UNLIMITED, lanes=UNLIMITED)
        first = await world.member(budgets)
        for number in range(6):
            world.send(*jobs(100, 100 * number))
            await asyncio.sleep(2.5)
            assert first.told.of(IntakePaused), "it was full when the rebalance came"
            second = await world.member(budgets)
            await asyncio.sleep(1.5)
            await second.stop()
        await ends_clean(world, 400)
        assert first.backpressure.records == first.backpressure.bytes == 0


async def test_parallel_consumer_834_results_that_wait_for_a_retry_throttle_the_polling() -> None:
    """Failed work moved to a retry queue that nobody counted: polling went on, memory grew."""
    async with small_world() as world:
        world.codepipeline.seconds = 0.01
        world.codepipeline.default["default"] = THROTTLED
        member = await world.member(Budgets(records=200, bytes=UNLIMITED, lanes=UNLIMITED))
        most = 0
        for number in range(20):
            world.send(*jobs(50, 50 * number))
            await asyncio.sleep(2)
            current = member.partitions.current
            assert current is not None
            most = max(most, current.unsettled())
        assert member.told.of(IntakePaused)
        assert most <= 300, "a budget and the batch that went past it"
        world.codepipeline.default["default"] = None
        await ends_clean(world, 400)


async def test_parallel_consumer_836_calls_in_flight_count_in_backpressure() -> None:
    """Only what was queued was counted, not what was being worked on."""
    async with small_world() as world:
        world.codepipeline.seconds = 600.0
        member = await world.member(Budgets(records=6, bytes=UNLIMITED, lanes=UNLIMITED))
        member.flow._max_batch_records = 3
        for number in range(8):
            world.send(f"job{number}:succeeded:1")
            await asyncio.sleep(1)
        current = member.partitions.current
        assert current is not None
        assert len(world.codepipeline.calls) == 4, "the room is full"
        assert current.unsettled() == member.backpressure.records == 6
        assert [signal.budget for signal in member.told.of(IntakePaused)] == ["records"]


async def test_parallel_consumer_647_a_note_over_its_limit_is_cut_not_dropped() -> None:
    """The metadata beside a commit outgrew what brokers take: every commit failed, or all of it
    was left out and a restart repeated everything. Here the longest runs are kept."""
    async with small_world() as world:
        world.skip_ahead = 10**6
        world.share = 10**6
        world.retries = 10**6
        world.codepipeline.seconds = 0.01
        member = await world.member(Budgets(UNLIMITED, UNLIMITED, UNLIMITED))
        held, settled = [], 0
        for number in range(9000):
            # A ragged pattern, which neither run-lengths nor a bitset say in 4,096 characters.
            ragged = number % 2 if number < 5000 else (number * number) % 7 < 3
            held.append(bool(ragged))
            settled += not ragged
        held[0] = True
        world.codepipeline.default["other"] = EXPIRED
        for number, is_held in enumerate(held):
            world.send(f"job{number}:succeeded:1{':other' if is_held else ''}")
        world.send(*jobs(20_000, 100_000))
        await asyncio.sleep(300)
        assert len(world.outcomes.durable) == held.count(False) + 20_000, "reading went on"
        points = [commit.point for commit in world.group.commits]
        assert max(len(point.note) for point in points) <= LONGEST
        assert points[-1].offset == 0
        runs = decode(points[-1].note, 0, "simulated", b"the replicas' own key")
        assert runs, "not all is dropped"
        assert max(runs, key=lambda run: run.end - run.start) == (
            max(number for number, is_held in enumerate(held) if is_held) + 1,
            29_000,
        ), "the longest run is kept"
        await member.crash()


async def test_astubbs_parallel_consumer_487_retries_for_ever_do_not_stall_the_intake() -> None:
    """A steady share of records that fail for ever filled the queue within a minute."""
    async with small_world() as world:
        world.retries = 4
        world.room = RoomBounds(4, 4, 4)  # what a throttle makes of the room is not at issue
        for number in range(0, 200, 10):
            world.codepipeline.answers(f"job{number}", *[THROTTLED] * 100_000)
        member = await world.member(Budgets(records=15, bytes=UNLIMITED, lanes=UNLIMITED))
        waiting = []
        for number in range(20):
            world.send(*jobs(10, 10 * number))
            await asyncio.sleep(20)
            current = member.partitions.current
            assert current is not None
            waiting.append(current.deliveries.statistics()["waiting_retries"])
        await asyncio.sleep(100)
        good = [value for value in jobs(200) if int(value[3:].split(":")[0]) % 10]
        assert set(world.kinds()) == set(good)
        assert max(waiting) == 4, "counted apart, and bounded"


class CommitsInTime:
    """A RecordSource of which only commits matter: each takes a second."""

    def __init__(self) -> None:
        self.begun: list[tuple[float, int]] = []

    async def commit(self, points: dict[Partition, CommitPoint]) -> None:
        now = asyncio.get_running_loop().time()
        self.begun += [(now, point.offset) for point in points.values()]
        await asyncio.sleep(1.0)

    def position(self, partition: Partition) -> int | None:
        return None


async def test_redpanda_connect_4477_no_commit_is_sent_for_a_revoked_partition() -> None:
    """A commit that had begun to wait before the revocation was sent after it: it set the next
    owner's offset. Here the flag and the commit are under one lock."""
    async with small_world() as world:
        member = await world.member()
        partitions, source = member.partitions, CommitsInTime()
        partitions._source = source  # type: ignore[assignment]
        place = Partition(TOPIC, 0)
        await partitions.partitions_assigned([Assigned(place, 0, 0, 100, None)])
        current = partitions.current
        assert current is not None
        watermark = current.watermarks[place]
        commits = []
        for number in range(3):
            ticket = watermark.begin(number)
            assert ticket is not None
            ticket.settle()
            commits.append(asyncio.create_task(partitions.commit()))
            await asyncio.sleep(0.1)
        revocation = asyncio.create_task(partitions.partitions_revoked())
        await asyncio.sleep(0.1)
        watermark.skip_to(50)
        await asyncio.sleep(1.0)
        watermark.skip_to(60)  # too late: the revocation's own commit was the last one
        await revocation
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*commits)
        assert asyncio.get_running_loop().time() == began, "all were over before it returned"
        assert len(source.begun) == 2, "the one under way, and the revocation's own"


async def test_redpanda_connect_4009_the_last_batch_is_not_lost_at_a_rebalance() -> None:
    """A batch that had been read when the rebalance came was dropped, and its offsets committed."""
    async with small_world() as world:
        world.codepipeline.seconds = 0.01
        for number in range(40):
            first = await world.member()
            await asyncio.sleep(1.3)
            world.send(*jobs(1, number))
            for _ in range(number % 20):
                await asyncio.sleep(0)
            first.flow.stop_reading()
            await first.partitions.partitions_revoked()
            await first.source.stop()
            assert unsettled_below_the_commit(world) == []
        await world.member()
        await ends_clean(world, 30)


async def test_knative_kafka_source_no_commit_passes_a_dead_letter_that_was_not_written() -> None:
    """The offset was committed although the dead-letter write had failed: the event was gone."""
    async with small_world() as world:
        world.dead_letters = DeadLettersInMemory(None)
        first = await world.member()
        world.send("poison", "a:succeeded:1")
        await asyncio.sleep(10)
        assert world.committed() == 0
        await first.crash()
        world.dead_letters = DeadLettersInMemory(0.01)
        await world.member()
        await ends_clean(world, 20)
        assert [letter.record.value for letter in world.dead_letters.durable] == [b"poison"]


@pytest.mark.parametrize("ahead", [0, 40])
async def test_fencing_before_draining_no_duplicates_at_a_rebalance(ahead: int) -> None:
    """The old owner was fenced first and drained then: what it finished meanwhile could not be
    committed, and the new owner did it again. Drain first, then let go."""
    async with small_world(partitions=2) as world:
        world.codepipeline.seconds = 3.0
        await world.member()
        world.send(*jobs(100 + ahead))
        await asyncio.sleep(4.5)  # in the midst of calls
        await world.member()
        await ends_clean(world, 300)
        calls = Counter(call.job_id for call in world.codepipeline.calls)
        assert set(calls.values()) == {1}
