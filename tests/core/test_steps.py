"""What follows a failed attempt, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.endings import Ending
from gateway.core.model import Certainty, Claim, Failure, OutcomeKind, Reason, Verdict
from gateway.core.retry import Backoff
from gateway.core.steps import (
    UNPROVEN,
    Circumstances,
    DeliveryRules,
    End,
    Hold,
    Retry,
    Tries,
    next_step,
)

RULES = DeliveryRules(Backoff(1.0, 8.0), budget_attempts=3)
CALM = Circumstances(
    claim=Claim.SUCCEEDED,
    ending=None,
    is_target_proven=True,
    is_target_accepting=False,
    may_be_tried_before=False,
    age_seconds=3600.0,
    seconds_left=86400.0,
    chance=0.5,
)
ENDED = Failure("InvalidJobStateException", 400)
UNKNOWN_JOB = Failure("JobNotFoundException", 400)
TIMEOUT = Failure("AttemptTimeout", is_unknown=True)
THROTTLE = Failure("ThrottlingException", 400, is_throttle=True)
BROKEN = Failure("InternalFailure", 500)
KNOWN_SUCCESS = Ending(Claim.SUCCEEDED, b"x" * 16, None)


def after(failure, verdict, now=CALM, tries=None, rules=RULES):
    return next_step(failure, verdict, tries or Tries(attempts=1), now, rules)


@pytest.mark.parametrize(
    ("claim", "known", "expected"),
    [
        (Claim.SUCCEEDED, Claim.SUCCEEDED, OutcomeKind.ALREADY_ENDED),
        (Claim.FAILED, Claim.SUCCEEDED, OutcomeKind.CONFLICT),
        (Claim.CONTINUES, Claim.SUCCEEDED, OutcomeKind.CONFLICT),
        (Claim.SUCCEEDED, Claim.CONTINUES, OutcomeKind.CONFLICT),
        (Claim.FAILED, Claim.FAILED, OutcomeKind.ALREADY_ENDED),
        (Claim.FAILED, None, OutcomeKind.ALREADY_ENDED),
    ],
)
def test_a_refusal_is_named_by_the_known_ending(claim, known, expected):
    now = replace(CALM, claim=claim, ending=Ending(known, None, None))
    assert after(ENDED, Verdict.ENDED, now) == End(expected)
    assert after(UNKNOWN_JOB, Verdict.UNKNOWN_JOB, now) == End(expected)


def test_a_conflict_is_dead_lettered_only_by_setting():
    now = replace(CALM, claim=Claim.FAILED, ending=KNOWN_SUCCESS)
    rules = replace(RULES, dead_letter_conflicts=True)
    step = after(ENDED, Verdict.ENDED, now, rules=rules)
    assert step == End(OutcomeKind.CONFLICT, reason=Reason.CONFLICT)


def test_ended_after_an_unknown_attempt_of_ours_was_our_own_doing():
    tries = Tries(attempts=1)
    assert isinstance(after(TIMEOUT, Verdict.PRESSURE, tries=tries), Retry)
    expected = End(OutcomeKind.ACCEPTED, Certainty.INFERRED)
    assert after(ENDED, Verdict.ENDED, tries=tries) == expected


def test_ended_for_a_record_that_an_earlier_owner_may_have_tried_is_inferred():
    now = replace(CALM, may_be_tried_before=True, age_seconds=1.0)
    expected = End(OutcomeKind.ALREADY_ENDED, Certainty.INFERRED)
    assert after(ENDED, Verdict.ENDED, now) == expected


def test_a_young_result_may_have_overtaken_the_acknowledgement():
    tries = Tries(attempts=1)
    young = replace(CALM, age_seconds=5.0)
    assert after(ENDED, Verdict.ENDED, young, tries) == Retry(10.0, "early-result")
    older = replace(CALM, age_seconds=70.0)
    assert after(ENDED, Verdict.ENDED, older, tries) == Retry(30.0, "early-result")
    assert after(ENDED, Verdict.ENDED, older, tries) == End(OutcomeKind.ALREADY_ENDED)


def test_an_old_result_is_not_tried_again():
    assert after(ENDED, Verdict.ENDED) == End(OutcomeKind.ALREADY_ENDED)


def test_an_unknown_job_wants_proof_that_the_target_is_right():
    unproven = replace(CALM, is_target_proven=False)
    assert after(UNKNOWN_JOB, Verdict.UNKNOWN_JOB, unproven) == Hold(UNPROVEN)
    expected = End(OutcomeKind.DEAD_LETTERED, reason=Reason.UNKNOWN_JOB)
    assert after(UNKNOWN_JOB, Verdict.UNKNOWN_JOB) == expected


def test_an_event_fault_is_refused():
    step = after(Failure("ValidationException", 400), Verdict.EVENT_FAULT)
    assert step == End(OutcomeKind.DEAD_LETTERED, reason=Reason.REFUSED)


@given(st.integers(0, 1000), st.floats(-1e9, 1e9))
def test_an_account_fault_holds_however_often_and_however_late(attempts, seconds_left):
    now = replace(CALM, seconds_left=seconds_left)
    step = after(Failure("ExpiredToken"), Verdict.ACCOUNT_FAULT, now, Tries(attempts=attempts))
    assert step == Hold("ExpiredToken")


def test_a_clock_fault_is_signed_afresh_once():
    tries = Tries(attempts=1)
    clock = Failure("RequestTimeTooSkewed", 400)
    assert after(clock, Verdict.CLOCK, tries=tries) == Retry(0.0, "clock")
    assert after(clock, Verdict.CLOCK, tries=tries) == Hold("RequestTimeTooSkewed")


def test_the_budget_counts_only_while_the_target_accepts_others():
    tries = Tries(attempts=1)
    for _ in range(50):
        assert isinstance(after(BROKEN, Verdict.PRESSURE, tries=tries), Retry)
    accepting = replace(CALM, is_target_accepting=True)
    steps = [after(BROKEN, Verdict.PRESSURE, accepting, tries) for _ in range(3)]
    assert steps[-1] == End(OutcomeKind.DEAD_LETTERED, reason=Reason.EXHAUSTED)
    assert all(isinstance(step, Retry) for step in steps[:-1])


@given(st.integers(1, 200))
def test_no_number_of_throttles_dead_letters_anything(times):
    tries = Tries(attempts=1)
    accepting = replace(CALM, is_target_accepting=True)
    for _ in range(times):
        assert isinstance(after(THROTTLE, Verdict.PRESSURE, accepting, tries), Retry)


def test_the_unexpected_has_a_bounded_budget():
    tries = Tries(attempts=1)
    odd = Failure("AttributeError", is_unknown=True)
    steps = [after(odd, Verdict.UNEXPECTED, tries=tries) for _ in range(3)]
    assert steps[-1] == End(OutcomeKind.DEAD_LETTERED, reason=Reason.EXHAUSTED)


def test_past_the_deadline_nothing_is_tried_again():
    late = replace(CALM, seconds_left=0.1)
    step = after(BROKEN, Verdict.PRESSURE, late)
    assert step == End(OutcomeKind.DEAD_LETTERED, reason=Reason.EXPIRED)


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_a_retry_waits_within_the_backoff_and_the_deadline(pressures, chance):
    tries = Tries(attempts=pressures, pressures=pressures - 1)
    step = after(BROKEN, Verdict.PRESSURE, replace(CALM, chance=chance), tries)
    assert isinstance(step, Retry)
    assert 0 <= step.delay_seconds <= 8.0


def test_what_is_doubtful_is_tried_again_at_once_and_uses_up_nothing():
    tries = Tries(attempts=1)
    doubtful = Failure("SerializationException", 400, is_doubtful=True)
    late = replace(CALM, seconds_left=-1.0, is_target_accepting=True)
    assert after(doubtful, Verdict.DOUBTFUL, late, tries) == Retry(0.0, "doubtful")
    assert (tries.budget_used, tries.pressures) == (0, 0)
    assert after(Failure("SerializationException", 400), Verdict.EVENT_FAULT, late, tries) == End(
        OutcomeKind.DEAD_LETTERED, reason=Reason.REFUSED
    )


def test_a_clock_that_was_doubted_is_not_given_a_second_retry():
    tries = Tries(attempts=1)
    after(Failure("RequestExpired", 400, is_doubtful=True), Verdict.DOUBTFUL, CALM, tries)
    assert after(Failure("RequestExpired", 400), Verdict.CLOCK, CALM, tries) == Hold(
        "RequestExpired"
    )
