"""The lean endpoint counts every POST once and answers in order, however the bytes are cut."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.endpoint import Connection, Tally, self_signed

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "endpoint.py"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-LENGTH: %d\r\n\r\n%b"
COUNT = b"GET /count HTTP/1.1\r\nHost: x\r\n\r\n"


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


def fed(*pieces: bytes) -> tuple[Tally, Wire]:
    tally, wire = Tally(latency_seconds=0.0), Wire()
    connection = Connection(tally)
    connection.connection_made(wire)
    for piece in pieces:
        connection.data_received(piece)
    return tally, wire


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.data())
def test_pipelined_requests_are_counted_once_each_however_they_are_cut(bodies, data):
    stream = b"".join(POST % (len(body), body) for body in bodies) + COUNT
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = itertools.pairwise([0, *cuts, len(stream)])
    tally, wire = fed(*(stream[start:end] for start, end in edges))
    assert tally.posts == len(bodies)
    ids = [b"-%012d\r\n" % number for number in range(1, len(bodies) + 1)]
    assert [wire.written.index(i) for i in ids] == sorted(wire.written.index(i) for i in ids)
    assert wire.written.endswith(b"\r\n\r\n%d\n" % len(bodies))


def test_a_head_without_end_is_not_kept_for_ever():
    assert fed(b"POST / HTTP/1.1\r\n", b"x" * 70_000)[1].is_closed


@contextlib.asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[list[str]]:
    """The script as a process of its own, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            count = 2 if "--self-signed" in arguments else 1
            yield [(await process.stdout.readline()).decode().strip() for _ in range(count)]
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def said(port: str, request: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port), ssl=tls)
    writer.write(request)
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return answer


async def test_it_serves_as_a_process_of_its_own():
    async with running("--latency", "0.05") as (port,):
        started = asyncio.get_running_loop().time()
        answer = await said(port, POST % (2, b"{}"))
        assert asyncio.get_running_loop().time() - started >= 0.04
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"x-amzn-requestid: " in answer.lower()


async def test_it_serves_tls_with_a_certificate_of_its_own_or_says_what_it_needs(tmp_path):
    if shutil.which("openssl") is None:
        with pytest.raises(SystemExit, match="needs the openssl command"):
            await asyncio.to_thread(self_signed, tmp_path)
        return
    async with running("--self-signed") as (port, certificate):
        trusting = await asyncio.to_thread(ssl.create_default_context, cafile=certificate)
        assert b"200 OK" in await said(port, POST % (0, b""), trusting)
