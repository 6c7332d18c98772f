"""May this (target, operation) be called now? Limit, halt, canary, next probe."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.core.model import Operation

BREAKER = "breaker"
"""Why an operation halts of which CodePipeline refuses most events: rather than draining a fleet
into the dead-letter topic, wait for an operator."""
BREAKER_WINDOW = 50
BREAKER_LIFTED_BY = 3
ON_PURPOSE = "hold"
"""Why a target halts that an operator has stopped in the settings."""

CAREFUL_STEP: Final = 1 / 64
"""What a call adds to the limit of a target that throttles, at one call and below it. More finds
a risen limit sooner, and is throttled more often for it (ADR 0021 has the measurements)."""
LONGEST_PAUSE_SECONDS: Final = 10.0
"""However slow the target and however low the limit: what is over must be noticed."""
LATENESS_SECONDS: Final = 0.002
"""By so much timers are late. The call that one was late for does not delay those after it."""


@dataclass(frozen=True, slots=True)
class RoomBounds:
    """How many calls of one target may be under way at once, in one process. Less than one: a part
    of the time."""

    initial: int = 20
    minimum: float = 1 / 40
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
    """The right to call one target now. Never more than `limit` calls hold it, rounded up, and a
    halted operation is called by one canary at a time.

    The limit learns: it doubles a round trip until the first pressure, then grows by one a round
    trip, and is halved by pressure, once for all calls that were under way together. It grows
    only when it was the limit that held calls back, and slowness alone never shrinks it.

        limit 8     eight calls at once            ████████
        limit 1     one after the other            █ █ █ █
        limit 1/4   a quarter of a call            █       █

    A target that throttles has a limit that others may share, and whoever takes a place the moment
    it is left keeps it from all others. Until the limit is at its maximum again, calls are
    therefore spaced in time: begun one by one, `limit` of them in the time that one takes. And it
    grows more slowly the lower it is, for the next throttle to be worth it, until it is past where
    it was last throttled. A room that is closed has to be asked again at `opens_at`; nothing here
    has a clock.

    After trouble in which nothing went well the limit doubles until half of what was borne before.
    A target that is unwell without throttling keeps one call while some of them go well.
    """

    def __init__(
        self,
        bounds: RoomBounds,
        probes: ProbeDelays,
        give_up_seconds: float = math.inf,
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        """`chance` is random, in [0, 1): it keeps replicas from calling in step."""
        self._bounds = bounds
        self._probes = probes
        self._give_up_seconds = give_up_seconds
        self._chance = chance
        self._halts: dict[Operation, Halt] = {}
        self._recent: dict[Operation, deque[bool]] = {}
        self._slow_start_until = float(bounds.maximum)
        self._shrunk_at = float("-inf")
        self._call_seconds = 0.1
        """How long the last call took that went well; at first a guess."""
        self._has_gone_well = True
        """Some call that began after the limit shrank."""
        self._is_throttled = False
        self._is_spaced = False
        self._is_held_back = False
        self._next_start = float("-inf")
        self._places = 0
        self.opens_at: float | None = None
        """While it is closed: when it may be asked again."""
        self.in_flight = 0
        self.accepted = 0
        self._set(float(bounds.initial))

    def has_place(self) -> bool:
        return self.in_flight < self._places

    def enter(self, now: float) -> None:
        self.in_flight += 1
        if self._is_spaced:
            self._close(now)

    def leave(self) -> None:
        self.in_flight -= 1

    def reopen(self, now: float) -> bool:
        """True if it was closed, its time has come, and there is a place."""
        if self.opens_at is None or now < self.opens_at:
            return False
        self.opens_at = None
        self._set(self.limit)
        return self.has_place()

    def hold_back(self) -> None:
        """Somebody would go if it were not closed."""
        self._is_held_back = True

    def accept(self, began: float, now: float) -> None:
        """A call was accepted."""
        self.accepted += 1
        self.grow(began, now)

    def grow(self, began: float, now: float) -> None:
        """A call was answered by a service that is well, whatever it said. To be called while the
        call still holds its place. A call from before the last pressure says nothing about the
        limit since."""
        if began <= self._shrunk_at:
            return
        self._call_seconds = now - began
        self._has_gone_well = True
        if self._is_spaced:
            if not self._is_held_back:
                return
            self._is_held_back = False
        elif self.in_flight < self._places:
            return
        self._set(min(float(self._bounds.maximum), self.limit + self._step()))

    def shrink(self, began: float, now: float, *, is_throttle: bool) -> None:
        """A call that began at `began` met pressure."""
        if began <= self._shrunk_at:
            return
        self._shrunk_at = now
        half = max(float(self._bounds.minimum), self.limit / 2)
        if self._has_gone_well and (is_throttle or not self._is_throttled):
            self._slow_start_until = half
        if self._has_gone_well and not is_throttle:
            half = max(half, min(1.0, self.limit))
        self._has_gone_well = False
        self._is_throttled = self._is_throttled or is_throttle
        self._set(half)

    def _step(self) -> float:
        limit = self.limit
        if limit < self._slow_start_until:
            return min(1.0, limit, self._slow_start_until - limit)
        if self._is_throttled:
            careful = min(1.0 / limit, CAREFUL_STEP * max(1.0, math.sqrt(limit)))
            past = limit / (2 * self._slow_start_until)
            return min(1.0, limit, careful * max(1.0, past * past))
        return min(limit, 1.0 / limit)

    def _set(self, limit: float) -> None:
        self.limit = limit
        self._is_throttled = self._is_throttled and limit < self._bounds.maximum
        self._is_spaced = self._is_throttled or limit < 1.0
        if not self._is_spaced:
            self.opens_at = None
        if self.opens_at is None:
            # Spaced calls that take longer than the last one did would hold up the next ones.
            self._places = math.ceil(limit) if self._is_spaced else int(limit)

    def _close(self, now: float) -> None:
        pause = self._call_seconds / self.limit * (0.75 + 0.5 * self._chance())
        earliest = max(self._next_start, now - LATENESS_SECONDS)
        self._next_start = earliest + min(LONGEST_PAUSE_SECONDS, pause)
        if self._next_start > now:
            self.opens_at = self._next_start
            self._places = 0

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
