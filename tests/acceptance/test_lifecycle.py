"""Starts, stops, crashes and company, under load, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Sequence

from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.faults import Fault, FaultKind
from gateway.simulation.judge import Violation, judge
from gateway.simulation.recorder import Places, Witness, record_history
from tests.acceptance.conftest import PARTITIONS
from tests.acceptance.gateway_process import Stage
from tests.waiting import wait_until


def events(count: int, results_per_job: int = 3) -> list[tuple[str, bytes]]:
    """Keys and values: of each job some results of which the first ends it."""
    jobs = [str(uuid.uuid4()) for _ in range(count // results_per_job)]
    rounds = [
        (job, json.dumps({"jobId": job, "executionDetails": {"summary": f"result {number}"}}))
        for number in range(results_per_job)
        for job in jobs
    ]
    return [(job, value.encode()) for job, value in rounds]


async def send_all(stage: Stage, pairs: Sequence[tuple[str, bytes]]) -> None:
    producer = await stage.producer()
    acknowledgements = [
        await producer.send(stage.topics.results, value, job.encode()) for job, value in pairs
    ]
    await asyncio.gather(*acknowledgements)


async def assert_nothing_lost_or_reordered(stage: Stage, simulator: CodePipelineSimulator) -> None:
    """Once everything that is settled is committed too: that comes up to five seconds later."""
    topics = stage.topics
    places = Places(topics.results, topics.outcomes, topics.dead_letters, stage.group)
    found: list[Violation] = []

    async def is_over() -> bool:
        books = [entry.line() for entry in simulator.books]
        history = await record_history(stage.brokers, places, books, Witness())
        found[:] = judge(history, is_final=True).violations
        return not any(violation.guarantee == "liveness" for violation in found)

    await wait_until(is_over, 30, every_seconds=0.5)
    assert found == []


async def test_sigterm_under_load_leaves_nothing_undone_and_the_next_start_repeats_nothing(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    first = await stage.started()
    pairs = events(1500)
    sending = asyncio.create_task(send_all(stage, pairs))
    await wait_until(lambda: len(simulator.books) > 200, 30)
    assert await first.terminate() == 0
    committed = await stage.committed(PARTITIONS)
    called_before = Counter(entry.digest for entry in simulator.books)
    below = {
        (outcome["source"]["partition"], outcome["source"]["offset"])
        for outcome in await stage.outcomes()
    }
    for partition, offset in enumerate(committed):
        missing = [at for at in range(offset or 0) if (partition, at) not in below]
        assert not missing, f"committed {offset} of partition {partition}, unsettled: {missing}"
    await sending
    await stage.started()
    await stage.wait_outcomes(len(pairs))
    repeated = [
        digest
        for digest, times in Counter(entry.digest for entry in simulator.books).items()
        if times > max(1, called_before[digest])
    ]
    assert repeated == []
    await assert_nothing_lost_or_reordered(stage, simulator)


async def test_sigkill_under_load_loses_nothing_and_breaks_no_order(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    first = await stage.started()
    pairs = events(1500)
    sending = asyncio.create_task(send_all(stage, pairs))
    await wait_until(lambda: len(simulator.books) > 200, 30)
    await first.kill()
    await sending
    await stage.started()
    await stage.wait_outcomes(len(pairs), 60)
    await assert_nothing_lost_or_reordered(stage, simulator)


async def test_a_second_process_joins_under_load_and_the_first_leaves(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    first = await stage.started()
    pairs = events(2400)
    sending = asyncio.create_task(send_all(stage, pairs))
    await wait_until(lambda: len(simulator.books) > 100, 30)
    second = await stage.started()

    async def shares() -> bool:
        return len((await second.status()).get("partitions", ())) == PARTITIONS // 2

    await wait_until(shares, 30)
    assert await first.terminate() == 0
    await sending
    await stage.wait_outcomes(len(pairs), 60)
    await assert_nothing_lost_or_reordered(stage, simulator)
    assert await second.terminate() == 0


async def test_an_account_in_trouble_dead_letters_nothing_and_resumes_by_itself(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    fault = simulator.faults.add(Fault(FaultKind.EXPIRED), 0.0)
    gateway = await stage.started(GATEWAY_RETRY__PROBE_CAP_SECONDS="1")
    pairs = events(60, results_per_job=1)
    await send_all(stage, pairs)

    async def is_halted() -> bool:
        return bool((await gateway.status())["targets"]["default"]["halts"])

    await wait_until(is_halted, 20)
    status, body = await gateway.get("/readyz")
    assert status == 200, "trouble with an account is no reason to take a replica away"
    assert "ExpiredToken" in body
    simulator.faults.remove(fault)
    outcomes = await stage.wait_outcomes(len(pairs))
    assert {outcome["outcome"] for outcome in outcomes} == {"accepted"}
    assert await stage.read(stage.topics.dead_letters) == []


async def test_a_shadow_calls_nobody_writes_nothing_and_commits_nothing(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    shadow = await stage.started("--shadow")
    pairs = events(30, results_per_job=1)
    await send_all(stage, pairs)
    await stage.send(b"{", key=b"poison")

    async def has_seen_all() -> bool:
        outcomes = (await shadow.status())["outcomes"]
        return (outcomes["accepted"], outcomes["dead-lettered"]) == (30, 1)

    await wait_until(has_seen_all, 20)
    assert await shadow.terminate() == 0
    assert len(simulator.books) == 0
    assert await stage.read(stage.topics.outcomes) == []
    assert await stage.read(stage.topics.dead_letters) == []
    assert await stage.committed(PARTITIONS) == [None] * PARTITIONS
