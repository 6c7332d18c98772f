"""One run: a seed becomes a world, members, events and faults; then calm; then the verdict.

chaos          events are sent, faults begin and end
calm           every fault has ended, and everything must come to rest within CALM_SECONDS
verdict        `simulation/judge.py` on what outlives the processes, and what only a staged
               world can see: budgets given back, rooms left, nobody late in leaving
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from gateway.core.model import DeadLetter, Outcome, Partition, Source
from gateway.simulation import history, judge
from gateway.simulation.books import Entry as BooksEntry
from gateway.simulation.group import Group, Terms
from gateway.simulation.jobs import JobState
from gateway.simulation.log import Log
from gateway.simulation.throttle import Limits
from tests.virtual.aws import ATTEMPT_SECONDS, CodePipelineModel
from tests.virtual.brokers import Topic, Weather
from tests.virtual.events import EPOCH, Sending, proof, workload
from tests.virtual.faults import FAULTS
from tests.virtual.loop import Spinning, VirtualLoop
from tests.virtual.member import (
    DRAIN_SECONDS,
    READING_SECONDS,
    TOPIC,
    WRITE_SECONDS,
    Member,
    Surroundings,
    configuration,
)
from tests.virtual.predicates import broken, overfull
from tests.virtual.recorded import recorded

CALM_SECONDS = 240.0
TERMS = Terms(session=4.0, heartbeat=0.5, rebalance=12.0, commit=2.0)
GRACE_SECONDS = READING_SECONDS + DRAIN_SECONDS + ATTEMPT_SECONDS + WRITE_SECONDS + 3 * TERMS.commit
"""How long a member may take to leave: reading, drain, calls, writes, its own commit and one that
is under way, and a rebalance that does the same at the same time."""


@dataclass(frozen=True)
class Verdict:
    """What became of one seed."""

    seed: int
    violations: tuple[str, ...]
    fingerprint: str
    """The same for the same history."""
    judgement: judge.Judgement
    story: tuple[str, ...] = ()
    """What the director did, for people."""

    @property
    def is_clean(self) -> bool:
        return not self.violations


def run(seed: int) -> Verdict:
    """Everything that happens follows from the seed alone."""
    loop = VirtualLoop()
    stage = Stage(seed, loop)
    try:
        loop.run_until_complete(loop.in_the_world(stage.play()))
    except (Spinning, RuntimeError) as error:
        stage.violations.append(f"liveness: {type(error).__name__}: {error}")
    found = stage.verdict()
    gc.collect(1)
    return found


@dataclass
class _Lapse:
    member: str
    since: float
    is_frozen: bool
    until: float = float("inf")


@dataclass
class Stage:
    """A world and its director."""

    seed: int
    loop: VirtualLoop
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = chance = Random(self.seed)
        self.story: list[str] = []
        self.targets = ("red", "blue")[: chance.choice((1, 1, 2))]
        partitions = chance.choice((1, 2, 3))
        self.log = Log({TOPIC: partitions}, self.wall)
        self.weather = Weather(Random(chance.getrandbits(64)))
        self.codepipeline = CodePipelineModel(Random(chance.getrandbits(64)), self.loop, EPOCH)
        self.around = Surroundings(
            self.loop,
            Group(self.log, [TOPIC], TERMS),
            self.weather,
            self.codepipeline,
            Topic[Outcome](self.loop),
            Topic[DeadLetter](self.loop),
            configuration(chance, self.targets),
        )
        records = chance.choice((15, 30, 50))
        self.events = workload(chance, list(self.targets), partitions, records)
        self.sent: dict[Source, Sending] = {}
        self.holes: dict[Partition, int] = {}
        self.members: list[Member] = []
        self.handovers: list[float] = []
        self.lapses: list[_Lapse] = []
        self.undos: list[Callable[[], None]] = []

    def wall(self) -> float:
        return EPOCH + self.loop.time()

    # -- the play -------------------------------------------------------------------------------

    async def play(self) -> None:
        for wish in self.events.jobs:
            self.codepipeline.jobs.make(wish, self.wall())
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            self.join()
        self._plan_events()
        self._plan_faults()
        self._look_after_budgets()
        await asyncio.sleep(self._chaos_seconds)
        self._calm_down()
        await self._come_to_rest()

    def _plan_events(self) -> None:
        begin = self.chance.choice((0.0, 1.0))
        for sending in self.events.sendings:
            self.loop.call_at(begin + sending.time, self.send, sending)
        for acknowledged in self.events.acknowledged:
            self.loop.call_at(begin + acknowledged.time, self._acknowledge, acknowledged.job_id)
        self._chaos_seconds = begin + max(sending.time for sending in self.events.sendings) + 8.0

    def _look_after_budgets(self) -> None:
        for member in self.alive():
            excess = overfull(self, member)
            if excess is not None and excess not in self.violations:
                self.violations.append(excess)
        self.loop.call_later(0.5, self._look_after_budgets)

    def _plan_faults(self) -> None:
        """Few kinds in one run, and those often, or all of them: either finds what the other
        overlooks (swarm testing, A. Groce et al., 2012)."""
        few = self.chance.sample(list(FAULTS), self.chance.choice((2, 3, 5, len(FAULTS))))
        weights = [FAULTS[kind] for kind in few]
        for _ in range(self.chance.choice((0, 2, 4, 7, 12))):
            [begin] = self.chance.choices(few, weights)
            at = self.chance.uniform(0.0, self._chaos_seconds)
            lasts = self.chance.choice((0.0, 1.0, 3.0, 6.0, 15.0)) * self.chance.random()
            self.loop.call_at(at, self._begin_fault, begin, lasts)

    def _begin_fault(
        self, begin: Callable[[Stage], Callable[[], None] | None], lasts: float
    ) -> None:
        self.tell(f"{begin.__name__} for {lasts:.2f} s")
        undo = begin(self)
        if undo is not None:
            self.undos.append(undo)
            self.loop.call_later(lasts, self._end_fault, undo)

    def _end_fault(self, undo: Callable[[], None]) -> None:
        if undo in self.undos:
            self.undos.remove(undo)
            undo()

    def _calm_down(self) -> None:
        self.tell("calm")
        for undo in tuple(self.undos):
            self._end_fault(undo)
        self.weather.clear_up()
        self.codepipeline.faults.clear()
        self.codepipeline.throttle.limits = Limits()
        self.codepipeline.latency_seconds = 0.05
        for member in self.alive():
            member.process.dies_at_step = None
        if not any(member.told_to_stop_at is None for member in self.alive()):
            self.join()
        self._prove_targets()

    def _prove_targets(self) -> None:
        """Who has not seen its target accept anything waits for that with unknown jobs."""
        for place in self.log.partitions(TOPIC):
            for target in self.targets:
                wish, sending = proof(self.chance, target, place.partition, self.loop.time())
                self.codepipeline.jobs.make(wish, self.wall())
                headers = (("gateway-target", target.encode()),) if len(self.targets) > 1 else ()
                self.send(sending._replace(headers=headers))

    async def _come_to_rest(self) -> None:
        until = self.loop.time() + CALM_SECONDS
        self.loop.call_later(CALM_SECONDS / 4, self._the_operator_acts)
        while not self._is_at_rest() or self.loop.time() < self.weather.settled_at:
            if self.loop.time() >= until:
                self.violations.append(f"liveness: {self._unrest()} after {CALM_SECONDS:.0f} s")
                return
            await asyncio.sleep(1.0)
        self._expect_nothing_held()

    def _the_operator_acts(self) -> None:
        """A target that knows none of our jobs is the wrong one, until somebody looks after it: a
        partition that is held for it is read no further, so no proof will come by itself."""
        for sending in self.sent.values():
            if sending.job_id is None or sending.expected != "valid":
                continue
            if self.codepipeline.jobs.get(sending.job_id, self.wall()) is None:
                self.codepipeline.jobs.make(sending.wish(), self.wall())

    def _is_at_rest(self) -> bool:
        committed = self.around.group.committed
        for place in self.log.partitions(TOPIC):
            point = committed.get(place)
            if (0 if point is None else point.offset) < self.log.end(place):
                return False
        return all(not member.settlement.open for member in self.alive())

    def _unrest(self) -> str:
        committed = self.around.group.committed
        told = []
        for place in self.log.partitions(TOPIC):
            point = committed.get(place)
            offset = 0 if point is None else point.offset
            told.append(f"{place.partition}: {offset} of {self.log.end(place)}")
        return f"committed {', '.join(told)}"

    # -- what faults and events do --------------------------------------------------------------

    def tell(self, what: str) -> None:
        self.story.append(f"{self.loop.time():8.3f} {what}")

    def alive(self) -> list[Member]:
        return [member for member in self.members if member.is_alive]

    def join(self) -> None:
        member = Member(self.around, f"m{len(self.members)}", self.chance.getrandbits(64))
        member.process.when_dead = lambda: self._died(member)
        self.members.append(member)
        member.start()
        self.tell(f"{member.name} starts")

    def lapse(self, member: Member) -> Callable[[], None]:
        lapse = _Lapse(member.name, self.loop.time(), member.process.is_frozen)
        self.lapses.append(lapse)

        def over() -> None:
            lapse.until = self.loop.time() + 2 * TERMS.heartbeat

        return over

    def met_frozen(self, call: BooksEntry) -> bool:
        began, ended = call.begun - EPOCH, (call.ended or float("inf")) - EPOCH
        return any(
            lapse.is_frozen
            and lapse.member == call.instance
            and began <= lapse.until
            and ended >= lapse.since - ATTEMPT_SECONDS
            for lapse in self.lapses
        )

    def put_holes(self) -> None:
        place = self.chance.choice(self.log.partitions(TOPIC))
        offsets = self.chance.choice((1, 1, 2, 5))
        self.log.skip(place, offsets)
        self.holes[place] = self.holes.get(place, 0) + offsets

    def send(self, sending: Sending) -> None:
        source = self.log.append(
            TOPIC, sending.value, sending.key, sending.headers, sending.partition
        )
        self.sent[source] = sending

    def _acknowledge(self, job_id: str) -> None:
        job = self.codepipeline.jobs.get(job_id, self.wall())
        if job is not None and job.state is JobState.DISPATCHED:
            job.state = JobState.IN_PROGRESS

    def _died(self, member: Member) -> None:
        self.handovers.append(self.loop.time())
        self.tell(f"{member.name} {'has left' if member.has_left else 'dies'}")

    # -- the verdict ----------------------------------------------------------------------------

    def _expect_nothing_held(self) -> None:
        for member in self.alive():
            held = (member.backpressure.records, member.backpressure.bytes)
            if held != (0, 0):
                self.violations.append(f"G6: {member.name} holds {held} records and bytes at rest")
            calls = [room.in_flight for room in member.rooms.values()]
            if any(calls):
                self.violations.append(f"G6: {member.name} has {calls} calls under way at rest")

    def verdict(self) -> Verdict:
        self.loop.finish()
        facts = recorded(self)
        judgement = judge.judge(facts)
        found = [*self.violations, *map(str, judgement.violations), *self._late_in_leaving()]
        found += broken(self)
        found += [f"internal: {error}" for error in self.loop.errors]
        return Verdict(
            self.seed, tuple(found), _fingerprint(facts, self.story), judgement, tuple(self.story)
        )

    def _late_in_leaving(self) -> list[str]:
        """Whoever was neither killed nor frozen has left within the grace period."""
        lapsed = {lapse.member for lapse in self.lapses}
        return [
            f"G7: {member.name} was told to stop at {member.told_to_stop_at:.1f} and has not left"
            for member in self.members
            if member.told_to_stop_at is not None
            and member.is_alive
            and member.name not in lapsed
            and self.loop.time() > member.told_to_stop_at + GRACE_SECONDS
        ]


def _fingerprint(facts: history.History, story: list[str]) -> str:
    told = (facts.entries, facts.calls, facts.outcomes, facts.letters, facts.commits, story)
    return hashlib.blake2b(repr(told).encode(), digest_size=8).hexdigest()
