"""The connections to one endpoint: lent to one exchange at a time, the one last used first.

    exchange ─► slot ─► idle connection ─► answer ─► idle again, slot free ─► first in the queue
                  │     or a new one           └──► closed ──────┘
                  └ none free: the queue

A slot is the right to have one connection in use. It is free, or one exchange's, or on its way to
the first who waits: so there are never more connections than slots, and nobody is overtaken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from aiohttp import ClientConnectionError, ClientConnectionResetError, SocketTimeoutError

from gateway.adapters.http_connection import HttpConnection, RawAnswer

SWEEPS_A_TIME_OUT: Final = 16
"""A time-out may be late by this part of itself: a thousand connections need no thousand timers."""

Opening = Callable[[Callable[[], HttpConnection]], Coroutine[Any, Any, HttpConnection]]


class PoolLimits(NamedTuple):
    connections: int
    read_seconds: float
    """Silence of a server that owes an answer."""
    idle_seconds: float


class HttpPool:
    """An exchange has a connection of its own as long as it lasts, and leaves none behind that is
    in use: however it ends, the connection is idle and good, or closed."""

    def __init__(self, opening: Opening, limits: PoolLimits) -> None:
        self._opening = opening
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._slots = limits.connections
        self._queue: deque[asyncio.Future[None]] = deque()
        self._connections: set[HttpConnection] = set()
        self._idle: dict[HttpConnection, None] = {}
        """The last used last."""
        self._shortest_seconds = min(limits.read_seconds, limits.idle_seconds)
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def exchange(self, request: bytes) -> RawAnswer:
        """Sends the request, once, and returns the answer to it. Raises as aiohttp does."""
        if self._slots and self._idle:
            self._slots -= 1
            connection = self._idle.popitem()[0]
        else:
            connection = await self._wait_connection()
        answer = connection.send(request)
        try:
            return await answer
        except BaseException:
            connection.give_up(answer)
            raise

    def close(self) -> None:
        """Ends every exchange, and lets nobody begin one."""
        self._is_closed = True
        for waiting in self._queue:
            if not waiting.done():
                waiting.set_result(None)
        for connection in tuple(self._connections):
            connection.fail(_closed())

    # --- what a connection tells ---------------------------------------------------------------

    def take_back(self, connection: HttpConnection) -> None:
        self._idle[connection] = None
        self._free_slot()

    def write_off(self, connection: HttpConnection) -> None:
        if connection not in self._connections:
            return  # it was being opened: its slot is with who opens it
        self._connections.remove(connection)
        if connection in self._idle:
            del self._idle[connection]
        else:
            self._free_slot()
        if not self._connections and self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    # -------------------------------------------------------------------------------------------

    async def _wait_connection(self) -> HttpConnection:
        """An open connection, and with it the slot. Both are the caller's."""
        await self._wait_slot()
        try:
            if self._is_closed:
                raise _closed()
            if self._idle:
                return self._idle.popitem()[0]
            return await self._open()
        except BaseException:
            self._free_slot()
            raise

    async def _open(self) -> HttpConnection:
        connection = await self._opening(lambda: HttpConnection(self, self._loop.time))
        if self._is_closed:
            connection.fail(_closed())
            raise _closed()
        if not connection.is_open:
            raise ClientConnectionResetError("Cannot write to closing transport")
        self._connections.add(connection)
        if self._sweep is None:
            self._sweep_at(connection.heard_at + self._shortest_seconds)
        return connection

    async def _wait_slot(self) -> None:
        if self._slots:
            self._slots -= 1
            return
        waiting = self._loop.create_future()
        self._queue.append(waiting)
        try:
            await waiting
        except BaseException:
            if waiting.done() and not waiting.cancelled():
                self._free_slot()  # it had come, and is not wanted any more
            raise

    def _free_slot(self) -> None:
        """To the first who still waits, if anybody does."""
        while self._queue:
            waiting = self._queue.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return
        self._slots += 1

    def _sweep_at(self, when: float) -> None:
        self._sweep = self._loop.call_at(when, self._end_late_ones)

    def _end_late_ones(self) -> None:
        """One timer for all. It looks at least once in the shortest time-out, so that whatever
        begins between two looks is not late before the second."""
        self._sweep = None
        now, limits = self._loop.time(), self._limits
        next_look = now + self._shortest_seconds
        for connection in tuple(self._connections):
            seconds = limits.read_seconds if connection.is_busy else limits.idle_seconds
            late_at = connection.heard_at + seconds
            if late_at > now:
                next_look = min(next_look, late_at)
            else:
                connection.fail(SocketTimeoutError("Timeout on reading data from socket"))
        if self._connections:
            earliest = now + self._shortest_seconds / SWEEPS_A_TIME_OUT
            self._sweep_at(max(next_look, earliest))


def _closed() -> ClientConnectionError:
    return ClientConnectionError("Connector is closed")
