"""The gateway by both call paths beside the loop that most teams write, in turns.

The same records, broker, endpoint, concurrency and core. The gateway does all that it does by
default: validation, order, outcomes, metrics, commits; benchmarks/peer.py does none of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal

from benchmarks.drain import WARM_RECORDS, drained
from benchmarks.events import events
from benchmarks.stage import MeasuredGateway, Pace, Stage, send

Contender = Literal["peer", "botocore", "lean"]
CONTENDERS: Final[tuple[Contender, ...]] = ("peer", "botocore", "lean")
_FIRST_JOB = 1 << 50  # none that another benchmark has ended


@dataclass(frozen=True)
class Compared:
    """One contender, all rounds together; resident bytes are the most at the end of a round."""

    pace: Pace
    resident_bytes: int
    rounds: list[float]
    """CPU of a result in each round, in microseconds."""

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "cpu_microseconds": self.pace.cpu_microseconds}


@asynccontextmanager
async def running(
    stage: Stage, contender: Contender, topic: str, **settings: object
) -> AsyncIterator[MeasuredGateway]:
    """The contender, reading from this topic."""
    if contender == "peer":
        async with stage.peer(topic) as peer:
            yield peer
        return
    load = replace(stage.load, call_path=contender)
    async with stage.beside(stage.endpoint, load).gateway(topic, **settings) as gateway:
        yield gateway


async def compare(
    stage: Stage, records: int, rounds: int, tell: Callable[[str], None]
) -> dict[Contender, Compared]:
    found: dict[Contender, list[tuple[Pace, int]]] = {one: [] for one in CONTENDERS}
    for number in range(rounds):
        for place, contender in enumerate(CONTENDERS):
            tell(f"round {number + 1} of {rounds}: {contender}, {records} records")
            first = _FIRST_JOB + (number * len(CONTENDERS) + place) * (records + WARM_RECORDS)
            topic = await stage.fresh_topic(f"compare-{number}-{contender}")
            found[contender].append(await _backlog(stage, contender, topic, first, records))
    return {contender: _together(paces) for contender, paces in found.items()}


async def _backlog(
    stage: Stage, contender: Contender, topic: str, first: int, records: int
) -> tuple[Pace, int]:
    async with stage.producer() as producer:
        await send(producer, events(first, WARM_RECORDS), topic)
    await stage.endpoint.begin()
    async with running(stage, contender, topic) as process:
        await stage.endpoint.wait_span(WARM_RECORDS, process.check)
        async with stage.producer(transactional_id=topic) as producer:
            await producer.begin_transaction()
            await send(producer, events(first + WARM_RECORDS, records), topic)
            await stage.endpoint.begin()
            cpu = process.cpu_seconds()
            await producer.commit_transaction()
        return await drained(stage.endpoint, process, records, cpu), process.resident_bytes()


def _together(rounds: list[tuple[Pace, int]]) -> Compared:
    total, *others = (pace for pace, _ in rounds)
    for other in others:
        total += other
    resident = max(resident for _, resident in rounds)
    return Compared(total, resident, [pace.cpu_microseconds for pace, _ in rounds])
