"""An in-memory Kafka that keeps the promises of ports.py, for virtual time.

    Log      topics, partitions, records: append only
    Group    who owns which partition, what is committed; eager rebalancing
    LogSource, OutcomesInMemory, DeadLettersInMemory     one member's ports

Everything happens in one event loop and in its time, so a run under virtual time is repeatable.
What it does not imitate: fetch buffers, brokers' failures, compaction.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar
from zlib import crc32

from gateway.core.model import CommitPoint, DeadLetter, Outcome, Partition, Record, Source
from gateway.ports import Assigned, AssignmentListener, CommitFailed, WallClock

Entry = TypeVar("Entry")


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
        offset = self.end(place)
        record = Record(topic, number, offset, self._wall(), key, value, headers)
        self._records[place].append(record)
        self._arrived.set()
        self._arrived = asyncio.Event()
        return record.source

    def partitions(self, topic: str) -> list[Partition]:
        return [place for place in self._records if place.topic == topic]

    def records(self, topic: str) -> list[Record]:
        """All records of a topic, partition by partition."""
        return [record for place in self.partitions(topic) for record in self._records[place]]

    def read(self, place: Partition, offset: int, most: int) -> Sequence[Record]:
        start = self._starts[place]
        return self._records[place][max(0, offset - start) : max(0, offset - start) + most]

    def start(self, place: Partition) -> int:
        return self._starts[place]

    def end(self, place: Partition) -> int:
        return self._starts[place] + len(self._records[place])

    def delete_before(self, place: Partition, offset: int) -> None:
        """What retention does."""
        gone = offset - self._starts[place]
        del self._records[place][:gone]
        self._starts[place] = offset

    async def wait_arrival(self, timeout_seconds: float) -> None:
        """Returns when a record has been appended anywhere, or after the time-out."""
        arrived = self._arrived
        async with asyncio.timeout(timeout_seconds):
            await arrived.wait()


class Group:
    """The coordinator: every partition of the topics has at most one owner, commits survive."""

    def __init__(self, log: Log, topics: Iterable[str]) -> None:
        self.log = log
        self.committed: dict[Partition, CommitPoint] = {}
        self._places = [place for topic in topics for place in log.partitions(topic)]
        self._members: list[LogSource] = []
        self._rebalancing = asyncio.Lock()

    async def join(self, member: LogSource) -> None:
        """Returns when the member has its first assignment."""
        async with self._rebalancing:
            await self._revoke_all()
            self._members.append(member)
            await self._assign_all()

    async def leave(self, member: LogSource) -> None:
        """The member goes, politely or not: nobody asks it to commit."""
        async with self._rebalancing:
            if member in self._members:
                self._members.remove(member)
                member.lose()
            await self._revoke_all()
            await self._assign_all()

    async def _revoke_all(self) -> None:
        await asyncio.gather(*(member.revoke() for member in self._members))

    async def _assign_all(self) -> None:
        shares: list[list[Partition]] = [[] for _ in self._members]
        for number, place in enumerate(self._places if shares else ()):
            shares[number % len(shares)].append(place)
        pairs = zip(self._members, shares, strict=True)
        await asyncio.gather(*(member.assign(share) for member, share in pairs))


class LogSource:
    """ports.RecordSource over a Log, as one member of a Group."""

    def __init__(self, group: Group, listener: AssignmentListener) -> None:
        self._group = group
        self._log = group.log
        self._listener = listener
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._is_open = False
        self._may_commit: frozenset[Partition] = frozenset()
        self.commit_fault: Callable[[], Exception | None] = lambda: None

    async def start(self) -> None:
        await self._group.join(self)

    async def stop(self) -> None:
        """Leaves the group. What is not committed by now is not committed."""
        await self._group.leave(self)

    async def revoke(self) -> None:
        self._is_open = False
        await self._listener.partitions_revoked()
        self.lose()

    def lose(self) -> None:
        """No record and no commit passes any more."""
        self._is_open = False
        self._may_commit = frozenset()
        self._positions.clear()

    async def assign(self, share: Sequence[Partition]) -> None:
        assigned = [self._assigned(place) for place in share]
        self._positions = {one.partition: one.start for one in assigned}
        self._paused.clear()
        self._may_commit = frozenset(share)
        await self._listener.partitions_assigned(assigned)
        self._is_open = True

    async def next_batch(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        await asyncio.sleep(0)  # as anybody who reads a socket would
        batch = self._take(max_records)
        if not batch:
            try:
                await self._log.wait_arrival(timeout_seconds)
            except TimeoutError:
                return ()
            batch = self._take(max_records)
        return batch

    def pause(self, partitions: AbstractSet[Partition]) -> None:
        self._paused |= partitions & self._positions.keys()

    def resume(self, partitions: AbstractSet[Partition]) -> None:
        self._paused -= partitions

    def seek(self, partition: Partition, offset: int) -> None:
        if partition in self._positions:
            self._positions[partition] = offset

    def position(self, partition: Partition) -> int | None:
        return self._positions.get(partition)

    def log_end(self, partition: Partition) -> int | None:
        return self._log.end(partition)

    async def commit(self, points: Mapping[Partition, CommitPoint]) -> None:
        begun_in = self._may_commit
        await asyncio.sleep(0)
        fault = self.commit_fault()
        if fault is not None or begun_in is not self._may_commit:
            raise CommitFailed(str(fault or "the assignment is over"))
        for place in points.keys() & self._may_commit:
            self._group.committed[place] = points[place]

    def _assigned(self, place: Partition) -> Assigned:
        point = self._group.committed.get(place)
        start, end = self._log.start(place), self._log.end(place)
        offset = None if point is None else point.offset
        return Assigned(
            partition=place,
            start=max(start, offset or start),
            log_start=start,
            log_end=end,
            committed=offset,
            note=point.note if point else "",
            cluster="simulated",
        )

    def _take(self, most: int) -> list[Record]:
        batch: list[Record] = []
        if not self._is_open:
            return batch
        for place in self._positions.keys() - self._paused:
            taken = self._log.read(place, self._positions[place], most - len(batch))
            if taken:
                batch.extend(taken)
                self._positions[place] = taken[-1].offset + 1
        return batch


class Written(Generic[Entry]):
    """ports.OutcomeLog and ports.DeadLetterLog in memory: an entry is durable after
    `delay_seconds`, or when `flush` is called if the delay is None."""

    def __init__(self, delay_seconds: float | None = 0.0) -> None:
        self._delay_seconds = delay_seconds
        self._waiting: deque[tuple[Entry, Callable[[], None]]] = deque()
        self.durable: list[Entry] = []

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
        when_durable()


OutcomesInMemory = Written[Outcome]
DeadLettersInMemory = Written[DeadLetter]
