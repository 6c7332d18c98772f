"""Work that many wait for is done once, and nobody's impatience spoils it for the others."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from gateway.adapters.shared_work import SharedWork, run_aside


class Work:
    """Counts how often it was done; ends when told to."""

    def __init__(self) -> None:
        self.times = 0
        self.may_end = asyncio.Event()
        self.now = 0.0

    async def __call__(self) -> int:
        self.times += 1
        times = self.times
        await self.may_end.wait()
        if times == 1:
            raise ValueError("the first time fails")
        return times


async def test_all_who_wait_share_one_ending_good_or_bad() -> None:
    work = Work()
    shared = SharedWork(work, monotonic=lambda: work.now)
    waits = [asyncio.create_task(shared.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    work.may_end.set()
    endings = await asyncio.gather(*waits, return_exceptions=True)
    assert work.times == 1
    assert len({id(ending) for ending in endings}) == 1


async def test_an_ending_is_shared_until_the_rest_is_over() -> None:
    work = Work()
    work.may_end.set()
    shared = SharedWork(work, rest_seconds=1.0, monotonic=lambda: work.now)
    for _ in range(3):
        with pytest.raises(ValueError, match="first time"):
            await shared.wait()
    work.now = 1.0
    assert await shared.wait() == 2
    assert await shared.wait() == 2
    shared.forget()
    assert await shared.wait() == 3


async def test_who_stops_waiting_does_not_stop_the_work() -> None:
    work = Work()
    shared = SharedWork(work)
    impatient = asyncio.create_task(shared.wait())
    patient = asyncio.create_task(shared.wait())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient])
    assert impatient.cancelled()
    work.may_end.set()
    with pytest.raises(ValueError, match="first time"):
        await patient


async def test_closing_ends_the_work() -> None:
    work = Work()
    shared = SharedWork(work)
    task = shared.start()
    await asyncio.sleep(0)
    await shared.close()
    assert task.cancelled()


async def test_work_that_takes_too_long_is_given_up() -> None:
    shared = SharedWork(Work(), limit_seconds=0.0)
    with pytest.raises(TimeoutError):
        await shared.wait()


async def test_work_aside_may_block_and_its_result_comes_back() -> None:
    async def work() -> int:
        time.sleep(0.01)  # noqa: ASYNC251 - that is the point
        return threading.get_ident()

    assert await run_aside(work) != threading.get_ident()


async def test_cancelling_ends_work_aside() -> None:
    started, ended = threading.Event(), threading.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(run_aside(work))
    await asyncio.to_thread(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(ended.wait, 5)
