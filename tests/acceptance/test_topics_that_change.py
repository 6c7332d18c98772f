"""Topics that change under a running gateway, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.errors import KafkaError

from gateway.simulation.broker import BrokerUnavailable, KafkaBroker, Topic
from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.faults import Fault, FaultKind
from tests.acceptance.conftest import PARTITIONS
from tests.acceptance.gateway_process import GatewayProcess, Stage
from tests.waiting import wait_until

SOON = {"GATEWAY_KAFKA__METADATA_REFRESH_SECONDS": "0.5"}


@pytest.fixture
async def admin(kafka: KafkaBroker) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await client.start()
    yield client
    await client.close()


def new_jobs(count: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(count)]


async def send(stage: Stage, partition: int, jobs: list[str]) -> None:
    producer = await stage.producer()
    sent = [
        await producer.send(
            stage.topics.results,
            json.dumps({"jobId": job}).encode(),
            job.encode(),
            partition=partition,
        )
        for job in jobs
    ]
    await asyncio.gather(*sent)


async def ended(stage: Stage) -> dict[str, str]:
    return {outcome["job"]: outcome["outcome"] for outcome in await stage.outcomes()}


async def wait_accepted(stage: Stage, jobs: list[str], timeout_seconds: float = 60) -> None:
    async def are_accepted() -> bool:
        outcomes = await ended(stage)
        return all(outcomes.get(job) == "accepted" for job in jobs)

    await wait_until(are_accepted, timeout_seconds, every_seconds=0.2)


async def wait_committed(stage: Stage, offsets: list[int], timeout_seconds: float = 30) -> None:
    async def is_committed() -> bool:
        return await stage.committed(len(offsets)) == offsets

    await wait_until(is_committed, timeout_seconds, every_seconds=0.2)


async def test_partitions_that_are_added_are_read_from_their_beginning(
    stage: Stage, admin: AIOKafkaAdminClient
) -> None:
    gateway = await stage.started(**SOON)
    before = new_jobs(5)
    await send(stage, 0, before)
    await wait_accepted(stage, before)
    grown = NewPartitions(total_count=PARTITIONS + 2)
    await admin.create_partitions({stage.topics.results: grown})
    producer = await stage.producer()

    async def can_be_written() -> bool:
        await producer.client.force_metadata_update()
        known = await producer.partitions_for(stage.topics.results)
        return len(known) == PARTITIONS + 2

    await wait_until(can_be_written, 20)
    added = [new_jobs(5) for _ in range(2)]
    for place, jobs in enumerate(added):
        await send(stage, PARTITIONS + place, jobs)
    await wait_accepted(stage, [job for jobs in added for job in jobs])
    await wait_committed(stage, [5, 0, 0, 0, 5, 5])
    assert len((await gateway.status())["partitions"]) == PARTITIONS + 2
    assert len(gateway.lines("partitions assigned")) >= 2, "the signal"
    assert await gateway.terminate() == 0


@pytest.mark.parametrize("count_after", [2, 40])
async def test_a_topic_made_anew_under_a_running_gateway_is_read_from_its_beginning(
    kafka: KafkaBroker,
    stage: Stage,
    admin: AIOKafkaAdminClient,
    count_after: int,
) -> None:
    """Also if the new log is longer at once than the old one was: then the old position exists in
    it, and no broker objects."""
    gateway = await stage.started(**SOON)
    before = new_jobs(10)
    await send(stage, 0, before)
    await wait_accepted(stage, before)
    await wait_committed(stage, [10, 0, 0, 0])
    await admin.delete_topics([stage.topics.results])
    await recreated(kafka, stage)
    after = new_jobs(count_after)
    await send(stage, 0, after)
    await wait_accepted(stage, after, 100)
    await wait_committed(stage, [count_after, 0, 0, 0])
    signals = gateway.lines("reading failed"), gateway.lines("partitions assigned")
    assert any(signals[0]) or len(signals[1]) > 1, "not in silence"
    assert await gateway.terminate() == 0


async def test_a_topic_made_anew_while_nobody_reads_is_read_from_its_beginning(
    kafka: KafkaBroker, stage: Stage, admin: AIOKafkaAdminClient
) -> None:
    gateway = await stage.started()
    before = new_jobs(10)
    await send(stage, 0, before)
    await wait_accepted(stage, before)
    assert await gateway.terminate() == 0
    await admin.delete_topics([stage.topics.results])
    await recreated(kafka, stage)
    after = new_jobs(25)
    await send(stage, 0, after)
    second = await stage.started()
    await wait_accepted(stage, after)
    await wait_committed(stage, [25, 0, 0, 0])
    assert await second.terminate() == 0


async def recreated(kafka: KafkaBroker, stage: Stage) -> None:
    async def can_be_made() -> bool:
        try:
            await kafka.create_topics(Topic(stage.topics.results, PARTITIONS))
        except (KafkaError, BrokerUnavailable):
            return False  # the deletion is not over
        return True

    await wait_until(can_be_made, 30, every_seconds=0.1)


async def test_retention_overtaking_a_paused_partition_is_told_and_the_rest_arrives(
    stage: Stage, simulator: CodePipelineSimulator, admin: AIOKafkaAdminClient
) -> None:
    """What the gateway has read already is delivered all the same; of what it had not, nobody can
    know more than how much it was: an operator must act."""
    fault = simulator.faults.add(Fault(FaultKind.EXPIRED), 0.0)
    gateway = await stage.started(
        GATEWAY_BUDGETS__SKIP_AHEAD="100",
        GATEWAY_RETRY__PROBE_FIRST_SECONDS="0.2",
        GATEWAY_RETRY__PROBE_CAP_SECONDS="0.5",
        GATEWAY_KAFKA__MAX_BATCH_RECORDS="50",
    )
    jobs = new_jobs(1000)
    await send(stage, 0, jobs)

    async def is_held() -> bool:
        return bool(gateway.lines("a partition is held"))

    await wait_until(is_held, 30)
    place = TopicPartition(stage.topics.results, 0)
    await admin.delete_records({place: RecordsToDelete(900)})
    simulator.faults.remove(fault)
    await wait_accepted(stage, jobs[900:], 60)
    await wait_committed(stage, [1000, 0, 0, 0])
    outcomes = await ended(stage)
    assert {outcomes[job] for job in outcomes} == {"accepted"}
    told = told_lost(gateway)
    assert told, "never in silence"
    assert sum(told) >= 900 - len(outcomes.keys() & set(jobs[:900])) - 100
    _, metrics = await gateway.get("/metrics")
    assert "gateway_retention_overtook_total{" in metrics
    assert await gateway.terminate() == 0


def told_lost(gateway: GatewayProcess) -> list[int]:
    return [line["offsets"] for line in gateway.lines("records were deleted by retention")]
