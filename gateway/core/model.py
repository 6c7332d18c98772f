"""The words of the gateway as types. Values only: nothing here decides, waits or touches.

Shapes of a record's way:

    Record -> JobResult | Rejection | Skipped -> attempts: Failure | None -> Outcome (+ DeadLetter)

Times are seconds since the epoch as floats unless the name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Operation(StrEnum):
    """The four calls of CodePipeline's API that report a job's result."""

    JOB_SUCCESS = "PutJobSuccessResult"
    THIRD_PARTY_JOB_SUCCESS = "PutThirdPartyJobSuccessResult"
    JOB_FAILURE = "PutJobFailureResult"
    THIRD_PARTY_JOB_FAILURE = "PutThirdPartyJobFailureResult"


class Claim(StrEnum):
    """What a job result says of its job. Two different claims contradict each other."""

    SUCCEEDED = "succeeded"
    CONTINUES = "continues"  # a success with a continuation token: ends this job id only
    FAILED = "failed"


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Source(NamedTuple):
    """Where a record stands in Kafka: its identity. The same source again is a redelivery."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Record(NamedTuple):
    """What Kafka gave us, unread. Header values may be None, repeated, or any bytes."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def source(self) -> Source:
        return Source(self.topic, self.partition, self.offset)

    @property
    def size_bytes(self) -> int:
        """Bytes that the record occupies while it waits: key, value and headers."""
        size = len(self.key or b"") + len(self.value or b"")
        if not self.headers:
            return size
        return size + sum(len(name) + len(value or b"") for name, value in self.headers)


@dataclass(slots=True)
class JobResult:
    """A valid record's meaning: this job ended, this way. Never changed once made."""

    operation: Operation
    job_id: str
    claim: Claim
    body: bytes
    """The validated wire body: what CodePipeline is sent. May hold a client token: never log it."""
    digest: bytes
    """16 bytes over operation and canonical body, without client token and client id."""
    named_target: str | None = None
    """The target that the event names; None: whichever is the default."""
    deadline: float | None = None
    """From the event; None: record timestamp plus the target's own deadline."""
    traceparent: str | None = None
    replay: int = 0
    """How often a dead letter of it has been sent again; such a result always asks AWS."""


class Reason(StrEnum):
    """Why a record was dead-lettered. A closed list; the first four are rejections."""

    MALFORMED = "malformed"
    INVALID = "invalid"
    UNROUTABLE = "unroutable"
    INTERNAL = "internal"
    REFUSED = "refused"
    UNKNOWN_JOB = "unknown-job"
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    GIVEN_UP = "given-up"
    CONFLICT = "conflict"


class Violation(NamedTuple):
    """One broken rule: `$.executionDetails.percentComplete`, `must be <= 100`. Holds no value."""

    member: str
    rule: str

    def __str__(self) -> str:
        return f"{self.member}: {self.rule}"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a record is not a job result. Names members and rules, never values."""

    reason: Reason
    violations: tuple[Violation, ...]
    job_id: str | None = None
    """The job that the event names, if that much could be read and is itself valid."""
    operation: Operation | None = None
    traceparent: str | None = None

    def __str__(self) -> str:
        return "; ".join(str(violation) for violation in self.violations)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record that asks nothing of us: counted, never published."""

    why: str


class Verdict(StrEnum):
    """What a failed attempt means (AWS.md, "Reading answers")."""

    ENDED = "ended"
    UNKNOWN_JOB = "unknown-job"
    EVENT_FAULT = "event-fault"
    ACCOUNT_FAULT = "account-fault"
    CLOCK = "clock"
    PRESSURE = "pressure"
    UNEXPECTED = "unexpected"
    DOUBTFUL = "doubtful"
    """Perhaps the caller's own doing: to be asked once more, the reference way."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How one attempt failed, in AWS's own words. Holds no message: messages may echo secrets."""

    code: str
    """AWS's error code, or the name of the exception that kept an answer from coming."""
    status: int | None = None
    """HTTP status, if there was an answer."""
    is_unknown: bool = False
    """Bytes may have left and no conclusive answer came: the call may have been applied."""
    foreign_operation: str | None = None
    """The other AWS operation that failed on the way (`AssumeRole`), if it was not ours."""
    is_throttle: bool = False
    """The answer asks for fewer calls, whatever its code looks like."""
    is_doubtful: bool = False
    """The lean call was refused, and may be to blame itself: the next attempt of this delivery
    goes the reference way (core/call_path.py)."""


class OutcomeKind(StrEnum):
    """How a delivery ended. A closed list."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    ALREADY_ENDED = "already-ended"
    CONFLICT = "conflict"
    DEAD_LETTERED = "dead-lettered"
    SKIPPED = "skipped"


class Certainty(StrEnum):
    CONFIRMED = "confirmed"
    INFERRED = "inferred"


@dataclass(slots=True)
class Outcome:
    """How one delivery ended: what the outcomes topic says of it. Holds no request content. Never
    changed once made."""

    kind: OutcomeKind
    certainty: Certainty
    source: Source
    time: float
    target: str | None = None
    job_id: str | None = None
    operation: Operation | None = None
    claim: Claim | None = None
    reason: Reason | None = None
    attempts: int = 0
    digest: bytes | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An undeliverable record and why. The record is kept unchanged, secrets included."""

    record: Record
    reason: Reason
    explanation: str
    """For people: members and rules, or AWS's code. No values, no secrets."""
    time: float
    stage: str
    """`decode`, `route` or `deliver`."""
    target: str | None = None
    job_id: str | None = None
    operation: Operation | None = None
    error_code: str | None = None
    attempts: int = 0
    is_ambiguous: bool = False
    """The last attempt's answer never came: AWS may have applied the result."""


@dataclass(frozen=True, slots=True)
class ReadDeadLetter:
    """A dead letter as it stands in its topic."""

    letter: DeadLetter
    """`letter.record` is the original: source, key, value, headers, timestamp (-1: it had none)."""
    position: Source
    """Where the dead letter itself stands."""
    is_truncated: bool = False
    """The value is not whole: a replay reads it at its source."""
    value_bytes: int | None = None
    value_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class CommitPoint:
    """What may be committed for one partition: everything below `offset` is settled."""

    offset: int
    note: str = ""
