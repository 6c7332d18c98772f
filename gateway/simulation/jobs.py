"""The jobs of the simulated CodePipeline and the rules by which they change.

    Created --poll--> Dispatched --acknowledge--> InProgress --one result--> Succeeded | Failed
       \\__________________\\__________________________\\______ deadline ____> TimedOut

A success with a continuation token ends its job as Succeeded and creates the follow-up: a new
job, a new id, the token in its data. Pure: time and identifiers come in as arguments.
Source: https://docs.aws.amazon.com/codepipeline/latest/userguide/actions-create-custom-action.html
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from gateway.simulation.answers import Refusal
from gateway.simulation.sigv4 import Caller

DEFAULT_TIMEOUT_SECONDS = 86_400.0
_FOLLOW_UPS = uuid.UUID("5d0f7a52-5f0b-5c0e-9d53-0b9e2f6c1a7d")


class JobKind(StrEnum):
    CUSTOM = "custom"
    THIRD_PARTY = "third-party"


class JobState(StrEnum):
    """AWS's JobStatus, in the simulator's spelling; `status` is AWS's."""

    CREATED = "created"
    DISPATCHED = "dispatched"
    IN_PROGRESS = "in-progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed-out"

    @property
    def status(self) -> str:
        return "".join(word.capitalize() for word in self.value.split("-"))

    @property
    def has_ended(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.TIMED_OUT)


class ActionType(NamedTuple):
    category: str
    owner: str
    provider: str
    version: str


ACTION_TYPES = {
    JobKind.CUSTOM: ActionType("Build", "Custom", "Simulated", "1"),
    JobKind.THIRD_PARTY: ActionType("Build", "ThirdParty", "Simulated", "1"),
}
"""The action types of jobs that name none."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A job to be made. What is None is chosen by the simulator."""

    kind: JobKind = JobKind.CUSTOM
    state: JobState = JobState.IN_PROGRESS
    id: str | None = None
    account: str | None = None
    region: str | None = None
    """None: the job is found in every region of its account."""
    client_id: str | None = None
    client_token: str | None = None
    continuation_token: str | None = None
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    """From the making of the job to its time-out."""
    action_type: ActionType | None = None
    configuration: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Job:
    """One job. Its state changes only here, and never leaves an ended state."""

    id: str
    wish: Wish
    account: str
    region: str | None
    client_id: str
    client_token: str
    action_type: ActionType
    state: JobState
    made: float
    nonce: str = ""
    """Known to whoever polled the job; empty until then."""
    follows: str | None = None
    followed_by: str | None = None
    ended: float | None = None

    @property
    def kind(self) -> JobKind:
        return self.wish.kind

    def time_out(self, now: float) -> None:
        """Makes an overdue job TimedOut."""
        deadline = self.made + self.wish.timeout_seconds
        if not self.state.has_ended and now >= deadline:
            self.state, self.ended = JobState.TIMED_OUT, deadline

    def dispatch(self, nonce: str) -> None:
        self.state, self.nonce = JobState.DISPATCHED, nonce

    def acknowledge(self, nonce: str) -> Refusal | None:
        """Only the worker that polled the job knows its nonce. Again is harmless."""
        if not self.nonce or nonce != self.nonce:
            return Refusal("InvalidNonceException", "The specified nonce does not match the job")
        if self.state is JobState.DISPATCHED:
            self.state = JobState.IN_PROGRESS
        return None

    def end(self, state: JobState, now: float) -> Refusal | None:
        """One result, and only while InProgress."""
        if self.state is not JobState.IN_PROGRESS:
            return Refusal(
                "InvalidJobStateException",
                f"Job {self.id} is in state {self.state.status} and takes no result",
            )
        self.state, self.ended = state, now
        return None

    def is_visible_to(self, caller: Caller) -> bool:
        return self.account == caller.account and self.region in (None, caller.region)


