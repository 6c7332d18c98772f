"""What any transport of the call must do when many share its connections, and some give up."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.adapters.aws_transport import Transport
from gateway.adapters.aws_wire import Answer
from tests.adapters.http_world import (
    OK,
    Poster,
    Say,
    Visit,
    answering,
    certificate,
    posting,
    serving,
)
from tests.waiting import wait_until


def echo(random: Random | None = None) -> Say:
    """Answers with what it was sent; by chance late, in pieces, or by hanging up."""

    async def say(visit: Visit) -> None:
        while True:
            body = await visit.request()
            if random is None:
                await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)
            elif not await at_random(visit, body, random):
                return

    return say


async def at_random(visit: Visit, body: bytes, random: Random) -> bool:
    for _ in range(random.choice((0, 0, 1, 5, 20))):
        await asyncio.sleep(0)
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    end = random.choice(("whole", "whole", "whole", "pieces", "half", "last", "nothing"))
    if end == "whole":
        await visit.say(whole)
    elif end == "pieces":
        cut = random.randrange(len(whole))
        await visit.say(whole[:cut])
        await asyncio.sleep(0)
        await visit.say(whole[cut:])
    elif end == "half":
        await visit.say(whole[: random.randrange(len(whole))])
    elif end == "last":
        await visit.say(whole)
        visit.writer.write_eof()
    return end in ("whole", "pieces")


class Gate:
    """Answers nobody until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.waiting = 0

    async def say(self, visit: Visit) -> None:
        while True:
            await visit.request()
            self.waiting += 1
            await self.open.wait()
            self.waiting -= 1
            await visit.say(OK)


async def assert_all_of(poster: Poster, gate: Gate, connections: int) -> None:
    """Every one of the pool's connections can be had."""
    gate.open.clear()
    posts = [asyncio.create_task(poster.post()) for _ in range(connections)]
    await wait_until(lambda: gate.waiting == connections, 5.0)
    gate.open.set()
    await asyncio.gather(*posts)


async def test_no_more_connections_than_allowed(transport: Transport) -> None:
    async with (
        serving(echo()) as server,
        posting(transport, server.endpoint, connections=3) as poster,
    ):
        bodies = [str(number).encode() for number in range(40)]
        answers = await asyncio.gather(*(poster.post(body) for body in bodies))
    assert [answer.content for answer in answers] == bodies
    assert server.most_open == 3


async def test_nobody_is_overtaken_in_the_queue_for_a_connection() -> None:
    """aiohttp lets whoever comes along take a connection before who waits for it has woken."""
    async with (
        serving(echo()) as server,
        posting("httptools", server.endpoint, connections=1) as poster,
    ):
        bodies = [str(number).encode() for number in range(20)]
        await asyncio.gather(*(poster.post(body) for body in bodies))
    assert server.requests == [(1, body) for body in bodies]


async def test_the_connection_last_used_is_used_next() -> None:
    """So that those which a peak has left grow old and are closed. aiohttp takes the oldest."""
    async with serving(echo()) as server, posting("httptools", server.endpoint) as poster:
        await asyncio.gather(*(poster.post() for _ in range(5)))
        server.requests.clear()
        for _ in range(5):
            await poster.post()
    assert len({number for number, _ in server.requests}) == 1


async def test_who_stops_waiting_for_a_connection_keeps_nobody_from_one(
    transport: Transport,
) -> None:
    gate = Gate()
    async with (
        serving(gate.say) as server,
        posting(transport, server.endpoint, connections=2) as poster,
    ):
        posts = [asyncio.create_task(poster.post()) for _ in range(8)]
        await wait_until(lambda: gate.waiting == 2, 5.0)
        for post in posts[2:6]:
            post.cancel()
        gate.open.set()
        ends = await asyncio.gather(*posts, return_exceptions=True)
        assert [isinstance(end, BaseException) for end in ends] == [False] * 2 + [True] * 4 + [
            False
        ] * 2
        await assert_all_of(poster, gate, 2)
        assert server.most_open == 2


