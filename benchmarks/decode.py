"""Microseconds of CPU to decode, validate and digest one typical event, repeated keys looked for.

python benchmarks/decode.py
"""

from __future__ import annotations

import json
import time
import timeit

from gateway.core.decode import Decoder
from gateway.core.model import JobResult, Record

NOW = 1_800_000_000.0
ROUNDS, CALLS = 7, 20_000

EVENT = {
    "jobId": "11111111-2222-3333-4444-555555555555",
    "currentRevision": {
        "revision": "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c",
        "changeIdentifier": "main",
        "created": "2026-05-01T10:20:30.5Z",
        "revisionSummary": "Fix the build: it was red",
    },
    "executionDetails": {
        "summary": "Build 1234 succeeded in 3:21",
        "externalExecutionId": "https://ci.example.com/builds/1234",
        "percentComplete": 100,
    },
    "outputVariables": {
        "version": "1.2.3",
        "image": "registry.example.com/app:1.2.3",
        "commit": "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c",
    },
}


def microseconds() -> float:
    """The best round: what the work costs when the machine does nothing else."""
    decoder = Decoder(
        digest_key=b"key",
        unknown_members="reject",
        key="any",
        client_token_of=lambda client_id: None,
    )
    value = json.dumps(EVENT).encode()
    record = Record("job-results", 0, 0, NOW, b"key", value, (("gateway-target", b"default"),))
    assert isinstance(decoder.decode(record, NOW), JobResult)
    rounds = timeit.repeat(
        lambda: decoder.decode(record, NOW),
        timer=time.process_time,
        number=CALLS,
        repeat=ROUNDS,
    )
    return min(rounds) / CALLS * 1e6


if __name__ == "__main__":
    print(f"decode, validate, digest: {microseconds():.1f} µs per event (goal: <= 15)")
