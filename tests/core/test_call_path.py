"""No refusal that may be the lean call's own doing is believed before botocore has heard it too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call_path import DISTRUST_SECONDS, MOST_DOUBTS, LeanTrust
from gateway.core.model import Claim, Failure, JobResult, Operation
from gateway.core.retry import DOUBTFUL

BAD_SIGNATURE = Failure("InvalidSignatureException", 400)
UNREADABLE = Failure("SerializationException", 400)
ENDED = Failure("InvalidJobStateException", 400)
THROTTLED = Failure("ThrottlingException", 400, is_throttle=True)
CUT = Failure("ConnectionClosedError", is_unknown=True)
EXPIRED = Failure("ExpiredTokenException", 400)
NO_ROLE = Failure("InvalidSignatureException", 403, foreign_operation="AssumeRole")


def result(job_id: str) -> JobResult:
    return JobResult(Operation.JOB_SUCCESS, job_id, Claim.SUCCEEDED, b"{}", b"\0" * 16)


A, B = result("a"), result("b")


@pytest.mark.parametrize("code", sorted(DOUBTFUL))
def test_a_complaint_about_the_request_is_tried_the_reference_way_first(code: str) -> None:
    trust = LeanTrust()
    assert trust.may_go_lean(A, 0.0)
    assert trust.is_doubtful(A, Failure(code, 400))
    assert not trust.may_go_lean(A, 0.0)
    assert trust.may_go_lean(B, 0.0), "nobody else is slowed down yet"


@pytest.mark.parametrize("failure", [None, ENDED, THROTTLED, CUT, EXPIRED, NO_ROLE])
def test_other_answers_say_nothing_against_the_lean_call(failure: Failure | None) -> None:
    trust = LeanTrust()
    assert not trust.is_doubtful(A, failure)
    assert trust.may_go_lean(A, 0.0)


@pytest.mark.parametrize("answer", [None, ENDED, Failure("ValidationException", 400)])
def test_what_botocore_alone_makes_understood_refutes_the_lean_call_for_a_while(
    answer: Failure | None,
) -> None:
    trust = LeanTrust()
    trust.is_doubtful(A, BAD_SIGNATURE)
    assert trust.refuted(A, answer, 5.0) == "InvalidSignatureException"
    assert not trust.may_go_lean(B, 5.0)
    assert trust.may_go_lean(B, 5.0 + DISTRUST_SECONDS)


def test_a_refutation_is_news_once() -> None:
    trust = LeanTrust()
    for doubted in (A, B):
        trust.is_doubtful(doubted, BAD_SIGNATURE)
    assert trust.refuted(A, None, 0.0) is not None
    assert trust.refuted(B, None, 1.0) is None


def test_another_delivery_proves_nothing() -> None:
    trust = LeanTrust()
    trust.is_doubtful(A, UNREADABLE)
    assert trust.refuted(B, None, 0.0) is None
    assert trust.may_go_lean(B, 0.0)
    assert not trust.may_go_lean(A, 0.0)


def test_the_same_complaint_from_botocore_clears_the_lean_call_until_it_is_understood() -> None:
    trust = LeanTrust()
    trust.is_doubtful(A, BAD_SIGNATURE)
    assert trust.refuted(A, BAD_SIGNATURE, 0.0) is None
    assert trust.may_go_lean(A, 0.0)
    assert not trust.is_doubtful(A, BAD_SIGNATURE), "believed: a clock costs no second call"
    assert not trust.is_doubtful(B, BAD_SIGNATURE)
    assert trust.is_doubtful(B, UNREADABLE), "another complaint is another matter"
    assert not trust.is_doubtful(A, None)
    assert trust.is_doubtful(A, BAD_SIGNATURE)


@pytest.mark.parametrize("silence", [CUT, THROTTLED, NO_ROLE, Failure("AttemptTimeout")])
def test_no_answer_settles_no_doubt(silence: Failure) -> None:
    trust = LeanTrust()
    trust.is_doubtful(A, BAD_SIGNATURE)
    assert trust.refuted(A, silence, 0.0) is None
    assert not trust.may_go_lean(A, 0.0)
    assert trust.refuted(A, None, 0.0) == "InvalidSignatureException"


def test_an_answer_about_the_caller_ends_the_doubt_without_a_verdict() -> None:
    trust = LeanTrust()
    trust.is_doubtful(A, BAD_SIGNATURE)
    assert trust.refuted(A, EXPIRED, 0.0) is None
    assert trust.may_go_lean(A, 0.0)
    assert trust.refuted(A, None, 0.0) is None


def test_doubts_are_bounded() -> None:
    trust = LeanTrust()
    for number in range(MOST_DOUBTS + 5):
        assert trust.is_doubtful(result(str(number)), BAD_SIGNATURE)
    assert len(trust._doubts) == MOST_DOUBTS
    assert not trust.may_go_lean(result(str(MOST_DOUBTS)), 0.0)


_failures = st.none() | st.sampled_from(
    [BAD_SIGNATURE, UNREADABLE, ENDED, THROTTLED, CUT, EXPIRED, NO_ROLE]
)


@given(st.lists(st.tuples(st.sampled_from([A, B]), _failures, st.floats(0, 300)), max_size=40))
def test_no_delivery_is_doubted_twice_in_a_row(
    attempts: list[tuple[JobResult, Failure | None, float]],
) -> None:
    """Else it would be tried again at once for ever."""
    trust, now, last = LeanTrust(), 0.0, {"a": False, "b": False}
    for attempted, failure, seconds in attempts:
        now += seconds
        was_lean = trust.may_go_lean(attempted, now)
        assert not (was_lean and last[attempted.job_id])
        doubtful = was_lean and trust.is_doubtful(attempted, failure)
        if not was_lean:
            trust.refuted(attempted, failure, now)
        last[attempted.job_id] = doubtful
