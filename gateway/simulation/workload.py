"""A seeded workload: the jobs that CodePipeline has, and the events that report how they ended.

Guarantees: the same seed and number of jobs make the same jobs and events, byte for byte; events
of one job stand in the order that their story tells; every kind of poison occurs at least once.

    plain          one result, in the spelling of one of the tools whose users write such events
    copy           the same result again, spelt the same way or as another tool would
    contradiction  a failure after the success, or the other way round
    amended        the same end again in other words
    continuation   a success with a continuation token
    too late       the job has timed out already
    wrong token    a third-party job, and a client token that is not its own
    unknown job    a job that CodePipeline never had
    keyless        a result without a record key
    odd headers    a valid result among headers that mean nothing to us, hostile ones too
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.simulation.poison import POISON, poisoned
from gateway.simulation.spellings import SPELLINGS, Request, spelt

VALID = "valid"
REJECTED = "rejected"
SKIPPED = "skipped"

_CLOSE, _FAR = 2, 300
"""Events between two results of one job, at most: half of them are under way together."""
_POISON_SHARE = 0.04


@dataclass(frozen=True, slots=True)
class Job:
    """A job that CodePipeline must have before the first event is sent."""

    id: str
    client_token: str | None = None
    """Of a third-party job; None: a custom one."""
    state: str = "in-progress"

    def wish(self) -> dict[str, Any]:
        """What to ask `/_simulation/jobs` for."""
        if self.client_token is None:
            return {"id": self.id, "kind": "custom", "state": self.state}
        token = {"client_token": self.client_token}
        return {"id": self.id, "kind": "third-party", "state": self.state} | token


@dataclass(frozen=True, slots=True)
class Event:
    """One record to send. `expected`: is it a job result (`valid`), `rejected` or `skipped`?"""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    expected: str = VALID
    story: str = "plain"


@dataclass(frozen=True)
class Workload:
    """Jobs to make, then events to send, in this order."""

    jobs: tuple[Job, ...]
    events: tuple[Event, ...]


def workload(seed: int, jobs: int) -> Workload:
    """A workload about this many jobs; some have several results, and poison comes on top."""
    return _Author(random.Random(seed)).written(jobs)


@dataclass
class _Author:
    """Writes stories. All chance comes from one source, in one order."""

    chance: random.Random
    jobs: list[Job] = field(default_factory=list)
    placed: list[tuple[float, Event]] = field(default_factory=list)

    def written(self, jobs: int) -> Workload:
        for number in range(jobs):
            self._write_story(float(number))
        kinds = list(POISON)
        for number in range(max(len(kinds), int(jobs * _POISON_SHARE))):
            place = self.chance.uniform(0, jobs)
            self._place(place, self._poison(kinds[number % len(kinds)]))
        # Sorting is stable: what was written first comes first, whatever the places say.
        events = tuple(event for _, event in sorted(self.placed, key=lambda placed: placed[0]))
        return Workload(tuple(self.jobs), events)

    def _write_story(self, place: float) -> None:
        stories, weights = zip(*_STORIES.items(), strict=True)
        [story] = self.chance.choices(stories, weights=[weight for weight, _ in weights])
        tell = _STORIES[story][1]
        for event in tell(self):
            self._place(place, replace(event, story=story))
            place += self.chance.uniform(0, self.chance.choice((_CLOSE, _FAR)))

    def _place(self, place: float, event: Event) -> None:
        self.placed.append((place, event))

    # what stories are made of

    def job(self, *, is_third_party: bool | None = None, state: str = "in-progress") -> Job:
        if is_third_party is None:
            is_third_party = self.chance.random() < 0.3
        job = Job(self.uuid(), self.uuid() if is_third_party else None, state)
        self.jobs.append(job)
        return job

    def uuid(self) -> str:
        digits = f"{self.chance.getrandbits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def success(self, job: Job, **more: Any) -> Request:
        request = self._request(job) | more
        if self.chance.random() < 0.6:
            request["executionDetails"] = self._execution_details()
        if self.chance.random() < 0.4:
            request["currentRevision"] = self._revision()
        has_room = job.client_token is None and "continuationToken" not in request
        if has_room and self.chance.random() < 0.4:
            request["outputVariables"] = {"image": f"sha256:{self.uuid()}", "size": "12 MB – ok"}
        return request

    def failure(self, job: Job) -> Request:
        kind = self.chance.choice(("JobFailed", "ConfigurationError", "SystemUnavailable"))
        details = {"type": kind, "message": f"step {self.chance.randrange(40)} failed: exit 1"}
        if self.chance.random() < 0.5:
            details["externalExecutionId"] = self.uuid()
        return self._request(job) | {"failureDetails": details}

    def result(self, job: Job) -> Request:
        return self.failure(job) if self.chance.random() < 0.25 else self.success(job)

    def event(self, request: Request) -> Event:
        tool = self.chance.choice(SPELLINGS)
        return Event(request["jobId"].encode(), spelt(request, tool))

    def _request(self, job: Job) -> Request:
        token = {"clientToken": job.client_token} if job.client_token else {}
        return {"jobId": job.id} | token

    def _execution_details(self) -> dict[str, Any]:
        return {
            "summary": f"{self.chance.randrange(900)} tests passed",
            "externalExecutionId": f"build-{self.chance.randrange(10**6)}",
            "percentComplete": self.chance.randrange(101),
        }

    def _revision(self) -> dict[str, Any]:
        return {
            "revision": f"{self.chance.getrandbits(160):040x}",
            "changeIdentifier": f"r{self.chance.randrange(10**5)}",
            "created": 1_700_000_000 + self.chance.randrange(10**7),
        }

    def _poison(self, kind: str) -> Event:
        key, value, headers = poisoned(kind, self.success(Job(self.uuid())), self.chance)
        expected = SKIPPED if value is None else REJECTED
        return Event(key, value, headers, expected, kind)


def _plain(author: _Author) -> Iterator[Event]:
    yield author.event(author.result(author.job()))


def _copy(author: _Author) -> Iterator[Event]:
    request = author.result(author.job())
    for _ in range(author.chance.choice((2, 2, 3))):
        yield author.event(request)


def _contradiction(author: _Author) -> Iterator[Event]:
    job = author.job()
    requests = [author.success(job), author.failure(job)]
    author.chance.shuffle(requests)
    yield from map(author.event, requests)


def _amended(author: _Author) -> Iterator[Event]:
    job = author.job()
    for summary in ("done", "done, and the report is up"):
        yield author.event(author.success(job) | {"executionDetails": {"summary": summary}})


def _continuation(author: _Author) -> Iterator[Event]:
    job = author.job()
    yield author.event(author.success(job, continuationToken=f"deploy-{author.uuid()}"))


def _too_late(author: _Author) -> Iterator[Event]:
    yield author.event(author.result(author.job(state="timed-out")))


def _wrong_token(author: _Author) -> Iterator[Event]:
    job = author.job(is_third_party=True)
    yield author.event(author.result(replace(job, client_token=author.uuid())))


def _unknown_job(author: _Author) -> Iterator[Event]:
    yield author.event(author.result(Job(author.uuid())))


def _keyless(author: _Author) -> Iterator[Event]:
    yield replace(author.event(author.result(author.job())), key=None)


def _odd_headers(author: _Author) -> Iterator[Event]:
    headers = (
        ("trace", None),
        ("trace", b"\xff\xfe\x00"),
        ("content-type", b"application/json"),
        ("x" * 200, author.chance.randbytes(500)),
        ("", b""),
    )
    yield replace(author.event(author.result(author.job())), headers=headers)


_STORIES: dict[str, tuple[float, Callable[[_Author], Iterator[Event]]]] = {
    "plain": (0.80, _plain),
    "copy": (0.06, _copy),
    "contradiction": (0.03, _contradiction),
    "amended": (0.02, _amended),
    "continuation": (0.03, _continuation),
    "too late": (0.01, _too_late),
    "wrong token": (0.005, _wrong_token),
    "unknown job": (0.003, _unknown_job),
    "keyless": (0.02, _keyless),
    "odd headers": (0.02, _odd_headers),
}
