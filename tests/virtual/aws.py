"""CodePipeline without its wire: a JobResult in, a call of the simulated service, a Failure out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random

from gateway.core.model import Failure, JobResult
from gateway.core.retry import ATTEMPT_TIMEOUT, NO_REQUEST_ID
from gateway.simulation.answers import Answer, refused
from gateway.simulation.books import Books, Entry
from gateway.simulation.faults import FaultKind, Faults
from gateway.simulation.jobs import Jobs, JobState
from gateway.simulation.operations import Call, carry_out
from gateway.simulation.shapes import read_body, refused_input
from gateway.simulation.sigv4 import Caller
from gateway.simulation.throttle import Limits, Throttle
from tests.virtual.loop import PROCESS, Process, VirtualLoop

ATTEMPT_SECONDS = 3.0
"""The attempt time-out of every member."""
_CUT = Failure("ServerDisconnectedError", is_unknown=True)


@dataclass(frozen=True, slots=True)
class Answered:
    """What comes back over the connection; None: it is cut."""

    answer: Answer | None


class CodePipelineModel:
    """Jobs, faults, limits and books of one simulated CodePipeline, for all members together.

    Each target is an account of its own. A call that has left its process goes on whatever
    becomes of the process, and may take effect long after its caller has given it up.
    """

    def __init__(self, chance: Random, loop: VirtualLoop, epoch: float) -> None:
        self._chance = chance
        self._loop = loop
        self._epoch = epoch
        self.books = Books()
        self.sent: list[tuple[str, float]] = []
        """Which process began a call, and when by the loop's time."""
        self.faults = Faults()
        self.throttle = Throttle(Limits())
        self.jobs = Jobs(self._new_id, "nobody", follow_up_state=JobState.IN_PROGRESS)
        self.latency_seconds = 0.05
        self.latency_spread_seconds = 0.2

    def now(self) -> float:
        return self._epoch + self._loop.time()

    async def put(self, target: str, result: JobResult) -> Failure | None:
        """As one member's adapter would: bounded by the attempt time-out."""
        answered: asyncio.Future[Answered] = self._loop.create_future()
        process = PROCESS.get()
        if process is not None:
            self.sent.append((process.name, self._loop.time()))
        self._loop.in_the_world(self._call(target, result, process, answered))
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                answer = (await answered).answer
        except TimeoutError:
            return Failure(ATTEMPT_TIMEOUT, is_unknown=True)
        return _CUT if answer is None else _failure(answer)

    async def _call(
        self,
        target: str,
        result: JobResult,
        process: Process | None,
        answered: asyncio.Future[Answered],
    ) -> None:
        way = self._latency() / 2
        await asyncio.sleep(way)
        if process is not None and process.is_dead and self._chance.random() < 0.5:
            return  # the connection broke before everything had left
        name = process.name if process is not None else ""
        entry = self._begin(target, result, name)
        answer = await self._serve(entry, target, result)
        await asyncio.sleep(way)
        is_there = not answered.done() and not (process is not None and process.is_dead)
        self.books.end(entry, self.now(), delivered=is_there and answer is not None)
        if not answered.done():
            answered.set_result(Answered(answer))

    def _begin(self, target: str, result: JobResult, instance: str) -> Entry:
        number = len(self.books) + 1
        entry = self.books.begin(self.now(), result.operation.value, f"{number:012x}", "")
        entry.instance = instance
        entry.caller = Caller("", target, "")
        return entry

    async def _serve(self, entry: Entry, target: str, result: JobResult) -> Answer | None:
        request = read_body(result.body)
        assert isinstance(request, dict), "the gateway sends nothing but objects"
        self.books.describe(entry, request, result.body)
        caller = Caller("", target, "")
        throttled = self.throttle.enter(target, "", self.now())
        if throttled is not None:
            answer = refused(throttled)
        else:
            try:
                return await self._admitted(entry, request, caller)
            finally:
                self.throttle.leave(target, "")
        entry.status, entry.code = answer.status, answer.code
        return answer

    async def _admitted(
        self, entry: Entry, request: dict[str, object], caller: Caller
    ) -> Answer | None:
        fault = self.faults.draw(entry.operation, entry.job_id, caller, self.now())
        if fault is not None:
            entry.fault = fault.kind.value
        answer: Answer | None = None
        if fault is None or fault.is_applied:
            answer = self._carried_out(entry, request, caller)
        if fault is not None:
            await asyncio.sleep(fault.wait_seconds)
            spoiled = fault.spoiled(entry.operation, caller)
            answer = None if fault.is_silent else spoiled or answer
        if answer is not None:
            entry.status, entry.code = answer.status, answer.code
        return answer

    def _carried_out(self, entry: Entry, request: dict[str, object], caller: Caller) -> Answer:
        refusal = refused_input(entry.operation, request)
        if refusal is not None:
            return refused(refusal)
        answer, has_applied = carry_out(
            self.jobs, Call(entry.operation, request, caller, self.now())
        )
        if has_applied:
            self.books.apply(entry)
        return answer

    def _latency(self) -> float:
        return self.latency_seconds + self.latency_spread_seconds * self._chance.random()

    def _new_id(self) -> str:
        return f"{self._chance.getrandbits(128):032x}"


def _failure(answer: Answer) -> Failure | None:
    if 200 <= answer.status < 300:
        return None if answer.has_request_id else Failure(NO_REQUEST_ID, answer.status, True)
    code = answer.code or str(answer.status)
    is_xml_throttle = b"ThrottlingException" in answer.body and code == "400"
    return Failure(
        code, answer.status, is_unknown=answer.status >= 500, is_throttle=is_xml_throttle
    )


SPOILERS = (
    FaultKind.CUT_BEFORE,
    FaultKind.CUT_AFTER,
    FaultKind.TIMEOUT_BEFORE,
    FaultKind.TIMEOUT_AFTER,
    FaultKind.SERVER_ERROR,
    FaultKind.HTML_OK,
    FaultKind.NO_REQUEST_ID,
    FaultKind.XML_THROTTLE,
    FaultKind.THROTTLE,
    FaultKind.SLOW,
    FaultKind.NO_TYPE,
)
"""Troubles that come and go with single calls."""
