"""Messages into one topic: each durable in the end, each told once, none in the way of others.

    write ─► waiting ─► sent, unacknowledged ─► durable: told, forgotten
                ▲               │
                └── given back ─┤ the producer has failed: a new one takes over
                                └─► suspects: refused in company; sent alone, then reduced

aiokafka's idempotent producer repeats a write until it succeeds, in order, as long as brokers are
merely gone. It ends with its first refusal: the refused batch has used up sequence numbers, and
every later one is "out of order". So a failed producer is never used again; a new one, with a new
identity, writes what the old one has not got acknowledged. A write that was cut off may then stand
in the topic twice.

Each topic has a producer of its own, so that a dead letter that Kafka refuses cannot hold up an
outcome.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    ProducerClosed,
    RecordListTooLargeError,
    UnknownError,
    UnsupportedForMessageFormatError,
)

from gateway.adapters.kafka_client import TROUBLE, KafkaConnection, started, stopped, topics_present
from gateway.core.signals import UnexpectedError, WriteDelayed
from gateway.ports import SignalSink

REFUSALS = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidTimestampError,
    UnsupportedForMessageFormatError,
    PolicyViolationError,
    UnknownError,  # aiokafka's name for codes that it does not know, INVALID_RECORD among them
)
"""Answers that mean: not this message. Every other failure says nothing about it."""

_DOUBTS = 3
"""Refusals of unknown cause before a message is reduced: a broker may just be unwell."""

_AT_ONCE = 500
"""Messages handed to the producer before the event loop gets its turn: about 5 ms."""


_DISCARD_SECONDS = 1.0


class Message(NamedTuple):
    """What stands in the topic. `timestamp_ms` None: when it is handed to the producer."""

    value: bytes
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp_ms: int | None = None


Reduce = Callable[[int], Message | None]
"""The n-th smaller form of a message that was refused; None: there is no smaller one."""


@dataclass(frozen=True)
class Pace:
    """Back-off doubles from the first delay to the longest; `delayed_after_seconds` without an
    acknowledgement is worth a signal; sizes are Kafka's, in bytes."""

    first_delay_seconds: float = 0.1
    longest_delay_seconds: float = 10.0
    delayed_after_seconds: float = 10.0
    batch_bytes: int = 262_144
    message_bytes: int = 1_048_000

    def delay_seconds(self, failures: int) -> float:
        doubled = self.first_delay_seconds * 2.0 ** min(failures, 30)
        return min(self.longest_delay_seconds, doubled)


@dataclass(slots=True, eq=False)
class _Entry:
    message: Message
    when_durable: Callable[[], None]
    reduce: Reduce | None
    number: int
    since: float
    reductions: int = 0
    refusals: int = 0
    not_before: float = 0.0