class Poll(NamedTuple):
    """What a worker asks for."""

    action_type: ActionType
    max_jobs: int = 1
    configuration: Mapping[str, str] = {}

    def matches(self, job: Job, caller: Caller) -> bool:
        wanted = self.configuration.items()
        return (
            job.action_type == self.action_type
            and job.is_visible_to(caller)
            and all(job.wish.configuration.get(name) == value for name, value in wanted)
        )


def follow_up_id(job_id: str) -> str:
    """The id of the job that continues `job_id`: a test can name it before it exists."""
    return str(uuid.uuid5(_FOLLOW_UPS, job_id))


class Jobs:
    """All jobs by id. With `takes_any_id`, an id never seen before is a job InProgress."""

    def __init__(
        self,
        new_id: Callable[[], str],
        default_account: str,
        *,
        takes_any_id: bool = False,
        follow_up_state: JobState = JobState.CREATED,
    ) -> None:
        self._new_id = new_id
        self._default_account = default_account
        self._takes_any_id = takes_any_id
        self._follow_up_state = follow_up_state
        self._jobs: dict[str, Job] = {}
        self._waiting: dict[str, Job] = {}
        self._action_types = set(ACTION_TYPES.values())

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self._jobs.values()))

    def make(self, wish: Wish, now: float) -> Job:
        """A new job as wished. Raises ValueError if its id is taken."""
        return self._add(wish, now, wish.id or self._new_id())

    def get(self, job_id: str, now: float) -> Job | None:
        """The job whoever it belongs to, timed out if it is overdue."""
        job = self._jobs.get(job_id)
        if job is not None:
            job.time_out(now)
        return job

    def find(self, wish: Wish, job_id: str, caller: Caller, now: float) -> Job | Refusal:
        """The job as this caller may see it: another account's or region's is not found.

        `wish` says what an id never seen before becomes, if any id is taken.
        """
        job = self.get(job_id, now)
        if job is None and self._takes_any_id:
            job = self._add(
                replace(wish, account=caller.account, region=caller.region), now, job_id
            )
        if job is None or not job.is_visible_to(caller):
            return Refusal("JobNotFoundException", f"Job {job_id} cannot be found")
        return job

    def is_action_type(self, action_type: ActionType) -> bool:
        return action_type in self._action_types

    def poll(self, ask: Poll, caller: Caller, now: float) -> list[Job]:
        """Dispatches waiting jobs that match, each to one poll only."""
        for job in tuple(self._waiting.values()):
            if self.get(job.id, now) is None or job.state is not JobState.CREATED:
                del self._waiting[job.id]
        matching = (job for job in self._waiting.values() if ask.matches(job, caller))
        found = list(islice(matching, ask.max_jobs))
        for job in found:
            del self._waiting[job.id]
            job.dispatch(self._new_id())
        return found

    def follow_up(self, job: Job, continuation_token: str, now: float) -> Job:
        """The job that continues an ended one."""
        wish = Wish(
            kind=job.kind,
            state=self._follow_up_state,
            account=job.account,
            region=job.region,
            client_id=job.client_id,
            client_token=job.client_token,
            continuation_token=continuation_token,
            timeout_seconds=job.wish.timeout_seconds,
            action_type=job.action_type,
            configuration=job.wish.configuration,
        )
        new_id = follow_up_id(job.id)
        follower = self._add(wish, now, self._new_id() if new_id in self._jobs else new_id)
        job.followed_by, follower.follows = follower.id, job.id
        return follower

    def _add(self, wish: Wish, now: float, job_id: str) -> Job:
        if job_id in self._jobs:
            raise ValueError(f"job {job_id} exists already")
        job = Job(
            id=job_id,
            wish=wish,
            account=wish.account or self._default_account,
            region=wish.region,
            client_id=wish.client_id or self._new_id(),
            client_token=wish.client_token or self._new_id(),
            action_type=wish.action_type or ACTION_TYPES[wish.kind],
            state=wish.state,
            made=now,
        )
        if wish.state is JobState.DISPATCHED:
            job.nonce = self._new_id()
        if wish.state.has_ended:
            job.ended = now
        self._jobs[job_id] = job
        self._action_types.add(job.action_type)
        if wish.state is JobState.CREATED:
            self._waiting[job_id] = job
        return job
