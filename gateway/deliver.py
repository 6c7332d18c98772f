"""One job result -> its outcome: lane, known ending, room, attempts, verdicts.

The way of a delivery, which stays the head of its lane until it has ended:

    admit ─► lane ─► head ─► known ending? ─► ready ─► room ─► attempt ─► step ─► end
      │                                         ▲  │                       │
      └► deferred ◄────────── too many ─────────┼──┘                       │
                                                └──── held, or retried ────┘

Everything but the attempt itself is synchronous: no state is read and written on two sides of an
await.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random

from gateway.core.endings import Endings
from gateway.core.lanes import Lanes
from gateway.core.model import Certainty, Failure, Operation, OutcomeKind, Reason, Verdict
from gateway.core.retry import is_throttle
from gateway.core.retry import verdict as verdict_of
from gateway.core.room import Room
from gateway.core.signals import AttemptEnded, InvariantViolated, RetryScheduled
from gateway.core.steps import (
    UNPROVEN,
    Circumstances,
    DeliveryRules,
    End,
    Hold,
    Retry,
    Step,
    next_step,
)
from gateway.defer import CANARIES, Deferrals
from gateway.lineup import Delivery, Lineup
from gateway.ports import CodePipeline, SignalSink, WallClock
from gateway.settle import Settlement

_ACCEPTED = End(OutcomeKind.ACCEPTED)
_THE_ACCOUNT_IS_WELL = frozenset({Verdict.ENDED, Verdict.UNKNOWN_JOB, Verdict.EVENT_FAULT})


@dataclass(frozen=True, slots=True)
class World:
    """Time, chance and the operator's ear. Durations are measured by the event loop's clock."""

    wall: WallClock
    random: Random
    signals: SignalSink
    is_owner: Callable[[], bool] = lambda: True
    """False while our partitions may be somebody else's already: then no attempt begins."""


@dataclass(frozen=True, slots=True)
class WaitingLimits:
    """How many deliveries may wait in memory; what is more is deferred."""

    of_one_target: int
    """So that a slow target cannot use up everybody's budget."""
    retries: int
    """So that results that fail for ever cannot either."""


