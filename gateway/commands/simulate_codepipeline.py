"""`gateway simulate codepipeline`: the simulated CodePipeline for anyone, until told to stop.

Standard output carries one event a line for each job made, ready for a Kafka producer; all notes
for people go to standard error.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.jobs import Job, JobKind, JobState, Wish
from gateway.simulation.service import EXAMPLE_KEY, Rules
from gateway.simulation.sigv4 import DEFAULT_ACCOUNT, AccessKey
from gateway.simulation.throttle import Limits

FAILED = 1


@dataclass(frozen=True, slots=True)
class _Stand:
    """Where it listens and what it offers."""

    host: str
    port: int
    books: Path | None
    wish: Wish
    jobs: int
    with_keys: bool


def run(
    *,
    host: str = "127.0.0.1",
    port: int = 8090,
    jobs: int = 0,
    third_party: bool = False,
    timeout_seconds: float = 86_400.0,
    any_job: bool = False,
    follow_ups_in_progress: bool = False,
    rate: float | None = None,
    concurrency: int | None = None,
    latency_seconds: float = 0.0,
    latency_spread_seconds: float = 0.0,
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
    account: str = DEFAULT_ACCOUNT,
    verify_signatures: bool = True,
    books: Path | None = None,
    seed: int | None = None,
    with_keys: bool = False,
) -> int:
    """Serves until SIGINT or SIGTERM and returns 0; 1 if it cannot listen or write its books."""
    follow_up_state = JobState.IN_PROGRESS if follow_ups_in_progress else JobState.CREATED
    key = AccessKey(
        access_key or EXAMPLE_KEY.access_key,
        secret_key or EXAMPLE_KEY.secret_key,
        account,
        session_token,
    )
    rules = Rules(
        keys=(key,),
        verify_signatures=verify_signatures,
        takes_any_id=any_job,
        follow_up_state=follow_up_state,
        limits=Limits(rate, None, concurrency, latency_seconds, latency_spread_seconds),
        seed=seed,
    )
    kind = JobKind.THIRD_PARTY if third_party else JobKind.CUSTOM
    wish = Wish(kind, timeout_seconds=timeout_seconds)
    stand = _Stand(host, port, books, wish, jobs, with_keys)
    try:
        asyncio.run(_serve(rules, stand))
    except OSError as error:
        print(f"cannot start: {error.strerror or error}", file=sys.stderr)
        return FAILED
    return 0


async def _serve(rules: Rules, stand: _Stand) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    simulator = CodePipelineSimulator(
        rules, host=stand.host, port=stand.port, books_file=stand.books
    )
    async with simulator:
        made = [simulator.jobs.make(stand.wish, time.time()) for _ in range(stand.jobs)]
        print(_notes(simulator.endpoint, rules, len(made)), file=sys.stderr, flush=True)
        _print_events(made, with_keys=stand.with_keys)
        await stop.wait()
    print(f"stopped; {len(simulator.books)} calls in the books", file=sys.stderr)


def event(job: Job) -> dict[str, str]:
    """The smallest success event for this job."""
    if job.kind is JobKind.THIRD_PARTY:
        return {"jobId": job.id, "clientToken": job.client_token}
    return {"jobId": job.id}


def _print_events(made: Sequence[Job], *, with_keys: bool) -> None:
    for job in made:
        key = f"{job.id}\t" if with_keys else ""
        print(f"{key}{json.dumps(event(job))}")
    sys.stdout.flush()


def _notes(endpoint: str, rules: Rules, made: int) -> str:
    key = rules.keys[0]
    lines = [
        f"simulated CodePipeline at {endpoint}; a client that believes it needs:",
        f"  export AWS_ENDPOINT_URL_CODEPIPELINE={endpoint} AWS_REGION=us-east-1",
        f"  export AWS_ACCESS_KEY_ID={key.access_key} AWS_SECRET_ACCESS_KEY={key.secret_key}",
        f"books: curl {endpoint}/_simulation/books",
        f"jobs:  curl {endpoint}/_simulation/jobs",
        f"faults: curl -X POST {endpoint}/_simulation/faults -d "
        '\'{"kind": "cut-after", "count": 1}\'',
    ]
    if key.session_token is not None:
        lines.insert(3, f"  export AWS_SESSION_TOKEN={key.session_token}")
    if made:
        lines.append(f"{made} jobs in progress; their success events follow on standard output")
    return "\n".join(lines)
