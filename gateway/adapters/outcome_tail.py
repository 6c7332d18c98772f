"""What any replica has ended, heard from the outcomes topic: read by all, in nobody's group.

    window start ─► … ─► the end at an assignment ─► … ─► as they come, for ever
                         └ waited for, a moment ┘

What is heard are hints: whatever is missed costs a call, so nothing here stops the gateway.
Reading begins `window_seconds` ago or `most_records` before the end, whichever is later: what the
endings could not hold anyway is not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from gateway.adapters.kafka_client import (
    TROUBLE,
    KafkaConnection,
    admin_client,
    started,
    stopped,
)
from gateway.adapters.kafka_reading import Reading, explained, wait_fetched
from gateway.adapters.outcomes import outcome_from_json
from gateway.core.model import Partition, Record, Source
from gateway.core.signals import (
    EndingsLearned,
    OutcomesIgnored,
    ReadFailed,
    TailBehind,
    UnexpectedError,
)
from gateway.ports import Assigned, EndingsFeed, SignalSink, WallClock

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.2, 30.0
_AT_ONCE = 250
"""Outcomes heard before the event loop gets its turn: about 2 ms."""
_POLL_SECONDS = 0.5
_TOGETHER_SECONDS = 0.2
"""What is written in this time is heard together: at load a fetch for every few outcomes would
cost more than hearing them. Nothing waits while there is more to catch up with."""
_FETCH_WAIT_SECONDS = 0.2
"""A broker answers one question after the other, so a question for the end of the log waits for
the fetch that is under way: so long at most."""
_FETCH_BYTES, _PARTITION_FETCH_BYTES = 4_194_304, 524_288


@dataclass(frozen=True, slots=True)
class Reach:
    """How much of the topic is heard, and how patiently."""

    topic: str
    window_seconds: float
    most_records: int
    """Of all partitions together."""
    refresh_seconds: float = 60.0
    """How soon a partition that was added is noticed."""
    unreadable_seconds: float = 10.0
    """What cannot be read for so long is passed over."""
    tell_every_seconds: float = 10.0
    """Records that are no outcomes are signalled together, at most so often."""


@dataclass(slots=True)
class _Ignored:
    records: int = 0
    last: Source | None = None
    why: str = ""
    told_at: float = -1e9


class KafkaOutcomeTail:
    """ports.OutcomeTail on Kafka. `start` returns at once. Tries for ever, whatever brokers and
    topic do, and what stands in the topic, if only it can be passed over."""

    def __init__(
        self,
        connection: KafkaConnection,
        reach: Reach,
        feed: EndingsFeed,
        signals: SignalSink,
        clock: WallClock,
    ) -> None:
        self.trouble: str | None = "not connected yet"
        """Why nothing is heard now; None: all is well."""
        self._connection = connection
        self._reach = reach
        self._feed = feed
        self._signals = signals
        self._clock = clock
        self._delay = FIRST_DELAY_SECONDS
        self._heard = self._learned = 0
        self._ignored = _Ignored()
        self._positions: dict[TopicPartition, int] = {}
        """Survive a consumer: the next one goes on from here."""
        self._reading: Reading | None = None
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._hear())

    async def stop(self) -> None:
        """Raises nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None

    async def wait_caught_up(self, timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                while not await self._has_caught_up():
                    await self._moved.wait()
        except TimeoutError:
            self._signals.emit(TailBehind(timeout_seconds))
            return False
        return True

    def behind(self) -> int | None:
        """Records that stand in the topic and have not been heard; None: unknown."""
        reading = self._reading
        if reading is None:
            return None
        return sum(
            max(0, (reading.log_end(one) or 0) - position)
            for one, position in reading.positions.items()
        )

    def statistics(self) -> dict[str, object]:
        """For /status."""
        return {
            "trouble": self.trouble,
            "partitions": 0 if self._reading is None else len(self._reading.positions),
            "behind": self.behind(),
            "heard": self._heard,
            "learned": self._learned,
        }

    # -- waiting -----------------------------------------------------------------------------------

    async def _has_caught_up(self) -> bool:
        """As of one moment: when this begins. Otherwise somebody who writes all the time could
        keep everybody waiting."""
        reading = self._reading
        while reading is None:
            await self._moved.wait()
            reading = self._reading
        try:
            ends = await reading.consumer.end_offsets(list(reading.positions))
        except TROUBLE:
            await asyncio.sleep(FIRST_DELAY_SECONDS)
            return False
        while reading is self._reading:
            if all(reading.positions[one] >= end for one, end in ends.items()):
                return True
            await self._moved.wait()
        return False

    def _tell_moved(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    # -- one consumer after the other --------------------------------------------------------------

    async def _hear(self) -> None:
        while True:
            try:
                await self._hear_with_one_consumer()
            except TROUBLE as error:
                self.trouble = explained(error)
                self._signals.emit(ReadFailed(f"outcomes: {self.trouble}", self._delay))
            except Exception as error:
                # A fault of ours, or of the client: no reason to hear nothing for ever.
                self.trouble = f"unexpected {type(error).__name__}"
                self._signals.emit(UnexpectedError("hearing outcomes", self.trouble))
            await asyncio.sleep(self._delay)
            self._delay = min(2 * self._delay, LONGEST_DELAY_SECONDS)

    async def _hear_with_one_consumer(self) -> None:
        partitions = await self._partitions()
        consumer = AIOKafkaConsumer(
            **self._connection.options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
            fetch_max_wait_ms=round(_FETCH_WAIT_SECONDS * 1000),
            metadata_max_age_ms=round(self._reach.refresh_seconds * 1000),
        )
        patience = 2 * self._connection.request_timeout_seconds
        await started(consumer, patience)
        try:
            while True:
                consumer.assign(partitions)
                async with asyncio.timeout(patience):
                    assigned = await self._look_up(consumer, partitions)
                partitions = await self._hear_assigned(consumer, assigned)
        finally:
            self._reading = None
            await stopped(consumer, patience)

    async def _partitions(self) -> list[TopicPartition]:
        """Looked up in the list of all topics: naming one that is missing could create it."""
        topic = self._reach.topic
        async with (
            admin_client(self._connection) as admin,
            asyncio.timeout(2 * self._connection.request_timeout_seconds),
        ):
            if topic not in await admin.list_topics():
                raise OSError(f"topic {topic} does not exist")
            (described,) = await admin.describe_topics([topic])
        return [TopicPartition(topic, one["partition"]) for one in described["partitions"]]

    async def _look_up(
        self, consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]
    ) -> list[Assigned]:
        """Where each partition is heard from: where it was left, if the log still holds that."""
        every = list(partitions)
        starts = await consumer.beginning_offsets(every)
        ends = await consumer.end_offsets(every)
        since = max(0.0, self._clock() - self._reach.window_seconds)
        young = await consumer.offsets_for_times({one: int(since * 1000) for one in every})
        share = -(-self._reach.most_records // max(1, len(every)))
        assigned = []
        for one in every:
            begin = ends[one] if young.get(one) is None else young[one].offset
            left = self._positions.get(one)
            if left is not None and left <= ends[one]:
                begin = left
            begin = max(begin, ends[one] - share, starts[one])
            assigned.append(Assigned(Partition(*one), begin, starts[one], ends[one], None))
        return assigned

    # -- hearing -----------------------------------------------------------------------------------

    async def _hear_assigned(
        self, consumer: AIOKafkaConsumer, assigned: Collection[Assigned]
    ) -> list[TopicPartition]:
        """Returns when positions have to be looked up anew, of which partitions."""
        reading = self._reading = Reading(consumer, list(assigned), self._signals)
        self.trouble, self._delay = None, FIRST_DELAY_SECONDS
        self._tell_moved()
        blocked_since: dict[TopicPartition, float] = {}
        while True:
            records = await reading.salvage(_AT_ONCE, self._now())
            records = records or reading.take(_AT_ONCE, self._now())
            self._learn(records)
            self._positions.update(reading.positions)
            self._tell_moved()
            await self._pass_over(reading, blocked_since)
            for gone in reading.out_of_range:
                self._positions.pop(gone, None)
            present = consumer.partitions_for_topic(self._reach.topic) or set()
            partitions = {TopicPartition(self._reach.topic, number) for number in present}
            if reading.out_of_range or partitions - reading.positions.keys():
                return sorted(partitions | reading.positions.keys())
            await (asyncio.sleep(0) if records else self._wait_news(consumer))

    def _learn(self, records: Iterable[Record]) -> None:
        learned = 0
        for record in records:
            self._heard += 1
            if record.key is not None and self._feed.knows(record.key.decode("utf-8", "replace")):
                continue  # as a rule our own, come back
            outcome = outcome_from_json(record.value)
            if outcome is None:
                self._ignore(record.source, 1, "not an outcome, or of a version that is not known")
            elif self._feed.learn(outcome):
                learned += 1
        if learned:
            self._learned += learned
            self._signals.emit(EndingsLearned(learned))
        self._tell_ignored()

    def _ignore(self, source: Source, records: int, why: str) -> None:
        self._ignored.records += records
        self._ignored.last, self._ignored.why = source, why

    def _tell_ignored(self) -> None:
        """Whoever writes nonsense must not fill the log with it."""
        ignored, now = self._ignored, self._now()
        if ignored.last is None or now - ignored.told_at < self._reach.tell_every_seconds:
            return
        self._signals.emit(OutcomesIgnored(ignored.records, ignored.last, ignored.why))
        self._ignored = _Ignored(told_at=now)

    async def _pass_over(
        self, reading: Reading, blocked_since: dict[TopicPartition, float]
    ) -> None:
        """Bytes that nobody can read would silence their partition for ever: go on at its end."""
        for one in blocked_since.keys() - reading.blocked.keys():
            del blocked_since[one]
        for one, blocked in list(reading.blocked.items()):
            since = blocked_since.setdefault(one, self._now())
            if self._now() - since < self._reach.unreadable_seconds or one in reading.out_of_range:
                continue
            ends: Mapping[TopicPartition, int] = await reading.consumer.end_offsets([one])
            missed = max(1, ends[one] - blocked.offset)
            self._ignore(Source(one.topic, one.partition, blocked.offset), missed, "cannot be read")
            reading.seek(one, max(ends[one], blocked.offset + 1))
            self._tell_ignored()

    async def _wait_news(self, consumer: AIOKafkaConsumer) -> None:
        if not self.behind():
            await asyncio.sleep(_TOGETHER_SECONDS)
        news = wait_fetched(consumer)
        await asyncio.wait({news}, timeout=_POLL_SECONDS)
        if not news.cancel() and not news.cancelled() and news.exception() is not None:
            await asyncio.sleep(_POLL_SECONDS)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
