"""An in-memory Kafka that keeps the promises of ports.py, for virtual time.

    Log                                       topics, partitions, records: append only, with holes
    OutcomesInMemory, DeadLettersInMemory     what is written, and when its writer hears of it

Its consumer group is in `simulation/group.py`. Everything happens in one event loop and in its
time, so a run under virtual time is repeatable. What it does not imitate: fetch buffers.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Generic, TypeVar
from zlib import crc32

from gateway.core.model import DeadLetter, Outcome, Partition, Record, Source
from gateway.ports import EndingsFeed, WallClock

Entry = TypeVar("Entry")
_OFFSET = attrgetter("offset")


class Log:
    """Topics with their records. Appending is durable at once and wakes every reader."""

    def __init__(self, topics: Mapping[str, int], wall: WallClock) -> None:
        self._wall = wall
        self._records: dict[Partition, list[Record]] = {
            Partition(topic, number): []
            for topic, count in topics.items()
            for number in range(count)
        }
        self._starts: dict[Partition, int] = dict.fromkeys(self._records, 0)
        self._ends: dict[Partition, int] = dict.fromkeys(self._records, 0)
        self._arrived = asyncio.Event()

    def append(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: tuple[tuple[str, bytes | None], ...] = (),
        partition: int | None = None,
    ) -> Source:
        """Where the record went. The same key always goes to the same partition."""
        places = self.partitions(topic)
        number = crc32(key or b"") % len(places) if partition is None else partition
        place = Partition(topic, number)
        record = Record(topic, number, self._ends[place], self._wall(), key, value, headers)
        self._records[place].append(record)
        self.skip(place, 1)
        return record.source

    def skip(self, place: Partition, offsets: int) -> None:
        """That many offsets have no record that anybody could read: transaction markers."""
        self._ends[place] += offsets
        self._arrived.set()
        self._arrived = asyncio.Event()

    def partitions(self, topic: str) -> list[Partition]:
        return [place for place in self._records if place.topic == topic]

    def records(self, topic: str) -> list[Record]:
        """All records of a topic, partition by partition."""
        return [record for place in self.partitions(topic) for record in self._records[place]]

    def read(self, place: Partition, offset: int, most: int) -> Sequence[Record]:
        """The first records at or after `offset`."""
        records = self._records[place]
        first = bisect_left(records, offset, key=_OFFSET)
        return records[first : first + most]

    def start(self, place: Partition) -> int:
        return self._starts[place]

    def end(self, place: Partition) -> int:
        return self._ends[place]

    def delete_before(self, place: Partition, offset: int) -> None:
        """What retention does."""
        del self._records[place][: bisect_left(self._records[place], offset, key=_OFFSET)]
        self._starts[place] = offset

    async def wait_arrival(self, timeout_seconds: float) -> None:
        """Returns when a record has been appended anywhere. Raises TimeoutError after the
        time-out."""
        arrived = self._arrived
        async with asyncio.timeout(timeout_seconds):
            await arrived.wait()


class Written(Generic[Entry]):
    """ports.OutcomeLog and ports.DeadLetterLog in memory: an entry is durable after
    `delay_seconds`, or when `flush` is called if the delay is None."""

    def __init__(self, delay_seconds: float | None = 0.0) -> None:
        self._delay_seconds = delay_seconds
        self._waiting: deque[tuple[Entry, Callable[[], None]]] = deque()
        self.durable: list[Entry] = []
        self.followers: list[Callable[[Entry], None]] = []
        """Told of every entry once it is durable, before whoever has appended it."""

    def append(self, entry: Entry, when_durable: Callable[[], None], /) -> None:
        self._waiting.append((entry, when_durable))
        if self._delay_seconds is not None:
            asyncio.get_running_loop().call_later(self._delay_seconds, self._acknowledge_first)

    def pending(self) -> int:
        return len(self._waiting)

    def flush(self) -> None:
        """Everything appended so far is acknowledged."""
        for _ in range(len(self._waiting)):
            self._acknowledge_first()

    def _acknowledge_first(self) -> None:
        entry, when_durable = self._waiting.popleft()
        self.durable.append(entry)
        for follower in self.followers:
            follower(entry)
        when_durable()


OutcomesInMemory = Written[Outcome]
DeadLettersInMemory = Written[DeadLetter]


class TailInMemory:
    """ports.OutcomeTail over OutcomesInMemory: each outcome is heard `delay_seconds` after it has
    become durable, what is durable already that long after now."""

    def __init__(
        self, outcomes: OutcomesInMemory, feed: EndingsFeed, delay_seconds: float = 0.0
    ) -> None:
        self._outcomes = outcomes
        self._feed = feed
        self._delay_seconds = delay_seconds
        self._waiting: deque[Outcome] = deque()
        self._heard = asyncio.Event()
        for outcome in outcomes.durable:
            self._coming(outcome)
        outcomes.followers.append(self._coming)

    def stop(self) -> None:
        """Hears nothing more."""
        self._outcomes.followers.remove(self._coming)
        self._waiting.clear()

    async def wait_caught_up(self, timeout_seconds: float, /) -> bool:
        last = self._waiting[-1] if self._waiting else None
        try:
            async with asyncio.timeout(timeout_seconds):
                while any(outcome is last for outcome in self._waiting):
                    await self._heard.wait()
        except TimeoutError:
            return False
        return True

    def _coming(self, outcome: Outcome) -> None:
        self._waiting.append(outcome)
        asyncio.get_running_loop().call_later(self._delay_seconds, self._hear_first)

    def _hear_first(self) -> None:
        if self._waiting:
            self._feed.learn(self._waiting.popleft())
            self._heard.set()
            self._heard = asyncio.Event()
