"""Every failure has one verdict, and no code is an accident of the table."""

from __future__ import annotations

from typing import Any

import botocore.exceptions
import pytest
from botocore.loaders import create_loader
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import Failure, Verdict
from gateway.core.retry import (
    REFUSED_CREDENTIALS,
    THROTTLES,
    VERDICTS,
    Backoff,
    is_throttle,
    uses_budget,
    verdict,
)

# AWS.md, "Reading answers", word for word: the table is written twice on purpose.
READING_ANSWERS = {
    Verdict.ENDED: "InvalidJobStateException",
    Verdict.UNKNOWN_JOB: "JobNotFoundException",
    Verdict.EVENT_FAULT: "ValidationException ValidationError OutputVariablesSizeExceededException "
    "InvalidClientTokenException RequestEntityTooLargeException 413 SerializationException",
    Verdict.ACCOUNT_FAULT: "ExpiredToken ExpiredTokenException UnrecognizedClientException "
    "InvalidClientTokenId InvalidAccessKeyId MissingAuthenticationToken "
    "MissingAuthenticationTokenException AccessDenied AccessDeniedException NotAuthorized "
    "UnauthorizedOperation OptInRequired 401 403 IncompleteSignature SignatureDoesNotMatch "
    "UnknownOperationException 404 501 NoCredentialsError PartialCredentialsError "
    "CredentialRetrievalError TokenRetrievalError SSOError SSOTokenLoadError "
    "UnauthorizedSSOTokenError NoRegionError",
    Verdict.CLOCK: "InvalidSignatureException RequestExpired RequestTimeTooSkewed",
    Verdict.PRESSURE: "429 408 509 500 502 503 504 RequestTimeout RequestTimeoutException "
    "RequestAbortedException ConnectTimeoutError ReadTimeoutError ConnectionClosedError "
    "EndpointConnectionError AttemptTimeout NoRequestId",
}
ROWS = [(code, want) for want, codes in READING_ANSWERS.items() for code in codes.split()]


@pytest.mark.parametrize(("code", "expected"), ROWS)
def test_every_code_that_is_documented_has_its_verdict(code: str, expected: Verdict) -> None:
    assert verdict(Failure(code)) is expected


@pytest.mark.parametrize("status", [401, 403, 404, 408, 413, 429, 501, 502, 509])
def test_a_status_without_a_code_says_the_same_as_its_number_for_a_code(status: int) -> None:
    assert verdict(Failure("", status)) is verdict(Failure(str(status)))


@given(st.builds(Failure, code=st.text(), status=st.none() | st.integers()))
def test_any_code_and_status_has_a_verdict(failure: Failure) -> None:
    assert verdict(failure) in Verdict


@given(
    st.builds(
        Failure,
        code=st.sampled_from(sorted(VERDICTS)) | st.text(),
        status=st.none() | st.integers(100, 599),
        is_throttle=st.booleans(),
        foreign_operation=st.none() | st.sampled_from(["AssumeRole", "GetRoleCredentials"]),
    )
)
def test_a_throttle_is_always_pressure(failure: Failure) -> None:
    if is_throttle(failure):
        assert verdict(failure) is Verdict.PRESSURE


def test_every_throttle_that_botocore_knows_is_one_here() -> None:
    assert set(ThrottledRetryableChecker._THROTTLED_ERROR_CODES) <= THROTTLES


def test_every_passing_trouble_that_botocore_knows_is_pressure() -> None:
    for code in TransientRetryableChecker._TRANSIENT_ERROR_CODES:
        assert verdict(Failure(code, 400)) is Verdict.PRESSURE
    for status in TransientRetryableChecker._TRANSIENT_STATUS_CODES:
        assert verdict(Failure(str(status), status)) is Verdict.PRESSURE


def test_whatever_botocores_retry_file_would_retry_is_pressure() -> None:
    answers = list(_answers(create_loader().load_data("_retry")))
    assert len(answers) > 15
    for answer in answers:
        code = answer.get("service_error_code", str(answer["http_status_code"]))
        assert verdict(Failure(code, answer["http_status_code"])) is Verdict.PRESSURE, answer


def _answers(node: Any) -> Any:
    """Every `response` in `_retry.json` that names a status, checksum rules aside."""
    if isinstance(node, dict):
        response = node.get("response")
        if isinstance(response, dict) and "crc32body" not in response:
            yield response
        for child in node.values():
            yield from _answers(child)


def test_every_modelled_error_of_the_four_calls_is_in_the_table() -> None:
    model = create_loader().load_service_model("codepipeline", "service-2")
    names = {
        error["shape"]
        for name, operation in model["operations"].items()
        if name.startswith("Put") and name.endswith("Result") and "Job" in name
        for error in operation.get("errors", [])
    }
    assert "InvalidJobStateException" in names
    assert names <= set(VERDICTS)


