"""The benchmarks can be run. What they measure is nobody's business here: machines differ."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parents[2]
FEW = ("--records", "300", "--rounds", "1", "--jobs", "600", "--concurrency", "4", "--seconds", "1")


async def measured(*arguments: str) -> dict[str, Any]:
    """What `python -m benchmarks` found, with few of everything."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", "--json", *FEW, *arguments),
        cwd=HERE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    found: dict[str, Any] = json.loads(output)
    assert process.returncode == (0 if all(bar["met"] for bar in found["bars"]) else 1)
    return found


@pytest.mark.timeout(300)  # a broker, and many more processes one after the other
async def test_what_a_record_costs_can_be_measured_and_every_bar_is() -> None:
    found = await measured("--only", "drain", "parts", "memory", "peer", "cold")
    bars = [bar["bar"] for bar in found["bars"]]
    assert bars == [
        *(">= 0.85", "<= 80", "<= 15"),
        *(">= 5.5", ">= 5.5", ">= 8"),
        *("<= 30", "<= 200"),
        *("<= 0.3", "<= 0.5"),
    ]
    assert found["drain"]["gateway"]["count"] == found["drain"]["bare"]["count"] == 300
    assert 0 < found["memory"]["half_bytes"] <= found["memory"]["peak_bytes"]
    assert {who: one["pace"]["count"] for who, one in found["peer"].items()} == dict.fromkeys(
        ("peer", "botocore", "lean"), 300
    )


@pytest.mark.timeout(300)
async def test_latencies_and_ceilings_can_be_measured() -> None:
    found = await measured("--only", "latency", "ceilings")
    every_delay = found["latency at 500/s"] | {
        name: one for name, one in found.items() if name.startswith("latency during")
    }
    assert len(every_delay) == 5
    for delays in every_delay.values():
        assert delays["count"] == 500, "none is left out"
        assert 0 < delays["p50"] <= delays["p99"] <= delays["p999"] <= delays["most"]
    assert len(found["ceilings"]) == 10
    assert all(
        0 < one["per_second"] <= 1.05 * one["ceiling_per_second"] for one in found["ceilings"]
    )
