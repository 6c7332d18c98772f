"""The events of the five reference pages, as each page's tool writes them: one builder a page.

Placeholders are filled with valid values, unused optional members left out; nothing else differs
from what the tool's user serialises. Source of each form beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

CLIENT_TOKEN = "client-token-of-the-reference-page"


def r_paws_put_job_success_result(job_id: str) -> bytes:
    """R, paws: `jsonlite::toJSON(list(jobId = …, …), auto_unbox = TRUE)`.

    No spaces; a POSIXct becomes its text, without time at midnight, never with a zone; a double
    without fraction is written without a point; a named list is an object.
    """
    return (
        f'{{"jobId":"{job_id}",'
        '"currentRevision":{"revision":"1f2e3d4","changeIdentifier":"main",'
        '"created":"2015-01-01","revisionSummary":"Räder gewechselt"},'
        '"executionDetails":{"summary":"built","externalExecutionId":"run-17",'
        '"percentComplete":100},'
        '"outputVariables":{"version":"1.2.3","build_url":"https://ci.example.com/17"}}'
    ).encode()


def r_paws_put_third_party_job_success_result(job_id: str) -> bytes:
    """R, paws: the same way; a POSIXct that is not midnight keeps its time."""
    return (
        f'{{"jobId":"{job_id}","clientToken":"{CLIENT_TOKEN}",'
        '"currentRevision":{"revision":"1f2e3d4","changeIdentifier":"main",'
        '"created":"2015-01-01 10:20:30","revisionSummary":"wheels changed"},'
        '"continuationToken":"deployment-9",'
        '"executionDetails":{"summary":"deploying","externalExecutionId":"run-17",'
        '"percentComplete":42}}'
    ).encode()


def boto3_put_job_success_result(job_id: str) -> bytes:
    """boto3: `json.dumps(kwargs, default=str)` of the keyword arguments, a datetime among them."""
    kwargs = {
        "jobId": job_id,
        "currentRevision": {
            "revision": "1f2e3d4",
            "changeIdentifier": "main",
            "created": datetime(2015, 1, 1, 10, 20, 30, 123456, tzinfo=UTC),
            "revisionSummary": "Räder gewechselt",
        },
        "executionDetails": {
            "summary": "built",
            "externalExecutionId": "run-17",
            "percentComplete": 100,
        },
        "outputVariables": {"version": "1.2.3"},
    }
    return json.dumps(kwargs, default=str).encode()


def aws_cli_put_job_success_result(job_id: str) -> bytes:
    """AWS CLI: what `--generate-cli-skeleton` prints, filled in, as for `--cli-input-json`."""
    return (
        "{\n"
        f'    "jobId": "{job_id}",\n'
        '    "currentRevision": {\n'
        '        "revision": "1f2e3d4",\n'
        '        "changeIdentifier": "main",\n'
        '        "created": "2015-01-01T00:00:00",\n'
        '        "revisionSummary": "wheels changed"\n'
        "    },\n"
        '    "executionDetails": {\n'
        '        "summary": "built",\n'
        '        "externalExecutionId": "run-17",\n'
        '        "percentComplete": 0\n'
        "    },\n"
        '    "outputVariables": {\n'
        '        "KeyName": "value"\n'
        "    }\n"
        "}\n"
    ).encode()


def http_put_job_success_result(job_id: str) -> bytes:
    """The HTTP API: the page's body, `created` as a number."""
    return (
        '{ "continuationToken": "deployment-9", "currentRevision": { "changeIdentifier": "main", '
        '"created": 1420070400.25, "revision": "1f2e3d4", "revisionSummary": "wheels changed" }, '
        '"executionDetails": { "externalExecutionId": "run-17", "percentComplete": 50, '
        f'"summary": "building" }}, "jobId": "{job_id}" }}'
    ).encode()


REFERENCE_PAGES: dict[str, Callable[[str], bytes]] = {
    "000_r_paws_put_job_success_result": r_paws_put_job_success_result,
    "001_r_paws_put_third_party_job_success_result": r_paws_put_third_party_job_success_result,
    "002_boto3_put_job_success_result": boto3_put_job_success_result,
    "003_aws_cli_put_job_success_result": aws_cli_put_job_success_result,
    "004_http_put_job_success_result": http_put_job_success_result,
}
