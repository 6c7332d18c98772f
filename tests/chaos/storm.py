"""Plays a schedule on a stage, under a steady load, and waits for the calm to come."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.simulation.broker import BrokerUnavailable
from gateway.simulation.history import Source
from gateway.simulation.recorder import ended_of
from gateway.simulation.topics import follow, send
from gateway.simulation.workload import SKIPPED, VALID, Event
from tests.chaos.network import Wire
from tests.chaos.schedule import Act, Kind
from tests.chaos.stage import GRACE_SECONDS, PARTITIONS, PLACES, Stage

_LOOK_SECONDS = 0.1
_MARGIN_SECONDS = 0.5
"""After a trouble is over, what it has hurt may still be on its way."""


@dataclass
class Ledger:
    """What has been sent, and what has ended, as far as it has been seen."""

    expected: dict[Source, str] = field(default_factory=dict)
    longest_stall_seconds: float = 0.0
    """Time without any outcome while records were waiting for one."""
    stalled_at: float = 0.0
    """When that began."""
    _waiting: set[Source] = field(default_factory=set)
    _ended: set[Source] = field(default_factory=set)
    _moved_at: float = field(default_factory=time.monotonic)

    @property
    def sent(self) -> int:
        return len(self.expected)

    @property
    def unended(self) -> int:
        return len(self._waiting)

    def note_sent(self, source: Source, event: Event) -> None:
        self.expected[source] = event.expected
        if event.expected != SKIPPED and source not in self._ended:
            if not self._waiting:
                self._moved_at = time.monotonic()
            self._waiting.add(source)

    def note_ended(self, source: Source) -> None:
        if source in self._ended:
            return
        now = time.monotonic()
        if self._waiting and now - self._moved_at > self.longest_stall_seconds:
            self.longest_stall_seconds = now - self._moved_at
            self.stalled_at = self._moved_at
        self._ended.add(source)
        self._waiting.discard(source)
        self._moved_at = now


class Storm:
    """One run: `load` and `play` side by side, then `wait_calm`."""

    def __init__(self, stage: Stage, say: Callable[[str], None]) -> None:
        self._stage = stage
        self._say = say
        self._broker_turn = asyncio.Lock()
        self.ledger = Ledger()
        self.broker_kills = 0
        self.longest_without_broker_seconds = 0.0

    async def load(self, events: Sequence[Event], rate_per_second: float) -> None:
        """Everything is stored when it returns, whatever the broker has been through."""
        start = time.time()
        await send(
            self._stage.servers,
            PLACES.results,
            events,
            lambda place: start + place / rate_per_second,
            time.time,
            self.ledger.note_sent,
        )

    async def watch(self) -> None:
        """For ever: which records have ended."""
        while True:
            try:
                async for batch in follow(self._stage.servers, [PLACES.outcomes]):
                    for record in batch:
                        self.ledger.note_ended(ended_of(record).source)
            except BrokerUnavailable:
                await asyncio.sleep(_LOOK_SECONDS)

    async def play(self, acts: Sequence[Act]) -> None:
        """Returns when all of them are over."""
        start = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as playing:
            for act in acts:
                late = asyncio.get_running_loop().time() - start - act.at
                await asyncio.sleep(max(0.0, -late))
                self._say(f"{act.at:7.1f} s  {_described(act)}")
                playing.create_task(_WAYS[act.kind](self, act))

    async def wait_calm(self, bound_seconds: float) -> bool:
        """Whether everything has ended within this time."""
        until = time.monotonic() + bound_seconds
        # Polled: an event would be set and cleared with every record.
        while self.ledger.unended and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)
        return not self.ledger.unended

    # -- the acts -------------------------------------------------------------------------------

    async def kill(self, act: Act) -> None:
        await self._stage.members[act.member].kill()

    async def freeze(self, act: Act) -> None:
        await self._stage.members[act.member].freeze(act.seconds)

    async def roll(self, act: Act) -> None:
        await self._stage.members[act.member].roll(GRACE_SECONDS)

    async def kill_broker(self, act: Act) -> None:
        """One at a time: the next one dies when all replicas are in sync again."""
        async with self._broker_turn:
            self.broker_kills += 1
            began = time.monotonic()
            await self._stage.cluster.kill(act.broker)
            await asyncio.sleep(act.seconds)
            await self._stage.cluster.restart(act.broker)
            down = time.monotonic() - began
            self.longest_without_broker_seconds = max(self.longest_without_broker_seconds, down)

    async def freeze_broker(self, act: Act) -> None:
        async with self._broker_turn:
            self._stage.cluster.suspend(act.broker)
            try:
                await asyncio.sleep(act.seconds)
            finally:
                self._stage.cluster.resume(act.broker)
            await self._stage.cluster.wait_in_sync()

    async def cut_broker(self, act: Act) -> None:
        cable = self._stage.to_brokers[act.member]
        wire = cable.relays[act.broker - 1] if act.broker >= 0 else cable
        wire.change(Wire(act.how))
        await asyncio.sleep(act.seconds)
        wire.change(Wire.OPEN)

    async def cut_calls(self, act: Act) -> None:
        began, relay = time.time(), self._stage.to_calls[act.member]
        relay.change(Wire(act.how))
        await asyncio.sleep(act.seconds)
        relay.change(Wire.OPEN)
        disturbed = self._stage.members[act.member].disturbed
        disturbed.append((began, time.time() + _MARGIN_SECONDS))

    async def outage(self, act: Act) -> None:
        began = time.time()
        for relay in self._stage.to_calls:
            relay.change(Wire.RESET)
        await asyncio.sleep(act.seconds)
        for relay in self._stage.to_calls:
            relay.change(Wire.OPEN)
        for member in self._stage.members:
            member.disturbed.append((began, time.time() + _MARGIN_SECONDS))

    async def expired(self, act: Act) -> None:
        await self._stage.simulator.add_fault("expired-token", duration_seconds=act.seconds)

    async def fault(self, act: Act) -> None:
        await self._stage.simulator.add_fault(
            act.how, probability=0.3, duration_seconds=act.seconds, seconds=3.0
        )


_WAYS: Mapping[Kind, Callable[[Storm, Act], Coroutine[None, None, None]]] = {
    Kind.KILL: Storm.kill,
    Kind.FREEZE: Storm.freeze,
    Kind.ROLL: Storm.roll,
    Kind.KILL_BROKER: Storm.kill_broker,
    Kind.FREEZE_BROKER: Storm.freeze_broker,
    Kind.CUT_BROKER: Storm.cut_broker,
    Kind.CUT_CALLS: Storm.cut_calls,
    Kind.OUTAGE: Storm.outage,
    Kind.EXPIRED: Storm.expired,
    Kind.FAULT: Storm.fault,
}


def _described(act: Act) -> str:
    who = f" {act.broker}" if act.broker >= 0 else ""
    who += f" of gateway {act.member}" if act.member >= 0 else ""
    how = f" ({act.how})" if act.how else ""
    long = f" for {act.seconds:.1f} s" if act.seconds else ""
    return f"{act.kind}{who}{how}{long}"


def epilogue(results: int = 16 * PARTITIONS) -> list[Event]:
    """Plain results for jobs of their own, so many that every partition has some: who was started
    last knows by them that it calls the right account, and does not hold an unknown job for ever.
    """
    jobs = [str(uuid.uuid4()) for _ in range(results)]
    return [
        Event(job.encode(), json.dumps({"jobId": job}).encode(), expected=VALID) for job in jobs
    ]
