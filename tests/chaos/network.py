"""A wire that can be cut: a small TCP relay between a gateway and whatever it talks to.

    client ──► relay's own port ──► the real port          mode: how the wire is at the moment

Guarantees: while `OPEN`, bytes pass unchanged and in order, and the end of one side becomes the
end of the other. A connection that was hurt stays hurt: it is never continued with a gap.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
_CHUNK_BYTES = 65_536


class Wire(StrEnum):
    """How the wire is."""

    OPEN = "open"
    SLOW = "slow"
    """Every chunk takes its time, in each direction."""
    RESET = "reset"
    """Connections are reset, new ones at once."""
    HALF_OPEN = "half-open"
    """Connections stay and are accepted, but nothing passes any more, in either direction."""
    DEAF = "deaf"
    """What the client says passes; what it would be answered does not."""


class Relay:
    """Listens while entered. `change` takes effect on what comes next, `RESET` at once."""

    def __init__(self, target_port: int, slow_seconds: float = 0.2) -> None:
        self.target_port = target_port
        self.port = 0
        self.wire = Wire.OPEN
        self._slow_seconds = slow_seconds
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        self._reset_all()

    @property
    def connections(self) -> int:
        return len(self._connections)

    def change(self, wire: Wire) -> None:
        """What was swallowed is lost: connections that lost something are reset afterwards."""
        if self.wire in (Wire.HALF_OPEN, Wire.DEAF) or wire is Wire.RESET:
            self._reset_all()
        self.wire = wire

    def _reset_all(self) -> None:
        for connection in tuple(self._connections):
            connection.reset()

    async def _accept(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        if self.wire is Wire.RESET:
            _reset(answer)
            return
        try:
            server, ask = await asyncio.open_connection(HOST, self.target_port)
        except OSError:
            _reset(answer)
            return
        connection = _Connection(answer, ask)
        self._connections.add(connection)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(client, ask, is_answer=False))
                pumps.create_task(self._pump(server, answer, is_answer=True))
        except* OSError:
            pass
        finally:
            self._connections.discard(connection)
            connection.reset()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        while chunk := await source.read(_CHUNK_BYTES):
            if self.wire is Wire.SLOW:
                await asyncio.sleep(self._slow_seconds)
            if self.wire is Wire.HALF_OPEN or (self.wire is Wire.DEAF and is_answer):
                continue
            sink.write(chunk)
            await sink.drain()
        with suppress(OSError):  # the other side may have gone first
            sink.write_eof()


class Cable:
    """Relays that are one wire: they change together."""

    def __init__(self, relays: Sequence[Relay]) -> None:
        self.relays = relays

    def change(self, wire: Wire) -> None:
        for relay in self.relays:
            relay.change(wire)


class _Connection:
    """Both ends of one relayed connection."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self._ends = ends

    def reset(self) -> None:
        for end in self._ends:
            _reset(end)


def _reset(end: asyncio.StreamWriter) -> None:
    """RST instead of FIN: what a crashed peer or a middlebox sends."""
    connection = end.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.transport.abort()


def free_port() -> int:
    """Of now: for who listens there once. Who is to come back there holds it (HeldPorts)."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
