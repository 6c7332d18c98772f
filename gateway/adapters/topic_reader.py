"""Reading topics from anywhere to anywhere, in no group: nothing is committed, nobody disturbed.

Records of open and aborted transactions are returned too: what is looked for here was written
without any, and must not be overlooked because of somebody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from gateway.adapters.kafka_client import (
    TROUBLE,
    KafkaConnection,
    admin_client,
    started,
    stopped,
)
from gateway.adapters.kafka_reading import Reading, wait_fetched
from gateway.core.model import Partition, Record, Source
from gateway.core.signals import Signal
from gateway.ports import Assigned

_AT_ONCE = 500
_POLL_SECONDS = 0.2


class Span(NamedTuple):
    """Offsets of one partition: `start` included, `end` not."""

    start: int
    end: int


class Unread(NamedTuple):
    """Nothing of this partition was returned from here on: the bytes cannot be read."""

    position: Source
    why: str


class Silent:
    """A SignalSink: what cannot be read is returned."""

    def emit(self, signal: Signal) -> None:
        pass


class TopicReader:
    """Everything raises one of kafka_client.TROUBLE when brokers are missing or do not answer for
    `patience_seconds`. One stretch is read at a time."""

    def __init__(self, connection: KafkaConnection, patience_seconds: float = 30.0) -> None:
        self._connection = connection
        self._patience_seconds = patience_seconds
        self._seen: set[TopicPartition] = set()
        self._consumer = AIOKafkaConsumer(
            **connection.options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_uncommitted",
        )

    async def __aenter__(self) -> Self:
        await started(self._consumer, self._patience_seconds)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await stopped(self._consumer, self._patience_seconds)

    async def spans(self, topics: Collection[str]) -> dict[Partition, Span]:
        """What the logs of these topics hold now. A topic that does not exist has no partition;
        it is not created by the question."""
        partitions = await self._partitions_of(topics)
        self._seen.update(partitions)
        return await self._spans_of(partitions)

    async def offsets_at(self, moments: Mapping[Partition, float]) -> dict[Partition, int]:
        """The first offset of each partition whose timestamp is this moment or a later one."""
        wanted = {
            TopicPartition(*partition): min(max(0, int(seconds * 1000)), 2**62)
            for partition, seconds in moments.items()
        }
        async with asyncio.timeout(self._patience_seconds):
            found = await self._consumer.offsets_for_times(wanted) if wanted else {}
        return {Partition(*tp): at.offset for tp, at in found.items() if at is not None}

    async def read(self, spans: Mapping[Partition, Span]) -> AsyncIterator[Record | Unread]:
        """Every record of these spans, in offset order within a partition; those that retention
        deletes meanwhile are passed over."""
        spans = {partition: span for partition, span in spans.items() if span.start < span.end}
        if not spans:
            return
        reading = self._reading(spans)
        is_open = set(spans)
        heard_at, blocked_since = self._now(), dict[TopicPartition, float]()
        while True:
            records = await self._take(reading)
            for record in records:
                if record.offset < spans[Partition(record.topic, record.partition)].end:
                    yield record
            for unread in self._unreadable(reading, blocked_since):
                is_open.discard(Partition(*unread.position[:2]))
                yield unread
            is_open = {one for one in is_open if not self._is_done(reading, one, spans[one])}
            if not is_open:
                return
            if records or reading.blocked:
                heard_at = self._now()
            elif self._now() - heard_at > self._patience_seconds:
                raise TimeoutError(f"no record for {self._patience_seconds:g} s")
            if not records:
                await self._wait(reading)

    async def read_at(self, source: Source) -> Record | None:
        """None: the log does not hold it, or it cannot be read."""
        partition = Partition(source.topic, source.partition)
        key = TopicPartition(*partition)
        spans = await (self._spans_of([key]) if key in self._seen else self.spans([source.topic]))
        span = spans.get(partition)
        if span is None or not span.start <= source.offset < span.end:
            return None
        only = {partition: Span(source.offset, source.offset + 1)}
        found = [one async for one in self.read(only) if isinstance(one, Record)]
        return found[0] if found else None

    async def _spans_of(self, partitions: list[TopicPartition]) -> dict[Partition, Span]:
        async with asyncio.timeout(self._patience_seconds):
            starts = await self._consumer.beginning_offsets(partitions)
            ends = await self._consumer.end_offsets(partitions)
        return {Partition(*tp): Span(starts[tp], ends[tp]) for tp in partitions}

    async def _partitions_of(self, topics: Collection[str]) -> list[TopicPartition]:
        async with (
            admin_client(self._connection) as admin,
            asyncio.timeout(self._patience_seconds),
        ):
            present = set(topics) & set(await admin.list_topics())
            described = await admin.describe_topics(sorted(present)) if present else []
        return [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in described
            for partition in topic["partitions"]
        ]

    def _reading(self, spans: Mapping[Partition, Span]) -> Reading:
        self._consumer.assign([TopicPartition(*partition) for partition in spans])
        assigned = [
            Assigned(partition, span.start, span.start, span.end, None)
            for partition, span in spans.items()
        ]
        return Reading(self._consumer, assigned, Silent())

    async def _take(self, reading: Reading) -> list[Record]:
        for partition, offset in list(reading.out_of_range.items()):
            async with asyncio.timeout(self._patience_seconds):
                starts = await self._consumer.beginning_offsets([partition])
            reading.seek(partition, max(offset, starts[partition]))
            del reading.out_of_range[partition]
        return await reading.salvage(_AT_ONCE, self._now()) or reading.take(_AT_ONCE, self._now())

    def _unreadable(
        self, reading: Reading, blocked_since: dict[TopicPartition, float]
    ) -> list[Unread]:
        """Partitions that have been in trouble for too long, with no other to blame."""
        for partition in set(blocked_since) - set(reading.blocked):
            del blocked_since[partition]
        found = []
        for partition, blocked in list(reading.blocked.items()):
            since = blocked_since.setdefault(partition, self._now())
            if self._now() - since >= self._patience_seconds / 3:
                found.append(
                    Unread(
                        Source(partition.topic, partition.partition, blocked.offset), blocked.error
                    )
                )
                reading.pause([partition])
                del reading.blocked[partition]
        return found

    def _is_done(self, reading: Reading, partition: Partition, span: Span) -> bool:
        key = TopicPartition(*partition)
        if reading.positions[key] < span.end:
            return False
        reading.pause([key])
        return True

    async def _wait(self, reading: Reading) -> None:
        """Until there may be something new, or a moment."""
        news = wait_fetched(reading.consumer)
        await asyncio.wait({news}, timeout=_POLL_SECONDS)
        if not news.cancel() and not news.cancelled() and isinstance(news.exception(), TROUBLE):
            await asyncio.sleep(_POLL_SECONDS)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
