"""Everything in here runs in virtual time: an hour passes at once."""

from __future__ import annotations

from collections.abc import Callable

import looptime
import pytest


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], looptime.LoopTimeEventLoop]]:
    return {"virtual": lambda: looptime.new_event_loop(start=0.0)}


@pytest.fixture(autouse=True)
def _bounded(request: pytest.FixtureRequest) -> None:
    """A flow that hangs in virtual time spins for ever: bound it in real time."""
    request.node.add_marker(pytest.mark.timeout(20))
