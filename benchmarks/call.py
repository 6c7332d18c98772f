"""CPU of one call of PutJobSuccessResult, by what is around it.

    python benchmarks/call.py [--calls 2000] [--rounds 5] [--concurrency 32] [--tls]

Every way makes the same calls, at the same concurrency, to the same endpoint in a process of its
own, in turns; what is shown is each way's best round. `ratio` is to aiobotocore as it comes.
Absolute numbers say something about the machine, ratios about the code.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from gateway.adapters.aws_clients import AwsClients, CallLimits, CallPath, TargetAccess
from gateway.adapters.aws_transport import Transport
from gateway.adapters.codepipeline import CodePipelineCalls
from gateway.core.model import Claim, JobResult, Operation
from gateway.core.signals import Signal

JOB_ID = "11111111-2222-3333-4444-555555555555"
REGION = "eu-west-1"
STOCK = "aiobotocore as it comes"
Call = Callable[[], Awaitable[object]]

BODY = (
    b'{"jobId":"11111111-2222-3333-4444-555555555555","currentRevision":{"revision":"4f2a9c1",'
    b'"changeIdentifier":"4f2a9c1","created":1700000000.25},"executionDetails":{"summary":'
    b'"all 812 tests passed","externalExecutionId":"build-4711","percentComplete":100},'
    b'"outputVariables":{"image":"registry/app@sha256:0123456789abcdef","duration":"214"}}'
)
RESULT = JobResult(Operation.JOB_SUCCESS, JOB_ID, Claim.SUCCEEDED, BODY, b"\0" * 16)
ARGUMENTS = {
    "jobId": JOB_ID,
    "currentRevision": {
        "revision": "4f2a9c1",
        "changeIdentifier": "4f2a9c1",
        "created": 1700000000.25,
    },
    "executionDetails": {
        "summary": "all 812 tests passed",
        "externalExecutionId": "build-4711",
        "percentComplete": 100,
    },
    "outputVariables": {"image": "registry/app@sha256:0123456789abcdef", "duration": "214"},
}


class Silence:
    def emit(self, signal: Signal) -> None:
        """Nobody listens."""


@contextlib.contextmanager
def endpoint(is_tls: bool) -> Iterator[str]:
    """The yardstick endpoint, in a process of its own."""
    script = Path(__file__).with_name("endpoint.py")
    command = [sys.executable, str(script), *(["--self-signed"] if is_tls else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            if is_tls:
                os.environ["AWS_CA_BUNDLE"] = process.stdout.readline().strip()
            yield f"http{'s' if is_tls else ''}://127.0.0.1:{port}"
        finally:
            process.terminate()


async def cpu_microseconds(call: Call, calls: int, concurrency: int) -> float:
    """CPU of this process, all threads, per call."""
    left = calls

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    before = time.process_time()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return (time.process_time() - before) / calls * 1e6


async def ways(stack: contextlib.AsyncExitStack, url: str, concurrency: int) -> dict[str, Call]:
    """Name -> one call. All clients are open and all connections fit in their pools."""

    async def stock(config: AioConfig) -> Call:
        creation = AioSession().create_client(
            "codepipeline", region_name=REGION, endpoint_url=url, config=config
        )
        client = await stack.enter_async_context(creation)
        return lambda: client.put_job_success_result(**ARGUMENTS)

    async def ours(call_path: CallPath, transport: Transport = "httptools") -> Call:
        """The gateway's attempt: credentials, time-out, call, answer read."""
        access = {"t": TargetAccess(REGION, endpoint=url)}
        limits = CallLimits(concurrency)
        clients = AwsClients(
            access, Silence(), limits, "benchmark", call_path=call_path, transport=transport
        )
        stack.push_async_callback(clients.close)
        await clients.ready("t")
        if clients.is_lean("t") != (call_path == "lean"):
            raise SystemExit(f"the way {call_path} is not taken")
        calls = CodePipelineCalls(clients, attempt_timeout_seconds=10.0, signals=Silence())
        return lambda: calls.put("t", RESULT)

    async def lean_call(transport: Transport) -> Call:
        """The call alone, without the attempt around it."""
        access = {"t": TargetAccess(REGION, endpoint=url)}
        limits = CallLimits(concurrency)
        clients = AwsClients(access, Silence(), limits, "benchmark", transport=transport)
        stack.push_async_callback(clients.close)
        method: Any = (await clients.ready("t")).put_job_success_result
        return lambda: method(BODY)

    no_retries = {"mode": "standard", "total_max_attempts": 1}
    return {
        STOCK: await stock(AioConfig(max_pool_connections=concurrency)),
        "the same, retries off": await stock(
            AioConfig(max_pool_connections=concurrency, retries=no_retries)
        ),
        "attempt, reference path": await ours("botocore"),
        "attempt, lean, aiohttp": await ours("lean", "aiohttp"),
        "attempt, lean, httptools": await ours("lean"),
        "call alone, lean, aiohttp": await lean_call("aiohttp"),
        "call alone, lean, httptools": await lean_call("httptools"),
    }


async def measure(options: argparse.Namespace, url: str) -> dict[str, float]:
    best: dict[str, float] = {}
    async with contextlib.AsyncExitStack() as stack:
        named = await ways(stack, url, options.concurrency)
        for call in named.values():
            await cpu_microseconds(call, 200, options.concurrency)  # connections, caches
        for _ in range(options.rounds):
            for name, call in named.items():
                spent = await cpu_microseconds(call, options.calls, options.concurrency)
                best[name] = min(spent, best.get(name, spent))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
    with endpoint(options.tls) as url:
        best = asyncio.run(measure(options, url))
    yardstick = best[STOCK]
    for name, spent in best.items():
        ratio = f"ratio {spent / yardstick:.2f} (1/{yardstick / spent:.1f})"
        print(f"{name:30} {spent:7.0f} µs CPU a call   {ratio}")


if __name__ == "__main__":
    main()
