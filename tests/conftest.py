"""What all tests share: one real Kafka, topics of one's own, and an eye on the event loop.

The broker starts with the first test that asks for it: tests/core and tests/flow never do. With
xdist each worker has a broker of its own: tests stop and freeze theirs, and a shared one would
end with the worker that started it.
"""

from __future__ import annotations

import inspect
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import NamedTuple

import hypothesis
import pytest
import pytest_asyncio
from blockbuster import blockbuster_ctx

from gateway.simulation.broker import FAST, KafkaBroker, gateway_topics

pytest.register_assert_rewrite("tests.contracts.promises")

hypothesis.settings.register_profile("ci", max_examples=500, deadline=None)
hypothesis.settings.register_profile("nightly", max_examples=10_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

MAY_BLOCK = {
    # The broker is forked by the thread that it must not outlive; a freeze is waited for.
    "gateway/simulation/broker_process.py": {"launched", "freeze"},
    # The loop of a thread of its own, made for what blocks.
    "gateway/adapters/shared_work.py": {"work_aside"},
    # Its own page reads /proc, which waits for no disk.
    "gateway/supervisor.py": {"_metrics"},
    # One stat a second at most, and a Secret's files when it has changed.
    "gateway/adapters/client_tokens.py": {"__init__", "_look"},
}
"""Functions of ours in which the event loop may be blocked, and why."""


@pytest.fixture(autouse=True)
def _no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """A blocking call made by our code in the event loop fails the test."""
    if not inspect.iscoroutinefunction(getattr(request, "function", None)):
        yield
        return
    with blockbuster_ctx("gateway") as blockbuster:
        for file, functions in MAY_BLOCK.items():
            for function in blockbuster.functions.values():
                function.can_block_in(file, functions)
        yield


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaBroker]:
    """A real Kafka. A test that stops or freezes it brings it back before it ends."""
    async with KafkaBroker(tmp_path_factory.mktemp("kafka"), properties=FAST) as broker:
        yield broker


class Topics(NamedTuple):
    """The names of three topics that no other test uses."""

    results: str
    outcomes: str
    dead_letters: str


FreshTopics = Callable[..., Awaitable[Topics]]


@pytest.fixture
def topic_names() -> Topics:
    """Three unique names; nothing is created."""
    prefix = f"t{uuid.uuid4().hex[:10]}"
    return Topics(f"{prefix}-results", f"{prefix}-outcomes", f"{prefix}-dead-letters")


@pytest.fixture
def fresh_topics(kafka: KafkaBroker, topic_names: Topics) -> FreshTopics:
    """`await fresh_topics(partitions=4)` creates the three topics and returns their names."""

    async def create(partitions: int = 2) -> Topics:
        await kafka.create_topics(*gateway_topics(*topic_names, partitions=partitions))
        return topic_names

    return create
