"""One of several workers, through all of its runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from gateway.adapters.worker_line import NoAnswer
from gateway.adapters.worker_process import WorkerProcess, described
from gateway.core.restarts import Restarts
from gateway.core.signals import WorkerEnded, WorkerStarted
from gateway.ports import SignalSink

WRONG_CONFIGURATION = 2
ANSWER_SECONDS = 2.0
"""How long a worker may take to answer before it counts as silent."""

Start = Callable[[str], Awaitable[WorkerProcess]]


class Worker:
    """Guarantee: while it is kept, it runs or waits to be started again, whatever ends it; only
    what it cannot use of the configuration ends the keeping, as nothing changes that by itself."""

    def __init__(
        self,
        name: str,
        start: Start,
        stop: asyncio.Event,
        signals: SignalSink,
        retire: Callable[[bytes], None],
    ) -> None:
        self.name = name
        self.starts = 0
        self.why_down = "not started yet"
        self._start = start
        self._stop = stop
        self._signals = signals
        self._retire = retire
        self._restarts = Restarts()
        self._run: WorkerProcess | None = None
        self._page = b""

    async def keep(self) -> int:
        """Until `stop` is set, or the configuration is of no use to it (2). Otherwise the exit
        code of the run that was asked to stop, 0 if nothing ran then."""
        while not self._stop.is_set():
            code, ran_seconds = await self._run_once()
            if code == WRONG_CONFIGURATION or self._stop.is_set():
                return code
            delay = self._restarts.delay_after(ran_seconds)
            self._signals.emit(WorkerEnded(self.name, self.why_down, ran_seconds, delay))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stop.wait()
        return 0

    async def _run_once(self) -> tuple[int, float]:
        """Exit code and seconds that it ran."""
        self.starts += 1
        try:
            self._run = run = await self._start(self.name)
        except OSError as error:  # no memory, no process to be had: later, perhaps
            self.why_down = f"{type(error).__name__}: {error.strerror}"
            return 1, 0.0
        self._signals.emit(WorkerStarted(self.name, run.pid))
        if self._stop.is_set():  # asked for while it was being started
            self.tell("drain")
        code = await run.wait_ended()
        self._run = None
        self.why_down = described(code)
        page, self._page = self._page, b""
        self._retire(page)
        return code, run.ran_seconds

    @property
    def pid(self) -> int | None:
        """None: it does not run."""
        return None if self._run is None else self._run.pid

    def tell(self, order: str) -> None:
        """Gives an order to the present run, if there is one."""
        if self._run is not None:
            self._run.line.tell(order)

    def kill(self) -> None:
        """Ends the present run, if there is one."""
        if self._run is not None:
            self._run.kill()

    async def ask(self, question: str) -> bytes | None:
        """The present run's answer; None if it has ended, or is silent."""
        run = self._run
        if run is None:
            return None
        try:
            answer = await run.line.ask(question, ANSWER_SECONDS)
        except NoAnswer:
            return None
        return answer if run is self._run else None

    async def metrics(self) -> tuple[bytes, bool]:
        """What the present run was last heard to have counted, and whether that is as of now."""
        answer = await self.ask("metrics")
        if answer is not None:
            self._page = answer
        return self._page, answer is not None
