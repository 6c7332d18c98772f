"""Several processes that tell each other, by the outcomes topic, what has ended."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from pathlib import Path

from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.faults import Fault, FaultKind
from tests.acceptance.conftest import PARTITIONS
from tests.acceptance.gateway_process import GatewayProcess, Stage
from tests.acceptance.test_lifecycle import assert_nothing_lost_or_reordered, events, send_all
from tests.waiting import wait_until


async def send_to(stage: Stage, partitions: list[int], values: list[bytes]) -> None:
    producer = await stage.producer()
    acknowledgements = [
        await producer.send(
            stage.topics.results, value, b"any", partition=partitions[place % len(partitions)]
        )
        for place, value in enumerate(values)
    ]
    await asyncio.gather(*acknowledgements)


async def partitions_of(gateway: GatewayProcess) -> list[int]:
    """Once there are two owners, the partitions of this one."""
    found: list[int] = []

    async def has_its_share() -> bool:
        shown = (await gateway.status()).get("partitions", ())
        found[:] = [one["partition"] for one in shown]
        return len(found) == PARTITIONS // 2

    await wait_until(has_its_share, 30, every_seconds=0.05)
    return found


async def test_what_one_process_has_delivered_another_knows_without_a_call(
    stage: Stage, simulator: CodePipelineSimulator, tmp_path: Path
) -> None:
    key = tmp_path / "digest-key"
    key.write_text("the same for all replicas")
    shared = {"GATEWAY_ENDINGS__DIGEST_KEY": str(key)}
    first = await stage.started(**shared)
    second = await stage.started(**shared)
    of_first, of_second = await partitions_of(first), await partitions_of(second)
    assert set(of_first) | set(of_second) == set(range(PARTITIONS))
    values = [json.dumps({"jobId": str(uuid.uuid4())}).encode() for _ in range(100)]
    await send_to(stage, of_first, values)
    await stage.wait_outcomes(100)

    async def has_heard_all() -> bool:
        return bool((await second.status())["known_endings"] == 100)

    await wait_until(has_heard_all, 30)
    await send_to(stage, of_second, values)
    outcomes = await stage.wait_outcomes(200)
    kinds = Counter((one["outcome"], one["source"]["partition"]) for one in outcomes)
    assert kinds == Counter(
        {
            **{("accepted", partition): 50 for partition in of_first},
            **{("duplicate", partition): 50 for partition in of_second},
        }
    )
    assert len(simulator.books) == 100
    status = (await second.status())["outcomes_of_others"]
    assert status["trouble"] is None
    assert status["heard"] >= 100
    _, metrics = await second.get("/metrics")
    assert "gateway_endings_learned_total 1" in metrics
    assert "gateway_outcomes_behind_records" in metrics
    await assert_nothing_lost_or_reordered(stage, simulator)


async def test_after_a_sigkill_what_is_durable_is_not_sent_again(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    """Nothing is committed before the crash, so that nothing but the tail can know."""
    simulator.faults.add(Fault(FaultKind.SLOW, seconds=0.1), 0.0)
    rarely = {"GATEWAY_KAFKA__COMMIT_INTERVAL_SECONDS": "60"}
    first = await stage.started(**rarely)
    pairs = events(2000, results_per_job=1)
    sending = asyncio.create_task(send_all(stage, pairs))
    await stage.wait_outcomes(300, 60)
    await first.kill()
    await sending
    assert not any(await stage.committed(PARTITIONS))
    durable = {outcome["job"] for outcome in await stage.outcomes()}
    called = {entry.job_id for entry in simulator.books}
    in_flight = called - durable
    assert 300 <= len(durable) < len(pairs)
    second = await stage.started(**rarely)

    async def is_done() -> bool:
        return len({outcome["job"] for outcome in await stage.outcomes()}) == len(pairs)

    await wait_until(is_done, 60, every_seconds=0.2)
    calls = Counter(entry.job_id for entry in simulator.books)
    repeated = {job for job, times in calls.items() if times > 1}
    assert repeated <= in_flight, "what was in flight, and no more"
    published = Counter(outcome["job"] for outcome in await stage.outcomes())
    assert {published[job] for job in durable} == {1}
    assert await second.terminate() == 0
    assert sum(offset or 0 for offset in await stage.committed(PARTITIONS)) == len(pairs)
    await assert_nothing_lost_or_reordered(stage, simulator)


async def test_an_outcomes_topic_full_of_nonsense_stops_nothing(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    producer = await stage.producer()
    for value in (None, b"{", b"\xff" * 1000, json.dumps({"version": 99}).encode()):
        await producer.send_and_wait(stage.topics.outcomes, value, b"stranger", partition=0)
    gateway = await stage.started()
    pairs = events(30, results_per_job=1)
    await send_all(stage, pairs)

    async def has_ended_all() -> bool:
        return bool((await gateway.status())["outcomes"]["accepted"] == len(pairs))

    await wait_until(has_ended_all, 20)
    (told,) = gateway.lines("records of the outcomes topic are no outcomes")
    assert (told["records"], told["level"]) == (4, "warning")
    assert await gateway.terminate() == 0
