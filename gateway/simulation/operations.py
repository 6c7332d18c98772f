"""The ten operations about jobs: a valid request meets the jobs, and AWS's answer comes out.

Nothing here knows of HTTP, signatures or faults; inputs are already checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gateway.simulation.answers import ACCEPTED, Answer, Refusal, accepted_with, refused
from gateway.simulation.jobs import ActionType, Job, JobKind, Jobs, JobState, Poll, Wish
from gateway.simulation.sigv4 import Caller


class Call(NamedTuple):
    """One valid call."""

    operation: str
    request: Mapping[str, Any]
    caller: Caller
    now: float


class Carried(NamedTuple):
    """The answer to a call, and whether the call has changed a job."""

    answer: Answer
    has_applied: bool


Operation = Callable[[Jobs, Call], Answer | Refusal]


def carry_out(jobs: Jobs, call: Call) -> Carried:
    """What AWS would do and say. A refused call has changed nothing."""
    result = _OPERATIONS[call.operation](jobs, call)
    if isinstance(result, Refusal):
        return Carried(refused(result), False)
    return Carried(result, not call.operation.startswith("Get"))


def _kind(call: Call) -> JobKind:
    return JobKind.THIRD_PARTY if "ThirdParty" in call.operation else JobKind.CUSTOM


def _find(jobs: Jobs, call: Call) -> Job | Refusal:
    """The job of a call whose caller has shown the right client token, if one is needed."""
    unseen = Wish(_kind(call), client_token=call.request.get("clientToken"))
    job = jobs.find(unseen, call.request["jobId"], call.caller, call.now)
    if isinstance(job, Refusal):
        return job
    if job.kind is not _kind(call):
        return Refusal("JobNotFoundException", f"Job {job.id} cannot be found")
    if job.kind is JobKind.THIRD_PARTY and call.request["clientToken"] != job.client_token:
        return Refusal("InvalidClientTokenException", "The client token does not match the job")
    return job


def _poll(jobs: Jobs, call: Call) -> Answer | Refusal:
    asked = call.request["actionTypeId"]
    action_type = ActionType(*(asked[name] for name in ActionType._fields))
    if not jobs.is_action_type(action_type):
        return Refusal("ActionTypeNotFoundException", "The specified action type does not exist")
    batch, query = call.request.get("maxBatchSize"), call.request.get("queryParam")
    found = jobs.poll(Poll(action_type, batch or 1, query or {}), call.caller, call.now)
    if _kind(call) is JobKind.THIRD_PARTY:
        return accepted_with({"jobs": [{"clientId": j.client_id, "jobId": j.id} for j in found]})
    return accepted_with({"jobs": [_described(job) | {"nonce": job.nonce} for job in found]})


def _acknowledge(jobs: Jobs, call: Call) -> Answer | Refusal:
    job = _find(jobs, call)
    if isinstance(job, Refusal):
        return job
    return job.acknowledge(call.request["nonce"]) or accepted_with({"status": job.state.status})


def _get_job_details(jobs: Jobs, call: Call) -> Answer | Refusal:
    job = _find(jobs, call)
    return job if isinstance(job, Refusal) else accepted_with({"jobDetails": _described(job)})


def _get_third_party_job_details(jobs: Jobs, call: Call) -> Answer | Refusal:
    found = jobs.get(call.request["jobId"], call.now)
    if found is not None and found.kind is JobKind.CUSTOM and found.is_visible_to(call.caller):
        return Refusal("InvalidJobException", f"Job {found.id} is not a third-party job")
    job = _find(jobs, call)
    if isinstance(job, Refusal):
        return job
    described = _described(job)
    del described["accountId"]
    return accepted_with({"jobDetails": described | ({"nonce": job.nonce} if job.nonce else {})})


def _put_success(jobs: Jobs, call: Call) -> Answer | Refusal:
    job = _find(jobs, call)
    if isinstance(job, Refusal):
        return job
    refusal = job.end(JobState.SUCCEEDED, call.now)
    token = call.request.get("continuationToken")
    if refusal is None and token is not None:
        jobs.follow_up(job, token, call.now)
    return refusal or ACCEPTED


def _put_failure(jobs: Jobs, call: Call) -> Answer | Refusal:
    job = _find(jobs, call)
    return job if isinstance(job, Refusal) else job.end(JobState.FAILED, call.now) or ACCEPTED


_OPERATIONS: Mapping[str, Operation] = {
    "PollForJobs": _poll,
    "AcknowledgeJob": _acknowledge,
    "GetJobDetails": _get_job_details,
    "PollForThirdPartyJobs": _poll,
    "AcknowledgeThirdPartyJob": _acknowledge,
    "GetThirdPartyJobDetails": _get_third_party_job_details,
    "PutJobSuccessResult": _put_success,
    "PutThirdPartyJobSuccessResult": _put_success,
    "PutJobFailureResult": _put_failure,
    "PutThirdPartyJobFailureResult": _put_failure,
}


def _described(job: Job) -> dict[str, Any]:
    """AWS's picture of a job. The artifact credentials are made up and open nothing."""
    region = job.region or "us-east-1"
    data: dict[str, Any] = {
        "actionTypeId": job.action_type._asdict(),
        "actionConfiguration": {"configuration": dict(job.wish.configuration)},
        "pipelineContext": {
            "pipelineName": "simulated",
            "stage": {"name": "Build"},
            "action": {"name": "Simulated", "actionExecutionId": job.client_id},
            "pipelineArn": f"arn:aws:codepipeline:{region}:{job.account}:simulated",
            "pipelineExecutionId": job.client_id,
        },
        "inputArtifacts": [],
        "outputArtifacts": [],
        "artifactCredentials": {
            "accessKeyId": "ASIASIMULATEDARTIFACT",
            "secretAccessKey": "simulated",
            "sessionToken": "simulated",
        },
    }
    if job.wish.continuation_token is not None:
        data["continuationToken"] = job.wish.continuation_token
    return {"id": job.id, "data": data, "accountId": job.account}
