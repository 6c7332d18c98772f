"""The topics of a replay: dead letters are read, copies are searched for and written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from gateway.adapters.dead_letters import dead_letter_from_record, why_not_read
from gateway.adapters.kafka_client import KafkaConnection, started, stopped
from gateway.adapters.kafka_reading import explained
from gateway.adapters.producer_run import REFUSALS
from gateway.adapters.topic_reader import Span, TopicReader, Unread
from gateway.core.model import Partition, ReadDeadLetter, Source
from gateway.core.replays import Copy, Known, Unreadable, WriteRefused, copied_by

LARGEST_BYTES = 1 << 30
"""The broker judges what is too large, not the client."""
WRITE_SECONDS = 60.0
CLOCKS_DIFFER_SECONDS = 3600.0
"""A copy's timestamp is at most so much older than its dead letter's."""


class TopicMissing(OSError):
    """The topic is not in the list of all topics."""


class DeadLetterReader:
    """The dead-letter topic, read only. Never raises for what stands in it."""

    def __init__(self, reader: TopicReader, topic: str) -> None:
        self._reader = reader
        self._topic = topic

    async def read_all(self) -> AsyncIterator[ReadDeadLetter | Unreadable]:
        """Everything up to the topic's end of now. Raises TopicMissing, or one of TROUBLE."""
        async for record in self._reader.read(await self.spans()):
            if isinstance(record, Unread):
                yield Unreadable(
                    record.position, f"cannot be read from here on: {record.why}", True
                )
                continue
            yield dead_letter_from_record(record) or Unreadable(record.source, why_not_read(record))

    async def spans(self) -> dict[Partition, Span]:
        """What it holds now. Raises TopicMissing, or one of TROUBLE."""
        spans = await self._reader.spans([self._topic])
        if not spans:
            raise TopicMissing(f"topic {self._topic} does not exist")
        return spans

    async def read_at(self, position: Source) -> ReadDeadLetter | None:
        """None: it is not there any more, or is no dead letter."""
        record = await self._reader.read_at(position)
        return None if record is None else dead_letter_from_record(record)


class InputTopicsOfReplay:
    """The input topics (replay.InputTopics): searched for copies, and written to.

    One write at a time, acknowledged by all replicas, in the partition of its source. A write
    whose acknowledgement does not come is repeated under the same sequence number, so it cannot
    stand in the log twice.
    """

    def __init__(
        self, connection: KafkaConnection, reader: TopicReader, topics: Collection[str]
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._topics = frozenset(topics)
        self._producer: AIOKafkaProducer | None = None
        self.read_at = reader.read_at

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._discard()

    async def known_of(self, sources: Mapping[Source, float]) -> Known:
        """A copy stands in the partition of its source, behind it; or, if the topic was made anew
        since, at an offset as young as the dead letter. So both are searched. Where retention has
        deleted records behind a source, or they cannot be read, nothing is sure."""
        ours = await self._reader.spans(self._topics)
        foreign = {
            source: self._why_foreign(source) for source in sources if source[:2] not in ours
        }
        within = [source for source in sources if source not in foreign]
        unread: dict[Partition, str] = {}
        copies: dict[Source, set[int]] = {source: set() for source in within}
        async for record in self._reader.read(await self._searched(within, sources, ours)):
            if isinstance(record, Unread):
                unread[Partition(*record.position[:2])] = f"{record.position} cannot be read"
            elif (of := copied_by(record)) is not None and of.source in copies:
                copies[of.source].add(of.original_timestamp_ms)
        unsure = {
            source: why
            for source in within
            if (why := unread.get(Partition(*source[:2])) or _why_unsure(source, ours)) is not None
        }
        return Known(copies, unsure, foreign)

    async def write(self, copy: Copy) -> Source | WriteRefused:
        """Durable when it returns. Raises one of TROUBLE if it is not known whether it is."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                written = await (await self._connected()).send_and_wait(
                    copy.partition.topic,
                    copy.value,
                    copy.key,
                    copy.partition.partition,
                    headers=list(copy.headers),
                )
        except REFUSALS as error:
            await self._discard()  # the refused batch has used up a sequence number
            is_size = isinstance(error, MessageSizeTooLargeError)
            return WriteRefused("too large for the topic" if is_size else explained(error))
        return Source(written.topic, written.partition, written.offset)

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._connection.options(),
                acks="all",
                enable_idempotence=True,
                max_request_size=LARGEST_BYTES,
            )
            await started(producer, 2 * self._connection.request_timeout_seconds)
            self._producer = producer
        return self._producer

    async def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await stopped(producer, self._connection.request_timeout_seconds)

    async def _searched(
        self,
        within: Collection[Source],
        moments: Mapping[Source, float],
        ours: Mapping[Partition, Span],
    ) -> dict[Partition, Span]:
        """From before any possible copy of these to the ends."""
        oldest: dict[Partition, float] = {}
        starts: dict[Partition, int] = {}
        for source in within:
            partition = Partition(source.topic, source.partition)
            log = ours[partition]
            starts[partition] = min(starts.get(partition, log.end), source.offset + 1)
            moment = moments[source] - CLOCKS_DIFFER_SECONDS
            oldest[partition] = min(oldest.get(partition, moment), moment)
        by_time = await self._reader.offsets_at(oldest)
        return {
            partition: Span(
                max(ours[partition].start, min(start, by_time.get(partition, start))),
                ours[partition].end,
            )
            for partition, start in starts.items()
        }

    def _why_foreign(self, source: Source) -> str:
        if source.topic not in self._topics:
            return f"{source.topic} is not one of input.topics"
        return f"{source.topic} has no partition {source.partition}"


def _why_unsure(source: Source, ours: Mapping[Partition, Span]) -> str | None:
    log = ours[Partition(source.topic, source.partition)]
    if log.start == 0 or log.start - 1 <= source.offset < log.end:
        return None
    return "retention has deleted records behind its source, and a copy may have been one of them"
