"""The HTTP server for operators and probes, over a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from gateway.adapters.admin import AdminServer, Readiness, Views

TOKEN = "correct-horse"


@dataclass
class Process:
    """What a gateway would answer."""

    since_beat: float = 0.2
    readiness: Readiness = field(default_factory=lambda: Readiness(True))
    status: dict[str, Any] = field(default_factory=lambda: {"lanes": 3, 7: {1}})

    def views(self) -> Views:
        return Views(
            seconds_since_beat=lambda: self.since_beat,
            readiness=lambda: self.readiness,
            metrics=lambda: b"gateway_lanes 3.0\n",
            status=lambda: self.status,
        )


class Client:
    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{port}"

    async def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        async with self._session.request(method, self._url + path, headers=headers) as answer:
            is_json = answer.content_type == "application/json" and method != "HEAD"
            return answer.status, await (answer.json() if is_json else answer.text()), answer


@pytest.fixture
def process() -> Process:
    return Process()


async def served(process: Process, token: str | None) -> AsyncIterator[Client]:
    server = AdminServer(process.views(), token)
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        yield Client(session, port)
    await server.stop()
    await server.stop()


@pytest.fixture
async def client(process: Process) -> AsyncIterator[Client]:
    async for client in served(process, None):
        yield client


@pytest.fixture
async def guarded(process: Process) -> AsyncIterator[Client]:
    async for client in served(process, TOKEN):
        yield client


async def test_it_is_alive_until_30_seconds_have_passed_without_a_beat(
    client: Client, process: Process
) -> None:
    assert (await client.ask("/livez"))[:2] == (200, {"alive": True, "seconds_since_beat": 0.2})
    process.since_beat = 30.5
    assert (await client.ask("/livez"))[:2] == (503, {"alive": False, "seconds_since_beat": 30.5})


async def test_readiness_names_trouble_ready_or_not(client: Client, process: Process) -> None:
    process.readiness = Readiness(True, ("default PutJobSuccessResult halted: AccessDenied",))
    status, body, _ = await client.ask("/readyz")
    assert (status, body["ready"]) == (200, True)
    assert body["trouble"] == ["default PutJobSuccessResult halted: AccessDenied"]
    process.readiness = Readiness(False, ("source: no brokers",))
    assert (await client.ask("/readyz"))[:2] == (
        503,
        {"ready": False, "trouble": ["source: no brokers"]},
    )


async def test_metrics_are_in_prometheus_text_format(client: Client) -> None:
    status, body, answer = await client.ask("/metrics")
    assert (status, body) == (200, "gateway_lanes 3.0\n")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_status_is_json_whatever_it_holds(client: Client) -> None:
    status, body, answer = await client.ask("/status")
    assert (status, body) == (200, {"lanes": 3, "7": "{1}"})
    assert answer.headers["Cache-Control"] == "no-store"


async def test_an_unknown_path_is_404_in_json(client: Client) -> None:
    for path in ("/", "/livez/", "/status/x", "/../etc/passwd"):
        status, body, _ = await client.ask(path)
        assert (status, body) == (404, {"error": "not found"})


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_it_only_reads(client: Client, method: str) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/status"):
        status, _, answer = await client.ask(path, method)
        assert (status, answer.headers["Allow"]) == (405, "GET, HEAD")


async def test_head_is_get_without_a_body(client: Client) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/status"):
        status, body, _ = await client.ask(path, "HEAD")
        assert (status, body) == (200, "")


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN} "]
)
async def test_with_a_token_nobody_else_reads_anything_but_the_probes(
    guarded: Client, given: str
) -> None:
    headers = {"Authorization": given} if given else {}
    for path in ("/metrics", "/status", "/unknown"):
        status, body, answer = await guarded.ask(path, **headers)
        if given.strip() == f"Bearer {TOKEN}":  # HTTP knows no spaces at a header's end
            assert status != 401
            continue
        assert (status, body) == (401, {"error": "unauthorized"})
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    for path in ("/livez", "/readyz"):
        assert (await guarded.ask(path, **headers))[0] == 200


async def test_with_the_token_everything_is_read(guarded: Client) -> None:
    for path in ("/metrics", "/status", "/livez", "/readyz"):
        assert (await guarded.ask(path, Authorization=f"Bearer {TOKEN}"))[0] == 200


async def test_a_header_of_any_bytes_is_refused_and_stops_nothing(process: Process) -> None:
    server = AdminServer(process.views(), TOKEN)
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n")
    assert (await reader.readline()).startswith((b"HTTP/1.1 401", b"HTTP/1.1 400"))
    writer.close()
    await server.stop()


async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_open(process: Process) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = AdminServer(process.views())
        with pytest.raises(OSError, match="address already in use"):
            await server.start("127.0.0.1", taken.getsockname()[1])


async def test_after_stop_nobody_listens(process: Process) -> None:
    server = AdminServer(process.views())
    port = await server.start("127.0.0.1", 0)
    await server.stop()
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_it_says_nothing_of_what_serves_it(client: Client) -> None:
    _, _, answer = await client.ask("/livez")
    assert answer.headers["Server"] == "gateway"
