"""What to do with a delivery after an attempt has failed. Pure: facts in, one step out.

DESIGN: AWS is the ledger. Its refusal names the outcome; its trouble names a wait. Nothing is
dead-lettered for trouble that the account has, and no first attempt is ever refused for lateness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gateway.core.endings import Ending
from gateway.core.model import (
    Certainty,
    Claim,
    Failure,
    OutcomeKind,
    Reason,
    Verdict,
)
from gateway.core.retry import Backoff, uses_budget

UNPROVEN = "unproven"
"""Why a target halts that has never known a job of ours: wrong account or region?"""
EARLY_RESULT = "early-result"
"""Why a result is repeated whose job may not be acknowledged yet."""


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """How patient the gateway is, in seconds, and what it does with contradictions."""

    backoff: Backoff
    budget_attempts: int = 20
    early_result_delays: tuple[float, ...] = (10.0, 30.0)
    young_seconds: float = 60.0
    dead_letter_conflicts: bool = False


@dataclass(slots=True)
class Tries:
    """What has happened to one delivery so far, in this process."""

    attempts: int = 0
    is_uncertain: bool = False
    """Some attempt's answer never came: the result may have been applied."""
    was_last_unknown: bool = False
    pressures: int = 0
    budget_used: int = 0
    clock_retries: int = 0
    early_retries: int = 0

    def put_off(self, retry: Retry) -> None:
        """This retry is not made after its delay, but whenever the record is read again. What its
        delay was to prove is not proven: that the result came late enough."""
        if retry.why == EARLY_RESULT:
            self.early_retries -= 1


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known at the moment of the failure."""

    claim: Claim
    ending: Ending | None
    is_target_proven: bool
    is_target_accepting: bool
    """The target has accepted another result since this delivery's last failure."""
    may_be_tried_before: bool
    """An earlier owner of the partition may have called for this record."""
    age_seconds: float
    """How long ago the record was written, before the first attempt."""
    seconds_left: float
    """Until the deadline; negative when it has passed."""
    chance: float
    """Random, in [0, 1)."""


class End(NamedTuple):
    """The delivery has ended."""

    kind: OutcomeKind
    certainty: Certainty = Certainty.CONFIRMED
    reason: Reason | None = None


class Retry(NamedTuple):
    """Attempt again after `delay_seconds`, keeping the lane, without room."""

    delay_seconds: float
    why: str


class Hold(NamedTuple):
    """Halt the (target, operation); this delivery waits with the others."""

    why: str


Step = End | Retry | Hold


def next_step(
    failed: Failure, verdict: Verdict, tries: Tries, now: Circumstances, rules: DeliveryRules
) -> Step:
    """The one step that follows. Counts what it decides in `tries`."""
    tries.was_last_unknown = failed.is_unknown
    match verdict:
        case Verdict.ENDED:
            step = _after_ended(tries, now, rules)
        case Verdict.UNKNOWN_JOB:
            step = _after_unknown_job(now, rules)
        case Verdict.EVENT_FAULT:
            step = End(OutcomeKind.DEAD_LETTERED, reason=Reason.REFUSED)
        case Verdict.ACCOUNT_FAULT:
            step = Hold(failed.code)
        case Verdict.CLOCK:
            step = _after_clock(failed, tries)
        case Verdict.PRESSURE | Verdict.UNEXPECTED:
            step = _after_pressure(failed, verdict, tries, now, rules)
        case Verdict.DOUBTFUL:
            tries.clock_retries = 1  # signed afresh at once: a clock is worth one such retry
            step = Retry(0.0, verdict.value)
    tries.is_uncertain = tries.is_uncertain or failed.is_unknown
    return step


def _after_ended(tries: Tries, now: Circumstances, rules: DeliveryRules) -> Step:
    if now.ending is not None and now.ending.claim is not None:
        return _against(now.ending, now.claim, rules)
    if tries.is_uncertain:
        return End(OutcomeKind.ACCEPTED, Certainty.INFERRED)
    if now.may_be_tried_before:
        return End(OutcomeKind.ALREADY_ENDED, Certainty.INFERRED)
    if now.ending is None and _may_be_early(tries, now, rules):
        delay = rules.early_result_delays[tries.early_retries]
        tries.early_retries += 1
        return Retry(delay, EARLY_RESULT)
    return End(OutcomeKind.ALREADY_ENDED)


def _may_be_early(tries: Tries, now: Circumstances, rules: DeliveryRules) -> bool:
    """The result may have overtaken the acknowledgement of its job."""
    if tries.early_retries >= len(rules.early_result_delays):
        return False
    return tries.early_retries > 0 or now.age_seconds < rules.young_seconds


def _after_unknown_job(now: Circumstances, rules: DeliveryRules) -> Step:
    if now.ending is not None:
        return _against(now.ending, now.claim, rules)
    if now.is_target_proven:
        return End(OutcomeKind.DEAD_LETTERED, reason=Reason.UNKNOWN_JOB)
    return Hold(UNPROVEN)


def _against(ending: Ending, claim: Claim, rules: DeliveryRules) -> End:
    if ending.claim is not None and ending.claim is not claim:
        reason = Reason.CONFLICT if rules.dead_letter_conflicts else None
        return End(OutcomeKind.CONFLICT, reason=reason)
    return End(OutcomeKind.ALREADY_ENDED)


def _after_clock(failed: Failure, tries: Tries) -> Step:
    if tries.clock_retries:
        tries.clock_retries = 0
        return Hold(failed.code)
    tries.clock_retries += 1
    return Retry(0.0, "clock")


def _after_pressure(
    failed: Failure, verdict: Verdict, tries: Tries, now: Circumstances, rules: DeliveryRules
) -> Step:
    tries.pressures += 1
    if uses_budget(failed, now.is_target_accepting) or verdict is Verdict.UNEXPECTED:
        tries.budget_used += 1
    if tries.budget_used >= rules.budget_attempts:
        return End(OutcomeKind.DEAD_LETTERED, reason=Reason.EXHAUSTED)
    delay = rules.backoff.delay(tries.pressures, now.chance)
    if delay > now.seconds_left:
        return End(OutcomeKind.DEAD_LETTERED, reason=Reason.EXPIRED)
    return Retry(delay, verdict.value)
