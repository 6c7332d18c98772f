"""What any transport of the call must do with answers, and with servers that give none.

Every case runs over both transports. Where aiohttp does otherwise, the test says so, and why.
"""

from __future__ import annotations

import asyncio

import pytest

from gateway.adapters.aws_transport import Transport
from gateway.adapters.aws_wire import Answer
from gateway.adapters.http_connection import BUFFER_BYTES, MOST_BODY_BYTES
from tests.adapters.http_world import (
    OK,
    Say,
    Visit,
    answering,
    hang_on,
    posting,
    reset,
    saying_once,
    serving,
)

FINE = Answer(200, {"content-length": "2"}, b"{}")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

WHOLE_ANSWERS = [
    (OK, 200, b"{}"),
    (b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", 200, b""),
    (b"HTTP/1.1 400 \r\nContent-Length: 3\r\n\r\nabc", 400, b"abc"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b""),
    (CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", 200, b"{}"),
    (CHUNKED + b"1;a=b\r\n{\r\nA\r\n123456789}\r\n0\r\nX-Trailer: 1\r\n\r\n", 200, b"{123456789}"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"{}"),
    (b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 102 P\r\n\r\n" + OK, 200, b"{}"),
]


@pytest.mark.parametrize(("raw", "status", "content"), WHOLE_ANSWERS)
async def test_an_answer_is_the_same_however_its_bytes_are_cut(
    transport: Transport, raw: bytes, status: int, content: bytes
) -> None:
    async def byte_by_byte(visit: Visit) -> None:
        await visit.request()
        await visit.say(raw)
        await visit.request()
        for byte in raw:
            await visit.say(bytes([byte]))
            await asyncio.sleep(0)
        await visit.request()
        await visit.say(raw)

    async with serving(byte_by_byte) as server, posting(transport, server.endpoint) as poster:
        first, second, third = [await poster.post() for _ in range(3)]
    assert (first.status, first.content) == (status, content)
    assert first == second == third
    assert server.visits == 1, "and the connection is used again"


async def test_a_body_may_last_as_long_as_its_connection(transport: Transport) -> None:
    say = saying_once(b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nsome", b" more")
    async with serving(say) as server, posting(transport, server.endpoint) as poster:
        assert await poster.post() == Answer(200, {"x-a": "b"}, b"some more")
        assert await poster.post() == FINE


async def test_a_great_body_arrives_whole(transport: Transport) -> None:
    body = bytes(range(256)) * (MOST_BODY_BYTES // 256)
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with serving(answering(raw)) as server, posting(transport, server.endpoint) as poster:
        assert (await poster.post()).content == body


CLOSING = [
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
]


@pytest.mark.parametrize("raw", CLOSING)
async def test_a_connection_that_the_server_will_close_is_not_used_again(
    transport: Transport, raw: bytes
) -> None:
    async with (
        serving(answering(raw)) as server,
        posting(transport, server.endpoint) as poster,
    ):
        for _ in range(3):
            assert (await poster.post()).content == b"{}"
        await server.wait_left()
    assert [number for number, _ in server.requests] == [1, 2, 3]


async def test_a_connection_that_was_closed_while_idle_costs_nobody_a_call(
    transport: Transport,
) -> None:
    async def end_after_answer(visit: Visit) -> None:
        await visit.request()
        await visit.say(OK)
        visit.writer.write_eof()
        await visit.wait_hung_up()

    async with (
        serving(end_after_answer) as server,
        posting(transport, server.endpoint) as poster,
    ):
        for _ in range(3):
            assert await poster.post() == FINE
            await server.wait_left()  # the client has seen the end, and has hung up itself


async def test_an_idle_connection_is_closed_in_time(transport: Transport) -> None:
    """aiohttp looks every so often only; what counts is that it is not used again."""
    async with (
        serving(answering(OK)) as server,
        posting(transport, server.endpoint, idle_seconds=0.05) as poster,
    ):
        assert await poster.post() == FINE
        await server.wait_left()
        assert await poster.post() == FINE


# --- no answer, or half of one -------------------------------------------------------------------

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"
DISCONNECTED = ("ConnectionClosedError", "ServerDisconnectedError")
CUT_SHORT = ("ConnectionClosedError", "ClientPayloadError")
LOST = ("EndpointConnectionError", "ClientOSError")
UNREADABLE = ("HTTPClientError", "ClientResponseError")
SILENT = ("ReadTimeoutError", "SocketTimeoutError")

ENDS: list[tuple[bytes, Say | None, tuple[str, str]]] = [
    (b"", None, DISCONNECTED),
    (b"HTTP/1.1 2", None, DISCONNECTED),
    (b"HTTP/1.1 200 OK\r\nContent-Len", None, DISCONNECTED),
    (SIZED, None, CUT_SHORT),
    (CHUNKED, None, CUT_SHORT),
    (CHUNKED + b"5\r\n12", None, CUT_SHORT),
    (CHUNKED + b"2\r\n{}\r\n", None, CUT_SHORT),
    (b"HTTP/1.1 100 Continue\r\n\r\n", None, DISCONNECTED),
    (b"", reset, LOST),
    (b"\x16\x03\x01 SSH-2.0 what?\r\n\r\n", hang_on, UNREADABLE),
    (b"HTTP/1.1 what\r\n\r\n", hang_on, UNREADABLE),
    (b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n", hang_on, UNREADABLE),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", hang_on, UNREADABLE),
    (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000, hang_on, UNREADABLE),
    (CHUNKED + b"zz\r\n", hang_on, UNREADABLE),
]


@pytest.mark.parametrize(("said", "then", "told"), ENDS)
async def test_what_is_no_answer_fails_its_own_request_and_no_other(
    transport: Transport, said: bytes, then: Say | None, told: tuple[str, str]
) -> None:
    async with (
        serving(saying_once(said, then=then)) as server,
        posting(transport, server.endpoint) as poster,
    ):
        assert await poster.failed() == told
        await server.wait_left()
        assert await poster.post() == FINE
    assert [number for number, _ in server.requests] == [1, 2]


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 20", SIZED, CHUNKED])
async def test_silence_in_any_place_is_a_time_out(transport: Transport, said: bytes) -> None:
    async with (
        serving(saying_once(said, then=hang_on)) as server,
        posting(transport, server.endpoint, read_seconds=0.05) as poster,
    ):
        assert await poster.failed() == SILENT
        await server.wait_left()


async def test_a_slow_answer_is_none_as_long_as_it_goes_on(transport: Transport) -> None:
    """A drip keeps the read time-out away: only the attempt's own ends it."""
    gone = asyncio.Event()

    async def drip(visit: Visit) -> None:
        await visit.request()
        await visit.say(SIZED.replace(b"9", b"1000"))
        while not visit.reader.at_eof():
            await visit.say(b"x")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(gone.wait()), 0.02)

    async with (
        serving(drip) as server,
        posting(transport, server.endpoint, read_seconds=0.2) as poster,
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6):
                await poster.post()
        await server.wait_left()


async def test_an_answer_may_come_before_the_request_is_read(transport: Transport) -> None:
    async def hasty(visit: Visit) -> None:
        await visit.reader.readuntil(b"\r\n\r\n")
        await visit.say(b"HTTP/1.1 413 Too much\r\nContent-Length: 0\r\n\r\n")
        await visit.wait_hung_up()

    async def say(visit: Visit) -> None:
        await (hasty if visit.number == 1 else answering(OK))(visit)

    async with serving(say) as server, posting(transport, server.endpoint) as poster:
        assert (await poster.post(b"x" * 20_000_000)).status == 413
        assert await poster.post() == FINE


# --- more than an answer: over httptools alone ---------------------------------------------------
#
# aiohttp keeps a connection on which something has come unasked, and hands it to the next request
# as its answer; what follows an answer in the same breath it believes, or keeps for later; it waits
# without end after an interim answer, and for a body without end. Over it, the attempt's time-out
# and the request id are all there is.


async def test_what_comes_unasked_is_nobodys_answer() -> None:
    wait = asyncio.Event()

    async def say_more(visit: Visit) -> None:
        await wait.wait()
        await visit.say(OK.replace(b"{}", b"!!"))
        await visit.wait_hung_up()

    async with (
        serving(saying_once(OK, then=say_more)) as server,
        posting("httptools", server.endpoint) as poster,
    ):
        assert await poster.post() == FINE
        wait.set()
        await server.wait_left()
        assert await poster.post() == FINE


@pytest.mark.parametrize("more", [b"x", b"HTTP/1.1 200 OK\r\n", OK.replace(b"{}", b"!!")])
async def test_an_answer_with_more_behind_it_is_believed_by_nobody(more: bytes) -> None:
    async with (
        serving(saying_once(OK + more, then=hang_on)) as server,
        posting("httptools", server.endpoint) as poster,
    ):
        assert await poster.failed() == UNREADABLE
        await server.wait_left()
        assert await poster.post() == FINE


@pytest.mark.parametrize("reads", [1, 2])
async def test_a_second_answer_that_begins_where_a_read_ends_answers_nobody(reads: int) -> None:
    """What fills the buffer is a whole answer, and the next one is still to be read."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Long: \r\n\r\n"
    padding = b"x" * (reads * BUFFER_BYTES - len(head) - 2)
    first = head.replace(b"X-Long: ", b"X-Long: " + padding) + b"{}"
    assert len(first) == reads * BUFFER_BYTES
    async with (
        serving(saying_once(first + OK.replace(b"{}", b"!!"), then=hang_on)) as server,
        posting("httptools", server.endpoint) as poster,
    ):
        assert (await poster.post()).content == b"{}"
        assert await poster.post() == FINE
        assert [number for number, _ in server.requests] == [1, 2], "on a connection of its own"


async def test_trailers_are_neither_kept_nor_without_end() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    async with (
        serving(answering(chunked + b"X-More: 1\r\n\r\n")) as server,
        posting("httptools", server.endpoint) as poster,
    ):
        answer = await poster.post()
        assert (answer.content, answer.headers) == (b"{}", {"transfer-encoding": "chunked"})
    for endless in (b"X-More: 1\r\n", b"X-Long: " + b"x" * 99_990 + b"\r\n"):
        said = chunked + endless * (4 * MOST_BODY_BYTES // len(endless))
        async with (
            serving(saying_once(said, then=hang_on)) as server,
            posting("httptools", server.endpoint) as poster,
        ):
            assert await poster.failed() == UNREADABLE
            await server.wait_left()


async def test_an_interim_answer_is_no_reason_to_wait_for_ever() -> None:
    async with (
        serving(saying_once(b"HTTP/1.1 100 C\r\n\r\n", then=hang_on)) as server,
        posting("httptools", server.endpoint, read_seconds=0.05) as poster,
    ):
        assert await poster.failed() == SILENT
        await server.wait_left()


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: tls\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 2000,
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 5000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MOST_BODY_BYTES + 1),
    ],
)
async def test_an_answer_is_bounded(said: bytes) -> None:
    async with (
        serving(saying_once(said, then=hang_on)) as server,
        posting("httptools", server.endpoint) as poster,
    ):
        assert await poster.failed() == UNREADABLE
        await server.wait_left()
        assert await poster.post() == FINE
