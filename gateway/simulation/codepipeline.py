"""An HTTP server that a stock AWS client takes for CodePipeline, as far as jobs are concerned.

    async with CodePipelineSimulator(Rules(takes_any_id=True)) as simulator:
        client = boto3.client("codepipeline", endpoint_url=simulator.endpoint, ...)

JSON 1.1 over HTTP/1.1, signatures verified, limits and job states as AWS documents them; faults
on request. Its books (`simulator.books`, `/_simulation/books`) say what was called, answered and
applied, in order. `/_simulation/` is unsigned and for whoever runs the simulation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from aiohttp import ClientConnectionResetError, web

from gateway.simulation.answers import Answer
from gateway.simulation.books import Books, BooksFile, Entry
from gateway.simulation.faults import Faults
from gateway.simulation.jobs import Jobs
from gateway.simulation.service import BODY_MAX_BYTES, Admission, Rules, Service
from gateway.simulation.sigv4 import SignedRequest
from gateway.simulation.steering import PREFIX, Steering

# The making of many jobs is one request, far larger than any call may be.
_STEERING_MAX_BYTES = 64 * 1_048_576
_LEAVE_SECONDS = 0.5
_WATCH_SECONDS = 0.02


class CodePipelineSimulator:
    """Serves while entered. Every call that reached it is in the books, answered or not."""

    def __init__(
        self,
        rules: Rules | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        books_file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._host = host
        self._port = port
        self._clock = clock
        self._file = None if books_file is None else BooksFile(books_file)
        self._service = Service(rules or Rules(), Books(self._file))
        self._steering = Steering(self._service, clock)
        self._runner: web.ServerRunner | None = None

    @property
    def endpoint(self) -> str:
        """What to give a client as its endpoint URL."""
        return f"http://{self._host}:{self._port}"

    @property
    def books(self) -> Books:
        return self._service.books

    @property
    def jobs(self) -> Jobs:
        return self._service.jobs

    @property
    def faults(self) -> Faults:
        return self._service.faults

    @property
    def service(self) -> Service:
        """The parts behind the wire, for tests that change keys or limits on the way."""
        return self._service

    async def __aenter__(self) -> Self:
        if self._file is not None:
            await asyncio.to_thread(self._file.open)
        server = web.Server(
            self._receive, request_factory=_request, access_log=None, auto_decompress=False
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=_LEAVE_SECONDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._file is not None:
            await asyncio.to_thread(self._file.close)

    async def _receive(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith(PREFIX):
            return await self._steering.answer(request)
        return await self._serve_call(request)

    async def _serve_call(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = request.headers
        entry = self._service.begin(
            headers.get("X-Amz-Target", ""), headers.get("User-Agent", ""), self._clock()
        )
        admission: Admission | None = None
        delivered = False
        try:
            body = await _body(request)
            admission = self._service.admit(entry, _signed(request, body), self._clock())
            answer = await self._answer(admission, request)
            response, delivered = await self._send(answer, entry, request)
            return response
        finally:
            self._service.end(entry, admission, self._clock(), delivered)

    async def _answer(self, admission: Admission, request: web.BaseRequest) -> Answer | None:
        """The answer after the time it takes: half of the latency before it is applied, half
        after; a fault's wait comes after, and ends early when the caller has left."""
        if admission.refusal is not None:
            return self._service.conclude(admission, self._clock())
        latency = self._service.latency_seconds()
        await _linger(latency / 2)
        answer = self._service.conclude(admission, self._clock())
        await _linger(latency / 2)
        if admission.fault is not None:
            await _linger_while_connected(request, admission.fault.wait_seconds)
        return answer

    async def _send(
        self, answer: Answer | None, entry: Entry, request: web.BaseRequest
    ) -> tuple[web.StreamResponse, bool]:
        transport = request.transport
        if answer is None or transport is None or transport.is_closing():
            if transport is not None:
                transport.abort()
            return web.Response(), False
        response = _response(answer, entry)
        try:
            await response.prepare(request)
            await response.write_eof()
        except (ConnectionError, ClientConnectionResetError):
            return response, False
        return response, True


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> Any:
    return web.BaseRequest(
        message,
        payload,
        protocol,
        writer,
        task,
        asyncio.get_running_loop(),
        client_max_size=_STEERING_MAX_BYTES,
    )


async def _body(request: web.BaseRequest) -> bytes:
    """The body, or enough of it to see that it is too large."""
    if (request.content_length or 0) > BODY_MAX_BYTES:
        return bytes(BODY_MAX_BYTES + 1)
    return await request.read()


def _signed(request: web.BaseRequest, body: bytes) -> SignedRequest:
    return SignedRequest(request.method, request.raw_path, tuple(request.headers.items()), body)


def _response(answer: Answer, entry: Entry) -> web.Response:
    headers = {"Content-Type": answer.content_type}
    if answer.has_request_id:
        headers["x-amzn-RequestId"] = entry.request_id
    if answer.location is not None:
        headers["Location"] = answer.location
    return web.Response(status=answer.status, body=answer.body, headers=headers)


async def _linger(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)


async def _linger_while_connected(request: web.BaseRequest, seconds: float) -> None:
    """Waits; aiohttp does not tell a handler that its caller has left, so it looks."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        if request.transport is None or request.transport.is_closing():
            return
        await asyncio.sleep(min(left, _WATCH_SECONDS))
