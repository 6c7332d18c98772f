"""A stock client believes the simulator: every operation, every refusal, in AWS's own shapes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from gateway.simulation.jobs import ActionType, JobKind, JobState, Wish, follow_up_id
from gateway.simulation.service import EXAMPLE_KEY, Rules
from gateway.simulation.sigv4 import AccessKey
from gateway.simulation.throttle import Limits
from tests.simulation.stock import (
    CUSTOM_TYPE,
    FAILURE,
    JOB_ID,
    THIRD_PARTY_TYPE,
    boto3_client,
    code_of,
    error_of,
)

NOW = 1_800_000_000.0
PARTNER = Wish(JobKind.THIRD_PARTY, client_token="partner-token", id="partner/job 7")
FULL = {
    "currentRevision": {
        "revision": "r1",
        "changeIdentifier": "c1",
        "created": "2026-01-02T03:04:05.123Z",
        "revisionSummary": "ünïcödé ✓",
    },
    "executionDetails": {"summary": "s", "externalExecutionId": "e", "percentComplete": 100},
}


class Clock:
    """Tells the real time plus whatever a test has added: signatures need the real one."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._stopped_at: float | None = None

    def stop(self) -> None:
        self._stopped_at = time.time()

    def __call__(self) -> float:
        return (self._stopped_at or time.time()) + self.ahead


async def test_a_custom_job_goes_from_poll_to_result(simulate, client_of):
    simulator = await simulate()
    made = simulator.jobs.make(Wish(state=JobState.CREATED, configuration={"a": "b"}), NOW * 2)
    call = client_of(simulator)
    (job,) = (await call("PollForJobs", actionTypeId=CUSTOM_TYPE))["jobs"]
    assert (job["id"], job["accountId"]) == (made.id, "111122223333")
    assert job["data"]["actionConfiguration"]["configuration"] == {"a": "b"}
    assert (await call("PollForJobs", actionTypeId=CUSTOM_TYPE))["jobs"] == []
    early = call("PutJobSuccessResult", jobId=made.id)
    assert await code_of(early) == "InvalidJobStateException"
    acknowledged = await call("AcknowledgeJob", jobId=made.id, nonce=job["nonce"])
    assert acknowledged["status"] == "InProgress"
    details = await call("GetJobDetails", jobId=made.id)
    assert details["jobDetails"]["data"]["artifactCredentials"]["accessKeyId"]
    variables = {"outputVariables": {"a@-_": "x"}}
    answer = await call("PutJobSuccessResult", jobId=made.id, **FULL, **variables)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert answer["ResponseMetadata"]["RequestId"] == list(simulator.books)[-1].request_id
    assert made.state is JobState.SUCCEEDED


async def test_a_third_party_job_goes_from_poll_to_result(simulate, client_of):
    simulator = await simulate()
    made = simulator.jobs.make(replace(PARTNER, state=JobState.CREATED), NOW * 2)
    call = client_of(simulator)
    (job,) = (await call("PollForThirdPartyJobs", actionTypeId=THIRD_PARTY_TYPE))["jobs"]
    assert job == {"jobId": made.id, "clientId": made.client_id}
    shown = {"jobId": made.id, "clientToken": "partner-token"}
    details = (await call("GetThirdPartyJobDetails", **shown))["jobDetails"]
    nonce = details["nonce"]
    assert (await call("AcknowledgeThirdPartyJob", nonce=nonce, **shown))["status"] == "InProgress"
    await call("PutThirdPartyJobFailureResult", failureDetails=FAILURE, **shown)
    assert made.state is JobState.FAILED


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("PutJobSuccessResult", {"jobId": JOB_ID}),
        ("PutJobFailureResult", {"jobId": JOB_ID, "failureDetails": FAILURE}),
        ("PutThirdPartyJobSuccessResult", {"jobId": "p", "clientToken": "t"}),
        (
            "PutThirdPartyJobFailureResult",
            {"jobId": "p", "clientToken": "t", "failureDetails": FAILURE},
        ),
    ],
)
async def test_a_job_takes_exactly_one_result(simulate, client_of, operation, members):
    simulator = await simulate()
    kind = JobKind.THIRD_PARTY if "ThirdParty" in operation else JobKind.CUSTOM
    token = members.get("clientToken")
    simulator.jobs.make(Wish(kind, id=members["jobId"], client_token=token), NOW)
    call = client_of(simulator)
    await call(operation, **members)
    assert await code_of(call(operation, **members)) == "InvalidJobStateException"
    assert [entry.applied for entry in simulator.books] == [True, False]


