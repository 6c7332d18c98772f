"""How long a result takes from the moment when it was to be sent until the endpoint has it.

Open loop: results are due at fixed moments, whatever has become of those before them, and each
carries its moment. A sender or a reader that falls behind shows as delay; nothing is left out.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaProducer

from benchmarks.compare import Contender, running
from benchmarks.events import EXECUTION, job_id
from benchmarks.stage import MeasuredGateway, Stage

WARM_SECONDS: Final = 3.0
TICK_SECONDS: Final = 0.002
_ASSIGNED = '"partitions assigned"'
_FIRST_JOB = 1 << 60  # none that another benchmark has ended


@dataclass(frozen=True)
class Delays:
    """Of one run, in seconds from the intended moment to the arrival."""

    rate: float
    p50: float
    p99: float
    p999: float
    most: float
    count: int


@dataclass(frozen=True)
class Scene:
    """What an incident can reach. `over`: set when every result has arrived."""

    stage: Stage
    topic: str
    process: MeasuredGateway
    over: asyncio.Event


Incident = Callable[[Scene], Awaitable[None]]


async def calm(scene: Scene) -> None:
    """Nothing happens."""


async def rebalance(scene: Scene) -> None:
    """A second replica joins, and leaves three seconds later."""
    before = scene.process.log().count(_ASSIGNED)
    async with running(scene.stage, "lean", scene.topic) as joined:
        while joined.log().count(_ASSIGNED) < before + 2:  # noqa: ASYNC110 (a log has no event)
            await asyncio.sleep(0.1)
        await asyncio.sleep(3)


async def throttle(scene: Scene) -> None:
    """CodePipeline refuses every call for two seconds."""
    await scene.stage.endpoint.throttle(2)


async def restart(scene: Scene) -> None:
    """SIGTERM, and a new process as soon as the old one has left."""
    await scene.process.stop()
    async with running(scene.stage, "lean", scene.topic):
        await scene.over.wait()


INCIDENTS: Final[dict[str, Incident]] = {
    "a replica joins and leaves": rebalance,
    "two seconds of throttling": throttle,
    "a restart": restart,
}


async def open_loop(
    stage: Stage,
    contender: Contender,
    rate: float,
    seconds: float,
    run: int,
    incident: Incident = calm,
) -> Delays:
    """After the warm-up `seconds` of results at this rate; the incident comes after a quarter.
    `run` is a number of its own, so that no result has been delivered before."""
    topic = await stage.fresh_topic(f"latency-{run}")
    await stage.endpoint.begin()
    count = int(rate * (WARM_SECONDS + seconds))
    first = _FIRST_JOB + run * 2**24
    async with running(stage, contender, topic) as process, stage.producer(linger_ms=0) as producer:
        await _send_one(producer, topic, first)
        await stage.endpoint.wait_span(1, process.check)
        began = time.time() + 0.2
        scene = Scene(stage, topic, process, asyncio.Event())
        trouble = asyncio.create_task(_later(WARM_SECONDS + seconds / 4, incident, scene))
        await send_on_time(producer, topic, began, rate, count, first + 1)
        await stage.endpoint.wait_span(count + 1, lambda: None)
        delays = await stage.endpoint.delays()
        scene.over.set()
        await trouble
    first_measured = began + WARM_SECONDS - 0.5 / rate  # moments are rounded
    measured = [delay for delay, at in delays if at - delay > first_measured]
    return _summed_up(rate, measured)


async def _later(seconds: float, incident: Incident, scene: Scene) -> None:
    await asyncio.sleep(seconds)
    await incident(scene)


async def send_on_time(
    producer: AIOKafkaProducer, topic: str, began: float, rate: float, count: int, first: int
) -> None:
    """Each result at its moment, or as soon after it as the sender can."""
    sent = 0
    waiting = []
    while sent < count:
        due = min(count, int((time.time() - began) * rate))
        for number in range(sent, due):
            moment = began + number / rate
            key, value = dated(first + number, moment)
            waiting.append(await producer.send(topic, value, key))
        sent = max(sent, due)
        await asyncio.sleep(TICK_SECONDS)
    await asyncio.gather(*waiting)


async def _send_one(producer: AIOKafkaProducer, topic: str, first: int) -> None:
    key, value = dated(first, 0.0)
    await producer.send_and_wait(topic, value, key)


def dated(number: int, moment: float) -> tuple[bytes, bytes]:
    """Key and value of a job result that says when it was to be sent."""
    job = job_id(number)
    revision = {"revision": "0d1a26e6", "changeIdentifier": f"sent@{moment:017.6f}"}
    event = {"jobId": job, "currentRevision": revision, "executionDetails": EXECUTION}
    return job.encode(), json.dumps(event).encode()


def _summed_up(rate: float, delays: list[float]) -> Delays:
    ordered = sorted(delays)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return Delays(rate, at(0.5), at(0.99), at(0.999), ordered[-1], len(ordered))
