"""Requests on the wire, and answers read: the lean way and botocore's cannot be told apart."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
)

from gateway.adapters.aws_clients import TargetAccess
from gateway.adapters.aws_wire import METHODS, arguments
from gateway.adapters.codepipeline import failure_of_call
from gateway.core.model import Operation
from gateway.core.retry import VERDICTS
from tests.adapters.aws_world import (
    REGION,
    Answering,
    World,
    answer,
    answer_bytes,
    calling,
    job_result,
    read_request,
    serving,
)
from tests.adapters.wire_world import at

SEVEN = b"\7" * 16  # stands for chance

pytestmark = pytest.mark.usefixtures("aws_environment", "transport")


@asynccontextmanager
async def client_of(
    endpoint: str, attempt_timeout_seconds: float = 5.0
) -> AsyncIterator[tuple[World, Any]]:
    """One client, which can go both ways."""
    access = TargetAccess(REGION, endpoint=endpoint)
    async with calling(access, attempt_timeout_seconds) as world:
        assert world.clients.is_lean("t")
        yield world, await world.clients.ready("t")


async def both(client: Any, operation: Operation = Operation.JOB_SUCCESS) -> list[object]:
    """What the same request comes to, lean and botocore's: an answer or an exception."""
    method, body = getattr(client, METHODS[operation]), job_result(operation).body
    ends: list[object] = []
    for call in (lambda: method(body), lambda: method(**arguments(body))):
        try:
            ends.append(await call())
        except Exception as error:
            ends.append(error)
    return ends


def told(end: object) -> object:
    """All that a caller can see of it, but how two parsers put what is wrong with an answer."""
    if not isinstance(end, Exception):
        return end
    known: list[object] = [type(end), failure_of_call(end)]
    if type(end) is not HTTPClientError or World.transport == "aiohttp":
        known.append(str(end))
    if isinstance(end, ClientError):
        known += [end.response, end.operation_name]
    if isinstance(end, BotoCoreError):
        known += [sorted(end.kwargs), type(end.kwargs.get("error"))]
    return known


# --- on the wire ---------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("token", [None, "odd  spacing/+=="])
@pytest.mark.parametrize("path", ["", "/a%20b//c/../d/?x=1&b=2"])
async def test_both_ways_send_the_same_bytes(
    operation: Operation, token: str | None, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if token is not None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    heads: list[bytes] = []
    bodies: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            heads.append(head)
            bodies.append(body)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-amzn-RequestId: 1\r\n\r\n")

    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=SEVEN, version=4))
    async with serving(note) as endpoint, client_of(endpoint + path) as (_, client):
        method = getattr(client, METHODS[operation])
        with at(1_700_000_000.25):
            await method(**arguments(job_result(operation).body))
            client.wire._wall = lambda: 1_700_000_000.25
            client.wire._chance = lambda size: SEVEN
            await method(bodies[0])
    assert heads[0] == heads[1]
    assert bodies[0] == bodies[1]
    assert (b"X-Amz-Security-Token: " in heads[0]) == (token is not None)


async def test_the_lean_way_sends_the_body_as_it_was_validated() -> None:
    bodies: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append((await read_request(reader))[1])

    result = job_result(outputVariables={"name": "\u65e5\u672c"})
    async with serving(note) as endpoint, client_of(endpoint) as (world, _):
        await world.put(result)
    assert bodies == [result.body]


# --- answers -------------------------------------------------------------------------------------


BODIES = [
    b"",
    b"{}",
    b"null",
    b"[]",
    b'"x"',
    b"7",
    b"  ",
    b"\xff\xfe",
    b"{",
    b"<html>Oh no</html>",
    b"<ThrottlingException><message>Rate exceeded</message></ThrottlingException>",
    b'{"__type": null}',
    b'{"__type": ""}',
    b'{"__type": 7}',
    b'{"__type": "a.b#JobNotFoundException", "Message": "capital"}',
    b'{"__type": "ValidationException:http://internal/", "message": null}',
    b'{"message": "no type"}',
]
STATUSES = [200, 201, 300, 302, 400, 401, 403, 404, 408, 413, 429, 500, 501, 503, 509, 599]
HEADERS = [
    "X-Twice: 1\r\nx-twice: 2",
    "x-amzn-query-error: Sender;Fault",
    "x-amzn-errortype: JobNotFoundException",
    "Set-Cookie: a=b\r\nRetry-After: 3",
    "Location: http://127.0.0.1:1/",
    "Content-Encoding: gzip",
    "X-Odd: \u00e9",
]