@pytest.mark.parametrize("state", [s for s in JobState if s is not JobState.IN_PROGRESS])
async def test_only_a_job_in_progress_takes_a_result(simulate, client_of, state):
    simulator = await simulate()
    simulator.jobs.make(Wish(id=JOB_ID, state=state), NOW * 2)
    call = client_of(simulator)
    failure = call("PutJobFailureResult", jobId=JOB_ID, failureDetails=FAILURE)
    assert await code_of(failure) == "InvalidJobStateException"


async def test_an_unknown_job_is_not_found_by_any_operation(simulate, client_of):
    call = client_of(await simulate())
    token = {"clientToken": "t"}
    for operation, members in {
        "PutJobSuccessResult": {},
        "PutJobFailureResult": {"failureDetails": FAILURE},
        "PutThirdPartyJobSuccessResult": token,
        "PutThirdPartyJobFailureResult": token | {"failureDetails": FAILURE},
        "AcknowledgeJob": {"nonce": "n"},
        "AcknowledgeThirdPartyJob": token | {"nonce": "n"},
        "GetJobDetails": {},
        "GetThirdPartyJobDetails": token,
    }.items():
        code = await code_of(call(operation, jobId=JOB_ID, **members))
        assert (operation, code) == (operation, "JobNotFoundException")


async def test_a_wrong_client_token_opens_nothing(simulate, client_of):
    simulator = await simulate()
    job = simulator.jobs.make(PARTNER, NOW * 2)
    call = client_of(simulator)
    wrong = {"jobId": job.id, "clientToken": "other"}
    for operation, members in {
        "PutThirdPartyJobSuccessResult": {},
        "PutThirdPartyJobFailureResult": {"failureDetails": FAILURE},
        "AcknowledgeThirdPartyJob": {"nonce": "n"},
        "GetThirdPartyJobDetails": {},
    }.items():
        code = await code_of(call(operation, **wrong, **members))
        assert (operation, code) == (operation, "InvalidClientTokenException")
    assert job.state is JobState.IN_PROGRESS


async def test_a_wrong_nonce_acknowledges_nothing(simulate, client_of):
    simulator = await simulate()
    job = simulator.jobs.make(Wish(state=JobState.DISPATCHED), NOW * 2)
    call = client_of(simulator)
    code = await code_of(call("AcknowledgeJob", jobId=job.id, nonce="guessed"))
    assert (code, job.state) == ("InvalidNonceException", JobState.DISPATCHED)


async def test_custom_and_third_party_jobs_are_not_confused(simulate, client_of):
    simulator = await simulate()
    custom = simulator.jobs.make(Wish(), NOW * 2)
    simulator.jobs.make(replace(PARTNER, id=JOB_ID), NOW * 2)
    call = client_of(simulator)
    assert await code_of(call("PutJobSuccessResult", jobId=JOB_ID)) == "JobNotFoundException"
    as_partner = {"jobId": custom.id, "clientToken": "t"}
    result = call("PutThirdPartyJobSuccessResult", **as_partner)
    assert await code_of(result) == "JobNotFoundException"
    details = call("GetThirdPartyJobDetails", **as_partner)
    assert await code_of(details) == "InvalidJobException"


async def test_an_unknown_action_type_is_named(simulate, client_of):
    call = client_of(await simulate())
    for operation in ("PollForJobs", "PollForThirdPartyJobs"):
        asked = call(operation, actionTypeId=CUSTOM_TYPE | {"provider": "Nobody"})
        assert await code_of(asked) == "ActionTypeNotFoundException"


async def test_a_poll_takes_the_jobs_it_asks_for_and_no_more(simulate, client_of):
    simulator = await simulate()
    own = ActionType("Test", "Custom", "Mine", "2")
    for name in ("a", "b", "b", "b"):
        wish = Wish(state=JobState.CREATED, action_type=own, configuration={"fleet": name})
        simulator.jobs.make(wish, NOW * 2)
    call = client_of(simulator)
    ask = {"actionTypeId": own._asdict(), "queryParam": {"fleet": "b"}}
    assert len((await call("PollForJobs", maxBatchSize=2, **ask))["jobs"]) == 2
    assert len((await call("PollForJobs", maxBatchSize=9, **ask))["jobs"]) == 1


async def test_a_continuation_token_ends_its_job_and_creates_the_follow_up(simulate, client_of):
    simulator = await simulate()
    first = simulator.jobs.make(Wish(id=JOB_ID), NOW * 2)
    call = client_of(simulator)
    await call("PutJobSuccessResult", jobId=JOB_ID, continuationToken="step 2")
    again = call("PutJobSuccessResult", jobId=JOB_ID)
    assert (first.state, await code_of(again)) == (JobState.SUCCEEDED, "InvalidJobStateException")
    (job,) = (await call("PollForJobs", actionTypeId=CUSTOM_TYPE))["jobs"]
    assert job["id"] == first.followed_by == follow_up_id(JOB_ID) != JOB_ID
    assert job["data"]["continuationToken"] == "step 2"
    await call("AcknowledgeJob", jobId=job["id"], nonce=job["nonce"])
    await call("PutJobSuccessResult", jobId=job["id"])


