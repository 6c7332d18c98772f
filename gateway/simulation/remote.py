"""The simulated CodePipeline from outside: jobs, faults and books of another process, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp

from gateway.simulation.workload import Job

_JOBS_AT_ONCE = 5_000


class SimulatorUnreachable(Exception):
    """The simulator does not answer, or not as it should; the message says how."""


class RemoteSimulator:
    """Speaks to `endpoint` while entered. Raises SimulatorUnreachable if it cannot."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(self.endpoint, raise_for_status=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open().close()

    async def make_jobs(self, jobs: Sequence[Job]) -> None:
        """All of them exist when it returns."""
        for start in range(0, len(jobs), _JOBS_AT_ONCE):
            wishes = [job.wish() for job in jobs[start : start + _JOBS_AT_ONCE]]
            await self._asked("POST", "jobs", wishes)

    async def add_fault(self, kind: str, **more: Any) -> None:
        """Members as `simulation/steering.py` reads them: `duration_seconds`, `probability`, …"""
        await self._asked("POST", "faults", {"kind": kind} | more)

    async def books(self) -> list[bytes]:
        """Every call so far, one JSON object a line."""
        return (await self._asked("GET", "books")).splitlines()

    async def _asked(self, method: str, name: str, body: Any = None) -> bytes:
        path = f"/_simulation/{name}"
        try:
            async with self._open().request(method, path, json=body) as response:
                return await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SimulatorUnreachable(f"{self.endpoint}{path}: {error}") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("not entered")
        return self._session


async def status_of(url: str) -> int | None:
    """The HTTP status that a GET answers; None if nobody answers."""
    timeout = aiohttp.ClientTimeout(total=2)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.status
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
