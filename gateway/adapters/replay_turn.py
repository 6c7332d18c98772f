"""One replay at a time, by a consumer group that has room for one.

A replay joins the group and looks who else is there; who is not alone leaves. Both look after they
have joined, so of two that start together at least one sees the other. A replay that was killed
stays a member until its session ends, and who joins meanwhile waits for that: by then its last
write has been answered or thrown away by the broker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import for_code

from gateway.adapters.kafka_client import KafkaConnection, admin_client, started, stopped

SESSION_SECONDS = 10.0
_JOIN_SECONDS = 60.0
_LONGEST_RUN_SECONDS = 86_400 * 14


class NotAlone(Exception):
    """Another replay is running, and where."""


@asynccontextmanager
async def our_turn(connection: KafkaConnection, group_id: str, topic: str) -> AsyncIterator[None]:
    """Nobody else holds a turn in this group until the end. Raises NotAlone, or one of TROUBLE.

    `topic` must exist; nothing of it is read and nothing committed.
    """
    consumer = AIOKafkaConsumer(
        topic,
        **connection.options() | {"request_timeout_ms": 3000 * round(SESSION_SECONDS)},
        group_id=group_id,
        enable_auto_commit=False,
        auto_offset_reset="latest",
        session_timeout_ms=round(SESSION_SECONDS * 1000),
        heartbeat_interval_ms=1000,
        rebalance_timeout_ms=round(SESSION_SECONDS * 1000),
        max_poll_interval_ms=_LONGEST_RUN_SECONDS * 1000,
    )
    await started(consumer, _JOIN_SECONDS)
    try:
        consumer.pause(*consumer.assignment())
        await _look_round(connection, group_id)
        yield
    finally:
        await stopped(consumer, _JOIN_SECONDS)


async def _look_round(connection: KafkaConnection, group_id: str) -> None:
    async with admin_client(connection) as admin:
        [answer] = await admin.describe_consumer_groups([group_id])
    [(code, _, _, _, _, members, *_)] = answer.groups
    if code:
        raise for_code(code)(f"looking who is in group {group_id}")
    if len(members) > 1:
        hosts = ", ".join(sorted({str(member[2]).lstrip("/") for member in members}))
        raise NotAlone(f"another replay is running (group {group_id}, from {hosts})")
