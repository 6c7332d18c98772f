"""An attempt that takes too long is told so, alone, and a cancellation stays a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import looptime
import pytest

from gateway.adapters.attempt_timeouts import AttemptTimeouts

SECONDS = 10.0


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0.0)) as runner:
        runner.run(test())


def now() -> float:
    return asyncio.get_running_loop().time()


async def lasting(timeouts: AttemptTimeouts, seconds: float, begins_at: float = 0.0) -> str:
    await asyncio.sleep(begins_at)
    try:
        with timeouts:
            await asyncio.sleep(seconds)
    except TimeoutError:
        return f"late at {now():.1f}"
    return f"done at {now():.1f}"


def test_each_attempt_is_late_at_its_own_time_and_those_in_time_are_not() -> None:
    async def test() -> None:
        timeouts = AttemptTimeouts(SECONDS)
        ended = await asyncio.gather(
            lasting(timeouts, 99.0),
            lasting(timeouts, 2.0, begins_at=1.0),
            lasting(timeouts, 99.0, begins_at=4.0),
            lasting(timeouts, 9.0, begins_at=5.0),
            lasting(timeouts, 99.0, begins_at=30.0),
        )
        assert ended[:4] == ["late at 10.0", "done at 3.0", "late at 14.0", "done at 14.0"]
        assert ended[4:] == ["late at 40.0"]

    in_virtual_time(test)


def test_one_attempt_after_the_other_in_a_task_has_its_whole_time_each() -> None:
    async def test() -> None:
        timeouts = AttemptTimeouts(SECONDS)
        for began in (0.0, 9.0, 18.0, 27.0):
            assert now() == began
            with timeouts:
                await asyncio.sleep(9.0)
        with pytest.raises(TimeoutError), timeouts:
            await asyncio.sleep(99.0)
        assert now() == 46.0
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    in_virtual_time(test)


@pytest.mark.parametrize("bound", [lambda: AttemptTimeouts(SECONDS), None])
@pytest.mark.parametrize("cancelled_at", [3.0, 10.0])
def test_a_cancellation_from_elsewhere_passes_as_with_asyncio_timeout(
    bound: Callable[[], AttemptTimeouts] | None, cancelled_at: float
) -> None:
    async def attempt() -> None:
        if bound is not None:
            with bound():
                await asyncio.sleep(99.0)
        async with asyncio.timeout(SECONDS):
            await asyncio.sleep(99.0)

    async def test() -> None:
        task = asyncio.create_task(attempt())
        asyncio.get_running_loop().call_at(cancelled_at, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    in_virtual_time(test)


def test_what_the_attempt_itself_raises_passes() -> None:
    async def test() -> None:
        timeouts = AttemptTimeouts(SECONDS)
        with pytest.raises(LookupError), timeouts:
            raise LookupError
        assert await _succeeds(timeouts)

    async def _succeeds(timeouts: AttemptTimeouts) -> bool:
        waits: Awaitable[bool] = asyncio.sleep(5.0, True)
        with timeouts:
            return await waits

    in_virtual_time(test)
