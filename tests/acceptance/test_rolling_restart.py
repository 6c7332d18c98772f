"""A rolling update of four replicas at load: each leaves, and its successor comes."""

from __future__ import annotations

import asyncio

from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.judge import judge
from gateway.simulation.recorder import Places, Witness, record_history
from tests.acceptance.gateway_process import GatewayProcess, Stage
from tests.acceptance.test_lifecycle import events
from tests.waiting import wait_until

MEMBERS = 4
ROUND = 30


async def calls_in_flight(gateway: GatewayProcess) -> int:
    targets = (await gateway.status())["targets"]
    return sum(int(target["calls"]) for target in targets.values())


async def test_a_rolling_restart_at_load_loses_nothing_and_repeats_at_most_calls_in_flight(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    replicas = [await stage.started() for _ in range(MEMBERS)]
    under_way, sent, has_restarted = 0, 0, asyncio.Event()

    async def send_steadily() -> None:
        """Until all have been replaced: each round is a few jobs with three results each."""
        nonlocal sent
        producer = await stage.producer()
        while not has_restarted.is_set():
            for job, value in events(ROUND):
                await producer.send_and_wait(stage.topics.results, value, job.encode())
                sent += 1

    sending = asyncio.create_task(send_steadily())
    await wait_until(lambda: len(simulator.books) > 100, 60)
    for replica in replicas:
        under_way += await calls_in_flight(replica)
        assert await replica.terminate() == 0
        await stage.started()
    has_restarted.set()
    await sending
    await stage.wait_outcomes(sent, 90)
    topics = stage.topics
    places = Places(topics.results, topics.outcomes, topics.dead_letters, stage.group)
    books = [entry.line() for entry in simulator.books]
    judgement = judge(await record_history(stage.brokers, places, books, Witness()))
    assert judgement.violations == ()
    assert judgement.repeats_after_crash <= under_way
