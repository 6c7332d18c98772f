"""The unsigned side of the simulator, under `/_simulation/`: jobs, faults, books, health.

    GET    health
    GET    jobs[?id=…&state=…&kind=…]      POST jobs    {"count": 3, "kind": "third-party", …}
                                                        or a list of such objects
    GET    faults                          POST faults  {"kind": "cut-after", "count": 2, …}
    DELETE faults[?id=…]
    GET    books[?since=SEQUENCE]          one JSON object a line

Bodies are JSON with the names of `Wish`, `Fault` and `Aim`. What is wrong gets a 400 that says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import ClientConnectionResetError, web

from gateway.simulation.answers import readable
from gateway.simulation.faults import Aim, Fault, FaultKind
from gateway.simulation.jobs import ActionType, Job, JobKind, JobState, Wish
from gateway.simulation.service import Service
from gateway.simulation.shapes import ACTION_TYPE_ID, INPUTS, Unreadable

PREFIX = "/_simulation/"
_LINES_AT_ONCE = 1_000
_MOST_JOBS_AT_ONCE = 1_000_000

Route = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Steering:
    """Answers every request, also a wrong one, and changes nothing on a wrong one."""

    def __init__(self, service: Service, clock: Callable[[], float]) -> None:
        self._service = service
        self._clock = clock
        self._routes: Mapping[tuple[str, str], Route] = {
            ("GET", "health"): self._health,
            ("GET", "jobs"): self._list_jobs,
            ("POST", "jobs"): self._make_jobs,
            ("GET", "faults"): self._list_faults,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._remove_faults,
            ("GET", "books"): self._show_books,
        }

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        name = request.path.removeprefix(PREFIX).strip("/")
        route = self._routes.get((request.method, name))
        if route is None:
            known = ", ".join(f"{method} {PREFIX}{name}" for method, name in self._routes)
            return _json({"error": f"no such thing; there are: {known}"}, 404)
        try:
            return await route(request)
        except (ValueError, web.HTTPRequestEntityTooLarge) as error:
            return _json({"error": readable(str(error))}, 400)

    async def _health(self, _: web.BaseRequest) -> web.StreamResponse:
        calls, jobs = len(self._service.books), len(self._service.jobs)
        return _json({"status": "ok", "calls": calls, "jobs": jobs})

    async def _list_jobs(self, request: web.BaseRequest) -> web.StreamResponse:
        now = self._clock()
        for job in self._service.jobs:
            job.time_out(now)
        asked = dict(request.query)
        shown = [shown_job(job) for job in self._service.jobs]
        return _json({"jobs": [j for j in shown if all(j.get(k) == asked[k] for k in asked)]})

    async def _make_jobs(self, request: web.BaseRequest) -> web.StreamResponse:
        wishes = read_wishes(orjson.loads(await request.read()))
        ids = [wish.id for wish in wishes if wish.id is not None]
        now = self._clock()
        taken = [i for i in ids if self._service.jobs.get(i, now) is not None]
        if taken or len(set(ids)) < len(ids):
            return _json({"error": "these ids exist already", "ids": taken}, 409)
        made = [self._service.jobs.make(wish, now) for wish in wishes]
        return _json({"jobs": [shown_job(job) for job in made]}, 201)

    async def _list_faults(self, _: web.BaseRequest) -> web.StreamResponse:
        in_force = self._service.faults.in_force(self._clock())
        return _json({"faults": [{"id": i, "left": n, **_shown_fault(f)} for i, f, n in in_force]})

    async def _add_fault(self, request: web.BaseRequest) -> web.StreamResponse:
        fault = read_fault(orjson.loads(await request.read()))
        return _json({"id": self._service.faults.add(fault, self._clock())}, 201)

    async def _remove_faults(self, request: web.BaseRequest) -> web.StreamResponse:
        if "id" in request.query:
            self._service.faults.remove(int(request.query["id"]))
        else:
            self._service.faults.clear()
        return await self._list_faults(request)

    async def _show_books(self, request: web.BaseRequest) -> web.StreamResponse:
        entries = self._service.books.since(int(request.query.get("since", "0")))
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        try:
            await response.prepare(request)
            for start in range(0, len(entries), _LINES_AT_ONCE):
                lines = (entry.line() for entry in entries[start : start + _LINES_AT_ONCE])
                await response.write(b"".join(lines))
            await response.write_eof()
        except (ConnectionError, ClientConnectionResetError):
            return response
        return response


def shown_job(job: Job) -> dict[str, Any]:
    """A job as `/_simulation/jobs` shows it, client token included: it is made up."""
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "account": job.account,
        "region": job.region,
        "client_id": job.client_id,
        "client_token": job.client_token,
        "nonce": job.nonce or None,
        "continuation_token": job.wish.continuation_token,
        "timeout_seconds": job.wish.timeout_seconds,
        "action_type": job.action_type._asdict(),
        "configuration": job.wish.configuration,
        "made": job.made,
        "ended": job.ended,
        "follows": job.follows,
        "followed_by": job.followed_by,
    }


def read_wishes(value: Any) -> list[Wish]:
    """The jobs that a body asks for. Raises ValueError with a sentence."""
    if isinstance(value, list):
        return [wish for item in value for wish in read_wishes(item)]
    fields = _fields(value, {"count", *Wish.__dataclass_fields__})
    count = _number(fields.pop("count", 1), "count", whole=True)
    if not 0 <= count <= _MOST_JOBS_AT_ONCE or (count > 1 and "id" in fields):
        raise ValueError(f"count must be 0 to {_MOST_JOBS_AT_ONCE}, and 1 for a job with an id")
    return [_wish(fields)] * int(count)


def _wish(fields: dict[str, Any]) -> Wish:
    read: dict[str, Any] = {name: _text(v, name) for name, v in fields.items() if name in _TEXTS}
    read["kind"] = JobKind(fields.get("kind", JobKind.CUSTOM))
    read["state"] = JobState(fields.get("state", JobState.IN_PROGRESS))
    if "timeout_seconds" in fields:
        read["timeout_seconds"] = _number(fields["timeout_seconds"], "timeout_seconds")
    if "action_type" in fields:
        read["action_type"] = _action_type(fields["action_type"])
    configuration = _fields(fields.get("configuration", {}))
    read["configuration"] = {k: _text(v, "configuration") for k, v in configuration.items()}
    operation = "GetJobDetails" if read["kind"] is JobKind.CUSTOM else "GetThirdPartyJobDetails"
    given = {"jobId": read.get("id", _ANY_ID), "clientToken": read.get("client_token", "t")}
    if faults := INPUTS[operation].faults(given):
        raise ValueError("; ".join(faults))
    return Wish(**read)


_ANY_ID = "00000000-0000-4000-8000-000000000000"
_TEXTS = {"id", "account", "region", "client_id", "client_token", "continuation_token"}
_AIMS = frozenset(Aim.__dataclass_fields__)


def _action_type(value: Any) -> ActionType:
    try:
        faults = ACTION_TYPE_ID.faults(value, "action_type")
    except Unreadable as error:
        raise ValueError(str(error)) from None
    if faults:
        raise ValueError("; ".join(faults))
    return ActionType(*(value[name] for name in ActionType._fields))


def read_fault(value: Any) -> Fault:
    """The fault that a body asks for. Raises ValueError with a sentence."""
    fields = _fields(value, _AIMS | set(Fault.__dataclass_fields__) - {"aim"})
    aim = {name: _texts(fields.pop(name), name) for name in _AIMS & set(fields)}
    unknown = aim.get("operations", frozenset()) - set(INPUTS)
    if unknown:
        raise ValueError(f"no such operation: {', '.join(sorted(unknown))}")
    read: dict[str, Any] = {"kind": FaultKind(fields.pop("kind", None))}
    for name in ("duration_seconds", "probability", "seconds"):
        if name in fields:
            read[name] = _number(fields[name], name)
    for name in ("count", "seed", "status"):
        if fields.get(name) is not None:
            read[name] = int(_number(fields[name], name, whole=True))
    if "status" in read and not 200 <= read["status"] <= 599:
        raise ValueError("status must be 200 to 599")
    if "count" in read and read["count"] < 1:
        raise ValueError("count must be at least 1")
    if "applies" in fields:
        if not isinstance(fields["applies"], bool):
            raise ValueError("applies must be true or false")
        read["applies"] = fields["applies"]
    return Fault(aim=Aim(**aim), **read)


def _shown_fault(fault: Fault) -> dict[str, Any]:
    names = set(Fault.__dataclass_fields__) - {"aim"}
    aimed = {name: sorted(getattr(fault.aim, name)) for name in _AIMS}
    return {name: getattr(fault, name) for name in names} | aimed


def _fields(value: Any, known: set[str] | frozenset[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("a JSON object is needed here")
    unknown = set(value) - known if known is not None else set()
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known: {sorted(known or ())}")
    return {name: content for name, content in value.items() if content is not None}


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be a text that is not empty")
    return value


def _texts(value: Any, name: str) -> frozenset[str]:
    return frozenset(_text(v, name) for v in (value if isinstance(value, list) else [value]))


def _number(value: Any, name: str, *, whole: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise ValueError(f"{name} must be a {'whole ' if whole else ''}number")
    if value < 0:
        raise ValueError(f"{name} must not be negative")
    return float(value)


def _json(body: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
