"""One gateway process, less the process: the real parts, put together as runtime.py does."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from functools import partial
from random import Random

from gateway.core.backpressure import Backpressure, Budgets
from gateway.core.decode import Decoder
from gateway.core.endings import Endings, ToldEndings
from gateway.core.model import DeadLetter, Outcome
from gateway.core.retry import Backoff
from gateway.core.room import ProbeDelays, Room, RoomBounds
from gateway.core.routing import Routes
from gateway.core.signals import Signal
from gateway.core.steps import DeliveryRules
from gateway.deliver import Deliveries, WaitingLimits, World
from gateway.flow import Admission, Flow
from gateway.intake import Intake
from gateway.partitions import Partitions, Patience
from gateway.settle import Settlement
from gateway.simulation.group import Group, LogSource
from tests.virtual.aws import ATTEMPT_SECONDS, CodePipelineModel
from tests.virtual.brokers import BrokersOf, Tail, Topic, Weather, Writer
from tests.virtual.loop import Process, VirtualLoop

TOPIC = "job-results"
WRITE_SECONDS = 3.0
DRAIN_SECONDS = 5.0
READING_SECONDS = 0.5
COMMIT_INTERVAL_SECONDS = 1.0


@dataclass(frozen=True)
class Configuration:
    """What operators set, the same for all members of a run; durations are short."""

    targets: tuple[str, ...]
    budgets: Budgets
    skip_ahead: int
    waiting: WaitingLimits
    rules: DeliveryRules
    give_up_seconds: float
    max_batch_records: int
    endings: int
    room: RoomBounds
    shares_digests: bool
    deadline_seconds: float


def configuration(chance: Random, targets: tuple[str, ...]) -> Configuration:
    """Mostly roomy, sometimes so tight that every limit is met."""
    is_tight = chance.random() < 0.3
    records = chance.choice((4, 8, 16)) if is_tight else 1000
    return Configuration(
        targets=targets,
        budgets=Budgets(records, 10_000_000, records),
        skip_ahead=chance.choice((4, 10, 30)) if chance.random() < 0.3 else 1000,
        waiting=WaitingLimits(
            chance.choice((2, 5)) if chance.random() < 0.2 else 1000,
            chance.choice((1, 3)) if chance.random() < 0.2 else 1000,
        ),
        rules=DeliveryRules(
            Backoff(0.2, 4.0),
            budget_attempts=chance.choice((4, 20)),
            early_result_delays=(1.0, 3.0),
            young_seconds=6.0,
            dead_letter_conflicts=chance.random() < 0.1,
        ),
        give_up_seconds=8.0 if chance.random() < 0.1 else math.inf,
        max_batch_records=chance.choice((1, 5, 100)),
        endings=1000,
        room=RoomBounds(chance.choice((1, 4)), chance.choice((0.1, 1)), 8),
        shares_digests=chance.random() < 0.7,
        deadline_seconds=3600.0,
    )


class Watched(Backpressure):
    """Remembers the most that was ever held."""

    most_records = 0

    def take(self, size_bytes: int) -> None:
        super().take(size_bytes)
        self.most_records = max(self.most_records, self.records)


class Silent:
    """Nobody listens to signals here: the history tells everything."""

    def emit(self, signal: Signal) -> None:
        """Says nothing."""


@dataclass(frozen=True)
class Surroundings:
    """What all members of a run share."""

    loop: VirtualLoop
    group: Group
    weather: Weather
    codepipeline: CodePipelineModel
    outcomes: Topic[Outcome]
    dead_letters: Topic[DeadLetter]
    configuration: Configuration


class Member:
    """One process from its start to its end, whichever way it ends."""

    def __init__(self, around: Surroundings, name: str, seed: int) -> None:
        self.around = around
        self.name = name
        self.process = Process(name, around.loop)
        self.wall_offset_seconds = 0.0
        self.told_to_stop_at: float | None = None
        self.has_left = False
        self.brokers = BrokersOf(around.weather, self.process)
        self._stop = asyncio.Event()
        self._at_once = asyncio.Event()
        self.process.context.run(self._build, seed)

    @property
    def is_alive(self) -> bool:
        return not self.process.is_dead and not self.has_left

    def start(self) -> None:
        self.process.spawn(self._run())

    def terminate(self) -> None:
        """SIGTERM; the second one skips the drain."""
        if self.told_to_stop_at is None:
            self.told_to_stop_at = self.around.loop.time()
        told = self._at_once.set if self._stop.is_set() else self._stop.set
        self.around.loop.call_soon(told, context=self.process.context)

    def wall(self) -> float:
        return self.around.codepipeline.now() + self.wall_offset_seconds

    def _build(self, seed: int) -> None:
        around, settings, silent = self.around, self.around.configuration, Silent()
        self.backpressure = Watched(settings.budgets)
        self._endings = Endings(settings.endings)
        self.settlement = Settlement(
            Writer(around.outcomes, self.brokers, around.weather, around.loop),
            Writer(around.dead_letters, self.brokers, around.weather, around.loop),
            self.backpressure,
            self._endings,
            silent,
            self.wall,
        )
        self.rooms = {
            target: Room(settings.room, ProbeDelays(0.5, 4.0), settings.give_up_seconds)
            for target in settings.targets
        }
        self._world = World(self.wall, Random(seed), silent, lambda: self._source.is_owner())
        feed = ToldEndings(
            self._endings, settings.targets, [TOPIC], shares_digests=settings.shares_digests
        )
        tail = Tail(around.outcomes, feed, self.brokers, around.loop)
        self.partitions = Partitions(
            self._new_deliveries,
            self.settlement,
            Patience(ATTEMPT_SECONDS, WRITE_SECONDS),
            silent,
            b"the replicas' own key",
            partial(tail.wait_caught_up, 2.0),
        )
        self._source = LogSource(around.group, self.partitions, self.brokers, self.name)
        self.partitions.attach(self._source)
        self._flow = Flow(
            self._source,
            self.partitions,
            self._admission(seed),
            Intake(self._source, self.backpressure, settings.skip_ahead, silent),
            silent,
            settings.max_batch_records,
        )

    def _admission(self, seed: int) -> Admission:
        settings = self.around.configuration
        key = b"shared" if settings.shares_digests else f"own {seed}".encode()
        allowed = {TOPIC: settings.targets} if len(settings.targets) > 1 else {}
        return Admission(
            Decoder(
                digest_key=key,
                unknown_members="reject",
                key="any",
                client_token_of=lambda client_id: None,
            ),
            Routes(settings.targets, None, allowed),
            dict.fromkeys(settings.targets, settings.deadline_seconds),
            self.settlement,
            self._world,
        )

    def _new_deliveries(self) -> Deliveries:
        settings = self.around.configuration
        return Deliveries(
            self.around.codepipeline,
            self.rooms,
            self._endings,
            self.settlement,
            settings.rules,
            self._world,
            settings.waiting,
        )

    async def _run(self) -> None:
        """As runtime.Gateway does, from joining the group to having left it."""
        starting = asyncio.create_task(self._source.start())
        reading = asyncio.create_task(self._flow.read())
        committing = asyncio.create_task(self._flow.commit_every(COMMIT_INTERVAL_SECONDS))
        asked = asyncio.create_task(self._stop.wait())
        await asyncio.wait({asked, reading}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        self._flow.stop_reading()
        starting.cancel()
        await asyncio.wait({reading}, timeout=READING_SECONDS)
        await self._drain()
        committing.cancel()
        await asyncio.wait({committing, starting})
        await self.partitions.partitions_revoked()
        await self._source.stop()
        self.has_left = True
        self.process.kill()  # what is still on its way is nobody's any more

    async def _drain(self) -> None:
        draining = asyncio.create_task(self._flow.drain())
        skipped = asyncio.create_task(self._at_once.wait())
        await asyncio.wait(
            {draining, skipped}, timeout=DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        draining.cancel()
        skipped.cancel()
