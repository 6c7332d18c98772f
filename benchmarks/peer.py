"""The loop that most teams write, as they write it: what the gateway is compared with.

    python -m benchmarks.peer BROKERS TOPIC URL [--concurrency 32]

It reads a batch, calls for all of it, so many at a time, with the stock client, and commits. It
validates nothing, keeps no order, reports no outcome, and what it does at an error is to end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from aiokafka import AIOKafkaConsumer

REGION = "eu-west-1"


async def run(options: argparse.Namespace) -> None:
    consumer = AIOKafkaConsumer(
        options.topic,
        bootstrap_servers=options.brokers,
        group_id=f"peer-{options.topic}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    creation = AioSession().create_client(
        "codepipeline",
        region_name=REGION,
        endpoint_url=options.url,
        config=AioConfig(max_pool_connections=options.concurrency),
    )
    async with creation as client:
        await consumer.start()
        try:
            await consume(consumer, client, asyncio.Semaphore(options.concurrency))
        finally:
            await consumer.stop()


async def consume(consumer: Any, client: Any, places: asyncio.Semaphore) -> None:
    async def put(value: bytes) -> None:
        async with places:
            await client.put_job_success_result(**json.loads(value))

    while True:
        batch = await consumer.getmany(timeout_ms=1000, max_records=500)
        await asyncio.gather(*(put(one.value) for records in batch.values() for one in records))
        if batch:
            await consumer.commit()


async def until_told(options: argparse.Namespace) -> None:
    work = asyncio.create_task(run(options))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("brokers", "topic", "url"):
        parser.add_argument(name)
    parser.add_argument("--concurrency", type=int, default=32)
    asyncio.run(until_told(parser.parse_args()))


if __name__ == "__main__":
    main()
