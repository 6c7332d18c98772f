"""What one replica has ended, the others know."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from gateway.core.model import OutcomeKind, Partition
from gateway.simulation.log import TailInMemory
from tests.flow.world import ENDED, NOT_FOUND, TOPIC, small_world


def at(world, partition: int, *values: str) -> None:
    """A job's results in a partition of our choice: as if its producer had lost the key."""
    for value in values:
        world.log.append(TOPIC, value.encode(), b"any", partition=partition)


async def test_a_copy_of_what_another_replica_has_delivered_costs_no_call():
    async with small_world(partitions=2) as world:
        world.hears_after = 0.1
        await world.member()
        await world.member()
        at(world, 0, "a:succeeded:1")
        await asyncio.sleep(3)
        at(world, 1, "a:succeeded:1")
        await asyncio.sleep(3)
        assert len(world.codepipeline.calls) == 1
        kinds = [outcome.kind for outcome in world.outcomes.durable]
        assert kinds == [OutcomeKind.ACCEPTED, OutcomeKind.DUPLICATE]


async def test_without_a_shared_key_a_copy_asks_aws_whose_refusal_is_believed_at_once():
    async with small_world(partitions=2) as world:
        world.hears_after, world.shares_digests = 0.1, False
        await world.member()
        await world.member()
        world.codepipeline.answers("a", None, ENDED)
        at(world, 0, "a:succeeded:1")
        await asyncio.sleep(3)
        at(world, 1, "a:succeeded:1")
        await asyncio.sleep(3)
        assert len(world.codepipeline.calls) == 2, "no waiting for an acknowledgement either"
        kinds = [outcome.kind for outcome in world.outcomes.durable]
        assert kinds == [OutcomeKind.ACCEPTED, OutcomeKind.ALREADY_ENDED]


@pytest.mark.parametrize("shares_digests", [True, False])
async def test_a_contradiction_of_what_another_replica_has_delivered_is_a_conflict(shares_digests):
    async with small_world(partitions=2) as world:
        world.hears_after, world.shares_digests = 0.1, shares_digests
        await world.member()
        await world.member()
        world.codepipeline.answers("a", None, ENDED)
        at(world, 0, "a:succeeded:1")
        await asyncio.sleep(3)
        at(world, 1, "a:failed:2")
        await asyncio.sleep(3)
        assert world.kinds() == {"a:succeeded:1": "accepted", "a:failed:2": "conflict"}


@pytest.mark.parametrize("shares_digests", [True, False])
async def test_after_a_crash_what_is_durable_is_neither_sent_nor_published_again(shares_digests):
    async with small_world() as world:
        world.hears_after, world.shares_digests = 0.1, shares_digests
        first = await world.member()
        first.source.commit_fault = lambda: TimeoutError("no answer")
        world.send(*(f"job{number}:succeeded:1" for number in range(40)))
        await asyncio.sleep(3.5)
        durable = {outcome.job_id for outcome in world.outcomes.durable}
        assert 10 < len(durable) < 40
        assert world.committed() is None
        await first.crash()
        await world.member()
        await asyncio.sleep(60)
        assert world.committed() == 40
        calls = Counter(call.job_id for call in world.codepipeline.calls)
        assert {job for job, count in calls.items() if count > 1} & durable == set()
        published = Counter(outcome.job_id for outcome in world.outcomes.durable)
        assert {published[job] for job in durable} == {1}


async def test_partitions_wait_for_the_tail_but_no_longer_than_two_seconds():
    for delay, expected_calls in ((1.5, 1), (30.0, 2)):
        async with small_world() as world:
            first = await world.member()
            first.source.commit_fault = lambda: TimeoutError("no answer")
            world.send("a:succeeded:1")
            await asyncio.sleep(5)
            await first.crash()
            world.hears_after = delay
            began = asyncio.get_running_loop().time()
            await world.member()
            waited = asyncio.get_running_loop().time() - began
            assert waited == pytest.approx(min(delay, 2.0), abs=0.01)
            await asyncio.sleep(40)
            assert len(world.codepipeline.calls) == expected_calls
            assert world.committed() == 1


async def test_an_acceptance_by_any_replica_proves_the_target():
    async with small_world(partitions=2) as world:
        world.hears_after = 0.1
        await world.member()
        at(world, 0, "a:succeeded:1")
        await asyncio.sleep(3)
        await world.members[0].stop()
        await world.member()
        world.codepipeline.answers("b", NOT_FOUND)
        at(world, 1, "b:succeeded:1")
        await asyncio.sleep(5)
        assert world.kinds()["b:succeeded:1"] == "dead-lettered", "a job that nobody knows"


async def test_in_a_topic_made_anew_a_contradiction_at_the_same_place_is_no_redelivery():
    async with small_world() as world:
        world.hears_after = 0.1
        first = await world.member()
        world.send("a:succeeded:1")
        await asyncio.sleep(3)
        await first.stop()
        world.log._records[Partition(TOPIC, 0)].clear()
        world.log._ends[Partition(TOPIC, 0)] = 0
        world.group.committed.clear()
        world.codepipeline.answers("a", ENDED)
        await world.member()
        world.send("a:failed:2")
        await asyncio.sleep(5)
        assert [record.offset for record in world.log.records(TOPIC)] == [0]
        assert [outcome.kind for outcome in world.outcomes.durable][1:] == ["conflict"]


async def test_a_tail_that_never_hears_anything_stops_nothing():
    async with small_world(partitions=2) as world:
        world.hears_after = 1e9
        await world.member()
        world.send(*(f"job{number}:succeeded:1" for number in range(20)))
        await asyncio.sleep(20)
        assert len(world.kinds()) == 20


async def test_what_is_waited_for_is_what_was_durable_then():
    """Else somebody who writes all the time would keep everybody waiting."""
    async with small_world() as world:
        member = await world.member()
        world.send("a:succeeded:1")
        await asyncio.sleep(3)
        heard: list[str] = []

        class Ear:
            def learn(self, outcome):
                heard.append(outcome.job_id)
                return True

        tail = TailInMemory(member.outcomes, Ear(), delay_seconds=1.0)
        waiting = asyncio.create_task(tail.wait_caught_up(10.0))
        await asyncio.sleep(0.5)
        world.outcomes.append(replace(world.outcomes.durable[0], job_id="b"), lambda: None)
        assert await waiting
        assert heard == ["a"]
        tail.stop()
