"""One bar on a real Kafka: everything sent, everything ended, everything committed, judged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from aiokafka import TopicPartition

from gateway.adapters.kafka_client import TROUBLE, KafkaConnection
from gateway.adapters.kafka_positions import committed
from gateway.commands.demo_children import Child, environment
from gateway.simulation.broker import KafkaBroker, Topic, gateway_topics
from gateway.simulation.history import Source
from gateway.simulation.judge import Judgement, judge
from gateway.simulation.recorder import Places, Witness, record_history
from gateway.simulation.remote import RemoteSimulator
from gateway.simulation.service import EXAMPLE_KEY
from gateway.simulation.topics import send
from gateway.simulation.workload import Event
from tests.chaos.members import Member
from tests.chaos.network import free_port
from tests.chaos.verdict import behaviour
from tests.scale.bars import Bar, events
from tests.waiting import wait_until

GRACE_SECONDS = 60.0
_LOOK_SECONDS = 0.5
_STILL_SECONDS = 90.0
_STEADY_MEMBERS = _AT_ONCE = 2
_ATTEMPT_TIMEOUT_SECONDS = 20.0
EARLY_RESULT_DELAYS_SECONDS = (0.5,)


class NoProgress(Exception):
    """Nothing has been committed for too long."""


@dataclass(frozen=True)
class Result:
    """What came of one bar."""

    bar: Bar
    seconds: float
    """From the start of the first member to committed = end."""
    joined: int
    left: int
    judgement: Judgement
    faults: list[str]

    @property
    def is_clean(self) -> bool:
        return self.judgement.is_clean and not self.faults

    def __str__(self) -> str:
        rate = self.bar.events / max(0.001, self.seconds)
        found = self.judgement
        churn = f", {self.joined} joined, {self.left} left" if self.bar.churns else ""
        return (
            f"{self.bar.name:24} {self.bar.events:>9,} events {self.seconds:7.1f} s {rate:6.0f}/s"
            f"{churn}; {found.lost} lost, {found.reordered} reordered, {found.repeats_needless} "
            f"needlessly repeated, {found.repeats_after_crash} repeated after a handover; "
            f"{'clean' if self.is_clean else 'BROKEN'}"
        )


class World:
    """One bar: topics, group and CodePipeline of its own on a shared broker."""

    def __init__(self, broker: KafkaBroker, folder: Path, bar: Bar, number: int) -> None:
        self.bar = bar
        self._broker = broker
        self._folder = folder
        prefix = f"scale-{number}"
        self.places = Places(
            f"{prefix}-results", f"{prefix}-outcomes", f"{prefix}-dead-letters", f"{prefix}-group"
        )
        self._ends: dict[TopicPartition, int] = {}
        self._endpoint = ""
        self._crew: list[Member] = []
        self._running: dict[Member, asyncio.Task[None]] = {}
        self._codes: dict[Member, int | None] = {}

    async def run(self, say: Callable[[str], None]) -> Result:
        async with self._codepipeline() as simulator:
            await self._broker.create_topics(*self._topics())
            await self._send()
            say(f"{self.bar.name}: {self.bar.events:,} events are stored")
            began = time.monotonic()
            try:
                await self._deliver()
                seconds = time.monotonic() - began
                for member in tuple(self._running):
                    await self._leave(member)
            finally:
                await asyncio.gather(*(member.end() for member in self._running))
            servers, books = self._broker.bootstrap_servers, await simulator.books()
        witness = Witness(
            early_attempts=len(EARLY_RESULT_DELAYS_SECONDS),
            attempt_timeout_seconds=_ATTEMPT_TIMEOUT_SECONDS,
        )
        judgement = judge(await record_history(servers, self.places, books, witness))
        faults = [str(violation) for violation in judgement.violations]
        faults += behaviour(self._crew, [self._codes.get(member) for member in self._crew])
        return Result(self.bar, seconds, len(self._crew), len(self._codes), judgement, faults)

    # -- the world ------------------------------------------------------------------------------

    def _topics(self) -> list[Topic]:
        names = (self.places.results, self.places.outcomes, self.places.dead_letters)
        results, outcomes, dead_letters = gateway_topics(*names, partitions=self.bar.partitions)
        stamped = {**outcomes.configs, "message.timestamp.type": "LogAppendTime"}
        return [results, Topic(outcomes.name, 4, stamped), dead_letters]

    @contextlib.asynccontextmanager
    async def _codepipeline(self) -> AsyncIterator[RemoteSimulator]:
        log = self._folder / f"codepipeline-{self.places.group}.log"
        arguments = ("simulate", "codepipeline", "--port", "0", "--any-job")
        child = Child("CodePipeline", [*arguments, "--no-verify-signatures"], log, environment())

        async def endpoint() -> str:
            found = re.search(r"at (http://\S+?);", await child.log_text())
            return found[1] if found else ""

        await child.start()
        try:
            self._endpoint = await wait_until(endpoint, 60, every_seconds=0.05)
            async with RemoteSimulator(self._endpoint) as simulator:
                yield simulator
        finally:
            await child.kill()

    async def _send(self) -> None:
        def stored(source: Source, event: Event) -> None:
            place = TopicPartition(*source[:2])
            self._ends[place] = max(self._ends.get(place, 0), source.offset + 1)

        script = list(events(self.bar))
        now = time.time()
        await send(
            self._broker.bootstrap_servers,
            self.places.results,
            script,
            lambda place: now,
            time.time,
            stored,
        )

    # -- members --------------------------------------------------------------------------------

    async def _deliver(self) -> None:
        """Everything is committed when it returns. Raises NoProgress."""
        for _ in range(_STEADY_MEMBERS if self.bar.churns else self.bar.members):
            self._join()
        churning = asyncio.create_task(self._churn()) if self.bar.churns else None
        try:
            await self._wait_committed()
        finally:
            if churning is not None:
                churning.cancel()
                await asyncio.wait({churning})

    async def _churn(self) -> None:
        """More and more members, then fewer and fewer, for ever; a few at a time."""
        while True:
            while len(self._running) < self.bar.members:
                await asyncio.gather(*(self._wait_ready(self._join()) for _ in range(_AT_ONCE)))
            while len(self._running) > _STEADY_MEMBERS:
                oldest = list(self._running)[:_AT_ONCE]
                await asyncio.gather(*(self._leave(member) for member in oldest))

    def _join(self) -> Member:
        number = len(self._crew)
        admin = free_port()
        file = self._folder / f"{self.places.group}-{number}.yaml"
        file.write_text(json.dumps(self._settings(admin)))
        variables = environment(
            AWS_ACCESS_KEY_ID=EXAMPLE_KEY.access_key, AWS_SECRET_ACCESS_KEY=EXAMPLE_KEY.secret_key
        )
        member = Member(number, file, self._folder, variables, admin)
        member.log.unlink(missing_ok=True)
        self._crew.append(member)
        self._running[member] = asyncio.create_task(member.run())
        return member

    async def _wait_ready(self, member: Member) -> None:
        await wait_until(member.is_ready, 120, every_seconds=0.1)

    async def _leave(self, member: Member) -> None:
        task = self._running[member]
        self._codes[member] = await member.leave(GRACE_SECONDS)
        del self._running[member]
        await task

    def _settings(self, admin: int) -> dict[str, object]:
        return {
            "kafka": {
                "bootstrap_servers": self._broker.bootstrap_servers,
                "group_id": self.places.group,
                "session_timeout_seconds": 20,
                "heartbeat_seconds": 2,
                "commit_interval_seconds": self.bar.commit_interval_seconds,
            },
            "input": {"topics": [self.places.results], "start": "earliest"},
            "outcomes": {"topic": self.places.outcomes},
            "dead_letters": {"topic": self.places.dead_letters},
            "targets": {"default": {"region": "us-east-1", "endpoint": self._endpoint}},
            "aws": {"attempt_timeout_seconds": _ATTEMPT_TIMEOUT_SECONDS},
            "retry": {"early_result_delays_seconds": list(EARLY_RESULT_DELAYS_SECONDS)},
            "admin": {"port": admin},
            "log": {"level": "warning", "format": "json"},
        }

    async def _wait_committed(self) -> None:
        connection = KafkaConnection(self._broker.bootstrap_servers)
        places, reached, moved_at = list(self._ends), -1, time.monotonic()
        while reached < sum(self._ends.values()):
            if time.monotonic() - moved_at > _STILL_SECONDS:
                raise NoProgress(f"{self.bar.name}: stuck at {reached} of {self.bar.events}")
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                points = (await committed(connection, self.places.group, places)).points
            except TROUBLE:
                continue
            now = sum(point.offset for point in points.values())
            if now > reached:
                reached, moved_at = now, time.monotonic()
