"""CodePipeline without its wire: what becomes of a call, decided in three steps.

    begin (in the books) -> admit (who, what, may it?) -> conclude (apply, answer) -> end

The server puts time between the steps. Nothing here waits, and nothing is decided twice.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.simulation.answers import JSON_1_1, Answer, Refusal, readable, refused
from gateway.simulation.books import Books, Entry, canonical
from gateway.simulation.faults import Fault, Faults
from gateway.simulation.jobs import Jobs, JobState
from gateway.simulation.operations import Call, carry_out
from gateway.simulation.shapes import INPUTS, read_body, refused_input
from gateway.simulation.sigv4 import (
    DEFAULT_ACCOUNT,
    AccessKey,
    Caller,
    SignatureVerifier,
    SignedRequest,
    unverified_caller,
)
from gateway.simulation.throttle import Limits, Throttle

TARGET_PREFIX = "CodePipeline_20150709."
BODY_MAX_BYTES = 1_048_576
# AWS's own example credentials: in every manual, and known to every scanner as harmless.
EXAMPLE_KEY = AccessKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
_TOO_LARGE = Refusal("RequestEntityTooLargeException", "The request body is too large", 413)
_UNKNOWN_OPERATION = Refusal("UnknownOperationException", "", 400)
_TOO_DEEP = Refusal("SerializationException", "The request is nested too deeply")


def _is_json_1_1(request: SignedRequest) -> bool:
    types = [value for name, value in request.headers if name.lower() == "content-type"]
    return [t.partition(";")[0].strip() for t in types] == [JSON_1_1]


@dataclass(frozen=True, slots=True)
class Rules:
    """How the simulated CodePipeline behaves from the start."""

    keys: tuple[AccessKey, ...] = (EXAMPLE_KEY,)
    verify_signatures: bool = True
    takes_any_id: bool = False
    follow_up_state: JobState = JobState.CREATED
    limits: Limits = field(default_factory=Limits)
    seed: int | None = None
    """None: other job ids at every start."""


@dataclass(slots=True)
class Admission:
    """A call on its way. Either it is refused already, or it may be carried out."""

    entry: Entry
    caller: Caller
    request: Mapping[str, Any] = field(default_factory=dict)
    refusal: Refusal | None = None
    fault: Fault | None = None
    is_in: bool = False
    """It occupies a place in the throttle and must leave it."""


class Service:
    """Jobs, faults, limits, keys and books of one simulated CodePipeline."""

    def __init__(self, rules: Rules, books: Books) -> None:
        self._rules = rules
        self._chance = random.Random(rules.seed)
        self._latencies = random.Random(rules.seed)
        self._request_ids = str(self._uuid())[:23]
        self.books = books
        self.faults = Faults()
        self.throttle = Throttle(rules.limits)
        self.verifier = SignatureVerifier(rules.keys)
        self.jobs = Jobs(
            lambda: str(self._uuid()),
            rules.keys[0].account if rules.keys else DEFAULT_ACCOUNT,
            takes_any_id=rules.takes_any_id,
            follow_up_state=rules.follow_up_state,
        )

    def begin(self, target: str, user_agent: str, now: float) -> Entry:
        """Enters a call in the books, whatever becomes of it."""
        request_id = f"{self._request_ids}-{len(self.books) + 1:012x}"
        named = target.startswith(TARGET_PREFIX)
        operation = readable(target[len(TARGET_PREFIX) :] if named else f"({target})")
        return self.books.begin(now, operation, request_id, user_agent)

    def admit(self, entry: Entry, request: SignedRequest, now: float) -> Admission:
        """Identifies caller and request; lets the call in, or says why not."""
        admission = self._identified(entry, request, now)
        if admission.refusal is None:
            self._read(admission, request.body)
            self._let_in(admission, now)
        self.books.write_begun(entry)
        return admission

    def conclude(self, admission: Admission, now: float) -> Answer | None:
        """Carries the call out unless it is refused or a fault prevents it.

        Returns what the caller is to be told; None: nothing, the connection ends.
        """
        entry, fault = admission.entry, admission.fault
        answer = refused(admission.refusal) if admission.refusal else None
        if answer is None and (fault is None or fault.is_applied):
            answer = self._carried_out(admission, now)
        if fault is not None:
            answer = None if fault.is_silent else self._spoiled(fault, admission) or answer
        if answer is not None:
            entry.status, entry.code = answer.status, answer.code
        return answer

    def end(self, entry: Entry, admission: Admission | None, now: float, delivered: bool) -> None:
        """Gives the call's place back and closes its entry."""
        if admission is not None and admission.is_in:
            self.throttle.leave(admission.caller.account, admission.caller.region)
        self.books.end(entry, now, delivered=delivered)

    def latency_seconds(self) -> float:
        """How long the next call takes."""
        limits = self.throttle.limits
        if not limits.latency_spread_seconds:
            return limits.latency_seconds
        return limits.latency_seconds + self._latencies.random() * limits.latency_spread_seconds

    def _identified(self, entry: Entry, request: SignedRequest, now: float) -> Admission:
        nobody = unverified_caller(request, self.verifier.keys)
        if request.method != "POST" or request.target != "/" or not _is_json_1_1(request):
            return Admission(entry, nobody, refusal=_UNKNOWN_OPERATION)
        if len(request.body) > BODY_MAX_BYTES:
            return Admission(entry, nobody, refusal=_TOO_LARGE)
        caller: Caller | Refusal = nobody
        if self._rules.verify_signatures:
            caller = self.verifier.verify(request, now)
        if isinstance(caller, Refusal):
            return Admission(entry, nobody, refusal=caller)
        entry.caller = caller
        known = entry.operation in INPUTS
        return Admission(entry, caller, refusal=None if known else _UNKNOWN_OPERATION)

    def _read(self, admission: Admission, body: bytes) -> None:
        request = read_body(body)
        if isinstance(request, Refusal):
            admission.refusal = request
            return
        text = canonical(request)
        if text is None:
            admission.refusal = _TOO_DEEP
            return
        admission.request = request
        self.books.describe(admission.entry, request, text)

    def _let_in(self, admission: Admission, now: float) -> None:
        caller, entry = admission.caller, admission.entry
        throttled = self.throttle.enter(caller.account, caller.region, now)
        if throttled is not None:
            admission.refusal = throttled
            return
        admission.is_in = True
        admission.fault = self.faults.draw(entry.operation, entry.job_id, caller, now)
        if admission.fault is not None:
            entry.fault = admission.fault.kind.value

    def _carried_out(self, admission: Admission, now: float) -> Answer:
        entry = admission.entry
        refusal = refused_input(entry.operation, admission.request)
        if refusal is not None:
            return refused(refusal)
        call = Call(entry.operation, admission.request, admission.caller, now)
        answer, has_applied = carry_out(self.jobs, call)
        if has_applied:
            self.books.apply(entry)
        return answer

    @staticmethod
    def _spoiled(fault: Fault, admission: Admission) -> Answer | None:
        return fault.spoiled(admission.entry.operation, admission.caller)

    def _uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self._chance.getrandbits(128), version=4)
