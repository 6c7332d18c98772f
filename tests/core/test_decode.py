"""Record to job result: which request, whose token, what the headers say, and no exception ever."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.core.model import (
    JobResult,
    Operation,
    Reason,
    Rejection,
    Skipped,
    Violation,
)
from tests.core.examples import (
    CLIENT_ID,
    JOB_ID,
    KNOWN_TOKEN,
    NOW,
    accepted,
    body_of,
    decode,
    decoder,
    event,
    record,
    rejected,
)

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


# --- which request --------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", Operation)
def test_the_members_make_the_request(operation: Operation) -> None:
    result = accepted(event(operation))
    assert result.operation is operation
    assert result.job_id == event(operation)["jobId"]
    assert (result.named_target, result.deadline, result.traceparent) == (None, None, None)


def test_a_null_value_is_skipped() -> None:
    assert decode(None) == Skipped("null value")


def test_nulls_of_other_requests_decide_nothing() -> None:
    nulls = dict.fromkeys(("clientToken", "clientId", "failureDetails", "continuationToken"))
    assert accepted(event(**nulls)).body == accepted(event()).body


def test_an_event_of_another_kind_is_told_so() -> None:
    cloud = {"specversion": "1.0", "type": "build.finished", "data": {}}
    violations = rejected(cloud)
    assert violations[0] == Violation("$", "has no member of any job result")
    assert Violation("$.specversion", "is unknown") in violations


def test_success_and_failure_at_once_are_ambiguous() -> None:
    both = event(failureDetails={"type": "JobFailed", "message": "x"})
    members = {violation.member for violation in rejected(both)}
    assert members == {"$.currentRevision", "$.executionDetails", "$.outputVariables"}
    assert all("which failureDetails and no client token make" in v.rule for v in rejected(both))


def test_an_upper_case_job_id_is_rejected_and_not_changed() -> None:
    upper = "AAAAAAAA-2222-3333-4444-555555555555"
    (violation,) = rejected(event(jobId=upper))
    assert violation.member == "$.jobId"
    accepted(event(jobId=upper.lower()))


# --- the client token -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operation", [Operation.THIRD_PARTY_JOB_SUCCESS, Operation.THIRD_PARTY_JOB_FAILURE]
)
def test_a_client_id_stands_for_its_token(operation: Operation) -> None:
    by_id = accepted(event(operation, clientToken=..., clientId=CLIENT_ID))
    assert body_of(by_id)["clientToken"] == KNOWN_TOKEN
    assert "clientId" not in body_of(by_id)
    assert by_id.digest == accepted(event(operation)).digest


def test_a_client_id_without_token_is_rejected() -> None:
    unknown = event(Operation.THIRD_PARTY_JOB_SUCCESS, clientToken=..., clientId=JOB_ID)
    assert rejected(unknown) == (
        Violation("$.clientId", "must be one whose client token is known here"),
    )


@pytest.mark.parametrize("client_id", ["../../etc/passwd", "", CLIENT_ID.upper() + "A", 7, ["x"]])
def test_no_token_is_looked_up_for_what_is_no_client_id(client_id: object) -> None:
    def look_up(name: str) -> str:
        raise AssertionError(name)

    odd = event(Operation.THIRD_PARTY_JOB_SUCCESS, clientToken=..., clientId=client_id)
    (violation,) = rejected(odd, client_token_of=look_up)
    assert violation.member == "$.clientId"


@pytest.mark.parametrize("token", ["", "x" * 257])
def test_a_token_that_breaks_its_limits_is_told_of_and_not_shown(token: str) -> None:
    odd = event(Operation.THIRD_PARTY_JOB_SUCCESS, clientToken=..., clientId=CLIENT_ID)
    (violation,) = rejected(odd, client_token_of={CLIENT_ID: token}.get)
    assert violation.rule.startswith("is known, but its client token must ")
    assert "xx" not in violation.rule


def test_token_and_client_id_exclude_each_other() -> None:
    both = event(Operation.THIRD_PARTY_JOB_FAILURE, clientId=CLIENT_ID)
    assert rejected(both) == (Violation("$.clientId", "must be left out beside clientToken"),)


# --- the key --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "key", "violation"),
    [
        ("any", None, None),
        ("any", b"\xff", None),
        ("present", b"", None),
        ("present", None, "is required"),
        ("job-id", JOB_ID.encode(), None),
        ("job-id", None, "is required"),
        ("job-id", JOB_ID.encode() + b" ", "must be the job id"),
        ("job-id", b"\xff\xfe", "must be the job id"),
    ],
)
def test_the_key_obeys_its_rule(rule: str, key: bytes | None, violation: str | None) -> None:
    answer = decoder(key=rule).decode(record(event(), key=key), NOW)
    if violation is None:
        assert isinstance(answer, JobResult)
    else:
        assert isinstance(answer, Rejection)
        assert answer.violations == (Violation("key", violation),)
        assert answer.job_id == JOB_ID


# --- headers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", Operation)
def test_the_operation_may_be_named_in_both_spellings(operation: Operation) -> None:
    hyphenated = {
        Operation.JOB_SUCCESS: b"put-job-success-result",
        Operation.THIRD_PARTY_JOB_SUCCESS: b"put-third-party-job-success-result",
        Operation.JOB_FAILURE: b"put-job-failure-result",
        Operation.THIRD_PARTY_JOB_FAILURE: b"put-third-party-job-failure-result",
    }[operation]
    for name in (hyphenated, operation.encode()):
        assert accepted(event(operation), ("gateway-operation", name)).operation is operation


def test_the_named_operation_has_to_agree_with_the_members() -> None:
    violations = rejected(event(), ("gateway-operation", b"PutJobFailureResult"))
    assert violations[0] == Violation(
        "header gateway-operation",
        "names PutJobFailureResult, but the members make it PutJobSuccessResult "
        "(no failureDetails and no client token)",
    )
    assert Violation("$.failureDetails", "is required") in violations


def test_headers_tell_target_deadline_and_trace() -> None:
    result = accepted(
        event(),
        ("gateway-target", "größe".encode()),
        ("gateway-deadline", b"2026-11-22T17:00:00.5+00:00"),
        ("traceparent", TRACE),
        ("foreign", None),
        ("foreign", b"\xff"),
    )
    assert result.named_target == "größe"
    assert result.deadline == 1_795_366_800.5
    assert result.traceparent == TRACE.decode()


def test_a_replayed_event_says_how_often_it_was_replayed() -> None:
    assert accepted(event(), ("gateway-replay", b"12")).replay == 12
    assert accepted(event()).replay == 0


def test_the_last_header_of_a_name_wins() -> None:
    first, last = ("gateway-target", b"one"), ("gateway-target", b"two")
    assert accepted(event(), first, last).named_target == "two"
    assert accepted(event(), ("gateway-target", None), last).named_target == "two"
    assert rejected(event(), first, ("gateway-target", None)) == (
        Violation("header gateway-target", "must not be null"),
    )


@pytest.mark.parametrize(
    "name",
    ["gateway-operation", "gateway-target", "gateway-deadline", "gateway-replay"],
)
@pytest.mark.parametrize(
    ("value", "rule"),
    [(None, "must not be null"), (b"", "must not be empty"), (b"\xff\xfe", "must be UTF-8")],
)
def test_an_unreadable_header_is_named(name: str, value: bytes | None, rule: str) -> None:
    assert rejected(event(), (name, value)) == (Violation(f"header {name}", rule),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gateway-operation", b"PutJobs"),
        ("gateway-operation", b"putjobsuccessresult"),
        ("gateway-operation", b"PollForJobs"),
        ("gateway-deadline", b"2026-11-22T17:00:00"),
        ("gateway-deadline", b"1795366800"),
        ("gateway-deadline", b"2026-02-30T17:00:00Z"),
        ("gateway-replay", b"0"),
        ("gateway-replay", b"-1"),
        ("gateway-replay", b"1.5"),
        ("gateway-replay", b"1 "),
        ("gateway-replay", "٣".encode()),
        ("gateway-replay", b"9" * 5000),
    ],
)
def test_a_malformed_header_is_named_and_not_shown(name: str, value: bytes) -> None:
    (violation,) = rejected(event(), (name, value))
    assert violation.member == f"header {name}"
    assert value.decode() not in violation.rule


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xfe",
        b"secret",
        TRACE[:-1],
        TRACE + b"-x",
        TRACE.upper(),
        b"ff" + TRACE[2:],
        b"00-" + b"0" * 32 + TRACE[35:],
    ],
)
def test_a_trace_that_cannot_be_read_costs_no_job_its_result(value: bytes | None) -> None:
    assert accepted(event(), ("traceparent", value)).traceparent is None


def test_later_versions_of_a_trace_may_say_more() -> None:
    later = b"01" + TRACE[2:] + b"-more"
    assert accepted(event(), ("traceparent", later)).traceparent == later.decode()


# --- rejections -----------------------------------------------------------------------------------


def test_a_rejection_names_job_operation_and_trace_where_they_are_valid() -> None:
    bad = event(executionDetails={"percentComplete": 101})
    answer = decode(bad, ("traceparent", TRACE))
    assert answer == Rejection(
        Reason.INVALID,
        (Violation("$.executionDetails.percentComplete", "must be <= 100"),),
        job_id=JOB_ID,
        operation=Operation.JOB_SUCCESS,
        traceparent=TRACE.decode(),
    )
    assert str(answer) == "$.executionDetails.percentComplete: must be <= 100"


@pytest.mark.parametrize("job_id", ["x" * 5000, 7, None, "", "A" * 36])
def test_a_job_id_that_is_none_is_not_passed_on(job_id: object) -> None:
    answer = decode(event(jobId=job_id))
    assert isinstance(answer, Rejection)
    assert answer.job_id is None


def test_a_value_that_is_no_object_is_malformed_and_headers_are_told_of_too() -> None:
    answer = decode(b"[", ("gateway-target", None), ("traceparent", TRACE))
    assert isinstance(answer, Rejection)
    assert answer.reason is Reason.MALFORMED
    assert [v.member for v in answer.violations] == ["$", "header gateway-target"]
    assert answer.traceparent == TRACE.decode()


def test_a_framed_event_is_the_event() -> None:
    plain = json.dumps(event()).encode()
    assert accepted(b"\x00\x00\x00\x01\x02" + plain) == accepted(plain)


def test_an_unexpected_error_is_a_rejection_that_tells_no_more_than_its_type() -> None:
    def broken(client_id: str) -> str:
        raise OSError("a secret path")

    looked_up = event(Operation.THIRD_PARTY_JOB_SUCCESS, clientToken=..., clientId=CLIENT_ID)
    answer = decode(looked_up, client_token_of=broken)
    assert isinstance(answer, Rejection)
    assert answer.reason is Reason.INTERNAL
    assert str(answer) == "$: cannot be decoded (OSError): please report this"


# --- tools ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["jobId", "executionDetails", "outputVariables"])
def test_arrays_of_one_are_refused_with_a_hint_to_jsonlite(member: str) -> None:
    """Without auto_unbox jsonlite writes every scalar as an array of one."""
    boxed: dict[str, Any] = event()
    if member == "jobId":
        boxed["jobId"] = [JOB_ID]
    else:
        boxed[member] = {name: [item] for name, item in boxed[member].items()}
    assert all("auto_unbox = TRUE" in violation.rule for violation in rejected(boxed))
