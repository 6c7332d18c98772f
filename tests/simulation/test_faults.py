"""Every fault does what its name says: to the caller, to the job, and in the books."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ReadTimeoutError,
)

from gateway.simulation.faults import Aim, Fault, FaultKind, Faults
from gateway.simulation.jobs import JobState
from gateway.simulation.service import EXAMPLE_KEY, Rules
from gateway.simulation.sigv4 import AccessKey, Caller
from tests.simulation.stock import FAILURE, JOB_ID, aiobotocore_client, boto3_client, code_of
from tests.waiting import wait_until

CALLER = Caller("AKIA", "111122223333", "us-east-1")
ANY = Rules(takes_any_id=True)


def drawn(faults: Faults, now: float = 0.0, operation: str = "PutJobSuccessResult") -> str | None:
    fault = faults.draw(operation, JOB_ID, CALLER, now)
    return fault and fault.kind.value


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        (FaultKind.SERVER_ERROR, "InternalFailure", 500),
        (FaultKind.XML_THROTTLE, "400", 400),
        (FaultKind.THROTTLE, "ThrottlingException", 400),
        (FaultKind.EXPIRED, "ExpiredTokenException", 400),
        (FaultKind.ACCESS_DENIED, "AccessDeniedException", 400),
        (FaultKind.NO_TYPE, "503", 503),
        (FaultKind.NULL_TYPE, "", 400),
    ],
)
async def test_a_refusing_fault_refuses_once_and_applies_nothing(
    simulate, client_of, kind, code, status
):
    simulator = await simulate(ANY)
    simulator.faults.add(Fault(kind, count=1), 0.0)
    call = client_of(simulator)
    assert await code_of(call("PutJobSuccessResult", jobId=JOB_ID)) == code
    await call("PutJobSuccessResult", jobId=JOB_ID)
    first, second = simulator.books
    assert (first.fault, first.status, first.code) == (kind.value, status, code)
    assert (first.applied, first.delivered) == (False, True)
    assert (second.fault, second.applied) == (None, True)


@pytest.mark.parametrize(
    ("kind", "status"), [(FaultKind.HTML_OK, 200), (FaultKind.NO_REQUEST_ID, 200)]
)
async def test_a_false_success_has_no_request_id(simulate, client_of, kind, status):
    simulator = await simulate(ANY)
    simulator.faults.add(Fault(kind, count=1), 0.0)
    answer = await client_of(simulator)("PutJobSuccessResult", jobId=JOB_ID)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
    assert "RequestId" not in answer["ResponseMetadata"]
    (entry,) = simulator.books
    assert (entry.applied, len(simulator.jobs)) == (False, 0)


async def test_a_body_that_is_no_object_is_an_error_that_botocore_does_not_know(
    simulate, client_of
):
    simulator = await simulate(ANY)
    simulator.faults.add(Fault(FaultKind.NOT_AN_OBJECT, count=1), 0.0)
    with pytest.raises(AttributeError):
        await client_of(simulator)("PutJobSuccessResult", jobId=JOB_ID)


async def test_a_redirect_leads_to_a_page_without_request_id(simulate):
    simulator = await simulate(ANY)
    simulator.faults.add(Fault(FaultKind.REDIRECT), 0.0)
    assert await code_of(boto3_client(simulator)("PutJobSuccessResult", jobId=JOB_ID)) == "302"
    followed = await aiobotocore_client(simulator)("PutJobSuccessResult", jobId=JOB_ID)
    assert followed["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert "RequestId" not in followed["ResponseMetadata"]
    assert [entry.applied for entry in simulator.books] == [False, False]


@pytest.mark.parametrize(
    ("kind", "applied"), [(FaultKind.CUT_BEFORE, False), (FaultKind.CUT_AFTER, True)]
)
async def test_a_cut_connection_answers_nothing(simulate, client_of, kind, applied):
    simulator = await simulate(ANY)
    simulator.faults.add(Fault(kind, count=1), 0.0)
    with pytest.raises(BotoCoreError) as raised:
        await client_of(simulator)("PutJobSuccessResult", jobId=JOB_ID)
    assert not isinstance(raised.value, ReadTimeoutError)
    (entry,) = simulator.books
    assert (entry.applied, entry.delivered, entry.status) == (applied, False, None)
    assert (entry.fault, entry.ended is not None) == (kind.value, True)
    job = simulator.jobs.get(JOB_ID, entry.begun)
    assert (job is not None and job.state is JobState.SUCCEEDED) == applied


@pytest.mark.parametrize(
    ("kind", "applied"),
    [(FaultKind.TIMEOUT_BEFORE, False), (FaultKind.TIMEOUT_AFTER, True), (FaultKind.SLOW, True)],
)
async def test_a_caller_gives_up_before_a_late_answer(simulate, client_of, kind, applied):
    simulator = await simulate(ANY)
    simulator.faults.add(Fault(kind, count=1, seconds=60.0), 0.0)
    with pytest.raises(ReadTimeoutError):
        await client_of(simulator, read_timeout=0.2)("PutJobSuccessResult", jobId=JOB_ID)
    (entry,) = simulator.books
    await wait_until(lambda: entry.ended is not None)
    assert (entry.applied, entry.delivered) == (applied, False)


async def test_a_time_out_ends_by_itself_without_an_answer(simulate):
    simulator = await simulate(ANY)
    simulator.faults.add(Fault(FaultKind.TIMEOUT_BEFORE, seconds=0.1), 0.0)
    with pytest.raises(ConnectionClosedError):
        await boto3_client(simulator)("PutJobSuccessResult", jobId=JOB_ID)


async def test_a_slow_answer_comes_in_the_end(simulate):
    simulator = await simulate(ANY)
    simulator.faults.add(Fault(FaultKind.SLOW, seconds=0.2), 0.0)
    await boto3_client(simulator)("PutJobSuccessResult", jobId=JOB_ID)
    (entry,) = simulator.books
    assert entry.delivered
    assert entry.ended - entry.begun >= 0.2


async def test_a_fault_may_apply_and_answer_with_another_status(simulate):
    simulator = await simulate(ANY)
    simulator.faults.add(Fault(FaultKind.SERVER_ERROR, status=503, applies=True, count=1), 0.0)
    call = boto3_client(simulator)
    with pytest.raises(ClientError) as raised:
        await call("PutJobSuccessResult", jobId=JOB_ID)
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert await code_of(call("PutJobSuccessResult", jobId=JOB_ID)) == "InvalidJobStateException"


async def test_access_may_be_denied_for_one_operation_and_one_key(simulate):
    other = AccessKey("AKIAOTHER", "s")
    simulator = await simulate(Rules(keys=(EXAMPLE_KEY, other), takes_any_id=True))
    aim = Aim(
        operations=frozenset({"PutJobFailureResult"}), access_keys=frozenset({other.access_key})
    )
    simulator.faults.add(Fault(FaultKind.ACCESS_DENIED, aim), 0.0)
    mine, others = boto3_client(simulator), boto3_client(simulator, other)
    failed: dict[str, Any] = {"failureDetails": FAILURE}
    denied = others("PutJobFailureResult", jobId=JOB_ID, **failed)
    assert await code_of(denied) == "AccessDeniedException"
    await others("PutJobSuccessResult", jobId=JOB_ID)
    await mine("PutJobFailureResult", jobId=JOB_ID.replace("1", "2"), **failed)


def test_a_fault_with_a_count_is_used_up():
    faults = Faults()
    faults.add(Fault(FaultKind.THROTTLE, count=2), 0.0)
    assert [drawn(faults) for _ in range(3)] == ["throttle", "throttle", None]


def test_a_fault_with_a_duration_ends_at_its_time():
    faults = Faults()
    faults.add(Fault(FaultKind.EXPIRED, duration_seconds=10.0), 100.0)
    assert drawn(faults, 109.9) == "expired-token"
    assert drawn(faults, 110.0) is None
    assert list(faults.in_force(110.0)) == []


def test_a_fault_by_chance_is_the_same_for_the_same_seed():
    runs = []
    for _ in range(2):
        faults = Faults()
        faults.add(Fault(FaultKind.THROTTLE, probability=0.3, seed=7), 0.0)
        runs.append([drawn(faults) for _ in range(500)])
    assert runs[0] == runs[1]
    assert 100 < sum(kind is not None for kind in runs[0]) < 200


def test_the_oldest_fault_that_meets_a_call_is_its_fault():
    faults = Faults()
    faults.add(Fault(FaultKind.SLOW, Aim(operations=frozenset({"GetJobDetails"}))), 0.0)
    second = faults.add(Fault(FaultKind.THROTTLE), 0.0)
    faults.add(Fault(FaultKind.CUT_AFTER), 0.0)
    assert drawn(faults) == "throttle"
    assert drawn(faults, operation="GetJobDetails") == "slow"
    faults.remove(second)
    assert drawn(faults) == "cut-after"
    faults.clear()
    assert drawn(faults) is None


@pytest.mark.parametrize(
    "aim",
    [
        Aim(operations=frozenset({"GetJobDetails"})),
        Aim(accounts=frozenset({"999999999999"})),
        Aim(access_keys=frozenset({"AKIB"})),
        Aim(regions=frozenset({"eu-west-1"})),
        Aim(job_ids=frozenset({"other"})),
    ],
)
def test_a_fault_misses_what_it_is_not_aimed_at(aim):
    assert not aim.meets("PutJobSuccessResult", JOB_ID, CALLER)
    assert Aim().meets("PutJobSuccessResult", JOB_ID, CALLER)
