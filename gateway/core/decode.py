"""Record to job result: what a record asks for, or everything that is wrong with it.

    value ─► one JSON object ─► which request ─► client token ─► limits ─► body, digest
    headers ─► operation, target, deadline, trace ──┘
    key ─► rule ────────────────────────────────────┘

Guarantee: `Decoder.decode` never raises, whatever the bytes, and names all violations at once. No
rejection holds a value of the event.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from gateway.core.json_text import read_object
from gateway.core.limits import Examination
from gateway.core.model import (
    JobResult,
    Operation,
    Reason,
    Record,
    Rejection,
    Skipped,
    Violation,
)
from gateway.core.requests import (
    ALL_MEMBERS,
    CLIENT_ID,
    CLIENT_TOKEN,
    THIRD_PARTY,
    WHY_KIND,
    Digests,
    claim_of,
    examine,
    is_valid_job_id,
    operation_of,
    tokenless,
    wire_body,
)
from gateway.core.timestamps import rfc_3339

UnknownMembers = Literal["reject", "ignore"]
KeyRule = Literal["any", "present", "job-id"]
ClientTokenOf = Callable[[str], str | None]
"""The client token of a client id (a lower-case UUID), None if there is none."""

OPERATION_HEADER = "gateway-operation"
TARGET_HEADER = "gateway-target"
DEADLINE_HEADER = "gateway-deadline"
TRACE_HEADER = "traceparent"


class Decoder:
    """Decides what a record is. Same record, same answer; `now` matters to `created` only."""

    def __init__(
        self,
        *,
        digest_key: bytes,
        unknown_members: UnknownMembers,
        key: KeyRule,
        client_token_of: ClientTokenOf,
    ) -> None:
        self._digests = Digests(digest_key)
        self._ignores_unknown = unknown_members == "ignore"
        self._key_rule = key
        self._client_token_of = client_token_of

    def decode(self, record: Record, now: float) -> JobResult | Rejection | Skipped:
        """Never raises. `malformed`: the value is not one JSON object; `invalid`: rules are broken,
        by members, headers or key; `internal`: a fault of ours, to be reported. `now` is seconds
        since the epoch."""
        try:
            return self._decode(record, now)
        except Exception as error:  # one record must not kill every owner of its partition in turn
            rule = f"cannot be decoded ({type(error).__name__}): please report this"
            return Rejection(Reason.INTERNAL, (Violation("$", rule),))

    def _decode(self, record: Record, now: float) -> JobResult | Rejection | Skipped:
        if record.value is None:
            return Skipped("null value")
        examination = Examination(now, ignores_unknown=self._ignores_unknown)
        headers = _read_headers(record, examination) if record.headers else _NO_HEADERS
        document = read_object(record.value)
        if isinstance(document, tuple):
            violations = (*document, *examination.all_violations())
            return Rejection(Reason.MALFORMED, violations, traceparent=headers.traceparent)
        operation = headers.operation or operation_of(document)
        if headers.operation is not None:
            _check_agreement(headers.operation, document, examination)
        canonical = self._examine(operation, document, examination)
        if self._key_rule != "any":
            self._check_key(record.key, document, examination)
        if examination.violations:
            return _rejection(operation, document, examination, headers.traceparent)
        return self._job_result(operation, canonical, headers)

    def _examine(
        self, operation: Operation, document: dict[str, Any], examination: Examination
    ) -> dict[str, Any]:
        if operation in THIRD_PARTY and document.get("clientId") is not None:
            document = self._with_token(document, examination)
        canonical = examine(operation, document, examination)
        if examination.violations and not any(name in ALL_MEMBERS for name in document):
            examination.violations.insert(0, Violation("$", "has no member of any job result"))
        return canonical

    def _with_token(self, document: dict[str, Any], examination: Examination) -> dict[str, Any]:
        """The event with its client token in place of its client id."""
        rest = {name: item for name, item in document.items() if name != "clientId"}
        if rest.get("clientToken") is not None:
            examination.note("$.clientId", "must be left out beside clientToken")
        else:
            rest["clientToken"] = self._token(document["clientId"], examination)
        return rest

    def _token(self, client_id: object, examination: Examination) -> str:
        """Ids are checked before they are looked up: the look-up reads a file of that name."""
        if not isinstance(client_id, str) or not CLIENT_ID.acceptance()(client_id):
            examination.note("$.clientId", CLIENT_ID.broken_rule(client_id))
            return _MISSING
        token = self._client_token_of(client_id)
        if token is None:
            examination.note("$.clientId", "must be one whose client token is known here")
            return _MISSING
        if not CLIENT_TOKEN.acceptance()(token):
            rule = CLIENT_TOKEN.broken_rule(token)
            examination.note("$.clientId", f"is known, but its client token {rule}")
            return _MISSING
        return token

    def _check_key(
        self, key: bytes | None, document: dict[str, Any], examination: Examination
    ) -> None:
        job_id = document.get("jobId")
        if key is None:
            examination.note("key", "is required")
        elif self._key_rule == "job-id" and isinstance(job_id, str) and key != job_id.encode():
            examination.note("key", "must be the job id")

    def _job_result(
        self, operation: Operation, canonical: dict[str, Any], headers: _Headers
    ) -> JobResult:
        body = wire_body(canonical)
        tokenless_body = wire_body(tokenless(canonical)) if operation in THIRD_PARTY else body
        return JobResult(
            operation=operation,
            job_id=canonical["jobId"],
            claim=claim_of(canonical),
            body=body,
            digest=self._digests.digest(operation, tokenless_body),
            named_target=headers.target,
            deadline=headers.deadline,
            traceparent=headers.traceparent,
        )


_MISSING = "-"
"""Stands for a token that could not be found, so that nothing else is said of its absence."""


@dataclass(slots=True)
class _Headers:
    """What the headers ask for."""

    operation: Operation | None = None
    target: str | None = None
    deadline: float | None = None
    traceparent: str | None = None


_NO_HEADERS = _Headers()
_OPERATIONS = {str(operation): operation for operation in Operation} | {
    re.sub(r"(?<!^)(?=[A-Z])", "-", operation).lower(): operation for operation in Operation
}
_TRACE_FORM = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_LATER_TRACE_FORM = re.compile(rf"(?!00){_TRACE_FORM.pattern}(-.*)?", re.ASCII)


def _read_headers(record: Record, examination: Examination) -> _Headers:
    """The last header of a name wins, as in Kafka's own clients. Foreign headers are not read."""
    read = _Headers()
    for name, value in dict(record.headers).items():
        reader = _READERS.get(name)
        if reader is not None:
            fault = _text_fault(value) or reader(read, (value or b"").decode())
            if fault:
                examination.note(f"header {name}", fault)
    return read


