"""May this (target, operation) be called now? Limit, halt, canary, next probe."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from gateway.core.model import Operation

BREAKER = "breaker"
"""Why an operation halts of which CodePipeline refuses most events: rather than draining a fleet
into the dead-letter topic, wait for an operator."""
BREAKER_WINDOW = 50
BREAKER_LIFTED_BY = 3
ON_PURPOSE = "hold"
"""Why a target halts that an operator has stopped in the settings."""


@dataclass(frozen=True, slots=True)
class RoomBounds:
    """How many calls of one target may be under way at once, in one process."""

    initial: int = 20
    minimum: int = 1
    maximum: int = 100


@dataclass(frozen=True, slots=True)
class ProbeDelays:
    """A halted (target, operation) is probed after `first_seconds`, then ever more rarely."""

    first_seconds: float = 1.0
    cap_seconds: float = 30.0


@dataclass(slots=True)
class Halt:
    """A (target, operation) is not called because the account is in trouble."""

    why: str
    code: str
    since: float
    next_probe: float
    failed_probes: int = 0
    is_probing: bool = False
    acceptances: int = 0
    """In a row, by canaries: what lifts the breaker."""


class Room:
    """The right to call one target now. Never more than `limit` calls hold it, and a halted
    operation is called by one canary at a time.

    The limit learns: it doubles a round trip until the first pressure, then grows by one a round
    trip, and is halved by pressure, once for all calls that were under way together. It grows
    only when it was the limit that held calls back.
    """

    def __init__(
        self, bounds: RoomBounds, probes: ProbeDelays, give_up_seconds: float = math.inf
    ) -> None:
        self._bounds = bounds
        self._probes = probes
        self._give_up_seconds = give_up_seconds
        self._halts: dict[Operation, Halt] = {}
        self._recent: dict[Operation, deque[bool]] = {}
        self._slow_start_until = float(bounds.maximum)
        self._shrunk_at = float("-inf")
        self.limit = float(bounds.initial)
        self.in_flight = 0
        self.accepted = 0

    def has_place(self) -> bool:
        return self.in_flight < int(self.limit)

    def enter(self) -> None:
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1

    def accept(self) -> None:
        """A call was accepted."""
        self.accepted += 1
        self.grow()

    def grow(self) -> None:
        """A call was answered by a service that is well, whatever it said. To be called while the
        call still holds its place."""
        if self.in_flight < int(self.limit):
            return
        step = 1.0 if self.limit < self._slow_start_until else 1.0 / self.limit
        self.limit = min(float(self._bounds.maximum), self.limit + step)

    def shrink(self, began: float, now: float) -> None:
        """A call that began at `began` met pressure."""
        if began <= self._shrunk_at:
            return
        self._shrunk_at = now
        self.limit = max(float(self._bounds.minimum), self.limit / 2)
        self._slow_start_until = self.limit

    def halt(self, operation: Operation, why: str, code: str, now: float) -> bool:
        """Stop calling this operation. True if it was not halted before; otherwise the newest
        reason stands and the halt goes on."""
        known = self._halts.get(operation)
        if known is not None:
            known.why, known.code = why, code
            return False
        next_probe = now + self._probes.first_seconds
        self._halts[operation] = Halt(why, code, now, next_probe)
        return True

    def hold(self, now: float) -> None:
        """An operator has stopped this target: no call at all, no canary either."""
        for operation in Operation:
            self._halts[operation] = Halt(ON_PURPOSE, "", now, math.inf)

    def is_given_up(self, operation: Operation, now: float) -> bool:
        """The operator has said how long a halt is worth waiting for, and it has lasted longer."""
        halt = self._halts.get(operation)
        return halt is not None and now - halt.since >= self._give_up_seconds

    def note_answer(self, operation: Operation, *, is_refused: bool) -> bool:
        """CodePipeline has judged an event. True if it refuses too many of them: more than half
        of the last BREAKER_WINDOW."""
        recent = self._recent.get(operation)
        if recent is None:
            recent = self._recent[operation] = deque(maxlen=BREAKER_WINDOW)
        recent.append(is_refused)
        return is_refused and sum(recent) > BREAKER_WINDOW // 2

    def halted(self, operation: Operation) -> Halt | None:
        return self._halts.get(operation)

    def is_halted(self) -> bool:
        """Whether any operation is."""
        return bool(self._halts)

    def halts(self) -> dict[Operation, Halt]:
        return dict(self._halts)

    def begin_probe(self, operation: Operation) -> None:
        """The canary leaves."""
        self._halts[operation].is_probing = True

    def probe_accepted(self, operation: Operation, now: float) -> bool:
        """A canary was accepted while the breaker holds: the next may go at once. True when there
        were enough of them in a row."""
        halt = self._halts[operation]
        halt.is_probing = False
        halt.acceptances += 1
        halt.next_probe = now
        return halt.acceptances >= BREAKER_LIFTED_BY

    def probe_failed(self, operation: Operation, now: float) -> None:
        """The canary came back without good news: the next one waits longer."""
        halt = self._halts.get(operation)
        if halt is None:
            return
        halt.is_probing = False
        halt.acceptances = 0
        halt.failed_probes += 1
        delay = self._probes.first_seconds * 2.0 ** min(halt.failed_probes, 16)
        halt.next_probe = now + min(self._probes.cap_seconds, delay)

    def resume(self, operation: Operation) -> Halt | None:
        """The trouble is over. Returns the halt that ended, if there was one."""
        self._recent.pop(operation, None)
        return self._halts.pop(operation, None)