class TopicWriter:
    """Every message is durable once it is told so, and told so exactly once, in the event loop,
    never from within `write`. Tries for ever, whatever brokers and topic do.

    Messages of one key keep their order, except across a failed producer. `log` names the topic
    in signals. `batch_bytes` shrinks by itself where the topic allows less.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        log: str,
        signals: SignalSink,
        pace: Pace | None = None,
    ) -> None:
        self.trouble: str | None = "not connected yet"
        """Why nothing can be written now; None: all is well."""
        self._connection = connection
        self._topic = topic
        self._log = log
        self._signals = signals
        self._pace = pace or Pace()
        self._batch_bytes = self._pace.batch_bytes
        self._waiting: deque[_Entry] = deque()
        self._suspects: deque[_Entry] = deque()
        self._changed = asyncio.Event()
        self._pending = 0
        self._numbers = 0
        self._failures = 0
        self._run: _Run | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._clock = asyncio.get_running_loop().time

    def start(self) -> None:
        """Begins to write. Missing brokers or a missing topic are no error: messages wait."""
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._watch())]

    async def stop(self, timeout_seconds: float) -> None:
        """Writes what is pending, for as long as the time-out allows, then closes the producer.
        What is not durable by then is never told. Raises nothing."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._pending and self._tasks:  # noqa: ASYNC110 (rare, and not worth an event)
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pass
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def write(
        self, message: Message, when_durable: Callable[[], None], reduce: Reduce | None = None
    ) -> None:
        self._numbers += 1
        self._pending += 1
        entry = _Entry(message, when_durable, reduce, self._numbers, self._clock())
        self._waiting.append(entry)
        self._changed.set()

    def pending(self) -> int:
        """Messages handed over and not yet durable."""
        return self._pending

    # -- one producer after the other ------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            try:
                await self._write_with_one_producer()
            except TROUBLE as error:
                self.trouble = _text(error)
                self._signals.emit(WriteDelayed(self._log, self.trouble))
                await asyncio.sleep(self._pace.delay_seconds(self._failures))
                self._failures += 1

    async def _write_with_one_producer(self) -> None:
        producer = await self._started_producer()
        self.trouble = None
        run = self._run = _Run(producer, self._topic, self._durable, self._changed)
        try:
            while run.error is None:
                await self._wait_for_work()
                await self._send_waiting(run)
                await self._send_suspect(run)
            await run.wait_acknowledged(self._connection.request_timeout_seconds)
        finally:
            self._give_back(run)
            await _discard(producer)
        if not isinstance(run.error, REFUSALS):
            raise run.error

    async def _started_producer(self) -> AIOKafkaProducer:
        if self._topic not in await topics_present(self._connection, [self._topic]):
            raise KafkaError(f"topic {self._topic} does not exist")
        producer = AIOKafkaProducer(
            **self._connection.options(),
            acks="all",
            enable_idempotence=True,
            max_batch_size=self._batch_bytes,
            max_request_size=self._pace.message_bytes,
        )
        await started(producer, 2 * self._connection.request_timeout_seconds)
        return producer

    async def _wait_for_work(self) -> None:
        """Something was written, has failed, or a suspect's time has come."""
        wake: asyncio.TimerHandle | None = None
        if self._suspects:
            due = min(entry.not_before for entry in self._suspects)
            wake = asyncio.get_running_loop().call_at(due, self._changed.set)
        await self._changed.wait()
        self._changed.clear()
        if wake is not None:
            wake.cancel()

    # -- sending -----------------------------------------------------------------------------------

    async def _send_waiting(self, run: _Run) -> None:
        since_pause = 0
        while self._waiting and run.error is None:
            entry = self._waiting[0]
            if await self._is_sent(run, entry):
                self._waiting.popleft()
            since_pause += 1
            if since_pause == _AT_ONCE:
                since_pause = 0
                await asyncio.sleep(0)

    async def _send_suspect(self, run: _Run) -> None:
        """Alone, so that a refusal can mean nothing else than this message."""
        now = self._clock()
        entry = next((e for e in self._suspects if e.not_before <= now), None)
        if entry is None or run.error is not None:
            return
        await run.wait_acknowledged(None)
        if run.error is None and await self._is_sent(run, entry):
            self._suspects.remove(entry)
            run.alone = entry
            await run.wait_acknowledged(None)
            run.alone = None if run.error is None else entry
        self._changed.set()  # there may be more of them

    async def _is_sent(self, run: _Run, entry: _Entry) -> bool:
        """Handed to the producer; if not, the entry stays where it was, or is smaller now."""
        try:
            await run.send(entry)
            return True
        except KafkaTimeoutError as error:  # its batch is full: brokers do not answer
            self._signals.emit(WriteDelayed(self._log, _text(error)))
        except Exception as error:
            if run.error is None:  # else it waited for a batch that failed: no news of this entry
                self._not_sent(run, entry, error)
        return False

    def _not_sent(self, run: _Run, entry: _Entry, error: Exception) -> None:
        if isinstance(error, TROUBLE) and not isinstance(error, REFUSALS):
            run.fail(error)
            return
        if not isinstance(error, KafkaError):  # the client cannot encode this one: a fault of ours
            self._signals.emit(UnexpectedError(f"writing to {self._log}", type(error).__name__))
        self._refused(entry, error)

    # -- what became of it -------------------------------------------------------------------------

    def _durable(self, entry: _Entry) -> None:
        self._pending -= 1
        self._failures = 0
        self.trouble = None
        entry.when_durable()

    def _give_back(self, run: _Run) -> None:
        """What the producer did not get acknowledged waits again, in its old order."""
        is_refusal = isinstance(run.error, REFUSALS)
        if isinstance(run.error, MessageSizeTooLargeError) and run.alone is None:
            self._batch_bytes = max(1024, self._batch_bytes // 2)
        refused = run.refused if is_refusal else set()
        for entry in sorted(run.take_back(), key=_number, reverse=True):
            if entry is run.alone and is_refusal and run.error is not None:
                self._suspects.append(entry)
                self._refused(entry, run.error)
            elif entry in refused:
                self._suspects.appendleft(entry)
            else:
                self._waiting.appendleft(entry)
        self._changed.set()

    def _refused(self, entry: _Entry, error: Exception) -> None:
        """The message itself was refused: a smaller one, or the same again later and later."""
        is_certain = not isinstance(error, UnknownError) or entry.refusals >= _DOUBTS
        if is_certain and entry.reduce and (smaller := entry.reduce(entry.reductions + 1)):
            entry.message = smaller
            entry.reductions += 1
            return
        self._signals.emit(WriteDelayed(self._log, f"refused: {_text(error)}"))
        entry.not_before = self._clock() + self._pace.delay_seconds(entry.refusals)
        entry.refusals += 1
        if self._waiting and entry is self._waiting[0]:
            self._suspects.append(self._waiting.popleft())

    async def _watch(self) -> None:
        """The producer repeats in silence; an operator should hear of it."""
        while True:
            await asyncio.sleep(self._pace.delayed_after_seconds)
            run = self._run
            oldest = next(iter(run.unacknowledged.values()), None) if run else None
            if oldest and self._clock() - oldest.since > self._pace.delayed_after_seconds:
                self.trouble = f"no acknowledgement for {self._clock() - oldest.since:.0f} s"
                self._signals.emit(WriteDelayed(self._log, self.trouble))


class _Run:
    """What one producer has been given and has not got acknowledged. Ends with the first error.

    New producer, new run: an answer that comes after `take_back` moves nothing.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        durable: Callable[[_Entry], None],
        changed: asyncio.Event,
    ) -> None:
        self.error: Exception | None = None
        self.unacknowledged: dict[asyncio.Future[object], _Entry] = {}
        self.refused: set[_Entry] = set()
        self.alone: _Entry | None = None
        """The entry that was sent with no other on its way."""
        self._send = producer.send
        self._topic = topic
        self._durable = durable
        self._changed = changed

    async def send(self, entry: _Entry) -> None:
        message = entry.message
        future = await self._send(
            self._topic,
            message.value,
            message.key,
            timestamp_ms=message.timestamp_ms,
            headers=message.headers,
        )
        self.unacknowledged[future] = entry
        future.add_done_callback(self._answered)

    def fail(self, error: Exception) -> None:
        self.error = self.error or error
        self._changed.set()

    def _answered(self, future: asyncio.Future[object]) -> None:
        error = future.exception()
        if error is not None:
            if (entry := self.unacknowledged.get(future)) is not None:
                if isinstance(error, REFUSALS):
                    self.refused.add(entry)
                self.fail(error if isinstance(error, KafkaError) else KafkaError(_text(error)))
        elif (entry := self.unacknowledged.pop(future, None)) is not None:
            self._durable(entry)

    async def wait_acknowledged(self, timeout_seconds: float | None) -> None:
        """Until nothing is on its way any more, or the time-out, or (without one) an error."""
        on_their_way = {future for future in self.unacknowledged if not future.done()}
        when = asyncio.FIRST_EXCEPTION if timeout_seconds is None else asyncio.ALL_COMPLETED
        if on_their_way:
            await asyncio.wait(on_their_way, timeout=timeout_seconds, return_when=when)
        await asyncio.sleep(0)  # the callbacks of the last ones have their turn

    def take_back(self) -> list[_Entry]:
        """Every entry without an acknowledgement; none of them is heard of again from here."""
        entries = list(self.unacknowledged.values())
        self.unacknowledged.clear()
        return entries


async def _discard(producer: AIOKafkaProducer) -> None:
    """Ends a producer without its flush, which would never return while brokers are gone, and
    would write again what another producer now writes."""
    if (sender := producer._sender.sender_task) is not None:
        sender.cancel()
    with suppress(*TROUBLE):
        async with asyncio.timeout(_DISCARD_SECONDS):
            await producer.client.close()
    producer._message_accumulator.fail_all(ProducerClosed())
    await stopped(producer, _DISCARD_SECONDS)


def _number(entry: _Entry) -> int:
    return entry.number


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
