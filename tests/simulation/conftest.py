"""Simulators that end with their test, and the clients that must believe them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.simulation.codepipeline import CodePipelineSimulator
from tests.simulation.stock import StockClient, aiobotocore_client, boto3_client

Start = Callable[..., Awaitable[CodePipelineSimulator]]


@pytest.fixture
async def simulate() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def start(*arguments: Any, **options: Any) -> CodePipelineSimulator:
            simulator = CodePipelineSimulator(*arguments, **options)
            return await stack.enter_async_context(simulator)

        yield start


@pytest.fixture(params=[boto3_client, aiobotocore_client], ids=["boto3", "aiobotocore"])
def client_of(request: pytest.FixtureRequest) -> Callable[..., StockClient]:
    """Makes a stock client of a simulator: the test runs once for each."""
    return request.param
