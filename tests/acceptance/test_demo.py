"""`gateway demo` as a user runs it: in a process of its own, to its exit code and last line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


async def demo(temp: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "demo", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(temp)},
    )


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def processes_in(folder: Path) -> list[str]:
    """Command lines of living processes that name the folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it has ended meanwhile
                continue
            found += [line] if str(folder) in line else []
    return found


async def test_the_demo_with_its_crash_ends_clean_and_says_so(tmp_path: Path) -> None:
    process = await demo(tmp_path, "--jobs", "200", "--seed", "7", "--json")
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    told = json.loads(output.splitlines()[-1])
    assert (told["lost"], told["reordered"], told["violations"]) == (0, 0, [])
    assert told["repeats"]["needless"] == 0
    assert told["records"] == sum(told["outcomes"].values()) > 200
    rejected = sum(told["dead_letters"][reason] for reason in ("malformed", "invalid"))
    assert told["job_results"] < told["records"] - rejected
    assert {"accepted", "duplicate", "dead-lettered", "skipped"} <= set(told["outcomes"])
    assert "SIGKILL" in errors.decode()
    assert "CLEAN" in errors.decode()
    assert files_in(tmp_path) == []
    assert processes_in(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_demo_that_is_interrupted_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = await demo(tmp_path, "--jobs", "200", "--no-crash")
    assert process.stdout is not None
    while b"Build systems report" not in (line := await process.stdout.readline()):
        assert line, "it ended before it had begun"
    process.send_signal(number)
    assert await process.wait() == 128 + number
    await wait_until(lambda: not processes_in(tmp_path))
    assert files_in(tmp_path) == []
