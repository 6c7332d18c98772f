"""The four requests of CodePipeline: members and limits as one table, and what follows from it.

Guarantee: what `examine` lets pass breaks no limit that the API documents, those that AWS's own
clients leave unchecked included. A test compares the table with the installed service model.

Source: https://docs.aws.amazon.com/codepipeline/latest/APIReference/, model 2015-07-09. The limit
of 122,880 bytes for output variables stands in AWS's quotas, not in the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.core.limits import (
    Check,
    Member,
    Moment,
    Structure,
    Text,
    TextMap,
    Whole,
)
from gateway.core.model import Claim, Operation
from gateway.core.violations import Examination

JOB_ID = Text(pattern="[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CLIENT_ID = JOB_ID
THIRD_PARTY_JOB_ID = Text(1, 512)
CLIENT_TOKEN = Text(1, 256)
CONTINUATION_TOKEN = Text(1, 2048)
EXTERNAL_EXECUTION_ID = Text(1, 1500)
CURRENT_REVISION = Structure(
    (
        Member("revision", Text(1, 1500), is_required=True),
        Member("changeIdentifier", Text(1, 100), is_required=True),
        Member("created", Moment()),
        Member("revisionSummary", Text(1, 2048)),
    )
)
EXECUTION_DETAILS = Structure(
    (
        Member("summary", Text(1, 2048)),
        Member("externalExecutionId", EXTERNAL_EXECUTION_ID),
        Member("percentComplete", Whole(0, 100)),
    )
)
FAILURE_TYPES = (
    "JobFailed",
    "ConfigurationError",
    "PermissionError",
    "RevisionOutOfSync",
    "RevisionUnavailable",
    "SystemUnavailable",
)
FAILURE_DETAILS = Structure(
    (
        Member("type", Text(choices=FAILURE_TYPES), is_required=True),
        Member("message", Text(1, 5000), is_required=True),
        Member("externalExecutionId", EXTERNAL_EXECUTION_ID),
    )
)
OUTPUT_VARIABLES = TextMap(
    key=Text(pattern=r"[A-Za-z0-9@\-_]+"), value=Text(), max_total_bytes=122_880
)

REQUESTS: Mapping[Operation, Structure] = {
    Operation.JOB_SUCCESS: Structure(
        (
            Member("jobId", JOB_ID, is_required=True),
            Member("currentRevision", CURRENT_REVISION),
            Member("continuationToken", CONTINUATION_TOKEN),
            Member("executionDetails", EXECUTION_DETAILS),
            Member("outputVariables", OUTPUT_VARIABLES),
        )
    ),
    Operation.THIRD_PARTY_JOB_SUCCESS: Structure(
        (
            Member("jobId", THIRD_PARTY_JOB_ID, is_required=True),
            Member("clientToken", CLIENT_TOKEN, is_required=True),
            Member("currentRevision", CURRENT_REVISION),
            Member("continuationToken", CONTINUATION_TOKEN),
            Member("executionDetails", EXECUTION_DETAILS),
        )
    ),
    Operation.JOB_FAILURE: Structure(
        (
            Member("jobId", JOB_ID, is_required=True),
            Member("failureDetails", FAILURE_DETAILS, is_required=True),
        )
    ),
    Operation.THIRD_PARTY_JOB_FAILURE: Structure(
        (
            Member("jobId", THIRD_PARTY_JOB_ID, is_required=True),
            Member("clientToken", CLIENT_TOKEN, is_required=True),
            Member("failureDetails", FAILURE_DETAILS, is_required=True),
        )
    ),
}

THIRD_PARTY = (Operation.THIRD_PARTY_JOB_SUCCESS, Operation.THIRD_PARTY_JOB_FAILURE)
"""The operations whose sender proves itself by a client token."""

WHY_KIND: Mapping[Operation, str] = {
    Operation.JOB_SUCCESS: "no failureDetails and no client token",
    Operation.THIRD_PARTY_JOB_SUCCESS: "a client token and no failureDetails",
    Operation.JOB_FAILURE: "failureDetails and no client token",
    Operation.THIRD_PARTY_JOB_FAILURE: "failureDetails and a client token",
}
"""What makes an event this request and no other."""

ALL_MEMBERS = tuple(
    dict.fromkeys(member.name for request in REQUESTS.values() for member in request.members)
)


def operation_of(document: Mapping[str, object]) -> Operation:
    """Which request the members make. Null members are absent, here as everywhere."""
    has_token = document.get("clientToken") is not None or document.get("clientId") is not None
    if document.get("failureDetails") is not None:
        return Operation.THIRD_PARTY_JOB_FAILURE if has_token else Operation.JOB_FAILURE
    return Operation.THIRD_PARTY_JOB_SUCCESS if has_token else Operation.JOB_SUCCESS


def _compiled(operation: Operation, request: Structure) -> Check:
    own = {member.name for member in request.members}
    foreign = tuple(name for name in (*ALL_MEMBERS, "clientId") if name not in own)
    why = f"is no member of {operation} (which {WHY_KIND[operation]} make)"
    return request.check_at("$", foreign, why)


_CHECKS = {operation: _compiled(operation, request) for operation, request in REQUESTS.items()}


def examine(
    operation: Operation, document: Mapping[str, object], examination: Examination
) -> dict[str, Any]:
    """The canonical request, of use only if the examination has noted no violation.

    Canonical: members in the order of the table, map keys sorted, `created` as epoch seconds,
    absent members left out.
    """
    canonical: dict[str, Any] = _CHECKS[operation](document, examination)
    if "outputVariables" in canonical and "continuationToken" in canonical:
        examination.note("$.outputVariables", "must be left out beside continuationToken")
    return canonical


def is_valid_job_id(operation: Operation, job_id: object) -> bool:
    rule = THIRD_PARTY_JOB_ID if operation in THIRD_PARTY else JOB_ID
    return isinstance(job_id, str) and bool(rule.acceptance()(job_id))


def claim_of(canonical: Mapping[str, object]) -> Claim:
    """What a canonical request says of its job."""
    if "failureDetails" in canonical:
        return Claim.FAILED
    return Claim.CONTINUES if "continuationToken" in canonical else Claim.SUCCEEDED


class Digests:
    """Digests of requests under one key: equal for equal operation and canonical request.

    BLAKE2b-128, keyed, so that who reads a digest cannot guess at the request. The client token is
    left out: it proves the sender and says nothing of the job.
    """

    __slots__ = ("_begun",)

    def __init__(self, key: bytes) -> None:
        """Any length of key; what exceeds the 64 bytes of BLAKE2b is condensed to 64."""
        fitting = key if len(key) <= hashlib.blake2b.MAX_KEY_SIZE else _condensed(key)
        self._begun = {
            operation: hashlib.blake2b(f"{operation}\n".encode(), digest_size=16, key=fitting)
            for operation in Operation
        }

    def digest(self, operation: Operation, tokenless_body: bytes) -> bytes:
        state = self._begun[operation].copy()
        state.update(tokenless_body)
        return state.digest()


def _condensed(key: bytes) -> bytes:
    return hashlib.blake2b(key).digest()


def wire_body(canonical: Mapping[str, Any]) -> bytes:
    """The request as CodePipeline is sent it: JSON in UTF-8. A copy, because what orjson returns
    keeps the 4 KiB that it was written in for as long as it waits."""
    return b"%b" % orjson.dumps(canonical)


def tokenless(canonical: Mapping[str, Any]) -> dict[str, Any]:
    """The canonical request without what proves the sender: what digests are made of."""
    return {name: item for name, item in canonical.items() if name != "clientToken"}


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the events. What it accepts, the gateway accepts, but for
    what a schema cannot say: sizes in all, repeated keys, moments too far ahead."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Job result for the job-result gateway",
        "description": "One of CodePipeline's four requests that report a job's result.",
        "oneOf": [{"$ref": f"#/$defs/{operation}"} for operation in REQUESTS],
        "$defs": {str(op): _request_schema(op, request) for op, request in REQUESTS.items()},
    }


def _request_schema(operation: Operation, request: Structure) -> dict[str, Any]:
    schema = {"description": f"{operation}: {WHY_KIND[operation]}."} | request.schema()
    if "clientToken" in schema["properties"]:
        schema["properties"]["clientId"] = CLIENT_ID.schema()
        schema["required"].remove("clientToken")
        schema["oneOf"] = [{"required": ["clientToken"]}, {"required": ["clientId"]}]
    if "outputVariables" in schema["properties"]:
        schema["not"] = {"required": ["continuationToken", "outputVariables"]}
    return schema
