"""Record to job result: what a record asks for, or everything that is wrong with it.

    value ─► one JSON object ─► which request ─► client token ─► limits ─► body, digest
    headers ─► operation, target, deadline, trace ──┘
    key ─► rule ────────────────────────────────────┘

Guarantee: `Decoder.decode` never raises, whatever the bytes, and names all violations at once. No
rejection holds a value of the event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from gateway.core.headers import NO_HEADERS, OPERATION_HEADER, Headers, read_headers
from gateway.core.json_text import read_object
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
from gateway.core.violations import Examination

UnknownMembers = Literal["reject", "ignore"]
KeyRule = Literal["any", "present", "job-id"]
ClientTokenOf = Callable[[str], str | None]
"""The client token of a client id (a lower-case UUID), None if there is none."""


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
        headers = read_headers(record.headers, examination) if record.headers else NO_HEADERS
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
        self, operation: Operation, canonical: dict[str, Any], headers: Headers
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
            replay=headers.replay,
        )


_MISSING = "-"
"""Stands for a token that could not be found, so that nothing else is said of its absence."""


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
