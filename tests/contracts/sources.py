"""What the suites of RecordSource share: a listener that keeps a journal, a reader that checks
every batch against it, and the two worlds in which the same promises hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Protocol

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from gateway.adapters.kafka_client import KafkaConnection
from gateway.adapters.kafka_consumer import ConsumerSettings
from gateway.adapters.kafka_source import KafkaSource
from gateway.core.model import CommitPoint, Partition, Record
from gateway.core.signals import Signal
from gateway.ports import Assigned, RecordSource
from gateway.simulation.broker import KafkaBroker
from gateway.simulation.group import Group, LogSource
from gateway.simulation.log import Log


class Signals(list[Signal]):
    """A SignalSink that remembers."""

    def emit(self, signal: Signal) -> None:
        self.append(signal)

    def of(self, kind: type[Signal]) -> list[Signal]:
        return [signal for signal in self if isinstance(signal, kind)]


class Journal:
    """An AssignmentListener that remembers, and that is told in turns or says so."""

    def __init__(self) -> None:
        self.history: list[Sequence[Assigned] | None] = []
        """Every assignment; None for a revocation."""
        self.breaches: list[str] = []
        self.when_assigned: Callable[[], Awaitable[None]] | None = None
        self.when_revoked: Callable[[], Awaitable[None]] | None = None
        self.ready: dict[Partition, Assigned] | None = None
        """The assignment that the listener knows all about."""
        self._is_being_told = False

    async def partitions_assigned(self, assigned: Sequence[Assigned]) -> None:
        self._begin("assigned", self.is_assigned)
        self.history.append(assigned)
        if self.when_assigned is not None:
            await self.when_assigned()
        self.ready = {one.partition: one for one in assigned}
        self._is_being_told = False

    async def partitions_revoked(self) -> None:
        self._begin("revoked", not self.is_assigned)
        self.ready = None
        self.history.append(None)
        if self.when_revoked is not None:
            await self.when_revoked()
        self._is_being_told = False

    @property
    def is_assigned(self) -> bool:
        return bool(self.history) and self.history[-1] is not None

    @property
    def assignments(self) -> list[Sequence[Assigned]]:
        return [one for one in self.history if one is not None]

    def latest(self) -> dict[Partition, Assigned]:
        return {one.partition: one for one in self.assignments[-1]}

    def _begin(self, what: str, is_wrong: bool) -> None:
        if is_wrong or self._is_being_told:
            self.breaches.append(f"{what} out of turn")
        self._is_being_told = True


class Member:
    """A source with its journal, and a reader that holds every batch against the promises."""

    def __init__(self, source: RecordSource, journal: Journal, signals: Signals) -> None:
        self.source = source
        self.journal = journal
        self.signals = signals
        self.records: list[Record] = []
        self._expected: tuple[object, dict[Partition, int]] = (None, {})
        self._reading: asyncio.Task[None] | None = None

    def read_on(self) -> None:
        self._reading = asyncio.create_task(self._read())

    async def read_once(self, max_records: int = 100, timeout_seconds: float = 0.05) -> None:
        records = await self.source.next_batch(max_records, timeout_seconds)
        self._check(records, max_records)
        self.records.extend(records)

    async def stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
            self._reading = None

    def values(self) -> list[bytes | None]:
        return [record.value for record in self.records]

    def _check(self, records: Sequence[Record], max_records: int) -> None:
        if len(records) > max_records:
            self.journal.breaches.append("more records than asked for")
        ready = self.journal.ready
        if records and ready is None:
            self.journal.breaches.append("records without an assignment")
            return
        if self._expected[0] is not ready:
            self._expected = (ready, {place: one.start for place, one in (ready or {}).items()})
        for record in records:
            self._check_order(record)
        for place, expected in self._expected[1].items():
            position = self.source.position(place)
            if records and (position is None or position < expected):
                self.journal.breaches.append(f"{place} stands at {position}, not {expected}")

    def _check_order(self, record: Record) -> None:
        place = Partition(record.topic, record.partition)
        expected = self._expected[1].get(place)
        if expected is None:
            self.journal.breaches.append(f"{record.source} is not assigned")
        elif record.offset < expected:
            self.journal.breaches.append(f"{record.source} comes after {expected - 1}")
        else:
            self._expected[1][place] = record.offset + 1

    def sought(self, place: Partition, offset: int) -> None:
        """The test has moved the source: from here on, this is what comes next."""
        self._expected[1][place] = offset

    async def _read(self) -> None:
        while True:
            await self.read_once()
            await asyncio.sleep(0)  # the simulation never waits while it has records


class World(Protocol):
    """A log and a group in it. `topic` has the partitions of `places`."""

    topic: str
    places: list[Partition]

    async def append(self, partition: int, *values: bytes) -> None: ...

    async def join(self, journal: Journal | None = None) -> Member: ...

    async def leave(self, member: Member) -> None: ...

    async def committed(self) -> Mapping[Partition, CommitPoint]: ...


class LogWorld:
    """The in-memory log of the simulation."""

    def __init__(self, partitions: int) -> None:
        self.topic = "results"
        self.log = Log({self.topic: partitions}, time.time)
        self.group = Group(self.log, [self.topic])
        self.places = self.log.partitions(self.topic)

    async def append(self, partition: int, *values: bytes) -> None:
        for value in values:
            self.log.append(self.topic, value, partition=partition)

    async def join(self, journal: Journal | None = None) -> Member:
        journal = journal or Journal()
        source = LogSource(self.group, journal)
        await source.start()
        return Member(source, journal, Signals())

    async def leave(self, member: Member) -> None:
        await member.stop_reading()
        assert isinstance(member.source, LogSource)
        await member.source.stop()

    async def committed(self) -> Mapping[Partition, CommitPoint]:
        return self.group.committed


class KafkaWorld:
    """One topic and one group of a real Kafka. Its clients are closed with the exit stack."""

    def __init__(self, kafka: KafkaBroker, topic: str, partitions: int) -> None:
        self.kafka = kafka
        self.topic = topic
        self.group_id = f"{topic}-group"
        self.places = [Partition(topic, number) for number in range(partitions)]
        self.connection = KafkaConnection(kafka.bootstrap_servers)
        self.stack = AsyncExitStack()
        self._producer: AIOKafkaProducer | None = None

    async def producer(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = AIOKafkaProducer(bootstrap_servers=self.kafka.bootstrap_servers)
            await self._producer.start()
            self.stack.push_async_callback(self._producer.stop)
        return self._producer

    async def append(self, partition: int, *values: bytes) -> None:
        producer = await self.producer()
        sent = [await producer.send(self.topic, value, partition=partition) for value in values]
        await asyncio.gather(*sent)

    def member(self, journal: Journal | None = None, **settings: object) -> Member:
        """Not started yet."""
        journal, signals = journal or Journal(), Signals()
        short: dict[str, object] = {
            "topics": (self.topic,),
            "group_id": self.group_id,
            "start": "earliest",
            "session_timeout_seconds": 2.0,
            "heartbeat_seconds": 0.1,
            "rebalance_timeout_seconds": 10.0,
            "stop_timeout_seconds": 3.0,
        }
        source = KafkaSource(
            self.connection,
            ConsumerSettings(**short | settings),  # type: ignore[arg-type]
            listener=journal,
            signals=signals,
            clock=time.time,
        )
        member = Member(source, journal, signals)
        self.stack.push_async_callback(self.leave, member)
        return member

    async def join(self, journal: Journal | None = None) -> Member:
        member = self.member(journal)
        await self.started(member)
        return member

    async def started(self, member: Member) -> None:
        """Started when it returns; the assignment comes when the group has settled."""
        assert isinstance(member.source, KafkaSource)
        await member.source.start()

    async def leave(self, member: Member) -> None:
        await member.stop_reading()
        assert isinstance(member.source, KafkaSource)
        await member.source.stop()

    async def committed(self) -> Mapping[Partition, CommitPoint]:
        admin = await self.admin()
        points = await admin.list_consumer_group_offsets(
            self.group_id, partitions=[TopicPartition(*place) for place in self.places]
        )
        return {
            Partition(*place): CommitPoint(point.offset, point.metadata)
            for place, point in points.items()
            if point.offset >= 0
        }

    async def admin(self) -> AIOKafkaAdminClient:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap_servers)
        await admin.start()
        self.stack.push_async_callback(admin.close)
        return admin
