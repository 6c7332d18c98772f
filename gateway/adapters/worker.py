"""One of several workers, through all of its runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from gateway.adapters.worker_line import NoAnswer
from gateway.adapters.worker_process import WorkerProcess, described
from gateway.core.restarts import Restarts
from gateway.core.signals import WorkerEnded, WorkerSilent, WorkerStarted
from gateway.ports import SignalSink

WRONG_CONFIGURATION = 2


class Listening(NamedTuple):
    """How we find out whether a worker still works."""

    hear_seconds: float = 2.0
    """How often we ask what each has counted: what it counts after that, and before it is killed,
    is missing from the metrics."""
    answer_seconds: float = 2.0
    """How long it may take to answer."""
    most_silences: int = 15
    """So many times in a row without an answer, a minute with the above: it hangs. Times and not
    the time, which passes also while we hang ourselves."""


USUAL = Listening()
Start = Callable[[int], Awaitable[WorkerProcess]]


class Worker:
    """Guarantee: while it is kept, it runs or waits to be started again, whatever ends it; only
    what it cannot use of the configuration ends the keeping, as nothing changes that by itself."""

    def __init__(
        self,
        number: int,
        start: Start,
        stop: asyncio.Event,
        signals: SignalSink,
        retire: Callable[[bytes], None],
        listening: Listening,
    ) -> None:
        self.number = number
        self.starts = 0
        self.why_down = "not started yet"
        self._start = start
        self._stop = stop
        self._signals = signals
        self._retire = retire
        self._restarts = Restarts()
        self._run: WorkerProcess | None = None
        self.page = b""
        """What the present run was last heard to have counted."""
        self._listening = listening
        self._silences = 0

    @property
    def name(self) -> str:
        return str(self.number)

    async def keep(self) -> int:
        """Until `stop` is set, or the configuration is of no use to it (2). Otherwise the exit
        code of the run that was asked to stop, 0 if nothing ran then."""
        while not self._stop.is_set():
            code, ran_seconds = await self._run_once()
            if code == WRONG_CONFIGURATION or self._stop.is_set():
                return code
            delay = self._restarts.delay_after(ran_seconds)
            self._signals.emit(WorkerEnded(self.number, self.why_down, ran_seconds, delay))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stop.wait()
        return 0

    async def _run_once(self) -> tuple[int, float]:
        """Exit code and seconds that it ran."""
        self.starts += 1
        self._silences = 0
        try:
            self._run = run = await self._start(self.number)
        except OSError as error:  # no memory, no process to be had: later, perhaps
            self.why_down = f"{type(error).__name__}: {error.strerror}"
            return 1, 0.0
        self._signals.emit(WorkerStarted(self.number, run.pid))
        if self._stop.is_set():  # asked for while it was being started
            self.tell("drain")
        code = await run.wait_ended()
        self._run = None
        self.why_down = described(code)
        page, self.page = self.page, b""
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
            answer = await run.line.ask(question, self._listening.answer_seconds)
        except NoAnswer:
            return None
        return answer if run is self._run else None

    async def hear(self) -> bool:
        """Asks what the present run has counted; whether it has answered."""
        answer = await self.ask("metrics")
        if answer is not None:
            self.page = answer
            self._silences = 0
        return answer is not None

    async def listen(self) -> None:
        """Asks again and again, and kills a run that hangs."""
        while True:
            await asyncio.sleep(self._listening.hear_seconds)
            run = self._run
            if run is None or await self.hear() or run is not self._run:
                continue
            self._silences += 1
            if self._silences == self._listening.most_silences:
                self._signals.emit(WorkerSilent(self.number, run.pid))
                run.kill()