@pytest.mark.parametrize("is_tls", [False, True])
async def test_a_call_can_be_cancelled_at_any_moment(
    transport: Transport, is_tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each turn of the event loop from the first to the answer: a connection that was in use is
    closed, none is lost, and nobody gets what another has asked for."""
    tls, ca = certificate(tmp_path, "IP:127.0.0.1")

    async def at_once(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)  # the loop would turn hundreds of times while a thread reads files

    monkeypatch.setattr(asyncio, "to_thread", at_once)
    async with serving(echo(), tls if is_tls else None) as server:

        def session() -> AbstractAsyncContextManager[Poster]:
            return posting(transport, server.endpoint, connections=1, verify=ca)

        turns, was_too_late = 0, False
        while not was_too_late:
            async with session() as poster:
                was_too_late = await _cancelled_after(turns, poster, b"cold %d" % turns)
                assert (await poster.post(b"next")).content == b"next"
            await server.wait_left()
            turns += 1
        assert turns > 3
        async with session() as poster:
            for turns in range(15):
                await poster.post()
                await _cancelled_after(turns, poster, b"warm %d" % turns)
                assert (await poster.post(b"next")).content == b"next"
        await server.wait_left()


async def _cancelled_after(turns: int, poster: Poster, body: bytes) -> bool:
    """A post that is given up after so many turns. Returns whether it was too late for that."""
    post = asyncio.create_task(poster.post(body))
    for _ in range(turns):
        await asyncio.sleep(0)
    post.cancel()
    await asyncio.wait([post])
    if not post.cancelled():
        assert post.result().content == body
    return not post.cancelled()


@pytest.mark.parametrize("seed", range(25))
async def test_every_answer_is_the_one_to_its_request(transport: Transport, seed: int) -> None:
    """Many at once over few connections; answers late, cut, short or none; calls given up."""
    random = Random(seed)
    connections = random.choice((1, 2, 5))
    asked, answered = 0, 0
    async with (
        serving(echo(random)) as server,
        posting(transport, server.endpoint, connections=connections) as poster,
    ):

        async def ask_on() -> None:
            nonlocal asked, answered
            for _ in range(20):
                asked += 1
                body = b"%d " % asked * random.choice((1, 3))
                post = asyncio.create_task(poster.post(body))
                if random.random() < 0.3:
                    for _ in range(random.randrange(12)):
                        await asyncio.sleep(0)
                    post.cancel()
                await asyncio.wait([post])
                if not post.cancelled() and post.exception() is None:
                    answered += 1
                    assert post.result().content == body

        await asyncio.gather(*(ask_on() for _ in range(8)))
        assert server.most_open <= connections + 2, "and those that are being closed"
    await server.wait_left()
    assert answered > asked / 4
    sent = [body for _, body in server.requests]
    assert len(sent) == len(set(sent)), "nothing is sent twice"


async def test_nothing_is_lost_by_all_that_can_happen(transport: Transport) -> None:
    """After it, every connection of the pool can be had, and no error went unheard."""
    random, gate = Random(7), Gate()
    is_calm = False
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: unheard.append(told))

    async def say(visit: Visit) -> None:
        while not is_calm:
            if not await at_random(visit, await visit.request(), random):
                return
        await gate.say(visit)

    async with (
        serving(say) as server,
        posting(transport, server.endpoint, connections=4) as poster,
    ):
        posts = [asyncio.create_task(poster.post()) for _ in range(60)]
        for post in random.sample(posts, 20):
            await asyncio.sleep(0)
            post.cancel()
        await asyncio.wait(posts)
        is_calm = True
        gate.open.set()
        for _ in range(4):  # each connection's server learns of the calm at its next request
            await asyncio.gather(*(poster.post() for _ in range(4)), return_exceptions=True)
        await assert_all_of(poster, gate, 4)
    ends = await asyncio.gather(*posts, return_exceptions=True)
    assert {type(end) for end in ends} > {Answer, asyncio.CancelledError}
    del posts, post, ends
    gc.collect()
    assert unheard == []


async def test_a_failure_that_nobody_waits_for_any_more_is_not_reported(
    transport: Transport,
) -> None:
    """Given up in the very turn of the loop in which it failed, or in any other."""
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: unheard.append(told))

    async def hang_up(visit: Visit) -> None:
        await visit.request()

    async with serving(hang_up) as server, posting(transport, server.endpoint) as poster:
        await poster.failed()
        was_cancelled, turns = True, 0
        while was_cancelled:
            post = asyncio.create_task(poster.post())
            for _ in range(turns):
                await asyncio.sleep(0)
            post.cancel()
            await asyncio.wait([post])
            was_cancelled, turns = post.cancelled() or post.exception() is None, turns + 1
    gc.collect()
    assert unheard == []


async def test_a_session_that_is_closed_leaves_nothing_open(transport: Transport) -> None:
    gate = Gate()
    async with serving(gate.say) as server:
        async with posting(transport, server.endpoint, connections=2) as poster:
            posts = [asyncio.create_task(poster.post()) for _ in range(5)]
            await wait_until(lambda: gate.waiting == 2, 5.0)
            if transport == "aiohttp":  # it leaves who waits for a connection waiting
                for post in posts[2:]:
                    post.cancel()
        ends = await asyncio.gather(*posts, return_exceptions=True)
        assert all(isinstance(end, BaseException) for end in ends)
        gate.open.set()
        await server.wait_left()


async def test_a_closed_session_posts_no_more(transport: Transport) -> None:
    async with serving(answering(OK)) as server:
        async with posting(transport, server.endpoint) as poster:
            await poster.post()
        await poster.failed()
        await server.wait_left()
