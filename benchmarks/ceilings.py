"""How near the gateway comes to what latency and order allow at all.

With answers after L seconds, room for C calls and results of one job one after the other, n results
take at least max(n / C, results of the job that has most of them) * L seconds. L is what an idle
endpoint takes: its timers are late by up to a millisecond.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from benchmarks.compare import running
from benchmarks.events import EXECUTION, job_id
from benchmarks.stage import Load, Stage, endpoint, send

ZIPF_EXPONENT: Final = 1.0
_FIRST_JOB = 1 << 62  # none that another benchmark has ended
_JOBS_A_RUN = 1 << 20


@dataclass(frozen=True)
class Reached:
    """Results a second, and the most that were possible."""

    name: str
    per_second: float
    ceiling_per_second: float
    cpu_share: float
    """Of one core, that the gateway was busy."""

    @property
    def share(self) -> float:
        return self.per_second / self.ceiling_per_second


def unique(count: int) -> list[int]:
    return list(range(count))


def hot(jobs: int, count: int) -> list[int]:
    return [number % jobs for number in range(count)]


def zipf(jobs: int, count: int) -> list[int]:
    """The n-th job is 1/n as frequent as the first."""
    weights = [1 / (rank + 1) ** ZIPF_EXPONENT for rank in range(jobs)]
    return Random(1).choices(range(jobs), weights, k=count)


async def ceilings(
    stage: Stage,
    answers: Sequence[float],
    concurrencies: Sequence[int],
    most: int,
    tell: Callable[[str], None],
) -> list[Reached]:
    """Unique jobs, for each time that an answer takes and each room."""
    reached: list[Reached] = []
    for latency in answers:
        async with endpoint(False, latency) as slow:
            for concurrency in concurrencies:
                name = f"{concurrency} calls at once, answers after {latency * 1000:.0f} ms"
                tell(name)
                played = stage.beside(slow, Load(concurrency, "lean"))
                # Four seconds of work, as far as one core can do it.
                count = max(3 * concurrency, min(int(4 * concurrency / latency), most))
                run = 100 + len(reached) + int(latency * 10_000)
                reached.append(await _reach(played, name, unique(count), run))
    return reached


async def skewed(stage: Stage, count: int, tell: Callable[[str], None]) -> list[Reached]:
    """So many results, 100 calls at once, answers after 50 ms, four shapes of keys."""
    latency, concurrency = 0.05, 100
    shapes = {
        "a job each": unique(count),
        "Zipf over 5,000 jobs": zipf(5000, count),
        "100 hot jobs": hot(100, count),
        "one hot job": hot(1, max(2, count // 80)),
    }
    reached: list[Reached] = []
    async with endpoint(False, latency) as slow:
        for run, (name, jobs) in enumerate(shapes.items()):
            tell(name)
            played = stage.beside(slow, Load(concurrency, "lean"))
            reached.append(await _reach(played, name, jobs, run))
    return reached


async def _reach(stage: Stage, name: str, jobs: Sequence[int], run: int) -> Reached:
    topic = await stage.fresh_topic(f"ceiling-{run}")
    first = _FIRST_JOB + run * _JOBS_A_RUN
    warm = [_JOBS_A_RUN // 2 + number for number in range(2 * stage.load.concurrency)]
    async with stage.producer() as producer:
        await send(producer, _events(first, warm), topic)
    await stage.endpoint.begin()
    async with running(stage, "lean", topic) as process:
        await stage.endpoint.wait_span(len(warm), process.check)
        async with stage.producer(transactional_id=topic) as producer:
            await producer.begin_transaction()
            await send(producer, _events(first, jobs), topic)
            await stage.endpoint.begin()
            cpu = process.cpu_seconds()
            await producer.commit_transaction()
        span = await stage.endpoint.wait_span(len(jobs), process.check)
        busy = process.cpu_seconds() - cpu
    answer = await stage.endpoint.answer_seconds()
    # From the first arrival to the last: the last answer is not in it.
    at_least = max(len(jobs) / stage.load.concurrency, max(Counter(jobs).values())) * answer
    at_least -= answer
    return Reached(
        name, len(jobs) / span.seconds, len(jobs) / at_least, busy / (span.seconds + answer)
    )


def _events(first: int, jobs: Sequence[int]) -> list[tuple[bytes, bytes]]:
    """Every result is another one, also of the same job."""
    return [
        (name.encode(), _event(name, number).encode())
        for number, name in enumerate(job_id(first + job) for job in jobs)
    ]


def _event(name: str, number: int) -> str:
    revision = {"revision": "0d1a26e6", "changeIdentifier": f"change {number}"}
    return json.dumps({"jobId": name, "currentRevision": revision, "executionDetails": EXECUTION})
