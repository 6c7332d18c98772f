"""One account's trouble is its own: the other goes on, and nothing of the first is lost."""

from __future__ import annotations

import json
import time
from pathlib import Path

from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.faults import Aim, Fault, FaultKind
from tests.acceptance.gateway_process import Stage
from tests.acceptance.test_lifecycle import assert_nothing_lost_or_reordered
from tests.chaos.two_accounts import ILL, REGIONS, TARGETS, Incident

SECONDS = 10.0
RATE = 50.0


def configuration(stage: Stage, simulator: CodePipelineSimulator, folder: Path) -> Path:
    targets = {name: {**it, "endpoint": simulator.endpoint} for name, it in TARGETS.items()}
    topic = stage.topics.results
    settings = {"input": {"allowed": {topic: list(targets)}}, "targets": targets}
    file = folder / "two.yaml"
    file.write_text(json.dumps(settings))
    return file


async def test_expired_credentials_of_one_account_cost_the_other_nothing(
    stage: Stage, simulator: CodePipelineSimulator, tmp_path: Path
) -> None:
    file = configuration(stage, simulator, tmp_path)
    gateway = await stage.started("--config", str(file), GATEWAY_RETRY__PROBE_CAP_SECONDS="2")
    incident = Incident(SECONDS, RATE)

    async def expire(seconds: float) -> None:
        aim = Aim(regions=frozenset({REGIONS[ILL]}))
        fault = Fault(FaultKind.EXPIRED, aim, duration_seconds=seconds)
        simulator.faults.add(fault, time.time())

    def pids() -> list[int]:
        assert gateway.process is not None
        return [gateway.process.pid]

    await incident.play(stage.brokers, stage.topics.results, expire, pids)
    sent = len(await stage.read(stage.topics.results))
    await stage.wait_outcomes(sent, 60)
    figures = incident.figures(await stage.read(stage.topics.outcomes))
    assert figures.kept_share >= 0.95, str(figures)
    assert figures.ill_during < 0.05 * figures.ill_before, str(figures)
    assert figures.growth <= 1.1, str(figures)
    assert await stage.read(stage.topics.dead_letters) == []
    await assert_nothing_lost_or_reordered(stage, simulator)
    assert await gateway.terminate() == 0
