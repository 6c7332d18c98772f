"""The line between a supervisor and one of its workers: a pair of connected sockets.

    supervisor ── metrics ─► worker      a word a line
               ◄─ n bytes ──             an answer, in the order of the questions
               ── drain ──►              an order: no answer

Guarantees: nobody else can be at either end, since the sockets have no address; and each side
learns of the other's end, however it ended, as the kernel closes what it held. So a worker without
a supervisor drains and leaves.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
import struct
from collections import deque
from collections.abc import Callable, Mapping
from typing import cast

_LENGTH = struct.Struct(">I")

Answers = Mapping[str, Callable[[], bytes]]
Orders = Mapping[str, Callable[[], None]]


class NoAnswer(Exception):
    """The worker has ended, does not answer in time, or could not."""


class WorkerEnd(asyncio.Protocol):
    """The worker's end: answers questions, obeys orders, and is told once that the line is cut."""

    def __init__(self, answers: Answers, orders: Orders, cut: Callable[[], None]) -> None:
        self._answers = answers
        self._orders = orders
        self._cut = cut
        self._unread = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *words, self._unread = (self._unread + data).split(b"\n")
        for word in words:
            self._take(word.decode("ascii", "replace"))

    def _take(self, word: str) -> None:
        if word in self._orders:
            self._orders[word]()
        elif self._transport is not None:
            answer = self._answer(word)
            self._transport.write(_LENGTH.pack(len(answer)) + answer)

    def _answer(self, word: str) -> bytes:
        """Empty if there is none: whoever asks must not wait, whatever goes wrong here."""
        try:
            return self._answers[word]()
        except Exception:
            logging.getLogger(__name__).exception("cannot tell the supervisor: %s", word)
            return b""

    def connection_lost(self, error: Exception | None) -> None:
        self._cut()

    def close(self) -> None:
        """Says no more. Not a cut."""
        self._cut = lambda: None
        if self._transport is not None:
            self._transport.close()


def inherited(descriptor: int) -> socket.socket:
    """The socket that was left open for us. Raises OSError if there is none."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        raise OSError(f"descriptor {descriptor} is no socket")
    return socket.socket(fileno=descriptor)


async def answer_on(line: socket.socket, end: WorkerEnd) -> WorkerEnd:
    """Answers on the line from now on."""
    line.setblocking(False)
    await asyncio.get_running_loop().create_connection(lambda: end, sock=line)
    return end


class SupervisorEnd(asyncio.Protocol):
    """The supervisor's end. The same question is under way once at most: who asks it meanwhile
    gets the same answer, so that a worker that hangs costs nothing."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._asked: deque[tuple[str, asyncio.Future[bytes]]] = deque()
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    async def ask(self, word: str, timeout_seconds: float) -> bytes:
        """The worker's answer, not empty. Raises NoAnswer."""
        if self._transport is None or self._transport.is_closing():
            raise NoAnswer
        asked = next((future for known, future in self._asked if known == word), None)
        if asked is None:
            asked = asyncio.get_running_loop().create_future()
            self._asked.append((word, asked))
            self._transport.write(f"{word}\n".encode())
        done, _ = await asyncio.wait({asked}, timeout=timeout_seconds)
        if not done or not asked.result():
            raise NoAnswer
        return asked.result()

    def tell(self, word: str) -> None:
        """Gives an order. Nothing happens if the worker has ended."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(f"{word}\n".encode())

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while len(self._unread) >= _LENGTH.size:
            end = _LENGTH.size + int(_LENGTH.unpack_from(self._unread)[0])
            if len(self._unread) < end:
                return
            answer = bytes(self._unread[_LENGTH.size : end])
            del self._unread[:end]
            if self._asked:
                self._asked.popleft()[1].set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        while self._asked:
            self._asked.popleft()[1].set_result(b"")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def new_line() -> tuple[SupervisorEnd, socket.socket]:
    """Our end, and the socket that the worker is to inherit; ours to close once it has."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    _, end = await asyncio.get_running_loop().create_connection(SupervisorEnd, sock=ours)
    return end, theirs
