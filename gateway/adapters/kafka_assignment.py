"""From "these partitions are yours" to "they are gone", as the listener hears of it."""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import Callable, Collection

from aiokafka import AIOKafkaConsumer, TopicPartition

from gateway.adapters.kafka_client import KafkaConnection
from gateway.adapters.kafka_positions import Group, committed, look_up
from gateway.adapters.kafka_reading import Reading, explained
from gateway.core.signals import ReadFailed, UnexpectedError
from gateway.ports import Assigned, AssignmentListener, SignalSink

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.5, 15.0


class Assignments:
    """The listener hears `assigned` and `revoked` in turns, one call at a time; records may be
    returned only while `is_open`, which is after the one has returned and before the other begins.

        begin ──► looking up ──► held, listener told ──► open
                      │                │                  │
        end ◄─────────┴────────────────┴── revoked ◄──────┘
    """

    def __init__(
        self,
        connection: KafkaConnection,
        group: Group,
        *,
        listener: AssignmentListener,
        signals: SignalSink,
        changed: Callable[[], None],
        look_up_timeout_seconds: float,
    ) -> None:
        self.held: Reading | None = None
        """From before the listener is told of an assignment until it has seen it revoked."""
        self.is_open = False
        self.refused: dict[TopicPartition, int] = {}
        """Offsets that the broker has called out of range since the last look-up."""
        self.trouble: str | None = None
        """Why it is not known where to begin."""
        self._connection = connection
        self._group = group
        self._listener = listener
        self._signals = signals
        self._changed = changed
        self._look_up_timeout_seconds = look_up_timeout_seconds
        self._opening: Task[None] | None = None
        self._turn = asyncio.Lock()

    @property
    def is_under_way(self) -> bool:
        """Whether something other than the group is being waited for."""
        return self._turn.locked() or (self._opening is not None and not self._opening.done())

    def begin(self, consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]) -> None:
        """These are ours. What follows waits for brokers and may take long, while aiokafka sends
        no heartbeat until its callback has returned: so it is a task of its own."""
        consumer.pause(*partitions)
        self._opening = asyncio.create_task(self._open(consumer, partitions))

    async def end(self) -> None:
        """Nothing is open from the first moment on; the listener has seen all revoked at the end.

        Does nothing if nothing is held. May be called by several at a time.
        """
        self.shut()
        async with self._turn:
            opening, self._opening = self._opening, None
            if opening is not None:
                if self.held is None:
                    opening.cancel()
                await asyncio.wait({opening})
            if self.held is not None:
                await self._tell_revoked()
                self.held = None

    def shut(self) -> None:
        """Nothing may be returned any more."""
        self.is_open = False
        if self.held is not None:
            self.held.is_over = True
        self._changed()

    def abandon(self) -> None:
        """As `end`, without a word to the listener and without waiting."""
        self.shut()
        self.held = None
        if self._opening is not None:
            self._opening.cancel()

    async def _open(
        self, consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]
    ) -> None:
        found = await self._look_up(consumer, partitions) if partitions else []
        self.held = reading = Reading(consumer, found, self._signals)
        try:
            await self._listener.partitions_assigned(found)
        except Exception as error:  # nothing may be read that nobody answers for
            self._signals.emit(UnexpectedError("partitions assigned", explained(error)))
            return
        if not reading.is_over:
            self.is_open = True
            self._changed()

    async def _look_up(
        self, consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]
    ) -> list[Assigned]:
        """Tries until it knows: reading from a guessed position is worse than not reading."""
        delay = FIRST_DELAY_SECONDS
        while True:
            try:
                async with asyncio.timeout(self._look_up_timeout_seconds):
                    points = await committed(self._connection, self._group.group_id, partitions)
                    found = await look_up(consumer, points, self._group, partitions, self.refused)
            except Exception as error:  # whatever it is, no position is known
                self.trouble = f"where to begin is unknown: {explained(error)}"
                self._signals.emit(ReadFailed(self.trouble, delay))
                await asyncio.sleep(delay)
                delay = min(2 * delay, LONGEST_DELAY_SECONDS)
            else:
                self.refused.clear()
                self.trouble = None
                return found

    async def _tell_revoked(self) -> None:
        try:
            await self._listener.partitions_revoked()
        except Exception as error:  # the partitions go, whatever the listener meets
            self._signals.emit(UnexpectedError("partitions revoked", explained(error)))
