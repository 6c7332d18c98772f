"""What is missing at the start is said, waited for, and used as soon as it is there."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import uuid
from pathlib import Path

import pytest

from gateway.simulation.broker import FAST, KafkaBroker, gateway_topics
from gateway.simulation.codepipeline import CodePipelineSimulator
from tests.acceptance.gateway_process import Stage, staged
from tests.conftest import Topics
from tests.waiting import wait_until


async def deliver_one(stage: Stage) -> None:
    job_id = str(uuid.uuid4())
    await stage.send(json.dumps({"jobId": job_id}).encode(), job_id.encode())
    [outcome] = await stage.wait_outcomes(1)
    assert (outcome["job"], outcome["outcome"]) == (job_id, "accepted")


@pytest.mark.parametrize("missing", ["results", "outcomes", "dead_letters"])
async def test_a_topic_that_is_missing_is_named_and_waited_for(
    missing: str,
    kafka: KafkaBroker,
    topic_names: Topics,
    simulator: CodePipelineSimulator,
    tmp_path: Path,
) -> None:
    name = getattr(topic_names, missing)
    topics = gateway_topics(*topic_names, partitions=1)
    await kafka.create_topics(*(topic for topic in topics if topic.name != name))
    brokers, endpoint = kafka.bootstrap_servers, simulator.endpoint
    async with staged(brokers, topic_names, endpoint, tmp_path) as stage:
        gateway = stage.gateway()
        await gateway.start()

        async def names_it() -> bool:
            status, body = await gateway.get("/readyz")
            return status == 503 and name in body

        await wait_until(names_it, 30, every_seconds=0.1)
        assert name in "".join((await gateway.status())["trouble"])
        assert any(name in json.dumps(line) for line in gateway.lines())
        assert gateway.process is not None
        assert gateway.process.returncode is None, "no crash loop"
        await kafka.create_topics(*topics)
        await gateway.wait_ready()
        await deliver_one(stage)


async def test_brokers_that_are_missing_are_waited_for(
    topic_names: Topics, simulator: CodePipelineSimulator, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    broker = KafkaBroker(tmp_path / "kafka", port=port, properties=FAST)
    async with staged(f"127.0.0.1:{port}", topic_names, simulator.endpoint, tmp_path) as stage:
        gateway = stage.gateway()
        await gateway.start()
        await wait_until(lambda: gateway.lines("not ready yet"), 20, every_seconds=0.1)
        assert (await gateway.get("/readyz"))[0] == 503
        assert (await gateway.get("/livez"))[0] == 200, "a restart would not help"
        async with broker:
            await broker.create_topics(*gateway_topics(*topic_names, partitions=1))
            await gateway.wait_ready()
            await deliver_one(stage)
            assert await gateway.terminate() == 0
            await stage.close()


async def test_a_wrong_configuration_is_told_whole_and_ends_with_2(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("kafka: {bootstrap_server: 'x:1'}\nbudgets: {records: -1}\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway", "run", "--config", str(file)),
        env={"GATEWAY_RETRY__BASE_SECONDS": "soon"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    for name in ("bootstrap_server", "budgets.records", "GATEWAY_RETRY__BASE_SECONDS"):
        assert name in errors.decode()
    assert "Traceback" not in errors.decode()
