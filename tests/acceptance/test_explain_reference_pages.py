"""`gateway explain` on the five reference pages: filled in, the call; verbatim, what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.acceptance.test_reference_pages import EXPECTED
from tests.reference_events import CLIENT_TOKEN, REFERENCE_PAGES

JOB_ID = "3f2b8c1e-4d5a-4b6c-8d7e-9f0a1b2c3d4e"
PATTERN = "must match [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
EMPTY = "must not be empty: give it a value, or leave it out if it is optional"
PLACEHOLDERS = ("$", "is no JSON: placeholders are to be replaced by values")
MOMENT = "must be YYYY-MM-DD[Thh:mm[:ss][Z]] or epoch seconds"
JOB = ("$.jobId", PATTERN)
PERCENT = ("$.executionDetails.percentComplete", "must be <= 100")
BOTH = ("$.outputVariables", "must be left out beside continuationToken")

# jsonlite::toJSON(list(…), auto_unbox = TRUE) of the page's arguments: a list without names is an
# array, a POSIXct at midnight is its date.
R_SUCCESS = """{"jobId":"string","currentRevision":{"revision":"string","changeIdentifier":"string",
"created":"2015-01-01","revisionSummary":"string"},"continuationToken":"string",
"executionDetails":{"summary":"string","externalExecutionId":"string","percentComplete":123},
"outputVariables":["string"]}"""
R_THIRD_PARTY = """{"jobId":"string","clientToken":"string","currentRevision":{"revision":"string",
"changeIdentifier":"string","created":"2015-01-01","revisionSummary":"string"},
"continuationToken":"string","executionDetails":{"summary":"string",
"externalExecutionId":"string","percentComplete":123}}"""
# json.dumps(…, default=str) of the page's keyword arguments.
BOTO3 = """{"jobId": "string", "currentRevision": {"revision": "string", "changeIdentifier":
"string", "created": "2015-01-01 00:00:00", "revisionSummary": "string"}, "continuationToken":
"string", "executionDetails": {"summary": "string", "externalExecutionId": "string",
"percentComplete": 123}, "outputVariables": {"string": "string"}}"""
# The page's JSON syntax of each option, in one document.
CLI_SYNTAX = """{
  "jobId": "string",
  "currentRevision": {
    "revision": "string",
    "changeIdentifier": "string",
    "created": timestamp,
    "revisionSummary": "string"
  },
  "continuationToken": "string",
  "executionDetails": {
    "summary": "string",
    "externalExecutionId": "string",
    "percentComplete": integer
  }
}"""
# What `--generate-cli-skeleton` prints.
CLI_SKELETON = """{
    "jobId": "",
    "currentRevision": {
        "revision": "",
        "changeIdentifier": "",
        "created": "1970-01-01T00:00:00",
        "revisionSummary": ""
    },
    "continuationToken": "",
    "executionDetails": {
        "summary": "",
        "externalExecutionId": "",
        "percentComplete": 0
    },
    "outputVariables": {
        "KeyName": ""
    }
}"""
HTTP = """{ "continuationToken": "string", "currentRevision": { "changeIdentifier": "string", \
"created": number, "revision": "string", "revisionSummary": "string" }, "executionDetails": \
{ "externalExecutionId": "string", "percentComplete": number, "summary": "string" }, \
"jobId": "string", "outputVariables": { "string" : "string" } }"""
NO_NUMBER = ("$.executionDetails.percentComplete", "must be an integer")

VERBATIM: dict[str, tuple[str, str, set[tuple[str, str]]]] = {
    "000_r_paws_put_job_success_result": (
        R_SUCCESS,
        "invalid",
        {
            JOB,
            PERCENT,
            BOTH,
            ("$.outputVariables", "must be an object of strings (R: a named list)"),
        },
    ),
    "001_r_paws_put_third_party_job_success_result": (R_THIRD_PARTY, "invalid", {PERCENT}),
    "002_boto3_put_job_success_result": (BOTO3, "invalid", {JOB, PERCENT, BOTH}),
    "003_aws_cli_put_job_success_result": (
        CLI_SYNTAX,
        "malformed",
        {PLACEHOLDERS, JOB, ("$.currentRevision.created", MOMENT), NO_NUMBER},
    ),
    "003_aws_cli_put_job_success_result, its skeleton": (
        CLI_SKELETON,
        "invalid",
        {
            JOB,
            ("$.currentRevision.revision", EMPTY),
            ("$.currentRevision.changeIdentifier", EMPTY),
            ("$.currentRevision.created", "must not be before the year 2000"),
            ("$.currentRevision.revisionSummary", EMPTY),
            ("$.continuationToken", EMPTY),
            ("$.executionDetails.summary", EMPTY),
            ("$.executionDetails.externalExecutionId", EMPTY),
            BOTH,
        },
    ),
    "004_http_put_job_success_result": (
        HTTP,
        "malformed",
        {PLACEHOLDERS, JOB, ("$.currentRevision.created", MOMENT), NO_NUMBER, BOTH},
    ),
}


def explained(text: str | bytes, *arguments: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    given = text.encode() if isinstance(text, str) else text
    ended = subprocess.run(
        [sys.executable, "-m", "gateway", "explain", *arguments, "-"],
        input=given,
        capture_output=True,
        timeout=60,
    )
    assert ended.stderr == b""
    return ended.returncode, ended.stdout.decode()


@pytest.mark.parametrize("page", REFERENCE_PAGES)
def test_a_page_filled_in_is_the_call(page: str) -> None:
    code, told = explained(REFERENCE_PAGES[page](JOB_ID), "--json")
    assert code == 0
    is_third_party = "third_party" in page
    members: dict[str, Any] = {"jobId": JOB_ID, **EXPECTED[page]}
    if "outputVariables" in members:
        members["outputVariables"] = dict.fromkeys(members["outputVariables"], "***")
    if is_third_party:
        members["clientToken"] = "***"
    assert json.loads(told) == {
        "event": 1,
        "line": 1,
        "call": {
            "operation": f"Put{'ThirdParty' if is_third_party else ''}JobSuccessResult",
            "target": "default",
            "members": members,
        },
    }
    assert CLIENT_TOKEN not in told


@pytest.mark.parametrize("page", VERBATIM)
def test_a_page_verbatim_is_told_member_by_member(page: str) -> None:
    text, reason, violations = VERBATIM[page]
    code, told = explained(text, "--json")
    assert code == 1
    rejection = json.loads(told)["rejection"]
    assert rejection["reason"] == reason
    found = [(each["member"], each["rule"]) for each in rejection["violations"]]
    assert set(found) == violations
    assert len(found) == len(violations)


def test_people_are_told_the_same() -> None:
    pages = [*(REFERENCE_PAGES[page](JOB_ID) for page in REFERENCE_PAGES), HTTP.encode()]
    code, told = explained(b"\n".join(pages))
    assert code == 1
    headlines = [line for line in told.splitlines() if line.startswith("event ")]
    assert [line.rpartition(": ")[2] for line in headlines] == [
        "PutJobSuccessResult to target default",
        "PutThirdPartyJobSuccessResult to target default",
        *["PutJobSuccessResult to target default"] * 3,
        "rejected as malformed",
    ]
    for member, rule in VERBATIM["004_http_put_job_success_result"][2]:
        assert f"  {member}: {rule}" in told
