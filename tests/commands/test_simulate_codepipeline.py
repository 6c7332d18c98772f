"""`gateway simulate codepipeline` as anyone would start it: a process, its output, its end."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

Running = tuple[asyncio.subprocess.Process, str]


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Running]:
    """The command and its endpoint; ended by SIGTERM, with exit code 0."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "simulate", "codepipeline", "--port", "0", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            line = (await process.stderr.readline()).decode()
        found = re.search(r"http://[\d.:]+", line)
        assert found, line
        yield process, found[0]
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            await process.communicate()
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def put(endpoint: str, secret: str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY") -> Callable:
    client = boto3.client(
        "codepipeline",
        "eu-west-1",
        endpoint_url=endpoint,
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key=secret,
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}),
    )
    return client.put_job_success_result


async def lines(process: asyncio.subprocess.Process, count: int) -> list[str]:
    assert process.stdout is not None
    async with asyncio.timeout(15):
        return [(await process.stdout.readline()).decode().rstrip("\n") for _ in range(count)]


async def test_the_jobs_made_are_events_ready_to_send():
    async with running("--jobs", "3") as (process, endpoint):
        events = [json.loads(line) for line in await lines(process, 3)]
        for event in events:
            await asyncio.to_thread(put(endpoint), **event)
        with pytest.raises(ClientError, match="InvalidJobStateException"):
            await asyncio.to_thread(put(endpoint), **events[0])
        with pytest.raises(ClientError, match="JobNotFoundException"):
            await asyncio.to_thread(put(endpoint), jobId="0" * 8 + "-0000-4000-8000-" + "0" * 12)


async def test_third_party_events_carry_their_token_and_keys_stand_before_a_tab():
    arguments = ("--jobs", "1", "--third-party", "--with-keys", "--seed", "7")
    async with running(*arguments) as (process, _):
        (line,) = await lines(process, 1)
    key, _, event = line.partition("\t")
    assert set(json.loads(event)) == {"jobId", "clientToken"}
    assert json.loads(event)["jobId"] == key
    async with running(*arguments) as (process, _):
        assert await lines(process, 1) == [line]


async def test_keys_limits_and_books_are_as_asked(tmp_path):
    books = tmp_path / "books"
    arguments = ["--any-job", "--secret-key", "other", "--rate", "0.01", "--books", str(books)]
    async with running(*arguments) as (_, endpoint):
        job = {"jobId": "0" * 8 + "-0000-4000-8000-" + "0" * 12}
        with pytest.raises(ClientError, match="InvalidSignatureException"):
            await asyncio.to_thread(put(endpoint), **job)
        await asyncio.to_thread(put(endpoint, "other"), **job)
        with pytest.raises(ClientError, match="ThrottlingException"):
            await asyncio.to_thread(put(endpoint, "other"), **job)
    text = await asyncio.to_thread(books.read_text)
    ended = [entry for entry in map(json.loads, text.splitlines()) if entry["ended"]]
    expected = ["InvalidSignatureException", "", "ThrottlingException"]
    assert [entry["code"] for entry in ended] == expected


async def test_a_port_that_is_taken_is_one_sentence():
    async with running() as (_, endpoint):
        port = endpoint.rsplit(":", 1)[1]
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "simulate", "codepipeline", "--port", port),
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            _, said = await second.communicate()
    assert second.returncode == 1
    assert said.decode().startswith("cannot start: ")
    assert b"Traceback" not in said
