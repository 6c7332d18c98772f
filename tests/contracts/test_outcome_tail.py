"""ports.OutcomeTail, kept on a real Kafka and by the simulation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from gateway.adapters.kafka_client import KafkaConnection
from gateway.adapters.outcome_tail import KafkaOutcomeTail, Reach
from gateway.adapters.outcomes import OutcomeWriter
from gateway.core.model import Certainty, Claim, Operation, Outcome, OutcomeKind, Source
from gateway.ports import OutcomeLog, OutcomeTail
from gateway.simulation.broker import KafkaBroker, Topic
from gateway.simulation.log import OutcomesInMemory, TailInMemory
from tests.conftest import Topics
from tests.contracts.logs import QUICK, Signals
from tests.waiting import wait_until

PLAIN = Outcome(
    kind=OutcomeKind.ACCEPTED,
    certainty=Certainty.CONFIRMED,
    source=Source("job-results", 0, 0),
    time=1_790_000_000.25,
    target="default",
    operation=Operation.JOB_SUCCESS,
    claim=Claim.SUCCEEDED,
    attempts=1,
    digest=bytes(range(16)),
)


class Ear:
    """An EndingsFeed that remembers."""

    def __init__(self) -> None:
        self.jobs: list[str | None] = []
        self.known: set[str] = set()

    def learn(self, outcome: Outcome) -> bool:
        self.jobs.append(outcome.job_id)
        return True

    def knows(self, job_id: str) -> bool:
        return job_id in self.known


Listen = Callable[[Ear], Awaitable[OutcomeTail]]


async def write(log: OutcomeLog, *jobs: str) -> None:
    """Durable when it returns."""
    told: list[str] = []
    for number, job in enumerate(jobs):
        outcome = replace(PLAIN, job_id=job, source=Source("job-results", 0, number))
        log.append(outcome, lambda job=job: told.append(job))  # type: ignore[misc]
    await wait_until(lambda: len(told) == len(jobs))


@pytest.fixture(scope="session", params=["simulation", "kafka"])
def broker(request: pytest.FixtureRequest) -> KafkaBroker | None:
    """A real Kafka, or None for the simulation: that needs none."""
    return request.getfixturevalue("kafka") if request.param == "kafka" else None


@pytest.fixture
async def world(
    broker: KafkaBroker | None, topic_names: Topics
) -> AsyncIterator[tuple[OutcomeLog, Listen]]:
    async with AsyncExitStack() as stack:
        if broker is None:
            outcomes = OutcomesInMemory()

            async def overhear(ear: Ear) -> OutcomeTail:
                return TailInMemory(outcomes, ear, 0.01)

            yield outcomes, overhear
            return
        topic = topic_names.outcomes
        await broker.create_topics(Topic(topic, 3))
        connection = KafkaConnection(broker.bootstrap_servers)
        writer = OutcomeWriter(connection, topic, Signals(), QUICK)
        writer.start()
        stack.push_async_callback(writer.stop, 5.0)

        async def listen(ear: Ear) -> OutcomeTail:
            reach = Reach(topic, 3600.0, 10_000)
            tail = KafkaOutcomeTail(connection, reach, ear, Signals(), time.time)
            tail.start()
            stack.push_async_callback(tail.stop)
            return tail

        yield writer, listen


async def test_what_was_durable_before_it_began_is_heard(
    world: tuple[OutcomeLog, Listen],
) -> None:
    log, listen = world
    jobs = [f"job{number}" for number in range(50)]
    await write(log, *jobs)
    ear = Ear()
    tail = await listen(ear)
    assert await tail.wait_caught_up(15.0)
    assert sorted(map(str, ear.jobs)) == sorted(jobs)


async def test_once_caught_up_everything_durable_before_has_been_heard(
    world: tuple[OutcomeLog, Listen],
) -> None:
    log, listen = world
    ears = [Ear(), Ear()]
    tails = [await listen(ear) for ear in ears]
    for number in range(20):
        await write(log, f"job{number}")
        for ear, tail in zip(ears, tails, strict=True):
            assert await tail.wait_caught_up(15.0)
            assert f"job{number}" in ear.jobs


async def test_nothing_durable_is_nothing_to_wait_for(world: tuple[OutcomeLog, Listen]) -> None:
    _, listen = world
    tail = await listen(Ear())
    assert await tail.wait_caught_up(15.0)


async def test_a_wait_that_is_given_up_says_so(world: tuple[OutcomeLog, Listen]) -> None:
    log, listen = world
    await write(log, "a")
    tail = await listen(Ear())
    began = asyncio.get_running_loop().time()
    assert not await tail.wait_caught_up(0.0)
    assert asyncio.get_running_loop().time() - began < 1.0
