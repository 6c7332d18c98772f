"""Waiting for what a test expects, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def wait_until(
    condition: Callable[[], T | Awaitable[T]],
    timeout_seconds: float = 15.0,
    *,
    every_seconds: float = 0.005,
) -> T:
    """What `condition` returned as soon as it was true. Fails after the time-out, naming the
    condition and its last answer. The condition may be a function or a coroutine function.
    """
    answer: T | None = None
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                asked = condition()
                answer = await asked if inspect.isawaitable(asked) else asked
                if answer:
                    return answer
                await asyncio.sleep(every_seconds)
    except TimeoutError:
        name = getattr(condition, "__qualname__", repr(condition))
        raise AssertionError(
            f"after {timeout_seconds:g} s still not: {name} (last answer: {answer!r})"
        ) from None
