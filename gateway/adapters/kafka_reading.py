"""Taking records out of an aiokafka consumer, so that no way of failing loses one."""

from __future__ import annotations

import asyncio
import time
from asyncio import Future
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, OffsetOutOfRangeError

from gateway.adapters import kafka_salvage
from gateway.core.model import Record
from gateway.core.signals import ReadFailed
from gateway.ports import Assigned, SignalSink

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.5, 60.0
SALVAGE_TIMEOUT_SECONDS = 10.0
MOST_BYTES_AT_ONCE = 2_097_152
"""Returned at once, unless a single record is larger. A batch of a few kilobytes may hold hundreds
of megabytes, and whoever is given them all at once is busy with them, without a heartbeat, for
longer than its group waits for it."""
_REFUSED_BY_PARSER = (UnicodeError, CorruptRecordException)
_NOWHERE = TopicPartition("", -1)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why one partition yields nothing for now. The others go on."""

    error: str
    offset: int
    """The next record stands at or after this offset, and cannot be read."""
    retry_at: float
    is_salvageable: bool
    """aiokafka's parser has refused it, and ours may not."""


class WouldWait(Exception):
    """What was to finish at once wanted to wait."""


def at_once(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine that has no reason to wait. Raises WouldWait if it wants to.

    What cannot be suspended cannot be cancelled half-way, with records in its hands.
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration as finished:
        result: _T = finished.value
        return result
    coroutine.close()
    if isinstance(waits_for, Future):
        waits_for.cancel()
    raise WouldWait


def stay_in_group(consumer: AIOKafkaConsumer) -> None:
    """Tells the consumer that somebody is reading, without reading: a member that polls nothing
    for `max_poll_interval` leaves its group. Raises the trouble that the membership is in."""
    try:
        at_once(consumer.getmany(_NOWHERE, timeout_ms=0))
    except WouldWait:
        pass  # a rebalance is going on; the trouble has been asked for before that wait
    finally:
        _forget_failed_polls(consumer)


def _forget_failed_polls(consumer: AIOKafkaConsumer) -> None:
    """aiokafka 0.14 counts a poll that raised as one that never ends; such a consumer would keep
    its partitions for ever although nobody reads. No poll of ours ever waits: none is open."""
    subscription = consumer._subscription
    subscription._fetch_count = 0
    subscription._last_fetch_ended = time.monotonic()


def wait_fetched(consumer: AIOKafkaConsumer) -> Future[None]:
    """Done, or failed, when there may be something new to take.

    `getmany` waits too, and takes what comes: with a partition that cannot be read among others,
    it drops records of the others that it has counted as read already.
    """
    waiter: Future[None] = consumer._fetcher._create_fetch_waiter()
    return waiter


class Reading:
    """What is read under one assignment. The next assignment makes another.

    For every partition, `position` is the offset after the last record returned, at every moment;
    a read that fails leaves it there, and what it had fetched is fetched again.

    Partitions are asked one by one: when aiokafka's `getmany` meets bytes that it cannot read, it
    raises and drops what it has taken from other partitions in the same call.
    """

    def __init__(
        self, consumer: AIOKafkaConsumer, assigned: Sequence[Assigned], signals: SignalSink
    ) -> None:
        self.consumer = consumer
        self.is_over = False
        """Set when the assignment ends: nothing is returned from then on."""
        self.paused: set[TopicPartition] = set()
        self.blocked: dict[TopicPartition, Blocked] = {}
        self.out_of_range: dict[TopicPartition, int] = {}
        """Positions that the log does not hold any more: reading has to begin anew."""
        self._signals = signals
        self._positions = {TopicPartition(*one.partition): one.start for one in assigned}
        self._log_ends = {TopicPartition(*one.partition): one.log_end for one in assigned}
        self._turns = deque(self._positions)
        self._kept: dict[TopicPartition, list[Record]] = {}
        """Taken from the consumer and not returned yet: it was too much at once."""
        self._bytes_left = MOST_BYTES_AT_ONCE
        self._delays: dict[TopicPartition, float] = {}
        for partition, offset in self._positions.items():
            consumer.seek(partition, offset)
        consumer.resume(*self._positions)

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        return self._positions

    def log_end(self, partition: TopicPartition) -> int | None:
        """The end as the last fetch has shown it, or the last look-up."""
        if partition not in self.consumer.assignment():
            return self._log_ends.get(partition)
        return self.consumer.highwater(partition) or self._log_ends.get(partition)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.consumer.seek(partition, offset)
        self._positions[partition] = offset
        self._kept.pop(partition, None)
        self.blocked.pop(partition, None)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        stopped = list(partitions)
        self.paused.update(stopped)
        self.consumer.pause(*stopped)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        resumed = list(partitions)
        self.paused.difference_update(resumed)
        self.consumer.resume(*resumed)

    def take(self, max_records: int, now: float) -> list[Record]:
        """What has been fetched, in offset order within a partition, each partition its share.

        Never raises, never waits. A partition in trouble is `blocked` and returns nothing.
        """
        self._unblock(now)
        asked = [tp for tp in self._turns if tp not in self.paused and tp not in self.blocked]
        self._turns.rotate(-1)
        taken: list[Record] = []
        self._bytes_left = MOST_BYTES_AT_ONCE
        while asked and len(taken) < max_records and not self.is_over:
            share = max(1, (max_records - len(taken)) // len(asked))
            asked = [tp for tp in asked if self._take_share(tp, share, max_records, taken, now)]
        return taken

    def _take_share(
        self, partition: TopicPartition, share: int, most: int, taken: list[Record], now: float
    ) -> bool:
        """Whether the partition may have more than it has added."""
        wanted = min(share, most - len(taken))
        if wanted <= 0 or self._bytes_left <= 0:
            return False
        records = self._poll(partition, wanted, now)
        taken += records
        return len(records) == wanted

    def _poll(self, partition: TopicPartition, max_records: int, now: float) -> list[Record]:
        try:
            records = self._kept.pop(partition, None) or self._fetched(partition, max_records)
            position: int = at_once(self.consumer.position(partition))
        except Exception as error:  # whatever aiokafka raises for bytes that it cannot read
            self._block(partition, error, now, isinstance(error, _REFUSED_BY_PARSER))
            return []
        returned = records[: self._fitting(records, max_records)]
        if kept := records[len(returned) :]:
            self._kept[partition] = kept
            position = kept[0].offset
        if position != self._positions[partition]:
            self._positions[partition] = position
            self._delays.pop(partition, None)
        return returned

    def _fetched(self, partition: TopicPartition, max_records: int) -> list[Record]:
        polled = at_once(self.consumer.getmany(partition, timeout_ms=0, max_records=max_records))
        return [
            Record(r.topic, r.partition, r.offset, r.timestamp / 1000, r.key, r.value, r.headers)
            for records in polled.values()
            for r in records
        ]

    def _fitting(self, records: Sequence[Record], most: int) -> int:
        """How many may be returned; one at least, unless others are. Their weight is taken off."""
        for count, record in enumerate(records[:most]):
            size_bytes = len(record.value or b"") + len(record.key or b"")
            if size_bytes > self._bytes_left < MOST_BYTES_AT_ONCE:
                return count
            self._bytes_left -= size_bytes
        return min(most, len(records))

    async def salvage(self, max_records: int, now: float) -> list[Record]:
        """Records of a partition that aiokafka's parser has refused. Never raises.

        Returns at once if there is none, and nothing if the world has moved on meanwhile.
        """
        for partition, blocked in list(self.blocked.items()):
            if blocked.is_salvageable and blocked.retry_at <= now and partition not in self.paused:
                return await self._salvage(partition, blocked, max_records, now)
        return []

    async def _salvage(
        self, partition: TopicPartition, blocked: Blocked, max_records: int, now: float
    ) -> list[Record]:
        try:
            async with asyncio.timeout(SALVAGE_TIMEOUT_SECONDS):
                fetched = await kafka_salvage.fetch(self.consumer, partition, blocked.offset)
            found = kafka_salvage.read_first_batch(fetched, partition, blocked.offset)
        except Exception as error:  # truly corrupt, or the brokers are in trouble
            if self.blocked.get(partition) is blocked and not self.is_over:
                self._block(partition, error, now, is_salvageable=True, is_second_try=True)
            return []
        if self.is_over or partition in self.paused or self.blocked.get(partition) is not blocked:
            return []
        self._bytes_left = MOST_BYTES_AT_ONCE
        records = found.records[: self._fitting(found.records, max_records)]
        is_all = len(records) == len(found.records)
        self.seek(partition, found.next_offset if is_all else records[-1].offset + 1)
        self._delays.pop(partition, None)
        return records

    def next_retry(self) -> float | None:
        """When a blocked partition is due."""
        due = (b.retry_at for tp, b in self.blocked.items() if tp not in self.paused)
        return min(due, default=None)

    def readable(self) -> dict[TopicPartition, int]:
        """Positions of the partitions that have no reason known to us to yield nothing."""
        return {
            partition: position
            for partition, position in self._positions.items()
            if partition not in self.paused and partition not in self.blocked
        }

    def statistics(self) -> dict[str, dict[str, object]]:
        return {
            f"{partition.topic}/{partition.partition}": {
                "position": position,
                "log_end": self.log_end(partition),
                "is_paused": partition in self.paused,
                "blocked": blocked.error if (blocked := self.blocked.get(partition)) else None,
            }
            for partition, position in sorted(self._positions.items())
        }

    def _unblock(self, now: float) -> None:
        for partition, blocked in list(self.blocked.items()):
            if blocked.retry_at <= now and not blocked.is_salvageable:
                del self.blocked[partition]

    def _block(
        self,
        partition: TopicPartition,
        error: Exception,
        now: float,
        is_salvageable: bool,
        is_second_try: bool = False,
    ) -> None:
        """The partition stands where its last returned record left it, whatever aiokafka thinks:
        after RecordTooLargeError, for one, it would have skipped the record."""
        _forget_failed_polls(self.consumer)
        offset = self._positions[partition]
        with suppress(KafkaError):
            self.consumer.seek(partition, offset)
        if isinstance(error, OffsetOutOfRangeError):
            self.out_of_range[partition] = offset
        where = f"{partition.topic}/{partition.partition}/{offset}: {explained(error)}"
        if is_salvageable and not is_second_try:
            self.blocked[partition] = Blocked(where, offset, now, is_salvageable)
            return
        delay = self._delays.get(partition, FIRST_DELAY_SECONDS)
        self._delays[partition] = min(2 * delay, LONGEST_DELAY_SECONDS)
        self.blocked[partition] = Blocked(where, offset, now + delay, is_salvageable)
        self._signals.emit(ReadFailed(where, delay))


def explained(error: BaseException) -> str:
    """An error in words that hold nothing of a record."""
    if isinstance(error, KafkaError) and str(error):
        return str(error)
    if isinstance(error, OSError) and str(error):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__
