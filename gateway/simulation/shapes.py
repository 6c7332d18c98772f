"""The inputs of the ten operations about jobs, with every limit, as AWS checks them.

A table of its own: the simulator judges what the gateway sends, so it must not share the
gateway's idea of the limits. A test compares this table with botocore's service model.
Source: https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from gateway.simulation.answers import Refusal

OUTPUT_VARIABLES_MAX_BYTES = 122_880


class Unreadable(Exception):
    """The JSON has a type that the service cannot read: a SerializationException."""


class Shape(Protocol):
    """The rules of one value."""

    def faults(self, value: Any, at: str) -> list[str]:
        """The rules that the value at this member breaks, in AWS's words.

        Raises Unreadable if its JSON type is wrong.
        """


@dataclass(frozen=True, slots=True)
class Text:
    min: int = 0
    max: int | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()

    def faults(self, value: Any, at: str) -> list[str]:
        if not isinstance(value, str):
            raise Unreadable(f"{_token(value)} can not be converted to a String")
        return [f"Value '{value}' at '{at}' {_FAILED} {rule}" for rule in self.broken(value)]

    def broken(self, value: str) -> list[str]:
        rules = []
        if self.pattern and not re.fullmatch(self.pattern, value):
            rules.append(f"Member must satisfy regular expression pattern: {self.pattern}")
        if self.choices and value not in self.choices:
            rules.append(f"Member must satisfy enum value set: [{', '.join(self.choices)}]")
        if self.max is not None and len(value) > self.max:
            rules.append(f"Member must have length less than or equal to {self.max}")
        if len(value) < self.min:
            rules.append(f"Member must have length greater than or equal to {self.min}")
        return rules


@dataclass(frozen=True, slots=True)
class Whole:
    min: int
    max: int | None = None

    def faults(self, value: Any, at: str) -> list[str]:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Unreadable(f"{_token(value)} can not be converted to an Integer")
        failed = f"Value '{value}' at '{at}' {_FAILED} Member must have value"
        if self.max is not None and value > self.max:
            return [f"{failed} less than or equal to {self.max}"]
        return [] if value >= self.min else [f"{failed} greater than or equal to {self.min}"]


@dataclass(frozen=True, slots=True)
class Instant:
    """Epoch seconds as a JSON number."""

    def faults(self, value: Any, at: str) -> list[str]:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise Unreadable(f"{_token(value)} can not be converted to milliseconds since epoch")
        return []


@dataclass(frozen=True, slots=True)
class Dictionary:
    key: Text
    value: Text
    max: int | None = None

    def faults(self, value: Any, at: str) -> list[str]:
        if not isinstance(value, dict):
            raise Unreadable(f"{_token(value)} found where a map was expected")
        found = [f for name, content in value.items() for f in self._entry(name, content, at)]
        if self.max is not None and len(value) > self.max:
            found.append(
                f"Value at '{at}' {_FAILED} Member must have length less than or equal "
                f"to {self.max}"
            )
        return found

    def _entry(self, name: str, content: Any, at: str) -> list[str]:
        rules = ", ".join(self.key.broken(name))
        found = [f"Value at '{at}' {_FAILED} Map keys must satisfy: [{rules}]"] if rules else []
        if content is None:
            return [*found, f"Value at '{at}' {_FAILED} Map value must not be null"]
        return found + self.value.faults(content, f"{at}.{name}.member")


@dataclass(frozen=True, slots=True)
class Structure:
    """Members that the table does not name are passed over, as AWS does. `null` is absent."""

    required: frozenset[str]
    members: Mapping[str, Shape]

    def faults(self, value: Any, at: str = "") -> list[str]:
        if not isinstance(value, dict):
            raise Unreadable(f"{_token(value)} found where a structure was expected")
        found = []
        for name, shape in self.members.items():
            member = f"{at}.{name}" if at else name
            if value.get(name) is not None:
                found += shape.faults(value[name], member)
            elif name in self.required:
                found.append(f"Value at '{member}' {_FAILED} Member must not be null")
        return found


_FAILED = "failed to satisfy constraint:"


def _token(value: Any) -> str:
    """What the JSON reader of AWS's services calls such a value."""
    if isinstance(value, bool):
        return "TRUE_VALUE" if value else "FALSE_VALUE"
    names = {str: "STRING_VALUE", int: "NUMBER_VALUE", float: "DECIMAL_VALUE", type(None): "NULL"}
    return names.get(type(value), "Start of structure, map or list")


