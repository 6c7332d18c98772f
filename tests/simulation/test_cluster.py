"""A cluster of which one node may die: what was acknowledged stays, and everything goes on."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from gateway.simulation.broker import FAST, HOST, BrokerUnavailable, Topic
from gateway.simulation.cluster import KafkaCluster
from gateway.simulation.topics import read_all
from tests.waiting import wait_until

PARTITIONS = 6
PATIENCE_SECONDS = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaCluster]:
    """Whoever kills a node brings it back."""
    async with KafkaCluster(tmp_path_factory.mktemp("cluster"), properties=FAST) as cluster:
        yield cluster


@pytest.fixture
async def topic(cluster: KafkaCluster) -> str:
    name = f"t{uuid.uuid4().hex[:10]}"
    await cluster.create_topics(Topic(name, PARTITIONS))
    return name


class Writing:
    """Writes numbers, one after the other, for as long as it is entered."""

    def __init__(self, cluster: KafkaCluster, topic: str) -> None:
        self.acknowledged: set[int] = set()
        self._cluster = cluster
        self._topic = topic

    async def on(self) -> None:
        number = 0
        async with AIOKafkaProducer(
            bootstrap_servers=self._cluster.bootstrap_servers, enable_idempotence=True, acks="all"
        ) as producer:
            while True:
                place = {"partition": number % PARTITIONS}
                await producer.send_and_wait(self._topic, b"%d" % number, **place)
                self.acknowledged.add(number)
                number += 1
                await asyncio.sleep(0.01)

    async def wait_for_more(self, count: int) -> None:
        aim = len(self.acknowledged) + count
        await wait_until(lambda: len(self.acknowledged) >= aim, PATIENCE_SECONDS)


@asynccontextmanager
async def writing(cluster: KafkaCluster, topic: str) -> AsyncIterator[Writing]:
    mine = Writing(cluster, topic)
    task = asyncio.create_task(mine.on())
    try:
        yield mine
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def reading(cluster: KafkaCluster, topic: str) -> AsyncIterator[set[int]]:
    """What a member of the group named after the topic has read and committed."""
    found: set[int] = set()

    async def read(consumer: AIOKafkaConsumer) -> None:
        while True:
            batches = await consumer.getmany(timeout_ms=200)
            if batches:
                await consumer.commit()
            found.update(int(record.value) for batch in batches.values() for record in batch)

    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=cluster.bootstrap_servers,
        group_id=topic,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    ) as consumer:
        task = asyncio.create_task(read(consumer))
        try:
            yield found
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def coordinator_of(cluster: KafkaCluster, group: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)
    try:
        await admin.start()
        return int(await admin.find_coordinator(group))
    finally:
        await admin.close()


async def stored(cluster: KafkaCluster, topic: str) -> list[int]:
    records = await read_all(cluster.bootstrap_servers, [topic])
    return [int(record.value or b"") for record in records]


async def write_once(cluster: KafkaCluster, topic: str, number: int) -> None:
    """Raises KafkaError if nobody acknowledges it within 3 s."""
    async with AIOKafkaProducer(
        bootstrap_servers=cluster.bootstrap_servers, acks="all", request_timeout_ms=3000
    ) as producer:
        await producer.send_and_wait(topic, b"%d" % number, partition=0)


async def test_a_group_and_a_writer_go_on_when_the_coordinator_dies_and_nothing_is_lost(
    cluster: KafkaCluster, topic: str
) -> None:
    async with writing(cluster, topic) as written, reading(cluster, topic) as read:
        await wait_until(lambda: len(read) >= 20, PATIENCE_SECONDS)
        victim = await coordinator_of(cluster, topic)
        await cluster.kill(victim)
        await written.wait_for_more(3 * PARTITIONS)
        assert cluster.pid(victim) is None
        late = max(written.acknowledged)
        await wait_until(lambda: late in read, PATIENCE_SECONDS)
        assert await coordinator_of(cluster, topic) != victim
        await cluster.restart(victim)
        await written.wait_for_more(3 * PARTITIONS)
        everything = set(written.acknowledged)
        await wait_until(lambda: everything <= read, PATIENCE_SECONDS)
    in_topic = await stored(cluster, topic)
    assert everything <= set(in_topic)
    assert len(in_topic) == len(set(in_topic))


async def test_when_two_are_away_nothing_is_acknowledged_until_one_returns(
    cluster: KafkaCluster, topic: str
) -> None:
    await write_once(cluster, topic, 1)
    await cluster.kill(1)
    await write_once(cluster, topic, 2)
    await cluster.kill(2)
    with pytest.raises(KafkaError):
        await write_once(cluster, topic, 3)
    await cluster.restart(2)
    await write_once(cluster, topic, 4)
    await cluster.restart(1)
    # What nobody acknowledged may be there or not.
    assert {1, 2, 4} <= set(await stored(cluster, topic)) <= {1, 2, 3, 4}


async def test_what_was_acknowledged_survives_the_death_of_all_processes(
    cluster: KafkaCluster, topic: str
) -> None:
    for number in range(50):
        await write_once(cluster, topic, number)
    servers = cluster.bootstrap_servers
    for node in cluster.nodes:
        await cluster.kill(node)
    await cluster.restart(*cluster.nodes)
    assert cluster.bootstrap_servers == servers
    assert sorted(await stored(cluster, topic)) == list(range(50))


async def test_the_port_of_a_dead_node_is_given_to_nobody(cluster: KafkaCluster) -> None:
    host, port = cluster.bootstrap_servers.split(",")[2].split(":")
    assert host == HOST
    await cluster.kill(3)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((host, int(port)))
    await cluster.restart(3)


async def test_java_that_cannot_be_run_is_one_sentence_and_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cluster = KafkaCluster(tmp_path_factory.mktemp("no-java"), java="/nowhere/java")
    with pytest.raises(BrokerUnavailable, match="storage could not be formatted"):
        await cluster.start()
    assert [cluster.pid(node) for node in cluster.nodes] == [None, None, None]