def _text_fault(value: bytes | None) -> str | None:
    if value is None:
        return "must not be null"
    try:
        value.decode()
    except UnicodeDecodeError:
        return "must be UTF-8"
    return None if value else "must not be empty"


def _read_operation(read: _Headers, text: str) -> str | None:
    read.operation = _OPERATIONS.get(text)
    return None if read.operation else f"must be one of {', '.join(Operation)}"


def _read_target(read: _Headers, text: str) -> str | None:
    read.target = text
    return None


def _read_deadline(read: _Headers, text: str) -> str | None:
    read.deadline = rfc_3339(text)
    return "must be of RFC 3339, with zone" if read.deadline is None else None


def _read_trace(read: _Headers, text: str) -> str | None:
    if len(text) > 512 or not (_TRACE_FORM.fullmatch(text) or _LATER_TRACE_FORM.fullmatch(text)):
        return "must be of W3C Trace Context"
    read.traceparent = text
    return None


_READERS: dict[str, Callable[[_Headers, str], str | None]] = {
    OPERATION_HEADER: _read_operation,
    TARGET_HEADER: _read_target,
    DEADLINE_HEADER: _read_deadline,
    TRACE_HEADER: _read_trace,
}


def _check_agreement(named: Operation, document: dict[str, Any], examination: Examination) -> None:
    meant = operation_of(document)
    if meant is not named:
        rule = f"names {named}, but the members make it {meant} ({WHY_KIND[meant]})"
        examination.note(f"header {OPERATION_HEADER}", rule)


def _rejection(
    operation: Operation,
    document: dict[str, Any],
    examination: Examination,
    traceparent: str | None,
) -> Rejection:
    job_id = document.get("jobId")
    return Rejection(
        Reason.INVALID,
        examination.all_violations(),
        job_id=job_id if is_valid_job_id(operation, job_id) else None,
        operation=operation,
        traceparent=traceparent,
    )
