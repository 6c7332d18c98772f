"""Job results to measure with: one job each, as different as they are in life, as cheap to make."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

CREATED = datetime(2026, 5, 1, 10, 20, 30, 500_000, UTC)
REVISION = {"revision": "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c", "changeIdentifier": "main"}
EXECUTION = {
    "summary": "Build 1234 succeeded in 3:21",
    "externalExecutionId": "https://ci.example.com/builds/1234",
    "percentComplete": 100,
}
_REST = json.dumps(
    {
        "currentRevision": {**REVISION, "created": "2026-05-01T10:20:30.5Z"},
        "executionDetails": EXECUTION,
    }
).removeprefix("{")


def job_id(number: int) -> str:
    return str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128))


def events(first: int, count: int) -> Iterator[tuple[bytes, bytes]]:
    """Key (the job id) and value of so many events, from the first-th job on."""
    for number in range(first, first + count):
        name = job_id(number)
        yield name.encode(), f'{{"jobId": "{name}", {_REST}'.encode()


def bodies(first: int, count: int) -> Iterator[bytes]:
    """The same job results as they go over the wire."""
    revision = {**REVISION, "created": CREATED.timestamp()}
    for number in range(first, first + count):
        members = {
            "jobId": job_id(number),
            "currentRevision": revision,
            "executionDetails": EXECUTION,
        }
        yield json.dumps(members, separators=(",", ":")).encode()


def arguments(first: int, count: int) -> Iterator[dict[str, Any]]:
    """The same job results as keyword arguments of `put_job_success_result`."""
    revision = {**REVISION, "created": CREATED}
    for number in range(first, first + count):
        yield {
            "jobId": job_id(number),
            "currentRevision": revision,
            "executionDetails": EXECUTION,
        }