_JOB_ID = Text(pattern="[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_THIRD_PARTY_JOB_ID = Text(min=1, max=512)
_CLIENT_TOKEN = Text(min=1, max=256)
_NONCE = Text(min=1, max=50)
_CONTINUATION_TOKEN = Text(min=1, max=2048)
_EXTERNAL_EXECUTION_ID = Text(min=1, max=1500)

ACTION_TYPE_ID = Structure(
    frozenset({"category", "owner", "provider", "version"}),
    {
        "category": Text(
            choices=("Source", "Build", "Deploy", "Test", "Invoke", "Approval", "Compute")
        ),
        "owner": Text(choices=("AWS", "ThirdParty", "Custom")),
        "provider": Text(min=1, max=35, pattern="[0-9A-Za-z_-]+"),
        "version": Text(min=1, max=9, pattern="[0-9A-Za-z_-]+"),
    },
)
_CURRENT_REVISION = Structure(
    frozenset({"revision", "changeIdentifier"}),
    {
        "revision": Text(min=1, max=1500),
        "changeIdentifier": Text(min=1, max=100),
        "created": Instant(),
        "revisionSummary": Text(min=1, max=2048),
    },
)
_EXECUTION_DETAILS = Structure(
    frozenset(),
    {
        "summary": Text(min=1, max=2048),
        "externalExecutionId": _EXTERNAL_EXECUTION_ID,
        "percentComplete": Whole(0, 100),
    },
)
_FAILURE_DETAILS = Structure(
    frozenset({"type", "message"}),
    {
        "type": Text(
            choices=(
                "JobFailed",
                "ConfigurationError",
                "PermissionError",
                "RevisionOutOfSync",
                "RevisionUnavailable",
                "SystemUnavailable",
            )
        ),
        "message": Text(min=1, max=5000),
        "externalExecutionId": _EXTERNAL_EXECUTION_ID,
    },
)
_OUTPUT_VARIABLES = Dictionary(Text(pattern=r"[A-Za-z0-9@\-_]+"), Text())
_QUERY_PARAM = Dictionary(Text(min=1, max=50), Text(min=1, max=50, pattern="[a-zA-Z0-9_-]+"), 1)
_SUCCESS: Mapping[str, Shape] = {
    "currentRevision": _CURRENT_REVISION,
    "continuationToken": _CONTINUATION_TOKEN,
    "executionDetails": _EXECUTION_DETAILS,
}

INPUTS: Mapping[str, Structure] = {
    "PollForJobs": Structure(
        frozenset({"actionTypeId"}),
        {"actionTypeId": ACTION_TYPE_ID, "maxBatchSize": Whole(1), "queryParam": _QUERY_PARAM},
    ),
    "AcknowledgeJob": Structure(frozenset({"jobId", "nonce"}), {"jobId": _JOB_ID, "nonce": _NONCE}),
    "GetJobDetails": Structure(frozenset({"jobId"}), {"jobId": _JOB_ID}),
    "PollForThirdPartyJobs": Structure(
        frozenset({"actionTypeId"}), {"actionTypeId": ACTION_TYPE_ID, "maxBatchSize": Whole(1)}
    ),
    "AcknowledgeThirdPartyJob": Structure(
        frozenset({"jobId", "nonce", "clientToken"}),
        {"jobId": _THIRD_PARTY_JOB_ID, "nonce": _NONCE, "clientToken": _CLIENT_TOKEN},
    ),
    "GetThirdPartyJobDetails": Structure(
        frozenset({"jobId", "clientToken"}),
        {"jobId": _THIRD_PARTY_JOB_ID, "clientToken": _CLIENT_TOKEN},
    ),
    "PutJobSuccessResult": Structure(
        frozenset({"jobId"}), {"jobId": _JOB_ID, **_SUCCESS, "outputVariables": _OUTPUT_VARIABLES}
    ),
    "PutThirdPartyJobSuccessResult": Structure(
        frozenset({"jobId", "clientToken"}),
        {"jobId": _THIRD_PARTY_JOB_ID, "clientToken": _CLIENT_TOKEN, **_SUCCESS},
    ),
    "PutJobFailureResult": Structure(
        frozenset({"jobId", "failureDetails"}),
        {"jobId": _JOB_ID, "failureDetails": _FAILURE_DETAILS},
    ),
    "PutThirdPartyJobFailureResult": Structure(
        frozenset({"jobId", "clientToken", "failureDetails"}),
        {
            "jobId": _THIRD_PARTY_JOB_ID,
            "clientToken": _CLIENT_TOKEN,
            "failureDetails": _FAILURE_DETAILS,
        },
    ),
}


def read_body(body: bytes) -> dict[str, Any] | Refusal:
    """The JSON object that the body is, or AWS's refusal. An empty body is an empty object."""
    try:
        value = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        return Refusal("SerializationException", f"Unable to parse the request: {error}")
    if not isinstance(value, dict):
        return Refusal("SerializationException", f"{_token(value)} found where not expected.")
    return value


def refused_input(operation: str, request: Mapping[str, Any]) -> Refusal | None:
    """Why AWS would refuse this input before it looks at any job."""
    try:
        faults = INPUTS[operation].faults(request)
    except Unreadable as error:
        return Refusal("SerializationException", str(error))
    if faults:
        noun = "error" if len(faults) == 1 else "errors"
        return Refusal(
            "ValidationException",
            f"{len(faults)} validation {noun} detected: {'; '.join(faults)}",
        )
    return _refused_variables(operation, request)


def _refused_variables(operation: str, request: Mapping[str, Any]) -> Refusal | None:
    variables = request.get("outputVariables")
    if not variables or operation != "PutJobSuccessResult":
        return None
    if request.get("continuationToken") is not None:
        return Refusal(
            "ValidationException",
            "Output variables cannot be specified together with a continuation token",
        )
    size = sum(len(k.encode()) + len(v.encode()) for k, v in variables.items())
    if size > OUTPUT_VARIABLES_MAX_BYTES:
        return Refusal(
            "OutputVariablesSizeExceededException",
            f"The total size of the output variables exceeds {OUTPUT_VARIABLES_MAX_BYTES} bytes",
        )
    return None
