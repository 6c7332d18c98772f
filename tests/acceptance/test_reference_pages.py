"""Each reference page's request, as its tool writes it, from Kafka to CodePipeline's books."""

from __future__ import annotations

import json
import time
import uuid

import pytest

from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.jobs import JobKind, Wish
from tests.acceptance.gateway_process import Stage
from tests.reference_events import CLIENT_TOKEN, REFERENCE_PAGES

EXPECTED = {
    "000_r_paws_put_job_success_result": {
        "currentRevision": {
            "revision": "1f2e3d4",
            "changeIdentifier": "main",
            "created": 1420070400,
            "revisionSummary": "Räder gewechselt",
        },
        "executionDetails": {
            "summary": "built",
            "externalExecutionId": "run-17",
            "percentComplete": 100,
        },
        "outputVariables": {"version": "1.2.3", "build_url": "https://ci.example.com/17"},
    },
    "001_r_paws_put_third_party_job_success_result": {
        "currentRevision": {
            "revision": "1f2e3d4",
            "changeIdentifier": "main",
            "created": 1420107630,
            "revisionSummary": "wheels changed",
        },
        "continuationToken": "deployment-9",
        "executionDetails": {
            "summary": "deploying",
            "externalExecutionId": "run-17",
            "percentComplete": 42,
        },
    },
    "002_boto3_put_job_success_result": {
        "currentRevision": {
            "revision": "1f2e3d4",
            "changeIdentifier": "main",
            "created": 1420107630.123456,
            "revisionSummary": "Räder gewechselt",
        },
        "executionDetails": {
            "summary": "built",
            "externalExecutionId": "run-17",
            "percentComplete": 100,
        },
        "outputVariables": {"version": "1.2.3"},
    },
    "003_aws_cli_put_job_success_result": {
        "currentRevision": {
            "revision": "1f2e3d4",
            "changeIdentifier": "main",
            "created": 1420070400,
            "revisionSummary": "wheels changed",
        },
        "executionDetails": {
            "summary": "built",
            "externalExecutionId": "run-17",
            "percentComplete": 0,
        },
        "outputVariables": {"KeyName": "value"},
    },
    "004_http_put_job_success_result": {
        "continuationToken": "deployment-9",
        "currentRevision": {
            "changeIdentifier": "main",
            "created": 1420070400.25,
            "revision": "1f2e3d4",
            "revisionSummary": "wheels changed",
        },
        "executionDetails": {
            "externalExecutionId": "run-17",
            "percentComplete": 50,
            "summary": "building",
        },
    },
}


@pytest.mark.parametrize("page", REFERENCE_PAGES)
async def test_the_request_of_reference_page(
    page: str, stage: Stage, simulator: CodePipelineSimulator
) -> None:
    job_id = str(uuid.uuid4())
    is_third_party = "third_party" in page
    kind = JobKind.THIRD_PARTY if is_third_party else JobKind.CUSTOM
    wish = Wish(kind=kind, id=job_id, client_token=CLIENT_TOKEN if is_third_party else None)
    simulator.jobs.make(wish, now=time.time())
    await stage.started()
    await stage.send(REFERENCE_PAGES[page](job_id), key=job_id.encode())
    [outcome] = await stage.wait_outcomes(1)
    assert (outcome["outcome"], outcome["certainty"]) == ("accepted", "confirmed")
    [entry] = simulator.books
    assert entry.applied
    assert entry.operation == (
        "PutThirdPartyJobSuccessResult" if is_third_party else "PutJobSuccessResult"
    )
    assert json.loads(entry.request or b"") == {"jobId": job_id, **EXPECTED[page]}
