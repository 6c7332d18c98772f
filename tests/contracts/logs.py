"""The worlds in which the promises of OutcomeLog and DeadLetterLog are checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from gateway.adapters.topic_writer import Pace
from gateway.core.signals import Signal
from gateway.simulation.broker import KafkaBroker
from gateway.simulation.log import Written

Entry = TypeVar("Entry")

QUICK = Pace(first_delay_seconds=0.02, longest_delay_seconds=0.2, delayed_after_seconds=0.5)


class Log(Protocol[Entry]):
    def append(self, entry: Entry, when_durable: Callable[[], None], /) -> None: ...

    def pending(self) -> int: ...


class LogWorld(Protocol[Entry]):
    """A log, what stands in it, and a way to make it wait."""

    log: Log[Entry]

    async def written(self) -> list[Entry]: ...

    def interrupt(self) -> None: ...

    def restore(self) -> None: ...


class InMemory(Generic[Entry]):
    def __init__(self) -> None:
        self.log: Written[Entry] = Written(delay_seconds=None)
        self._is_open = True

    async def written(self) -> list[Entry]:
        return list(self.log.durable)

    def interrupt(self) -> None:
        self._is_open = False

    def restore(self) -> None:
        self._is_open = True

    async def acknowledge(self) -> None:
        while True:
            if self._is_open:
                self.log.flush()
            await asyncio.sleep(0.001)


@asynccontextmanager
async def in_memory() -> AsyncIterator[InMemory[Any]]:
    world = InMemory[Any]()
    task = asyncio.create_task(world.acknowledge())
    try:
        yield world
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class OnKafka(Generic[Entry]):
    def __init__(
        self,
        log: Log[Entry],
        kafka: KafkaBroker,
        topic: str,
        read: Callable[[ConsumerRecord], Entry],
    ) -> None:
        self.log = log
        self._kafka = kafka
        self._topic = topic
        self._read = read

    async def written(self) -> list[Entry]:
        return [self._read(r) for r in await everything_in(self._kafka, self._topic)]

    def interrupt(self) -> None:
        self._kafka.suspend()

    def restore(self) -> None:
        self._kafka.resume()


async def everything_in(kafka: KafkaBroker, topic: str) -> list[ConsumerRecord]:
    """All records of a topic as it ends now, partition by partition."""
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest"
    ) as consumer:
        await consumer._client._wait_on_metadata(topic)
        numbers = consumer.partitions_for_topic(topic) or set()
        places = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found: dict[TopicPartition, list[ConsumerRecord]] = {place: [] for place in places}
        async with asyncio.timeout(20):
            for place, end in ends.items():
                while await consumer.position(place) < end:
                    for at, records in (await consumer.getmany(timeout_ms=200)).items():
                        found[at].extend(records)
        return [record for place in places for record in found[place]]


class Told:
    """Counts what was told durable, and whether it was told from within `append`."""

    def __init__(self) -> None:
        self.times: dict[object, int] = {}
        self.is_appending = False
        self.told_while_appending = False

    def append(self, log: Log[Entry], entry: Entry, name: object) -> None:
        self.is_appending = True
        log.append(entry, lambda: self._told(name))
        self.is_appending = False

    def _told(self, name: object) -> None:
        self.told_while_appending |= self.is_appending
        self.times[name] = self.times.get(name, 0) + 1


class Signals:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[Signal] = []

    def emit(self, signal: Signal) -> None:
        self.seen.append(signal)

    def of(self, kind: type[Signal]) -> list[Any]:
        return [signal for signal in self.seen if isinstance(signal, kind)]
