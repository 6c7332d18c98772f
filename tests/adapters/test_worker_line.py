"""The line between a supervisor and one of its workers, over real sockets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from gateway.adapters.worker_line import NoAnswer, SupervisorEnd, WorkerEnd, answer_on, inherited
from gateway.adapters.worker_line import new_line as line_of
from tests.waiting import wait_until


class World:
    """Both ends, and what has come out of the worker's."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.is_cut = False
        self.page = b"page"
        self.worker = WorkerEnd(
            {"metrics": lambda: self.page, "status": lambda: b"s" * 300_000, "broken": self._break},
            {"drain": lambda: self.told.append("drain")},
            self._cut,
        )
        self.supervisor = SupervisorEnd()

    def _cut(self) -> None:
        self.is_cut = True

    def _break(self) -> bytes:
        raise ValueError("no")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.supervisor, theirs = await line_of()
    await answer_on(theirs, world.worker)
    yield world
    world.supervisor.close()
    world.worker.close()


async def test_every_question_gets_its_own_answer(world: World) -> None:
    line = world.supervisor
    answers = await asyncio.gather(*(line.ask(word, 5) for word in ("status", "metrics", "status")))
    assert [len(answer) for answer in answers] == [300_000, 4, 300_000]


async def test_a_worker_that_cannot_answer_one_question_answers_the_next(world: World) -> None:
    for word in ("broken", "never heard of"):
        with pytest.raises(NoAnswer):
            await world.supervisor.ask(word, 5)
    assert await world.supervisor.ask("metrics", 5) == b"page"


async def test_an_order_is_obeyed_between_questions(world: World) -> None:
    asking = asyncio.create_task(world.supervisor.ask("metrics", 5))
    world.supervisor.tell("drain")
    world.supervisor.tell("drain")
    assert await asking == b"page"
    await wait_until(lambda: world.told == ["drain", "drain"])


async def test_a_late_answer_is_nobody_elses() -> None:
    """The worker hangs, somebody gives up, others ask: each gets what was asked for."""
    supervisor, theirs = await line_of()
    with pytest.raises(NoAnswer):
        await supervisor.ask("metrics", 0.01)
    late = [asyncio.create_task(supervisor.ask(word, 5)) for word in ("status", "metrics")]
    asked: list[str] = []

    def answer(word: str) -> bytes:
        asked.append(word)
        return f"{word} {len(asked)}".encode()

    worker = WorkerEnd(
        {word: lambda word=word: answer(word) for word in ("metrics", "status")},  # type: ignore[misc]
        {},
        lambda: None,
    )
    await answer_on(theirs, worker)
    assert await asyncio.gather(*late) == [b"status 2", b"metrics 1"]
    assert asked == ["metrics", "status"], "who hangs is asked each thing once"
    worker.close()
    supervisor.close()


async def test_each_side_learns_that_the_other_has_ended(world: World) -> None:
    world.supervisor.close()
    await wait_until(lambda: world.is_cut)
    with pytest.raises(NoAnswer):
        await world.supervisor.ask("metrics", 5)


async def test_who_asks_an_ended_worker_does_not_wait() -> None:
    supervisor, theirs = await line_of()
    asking = asyncio.create_task(supervisor.ask("metrics", 60))
    await asyncio.sleep(0)
    theirs.close()
    with pytest.raises(NoAnswer):
        await asyncio.wait_for(asking, 5)
    supervisor.tell("drain")
    with pytest.raises(NoAnswer):
        await supervisor.ask("metrics", 60)


async def test_a_worker_that_closes_its_end_was_not_cut_off(world: World) -> None:
    world.worker.close()
    with pytest.raises(NoAnswer):
        await world.supervisor.ask("metrics", 5)
    assert not world.is_cut


def test_what_is_no_socket_is_no_line() -> None:
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="no socket"):
        inherited(reading)
    os.close(reading)
    os.close(writing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        inherited(reading)
