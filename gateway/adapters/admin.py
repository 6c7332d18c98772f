"""The HTTP server for operators and probes: /livez, /readyz, /metrics, /status.

Guarantees: it only reads (GET and HEAD); the two probes answer anybody, everything else only who
knows the token, if there is one; no answer holds a secret, as nothing here knows one.

It is served by the event loop that does the work, on purpose: a loop that hangs answers no probe,
and the probe's own time-out tells. The beat is for what a time-out overlooks: a loop that turns
again after having stood still for longer than any lease on our partitions lasts.
"""

from __future__ import annotations

import hmac
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import orjson
from aiohttp import web

from gateway.adapters.metrics import CONTENT_TYPE

MOST_SECONDS_WITHOUT_BEAT = 30.0
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Server": "gateway",  # aiohttp would name itself, Python and both versions
}
_OPEN = frozenset({"/livez", "/readyz"})

T = TypeVar("T")


class Readiness(NamedTuple):
    """Whether to count on this replica, and what an operator should know, ready or not."""

    is_ready: bool
    trouble: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        """The body of /readyz."""
        return {"ready": self.is_ready, "trouble": self.trouble}


@dataclass(frozen=True, slots=True)
class Views:
    """What can be looked at. Every one returns at once, or within seconds if it has to ask."""

    seconds_since_beat: Callable[[], float]
    readiness: Callable[[], Readiness | Awaitable[Readiness]]
    metrics: Callable[[], bytes | Awaitable[bytes]]
    status: Callable[[], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]
    about_life: Callable[[], Mapping[str, Any]] = dict
    """What else /livez tells, to anybody."""


class AdminServer:
    """Listens between `start` and `stop`."""

    def __init__(self, views: Views, token: str | None = None) -> None:
        self._views = views
        self._token = None if token is None else f"Bearer {token}".encode()
        app = web.Application(middlewares=[self._answer])
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/status", self._status)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, host: str, port: int) -> int:
        """Listens; the port, which is a free one if `port` is 0. Raises OSError if it is taken."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Listens no more. Answers under way have a second. May be called twice."""
        await self._runner.cleanup()

    @web.middleware
    async def _answer(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """The token first, so that nobody learns without it which paths exist."""
        if request.path not in _OPEN and not self._is_allowed(request):
            return _json({"error": "unauthorized"}, 401, {"WWW-Authenticate": "Bearer"})
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as refusal:
            allow = {"Allow": ", ".join(sorted(refusal.allowed_methods))}
            return _json({"error": "method not allowed"}, 405, allow)
        except web.HTTPException as refusal:
            return _json({"error": str(refusal.reason).lower()}, refusal.status)

    def _is_allowed(self, request: web.Request) -> bool:
        if self._token is None:
            return True
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, self._token)

    async def _livez(self, request: web.Request) -> web.Response:
        since = self._views.seconds_since_beat()
        is_alive = since <= MOST_SECONDS_WITHOUT_BEAT
        more = self._views.about_life()
        body = {"alive": is_alive, "seconds_since_beat": round(since, 3), **more}
        return _json(body, 200 if is_alive else 503)

    async def _readyz(self, request: web.Request) -> web.Response:
        readiness = await _told(self._views.readiness())
        return _json(readiness.told(), 200 if readiness.is_ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        headers = {**_HEADERS, "Content-Type": CONTENT_TYPE}
        return web.Response(body=await _told(self._views.metrics()), headers=headers)

    async def _status(self, request: web.Request) -> web.Response:
        return _json(await _told(self._views.status()))


async def _told(view: T | Awaitable[T]) -> T:
    return await view if inspect.isawaitable(view) else view


def as_json(body: Mapping[str, Any]) -> bytes:
    """A view as it is sent."""
    return orjson.dumps(
        body, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
    )


def _json(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.Response(
        body=as_json(body),
        status=status,
        headers={**_HEADERS, "Content-Type": "application/json", **(headers or {})},
    )
