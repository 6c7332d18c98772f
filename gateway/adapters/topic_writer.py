"""Messages into one topic: each durable in the end, each told once, none in the way of others.

    write ─► waiting ─► on their way ─► durable: told, forgotten
                ▲            │
                └── back ────┤ the producer has failed: a new one takes over (producer_run.py)
                             └─► suspects: refused in company; sent alone, then reduced

Each topic has a producer of its own, so that a dead letter that Kafka refuses cannot hold up an
outcome.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    UnknownError,
)

from gateway.adapters.kafka_client import TROUBLE, KafkaConnection, started, topics_present
from gateway.adapters.producer_run import (
    REFUSALS,
    CannotEncode,
    Entry,
    Message,
    Reduce,
    Run,
)
from gateway.core.signals import UnexpectedError, WriteDelayed
from gateway.ports import SignalSink

_DOUBTS = 3
"""Refusals of unknown cause before a message is reduced: a broker may just be unwell."""

_AT_ONCE = 1000
"""Messages packed before the event loop gets its turn: about 3 ms."""

_SMALLEST_BATCH_BYTES = 1024


class TopicMissing(OSError):
    """The topic is not in the list of all topics. We never create it."""


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


class TopicWriter:
    """Every message is durable once it is told so, and told so exactly once, in the event loop,
    never from within `write`. Tries for ever, whatever brokers and topic do.

    Messages of one key share a partition (CRC-32 of the key) and keep their order, except across
    a failed producer. Partitions added to the topic are used by the next producer. `batch_bytes`
    shrinks by itself where the topic allows less. `log` names the topic in signals.
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
        self._waiting: deque[Entry] = deque()
        self._suspects: deque[Entry] = deque()
        self._changed = asyncio.Event()
        self._pending = 0
        self._numbers = 0
        self._failures = 0
        self._run: Run | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._clock = asyncio.get_running_loop().time

    def start(self) -> None:
        """Begins to write. Missing brokers or a missing topic are no error: messages wait."""
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._watch())]

    async def stop(self, timeout_seconds: float) -> None:
        """Writes what is pending for as long as the time-out allows, then closes the producer.
        What is not durable by then is never told. Raises nothing."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._pending and self._tasks:  # noqa: ASYNC110 (rare: not worth an event)
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
        self._waiting.append(Entry(message, when_durable, reduce, self._numbers, self._clock()))
        self._changed.set()

    def pending(self) -> int:
        """Messages handed over and not yet durable."""
        return self._pending

    # -- one producer after the other --------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            try:
                await self._write_with_one_producer()
            except TROUBLE as error:
                self.trouble = _text(error)
                self._signals.emit(WriteDelayed(self._log, self.trouble))
            except Exception as error:
                # A fault of ours, or of the client: no reason to stop writing for ever.
                self.trouble = f"unexpected {type(error).__name__}"
                self._signals.emit(UnexpectedError(f"writing to {self._log}", self.trouble))
            else:
                continue  # a refusal: the next producer can write at once
            await asyncio.sleep(self._pace.delay_seconds(self._failures))
            self._failures += 1

    async def _write_with_one_producer(self) -> None:
        run = self._run = await self._new_run()
        self.trouble = None
        try:
            while run.error is None:
                await self._wait_for_work()
                await self._send_waiting(run)
                await self._send_suspect(run)
            await run.wait_acknowledged(self._connection.request_timeout_seconds)
        finally:
            self._take_back(run)
            await run.discard()
        if not isinstance(run.error, REFUSALS):
            raise run.error

    async def _new_run(self) -> Run:
        if self._topic not in await topics_present(self._connection, [self._topic]):
            raise TopicMissing(f"topic {self._topic} does not exist")
        producer = AIOKafkaProducer(
            **self._connection.options(),
            acks="all",
            enable_idempotence=True,
            max_batch_size=self._batch_bytes,
            max_request_size=self._pace.message_bytes,
        )
        await started(producer, 2 * self._connection.request_timeout_seconds)
        partitions = len(await producer.partitions_for(self._topic))
        return Run(
            producer,
            self._topic,
            partitions,
            self._pace.message_bytes,
            self._durable,
            self._changed,
        )

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

    async def _send_waiting(self, run: Run) -> None:
        while self._waiting and run.error is None:
            await self._send_some(run, self._waiting)
            await asyncio.sleep(0)

    async def _send_suspect(self, run: Run) -> None:
        """Alone, so that a refusal can mean nothing else than this message."""
        now = self._clock()
        entry = next((e for e in self._suspects if e.not_before <= now), None)
        if entry is None or run.error is not None:
            return
        self._changed.set()  # there may be more of them
        await run.wait_acknowledged(None)
        if run.error is not None:
            return
        self._suspects.remove(entry)
        alone = deque([entry])
        run.alone = entry
        await self._send_some(run, alone)
        self._suspects.extend(alone)
        await run.wait_acknowledged(None)
        if run.error is None:
            run.alone = None

    async def _send_some(self, run: Run, entries: deque[Entry]) -> None:
        try:
            try:
                run.take(entries, _AT_ONCE)
            finally:
                await run.send()
        except CannotEncode as error:
            self._not_encoded(entries.popleft(), error.cause)
            entries.extendleft(reversed(error.company))
        except KafkaTimeoutError as error:  # earlier batches are stuck: brokers do not answer
            entries.extendleft(reversed(run.empty_hand()))
            self._signals.emit(WriteDelayed(self._log, _text(error)))
        except TROUBLE as error:
            run.fail(error)

    # -- what became of it -------------------------------------------------------------------------

    def _durable(self, entries: list[Entry]) -> None:
        self._pending -= len(entries)
        self._failures = 0
        self.trouble = None
        for entry in entries:
            self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        try:
            entry.when_durable()
        except Exception as error:
            # The others of its batch are durable too, and must be told.
            name = type(error).__name__
            self._signals.emit(UnexpectedError(f"after a write to {self._log}", name))

    def _not_encoded(self, entry: Entry, error: Exception) -> None:
        if not isinstance(error, KafkaError):
            name = type(error).__name__
            self._signals.emit(UnexpectedError(f"writing to {self._log}", name))
        self._suspects.append(entry)
        self._refused(entry, error)

    def _take_back(self, run: Run) -> None:
        """What the producer did not get acknowledged waits again, in its old order."""
        is_refusal = isinstance(run.error, REFUSALS)
        if isinstance(run.error, MessageSizeTooLargeError) and run.alone is None:
            self._batch_bytes = max(_SMALLEST_BATCH_BYTES, self._batch_bytes // 2)
        for entry in reversed(run.take_back()):
            if entry not in run.refused:
                self._waiting.appendleft(entry)
                continue
            self._suspects.appendleft(entry)
            if entry is run.alone and is_refusal and run.error is not None:
                self._refused(entry, run.error)
        self._changed.set()

    def _refused(self, suspect: Entry, error: Exception) -> None:
        """The message itself was refused: a smaller one, or the same again later and later."""
        is_certain = not isinstance(error, UnknownError) or suspect.refusals >= _DOUBTS
        if is_certain and suspect.reduce:
            suspect.reductions += 1
            if (smaller := suspect.reduce(suspect.reductions)) is not None:
                suspect.message = smaller
                return
        self._signals.emit(WriteDelayed(self._log, f"refused: {_text(error)}"))
        suspect.not_before = self._clock() + self._pace.delay_seconds(suspect.refusals)
        suspect.refusals += 1

    async def _watch(self) -> None:
        """The producer repeats in silence; an operator should hear of it."""
        while True:
            await asyncio.sleep(self._pace.delayed_after_seconds)
            oldest = self._run.oldest() if self._run else None
            if oldest and self._clock() - oldest.since > self._pace.delayed_after_seconds:
                self.trouble = f"no acknowledgement for {self._clock() - oldest.since:.0f} s"
                self._signals.emit(WriteDelayed(self._log, self.trouble))


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