class Deliveries:
    """All deliveries of one assignment; a new assignment gets a new object.

    Results of one (target, job) are attempted one after the other in the order of admission, also
    through retries. After `stop` no attempt begins; calls under way end as they would have.
    """

    def __init__(
        self,
        codepipeline: CodePipeline,
        rooms: Mapping[str, Room],
        endings: Endings,
        settlement: Settlement,
        rules: DeliveryRules,
        world: World,
        limits: WaitingLimits,
    ) -> None:
        self._limits = limits
        self._deferrals = Deferrals(limits.of_one_target, settlement, world.signals)
        self._codepipeline = codepipeline
        self._lineups = {
            target: Lineup(target, room, world.signals) for target, room in rooms.items()
        }
        self._endings = endings
        self._settlement = settlement
        self._rules = rules
        self._world = world
        self._lanes: Lanes[Delivery] = Lanes()
        self._retries: dict[int, asyncio.TimerHandle] = {}
        self._turns: dict[str, asyncio.TimerHandle] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._calling: set[int] = set()
        self._is_stopped = False
        self._now = asyncio.get_running_loop().time

    @property
    def lanes(self) -> int:
        return len(self._lanes)

    def admit(self, delivery: Delivery) -> None:
        """Begins the delivery, or defers it. Never waits."""
        lineup = self._lineups[delivery.target]
        if self._deferrals.must_wait(delivery, lineup, self._lanes.has(delivery.lane)):
            self._deferrals.defer(delivery)
            return
        lineup.waiting += 1
        if self._lanes.append(delivery.lane, delivery):
            self._to_the_head(delivery)

    def wanted_back(self, targets: Iterable[str]) -> list[str]:
        """Targets, of those given, whose deferred results are to be read again now."""
        return self._deferrals.wanted_back(targets, self._lineups, self._now())

    def nudge(self) -> None:
        """Begins whatever may begin. A belt: a room may have been freed by a call of an earlier
        assignment, which wakes nobody here."""
        if not self._world.is_owner():
            return  # what it would give up somebody else may be delivering
        for lineup in self._lineups.values():
            self._give_up(lineup)
            self._begin_attempts(lineup)

    def stop(self) -> None:
        """Begins no more attempts and forgets what has none under way: those records stay
        unsettled and will be read again."""
        self._is_stopped = True
        for timer in (*self._retries.values(), *self._turns.values()):
            timer.cancel()
        self._retries.clear()
        for delivery in self._lanes:
            if id(delivery) not in self._calling:
                self._settlement.forget(delivery.size_bytes)

    async def wait_calls(self) -> None:
        """Returns when no call is under way. Each is bounded by the attempt time-out."""
        while self._calls:
            await asyncio.wait(self._calls)

    def is_at_rest(self) -> bool:
        """Nothing is left but what a halt holds."""
        lineups = self._lineups.values()
        held = sum(lineup.held() for lineup in lineups)
        return not self._calls and not self._retries and sum(map(len, lineups)) <= held

    def statistics(self) -> dict[str, int]:
        return {
            "lanes": len(self._lanes),
            "waiting": self._lanes.items,
            "calls": len(self._calling),
            "waiting_retries": len(self._retries),
            "held": sum(lineup.held() for lineup in self._lineups.values()),
        }

    # -- the way of one delivery ----------------------------------------------------------------

    def _to_the_head(self, head: Delivery | None) -> None:
        """Known ending? Exact repeats and redeliveries end here, without a call."""
        while head is not None:
            if not self._is_known(head):
                self._line_up(head)
                return
            head = self._next_of_lane(head)

    def _next_of_lane(self, finished: Delivery) -> Delivery | None:
        self._lineups[finished.target].waiting -= 1
        return self._lanes.finish_head(finished.lane)

    def _line_up(self, head: Delivery, *, is_again: bool = False) -> None:
        lineup = self._lineups[head.target]
        if self._deferrals.is_surplus(head, lineup):
            self._defer_lane(head)
            return
        lineup.append(head, is_again=is_again)
        self._begin_attempts(lineup)

    def _defer_lane(self, head: Delivery) -> None:
        """All of it, so that nothing overtakes its head."""
        for delivery in self._lanes.drop(head.lane):
            self._lineups[head.target].waiting -= 1
            self._deferrals.defer(delivery)

    def _defer_surplus(self, lineup: Lineup, operation: Operation) -> None:
        """A halted operation keeps its canaries in memory and nothing else."""
        if lineup.room.halted(operation) is not None:
            for head in lineup.take_surplus(operation, keep=CANARIES):
                self._defer_lane(head)

    def _give_up(self, lineup: Lineup) -> None:
        """Of an operation whose halt the operator waits for no longer, all but one canary."""
        for operation in lineup.room.halts():
            if lineup.room.is_given_up(operation, self._now()):
                for head in lineup.take_surplus(operation, keep=1):
                    given_up = End(OutcomeKind.DEAD_LETTERED, reason=Reason.GIVEN_UP)
                    self._end(head, given_up, None)

    def _is_known(self, delivery: Delivery) -> bool:
        ending = self._endings.of(delivery.target, delivery.result.job_id)
        if ending is None:
            return False
        # In a topic made anew another record may stand where the known one stood.
        says_the_same = ending.claim in (None, delivery.result.claim)
        if ending.source == delivery.record.source and says_the_same:
            self._settlement.settle(delivery.ticket, delivery.size_bytes)
            return True
        is_repeat = ending.digest is not None and ending.digest == delivery.result.digest
        if is_repeat and not delivery.result.replay:  # who replays a result wants AWS asked
            self._settlement.end(delivery, End(OutcomeKind.DUPLICATE), None)
            return True
        return False

    def _begin_attempts(self, lineup: Lineup) -> None:
        if not lineup.room.has_place() and lineup.room.opens_at is None:
            return  # as a rule; asked again by whoever leaves it
        if not self._world.is_owner():
            return  # asked again by `nudge`, at the next poll
        while not self._is_stopped and (delivery := self._next_attempt(lineup)):
            call = asyncio.create_task(self._attempts(lineup, delivery))
            self._calls.add(call)
            call.add_done_callback(self._call_ended)
        self._await_turn(lineup)

    def _next_attempt(self, lineup: Lineup) -> Delivery | None:
        """Whoever is taken counts as being called from here on, not from its task's first step: a
        stop in between would give its memory back, and its call would do so again."""
        delivery = lineup.take(self._now())
        if delivery is not None:
            self._calling.add(id(delivery))
        return delivery

    def _call_ended(self, call: asyncio.Task[None]) -> None:
        """An error of ours must not be silent: its record stays unsettled, and holds."""
        self._calls.discard(call)
        if not call.cancelled() and (error := call.exception()) is not None:
            where = traceback.extract_tb(error.__traceback__)[-1]
            detail = f"{type(error).__name__} at {where.name}:{where.lineno}"
            self._world.signals.emit(InvariantViolated("every attempt ends in a step", detail))

    async def _attempts(self, lineup: Lineup, delivery: Delivery | None) -> None:
        """Attempts one delivery after the other for as long as there are any: a task for each
        would cost 10 µs."""
        while delivery is not None:
            try:
                if self._is_stopped:
                    lineup.was_not_called(delivery)
                    self._settlement.forget(delivery.size_bytes)
                    return
                await self._attempt(lineup, delivery)
            finally:
                self._calling.discard(id(delivery))
                lineup.room.leave()
            if self._is_stopped or not self._world.is_owner():
                return
            delivery = self._next_attempt(lineup)
            self._begin_attempts(lineup)

    async def _attempt(self, lineup: Lineup, delivery: Delivery) -> None:
        delivery.tries.attempts += 1
        began = self._now()
        failure = await self._codepipeline.put(delivery.target, delivery.result)
        self._after_attempt(lineup, delivery, failure, began)

    def _after_attempt(
        self, lineup: Lineup, delivery: Delivery, failure: Failure | None, began: float
    ) -> None:
        verdict = None if failure is None else verdict_of(failure)
        now = self._now()
        self._report(delivery, failure, verdict, now - began)
        if failure is None or verdict is None:
            lineup.room.accept(began, now)
            self._accepted(lineup, delivery, began)
            return
        step = self._step_after(lineup, delivery, failure, verdict, began)
        match step:
            case End():
                self._end(delivery, step, failure)
            case Retry():
                self._retry(delivery, step, failure)
            case Hold():
                self._hold(lineup, delivery, step, failure, began)

    def _accepted(self, lineup: Lineup, delivery: Delivery, began: float) -> None:
        lineup.room.note_answer(delivery.result.operation, is_refused=False)
        self._endings.learn_accepted(delivery.target, delivery.result, None)
        self._answered_well(lineup, delivery, began, is_accepted=True)
        self._end(delivery, _ACCEPTED, None)

    def _step_after(
        self,
        lineup: Lineup,
        delivery: Delivery,
        failure: Failure,
        verdict: Verdict,
        began: float,
    ) -> Step:
        now = self._now()
        if verdict in (Verdict.PRESSURE, Verdict.UNEXPECTED):
            lineup.room.shrink(began, now, is_throttle=is_throttle(failure))
        if verdict is Verdict.ENDED:
            self._endings.prove(delivery.target)
        circumstances = self._circumstances(delivery, lineup.room)
        step = next_step(failure, verdict, delivery.tries, circumstances, self._rules)
        if verdict is Verdict.EVENT_FAULT:
            lineup.refused(delivery, failure.code, now)
            self._defer_surplus(lineup, delivery.result.operation)
        if verdict in _THE_ACCOUNT_IS_WELL:
            lineup.room.grow(began, now)
        if verdict in _THE_ACCOUNT_IS_WELL and step != Hold(UNPROVEN):
            self._answered_well(lineup, delivery, began, is_accepted=False)
        if not isinstance(step, Hold):
            lineup.probe_was_inconclusive(delivery, began, now)
        return step

    def _answered_well(
        self, lineup: Lineup, delivery: Delivery, began: float, *, is_accepted: bool
    ) -> None:
        is_proven = self._endings.is_proven(delivery.target)
        if lineup.answered_well(
            delivery, began, self._now(), is_proven=is_proven, is_accepted=is_accepted
        ):
            self._deferrals.resumed(delivery.target)

    def _circumstances(self, delivery: Delivery, room: Room) -> Circumstances:
        accepted_since = room.accepted - delivery.target_accepted_before
        delivery.target_accepted_before = room.accepted
        wall = self._world.wall()
        return Circumstances(
            claim=delivery.result.claim,
            ending=self._endings.of(delivery.target, delivery.result.job_id),
            is_target_proven=self._endings.is_proven(delivery.target),
            is_target_accepting=delivery.tries.attempts > 1 and accepted_since > 0,
            may_be_tried_before=delivery.may_be_tried_before,
            age_seconds=wall - delivery.record.timestamp,
            seconds_left=delivery.deadline - wall,
            chance=self._world.random.random(),
        )

    # -- the three steps ------------------------------------------------------------------------

    def _end(self, delivery: Delivery, end: End, failure: Failure | None) -> None:
        """Ended: the next result of the job may go at once, the ticket settles when durable."""
        is_acceptance = end.kind is OutcomeKind.ACCEPTED and end.certainty is Certainty.CONFIRMED
        if end.kind in (OutcomeKind.ACCEPTED, OutcomeKind.ALREADY_ENDED) and not is_acceptance:
            self._endings.learn_ended(delivery.target, delivery.result.job_id, None)
        self._settlement.end(delivery, end, failure)
        if not self._is_stopped:
            self._to_the_head(self._next_of_lane(delivery))

    def _retry(self, delivery: Delivery, retry: Retry, failure: Failure) -> None:
        if self._is_stopped:
            self._settlement.forget(delivery.size_bytes)
            return
        if len(self._retries) >= self._limits.retries:
            delivery.tries.put_off(retry)
            self._deferrals.too_many_retries(delivery.target, self._now())
            self._defer_lane(delivery)
            return
        self._world.signals.emit(
            RetryScheduled(
                delivery.target,
                retry.why,
                delivery.result.job_id,
                failure.code,
                delivery.tries.attempts,
                retry.delay_seconds,
            )
        )
        self._retries[id(delivery)] = asyncio.get_running_loop().call_later(
            retry.delay_seconds, self._line_up_again, delivery
        )

    def _line_up_again(self, delivery: Delivery) -> None:
        """By turns with those that were never tried."""
        del self._retries[id(delivery)]
        self._line_up(delivery, is_again=True)

    def _hold(
        self, lineup: Lineup, delivery: Delivery, hold: Hold, failure: Failure, began: float
    ) -> None:
        lineup.hold(delivery, hold.why, failure.code, began, self._now())
        if self._is_stopped:
            self._settlement.forget(delivery.size_bytes)
            return
        self._defer_surplus(lineup, delivery.result.operation)
        self._line_up(delivery)

    def _await_turn(self, lineup: Lineup) -> None:
        """Come back when time alone lets somebody go."""
        turn = lineup.next_turn()
        if turn is None or self._is_stopped:
            return
        if (earlier := self._turns.get(lineup.target)) is not None:
            if earlier.when() == turn:
                return
            earlier.cancel()
        # A timer may fire a rounding error too early, and must not spin until it is time.
        at = max(turn, self._now() + 0.001)
        loop = asyncio.get_running_loop()
        self._turns[lineup.target] = loop.call_at(at, self._turn_has_come, lineup)

    def _turn_has_come(self, lineup: Lineup) -> None:
        del self._turns[lineup.target]
        self._begin_attempts(lineup)

    def _report(
        self, delivery: Delivery, failure: Failure | None, verdict: Verdict | None, seconds: float
    ) -> None:
        operation = delivery.result.operation
        code = "" if failure is None else failure.code
        self._world.signals.emit(
            AttemptEnded(delivery.target, operation, verdict or "accepted", seconds, code)
        )
