"""Every form that the reference pages show, as each tool's users would serialise it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.core.model import Claim, Operation
from tests.core.examples import JOB_ID, accepted, body_of, rejected
from tests.reference_events import (
    CLIENT_TOKEN,
    REFERENCE_PAGES,
    aws_cli_put_job_success_result,
    boto3_put_job_success_result,
    http_put_job_success_result,
    r_paws_put_job_success_result,
    r_paws_put_third_party_job_success_result,
)

JANUARY = 1_420_070_400


def revision(created: float, summary: str = "wheels changed") -> dict[str, Any]:
    return {
        "revision": "1f2e3d4",
        "changeIdentifier": "main",
        "created": created,
        "revisionSummary": summary,
    }


def details(summary: str, percent: int) -> dict[str, Any]:
    return {"summary": summary, "externalExecutionId": "run-17", "percentComplete": percent}


def test_000_r_paws_put_job_success_result() -> None:
    result = accepted(r_paws_put_job_success_result(JOB_ID))
    assert (result.operation, result.claim) == (Operation.JOB_SUCCESS, Claim.SUCCEEDED)
    assert body_of(result) == {
        "jobId": JOB_ID,
        "currentRevision": revision(JANUARY, "Räder gewechselt"),
        "executionDetails": details("built", 100),
        "outputVariables": {"version": "1.2.3", "build_url": "https://ci.example.com/17"},
    }


def test_001_r_paws_put_third_party_job_success_result() -> None:
    result = accepted(r_paws_put_third_party_job_success_result(JOB_ID))
    assert (result.operation, result.claim) == (Operation.THIRD_PARTY_JOB_SUCCESS, Claim.CONTINUES)
    assert body_of(result) == {
        "jobId": JOB_ID,
        "clientToken": CLIENT_TOKEN,
        "currentRevision": revision(JANUARY + 37_230),
        "continuationToken": "deployment-9",
        "executionDetails": details("deploying", 42),
    }


def test_002_boto3_put_job_success_result() -> None:
    result = accepted(boto3_put_job_success_result(JOB_ID))
    assert (result.operation, result.claim) == (Operation.JOB_SUCCESS, Claim.SUCCEEDED)
    assert body_of(result) == {
        "jobId": JOB_ID,
        "currentRevision": revision(JANUARY + 37_230.123456, "Räder gewechselt"),
        "executionDetails": details("built", 100),
        "outputVariables": {"version": "1.2.3"},
    }


def test_003_aws_cli_put_job_success_result() -> None:
    result = accepted(aws_cli_put_job_success_result(JOB_ID))
    assert (result.operation, result.claim) == (Operation.JOB_SUCCESS, Claim.SUCCEEDED)
    assert body_of(result) == {
        "jobId": JOB_ID,
        "currentRevision": revision(JANUARY),
        "executionDetails": details("built", 0),
        "outputVariables": {"KeyName": "value"},
    }


def test_004_http_put_job_success_result() -> None:
    result = accepted(http_put_job_success_result(JOB_ID))
    assert (result.operation, result.claim) == (Operation.JOB_SUCCESS, Claim.CONTINUES)
    assert body_of(result) == {
        "jobId": JOB_ID,
        "currentRevision": revision(JANUARY + 0.25),
        "continuationToken": "deployment-9",
        "executionDetails": details("building", 50),
    }


def test_every_page_has_its_builder() -> None:
    assert [name[:3] for name in REFERENCE_PAGES] == ["000", "001", "002", "003", "004"]
    for build in REFERENCE_PAGES.values():
        assert accepted(build(JOB_ID)).job_id == JOB_ID


@pytest.mark.parametrize("member", ["currentRevision", "executionDetails", "outputVariables"])
def test_rs_empty_list_is_absent(member: str) -> None:
    """`list()` is R's only empty list; jsonlite writes it as `[]`."""
    text = f'{{"jobId":"{JOB_ID}","{member}":[]}}'
    assert body_of(accepted(text.encode())) == {"jobId": JOB_ID}


@pytest.mark.parametrize(
    ("created", "seconds"),
    [
        (datetime(2015, 1, 1), JANUARY),
        (datetime(2015, 1, 1, tzinfo=UTC), JANUARY),
        (datetime(2015, 1, 1, 0, 0, 0, 500_000), JANUARY + 0.5),
    ],
)
def test_boto3_datetimes_may_be_naive(created: datetime, seconds: float) -> None:
    event = json.loads(boto3_put_job_success_result(JOB_ID))
    event["currentRevision"]["created"] = created
    body = body_of(accepted(json.dumps(event, default=str).encode()))
    assert body["currentRevision"]["created"] == seconds


def test_the_pages_verbatim_are_rejected_member_by_member() -> None:
    """The placeholders as they stand on the page, serialised by boto3's user."""
    verbatim = {
        "jobId": "string",
        "currentRevision": {
            "revision": "string",
            "changeIdentifier": "string",
            "created": datetime(2015, 1, 1),
            "revisionSummary": "string",
        },
        "continuationToken": "string",
        "executionDetails": {
            "summary": "string",
            "externalExecutionId": "string",
            "percentComplete": 123,
        },
        "outputVariables": {"string": "string"},
    }
    assert list(map(str, rejected(json.dumps(verbatim, default=str).encode()))) == [
        "$.jobId: must match [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "$.executionDetails.percentComplete: must be <= 100",
        "$.outputVariables: must be left out beside continuationToken",
    ]


def test_the_skeleton_of_the_command_line_unfilled_is_rejected_member_by_member() -> None:
    skeleton = {
        "jobId": "",
        "currentRevision": {
            "revision": "",
            "changeIdentifier": "",
            "created": "1970-01-01T00:00:00",
            "revisionSummary": "",
        },
        "continuationToken": "",
        "executionDetails": {"summary": "", "externalExecutionId": "", "percentComplete": 0},
        "outputVariables": {"KeyName": ""},
    }
    assert [violation.member for violation in rejected(skeleton)] == [
        "$.jobId",
        "$.currentRevision.revision",
        "$.currentRevision.changeIdentifier",
        "$.currentRevision.created",
        "$.currentRevision.revisionSummary",
        "$.continuationToken",
        "$.executionDetails.summary",
        "$.executionDetails.externalExecutionId",
        "$.outputVariables",
    ]
