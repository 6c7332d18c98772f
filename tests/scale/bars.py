"""How large, how skewed, how often committed: the bars, and the events that each is made of.

Guarantees: the same bar and size make the same jobs; every event is one valid job result, and no
two events are the same, so that each has to be asked for.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.simulation.workload import VALID, Event

SEED = 4


@dataclass(frozen=True)
class Bar:
    """One run. `members`: how many run at most; they come and go if `churns`."""

    name: str
    events: int
    jobs: Callable[[int], Iterator[int]]
    partitions: int = 4
    members: int = 1
    churns: bool = False
    commit_interval_seconds: float = 1.0


def unique(count: int) -> Iterator[int]:
    """Each event is about a job of its own."""
    return iter(range(count))


def hot(count: int) -> Iterator[int]:
    """Every other event is about one job: one lane, one partition, half of the work."""
    return (0 if number % 2 else number + 1 for number in range(count))


def zipf(count: int) -> Iterator[int]:
    """The n-th most talked of job has 1/n of the events of the first."""
    chance = random.Random(SEED)
    ranks = range(1, max(2, count // 10) + 1)
    return iter(chance.choices(ranks, weights=[1 / rank for rank in ranks], k=count))


SKEWS = {"hot": hot, "zipf": zipf, "unique": unique}


def bars(size: float) -> Iterator[Bar]:
    """All of them; `size` 1 is the full one."""
    yield Bar("drain", int(1_000_000 * size), unique)
    yield Bar("churn", int(500_000 * size), unique, partitions=80, members=12, churns=True)
    for skew, jobs in SKEWS.items():
        for seconds in (0.1, 1.0, 5.0):
            yield Bar(
                f"{skew}, commits each {seconds:g} s",
                int(30_000 * size),
                jobs,
                members=2,
                commit_interval_seconds=seconds,
            )


def events(bar: Bar) -> Iterator[Event]:
    names = uuid.UUID(int=random.Random(bar.name).getrandbits(128))
    for number, job in enumerate(bar.jobs(bar.events)):
        job_id = str(uuid.uuid5(names, str(job)))
        details = {"summary": f"result {number}", "percentComplete": 100}
        value = json.dumps({"jobId": job_id, "executionDetails": details})
        yield Event(job_id.encode(), value.encode(), expected=VALID)
