"""May this (target, operation) be called now? Limit, halt, canary, next probe."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core.model import Operation


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


class Room:
    """The right to call one target now. Never more than `limit` calls hold it, and a halted
    operation is called by one canary at a time.

    The limit learns: it doubles a round trip until the first pressure, then grows by one a round
    trip, and is halved by pressure, once for all calls that were under way together. It grows
    only when it was the limit that held calls back.
    """

    def __init__(self, bounds: RoomBounds, probes: ProbeDelays) -> None:
        self._bounds = bounds
        self._probes = probes
        self._halts: dict[Operation, Halt] = {}
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

    def grow(self) -> None:
        """A call was accepted. Call it while that call still holds its place."""
        self.accepted += 1
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

    def halted(self, operation: Operation) -> Halt | None:
        return self._halts.get(operation)

    def halts(self) -> dict[Operation, Halt]:
        return dict(self._halts)

    def begin_probe(self, operation: Operation) -> None:
        """The canary leaves."""
        self._halts[operation].is_probing = True

    def probe_failed(self, operation: Operation, now: float) -> None:
        """The canary came back without good news: the next one waits longer."""
        halt = self._halts.get(operation)
        if halt is None:
            return
        halt.is_probing = False
        halt.failed_probes += 1
        delay = self._probes.first_seconds * 2.0 ** min(halt.failed_probes, 16)
        halt.next_probe = now + min(self._probes.cap_seconds, delay)

    def resume(self, operation: Operation) -> Halt | None:
        """The trouble is over. Returns the halt that ended, if there was one."""
        return self._halts.pop(operation, None)
