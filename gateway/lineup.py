"""Who is attempted next at one target: ready heads of lanes, halts, canaries."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gateway.core.deferred import Deferred
from gateway.core.model import JobResult, Operation, Record
from gateway.core.room import BREAKER, Halt, Room
from gateway.core.signals import TargetHalted, TargetResumed
from gateway.core.steps import UNPROVEN, Tries
from gateway.core.watermark import Ticket
from gateway.ports import SignalSink


@dataclass(slots=True)
class Delivery:
    """One job result on its way to one target."""

    result: JobResult
    record: Record
    ticket: Ticket
    size_bytes: int
    target: str
    deadline: float
    """Past it no further attempt is made; the first one always is."""
    may_be_tried_before: bool
    """An earlier owner of the partition may have called for this record."""
    deferred: Deferred
    """What its partition has left in Kafka."""
    tries: Tries = field(default_factory=Tries)
    target_accepted_before: int = 0

    @property
    def lane(self) -> tuple[str, str]:
        return (self.target, self.result.job_id)


_Queues = dict[Operation, deque[tuple[int, Delivery]]]


class Lineup:
    """Heads of lanes that wait for room at one target, oldest first among those that may go.

    Those that were tried before go first, since the oldest results hold the watermark, but by
    turns with those that were not: what is throttled for ever keeps nobody else from being tried.

    Of a halted operation nobody goes but one canary at a time, when its time has come; another
    delivery each time, because those that come back go to the end. The room is shared with the
    lineups of earlier assignments, whose last calls still occupy it.
    """

    def __init__(self, target: str, room: Room, signals: SignalSink) -> None:
        self.target = target
        self.room = room
        self._signals = signals
        self.waiting = 0
        """Deliveries in lanes of this target."""
        self._arrivals = 0
        self._ready: _Queues = {operation: deque() for operation in Operation}
        self._again: _Queues = {operation: deque() for operation in Operation}
        """Those that were tried before."""
        self._waiting_again = 0
        self._is_turn_of_ready = False

    def __len__(self) -> int:
        return self._waiting_again + sum(map(len, self._ready.values()))

    def held(self) -> int:
        """Heads whose operation is halted."""
        return sum(map(self.held_of, self.room.halts()))

    def held_of(self, operation: Operation) -> int:
        """Heads of this operation that wait here: while it is halted, its future canaries."""
        return len(self._ready[operation]) + len(self._again[operation])

    def take_surplus(self, operation: Operation, keep: int) -> list[Delivery]:
        """Heads of this operation beyond the first `keep`; they stand here no more."""
        surplus: list[Delivery] = []
        for _ in range(self.held_of(operation) - keep):
            queue = self._ready[operation]
            if not queue:
                queue = self._again[operation]
                self._waiting_again -= 1
            surplus.append(queue.pop()[1])
        return surplus[::-1]

    def append(self, delivery: Delivery, *, is_again: bool = False) -> None:
        """Stands behind all others; or behind those that were tried before, as it was."""
        self._arrivals += 1
        if is_again:
            self._waiting_again += 1
        queues = self._again if is_again else self._ready
        queues[delivery.result.operation].append((self._arrivals, delivery))

    def take(self, now: float) -> Delivery | None:
        """The next delivery to attempt, which holds a place in the room from here on, or None."""
        if not self.room.has_place() and not self.room.reopen(now):
            if self.room.opens_at is not None and len(self) > self.held():
                self.room.hold_back()
            return None
        delivery = self._next(now)
        if delivery is None:
            return None
        if self.room.halted(delivery.result.operation):
            self.room.begin_probe(delivery.result.operation)
        self.room.enter(now)
        return delivery

    def _next(self, now: float) -> Delivery | None:
        if not self._waiting_again:
            return self._oldest(self._ready, now)
        if self._is_turn_of_ready:
            self._is_turn_of_ready = False
            delivery = self._oldest(self._ready, now)
            if delivery is not None:
                return delivery
        delivery = self._oldest(self._again, now)
        if delivery is None:
            return self._oldest(self._ready, now)
        self._waiting_again -= 1
        self._is_turn_of_ready = True
        return delivery

    def _oldest(self, queues: _Queues, now: float) -> Delivery | None:
        oldest: deque[tuple[int, Delivery]] | None = None
        for operation, queue in queues.items():
            is_older = queue and (oldest is None or queue[0][0] < oldest[0][0])
            if is_older and self._may_go(operation, now):
                oldest = queue
        return None if oldest is None else oldest.popleft()[1]

    def was_not_called(self, delivery: Delivery) -> None:
        """It was taken and will not be attempted. If it was the canary, another may go."""
        halt = self.room.halted(delivery.result.operation)
        if halt is not None:
            halt.is_probing = False

    def hold(self, delivery: Delivery, why: str, code: str, began: float, now: float) -> None:
        """The account is in trouble: halt the operation, or keep it halted."""
        operation = delivery.result.operation
        if self.room.halt(operation, why, code, now):
            self._signals.emit(TargetHalted(self.target, operation, why, code))
        else:
            self.probe_was_inconclusive(delivery, began, now)

    def answered_well(
        self, delivery: Delivery, began: float, now: float, *, is_proven: bool, is_accepted: bool
    ) -> bool:
        """An answer that a healthy account gives: the halt is over, if the call was begun since.
        A halt for want of proof ends with the first proof, whatever operation brings it; one for
        too many refusals with a few acceptances in a row. True if a halt has ended."""
        if not self.room.is_halted():
            return False
        has_resumed = False
        for operation, halt in self.room.halts().items():
            is_ours = operation is delivery.result.operation and began >= halt.since
            if halt.why == UNPROVEN:
                is_over = is_proven
            elif halt.why == BREAKER:
                is_over = is_ours and is_accepted and self.room.probe_accepted(operation, now)
            else:
                is_over = is_ours
            if is_over:
                self.room.resume(operation)
                self._signals.emit(TargetResumed(self.target, operation, now - halt.since))
                has_resumed = True
        return has_resumed

    def refused(self, delivery: Delivery, code: str, now: float) -> None:
        """CodePipeline has refused the event itself. Too many of those halt the operation."""
        operation = delivery.result.operation
        is_too_many = self.room.note_answer(operation, is_refused=True)
        if is_too_many and self.room.halt(operation, BREAKER, code, now):
            self._signals.emit(TargetHalted(self.target, operation, BREAKER, code))

    def probe_was_inconclusive(self, delivery: Delivery, began: float, now: float) -> None:
        """If this was the canary: the next one goes later."""
        halt = self.room.halted(delivery.result.operation)
        if halt is not None and halt.is_probing and began >= halt.since:
            self.room.probe_failed(delivery.result.operation, now)

    def next_turn(self) -> float | None:
        """When time alone lets somebody go: the room opens, or the next canary may leave. None if
        nobody waits for either."""
        if self.room.opens_at is not None:
            return self.room.opens_at if len(self) else None
        if not self.room.is_halted():
            return None
        times = [
            halt.next_probe
            for operation, halt in self.room.halts().items()
            if self.held_of(operation) and not halt.is_probing
        ]
        return min(times, default=None)

    def _may_go(self, operation: Operation, now: float) -> bool:
        halt: Halt | None = self.room.halted(operation)
        return halt is None or (not halt.is_probing and halt.next_probe <= now)
