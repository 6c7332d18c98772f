"""What every log promises, whatever is written into it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.contracts.logs import LogWorld, Told
from tests.waiting import wait_until

Make = Callable[[int, str], Any]
"""The n-th entry of a job, different from every other."""


class Promises:
    """A suite: subclasses give the fixtures `world` and `make`."""

    async def test_what_is_told_durable_stands_in_the_log(
        self, world: LogWorld[Any], make: Make
    ) -> None:
        told = asyncio.Event()
        world.log.append(make(1, "job-a"), told.set)
        await asyncio.wait_for(told.wait(), 15)
        assert await world.written() == [make(1, "job-a")]
        assert world.log.pending() == 0

    async def test_each_entry_is_told_once_and_never_from_within_append(
        self, world: LogWorld[Any], make: Make
    ) -> None:
        told = Told()
        for number in range(700):
            told.append(world.log, make(number, f"job-{number % 50}"), number)
        assert world.log.pending() == 700
        await wait_until(lambda: world.log.pending() == 0)
        assert told.times == dict.fromkeys(range(700), 1)
        assert not told.told_while_appending
        assert len(await world.written()) == 700

    async def test_entries_of_one_job_stand_in_the_order_in_which_they_were_appended(
        self, world: LogWorld[Any], make: Make
    ) -> None:
        for number in range(300):
            world.log.append(make(number, f"job-{number % 3}"), lambda: None)
            if number % 20 == 0:
                await asyncio.sleep(0)
        await wait_until(lambda: world.log.pending() == 0)
        written = await world.written()
        for job in range(3):
            mine = [make(number, f"job-{job}") for number in range(job, 300, 3)]
            assert [entry for entry in written if entry in mine] == mine

    async def test_entries_wait_while_the_log_does_not_answer_and_none_is_lost(
        self, world: LogWorld[Any], make: Make
    ) -> None:
        told = Told()
        told.append(world.log, make(0, "before"), 0)
        await wait_until(lambda: world.log.pending() == 0)
        world.interrupt()
        try:
            for number in range(1, 200):
                told.append(world.log, make(number, f"job-{number}"), number)
            await asyncio.wait_for(_turns(200), 15)
            assert told.times == {0: 1}
            assert world.log.pending() == 199
        finally:
            world.restore()
        await wait_until(lambda: world.log.pending() == 0)
        assert told.times == dict.fromkeys(range(200), 1)
        assert len(await world.written()) == 200


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
