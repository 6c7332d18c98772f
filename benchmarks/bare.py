"""A bare loop of calls of PutJobSuccessResult: nothing but aiobotocore, so many at a time.

    python benchmarks/bare.py URL [--calls 50000] [--concurrency 32] [--client botocore|lean|stock]
        [--transport httptools|aiohttp]

What is sent is in memory before the first call. `botocore` and `lean` are the client that the
gateway builds for that call path (`lean` over that transport), `stock` is aiobotocore's as it
comes, but for a connection for every call. Prints one line of JSON: calls, seconds, CPU seconds of
this process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from benchmarks.events import arguments, bodies
from gateway.adapters.aws_clients import AwsClients, CallLimits, TargetAccess
from gateway.adapters.aws_transport import TRANSPORTS, Transport
from gateway.core.signals import Signal

REGION = "eu-west-1"
WARM_CALLS = 1000
Call = Callable[..., Awaitable[object]]


class Silence:
    def emit(self, signal: Signal) -> None:
        """Nobody listens."""


@contextlib.asynccontextmanager
async def opened(
    kind: Literal["botocore", "lean", "stock"],
    url: str,
    concurrency: int,
    transport: Transport = "httptools",
) -> Any:
    if kind != "stock":
        access, limits = {"t": TargetAccess(REGION, endpoint=url)}, CallLimits(concurrency)
        clients = AwsClients(
            access, Silence(), limits, "benchmark", call_path=kind, transport=transport
        )
        try:
            method: Any = (await clients.ready("t")).put_job_success_result
            yield method if kind == "lean" else lambda members: method(**members)
        finally:
            await clients.close()
        return
    config = AioConfig(max_pool_connections=concurrency)
    creation = AioSession().create_client(
        "codepipeline", region_name=REGION, endpoint_url=url, config=config
    )
    async with creation as client:
        yield lambda members: client.put_job_success_result(**members)


async def run(call: Call, waiting: Iterator[object], concurrency: int) -> None:
    async def work() -> None:
        for one in waiting:
            await call(one)

    await asyncio.gather(*(work() for _ in range(concurrency)))


async def measure(options: argparse.Namespace) -> dict[str, float]:
    opening = opened(options.client, options.url, options.concurrency, options.transport)
    async with opening as call:
        warm = min(WARM_CALLS, options.calls)
        sent = bodies if options.client == "lean" else arguments
        await run(call, sent(0, warm), options.concurrency)
        made = list(sent(warm, options.calls))
        cpu, clock = time.process_time(), time.perf_counter()
        await run(call, iter(made), options.concurrency)
        return {
            "calls": options.calls,
            "seconds": time.perf_counter() - clock,
            "cpu_seconds": time.process_time() - cpu,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--client", choices=("botocore", "lean", "stock"), default="botocore")
    parser.add_argument("--transport", choices=tuple(TRANSPORTS), default="httptools")
    print(json.dumps(asyncio.run(measure(parser.parse_args()))))


if __name__ == "__main__":
    main()
