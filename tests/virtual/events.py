"""What build systems send in one run: few records of every kind, all from one seed.

The kinds are those of `simulation/workload.py`, in proportions that make trouble likely in a run
of some forty records: hot jobs, contradictions, copies that meet in time, poison.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import NamedTuple

from gateway.simulation.jobs import JobKind, JobState, Wish, follow_up_id
from gateway.simulation.poison import POISON, poisoned
from gateway.simulation.spellings import SPELLINGS, Request, spelt

EPOCH = 1_700_000_000.0
"""Seconds since 1970 when a run begins."""
_POISON_SHARE = 0.12
_UNKNOWN_JOBS = 2
"""Of jobs that nobody knows, only so many: they halt a target until it has accepted something."""
_COSTLY = {"deep nesting", "too large for a dead letter", "variables too large"}
_POISONS = [kind for kind in POISON if kind not in _COSTLY]


class Sending(NamedTuple):
    """One record and when it is sent. `expected`: `valid`, `rejected` or `skipped`."""

    time: float
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    expected: str
    target: str
    partition: int | None = None
    """None: wherever its key belongs."""
    job_id: str | None = None
    client_token: str | None = None

    def wish(self) -> Wish:
        """The job that the event is about."""
        kind = JobKind.CUSTOM if self.client_token is None else JobKind.THIRD_PARTY
        return Wish(kind, id=self.job_id, account=self.target, client_token=self.client_token)


class Acknowledged(NamedTuple):
    """A worker acknowledges its job only now: results that came before were too early."""

    time: float
    job_id: str


@dataclass
class Workload:
    """Jobs that there are from the start, and what is sent about them, by time."""

    jobs: list[Wish] = field(default_factory=list)
    sendings: list[Sending] = field(default_factory=list)
    acknowledged: list[Acknowledged] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Job:
    id: str
    target: str
    client_token: str | None


def workload(chance: Random, targets: list[str], partitions: int, records: int) -> Workload:
    """About this many records, sent within `records / 2` seconds or less."""
    author = _Author(chance, targets, partitions, records / chance.choice((2, 4, 20)))
    while len(author.made.sendings) < records:
        if chance.random() < _POISON_SHARE:
            author.poison()
        else:
            author.tell()
    author.made.sendings.sort(key=lambda sending: sending.time)
    return author.made


def proof(chance: Random, target: str, partition: int, time: float) -> tuple[Wish, Sending]:
    """A plain result, which proves that the target is the right one."""
    author = _Author(chance, [target], 1, 0.0)
    author.time = time
    job = author.job()
    author.send(author.success(job), job, partition=partition)
    return author.made.jobs[0], author.made.sendings[0]


class _Author:
    """Writes stories; all chance comes from one source, in one order."""

    def __init__(self, chance: Random, targets: list[str], partitions: int, span: float) -> None:
        self.chance = chance
        self.made = Workload()
        self.time = 0.0
        self._targets = targets
        self._partitions = partitions
        self._span = span
        self._unknown_left = _UNKNOWN_JOBS

    def tell(self) -> None:
        [story] = self.chance.choices(_STORIES, weights=_WEIGHTS)
        self.time = self.chance.uniform(0.0, self._span)
        story(self)

    def poison(self) -> None:
        job = _Job(self.uuid(), self.chance.choice(self._targets), None)
        kind = self.chance.choice(_POISONS)
        key, value, headers = poisoned(kind, self.success(job), self.chance)
        expected = "skipped" if value is None else "rejected"
        if kind != "unknown target":
            headers = (*headers, *self._routing(job))
        time = self.chance.uniform(0.0, self._span)
        self.made.sendings.append(Sending(time, key, value, headers, expected, job.target))

    def job(self, state: JobState = JobState.IN_PROGRESS, **wish: object) -> _Job:
        is_third_party = self.chance.random() < 0.3
        job = _Job(
            self.uuid(),
            self.chance.choice(self._targets),
            self.uuid() if is_third_party else None,
        )
        self.made.jobs.append(
            Wish(
                kind=JobKind.THIRD_PARTY if is_third_party else JobKind.CUSTOM,
                state=state,
                id=job.id,
                account=job.target,
                client_token=job.client_token,
            )
        )
        return job

    def uuid(self) -> str:
        digits = f"{self.chance.getrandbits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def success(self, job: _Job, **more: object) -> Request:
        request: Request = {"jobId": job.id} | more
        if job.client_token is not None:
            request["clientToken"] = job.client_token
        if self.chance.random() < 0.5:
            number = self.chance.randrange(10**6)
            request["executionDetails"] = {"summary": f"build {number}", "percentComplete": 100}
        return request

    def failure(self, job: _Job) -> Request:
        message = f"step {self.chance.randrange(10**6)} failed"
        request: Request = {
            "jobId": job.id,
            "failureDetails": {"type": "JobFailed", "message": message},
        }
        return request if job.client_token is None else request | {"clientToken": job.client_token}

    def result(self, job: _Job) -> Request:
        return self.failure(job) if self.chance.random() < 0.3 else self.success(job)

    def send(
        self,
        request: Request,
        job: _Job,
        *,
        has_key: bool = True,
        partition: int | None = None,
        deadline: float | None = None,
    ) -> None:
        headers = self._routing(job)
        if deadline is not None:
            moment = datetime.fromtimestamp(EPOCH + deadline, UTC).isoformat()
            headers = (*headers, ("gateway-deadline", moment.encode()))
        if not has_key and partition is None:
            partition = self.chance.randrange(self._partitions)
        value = spelt(request, self.chance.choice(SPELLINGS))
        key = job.id.encode() if has_key else None
        sending = Sending(self.time, key, value, headers, "valid", job.target, partition, job.id)
        self.made.sendings.append(sending)

    def pass_time(self) -> None:
        self.time += self.chance.choice((0.0, 0.0, 0.3, 2.0, 8.0)) * self.chance.random()

    def may_be_unknown(self) -> bool:
        self._unknown_left -= 1
        return self._unknown_left >= 0

    def _routing(self, job: _Job) -> tuple[tuple[str, bytes | None], ...]:
        return (("gateway-target", job.target.encode()),) if len(self._targets) > 1 else ()


def _plain(author: _Author) -> None:
    job = author.job()
    author.send(author.result(job), job)


def _copies(author: _Author) -> None:
    job = author.job()
    request = author.result(job)
    has_key = author.chance.random() < 0.7
    for _ in range(author.chance.choice((2, 2, 3, 5))):
        author.send(request, job, has_key=has_key)
        author.pass_time()


def _hot(author: _Author) -> None:
    """Many results of one job, no two the same."""
    job = author.job()
    for _ in range(author.chance.choice((2, 2, 3, 6))):
        author.send(author.result(job), job)
        author.pass_time()


def _contradiction(author: _Author) -> None:
    job = author.job()
    requests = [author.success(job), author.failure(job)]
    author.chance.shuffle(requests)
    for request in requests:
        author.send(request, job)
        author.pass_time()


def _continuation(author: _Author) -> None:
    job = author.job()
    author.send(author.success(job, continuationToken=f"deploy-{author.uuid()}"), job)
    author.time += author.chance.uniform(0.0, 5.0)
    follower = _Job(follow_up_id(job.id), job.target, job.client_token)
    author.send(author.result(follower), follower)


def _too_early(author: _Author) -> None:
    job = author.job(JobState.DISPATCHED)
    author.send(author.result(job), job)
    author.made.acknowledged.append(
        Acknowledged(author.time + author.chance.uniform(0.0, 3.0), job.id)
    )


def _too_late(author: _Author) -> None:
    job = author.job(JobState.TIMED_OUT)
    request = author.result(job)
    for _ in range(author.chance.choice((1, 2, 3))):
        author.send(request, job, has_key=author.chance.random() < 0.3)
        author.pass_time()


def _wrong_token(author: _Author) -> None:
    job = author.job()
    if job.client_token is not None:
        author.send(author.result(_Job(job.id, job.target, author.uuid())), job)
    author.send(author.result(job), job)


def _unknown(author: _Author) -> None:
    if author.may_be_unknown():
        job = _Job(author.uuid(), author.chance.choice(author._targets), None)
        author.send(author.result(job), job)


def _urgent(author: _Author) -> None:
    job = author.job()
    author.send(author.result(job), job, deadline=author.time + author.chance.uniform(0.5, 20.0))


def _keyless(author: _Author) -> None:
    job = author.job()
    author.send(author.result(job), job, has_key=False)


_TELLERS: dict[Callable[[_Author], None], float] = {
    _plain: 0.45,
    _copies: 0.12,
    _hot: 0.12,
    _contradiction: 0.08,
    _continuation: 0.05,
    _too_early: 0.03,
    _too_late: 0.03,
    _wrong_token: 0.03,
    _unknown: 0.03,
    _urgent: 0.03,
    _keyless: 0.04,
}
_STORIES, _WEIGHTS = list(_TELLERS), list(_TELLERS.values())


def lines(made: Workload) -> Iterator[str]:
    """The workload for people."""
    for sending in made.sendings:
        value = None if sending.value is None else sending.value[:120].decode(errors="replace")
        yield f"{sending.time:7.3f} {sending.expected:8} {sending.target:8} {json.dumps(value)}"
