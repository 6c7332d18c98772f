from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos.network import HOST, Relay, Wire, free_port
from tests.waiting import wait_until


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[Relay]:
    """Before a server that answers every line with the same line."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    async with Relay(server.sockets[0].getsockname()[1], slow_seconds=0.1) as relay:
        yield relay
    server.close()


async def opened(relay: Relay) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(HOST, relay.port)


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> bytes:
    writer.write(line)
    return await asyncio.wait_for(reader.readline(), 5)


async def assert_silent(reader: asyncio.StreamReader) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readline(), 0.3)


async def talked(relay: Relay) -> bytes:
    reader, writer = await opened(relay)
    return await asked(reader, writer, b"hello\n")


async def assert_reset(relay: Relay) -> None:
    """A new connection, whichever of its steps notices first."""
    with pytest.raises(ConnectionResetError):
        await talked(relay)


async def test_an_open_wire_passes_everything_and_the_end_of_it(relay: Relay) -> None:
    reader, writer = await opened(relay)
    assert await asked(reader, writer, b"x" * 60_000 + b"\n") == b"x" * 60_000 + b"\n"
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    await wait_until(lambda: relay.connections == 0)


async def test_a_slow_wire_takes_its_time_and_loses_nothing(relay: Relay) -> None:
    relay.change(Wire.SLOW)
    reader, writer = await opened(relay)
    began = asyncio.get_running_loop().time()
    assert await asked(reader, writer, b"hello\n") == b"hello\n"
    assert asyncio.get_running_loop().time() - began >= 0.2


async def test_a_reset_ends_old_and_new_connections(relay: Relay) -> None:
    reader, writer = await opened(relay)
    await asked(reader, writer, b"hello\n")
    relay.change(Wire.RESET)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.readline(), 5)
    await assert_reset(relay)


@pytest.mark.parametrize("wire", [Wire.HALF_OPEN, Wire.DEAF])
async def test_what_was_swallowed_is_never_followed_by_the_rest(relay: Relay, wire: Wire) -> None:
    reader, writer = await opened(relay)
    await asked(reader, writer, b"hello\n")
    relay.change(wire)
    writer.write(b"lost\n")
    await assert_silent(reader)
    relay.change(Wire.OPEN)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.readline(), 5)
    assert await talked(relay) == b"hello\n"


async def test_a_server_that_is_gone_is_a_reset(relay: Relay) -> None:
    relay.target_port = free_port()
    await assert_reset(relay)
