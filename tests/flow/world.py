"""A small world in virtual time: the in-memory log, and a CodePipeline that answers by script."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from gateway.core.backpressure import Backpressure, Budgets
from gateway.core.endings import Endings, ToldEndings
from gateway.core.model import (
    Claim,
    Failure,
    JobResult,
    Operation,
    Partition,
    Reason,
    Record,
    Rejection,
    Skipped,
    Violation,
)
from gateway.core.retry import Backoff
from gateway.core.room import ProbeDelays, Room, RoomBounds
from gateway.core.signals import Signal
from gateway.core.steps import DeliveryRules
from gateway.deliver import Deliveries, WaitingLimits, World
from gateway.flow import Admission, Flow
from gateway.intake import Intake
from gateway.partitions import Partitions, Patience
from gateway.settle import Settlement
from gateway.simulation.group import Group, LogSource
from gateway.simulation.log import DeadLettersInMemory, Log, OutcomesInMemory, TailInMemory

TOPIC = "job-results"
OVER = "over"
CUT = Failure("AttemptTimeout", is_unknown=True)
ENDED = Failure("InvalidJobStateException", 400)
EXPIRED = Failure("ExpiredTokenException", 400)
NOT_FOUND = Failure("JobNotFoundException", 400)
THROTTLED = Failure("ThrottlingException", 400, is_throttle=True)
REFUSED = Failure("ValidationException", 400)
BROKEN = Failure("InternalFailure", 500, is_unknown=True)


@dataclass
class Call:
    target: str
    job_id: str
    body: bytes
    began: float
    ended: float | None = None


class ScriptedCodePipeline:
    """Answers each job by its script, then for ever with `default`. Each call takes a second."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.script: dict[str, deque[Failure | None]] = defaultdict(deque)
        self.default: dict[str, Failure | None] = {}
        self.seconds = 1.0

    def answers(self, job_id: str, *answers: Failure | None) -> None:
        self.script[job_id].extend(answers)

    async def put(self, target: str, result: JobResult) -> Failure | None:
        loop = asyncio.get_running_loop()
        call = Call(target, result.job_id, result.body, loop.time())
        self.calls.append(call)
        await asyncio.sleep(self.seconds)
        call.ended = loop.time()
        script = self.script[result.job_id]
        return script.popleft() if script else self.default.get(target)

    def called(self, job_id: str) -> list[bytes]:
        return [call.body for call in self.calls if call.job_id == job_id]


class PlainDecoder:
    """`job:claim:text[:target]` means a job result; `poison`, `crash` and None what they say."""

    def decode(self, record: Record, now: float) -> JobResult | Rejection | Skipped:
        if record.value is None:
            return Skipped("null value")
        if record.value == b"poison":
            return Rejection(Reason.MALFORMED, (Violation("$", "is poison"),))
        if record.value == b"crash":
            raise ZeroDivisionError
        job_id, claim, text, *target = record.value.decode().split(":")
        operation = Operation.JOB_FAILURE if claim == "failed" else Operation.JOB_SUCCESS
        return JobResult(
            operation,
            job_id,
            Claim(claim),
            record.value,
            text.encode().ljust(16),
            named_target=target[0] if target else None,
        )


class PlainRoutes:
    def route(self, topic: str, named: str | None) -> str | Rejection:
        if named == "nowhere":
            return Rejection(Reason.UNROUTABLE, (Violation("target", "is unknown"),))
        return named or "default"


@dataclass
class Told:
    """A signal sink that remembers."""

    signals: list[Signal] = field(default_factory=list)

    def emit(self, signal: Signal) -> None:
        self.signals.append(signal)

    def of(self, kind: type[Signal]) -> list[Signal]:
        return [signal for signal in self.signals if isinstance(signal, kind)]


