"""Replicas that are always brought back: whatever ends one, another takes its place at once."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.commands.demo_children import Child
from gateway.simulation.remote import status_of


class Process(Child):
    """A child that can be sent any signal."""

    @property
    def pid(self) -> int | None:
        """Of the process started last."""
        return self._process.pid if self._process else None

    def send(self, number: signal.Signals) -> None:
        self._signal(number)


class Member:
    """One place in the group, with one process after the other in it. Runs while `run` does.

    `unasked`: how often a process ended that nobody had killed or asked to end: never, if all is
    well. `overdue`: how often one had not left a grace period after SIGTERM.
    """

    def __init__(
        self, number: int, settings: Path, folder: Path, environment: Mapping[str, str], admin: int
    ) -> None:
        self.number = number
        self.log = folder / f"gateway-{number}.log"
        self.kills = self.rolls = self.unasked = self.overdue = 0
        self.disturbed: list[tuple[float, float]] = []
        """From when until when it may not have read answers that were sent to it."""
        self._url = f"http://127.0.0.1:{admin}"
        self._process = Process(
            f"gateway {number}", ["run", "--config", str(settings)], self.log, environment
        )
        self._is_wanted = True
        self._may_end = False
        self._killed: int | None = None

    @property
    def pid(self) -> int | None:
        """Of the process that runs now, or was the last to."""
        return self._process.pid

    async def run(self) -> None:
        """Until `leave`: starts a process whenever there is none."""
        while self._is_wanted:
            self._may_end = False
            await self._process.start()
            await self._process.wait()
            self.unasked += not self._may_end

    async def kill(self) -> None:
        """SIGKILL, to a process that has not had one yet. `run` starts the next one."""
        # Polled: the process is replaced by a task that knows nothing of who waits.
        while self._process.pid == self._killed or not self._process.is_running:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        self.kills += 1
        self._may_end, self._killed = True, self._process.pid
        self._process.send(signal.SIGKILL)

    async def roll(self, grace_seconds: float) -> None:
        """SIGTERM, and SIGKILL after the grace period, as Kubernetes does it."""
        self.rolls += 1
        self._may_end = True
        pid, asked = self._process.pid, time.monotonic()
        self._process.send(signal.SIGTERM)
        while self._process.pid == pid and self._process.is_running:
            if time.monotonic() - asked > grace_seconds:
                self.overdue += 1
                self._process.send(signal.SIGKILL)
                return
            await asyncio.sleep(0.05)

    async def freeze(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later: the group has given its partitions to others meanwhile."""
        began, pid = time.time(), self._process.pid
        self._process.send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        if self._process.pid == pid and self._process.is_running:
            self._process.send(signal.SIGCONT)
        self.disturbed.append((began, time.time()))

    async def leave(self, grace_seconds: float) -> int | None:
        """The exit code after SIGTERM; None if it had to be killed."""
        self._is_wanted, self._may_end = False, True
        try:
            return await self._process.stop(grace_seconds)
        except TimeoutError:
            return None

    async def end(self) -> None:
        self._is_wanted, self._may_end = False, True
        await self._process.kill()

    async def is_ready(self) -> bool:
        return await status_of(f"{self._url}/readyz") == 200

    def lines(self) -> list[dict[str, Any]]:
        """What all its processes have logged; a line that is no JSON is its event."""
        parsed: list[dict[str, Any]] = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                parsed.append(json.loads(line))
            except ValueError:
                parsed.append({"event": line, "level": "unreadable"})
        return parsed

    def instances(self) -> set[str]:
        started = (line for line in self.lines() if line.get("event") == "gateway started")
        return {str(line["instance"]) for line in started}
