"""How brokers serve each member, and the topics that gateways write: with everything that happens
to a request on its way there, and to its answer on the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Generic, NamedTuple, TypeVar

from gateway.core.model import Outcome
from gateway.ports import EndingsFeed
from gateway.simulation.group import CommitFate, Service
from tests.virtual.loop import Process, VirtualLoop

Entry = TypeVar("Entry")
_ASK_AGAIN_SECONDS = 0.4


@dataclass
class Weather:
    """The brokers' condition, for everybody. Chances are from 0 to 1."""

    chance: Random
    is_out: bool = False
    """No broker answers anybody."""
    is_read_only: bool = False
    """Topics take no record; groups go on."""
    seconds: float = 0.02
    """What a request takes, at most."""
    fetch_seconds: float = 0.0
    """What a fetch takes more, at most."""
    lost_answers: float = 0.0
    """Chance that a write is acknowledged only when its writer asks again."""
    doubled_writes: float = 0.0
    """Chance that a write is made twice: its first acknowledgement never came."""
    late_commits: float = 0.0
    """Chance that a commit arrives long after its sender has given it up."""
    lost_commits: float = 0.0
    settled_at: float = 0.0
    """When the last commit has landed that is on its way."""

    def come_back(self) -> None:
        self.is_out = self.is_read_only = False

    def speed_up(self) -> None:
        self.seconds = 0.02
        self.fetch_seconds = 0.0

    def answer_writes(self) -> None:
        self.lost_answers = self.doubled_writes = 0.0

    def take_commits(self) -> None:
        self.late_commits = self.lost_commits = 0.0

    def clear_up(self) -> None:
        """From now on all is well."""
        self.come_back()
        self.speed_up()
        self.answer_writes()
        self.take_commits()

    def delay(self) -> float:
        return self.seconds * self.chance.random()

    def happens(self, chance: float) -> bool:
        return chance > 0.0 and self.chance.random() < chance


class BrokersOf(Service):
    """The brokers as one process meets them."""

    def __init__(self, weather: Weather, process: Process) -> None:
        self._weather = weather
        self.process = process
        self.is_partitioned = False
        """The network between this process and all brokers is down."""

    def is_cut_off(self) -> bool:
        return self.is_partitioned or self._weather.is_out

    def look_up_seconds(self) -> float:
        return 2 * self._weather.delay()

    def fetch_seconds(self) -> float:
        weather = self._weather
        return weather.delay() + weather.fetch_seconds * weather.chance.random()

    def commit_fate(self) -> CommitFate:
        weather = self._weather
        if weather.happens(weather.lost_commits):
            is_applied = weather.happens(0.5)
            return CommitFate(weather.delay(), 60.0, is_lost=not is_applied)
        if weather.happens(weather.late_commits):
            late = weather.chance.uniform(0.5, 12.0)
            weather.settled_at = asyncio.get_running_loop().time() + late + 2.0
            return CommitFate(late, weather.delay())
        return CommitFate(weather.delay(), weather.delay())


class Written(NamedTuple, Generic[Entry]):
    """An entry of a topic, and when the broker took it; seconds of the loop."""

    time: float
    entry: Entry


class Topic(Generic[Entry]):
    """What gateways have written, for good."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.written: list[Written[Entry]] = []
        self.readers: list[Callable[[Entry], None]] = []

    def take(self, entries: list[Entry]) -> None:
        now = self._loop.time()
        self.written += [Written(now, entry) for entry in entries]
        for reader in self.readers:
            for entry in entries:
                reader(entry)


class Writer(Generic[Entry]):
    """ports.OutcomeLog and ports.DeadLetterLog of one process: one batch on its way at a time.

    A batch that has left arrives, or does not, whatever becomes of the process; its
    acknowledgement finds the process, or does not.
    """

    def __init__(
        self, topic: Topic[Entry], brokers: BrokersOf, weather: Weather, loop: VirtualLoop
    ) -> None:
        self._topic = topic
        self._brokers = brokers
        self._process = brokers.process
        self._weather = weather
        self._loop = loop
        self._waiting: list[tuple[Entry, Callable[[], None]]] = []
        self._on_its_way: list[tuple[Entry, Callable[[], None]]] = []

    def append(self, entry: Entry, when_durable: Callable[[], None], /) -> None:
        self._waiting.append((entry, when_durable))
        if not self._on_its_way:
            self._send()

    def pending(self) -> int:
        return len(self._waiting) + len(self._on_its_way)

    def _send(self) -> None:
        self._on_its_way, self._waiting = self._waiting, []
        if self._on_its_way:
            self._try()

    def _try(self) -> None:
        if self._brokers.is_cut_off() or self._weather.is_read_only:
            self._later(_ASK_AGAIN_SECONDS, self._try)
            return
        self._loop.call_later(self._weather.delay(), self._arrive, context=self._loop.outside)

    def _arrive(self) -> None:
        weather = self._weather
        if self._process.is_dead and weather.happens(0.5):
            return  # the connection broke before everything had left
        entries = [entry for entry, _ in self._on_its_way]
        self._topic.take(entries)
        if weather.happens(weather.doubled_writes):
            self._later(weather.chance.uniform(0.5, 4.0), self._try)
        elif weather.happens(weather.lost_answers):
            self._later(weather.chance.uniform(0.5, 4.0), self._acknowledged)
        else:
            self._later(weather.delay(), self._acknowledged)

    def _acknowledged(self) -> None:
        acknowledged, self._on_its_way = self._on_its_way, []
        for _, when_durable in acknowledged:
            when_durable()
        if not self._on_its_way:
            self._send()

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        """Done by the process itself, if it is there."""
        self._loop.call_later(seconds, work, context=self._process.context)


class Tail:
    """ports.OutcomeTail of one process: hears each outcome a little later."""

    def __init__(
        self, topic: Topic[Outcome], feed: EndingsFeed, brokers: BrokersOf, loop: VirtualLoop
    ) -> None:
        self._feed = feed
        self._brokers = brokers
        self._loop = loop
        self._coming = 0
        self._heard = 0
        for written in topic.written:
            self._listen(written.entry)
        topic.readers.append(self._listen)

    async def wait_caught_up(self, timeout_seconds: float, /) -> bool:
        until, wanted = self._loop.time() + timeout_seconds, self._coming
        while self._heard < wanted:
            if self._loop.time() >= until:
                return False
            await asyncio.sleep(0.1)
        return True

    def _listen(self, outcome: Outcome) -> None:
        self._coming += 1
        if not self._brokers.process.is_dead:
            self._later(self._brokers.look_up_seconds(), outcome)

    def _later(self, seconds: float, outcome: Outcome) -> None:
        context = self._brokers.process.context
        self._loop.call_later(seconds, self._hear, outcome, context=context)

    def _hear(self, outcome: Outcome) -> None:
        if self._brokers.is_cut_off():
            self._later(_ASK_AGAIN_SECONDS, outcome)
            return
        self._heard += 1
        self._feed.learn(outcome)
