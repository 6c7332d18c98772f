"""Several workers under one roof: N processes, each a member of the group, seen as one gateway.

Guarantees: a worker that ends without having been asked to is started again, ever later if it
keeps ending; what a worker cannot use of the configuration ends everything; nobody is left behind
when this returns, and workers whose supervisor is gone drain and leave by themselves.

    SIGTERM ─► supervisor ── drain ─► worker 1 … N ── commit, leave ─► exit code
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from gateway import __version__
from gateway.adapters.admin import AdminServer, Readiness, Views
from gateway.adapters.log_lines import cover_what_looks_secret, is_pretty
from gateway.adapters.metrics import Readings
from gateway.adapters.metrics_of_workers import Page, added
from gateway.adapters.stop_requests import StopRequests
from gateway.adapters.telemetry import EventLoopLag, LogAndMetrics
from gateway.adapters.worker import USUAL, WRONG_CONFIGURATION, Listening, Worker
from gateway.adapters.worker_process import WorkerProcess, inherited_environment
from gateway.config import Settings
from gateway.core.signals import Started, WorkersLeft
from gateway.core.totals import totals

Command = Callable[[int, int], Sequence[str]]
"""The command line of a worker, by its number and the descriptor of its end of the line."""


class Supervisor:
    """Runs until told to stop. Exit code 0 if every worker that ran then left in order, 2 if one
    could not use the configuration, 1 for everything else."""

    def __init__(
        self,
        settings: Settings,
        telemetry: LogAndMetrics,
        count: int,
        command: Command,
        listening: Listening = USUAL,
    ) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._signals = telemetry.signals
        self._command = command
        self._instance = uuid.uuid4().hex[:12]
        self._stop = StopRequests()
        self._lag = EventLoopLag()
        self._answering: set[str] = set()
        self._retired = Page("", b"", is_current=False)
        log_format = "pretty" if is_pretty(settings.log.format) else "json"
        self._environment = inherited_environment(
            GATEWAY_LOG__FORMAT=log_format, PYTHONIOENCODING="utf-8"
        )
        self._workers = [
            Worker(number, self._start, self._stop.drain, self._signals, self._retire, listening)
            for number in range(1, count + 1)
        ]

    async def run(self) -> int:
        """Returns the exit code. Raises OSError if the admin port cannot be had."""
        with self._stop.listening():
            async with self._admin() as address, self._hearing():
                self._signals.emit(Started(__version__, self._instance, "supervisor", address))
                code = await self._supervise()
                self._signals.emit(WorkersLeft(code))
        return code

    # -- life and death ------------------------------------------------------------------------

    async def _supervise(self) -> int:
        keeping = {asyncio.create_task(worker.keep()) for worker in self._workers}
        asked = asyncio.create_task(self._stop.drain.wait())
        try:
            await asyncio.wait({asked, *keeping}, return_when=asyncio.FIRST_COMPLETED)
            await self._leave(keeping)
        finally:
            self._stop.ask_drain()  # that nothing is started any more, however this ends
            asked.cancel()
            for worker in self._workers:
                worker.kill()
        codes = await asyncio.gather(*keeping)
        if WRONG_CONFIGURATION in codes:
            return WRONG_CONFIGURATION
        return 1 if any(codes) else 0

    async def _leave(self, keeping: set[asyncio.Task[int]]) -> None:
        """Returns when all have left, or the grace period is over."""
        self._stop.ask_drain()
        self._tell_all("drain")
        hurry = asyncio.create_task(self._hurry())
        await asyncio.wait(keeping, timeout=self._settings.grace_period_seconds)
        hurry.cancel()

    async def _hurry(self) -> None:
        await self._stop.at_once.wait()
        self._tell_all("leave")

    def _tell_all(self, order: str) -> None:
        for worker in self._workers:
            worker.tell(order)

    async def _start(self, worker: int) -> WorkerProcess:
        def complain(line: str) -> None:
            text = cover_what_looks_secret(line)
            self._telemetry.log.line("error", text, {"logger": "stderr", "worker": worker})

        def command(descriptor: int) -> Sequence[str]:
            return self._command(worker, descriptor)

        say = self._telemetry.writer.write
        return await WorkerProcess.started(command, self._environment, say, complain)

    # -- what can be asked ----------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _admin(self) -> AsyncIterator[str]:
        """Yields the address that it listens on."""
        self._telemetry.metrics.read_gauges_from(self._gauges)
        views = Views(
            seconds_since_beat=lambda: self._lag.seconds_since_beat,
            readiness=self._readiness,
            metrics=self._metrics,
            status=self._report,
            about_life=lambda: {"workers": {one.name: _state(one) for one in self._workers}},
        )
        settings = self._settings.admin
        token = settings.token.get_secret_value() if settings.token else None
        server = AdminServer(views, token)
        try:
            port = await server.start(settings.host, settings.port)
            yield f"{settings.host}:{port}"
        finally:
            await server.stop()

    @contextlib.asynccontextmanager
    async def _hearing(self) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(self._lag.run(self._signals.beat)),
            *(asyncio.create_task(worker.listen()) for worker in self._workers),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    def _retire(self, page: bytes) -> None:
        """What a run has counted outlives it."""
        ended = Page("", page, is_current=False)
        self._retired = self._retired._replace(text=added([self._retired, ended]))

    async def _metrics(self) -> bytes:
        have_answered = await asyncio.gather(*(worker.hear() for worker in self._workers))
        # All of one moment: who ends while another is being asked must not count twice.
        pages = [
            Page(worker.name, worker.page, has_answered and worker.pid is not None)
            for worker, has_answered in zip(self._workers, have_answered, strict=True)
        ]
        self._answering = {page.worker for page in pages if page.is_current}
        own = Page("supervisor", self._telemetry.metrics.expose())
        return added([own, *pages, self._retired])

    def _gauges(self) -> Readings:
        up: dict[tuple[str, ...], float] = {
            (one.name,): float(one.name in self._answering) for one in self._workers
        }
        return {
            "gateway_ready": float(all(up.values()) and not self._stop.drain.is_set()),
            "gateway_worker_up": up,
            "gateway_event_loop_lag_seconds": self._lag.lag_seconds,
        }

    async def _asked(self, question: str) -> dict[str, dict[str, Any] | None]:
        """Every worker's answer, by its name."""
        answers = await asyncio.gather(*(worker.ask(question) for worker in self._workers))
        return {
            worker.name: None if answer is None else json.loads(answer)
            for worker, answer in zip(self._workers, answers, strict=True)
        }

    async def _readiness(self) -> Readiness:
        answers = await self._asked("readiness")
        trouble = []
        for worker in self._workers:
            answer = answers[worker.name]
            told = [_state(worker)] if answer is None else answer["trouble"]
            trouble += [f"worker {worker.name}: {one}" for one in told]
        are_ready = all(answer is not None and answer["ready"] for answer in answers.values())
        return Readiness(are_ready and not self._stop.drain.is_set(), tuple(trouble))

    async def _report(self) -> dict[str, object]:
        """In the shape of one process's, and each worker's own."""
        is_ready, trouble = await self._readiness()
        answers = await self._asked("status")
        reports = {name: report for name, report in answers.items() if report is not None}
        return {
            "version": __version__,
            "instance": self._instance,
            "mode": "supervisor",
            "ready": is_ready,
            "draining": self._stop.drain.is_set(),
            "trouble": trouble,
            **totals(reports),
            "workers": {
                one.name: {
                    "state": _state(one),
                    "pid": one.pid,
                    "starts": one.starts,
                    **reports.get(one.name, {}),
                }
                for one in self._workers
            },
        }


def _state(worker: Worker) -> str:
    """Of a worker that has not been asked."""
    return f"down: {worker.why_down}" if worker.pid is None else "up"
