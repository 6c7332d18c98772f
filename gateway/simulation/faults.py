"""Faults on request: what may go wrong between a client and CodePipeline, and when."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import orjson

from gateway.simulation.answers import Answer, Refusal, refused
from gateway.simulation.sigv4 import Caller
from gateway.simulation.throttle import RATE_EXCEEDED


class FaultKind(StrEnum):
    """How an answer goes wrong. `-after` kinds apply the call first; `slow` only waits."""

    TIMEOUT_BEFORE = "timeout-before"
    TIMEOUT_AFTER = "timeout-after"
    CUT_BEFORE = "cut-before"
    CUT_AFTER = "cut-after"
    SERVER_ERROR = "server-error"
    HTML_OK = "html-200"
    NO_REQUEST_ID = "no-request-id"
    REDIRECT = "redirect"
    XML_THROTTLE = "xml-throttle"
    THROTTLE = "throttle"
    EXPIRED = "expired-token"
    ACCESS_DENIED = "access-denied"
    NOT_AN_OBJECT = "not-an-object"
    NO_TYPE = "no-type"
    NULL_TYPE = "null-type"
    SLOW = "slow"


_APPLIES = {FaultKind.TIMEOUT_AFTER, FaultKind.CUT_AFTER, FaultKind.SLOW}
_SILENT = {
    FaultKind.TIMEOUT_BEFORE,
    FaultKind.TIMEOUT_AFTER,
    FaultKind.CUT_BEFORE,
    FaultKind.CUT_AFTER,
}
_WAITS = {FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_AFTER, FaultKind.SLOW}


@dataclass(frozen=True, slots=True)
class Aim:
    """Which calls a fault meets. An empty set: every one."""

    operations: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    access_keys: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    job_ids: frozenset[str] = frozenset()

    def meets(self, operation: str, job_id: str | None, caller: Caller) -> bool:
        return (
            (not self.operations or operation in self.operations)
            and (not self.accounts or caller.account in self.accounts)
            and (not self.access_keys or caller.access_key in self.access_keys)
            and (not self.regions or caller.region in self.regions)
            and (not self.job_ids or job_id in self.job_ids)
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble for some calls, for a number of calls or a time, by chance or always."""

    kind: FaultKind
    aim: Aim = Aim()
    count: int | None = None
    duration_seconds: float | None = None
    probability: float = 1.0
    seed: int = 0
    seconds: float = 30.0
    """How long a time-out or a slow answer takes."""
    status: int | None = None
    """For the kinds that answer: the HTTP status instead of the usual one."""
    applies: bool | None = None
    """Whether the call is applied all the same; None: as the kind says."""

    @property
    def is_applied(self) -> bool:
        return self.kind in _APPLIES if self.applies is None else self.applies

    @property
    def is_silent(self) -> bool:
        """No answer leaves: the connection is cut, at once or after `wait_seconds`."""
        return self.kind in _SILENT

    @property
    def wait_seconds(self) -> float:
        return self.seconds if self.kind in _WAITS else 0.0

    def spoiled(self, operation: str, caller: Caller) -> Answer | None:
        """The answer in place of AWS's own; None: the kind leaves AWS's own as it is."""
        answer = _answer(self.kind, operation, caller)
        if answer is None or self.status is None:
            return answer
        code = str(self.status) if answer.code.isdigit() else answer.code
        return Answer(
            self.status,
            answer.body,
            answer.content_type,
            code,
            answer.has_request_id,
            answer.location,
        )


def _answer(kind: FaultKind, operation: str, caller: Caller) -> Answer | None:
    match kind:
        case FaultKind.SERVER_ERROR:
            return refused(Refusal("InternalFailure", "", 500))
        case FaultKind.HTML_OK:
            page = b"<html><body><h1>Please log in</h1></body></html>"
            return Answer(200, page, "text/html", has_request_id=False)
        case FaultKind.NO_REQUEST_ID:
            return Answer(200, has_request_id=False)
        case FaultKind.REDIRECT:
            return Answer(
                302, b"", "text/html", "302", has_request_id=False, location="/_simulation/health"
            )
        case FaultKind.XML_THROTTLE:
            body = (
                b"<ThrottlingException>\n  <Message>Rate exceeded</Message>\n"
                b"</ThrottlingException>\n"
            )
            return Answer(400, body, "application/xml", "400")
        case FaultKind.THROTTLE:
            return refused(RATE_EXCEEDED)
        case FaultKind.EXPIRED:
            message = "The security token included in the request is expired"
            return refused(Refusal("ExpiredTokenException", message))
        case FaultKind.ACCESS_DENIED:
            return refused(_access_denied(operation, caller))
        case FaultKind.NOT_AN_OBJECT:
            return Answer(400, b"[]", code="400")
        case FaultKind.NO_TYPE:
            return Answer(503, orjson.dumps({"message": "no type"}), code="503")
        case FaultKind.NULL_TYPE:
            return Answer(400, orjson.dumps({"__type": None, "message": "null type"}))
        case _:
            return None


def _access_denied(operation: str, caller: Caller) -> Refusal:
    return Refusal(
        "AccessDeniedException",
        f"User: arn:aws:iam::{caller.account}:user/simulated is not authorized to perform: "
        f"codepipeline:{operation} because no identity-based policy allows the "
        f"codepipeline:{operation} action",
    )


class _Ordered(NamedTuple):
    id: int
    fault: Fault
    until: float | None
    chance: random.Random


@dataclass(slots=True)
class Faults:
    """The faults in force, oldest first; the first one that meets a call is its fault."""

    _ordered: dict[int, _Ordered] = field(default_factory=dict)
    _left: dict[int, int] = field(default_factory=dict)
    _last_id: int = 0

    def add(self, fault: Fault, now: float) -> int:
        """Puts a fault in force and returns its id."""
        self._last_id += 1
        until = None if fault.duration_seconds is None else now + fault.duration_seconds
        chance = random.Random(fault.seed)
        self._ordered[self._last_id] = _Ordered(self._last_id, fault, until, chance)
        if fault.count is not None:
            self._left[self._last_id] = fault.count
        return self._last_id

    def remove(self, fault_id: int) -> None:
        """Takes a fault out of force. Unknown ids are ignored."""
        self._ordered.pop(fault_id, None)
        self._left.pop(fault_id, None)

    def clear(self) -> None:
        for fault_id in tuple(self._ordered):
            self.remove(fault_id)

    def in_force(self, now: float) -> Iterator[tuple[int, Fault, int | None]]:
        """(id, fault, calls left) of each."""
        self._expire(now)
        for ordered in tuple(self._ordered.values()):
            yield ordered.id, ordered.fault, self._left.get(ordered.id)

    def draw(self, operation: str, job_id: str | None, caller: Caller, now: float) -> Fault | None:
        """The fault of this call, if any; it counts as used."""
        if not self._ordered:
            return None
        self._expire(now)
        for ordered in tuple(self._ordered.values()):
            fault = ordered.fault
            if not fault.aim.meets(operation, job_id, caller):
                continue
            if fault.probability < 1.0 and ordered.chance.random() >= fault.probability:
                continue
            self._use(ordered.id)
            return fault
        return None

    def _use(self, fault_id: int) -> None:
        if fault_id in self._left:
            self._left[fault_id] -= 1
            if self._left[fault_id] <= 0:
                self.remove(fault_id)

    def _expire(self, now: float) -> None:
        for ordered in tuple(self._ordered.values()):
            if ordered.until is not None and now >= ordered.until:
                self.remove(ordered.id)
