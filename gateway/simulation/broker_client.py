"""What is asked of a Kafka that we have started ourselves. Everything raises TROUBLE."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, NodeNotReadyError, TopicAlreadyExistsError, for_code
from aiokafka.protocol.metadata import MetadataRequest

TROUBLE = (KafkaError, OSError, TimeoutError)
_REQUEST_SECONDS = 10.0
_TOPICS_SECONDS = 60.0


class TopicRefused(KafkaError):  # type: ignore[misc]  # aiokafka is untyped
    """Its text is one sentence."""


async def described(bootstrap_servers: str, node: int) -> dict[str, Any]:
    """The cluster and all its topics as this very node sees them. Raises TROUBLE, also if the node
    is not one of the brokers that it names: one that has just come back, or was frozen past its
    session, names none for a moment, and whoever asks it then cannot reach anybody."""
    client = AIOKafkaClient(
        bootstrap_servers=bootstrap_servers, request_timeout_ms=int(_REQUEST_SECONDS * 1000)
    )
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            await client.bootstrap()
            if client.cluster.broker_metadata(node) is None:
                raise NodeNotReadyError(f"node {node} does not name itself")
            answer = await client.send(node, MetadataRequest(None))
    finally:
        await client.close()
    cluster: dict[str, Any] = answer.to_object()
    return cluster


def in_sync(cluster: Mapping[str, Any], nodes: set[int]) -> bool:
    """These nodes and no others are there, and each partition has a leader, and in sync exactly
    those of its replicas that stand on them."""
    partitions = [p for topic in cluster["topics"] for p in topic["partitions"]]
    is_whole = all(
        p["leader"] in nodes and set(p["isr"]) == set(p["replicas"]) & nodes for p in partitions
    )
    return is_whole and {broker["node_id"] for broker in cluster["brokers"]} == nodes


async def coordinate(bootstrap_servers: str) -> None:
    """A group coordinator has answered when it returns."""
    async with _admin(bootstrap_servers) as admin:
        coordinator = await admin.find_coordinator("readiness")
        await admin.list_consumer_group_offsets("readiness", coordinator)


async def create_topics(bootstrap_servers: str, topics: Sequence[NewTopic]) -> None:
    """All of them exist, and can be written to, when it returns. Raises TopicRefused too."""
    async with _admin(bootstrap_servers) as admin:
        await _wait_for_controller(admin)
        answer = await admin.create_topics(list(topics))
        for name, code, *_ in answer.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise TopicRefused(f"Topic {name} cannot be created: {error.message}.")
        await _wait_for_leaders(admin, {topic.name for topic in topics})


async def _wait_for_controller(admin: AIOKafkaAdminClient) -> None:
    """A broker that has just come back may name none, and then aiokafka's client breaks."""
    while admin._client.cluster.controller is None:
        await asyncio.sleep(0.02)
        await admin._client.force_metadata_update()


@asynccontextmanager
async def _admin(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap_servers, request_timeout_ms=int(_REQUEST_SECONDS * 1000)
    )
    try:
        async with asyncio.timeout(_TOPICS_SECONDS):
            await client.start()
            yield client
    finally:
        await client.close()


async def _wait_for_leaders(admin: AIOKafkaAdminClient, names: Iterable[str]) -> None:
    """A topic that was just created has no leader for a moment; writes to it would fail."""
    wanted = set(names)
    while True:
        topics: list[dict[str, Any]] = await admin.describe_topics(list(wanted))
        led = {t["topic"] for t in topics if _has_leaders(t)}
        if wanted <= led:
            return
        await asyncio.sleep(0.02)


def _has_leaders(topic: Mapping[str, Any]) -> bool:
    partitions = topic["partitions"]
    return bool(partitions) and all(p["leader"] >= 0 for p in partitions)
