"""One connection to an HTTP/1.1 server: one exchange at a time, read by llhttp.

    idle ──send──► busy ──whole answer──► idle        the pool is told, and may lend it again
      │             └──anything else────► closed      and the exchange fails
      └──a byte, or the end─────────────► closed      nobody asked for it

What is raised is what aiohttp would raise for it, so that aiobotocore translates both alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from aiohttp import ClientOSError, ClientPayloadError, ServerDisconnectedError
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MOST_HEAD_BYTES: Final = 32_768
"""Of one answer, and of the 1xx before it."""
MOST_BODY_BYTES: Final = 1_048_576
_MOST_BYTES: Final = MOST_HEAD_BYTES + 2 * MOST_BODY_BYTES
"""Of everything that is one answer: chunks have heads and tails of their own."""
BUFFER_BYTES: Final = 4096
_SWITCHING_PROTOCOLS: Final = 101


class RawAnswer(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes


class UnreadableAnswerError(Exception):
    """What came is no HTTP, or more or longer than an answer may be. Says what is wrong with it,
    and quotes nothing of it."""


class Lender(Protocol):
    """Whose connection it is. Exactly one of both is called for each exchange."""

    def take_back(self, connection: HttpConnection) -> None:
        """The exchange is over, and the connection good for another."""

    def write_off(self, connection: HttpConnection) -> None:
        """The exchange is over, and the connection closed."""


class HttpConnection(asyncio.BufferedProtocol):
    """An exchange gets the answer to its own request, whole, or an exception. A connection on
    which anything else has happened is closed: it never carries another exchange."""

    def __init__(self, lender: Lender, now: Callable[[], float]) -> None:
        self._lender = lender
        self._now = now
        self._new_future = asyncio.get_running_loop().create_future
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[RawAnswer] | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._content: bytearray | None = None
        self._head_bytes = self._bytes = 0
        self._has_head = self._is_whole = self._is_surplus = self._stays_open = False
        self._may_be_more = False
        self.heard_at = now()
        """When something last happened: a request was sent, or a part of an answer came."""

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    @property
    def is_busy(self) -> bool:
        return self._answer is not None

    def send(self, request: bytes) -> asyncio.Future[RawAnswer]:
        """Begins an exchange. Only for an open connection that has none."""
        transport = self._transport
        if transport is None or self._answer is not None:
            raise RuntimeError("one exchange at a time, on an open connection")
        self._headers, self._content = [], None
        self._head_bytes = self._bytes = 0
        self._has_head = self._is_whole = False
        answer = self._answer = self._new_future()
        self.heard_at = self._now()
        transport.write(request)
        return answer

    def give_up(self, answer: asyncio.Future[RawAnswer]) -> None:
        """Who has begun this exchange does not wait for it any more. Harmless if it is over."""
        if self._answer is answer:
            answer.cancel()
            self._close()

    def fail(self, error: Exception) -> None:
        """Ends the exchange under way with this error, if there is one, and the connection."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._close()

    # --- what the transport tells --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._answer is None:
            self._close()
            return
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except (HttpParserError, HttpParserUpgrade) as error:
            self.fail(self._complaint(error))
            return
        self._may_be_more = nbytes == BUFFER_BYTES
        if self._is_whole:
            self._end()
            return
        self._bytes += nbytes
        if self._bytes > _MOST_BYTES:
            self.fail(UnreadableAnswerError("it is too long"))
            return
        self.heard_at = self._now()
        if not self._has_head:
            self._head_bytes += nbytes
            if self._head_bytes > MOST_HEAD_BYTES:
                self.fail(UnreadableAnswerError("its head is too long"))

    def eof_received(self) -> None:
        """Nothing will come any more. The transport closes itself then."""
        self._lost(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost(error)

    # --- what the parser tells -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._is_whole:
            self._is_surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # else it is a trailer, which says nothing to us
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        content = self._content = bytearray() if self._content is None else self._content
        content += body
        if len(content) > MOST_BODY_BYTES:
            raise UnreadableAnswerError("its body is too long")

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 or status == _SWITCHING_PROTOCOLS:
            self._is_whole = True
            self._stays_open = self._parser.should_keep_alive()  # it has forgotten that afterwards
        else:  # an interim answer, such as 100: the answer proper is still to come
            self._headers, self._has_head = [], False

    # -------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """A whole answer is there."""
        answer, transport = self._answer, self._transport
        assert answer is not None
        assert transport is not None
        if self._is_surplus or answer.done():
            self.fail(UnreadableAnswerError("more came than one answer"))
            return
        answer.set_result(self._read())
        # An answer that overtook its request: the rest of it would go before the next one. A full
        # buffer: there may be more behind the answer, and it would answer the next request.
        is_clean = not self._may_be_more and not transport.get_write_buffer_size()
        if self._stays_open and is_clean:
            self._answer = None
            self._lender.take_back(self)
        else:
            self._close()

    def _read(self) -> RawAnswer:
        content = b"" if self._content is None else bytes(self._content)
        return RawAnswer(self._parser.get_status_code(), self._headers, content)

    def _lost(self, error: Exception | None) -> None:
        answer = self._answer
        if answer is not None and not answer.done():
            if self._has_head and error is None and self._ends_with_connection():
                answer.set_result(self._read())
            else:
                answer.set_exception(self._cut_short(error))
        self._close()

    def _cut_short(self, error: Exception | None) -> Exception:
        if self._has_head:
            return ClientPayloadError("Response payload is not completed")
        if isinstance(error, OSError):
            return ClientOSError(*error.args)
        return error or ServerDisconnectedError()

    def _ends_with_connection(self) -> bool:
        """Neither sized nor chunked (https://www.rfc-editor.org/rfc/rfc9112#section-6.3)."""
        headers = {name.lower(): value for name, value in self._headers}
        coding = headers.get(b"transfer-encoding")
        if coding is not None:
            return not coding.lower().strip().endswith(b"chunked")
        return b"content-length" not in headers

    def _complaint(self, error: Exception) -> UnreadableAnswerError:
        cause = error.__context__
        if isinstance(cause, UnreadableAnswerError):
            return cause
        return UnreadableAnswerError(type(error).__name__)

    def _close(self) -> None:
        """For good. The lender is told once, if something was under way or not."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self._answer = None
            transport.abort()
            self._lender.write_off(self)
