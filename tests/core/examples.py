"""Valid events, one an operation, and a decoder with plain settings: what tests start from."""

from __future__ import annotations

import copy
import json
from typing import Any

from gateway.core.decode import Decoder
from gateway.core.model import JobResult, Operation, Record, Rejection, Skipped, Violation

NOW = 1_800_000_000.0
JOB_ID = "11111111-2222-3333-4444-555555555555"
CLIENT_ID = "99999999-8888-7777-6666-555555555555"
KNOWN_TOKEN = "token-of-a-known-client"

_REVISION = {
    "revision": "1f2e3d4",
    "changeIdentifier": "main",
    "created": 1_420_070_400,
    "revisionSummary": "wheels changed",
}
_DETAILS = {"summary": "built", "externalExecutionId": "run-17", "percentComplete": 100}
_FAILURE = {"type": "JobFailed", "message": "tests failed", "externalExecutionId": "run-17"}

EVENTS: dict[Operation, dict[str, Any]] = {
    Operation.JOB_SUCCESS: {
        "jobId": JOB_ID,
        "currentRevision": _REVISION,
        "executionDetails": _DETAILS,
        "outputVariables": {"version": "1.2.3"},
    },
    Operation.THIRD_PARTY_JOB_SUCCESS: {
        "jobId": "third-party-job",
        "clientToken": "a-token",
        "currentRevision": _REVISION,
        "continuationToken": "deployment-9",
        "executionDetails": _DETAILS,
    },
    Operation.JOB_FAILURE: {"jobId": JOB_ID, "failureDetails": _FAILURE},
    Operation.THIRD_PARTY_JOB_FAILURE: {
        "jobId": "third-party-job",
        "clientToken": "a-token",
        "failureDetails": _FAILURE,
    },
}


def event(operation: Operation = Operation.JOB_SUCCESS, /, **members: Any) -> dict[str, Any]:
    """A valid event, free to be changed; `members` replace its own, `...` takes one out."""
    made = copy.deepcopy(EVENTS[operation]) | members
    return {name: item for name, item in made.items() if item is not ...}


def decoder(**settings: Any) -> Decoder:
    defaults: dict[str, Any] = {
        "digest_key": b"key",
        "unknown_members": "reject",
        "key": "any",
        "client_token_of": {CLIENT_ID: KNOWN_TOKEN}.get,
    }
    return Decoder(**(defaults | settings))


def record(value: object, *headers: tuple[str, bytes | None], key: bytes | None = None) -> Record:
    text = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    return Record("job-results", 0, 7, NOW, key, text, headers)


def decode(
    value: object,
    *headers: tuple[str, bytes | None],
    key: bytes | None = None,
    **settings: Any,
) -> JobResult | Rejection | Skipped:
    return decoder(**settings).decode(record(value, *headers, key=key), NOW)


def accepted(value: object, *headers: tuple[str, bytes | None], **settings: Any) -> JobResult:
    result = decode(value, *headers, **settings)
    assert isinstance(result, JobResult), result
    return result


def rejected(
    value: object, *headers: tuple[str, bytes | None], **settings: Any
) -> tuple[Violation, ...]:
    result = decode(value, *headers, **settings)
    assert isinstance(result, Rejection), result
    return result.violations


def body_of(result: JobResult) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(result.body)
    return body
