"""How a record comes to rest: durable first, settled second."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from gateway.core.backpressure import Backpressure
from gateway.core.endings import Endings
from gateway.core.model import (
    Certainty,
    DeadLetter,
    Failure,
    Outcome,
    OutcomeKind,
    Reason,
)
from gateway.core.signals import (
    DeliveryConflicted,
    DeliveryDeadLettered,
    DeliveryEnded,
    UnexpectedError,
)
from gateway.core.steps import End
from gateway.core.watermark import Ticket
from gateway.lineup import Delivery
from gateway.ports import DeadLetterLog, OutcomeLog, SignalSink, WallClock

TOGETHER_SECONDS: Final = 0.01
"""Deliveries that end within this time are reported and published together: between two calls the
same work takes twice as long, because nothing of it is in the processor's caches any more."""


class _Ended(NamedTuple):
    """A delivery that has ended, and what is to be said of it."""

    delivery: Delivery
    end: End
    code: str
    time: float


class Settlement:
    """No ticket settles before its outcome and, if there is one, its dead letter are durable.

        dead letter ─► acknowledged ─► outcome ─► acknowledged ─► ticket settles ─► budget freed

    If a write waits, its record stays unsettled: visible, never lost.
    """

    def __init__(
        self,
        outcomes: OutcomeLog,
        dead_letters: DeadLetterLog,
        backpressure: Backpressure,
        endings: Endings,
        signals: SignalSink,
        wall: WallClock,
    ) -> None:
        self._outcomes = outcomes
        self._dead_letters = dead_letters
        self._backpressure = backpressure
        self._endings = endings
        self._signals = signals
        self._wall = wall
        self.ended = dict.fromkeys(OutcomeKind, 0)
        """How many records have ended, by outcome, since the process began."""
        self._ends: deque[_Ended] = deque()
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def open(self) -> int:
        """Records that have ended and whose end is not durable yet."""
        return self._open

    def pending_writes(self) -> dict[str, int]:
        """Entries that the broker has not acknowledged yet, by log."""
        return {
            "outcomes": self._outcomes.pending(),
            "dead-letters": self._dead_letters.pending(),
        }

    def begin(self, size_bytes: int) -> None:
        """A record of this size occupies memory from now on."""
        self._backpressure.take(size_bytes)

    def forget(self, size_bytes: int) -> None:
        """A record that is not settled leaves memory; it will be read again."""
        self._backpressure.give_back(size_bytes)

    def skip(self, ticket: Ticket, size_bytes: int) -> None:
        """A record that asks nothing of us needs neither outcome nor dead letter."""
        self.ended[OutcomeKind.SKIPPED] += 1
        self.settle(ticket, size_bytes)

    def settle(self, ticket: Ticket, size_bytes: int) -> None:
        """Nothing of this record is left to be made durable."""
        ticket.settle()
        self._backpressure.give_back(size_bytes)

    def end(self, delivery: Delivery, end: End, failure: Failure | None) -> None:
        """A delivery has ended: say how, soon, and settle it when that is durable."""
        self._opened()
        if not self._ends:
            asyncio.get_running_loop().call_later(TOGETHER_SECONDS, self._conclude_all)
        self._ends.append(_Ended(delivery, end, failure.code if failure else "", self._wall()))

    def dead_letter(
        self, letter: DeadLetter, outcome: Outcome, ticket: Ticket, size_bytes: int
    ) -> None:
        """The outcome is written after its dead letter is durable."""
        self._opened()
        self._bury(letter, outcome, ticket, size_bytes)

    async def wait_durable(self) -> None:
        """Returns when everything that has ended is durable and settled."""
        await self._idle.wait()

    def _conclude_all(self) -> None:
        """A fault of ours in one must not keep the others from being published."""
        while self._ends:
            try:
                self._conclude(self._ends.popleft())
            except Exception as error:
                name = type(error).__name__
                self._signals.emit(UnexpectedError("publishing an outcome", name))

    def _conclude(self, ended: _Ended) -> None:
        delivery = ended.delivery
        outcome = _outcome(delivery, ended.end, ended.time)
        self._report(delivery, outcome, ended.code)
        if ended.end.reason is None:
            self._publish(outcome, partial(self._delivery_durable, delivery, ended.end))
            return
        letter = _dead_letter(delivery, outcome, ended.end.reason, ended.code)
        self._bury(letter, outcome, delivery.ticket, delivery.size_bytes)

    def _bury(self, letter: DeadLetter, outcome: Outcome, ticket: Ticket, size_bytes: int) -> None:
        durable = partial(self._record_durable, ticket, size_bytes)
        self._dead_letters.append(letter, partial(self._publish, outcome, durable))

    def _publish(self, outcome: Outcome, durable: Callable[[], None]) -> None:
        self.ended[outcome.kind] += 1
        self._outcomes.append(outcome, durable)

    def _delivery_durable(self, delivery: Delivery, end: End) -> None:
        self._remember_source(delivery, end)
        self._record_durable(delivery.ticket, delivery.size_bytes)

    def _record_durable(self, ticket: Ticket, size_bytes: int) -> None:
        self.settle(ticket, size_bytes)
        self._closed()

    def _remember_source(self, delivery: Delivery, end: End) -> None:
        """Only now: a redelivery is settled in silence, so its outcome must be durable."""
        source = delivery.record.source
        if end.kind is OutcomeKind.ACCEPTED and end.certainty is Certainty.CONFIRMED:
            self._endings.learn_accepted(delivery.target, delivery.result, source)
        elif end.kind in (OutcomeKind.ACCEPTED, OutcomeKind.ALREADY_ENDED):
            self._endings.learn_ended(delivery.target, delivery.result.job_id, source)

    def _report(self, delivery: Delivery, outcome: Outcome, code: str) -> None:
        emit = self._signals.emit
        source, target, job_id = outcome.source, delivery.target, delivery.result.job_id
        written = delivery.record.timestamp
        seconds = max(0.0, outcome.time - written) if written > 0 else 0.0  # -1: no timestamp
        tries = outcome.attempts
        emit(DeliveryEnded(outcome.kind, outcome.certainty, target, source, job_id, tries, seconds))
        if outcome.kind is OutcomeKind.CONFLICT:
            emit(DeliveryConflicted(source, target, job_id))
        if outcome.reason is not None:
            emit(DeliveryDeadLettered(source, target, job_id, outcome.reason, code, tries))

    def _opened(self) -> None:
        if not self._open:
            self._idle.clear()
        self._open += 1

    def _closed(self) -> None:
        self._open -= 1
        if not self._open:
            self._idle.set()


def _outcome(delivery: Delivery, end: End, time: float) -> Outcome:
    result = delivery.result
    return Outcome(
        kind=end.kind,
        certainty=end.certainty,
        source=delivery.record.source,
        time=time,
        target=delivery.target,
        job_id=result.job_id,
        operation=result.operation,
        claim=result.claim,
        reason=end.reason,
        attempts=delivery.tries.attempts,
        digest=result.digest,
        traceparent=result.traceparent,
    )


def _dead_letter(delivery: Delivery, outcome: Outcome, reason: Reason, code: str) -> DeadLetter:
    return DeadLetter(
        record=delivery.record,
        reason=reason,
        explanation=f"{outcome.operation} was not accepted: {code}",
        time=outcome.time,
        stage="deliver",
        target=delivery.target,
        job_id=outcome.job_id,
        operation=outcome.operation,
        error_code=code or None,
        attempts=outcome.attempts,
        is_ambiguous=delivery.tries.was_last_unknown,
    )
