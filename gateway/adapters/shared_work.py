"""Slow work that many calls wait for: done once at a time, and beside the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedWork(Generic[T]):
    """However many ask, the work runs once at a time and all share how it ended.

    An ending, good or bad, is shared for `rest_seconds` more before the work is done again. Who
    stops waiting does not stop the work; it is given up after `limit_seconds` (TimeoutError).
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[T]],
        *,
        rest_seconds: float = 1.0,
        limit_seconds: float = 60.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._rest_seconds = rest_seconds
        self._limit_seconds = limit_seconds
        self._monotonic = monotonic
        self._task: asyncio.Task[T] | None = None
        self._ended_at = float("-inf")

    async def wait(self) -> T:
        """The result, or what the work raised. Cancelling this cancels nobody else's wait."""
        return await asyncio.shield(self.start())

    def start(self) -> asyncio.Task[T]:
        """The work under way or just ended, else begun now."""
        task = self._task
        if task is None or (task.done() and not self.has_just_ended()):
            task = self._task = asyncio.create_task(self._run())
            task.add_done_callback(self._note_end)
        return task

    def has_just_ended(self) -> bool:
        return self._monotonic() - self._ended_at < self._rest_seconds

    def forget(self) -> None:
        """Let whoever asks next begin anew."""
        if self._task is not None and self._task.done():
            self._task = None

    async def close(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> T:
        async with asyncio.timeout(self._limit_seconds):
            return await self._work()

    def _note_end(self, task: asyncio.Task[T]) -> None:
        self._ended_at = self._monotonic()
        if not task.cancelled():
            task.exception()  # or asyncio would report it as never retrieved, if nobody waited


async def run_aside(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs the coroutine in a thread, in an event loop of its own, where it may block.

    aiobotocore reads files, parses them and starts processes between its awaits while it opens
    clients and looks for credentials. What it makes there is bound to no loop until it is used.
    Cancelling this cancels the work at its next await.
    """
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = []

    async def work_aside() -> T:
        task: asyncio.Task[T] | None = asyncio.current_task()
        assert task is not None
        running.append((asyncio.get_running_loop(), task))
        return await work()

    try:
        return await asyncio.to_thread(lambda: asyncio.run(work_aside()))
    except asyncio.CancelledError:
        for loop, task in running:
            loop.call_soon_threadsafe(task.cancel)
        raise