def test_every_botocore_exception_in_the_table_exists() -> None:
    ours = {"AttemptTimeout", "NoRequestId", "UnreadableAnswer", "UnknownHost", "BadCertificate"}
    aws = {code for code, _ in ROWS} | THROTTLES
    named = {name for name in VERDICTS if name.endswith(("Error", "Timeout"))} - aws - ours
    unknown = {name for name in named if not hasattr(botocore.exceptions, name)}
    assert unknown == {"IDPCommunicationError", "InternalError", "InternalServerError"}


@pytest.mark.parametrize("status", [300, 302, 307, 308])
def test_a_redirect_is_the_endpoints_fault_and_no_events(status: int) -> None:
    assert verdict(Failure(str(status), status)) is Verdict.ACCOUNT_FAULT


@pytest.mark.parametrize("status", [400, 402, 409, 418, 422, 451])
def test_an_unknown_refusal_neither_dead_letters_nor_halts(status: int) -> None:
    assert verdict(Failure("NeverSeenBeforeException", status)) is Verdict.PRESSURE
    assert verdict(Failure(str(status), status)) is Verdict.PRESSURE


def test_an_error_that_no_rule_covers_is_unexpected() -> None:
    assert verdict(Failure("KeyError")) is Verdict.UNEXPECTED
    assert verdict(Failure("")) is Verdict.UNEXPECTED


def test_the_wrong_client_token_is_not_the_wrong_access_key() -> None:
    assert verdict(Failure("InvalidClientTokenException", 400)) is Verdict.EVENT_FAULT
    assert verdict(Failure("InvalidClientTokenId", 403)) is Verdict.ACCOUNT_FAULT


def test_a_known_code_says_more_than_its_status() -> None:
    assert verdict(Failure("ThrottlingException", 400)) is Verdict.PRESSURE
    assert verdict(Failure("AccessDeniedException", 500)) is Verdict.ACCOUNT_FAULT
    assert verdict(Failure("ValidationException", 403)) is Verdict.EVENT_FAULT


@pytest.mark.parametrize(
    "failure",
    [
        Failure("Throttling", 400, foreign_operation="AssumeRole"),
        Failure("500", 500, foreign_operation="AssumeRole"),
        Failure("NeverSeen", 503, foreign_operation="AssumeRoleWithWebIdentity"),
        Failure("TooManyRequestsException", 429, foreign_operation="GetRoleCredentials"),
        Failure("EndpointConnectionError", foreign_operation="credentials"),
        Failure("AttemptTimeout", foreign_operation="credentials"),
    ],
)
def test_another_operation_that_is_throttled_or_unwell_is_pressure(failure: Failure) -> None:
    assert verdict(failure) is Verdict.PRESSURE


@pytest.mark.parametrize("code", [*sorted(set(VERDICTS) - THROTTLES), "NeverSeen", "400", "413"])
def test_another_operation_that_fails_for_good_is_never_the_events_fault(code: str) -> None:
    got = verdict(Failure(code, 400, foreign_operation="AssumeRole"))
    expected = VERDICTS.get(code)
    assert got is (expected if expected is Verdict.PRESSURE else Verdict.ACCOUNT_FAULT)


def test_credentials_that_were_refused_are_account_faults() -> None:
    assert {VERDICTS[code] for code in REFUSED_CREDENTIALS} == {Verdict.ACCOUNT_FAULT}


def test_an_xml_throttle_is_a_throttle_whatever_its_code_looks_like() -> None:
    failure = Failure("400", 400, is_throttle=True)
    assert is_throttle(failure)
    assert verdict(failure) is Verdict.PRESSURE


@pytest.mark.parametrize(
    "failure",
    [
        Failure("ThrottlingException", 400),
        Failure("429", 429),
        Failure("400", 400, is_throttle=True),
        Failure("500", 500, foreign_operation="AssumeRole"),
        Failure("EndpointConnectionError"),
        Failure("ConnectTimeoutError"),
    ],
)
def test_the_accounts_condition_uses_up_no_budget(failure: Failure) -> None:
    assert not uses_budget(failure, is_target_accepting=True)


@pytest.mark.parametrize(
    "failure", [Failure("500", 500), Failure("ReadTimeoutError", is_unknown=True)]
)
def test_a_budget_is_used_only_while_other_results_are_accepted(failure: Failure) -> None:
    assert uses_budget(failure, is_target_accepting=True)
    assert not uses_budget(failure, is_target_accepting=False)


@given(
    st.integers(1, 10**9),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.001, 10),
    st.floats(10, 1000),
)
def test_a_delay_stays_between_zero_and_the_cap(
    attempt: int, chance: float, base: float, cap: float
) -> None:
    backoff = Backoff(base, cap)
    assert 0 <= backoff.delay(attempt, chance) <= backoff.bound(attempt) <= cap
    assert backoff.bound(attempt) <= backoff.bound(attempt + 1)


def test_the_bound_doubles_until_the_cap() -> None:
    backoff = Backoff(base_seconds=0.5, cap_seconds=3.0)
    assert [backoff.bound(attempt) for attempt in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.delay(2, 0.25) == 0.25


def test_a_doubtful_failure_is_no_other_verdict() -> None:
    for code in VERDICTS:
        assert verdict(Failure(code, 400, is_doubtful=True)) is Verdict.DOUBTFUL