async def test_a_follow_up_may_start_in_progress(simulate, client_of):
    simulator = await simulate(Rules(follow_up_state=JobState.IN_PROGRESS))
    simulator.jobs.make(replace(PARTNER, id="p"), NOW * 2)
    call, token = client_of(simulator), {"clientToken": "partner-token"}
    await call("PutThirdPartyJobSuccessResult", jobId="p", continuationToken="t", **token)
    await call("PutThirdPartyJobSuccessResult", jobId=follow_up_id("p"), **token)


async def test_a_job_past_its_time_out_takes_no_result(simulate):
    clock = Clock()
    simulator = await simulate(clock=clock)
    job = simulator.jobs.make(Wish(timeout_seconds=100.0), clock())
    other = simulator.jobs.make(Wish(timeout_seconds=300.0), clock())
    clock.ahead = 150.0
    call = boto3_client(simulator)
    late = call("PutJobSuccessResult", jobId=job.id)
    assert (await code_of(late), job.state) == ("InvalidJobStateException", JobState.TIMED_OUT)
    await call("PutJobSuccessResult", jobId=other.id)


async def test_jobs_of_another_account_or_region_are_not_found(simulate, client_of):
    stranger = AccessKey("AKIASTRANGER", "s3cret", account="999988887777")
    simulator = await simulate(Rules(keys=(EXAMPLE_KEY, stranger)))
    job = simulator.jobs.make(Wish(region="eu-west-1"), NOW * 2)
    for key, region in ((stranger, "eu-west-1"), (EXAMPLE_KEY, "us-east-1")):
        call = client_of(simulator, key, region)
        assert await code_of(call("GetJobDetails", jobId=job.id)) == "JobNotFoundException"
    await client_of(simulator, EXAMPLE_KEY, "eu-west-1")("PutJobSuccessResult", jobId=job.id)


async def test_any_job_takes_one_result_for_an_id_never_seen(simulate, client_of):
    simulator = await simulate(Rules(takes_any_id=True))
    call = client_of(simulator)
    await call("PutJobSuccessResult", jobId=JOB_ID)
    partner = {"jobId": "p", "clientToken": "first seen"}
    assert await code_of(call("PutJobSuccessResult", jobId=JOB_ID)) == "InvalidJobStateException"
    wrong = partner | {"clientToken": "other"}
    await call("GetThirdPartyJobDetails", **partner)
    code = await code_of(call("PutThirdPartyJobSuccessResult", **wrong))
    assert code == "InvalidClientTokenException"
    await call("PutThirdPartyJobSuccessResult", **partner)
    assert await code_of(call("PutJobSuccessResult", jobId="UPPER")) == "ValidationException"


@pytest.mark.parametrize(
    ("operation", "members", "code"),
    [
        ("PutJobSuccessResult", {"jobId": JOB_ID.upper().replace("1", "A")}, "ValidationException"),
        ("PutJobSuccessResult", {"jobId": ""}, "ValidationException"),
        (
            "PutJobSuccessResult",
            {"jobId": JOB_ID, "executionDetails": {"percentComplete": 101}},
            "ValidationException",
        ),
        (
            "PutJobSuccessResult",
            {"jobId": JOB_ID, "executionDetails": {"percentComplete": True}},
            "SerializationException",
        ),
        (
            "PutJobSuccessResult",
            {"jobId": JOB_ID, "continuationToken": "t", "outputVariables": {"a": "b"}},
            "ValidationException",
        ),
        (
            "PutJobSuccessResult",
            {"jobId": JOB_ID, "outputVariables": {"no spaces": "b"}},
            "ValidationException",
        ),
        (
            "PutJobSuccessResult",
            {"jobId": JOB_ID, "outputVariables": {"a": "é" * 61_440}},
            "OutputVariablesSizeExceededException",
        ),
        (
            "PutJobFailureResult",
            {"jobId": JOB_ID, "failureDetails": {"type": "Sulking", "message": "m"}},
            "ValidationException",
        ),
        (
            "PutThirdPartyJobSuccessResult",
            {"jobId": "p" * 513, "clientToken": "t"},
            "ValidationException",
        ),
        (
            "PutJobSuccessResult",
            {"jobId": JOB_ID, "outputVariables": {"a": "x" * 1_100_000}},
            "RequestEntityTooLargeException",
        ),
    ],
)
async def test_what_botocore_lets_through_is_refused(simulate, client_of, operation, members, code):
    simulator = await simulate(Rules(takes_any_id=True))
    assert await code_of(client_of(simulator)(operation, **members)) == code
    (entry,) = simulator.books
    assert (entry.code, entry.applied) == (code, False)


