"""Virtual time, and processes that can be stopped between any two instructions that await.

VirtualLoop    an event loop without I/O: when nobody has anything to do, time jumps ahead
Process        what belongs to one simulated process: killed, nothing of it ever runs again
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
"""The process that runs now; None: the world around the processes."""
MOST_STEPS = 600_000
_RESOLUTION_SECONDS = 1e-9


class Spinning(Exception):
    """More happens than any run needs: something waits for nothing, again and again."""


class Process:
    """Everything that was started within `context`, and all that follows from it.

    A killed process is not cancelled: no `finally` of it runs, no timer, no callback, as after
    SIGKILL. A frozen one loses nothing and does nothing until it is thawed, as after SIGSTOP:
    what became due in the meantime is done then, in the order in which it became due.
    """

    def __init__(self, name: str, loop: VirtualLoop) -> None:
        self.name = name
        self.steps = 0
        self.is_dead = False
        self.is_frozen = False
        self.dies_at_step: int | None = None
        self.when_dead: Callable[[], None] = lambda: None
        self._loop = loop
        self._postponed: list[asyncio.Handle] = []
        self.context: Context = copy_context()
        self.context.run(PROCESS.set, self)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self._loop.create_task(work, context=self.context)

    def kill(self) -> None:
        if not self.is_dead:
            self.is_dead = True
            self._postponed.clear()
            self._loop.call_soon(self.when_dead, context=self._loop.outside)

    def freeze(self) -> None:
        self.is_frozen = True

    def thaw(self) -> None:
        self.is_frozen = False
        postponed, self._postponed = self._postponed, []
        self._loop.run_soon(postponed)

    def may_run(self, handle: asyncio.Handle) -> bool:
        """Whether this step is to be taken now. Counts it, if so."""
        if self.is_dead:
            return False
        if self.is_frozen:
            self._postponed.append(handle)
            return False
        self.steps += 1
        if self.dies_at_step is not None and self.steps >= self.dies_at_step:
            self.kill()
            return False
        return True


class VirtualLoop(asyncio.BaseEventLoop):
    """The same callbacks in the same order at every run: time moves only when all have run.

    What callbacks and tasks raise is collected in `errors`. A run that makes no progress ends
    with Spinning, one in which nothing can ever happen again with RuntimeError.
    """

    _ready: Any
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self.steps = 0
        self.outside: Context = copy_context()
        self.tasks: list[asyncio.Task[Any]] = []
        self.errors: list[str] = []
        self.set_exception_handler(self._remember)

    def time(self) -> float:
        return self._now

    def run_soon(self, handles: list[asyncio.Handle]) -> None:
        self._ready.extend(handles)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        self.tasks.append(task)
        return task

    def in_the_world(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Goes on whatever becomes of the process that asked for it."""
        return self.create_task(work, context=self.outside)

    def finish(self) -> None:
        """Ends the loop without running anything more. What tasks have raised is in `errors`."""
        self.close()
        for task in self.tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with contextlib.suppress(RuntimeError):  # awaits where it is told to go
                    task.get_coro().close()  # type: ignore[union-attr]
            elif not task.cancelled() and (error := task.exception()) is not None:
                self.errors.append(_told("task", error))

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        # Closing abandoned coroutines wakes others; nobody is there to listen any more.
        if self.is_closed():
            return asyncio.Handle(callback, args, self, context)
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            self._skip_ahead()
        due = self._now + _RESOLUTION_SECONDS
        while scheduled and scheduled[0]._when < due:  # type: ignore[attr-defined]
            timer = heapq.heappop(scheduled)
            timer._scheduled = False  # type: ignore[attr-defined]
            ready.append(timer)
        for _ in range(len(ready)):
            self._step(ready.popleft())

    def _step(self, handle: asyncio.Handle) -> None:
        if handle.cancelled():
            return
        process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is not None and not process.may_run(handle):
            return
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Spinning(f"more than {MOST_STEPS} steps")
        handle._run()  # type: ignore[attr-defined]

    def _skip_ahead(self) -> None:
        scheduled = self._scheduled
        while scheduled and scheduled[0].cancelled():
            self._timer_cancelled_count = max(0, self._timer_cancelled_count - 1)
            heapq.heappop(scheduled)._scheduled = False  # type: ignore[attr-defined]
        if not scheduled:
            raise RuntimeError("nothing can ever happen again")
        self._now = max(self._now, scheduled[0]._when)  # type: ignore[attr-defined]

    def _remember(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        where = context.get("message", "")
        self.errors.append(_told(where, error) if error else where)


def _told(where: str, error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    return f"{where}: {type(error).__name__}: {error} ({place})"
