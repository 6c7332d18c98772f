"""Where reading begins: committed offset and note from one read, held against the log as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from gateway.adapters.kafka_client import KafkaConnection, admin_client
from gateway.core.model import Partition
from gateway.ports import Assigned, WallClock

Start = float | str
"""Where a group begins that has committed nothing: seconds back from now, `earliest`, `latest`."""

Offsets = Mapping[TopicPartition, int]
T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """Whose commits count, and where it begins without any."""

    group_id: str
    start: Start
    clock: WallClock


@dataclass(frozen=True)
class Committed:
    """What a group has committed, offset and note from one read. Without commit: not in here."""

    cluster: str
    points: Mapping[TopicPartition, OffsetAndMetadata]


async def committed(
    connection: KafkaConnection, group_id: str, partitions: Collection[TopicPartition]
) -> Committed:
    """Every partition has been answered for when this returns. Raises one of TROUBLE.

    Since version 2 of OffsetFetch an error of the whole group (its coordinator is loading or has
    moved) comes beside an empty list, and aiokafka 0.14 looks at the list only. Taken at its word
    the group has committed nothing, and reading would begin somewhere else: records lost. So a
    partition that is missing in the answer is an error; "nothing committed" is offset -1.
    """
    async with admin_client(connection) as admin:
        async with asyncio.timeout(2 * connection.request_timeout_seconds):
            cluster = (await admin.describe_cluster())["cluster_id"]
            answers = await admin.list_consumer_group_offsets(group_id, partitions=list(partitions))
    if missing := set(partitions) - set(answers):
        raise KafkaError(f"no answer on the commits of group {group_id} for {sorted(missing)}")
    return Committed(cluster, {tp: point for tp, point in answers.items() if point.offset >= 0})


async def look_up(
    consumer: AIOKafkaConsumer,
    committed: Committed,
    group: Group,
    partitions: Collection[TopicPartition],
    refused: Offsets,
) -> list[Assigned]:
    """Where each partition begins. Raises one of TROUBLE; then nothing is known and nothing moved.

    `refused`: offsets that the broker has called out of range. A committed offset beyond the end
    is believed until then: the end that is asked for here lags after a change of leaders, and
    stops before open transactions. Refused and not below the log's start, it belongs to a log that
    is no more (topic made anew, unclean election): then everything in the log is new.
    """
    every = list(partitions)
    log_starts = _complete(every, await consumer.beginning_offsets(every))
    log_ends = _complete(every, await consumer.end_offsets(every))
    without = [tp for tp in every if tp not in committed.points]
    fallbacks = await _fallbacks(consumer, group, without, log_starts, log_ends)
    found = []
    for tp in every:
        point = committed.points.get(tp)
        offset = None if point is None else point.offset
        if offset is None:
            start = fallbacks[tp]
        elif offset < log_starts[tp] or refused.get(tp) == offset:
            start = log_starts[tp]
        else:
            start = offset
        note = point.metadata or "" if point is not None and start == offset else ""
        found.append(
            Assigned(
                Partition(*tp), start, log_starts[tp], log_ends[tp], offset, note, committed.cluster
            )
        )
    return found


async def _fallbacks(
    consumer: AIOKafkaConsumer,
    group: Group,
    partitions: Collection[TopicPartition],
    log_starts: Offsets,
    log_ends: Offsets,
) -> Offsets:
    """Where partitions without a commit begin.

    The ends are older than the answer on times. If no record was young enough even then, whatever
    stands behind that end has come since, and none of it is passed over.
    """
    if group.start == "earliest":
        return log_starts
    if group.start == "latest" or not partitions:
        return log_ends
    since = max(0.0, group.clock() - float(group.start))
    by_time = await consumer.offsets_for_times({tp: int(since * 1000) for tp in partitions})
    _complete(partitions, by_time)
    return {
        tp: log_ends[tp] if found is None else max(found.offset, log_starts[tp])
        for tp, found in by_time.items()
    }


def _complete(
    partitions: Collection[TopicPartition], answers: Mapping[TopicPartition, T]
) -> Mapping[TopicPartition, T]:
    if missing := set(partitions) - set(answers):
        raise KafkaError(f"no offsets for {sorted(missing)}")
    return answers