async def test_a_modelled_error_is_raised_as_its_own_class(simulate):
    simulator = await simulate()
    error = await error_of(boto3_client(simulator)("GetJobDetails", jobId=JOB_ID))
    assert type(error).__name__ == "JobNotFoundException"
    assert error.response["Error"]["Message"] == f"Job {JOB_ID} cannot be found"
    metadata = error.response["ResponseMetadata"]
    (entry,) = simulator.books
    assert (metadata["HTTPStatusCode"], metadata["RequestId"]) == (400, entry.request_id)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (AccessKey("AKIANOBODY", "x"), "UnrecognizedClientException"),
        (replace(EXAMPLE_KEY, secret_key="wrong"), "InvalidSignatureException"),
        (replace(EXAMPLE_KEY, session_token="extra"), "UnrecognizedClientException"),
        (AccessKey("ASIASESSION", "s"), "UnrecognizedClientException"),
        (AccessKey("ASIASESSION", "s", session_token="wrong"), "UnrecognizedClientException"),
        (AccessKey("ASIAEXPIRED", "s", session_token="old"), "ExpiredTokenException"),
    ],
)
async def test_wrong_credentials_get_the_code_that_aws_gives(simulate, client_of, key, code):
    session = AccessKey("ASIASESSION", "s", session_token="right")
    expired = AccessKey("ASIAEXPIRED", "s", session_token="old", expires=NOW / 2)
    rules = Rules(keys=(EXAMPLE_KEY, session, expired), takes_any_id=True)
    simulator = await simulate(rules)
    call = client_of(simulator, key)
    assert await code_of(call("PutJobSuccessResult", jobId=JOB_ID)) == code
    assert len(simulator.jobs) == 0
    await client_of(simulator, session)("PutJobSuccessResult", jobId=JOB_ID)


@pytest.mark.parametrize("ahead", [-301.5, 301.5])
async def test_a_clock_more_than_five_minutes_off_is_refused(simulate, ahead):
    clock = Clock()
    simulator = await simulate(Rules(takes_any_id=True), clock=clock)
    call = boto3_client(simulator)
    clock.ahead = ahead * 0.9
    await call("PutJobSuccessResult", jobId=JOB_ID)
    clock.ahead = ahead
    late = call("GetJobDetails", jobId=JOB_ID)
    assert await code_of(late) == "InvalidSignatureException"


async def test_without_verification_any_key_will_do(simulate, client_of):
    simulator = await simulate(Rules(verify_signatures=False, takes_any_id=True))
    await client_of(simulator, AccessKey("whoever", "x"))("PutJobSuccessResult", jobId=JOB_ID)
    (entry,) = simulator.books
    assert entry.caller == ("whoever", "111122223333", "us-east-1")


async def test_calls_beyond_the_rate_are_throttled_for_that_account_and_region(simulate):
    limits = Limits(rate_per_second=1.0, burst=3.0)
    clock = Clock()
    simulator = await simulate(Rules(limits=limits, takes_any_id=True), clock=clock)
    clock.stop()
    call = boto3_client(simulator)
    for _ in range(3):
        await call("GetJobDetails", jobId=JOB_ID)
    assert await code_of(call("GetJobDetails", jobId=JOB_ID)) == "ThrottlingException"
    elsewhere = boto3_client(simulator, region="eu-west-1")
    assert await code_of(elsewhere("GetJobDetails", jobId=JOB_ID)) == "JobNotFoundException"
    clock.ahead = 1.0
    await call("GetJobDetails", jobId=JOB_ID)


async def test_calls_beyond_the_concurrency_are_throttled(simulate):
    limits = Limits(concurrency=2, latency_seconds=0.3)
    simulator = await simulate(Rules(limits=limits, takes_any_id=True))
    call = boto3_client(simulator)
    ended = await asyncio.gather(
        *(call("GetJobDetails", jobId=JOB_ID) for _ in range(6)), return_exceptions=True
    )
    throttled = [e for e in ended if isinstance(e, Exception)]
    assert 1 <= len(throttled) <= 4
    assert {e.response["Error"]["Code"] for e in throttled} == {"ThrottlingException"}
    await call("GetJobDetails", jobId=JOB_ID)


async def test_a_call_takes_as_long_as_its_latency(simulate):
    limits = Limits(latency_seconds=0.2, latency_spread_seconds=0.1)
    simulator = await simulate(Rules(limits=limits, takes_any_id=True))
    await boto3_client(simulator)("PutJobSuccessResult", jobId=JOB_ID)
    (entry,) = simulator.books
    assert 0.2 <= entry.ended - entry.begun < 5.0
