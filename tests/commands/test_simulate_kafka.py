"""`gateway simulate kafka`: what it prints works when pasted, and it leaves nothing behind."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from gateway.simulation.broker import KafkaBroker


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@asynccontextmanager
async def simulated(port: int, data: Path) -> AsyncIterator[list[str]]:
    """The command as a process; gives the console commands that it prints."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "simulate", "kafka"),
        *("--port", str(port), "--data", str(data)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        async with asyncio.timeout(60):
            while b"is ready on" not in (note := await child.stderr.readline()):
                assert note, "it has ended before it was ready"
        printed = [(await child.stdout.readline()).decode() for _ in range(8)]
        yield [line for line in printed if not line.startswith("#")]
        child.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            await child.communicate()
        assert child.returncode == 0
    finally:
        if child.returncode is None:
            child.kill()
            await child.communicate()


async def shell(command: str, given: bytes = b"") -> bytes:
    child = await asyncio.create_subprocess_shell(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    async with asyncio.timeout(60):
        output, _ = await child.communicate(given)
    return output


async def test_the_printed_commands_work_and_data_outlives_a_restart(tmp_path: Path) -> None:
    port = free_port()
    servers = f"127.0.0.1:{port}"
    async with simulated(port, tmp_path) as (produce, outcomes, _, group):
        await shell(produce, b'job-1\t{"jobId": "job-1"}\n')
        async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
            await producer.send_and_wait("job-results.outcomes", b"{}", key=b"job-1")
        assert b"job-1\t{}" in await shell(f"{outcomes.strip()} --max-messages 1")
        assert b"not found" in await shell(group)  # no gateway has run yet
    async with (
        simulated(port, tmp_path),
        AIOKafkaConsumer(
            "job-results", bootstrap_servers=servers, auto_offset_reset="earliest"
        ) as consumer,
    ):
        record = await asyncio.wait_for(consumer.getone(), 30)
        assert (record.key, record.value) == (b"job-1", b'{"jobId": "job-1"}')


async def test_a_port_in_use_is_one_sentence(kafka: KafkaBroker, tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "simulate", "kafka"),
        *("--port", str(kafka.port), "--data", str(tmp_path)),
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, error = await child.communicate()
    assert child.returncode == 1
    assert error.decode().splitlines()[-1] == (
        f"Kafka cannot listen on port {kafka.port}: it is in use."
    )
