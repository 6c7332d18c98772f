"""The lean call's own transport: llhttp on a bare socket in place of aiohttp's session.

`DirectSession.post` and `HttptoolsSession.post` send the same bytes and raise the same exceptions.
What botocore sends itself (`send`) goes through aiohttp with either.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

from aiohttp import ClientConnectionError, ClientResponseError, RequestInfo

from gateway.adapters.aws_wire import Answer, DirectSession
from gateway.adapters.http_connection import UnreadableAnswerError
from gateway.adapters.http_pool import HttpPool, PoolLimits
from gateway.adapters.http_route import Route

if TYPE_CHECKING:
    import ssl

    from multidict import CIMultiDictProxy
    from yarl import URL

Transport = Literal["httptools", "aiohttp"]
"""What lean calls are sent with."""


class _Endpoint(NamedTuple):
    url: URL
    before_lines: str
    pool: HttpPool
    route: Route


_AFTER_LINES: Final = "\r\nAccept: */*\r\n\r\n"


class HttptoolsSession(DirectSession):
    """aiobotocore's session, with its TLS contexts, limits and time-outs; only the connections of
    what is posted are not aiohttp's."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._endpoint: _Endpoint | None = None

    async def __aexit__(self, *about: Any) -> None:
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.pool.close()
            await endpoint.route.close()
        await super().__aexit__(*about)

    async def post(self, url: URL, lines: str, body: bytes) -> Answer:
        endpoint = self._endpoint
        if endpoint is None and not self._is_plain(url):
            return await super().post(url, lines, body)
        try:
            if endpoint is None or endpoint.url is not url:
                endpoint = await self._reach(url)
            request = f"{endpoint.before_lines}{lines}{_AFTER_LINES}".encode() + body
            status, headers, content = await endpoint.pool.exchange(request)
            names = {name.decode().lower(): value.decode() for name, value in headers}
            return Answer(status, names, content)
        except UnreadableAnswerError as error:
            await self.fail(url, _as_aiohttp_has_it(url, error))
        except Exception as error:
            await self.fail(url, error)

    def way_round(self, url: str) -> str | None:
        """Raises AttributeError if this aiobotocore has no longer what is used of it here."""
        _ = self._limits(), self._build_ssl_contexts, self._sessions_lock, self._sessions
        return super().way_round(url)

    def _is_plain(self, url: URL) -> bool:
        """Whether nothing is asked for that only aiohttp can do or refuse."""
        is_named = url.raw_host is not None and url.user is None and url.password is None
        return is_named and self._connector_args.keys() <= {"keepalive_timeout"}

    async def _reach(self, url: URL) -> _Endpoint:
        async with self._sessions_lock:
            if self._sessions is None:
                raise ClientConnectionError("Connector is closed")
            known = self._endpoint
            if known is None or known.url != url:
                known = self._endpoint = await self._new_endpoint(url)
            return known

    async def _new_endpoint(self, url: URL) -> _Endpoint:
        tls: ssl.SSLContext | None = None
        if url.scheme == "https":
            tls, _ = await asyncio.to_thread(self._build_ssl_contexts, None)
        route = Route(url, tls, self._timeout.sock_connect)
        before = f"POST {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n"
        return _Endpoint(url, before, HttpPool(route.open, self._limits()), route)

    def _limits(self) -> PoolLimits:
        return PoolLimits(
            connections=self._max_pool_connections,
            read_seconds=self._timeout.sock_read or math.inf,
            idle_seconds=self._connector_args.get("keepalive_timeout") or math.inf,
        )


def _as_aiohttp_has_it(url: URL, error: UnreadableAnswerError) -> ClientResponseError:
    nothing = cast("CIMultiDictProxy[str]", {})
    request = RequestInfo(url, "POST", nothing, url)
    return ClientResponseError(request, (), status=400, message=str(error))


TRANSPORTS: Final[dict[Transport, type[DirectSession]]] = {
    "aiohttp": DirectSession,
    "httptools": HttptoolsSession,
}
