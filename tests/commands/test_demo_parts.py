"""The demo's own parts: figures, the last line, children that never outlive us."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from gateway.commands.demo_children import Child, environment
from gateway.commands.demo_progress import Progress, Show
from gateway.commands.demo_report import as_object, figures, print_report
from gateway.simulation.history import Content, Ended, Entry, History, Source
from gateway.simulation.judge import judge
from tests.waiting import wait_until


def source(offset: int) -> Source:
    return Source("job-results", 0, offset)


def history(latencies: list[float]) -> History:
    """Records due a second apart, each ended so many seconds later, none of them called for."""
    content = Content("", "J", "PutJobSuccessResult", "d")
    return History(
        entries=[Entry(source(at), float(at), content) for at in range(len(latencies))],
        outcomes=[
            Ended(source(at), "accepted", "confirmed", 500.0, at + seconds, None, "J")
            for at, seconds in enumerate(latencies)
        ],
    )


def test_latency_runs_from_the_moment_a_record_was_due_to_its_first_outcome() -> None:
    told = history([0.1] * 98 + [0.5, 3.0])
    second = replace(told.outcomes[0], time=99.0, timestamp=600.0)
    measured = figures(replace(told, outcomes=[second, *told.outcomes]))
    assert measured.latency_seconds == {"p50": 0.1, "p99": 3.0, "max": 3.0}
    assert measured.throughput_per_second == round(100 / 102.0, 1)


def test_figures_of_nothing_are_zero() -> None:
    assert figures(History()).throughput_per_second == 0.0
    assert figures(History()).latency_seconds == {"p50": 0.0, "p99": 0.0, "max": 0.0}


def test_the_last_line_has_the_members_that_are_promised() -> None:
    told = as_object(judge(history([0.1])), figures(history([0.1])))
    assert list(told) == [
        "records",
        "job_results",
        "outcomes",
        "dead_letters",
        "lost",
        "reordered",
        "repeats",
        "throughput_per_second",
        "latency_seconds",
        "violations",
    ]
    assert told["repeats"] == {"after_crash": 0, "needless": 0}
    assert told["lost"] == 1  # accepted, says the outcome, but nobody called
    assert told["violations"][0].startswith("G8: job-results/0/0: accepted without any call")


def test_the_report_says_what_became_of_every_kind_of_record_and_what_is_broken() -> None:
    told, page = history([0.1, 0.2]), io.StringIO()
    console = Console(file=page, width=100)
    stories = {source(0): "plain", source(1): "copy"}
    print_report(console, told, stories, judge(told), figures(told))
    for words in ("plain", "copy", "accepted", "BROKEN: 2 lost", "without any call"):
        assert words in page.getvalue()


def test_progress_counts_each_record_once() -> None:
    progress = Progress(total=2, to_end=2)
    for kind in ("accepted", "already-ended"):
        progress.note_outcome(source(0), kind)
    assert progress.kinds == {"accepted": 1}


def test_without_a_terminal_progress_is_plain_lines() -> None:
    page = io.StringIO()
    progress = Progress(total=2, to_end=2, sent=1)
    show = Show(Console(file=page, width=100), progress)
    with show.playing():
        show.say("it goes on")
        show.refresh()
    assert "it goes on" in page.getvalue()
    assert "1 sent, 0 ended" in page.getvalue()
    assert "\x1b" not in page.getvalue()


def test_a_childs_environment_holds_nothing_that_changes_how_it_behaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("GATEWAY_LOG__LEVEL", "AWS_PROFILE", "HTTP_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "x")
    kept = environment(AWS_REGION="us-east-1")
    assert kept["AWS_REGION"] == "us-east-1"
    assert not {"GATEWAY_LOG__LEVEL", "AWS_PROFILE", "HTTP_PROXY", "https_proxy"} & set(kept)


def simulator(folder: Path) -> Child:
    arguments = ["simulate", "codepipeline", "--port", "0"]
    return Child("the simulator", arguments, folder / "log", environment())


async def test_a_child_that_is_asked_to_end_does_so_in_peace(tmp_path: Path) -> None:
    child = simulator(tmp_path)
    await child.start()
    await wait_until(lambda: "simulated CodePipeline at" in log_of(tmp_path))
    assert await child.stop(20.0) == 0
    assert not child.is_running


async def test_a_child_that_is_killed_can_be_started_again(tmp_path: Path) -> None:
    child = simulator(tmp_path)
    await child.start()
    await child.kill()
    assert child.exit_code == -9
    await child.start()
    await wait_until(lambda: child.is_running and "simulated" in log_of(tmp_path))
    await child.kill()


async def test_the_log_of_a_child_that_cannot_start_tells_why(tmp_path: Path) -> None:
    child = Child("nothing", ["no-such-command"], tmp_path / "log", environment())
    await child.start()
    assert await child.wait() == 2
    assert "no-such-command" in await child.log_tail()


_PARENT = """
import asyncio, sys
from pathlib import Path
from gateway.commands.demo_children import Child, environment

async def main():
    log = Path(sys.argv[1])
    child = Child("c", ["simulate", "codepipeline", "--port", "0"], log, environment())
    await child.start()
    print(child._process.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, str(tmp_path / "log"), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child_pid = int(await parent.stdout.readline())
    await wait_until(lambda: "simulated" in log_of(tmp_path))
    parent.kill()
    await parent.wait()
    await wait_until(lambda: not is_alive(child_pid))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:  # a zombie that nobody collects, in a container without an init, is gone as well
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def log_of(folder: Path) -> str:
    file = folder / "log"
    return file.read_text() if file.exists() else ""
