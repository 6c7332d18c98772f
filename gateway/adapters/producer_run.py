"""The life of one producer: what it was given, what it got acknowledged, and its first error.

aiokafka's idempotent producer repeats a write until it succeeds, in order, as long as brokers are
merely gone. It ends with its first refusal: the refused batch has used up sequence numbers, and
every later one is "out of order". So a producer that has met an error is never used again; the
next one, with a new identity, writes what this one has not got acknowledged. A write whose
acknowledgement was cut off may then stand in the topic twice.

Batches are filled here with the producer's own builder and carry one future each: a future, a
metadata look-up and a partitioner per message (`producer.send`) cost four times as much.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    ProducerClosed,
    RecordListTooLargeError,
    UnknownError,
    UnsupportedForMessageFormatError,
)

from gateway.adapters.kafka_client import TROUBLE, stopped

REFUSALS = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidTimestampError,
    UnsupportedForMessageFormatError,
    PolicyViolationError,
    UnknownError,  # aiokafka's name for codes that it does not know, INVALID_RECORD among them
)
"""Answers that mean: not this message. Every other failure says nothing about it."""

_DISCARD_SECONDS = 1.0
_OVERHEAD_BYTES = 120  # of a batch and its first record, at most
_HEADER_OVERHEAD_BYTES = 10
_SMALL_BYTES = 8192  # without headers and below this, no message is worth measuring


class Message(NamedTuple):
    """What stands in the topic. `timestamp_ms` None: when it is handed to the producer."""

    value: bytes
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp_ms: int | None = None

    @property
    def size_bytes(self) -> int:
        """At most so many bytes in Kafka, when it stands in a batch of its own."""
        headers = sum(
            len(name.encode()) + len(value or b"") + _HEADER_OVERHEAD_BYTES
            for name, value in self.headers
        )
        return len(self.value) + len(self.key or b"") + headers + _OVERHEAD_BYTES


Reduce = Callable[[int], Message | None]
"""The n-th smaller form of a message that was refused; None: there is no smaller one."""


@dataclass(slots=True, eq=False)
class Entry:
    """A message on its way into the topic."""

    message: Message
    when_durable: Callable[[], None]
    reduce: Reduce | None
    number: int
    since: float
    reductions: int = 0
    refusals: int = 0
    not_before: float = 0.0


class CannotEncode(Exception):
    """The client itself has refused the first entry that waits; nothing of it was sent."""

    def __init__(self, cause: Exception, company: list[Entry]) -> None:
        super().__init__(f"{type(cause).__name__} while encoding")
        self.cause = cause
        self.company = company
        """Entries of the batch that it has spoilt, in order."""


class Run:
    """Every entry taken from `waiting` is at any time in exactly one place: in hand, sent, told
    durable, or given back. Ends with the first error; an answer after `take_back` moves nothing.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        partitions: int,
        message_bytes: int,
        durable: Callable[[list[Entry]], None],
        changed: asyncio.Event,
    ) -> None:
        self.error: Exception | None = None
        self.alone: Entry | None = None
        """The entry that was sent with no other on its way."""
        self.refused: set[Entry] = set()
        """Entries of a batch that was refused."""
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._message_bytes = message_bytes
        self._durable = durable
        self._changed = changed
        self._in_hand: dict[int, tuple[Any, list[Entry]]] = {}
        self._sent: dict[asyncio.Future[object], list[Entry]] = {}

    def take(self, waiting: deque[Entry], most: int) -> None:
        """Moves entries from `waiting` into one batch a partition, until one batch is full.

        Raises CannotEncode, with the entry still the first in `waiting`.
        """
        for _ in range(min(most, len(waiting))):
            if not self._is_packed(waiting[0]):
                return
            waiting.popleft()

    async def send(self) -> None:
        """Hands over what is in hand. Returns when the producer has taken it: a moment, or the
        time that it waits for earlier batches. Raises what aiokafka raises."""
        for partition in list(self._in_hand):
            builder, entries = self._in_hand[partition]
            future = await self._producer.send_batch(builder, self._topic, partition=partition)
            del self._in_hand[partition]
            self._sent[future] = entries
            future.add_done_callback(self._answered)

    def fail(self, error: Exception) -> None:
        self.error = self.error or error
        self._changed.set()

    def oldest(self) -> Entry | None:
        """The entry that has waited longest for an acknowledgement."""
        entries = next(iter(self._sent.values()), None)
        return entries[0] if entries else None

    async def wait_acknowledged(self, timeout_seconds: float | None) -> None:
        """Until nothing is on its way any more, or the time-out, or (without one) an error."""
        on_their_way = {future for future in self._sent if not future.done()}
        when = asyncio.FIRST_EXCEPTION if timeout_seconds is None else asyncio.ALL_COMPLETED
        if on_their_way:
            await asyncio.wait(on_their_way, timeout=timeout_seconds, return_when=when)
        await asyncio.sleep(0)  # the callbacks of the last ones have their turn

    def empty_hand(self) -> list[Entry]:
        """What the producer was not given, in its old order."""
        batches = [entries for _, entries in self._in_hand.values()]
        self._in_hand.clear()
        return sorted((entry for entries in batches for entry in entries), key=_number)

    def take_back(self) -> list[Entry]:
        """Every entry that is not durable, in its old order; none is heard of again from here."""
        sent = [entry for entries in self._sent.values() for entry in entries]
        self._sent.clear()
        return sorted(sent + self.empty_hand(), key=_number)

    async def discard(self) -> None:
        """Ends the producer without its flush, which would not return while brokers are gone, and
        would write what another producer now writes."""
        producer = self._producer
        if (sender := producer._sender.sender_task) is not None:
            sender.cancel()
        with suppress(*TROUBLE):
            async with asyncio.timeout(_DISCARD_SECONDS):
                await producer.client.close()
        for batches in producer._message_accumulator._batches.values():
            for batch in batches:  # nobody waits for these any more, so nobody would ask
                batch._drain_waiter.add_done_callback(asyncio.Future.exception)
        producer._message_accumulator.fail_all(ProducerClosed())
        await stopped(producer, _DISCARD_SECONDS)

    def _is_packed(self, entry: Entry) -> bool:
        """False: its batch is full."""
        message = entry.message
        key = message.key
        self._refuse_oversize(message)
        partition = (entry.number if key is None else crc32(key)) % self._partitions
        if (batch := self._in_hand.get(partition)) is None:
            batch = self._in_hand[partition] = (self._producer.create_batch(), [])
        builder, entries = batch
        try:
            written = builder.append(
                timestamp=message.timestamp_ms,
                key=key,
                value=message.value,
                headers=list(message.headers),
            )
        except Exception as error:  # whatever it is, it is about this message
            del self._in_hand[partition]  # half of it may stand in the batch
            raise CannotEncode(error, entries) from error
        if written is None:
            return False
        entries.append(entry)
        return True

    def _refuse_oversize(self, message: Message) -> None:
        if not message.headers and len(message.value) <= _SMALL_BYTES:
            return
        try:
            if message.size_bytes <= self._message_bytes:
                return
        except UnicodeEncodeError as error:  # the name of a header
            raise CannotEncode(error, []) from error
        raise CannotEncode(MessageSizeTooLargeError(), [])

    def _answered(self, future: asyncio.Future[object]) -> None:
        error = future.exception()
        entries = self._sent.get(future)
        if entries is None:
            return
        if error is None:
            del self._sent[future]
            self._durable(entries)
            return
        if isinstance(error, REFUSALS):
            self.refused.update(entries)
        self.fail(error if isinstance(error, KafkaError) else KafkaError(str(error)))


def _number(entry: Entry) -> int:
    return entry.number
