"""Servers that say anything, byte by byte, and sessions that post to them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from yarl import URL

from gateway.adapters.aws_transport import TRANSPORTS, Transport
from gateway.adapters.aws_wire import Answer
from tests.adapters.aws_world import read_request
from tests.waiting import wait_until

Say = Callable[["Visit"], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Visit:
    """One connection, as the server sees it."""

    def __init__(
        self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.number = server.visits
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The body of the next request; what was asked is noted."""
        _, body = await read_request(self.reader)
        self.server.requests.append((self.number, body))
        return body

    async def say(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def wait_hung_up(self) -> None:
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass

    def reset(self) -> None:
        """The next end of this connection is a reset."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Server:
    """Gives each visit to `say`, and hangs up when that returns."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.endpoint = ""
        self.port = 0
        self.visits = self.open = self.most_open = 0
        self.requests: list[tuple[int, bytes]] = []
        """Number of the connection, body."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._say(Visit(self, reader, writer))
        finally:
            self.open -= 1
            writer.transport.abort()

    async def wait_left(self) -> None:
        """Until nobody is connected."""
        await wait_until(lambda: self.open == 0, 5.0)


@asynccontextmanager
async def serving(
    say: Say, tls: ssl.SSLContext | None = None, port: int = 0, host: str = "127.0.0.1"
) -> AsyncIterator[Server]:
    server = Server(say)
    listening = await asyncio.start_server(server.serve, host, port, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    server.endpoint = f"{'https' if tls else 'http'}://{host}:{server.port}"
    async with listening:
        yield server


def answering(*answers: bytes) -> Say:
    """To each request of a connection the next of these; the last one for ever."""

    async def say(visit: Visit) -> None:
        number = 0
        while True:
            await visit.request()
            await visit.say(answers[min(number, len(answers) - 1)])
            number += 1

    return say


def saying_once(*parts: bytes, then: Say | None = None) -> Say:
    """To the first request of the first connection these parts, then `then`; all other requests
    are answered as they should be."""

    async def say(visit: Visit) -> None:
        if visit.number == 1:
            await visit.request()
            await visit.say(*parts)
            if then is not None:
                await then(visit)
            return
        await answering(OK)(visit)

    return say


async def hang_on(visit: Visit) -> None:
    """Until the client has hung up."""
    await visit.wait_hung_up()


async def reset(visit: Visit) -> None:
    visit.reset()


class Poster:
    def __init__(self, session: Any, endpoint: str) -> None:
        self._session = session
        self._url = URL(endpoint, encoded=True)

    async def post(self, body: bytes = b"{}") -> Answer:
        lines = f"X-Test: 1\r\nContent-Length: {len(body)}\r\nAccept-Encoding: identity"
        answer: Answer = await self._session.post(self._url, lines, body)
        return answer

    async def failed(self, body: bytes = b"{}") -> tuple[str, str]:
        """Names of botocore's exception and of the one inside."""
        try:
            answer = await self.post(body)
        except Exception as error:
            return type(error).__name__, type(getattr(error, "kwargs", {}).get("error")).__name__
        raise AssertionError(f"it was answered: {answer}")


@asynccontextmanager
async def posting(
    transport: Transport,
    endpoint: str,
    *,
    connections: int = 10,
    connect_seconds: float = 5.0,
    read_seconds: float = 5.0,
    idle_seconds: float = 12.0,
    verify: Any = True,
) -> AsyncIterator[Poster]:
    session = TRANSPORTS[transport](
        timeout=(connect_seconds, read_seconds),
        max_pool_connections=connections,
        connector_args={"keepalive_timeout": idle_seconds},
        verify=verify,
    )
    async with session:
        yield Poster(session, endpoint)


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, str]:
    """A server's TLS for that name (`IP:127.0.0.1`), and the file that vouches for it."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    names = ["-subj", "/CN=test", "-addext", f"subjectAltName={name}"]
    kind = ["req", "-x509", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    files = ["-nodes", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(["openssl", *kind, *names, *files], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    return tls, str(cert)
