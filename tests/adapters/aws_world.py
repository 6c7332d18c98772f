"""A world for the call: isolated environment, servers that answer anything, a small STS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from urllib.parse import parse_qs

import orjson
from aiohttp import web
from botocore.loaders import create_loader

from gateway.adapters.aws_clients import AwsClients, CallLimits, CallPath, TargetAccess
from gateway.adapters.aws_transport import Transport
from gateway.adapters.codepipeline import CodePipelineCalls
from gateway.core.model import Claim, Failure, JobResult, Operation
from gateway.core.signals import Signal

JOB_ID = "11111111-2222-3333-4444-555555555555"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
REGION = "eu-west-1"
LOADER = create_loader()  # one for all tests: reading the models takes longer than most of them

_BODIES: dict[Operation, dict[str, object]] = {
    Operation.JOB_SUCCESS: {"jobId": JOB_ID},
    Operation.THIRD_PARTY_JOB_SUCCESS: {"jobId": JOB_ID, "clientToken": "canary-client-token"},
    Operation.JOB_FAILURE: {
        "jobId": JOB_ID,
        "failureDetails": {"type": "JobFailed", "message": "canary-message"},
    },
    Operation.THIRD_PARTY_JOB_FAILURE: {
        "jobId": JOB_ID,
        "clientToken": "canary-client-token",
        "failureDetails": {"type": "JobFailed", "message": "canary-message"},
    },
}


def job_result(operation: Operation = Operation.JOB_SUCCESS, **members: object) -> JobResult:
    body = orjson.dumps({**_BODIES[operation], **members})
    claim = Claim.SUCCEEDED if operation.endswith("SuccessResult") else Claim.FAILED
    return JobResult(operation, JOB_ID, claim, body, b"\0" * 16)


class Signals:
    """Remembers what was told."""

    def __init__(self) -> None:
        self.heard: list[Signal] = []

    def emit(self, signal: Signal) -> None:
        self.heard.append(signal)


class World:
    """Calls to one target named `t`, and what was signalled about it."""

    call_path: ClassVar[CallPath] = "lean"
    transport: ClassVar[Transport] = "httptools"
    """Set by the fixtures of these names."""

    def __init__(self, access: TargetAccess, attempt_timeout_seconds: float = 5.0) -> None:
        self.signals = Signals()
        limits = CallLimits(32, attempt_timeout_seconds)
        self.clients = AwsClients(
            {"t": access},
            self.signals,
            limits,
            "test-1",
            LOADER,
            call_path=self.call_path,
            transport=self.transport,
        )
        self.calls = CodePipelineCalls(self.clients, attempt_timeout_seconds, self.signals)

    async def put(self, result: JobResult | None = None) -> Failure | None:
        return await self.calls.put("t", result or job_result())

    async def put_until_believed(self, result: JobResult | None = None) -> Failure | None:
        """What is doubtful is tried once more, as the flow would."""
        failure = await self.put(result)
        return await self.put(result) if failure and failure.is_doubtful else failure


@contextlib.asynccontextmanager
async def calling(
    access: TargetAccess, attempt_timeout_seconds: float = 5.0, *, opens: bool = True
) -> AsyncIterator[World]:
    """A world whose client is open, so that a short time-out is a call's alone; with `opens`
    False it is left to the first call."""
    world = World(access, attempt_timeout_seconds)
    try:
        if opens:
            await world.clients.ready("t")
        yield world
    finally:
        await world.clients.close()


Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(
    answering: Answering, certificate: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A raw server for answers that no library would give. Yields its endpoint."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await answering(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificate)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{port}"


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    return head, await reader.readexactly(length)


def answer(status: int, body: bytes = b"", *headers: str, request_id: bool = True) -> Answering:
    """Answers every request alike."""
    raw = answer_bytes(status, body, *headers, request_id=request_id)

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(raw)
            await writer.drain()

    return answering


def answer_bytes(status: int, body: bytes, *headers: str, request_id: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    if request_id:
        lines.append("x-amzn-RequestId: 0123")
    return "\r\n".join([*lines, "", ""]).encode() + body


class SecurityTokenService:
    """AssumeRole as far as a client sees it; `refusal` answers instead, if set."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.refusal: tuple[int, str] | None = None
        self.lifetime_seconds = 3600.0
        self.latency_seconds = 0.0
        self.access_key = "ASIAROLEROLEROLEROLE"
        self.secret = "role-secret-canary"

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        form = {name: values[0] for name, values in parse_qs(await request.text()).items()}
        form["authorization"] = request.headers.get("Authorization", "")
        self.asked.append(form)
        await asyncio.sleep(self.latency_seconds)
        if self.refusal is not None:
            status, code = self.refusal
            error = f"<Error><Code>{code}</Code><Message>m</Message></Error>"
            text = f"<ErrorResponse>{error}</ErrorResponse>"
            return web.Response(status=status, text=text, content_type="text/xml")
        return web.Response(text=self._granted(), content_type="text/xml")

    def _granted(self) -> str:
        expiry = datetime.now(UTC) + timedelta(seconds=self.lifetime_seconds)
        return (
            "<AssumeRoleResponse><AssumeRoleResult><Credentials>"
            f"<AccessKeyId>{self.access_key}</AccessKeyId>"
            f"<SecretAccessKey>{self.secret}</SecretAccessKey>"
            "<SessionToken>role-token-canary</SessionToken>"
            f"<Expiration>{expiry:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
            "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
        )
