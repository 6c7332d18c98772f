"""The rules of jobs, without any wire: states only move forward, whatever is called."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulation.answers import Refusal
from gateway.simulation.jobs import (
    ACTION_TYPES,
    Job,
    JobKind,
    Jobs,
    JobState,
    Poll,
    Wish,
    follow_up_id,
)
from gateway.simulation.operations import Call, carry_out
from gateway.simulation.sigv4 import Caller
from gateway.simulation.throttle import Limits, Throttle

CALLER = Caller("AKIA", "111122223333", "us-east-1")
NOW = 1_800_000_000.0
CUSTOM = Poll(ACTION_TYPES[JobKind.CUSTOM], 10)
FAILURE = {"type": "JobFailed", "message": "m"}


def new_jobs(**options: bool) -> Jobs:
    ids = itertools.count()
    return Jobs(lambda: f"id-{next(ids)}", CALLER.account, **options)


def put(jobs: Jobs, job: Job, now: float = NOW, **members: str) -> str:
    call = Call("PutJobSuccessResult", {"jobId": job.id, **members}, CALLER, now)
    return carry_out(jobs, call).answer.code


@pytest.mark.parametrize(
    ("now", "state", "code"),
    [
        (NOW + 99.9, JobState.SUCCEEDED, ""),
        (NOW + 100.0, JobState.TIMED_OUT, "InvalidJobStateException"),
        (NOW + 1e9, JobState.TIMED_OUT, "InvalidJobStateException"),
    ],
)
def test_a_result_counts_until_the_time_out(now, state, code):
    jobs = new_jobs()
    job = jobs.make(Wish(timeout_seconds=100.0), NOW)
    assert (put(jobs, job, now), job.state) == (code, state)


def test_a_job_that_has_ended_does_not_time_out():
    jobs = new_jobs()
    job = jobs.make(Wish(timeout_seconds=100.0), NOW)
    put(jobs, job, NOW + 1)
    assert jobs.get(job.id, NOW + 1e6) is job
    assert (job.state, job.ended) == (JobState.SUCCEEDED, NOW + 1)


def test_an_overdue_job_is_offered_to_nobody():
    jobs = new_jobs()
    jobs.make(Wish(state=JobState.CREATED, timeout_seconds=10.0), NOW)
    fresh = jobs.make(Wish(state=JobState.CREATED), NOW)
    assert jobs.poll(CUSTOM, CALLER, NOW + 10) == [fresh]


def test_a_job_is_dispatched_once_under_a_new_nonce():
    jobs = new_jobs()
    made = [jobs.make(Wish(state=JobState.CREATED), NOW) for _ in range(3)]
    first = jobs.poll(CUSTOM._replace(max_jobs=2), CALLER, NOW)
    rest = jobs.poll(CUSTOM, CALLER, NOW)
    assert first + rest == made
    assert len({job.nonce for job in made}) == 3
    assert jobs.poll(CUSTOM, CALLER, NOW) == []


def test_a_job_that_nobody_polled_cannot_be_acknowledged():
    job = new_jobs().make(Wish(state=JobState.CREATED), NOW)
    refusal = job.acknowledge("")
    assert isinstance(refusal, Refusal)
    assert (refusal.code, job.state) == ("InvalidNonceException", JobState.CREATED)


def test_a_chain_of_continuations_has_an_id_for_each_link():
    jobs = new_jobs()
    job = jobs.make(Wish(id="first"), NOW)
    chain = [job]
    for step in range(3):
        assert put(jobs, job, continuationToken=f"step {step}") == ""
        following = jobs.get(follow_up_id(job.id), NOW)
        assert following is not None
        assert following.wish.continuation_token == f"step {step}"
        (job,) = jobs.poll(CUSTOM, CALLER, NOW)
        assert (job, job.follows) == (following, chain[-1].id)
        job.acknowledge(job.nonce)
        chain.append(job)
    assert len({link.id for link in chain}) == 4
    assert put(jobs, job) == ""
    assert {link.state for link in chain} == {JobState.SUCCEEDED}


def test_a_refused_continuation_creates_no_follow_up():
    jobs = new_jobs()
    job = jobs.make(Wish(state=JobState.FAILED), NOW)
    assert put(jobs, job, continuationToken="t") == "InvalidJobStateException"
    assert len(jobs) == 1


def test_an_id_is_taken_once():
    jobs = new_jobs()
    jobs.make(Wish(id="a"), NOW)
    with pytest.raises(ValueError, match="exists already"):
        jobs.make(Wish(id="a"), NOW)


ORDER = {JobState.CREATED: 0, JobState.DISPATCHED: 1, JobState.IN_PROGRESS: 2}
MOVES = [
    "PollForJobs",
    "AcknowledgeJob",
    "GetJobDetails",
    "PutJobSuccessResult",
    "PutJobFailureResult",
    "continue",
]
moves = st.tuples(st.sampled_from(MOVES), st.floats(0, 40))


@given(st.sampled_from(JobState), st.lists(moves, max_size=12))
def test_a_state_never_moves_backwards_and_one_result_counts(state, steps):
    jobs = new_jobs()
    job = jobs.make(Wish(id="j", state=state, timeout_seconds=100.0), NOW)
    now, results, seen = NOW, 0, [job.state]
    for name, seconds in steps:
        now += seconds
        request = {"jobId": "j", "nonce": job.nonce or "x", "failureDetails": FAILURE}
        request["actionTypeId"] = job.action_type._asdict()
        if name == "continue":
            name, request["continuationToken"] = "PutJobSuccessResult", "t"
        carried = carry_out(jobs, Call(name, request, CALLER, now))
        results += name.startswith("Put") and carried.has_applied
        seen.append(job.state)
    ranks = [ORDER.get(s, 3) for s in seen]
    assert ranks == sorted(ranks)
    assert len({s for s in seen if s.has_ended}) <= 1
    assert results == (not state.has_ended and seen[-1] in (JobState.SUCCEEDED, JobState.FAILED))


def test_a_refused_call_takes_neither_token_nor_place():
    throttle = Throttle(Limits(rate_per_second=2.0, burst=1.0, concurrency=1))
    assert throttle.enter("a", "r", NOW) is None
    assert throttle.enter("a", "r", NOW + 5) is not None
    throttle.leave("a", "r")
    assert throttle.enter("a", "r", NOW + 5) is None
    throttle.leave("a", "r")
    assert throttle.enter("a", "r", NOW + 5) is not None
    assert throttle.enter("a", "r", NOW + 5.5) is None


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=200))
def test_no_more_calls_pass_than_rate_and_burst_allow(gaps):
    throttle = Throttle(Limits(rate_per_second=5.0, burst=3.0))
    now, passed = NOW, 0
    for gap in gaps:
        now += gap
        passed += throttle.enter("a", "r", now) is None
    assert passed <= 3 + (now - NOW) * 5 + 1e-3
