"""The benchmarks can be run. What they measure is nobody's business here: machines differ."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
FEW = ("--records", "300", "--rounds", "1", "--jobs", "600", "--concurrency", "4")


@pytest.mark.timeout(300)  # it starts a broker and four more processes
async def test_all_benchmarks_run_and_every_bar_is_measured() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", "--json", *FEW),
        cwd=HERE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    found = json.loads(output)
    assert process.returncode == (0 if all(bar["met"] for bar in found["bars"]) else 1)
    assert [bar["bar"] for bar in found["bars"]] == [">= 0.85", "<= 80", "<= 15", "<= 30", "<= 200"]
    assert found["drain"]["gateway"]["count"] == found["drain"]["bare"]["count"] == 300
    assert 0 < found["memory"]["half_bytes"] <= found["memory"]["peak_bytes"]