class Member:
    """One gateway process, less the process."""

    def __init__(self, world: SmallWorld, budgets: Budgets) -> None:
        self.told = Told()
        self.endings = Endings(1000)
        self.rooms = {
            target: Room(world.room, ProbeDelays(1.0, 8.0), world.give_up_seconds)
            for target in ("default", "other")
        }
        self.is_owner = True
        outside = World(world.wall, Random(1), self.told, lambda: self.is_owner)
        self.backpressure = Backpressure(budgets)
        self.outcomes = world.outcomes
        self.settlement = Settlement(
            world.outcomes,
            world.dead_letters,
            self.backpressure,
            self.endings,
            self.told,
            world.wall,
        )
        self.partitions = Partitions(
            lambda: Deliveries(
                world.codepipeline,
                self.rooms,
                self.endings,
                self.settlement,
                DeliveryRules(Backoff(1.0, 8.0), budget_attempts=3),
                outside,
                WaitingLimits(world.share, world.retries),
            ),
            self.settlement,
            Patience(10.0, 10.0),
            self.told,
            b"the replicas' own key",
            self._catch_up,
        )
        self.source = LogSource(world.group, self.partitions)
        self.partitions.attach(self.source)
        admission = Admission(
            PlainDecoder(),
            PlainRoutes(),
            {"default": 3600.0, "other": 3600.0},
            self.settlement,
            outside,
        )
        intake = Intake(self.source, self.backpressure, world.skip_ahead, self.told)
        self.flow = Flow(self.source, self.partitions, admission, intake, self.told, 100)
        self._world = world
        self.tail: TailInMemory | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def _catch_up(self) -> None:
        if self.tail is not None:
            await self.tail.wait_caught_up(2.0)

    def _hear(self) -> None:
        world = self._world
        if world.hears_after is not None:
            shares = world.shares_digests
            feed = ToldEndings(self.endings, self.rooms, [TOPIC], shares_digests=shares)
            self.tail = TailInMemory(world.outcomes, feed, world.hears_after)

    async def start(self) -> None:
        self._hear()
        await self.source.start()
        self._tasks = [
            asyncio.create_task(self.flow.read()),
            asyncio.create_task(self.flow.commit_every(1.0)),
        ]

    async def crash(self) -> None:
        """What SIGKILL does: nothing is drained, committed or told."""
        if self.partitions.current is not None:
            self.partitions.current.deliveries.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.partitions.current = None
        if self.tail is not None:
            self.tail.stop()
            self.tail = None
        await self.source.stop()

    async def stop(self) -> None:
        """What SIGTERM does."""
        self.flow.stop_reading()
        await self._tasks[0]
        await self.flow.drain()
        self._tasks[1].cancel()
        await self.partitions.partitions_revoked()
        await self.source.stop()


class SmallWorld:
    def __init__(self, partitions: int = 1) -> None:
        self.log = Log({TOPIC: partitions}, self.wall)
        self.group = Group(self.log, [TOPIC])
        self.codepipeline = ScriptedCodePipeline()
        self.outcomes = OutcomesInMemory(0.01)
        self.dead_letters = DeadLettersInMemory(0.01)
        self.members: list[Member] = []
        self.skip_ahead = 1000
        self.share = 10_000
        self.give_up_seconds = math.inf
        self.retries = 10_000
        self.room = RoomBounds(4, 1, 8)
        self.hears_after: float | None = None
        """Seconds from an outcome to every member's ear; None: they do not listen."""
        self.shares_digests = True

    def wall(self) -> float:
        return 1_700_000_000.0 + asyncio.get_running_loop().time()

    def send(self, *values: str | None) -> None:
        for value in values:
            job = None if value is None else value.split(":")[0].encode()
            self.log.append(TOPIC, None if value is None else value.encode(), key=job)

    async def member(self, budgets: Budgets | None = None) -> Member:
        member = Member(self, budgets or Budgets(10_000, 10_000_000, 10_000))
        self.members.append(member)
        await member.start()
        return member

    def committed(self, partition: int = 0) -> int | None:
        point = self.group.committed.get(Partition(TOPIC, partition))
        return None if point is None else point.offset

    def kinds(self) -> dict[str, str]:
        """Outcome by value of the record; the value stands for its record in these tests."""
        values = {record.source: record.value for record in self.log.records(TOPIC)}
        return {
            (values[outcome.source] or b"").decode(): str(outcome.kind)
            for outcome in self.outcomes.durable
            if outcome.source in values  # retention may have deleted the record since
        }


@asynccontextmanager
async def small_world(partitions: int = 1) -> AsyncIterator[SmallWorld]:
    world = SmallWorld(partitions)
    try:
        yield world
    finally:
        for member in world.members:
            await member.crash()