def _errors() -> Iterator[bytes]:
    for code in sorted(VERDICTS):
        for status in (400, 403, 500):
            yield answer_bytes(status, orjson.dumps({"__type": code, "message": "m"}))


SHAPES = [
    *(answer_bytes(status, body) for status in STATUSES for body in BODIES),
    *(answer_bytes(status, b"{}", request_id=False) for status in STATUSES),
    *(answer_bytes(status, b"{}", headers) for status in (200, 400) for headers in HEADERS),
    *(answer_bytes(status, b"") for status in (204, 304)),
    *_errors(),
    b"HTTP/1.1 200 OK\r\nx-amzn-requestid: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nx-amzn-requestid: \xff\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + answer_bytes(200, b""),
]


@pytest.mark.parametrize("operation", [Operation.JOB_SUCCESS, Operation.THIRD_PARTY_JOB_FAILURE])
async def test_every_answer_is_read_alike(operation: Operation) -> None:
    current = b""

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(current)

    async with serving(answering) as endpoint, client_of(endpoint) as (_, client):
        for current in SHAPES:  # the server answers with it
            lean, theirs = await both(client, operation)
            assert told(lean) == told(theirs), current


# --- no answer -----------------------------------------------------------------------------------


async def _at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return


async def _after_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


def _then_gone(*said: bytes) -> Answering:
    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for part in said:
            writer.write(part)
            await writer.drain()

    return answering


async def _silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(-1)


SILENCES = [
    _after_body,
    _then_gone(b"HTTP/1.1 2"),
    _then_gone(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nx-amzn-RequestId: 1\r\n\r\n{"),
    _then_gone(b"\x16\x03\x01 SSH-2.0 what?\r\n\r\n"),
    _then_gone(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n"),
    _then_gone(b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n"),
    _then_gone(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
]


@pytest.mark.parametrize("answering", SILENCES)
async def test_every_way_to_get_no_answer_is_told_alike(answering: Answering) -> None:
    async with serving(answering) as endpoint, client_of(endpoint) as (_, client):
        lean, theirs = await both(client)
        assert isinstance(theirs, Exception)
        assert told(lean) == told(theirs)


async def test_a_server_that_hangs_up_at_once_has_perhaps_been_told() -> None:
    """Whether its end or its reset is seen first is chance: both mean the same to us."""
    async with serving(_at_once) as endpoint, client_of(endpoint) as (_, client):
        for end in await both(client):
            assert isinstance(end, ConnectionClosedError | EndpointConnectionError)
            assert failure_of_call(end).is_unknown


async def test_a_time_out_is_told_alike() -> None:
    """Read time-out 0.08 s of an attempt of 0.1 s: the call is made without the attempt."""
    async with serving(_silence) as endpoint, client_of(endpoint, 0.1) as (_, client):
        lean, theirs = await both(client)
        assert type(theirs).__name__ == "ReadTimeoutError"
        assert told(lean) == told(theirs)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://nonexistent.invalid"])
async def test_an_endpoint_that_cannot_be_reached_is_told_alike(endpoint: str) -> None:
    async with client_of(endpoint) as (_, client):
        lean, theirs = await both(client)
        assert type(theirs).__name__ == "EndpointConnectionError"
        assert told(lean) == told(theirs)


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["req", "-x509", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    files = ["-nodes", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(["openssl", *kind, *names, *files], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    return tls


async def test_a_certificate_that_is_not_trusted_is_told_alike(
    self_signed: ssl.SSLContext,
) -> None:
    async with serving(answer(200), self_signed) as endpoint, client_of(endpoint) as (_, client):
        lean, theirs = await both(client)
        assert type(theirs).__name__ == "SSLError"
        assert told(lean) == told(theirs)


async def test_an_endpoint_with_a_password_is_told_alike_and_nobody_is_told_the_password() -> None:
    async with serving(answer(200)) as endpoint:
        with_password = endpoint.replace("//", "//user:canary-password@")
        async with client_of(with_password) as (_, client):
            lean, theirs = await both(client)
    assert told(lean) == told(theirs)
    assert "canary" not in repr(client.wire)


async def test_credentials_that_would_end_a_header_are_refused_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As aiohttp refuses them; else whoever chose them could add headers, or a request."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token\r\nX-Canary: 1")
    heads: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.read(10_000))

    async with serving(note) as endpoint, client_of(endpoint) as (_, client):
        lean, theirs = await both(client)
    assert type(theirs).__name__ == "HTTPClientError"
    assert told(lean)[:2] == told(theirs)[:2]  # type: ignore[index]
    assert not any(b"X-Canary" in head for head in heads)
