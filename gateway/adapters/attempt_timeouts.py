"""One time-out for many attempts at once."""

from __future__ import annotations

import asyncio
from types import TracebackType


class AttemptTimeouts:
    """`with` it round an attempt: TimeoutError is raised in there as soon as it has taken longer
    than `seconds`. A cancellation from elsewhere passes as what it is, as with asyncio.timeout.

    All attempts may take equally long, so the oldest is the next to be late, and one timer does
    for all: asyncio.timeout schedules and cancels one for each, which takes 8 µs an attempt. A
    task makes one attempt at a time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._under_way: dict[asyncio.Task[object], tuple[float, int]] = {}
        """Oldest first: when the attempt is late, and cancellations asked for before it began."""
        self._late: dict[asyncio.Task[object], int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        task = self._current_task()
        late_at = self._loop.time() + self._seconds
        self._under_way[task] = (late_at, task.cancelling())
        if self._timer is None:
            self._timer = self._loop.call_at(late_at, self._end_late_ones)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task = self._current_task()
        if self._under_way.pop(task, None) is not None:
            return
        is_ours_alone = task.uncancel() <= self._late.pop(task)
        if is_ours_alone and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _end_late_ones(self) -> None:
        self._timer = None
        for task, (late_at, cancellations) in list(self._under_way.items()):
            if late_at > self._loop.time():
                self._timer = self._loop.call_at(late_at, self._end_late_ones)
                return
            del self._under_way[task]
            self._late[task] = cancellations
            task.cancel()

    def _current_task(self) -> asyncio.Task[object]:
        task = asyncio.current_task(self._loop)  # asking for the loop is a call of the system
        if task is None:
            raise RuntimeError("an attempt is made in a task")
        return task
