"""What any transport of the call must do where no connection can be made, or not the right one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.aws_transport import Transport
from gateway.adapters.aws_wire import Answer
from tests.adapters.http_world import OK, answering, certificate, hang_on, posting, serving

FINE = Answer(200, {"content-length": "2"}, b"{}")
NOT_TRUSTED = ("SSLError", "ClientConnectorCertificateError")
NO_TLS = ("SSLError", "ClientConnectorSSLError")
NOT_REACHED = ("EndpointConnectionError", "ClientConnectorError")
NO_SUCH_HOST = ("EndpointConnectionError", "ClientConnectorDNSError")
TOO_LONG = ("ConnectTimeoutError", "ConnectionTimeoutError")


async def test_a_certificate_that_is_vouched_for_is_accepted(
    transport: Transport, tmp_path: Path
) -> None:
    tls, ca = certificate(tmp_path, "IP:127.0.0.1")
    async with (
        serving(answering(OK), tls) as server,
        posting(transport, server.endpoint, verify=ca) as poster,
    ):
        assert [await poster.post() for _ in range(3)] == [FINE] * 3
    assert server.visits == 1


@pytest.mark.parametrize(("name", "is_known"), [("IP:127.0.0.1", False), ("DNS:other", True)])
async def test_nothing_is_sent_to_a_server_that_is_not_who_it_should_be(
    transport: Transport, tmp_path: Path, name: str, is_known: bool
) -> None:
    tls, ca = certificate(tmp_path, name)
    async with (
        serving(answering(OK), tls) as server,
        posting(transport, server.endpoint, verify=ca if is_known else True) as poster,
    ):
        assert await poster.failed() == NOT_TRUSTED
        await server.wait_left()
    assert server.requests == []


async def test_nobody_is_verified_if_the_client_says_so(
    transport: Transport, tmp_path: Path
) -> None:
    tls, _ = certificate(tmp_path, "DNS:other")
    async with (
        serving(answering(OK), tls) as server,
        posting(transport, server.endpoint, verify=False) as poster,
    ):
        assert await poster.post() == FINE


async def test_a_server_that_speaks_no_tls_is_told_from_one_that_is_not_trusted(
    transport: Transport,
) -> None:
    async def speak_plainly(visit: Any) -> None:
        await visit.say(OK)
        await visit.wait_hung_up()

    async with serving(speak_plainly) as server:
        endpoint = server.endpoint.replace("http:", "https:")
        async with posting(transport, endpoint) as poster:
            assert await poster.failed() == NO_TLS
            await server.wait_left()


async def test_a_server_that_hangs_up_in_the_handshake_was_not_reached(
    transport: Transport,
) -> None:
    async def hang_up(visit: Any) -> None:
        await visit.reader.read(1)

    async with serving(hang_up) as server:
        endpoint = server.endpoint.replace("http:", "https:")
        async with posting(transport, endpoint) as poster:
            assert await poster.failed() == NOT_REACHED


async def test_a_handshake_that_never_ends_is_a_time_out_and_leaves_no_connection(
    transport: Transport,
) -> None:
    async with serving(hang_on) as server:
        endpoint = server.endpoint.replace("http:", "https:")
        async with posting(transport, endpoint, connect_seconds=0.1) as poster:
            assert await poster.failed() == TOO_LONG
            await server.wait_left()


@contextlib.contextmanager
def full_house() -> Iterator[int]:
    """A port that listens and accepts nobody: its queue is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            guest = stack.enter_context(socket.socket())
            guest.setblocking(False)
            guest.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


async def test_a_server_that_accepts_nobody_is_a_time_out(transport: Transport) -> None:
    with full_house() as port:
        endpoint = f"http://127.0.0.1:{port}"
        async with posting(transport, endpoint, connect_seconds=0.1) as poster:
            assert await poster.failed() == TOO_LONG


async def test_nobody_listens(transport: Transport) -> None:
    async with serving(answering(OK)) as server:
        pass
    async with posting(transport, server.endpoint) as poster:
        assert await poster.failed() == NOT_REACHED
    async with (
        serving(answering(OK), port=server.port),
        posting(transport, server.endpoint) as poster,
    ):
        assert await poster.post() == FINE


async def test_no_such_host(transport: Transport) -> None:
    async with posting(transport, "http://nonexistent.invalid") as poster:
        assert await poster.failed() == NO_SUCH_HOST


class Names:
    """Stands for the resolver: one name, and where it points now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self._look_up)

    async def _look_up(self, host: str, port: int, **_: object) -> list[Any]:
        if host != "moving.test":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        self.asked += 1
        await asyncio.sleep(0)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self.addresses
        ]


async def test_an_address_that_is_dead_is_passed_over(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(answering(OK), host="127.0.0.3") as server:
        Names(monkeypatch, "127.0.0.2", "127.0.0.3")
        async with posting(transport, f"http://moving.test:{server.port}") as poster:
            assert await poster.post() == FINE


async def test_a_new_connection_goes_where_the_name_points_now(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp keeps an address for ten seconds, and fails for as long if it has moved."""
    names = Names(monkeypatch, "127.0.0.2")
    async with contextlib.AsyncExitStack() as stack:
        old = await stack.enter_async_context(serving(answering(OK), host="127.0.0.2"))
        endpoint = f"http://moving.test:{old.port}"
        poster = await stack.enter_async_context(posting(transport, endpoint, idle_seconds=0.05))
        assert await poster.post() == FINE
        await old.wait_left()
        here = serving(answering(OK), host="127.0.0.3", port=old.port)
        new = await stack.enter_async_context(here)
        names.addresses = ("127.0.0.3",)
        assert await poster.post() == FINE
    assert (old.visits, new.visits) == ((1, 1) if transport == "httptools" else (2, 0))


async def test_connections_that_are_opened_at_once_share_one_look_up(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(answering(OK)) as server:
        names = Names(monkeypatch, "127.0.0.1")
        async with posting(transport, f"http://moving.test:{server.port}") as poster:
            assert await asyncio.gather(*(poster.post() for _ in range(10))) == [FINE] * 10
    assert server.visits == 10
    assert names.asked == 1
