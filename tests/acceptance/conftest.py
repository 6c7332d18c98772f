from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from gateway.simulation.broker import KafkaBroker
from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.service import Rules
from tests.acceptance.gateway_process import Stage, staged
from tests.conftest import FreshTopics

PARTITIONS = 4


@pytest_asyncio.fixture
async def simulator() -> AsyncIterator[CodePipelineSimulator]:
    """A CodePipeline that takes any job id of the right form for a job in progress."""
    async with CodePipelineSimulator(Rules(takes_any_id=True)) as simulator:
        yield simulator


@pytest_asyncio.fixture
async def stage(
    kafka: KafkaBroker, fresh_topics: FreshTopics, simulator: CodePipelineSimulator, tmp_path: Path
) -> AsyncIterator[Stage]:
    """Four partitions, three topics, a CodePipeline; start gateways at will."""
    topics = await fresh_topics(PARTITIONS)
    async with staged(kafka.bootstrap_servers, topics, simulator.endpoint, tmp_path) as stage:
        yield stage
