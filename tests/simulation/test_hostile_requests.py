"""No bytes whatever make the simulator fail, and it serves the next caller as before."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.service import Rules
from tests.simulation.stock import JOB_ID, boto3_client

TYPE = b"Content-Type: application/x-amz-json-1.1\r\n"
TARGET = b"X-Amz-Target: CodePipeline_20150709.GetJobDetails\r\n"
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n" + TYPE + TARGET
STEERED = [b"/", b"/_simulation/jobs", b"/_simulation/faults", b"/_simulation/books?since="]
NAMES = [
    b"X-Amz-Target",
    b"Authorization",
    b"X-Amz-Date",
    b"User-Agent",
    b"Transfer-Encoding",
    b"Content-Encoding",
    b"Expect",
]
VALUES = [
    b"CodePipeline_20150709.PutJobSuccessResult",
    b"AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=0",
    b"AWS4-HMAC-SHA256 Credential=\xff/\xff/\xff/\xff/\xff, SignedHeaders=\xff, Signature=\xff",
    b"instance#\xff",
    b"20270115T080000Z",
    b"chunked",
    b"gzip",
    b"100-continue",
]
field_values = st.sampled_from(VALUES) | st.binary(max_size=40).map(
    lambda raw: re.sub(rb"[\x00-\x1f\x7f]", b"", raw)
)
fields = st.builds(lambda n, v: n + b": " + v, st.sampled_from(NAMES), field_values)
requests = st.builds(
    lambda method, target, lines, body: (
        b"%s %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n" % (method, target, TYPE, len(body))
        + b"".join(line + b"\r\n" for line in lines)
        + b"\r\n"
        + body
    ),
    st.sampled_from([b"POST", b"GET", b"DELETE", b"PUT", b"HEAD"]),
    st.builds(lambda path, tail: path + tail, st.sampled_from(STEERED), st.binary(max_size=4))
    | st.sampled_from(STEERED)
    | st.binary(max_size=20),
    st.lists(fields, max_size=5),
    st.sampled_from([b'{"jobId":"%s"}' % JOB_ID.encode(), b"{}"]) | st.binary(max_size=100),
)


@contextmanager
def failures_of_the_server() -> Iterator[list[logging.LogRecord]]:
    """What aiohttp logs as it answers 500: everything but bytes that are no HTTP."""
    caught: list[logging.LogRecord] = []

    class Catch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info and record.exc_info[1]
            if not isinstance(error, HttpProcessingError):
                caught.append(record)

    logger, handler = logging.getLogger("aiohttp.server"), Catch(logging.ERROR)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield caught
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


async def connect(
    simulator: CodePipelineSimulator,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = simulator.endpoint.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def said(simulator: CodePipelineSimulator, request: bytes) -> bytes:
    """The whole answer to a request that is HTTP."""
    reader, writer = await connect(simulator)
    writer.write(request)
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        answer = head + await reader.readexactly(int(length[1]) if length else 0)
    writer.close()
    return answer


@settings(max_examples=300)
@given(st.lists(requests | st.binary(max_size=300), min_size=1, max_size=5), st.booleans())
def test_no_bytes_whatever_make_it_fail(many, verify):
    async def attack() -> None:
        rules = Rules(verify_signatures=verify, takes_any_id=True)
        async with CodePipelineSimulator(rules) as simulator:
            writers = []
            for data in many:
                _, writer = await connect(simulator)
                writer.write(data)
                writers.append(writer)
            unsigned = await said(simulator, HEAD + b"Content-Length: 2\r\n\r\n{}")
            assert b"HTTP/1.1 400 Bad Request\r\n" in unsigned
            partner = {"jobId": "a job of our own", "clientToken": "t"}
            await boto3_client(simulator)("GetThirdPartyJobDetails", **partner)
            for shown in (b"books", b"jobs", b"faults"):
                line = b"GET /_simulation/%s HTTP/1.0\r\n" % shown
                assert b" 200 OK" in await said(simulator, line + b"Host: x\r\n\r\n")
            for writer in writers:
                writer.close()

    with failures_of_the_server() as failures:
        asyncio.run(attack())
    assert [record.getMessage() for record in failures] == []


async def test_bodies_nested_beyond_reason_are_refused(simulate):
    simulator = await simulate(Rules(verify_signatures=False, takes_any_id=True))
    for depth in (100, 300, 900, 5_000):
        body = b'{"jobId":"%s","x":%s}' % (JOB_ID.encode(), b"[" * depth + b"]" * depth)
        answer = await said(simulator, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        expected = b"HTTP/1.1 200" if depth == 100 else b"SerializationException"
        assert expected in answer


async def test_a_body_that_claims_too_much_is_refused_before_it_comes(simulate):
    simulator = await simulate(Rules(verify_signatures=False))
    answer = await said(simulator, HEAD + b"Content-Length: 999999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"RequestEntityTooLargeException" in answer


async def test_a_large_body_without_a_length_is_refused(simulate):
    simulator = await simulate(Rules(verify_signatures=False))
    chunks = (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 17 + b"0\r\n\r\n"
    answer = await said(simulator, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b"POST /", b"GET /"),
        (b"POST /", b"POST /elsewhere"),
        (b"x-amz-json-1.1", b"json"),
        (b"CodePipeline_20150709.", b""),
        (b"CodePipeline_20150709.", b"CodeBuild_20161006."),
        (b"GetJobDetails", b"DeletePipeline"),
    ],
)
async def test_another_call_is_unknown(simulate, sent, meant):
    simulator = await simulate(Rules(verify_signatures=False))
    assert b"ValidationException" in await said(simulator, HEAD + b"\r\n")
    answer = await said(simulator, HEAD.replace(sent, meant, 1) + b"\r\n")
    assert b"UnknownOperationException" in answer
