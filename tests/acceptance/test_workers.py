"""`gateway run --workers 2` as users run it, on a real Kafka: one gateway of two processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.faults import Fault, FaultKind
from tests.acceptance.conftest import PARTITIONS
from tests.acceptance.gateway_process import GatewayProcess, Stage
from tests.acceptance.test_lifecycle import (
    assert_nothing_lost_or_reordered,
    events,
    send_all,
)
from tests.waiting import wait_until

TWO = ("--workers", "2")
RESULTS = 600


def is_there(pid: int) -> bool:
    """A process that has ended and was not asked for its exit code is gone all the same."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def workers(gateway: GatewayProcess) -> dict[str, dict[str, Any]]:
    return dict((await gateway.status())["workers"])


async def pids(gateway: GatewayProcess) -> list[int]:
    return [worker["pid"] for worker in (await workers(gateway)).values()]


async def metrics(gateway: GatewayProcess) -> dict[str, dict[tuple[str, ...], float]]:
    """Samples by name and by the values of their labels."""
    page: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families((await gateway.get("/metrics"))[1]):
        for sample in family.samples:
            page.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return page


async def wait_shared(gateway: GatewayProcess) -> None:
    """Both workers have partitions: one may have been ready alone for a while."""

    async def is_shared() -> bool:
        shares = [len(one.get("partitions", ())) for one in (await workers(gateway)).values()]
        return shares == [PARTITIONS // 2] * 2

    await wait_until(is_shared, 30, every_seconds=0.05)


async def test_two_workers_share_the_partitions_and_are_seen_as_one_gateway(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    gateway = await stage.started(*TWO, GATEWAY_LOG__LEVEL="debug")
    await wait_shared(gateway)
    await send_all(stage, events(RESULTS))
    await stage.wait_outcomes(RESULTS, 60)
    status = await gateway.status()
    assert [(row["partition"]) for row in status["partitions"]] == list(range(PARTITIONS))
    assert sum(status["outcomes"].values()) == RESULTS
    own = [sum(worker["outcomes"].values()) for worker in status["workers"].values()]
    assert sum(own) == RESULTS
    assert min(own) > 0
    page = await metrics(gateway)
    assert page["gateway_records_read_total"] == {(): RESULTS}
    assert sum(page["gateway_deliveries_total"].values()) == RESULTS
    assert page["gateway_delivery_seconds_count"] == {("default",): RESULTS}
    assert sum(page["gateway_attempts_total"].values()) == len(simulator.books)
    assert page["gateway_ready"] == {(): 1}
    assert page["gateway_worker_up"] == {("1",): 1, ("2",): 1}
    assert len(page["gateway_watermark"]) == PARTITIONS
    assert {label for (label,) in page["process_open_fds"]} == {"1", "2", "supervisor"}
    lines = gateway.lines()
    assert all("level" in line for line in lines), "a line is not whole"
    assert {line.get("worker", "supervisor") for line in lines} == {1, 2, "supervisor"}
    await assert_nothing_lost_or_reordered(stage, simulator)


async def test_a_killed_worker_is_started_again_and_nothing_is_lost_or_counted_twice(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    gateway = await stage.started(*TWO)
    await wait_shared(gateway)
    pairs = events(RESULTS * 2)
    sending = asyncio.create_task(send_all(stage, pairs))
    await wait_until(lambda: len(simulator.books) > 200, 30)
    before = (await metrics(gateway))["gateway_records_read_total"][()]
    killed, other = await pids(gateway)
    os.kill(killed, signal.SIGKILL)

    async def is_told() -> bool:
        return "down: SIGKILL" in (await gateway.get("/livez"))[1]

    await wait_until(is_told, 5)
    assert (await gateway.get("/livez"))[0] == 200
    status, body = await gateway.get("/readyz")
    assert (status, json.loads(body)["trouble"][0]) == (503, "worker 1: down: SIGKILL")
    page = await metrics(gateway)
    assert page["gateway_records_read_total"][()] >= before, "a counter that falls is a restart"
    assert page["gateway_ready"] == {(): 0}
    assert page["gateway_worker_up"] == {("1",): 0, ("2",): 1}
    await gateway.wait_ready()
    await wait_shared(gateway)
    assert (await pids(gateway))[1] == other
    assert [one["starts"] for one in (await workers(gateway)).values()] == [2, 1]
    await sending
    await stage.wait_outcomes(len(pairs), 60)
    await assert_nothing_lost_or_reordered(stage, simulator)
    assert await gateway.terminate() == 0


async def test_sigterm_to_all_processes_drains_every_worker_and_leaves_everything_committed(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    """As systemd does it, and more: each worker is told three times, which skips no drain."""
    simulator.faults.add(Fault(FaultKind.SLOW, seconds=0.3), 0.0)
    gateway = await stage.started(*TWO, GATEWAY_LOG__LEVEL="debug")
    await wait_shared(gateway)
    await send_all(stage, events(RESULTS))
    await wait_until(lambda: len(simulator.books) > 20, 30)
    processes = await pids(gateway)
    leaving = asyncio.create_task(gateway.terminate())
    await wait_until(lambda: len(gateway.lines("draining")) == 2, every_seconds=0.01)
    for pid in processes * 2:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    assert await leaving == 0
    assert not any(is_there(pid) for pid in processes)
    left = gateway.lines("gateway stopped")
    assert sorted((line["worker"], line["unsettled"]) for line in left) == [(1, 0), (2, 0)]
    settled = await stage.outcomes()
    assert len(settled) == sum(line["records"] for line in gateway.lines("batch read"))
    assert sum(offset or 0 for offset in await stage.committed(PARTITIONS)) == len(settled)


async def test_workers_without_a_supervisor_drain_and_leave(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    gateway = await stage.started(*TWO)
    await wait_shared(gateway)
    await send_all(stage, events(RESULTS))
    await wait_until(lambda: len(simulator.books) > 100, 30)
    processes = await pids(gateway)
    await gateway.kill()
    await wait_until(lambda: not any(is_there(pid) for pid in processes), 20)
    settled = await stage.outcomes()
    assert sum(offset or 0 for offset in await stage.committed(PARTITIONS)) == len(settled)
