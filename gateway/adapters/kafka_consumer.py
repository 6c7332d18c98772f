"""One aiokafka consumer of ours: its settings, its making, its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from gateway.adapters.kafka_client import (
    TROUBLE,
    KafkaConnection,
    started,
    stopped,
    topics_present,
)
from gateway.adapters.kafka_positions import Start
from gateway.adapters.kafka_reading import explained

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.5, 15.0


@dataclass(frozen=True, kw_only=True)
class ConsumerSettings:
    """What is read, as whom, and how patiently. Times are seconds, sizes bytes."""

    topics: tuple[str, ...]
    group_id: str
    start: Start = 86_400.0
    """Where a group without commits begins: seconds back from now, `earliest` or `latest`."""
    session_timeout_seconds: float = 45.0
    heartbeat_seconds: float = 3.0
    rebalance_timeout_seconds: float = 60.0
    max_poll_interval_seconds: float = 300.0
    commit_timeout_seconds: float = 5.0
    metadata_refresh_seconds: float = 60.0
    request_timeout_seconds: float = 30.0
    """Joining a group waits for its slowest member, so this is longer than for other clients."""
    stop_timeout_seconds: float = 10.0
    stuck_after_seconds: float = 120.0
    """Lag without a record for so long: the consumer is replaced."""
    fetch_max_bytes: int = 16 * 1024 * 1024
    """Of one answer of one broker; a larger first batch comes whole all the same."""
    max_partition_fetch_bytes: int = 1024 * 1024


class NotReady(Exception):
    """Why consuming cannot start now."""


async def joined_at_last(
    connection: KafkaConnection, settings: ConsumerSettings, tell: Callable[[str, float], None]
) -> AIOKafkaConsumer:
    """A started consumer without topics. Tries for ever; before each wait it tells why, and for
    how many seconds it waits."""
    delay = FIRST_DELAY_SECONDS
    while True:
        try:
            return await _joined(connection, settings)
        except NotReady as error:
            tell(str(error), delay)
        except TROUBLE as error:
            tell(explained(error), delay)
        await asyncio.sleep(delay)
        delay = min(2 * delay, LONGEST_DELAY_SECONDS)


async def _joined(connection: KafkaConnection, settings: ConsumerSettings) -> AIOKafkaConsumer:
    """Topics are looked up before any client hears their names: aiokafka's metadata requests would
    create them."""
    wanted = set(settings.topics)
    if missing := wanted - await topics_present(connection, wanted):
        raise NotReady(f"topics missing or not visible to us: {', '.join(sorted(missing))}")
    consumer = AIOKafkaConsumer(**_options(connection, settings))
    await started(consumer, settings.request_timeout_seconds)
    if not consumer._client.cluster.brokers():
        # Brokers that have just come back name nobody for a moment. A consumer that began with such
        # an answer never joins its group: aiokafka's coordination dies of an assertion.
        await stopped(consumer, settings.stop_timeout_seconds)
        raise NotReady("the brokers name no brokers yet")
    return consumer


def _options(connection: KafkaConnection, settings: ConsumerSettings) -> dict[str, Any]:
    return connection.options() | {
        "group_id": settings.group_id,
        "enable_auto_commit": False,
        # Every start is sought; a position that is not in the log is ours to judge, not aiokafka's.
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "partition_assignment_strategy": (_own_assignor(),),
        "request_timeout_ms": _milliseconds(settings.request_timeout_seconds),
        "session_timeout_ms": _milliseconds(settings.session_timeout_seconds),
        "heartbeat_interval_ms": _milliseconds(settings.heartbeat_seconds),
        "rebalance_timeout_ms": _milliseconds(settings.rebalance_timeout_seconds),
        "max_poll_interval_ms": _milliseconds(settings.max_poll_interval_seconds),
        "metadata_max_age_ms": _milliseconds(settings.metadata_refresh_seconds),
        "fetch_max_bytes": settings.fetch_max_bytes,
        "max_partition_fetch_bytes": settings.max_partition_fetch_bytes,
    }


def _own_assignor() -> type[Any]:
    """aiokafka's assignors keep their state on the class: two members in one process would share
    it, and claim each other's partitions."""
    return type("OwnStickyAssignor", (StickyPartitionAssignor,), {})


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
