"""`gateway demo`: the product in a minute, on real parts, a crash included.

    broker (Apache Kafka) ── gateway run ── simulated CodePipeline      each a process of its own
        ▲ workload, paced         ✗ SIGKILL half way      ▲ throttling, an expired credential

At the end the history checker judges what outlived the crash. Exit code 0: nothing was lost,
reordered or needlessly repeated; 1: something was, or a part did not work. Nothing is left behind.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time

from rich.console import Console

from gateway.commands.demo_progress import REFRESH_SECONDS, Progress, Show, demo_console
from gateway.commands.demo_report import as_object, figures, print_report
from gateway.commands.demo_stage import PLACES, DemoFailed, Stage, failure, set_up, start_gateway
from gateway.simulation.broker import BrokerUnavailable
from gateway.simulation.history import Source
from gateway.simulation.judge import judge
from gateway.simulation.recorder import ended_of, record_history
from gateway.simulation.remote import SimulatorUnreachable
from gateway.simulation.topics import follow, send
from gateway.simulation.workload import SKIPPED, Event, workload

_INTERRUPTED, _TERMINATED = 130, 143
_SENDING_SECONDS = 30.0
_LEAST_RATE, _MOST_RATE = 20.0, 250.0
_TROUBLE_SECONDS = 5.0
_STILL_SECONDS = 60.0
"""Without any outcome for so long, the demo gives the rest up."""
_LEAVE_SECONDS = 60.0


def run(jobs: int, seed: int, crash: bool, as_json: bool) -> int:
    """Plays it and returns the exit code. With `as_json`, standard output carries the one JSON
    object and everything for people goes to standard error."""
    console = demo_console(as_json)
    try:
        return asyncio.run(_play(console, jobs, seed, crash, as_json))
    except KeyboardInterrupt:
        console.print("stopped; nothing is left behind")
        return _INTERRUPTED
    except asyncio.CancelledError:
        return _TERMINATED
    except (DemoFailed, BrokerUnavailable, SimulatorUnreachable) as error:
        console.print(str(error), style="bold red", markup=False, highlight=False)
        return 1


async def _play(console: Console, jobs: int, seed: int, crash: bool, as_json: bool) -> int:
    playing = asyncio.current_task()
    if playing is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    script = workload(seed, jobs)
    outcomes_due = sum(event.expected != SKIPPED for event in script.events)
    progress = Progress(total=len(script.events), to_end=outcomes_due)
    show = Show(console, progress)
    async with set_up(script, show, progress) as stage:
        with show.playing():
            await _perform(stage, crash)
        show.say("The history checker reads what outlived the crash")
        history = await record_history(
            stage.broker.bootstrap_servers, PLACES, await stage.simulator.books(), stage.witness
        )
    judgement, measured = judge(history), figures(history)
    print_report(console, history, stage.stories, judgement, measured)
    if as_json:
        print(json.dumps(as_object(judgement, measured)), flush=True)
    return 0 if judgement.is_clean else 1


async def _perform(stage: Stage, crash: bool) -> None:
    """Everything has ended when it returns, or nothing has moved for a minute. The gateway has
    left in peace. Raises DemoFailed if it did not."""
    try:
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(part(stage)) for part in (_count, _refresh, _watch_gateway)
            ]
            sending = tasks.create_task(_send(stage))
            await _act(stage, crash)
            await sending
            await _wait_until_all_has_ended(stage)
            await _end_gateway(stage)
            for task in background:
                task.cancel()
    except* (DemoFailed, BrokerUnavailable, SimulatorUnreachable) as failures:
        raise failures.exceptions[0] from None


# the play


async def _act(stage: Stage, crash: bool) -> None:
    """The troubles, each at its share of the sending."""
    say, simulator = stage.show.say, stage.simulator
    trouble_seconds = min(_TROUBLE_SECONDS, 0.12 * len(stage.script.events) / _rate(stage))
    await simulator.add_fault("cut-after", probability=0.005, seed=1)
    await simulator.add_fault("server-error", probability=0.005, seed=2)
    say("Build systems report; one call in a hundred is cut off or fails at CodePipeline's side")
    await _wait_until_sent(stage, 0.12)
    say("CodePipeline throttles half of all calls")
    await simulator.add_fault("throttle", probability=0.5, duration_seconds=trouble_seconds)
    await asyncio.sleep(trouble_seconds)
    say("The calls come through again")
    await _wait_until_sent(stage, 0.30)
    say("The credential has expired: results wait, none becomes a dead letter")
    await simulator.add_fault("expired-token", duration_seconds=trouble_seconds)
    await asyncio.sleep(trouble_seconds)
    say("The credential is valid again")
    await _wait_until_sent(stage, 0.5)
    if crash:
        await _crash(stage)
    await _wait_until_sent(stage, 1.0)
    say("Everything is sent; waiting until everything has ended")


async def _crash(stage: Stage) -> None:
    stage.gateway_may_end = True
    await stage.gateway.kill()
    unended = stage.progress.sent - len(stage.progress.ended)
    stage.show.say(f"SIGKILL: the gateway is gone, with some {unended} records not ended")
    await start_gateway(stage)
    stage.gateway_may_end = False
    stage.show.say("The gateway is back and reads on where the last commit stands")


async def _end_gateway(stage: Stage) -> None:
    stage.gateway_may_end = True
    stage.show.say("SIGTERM: the gateway drains, commits and leaves")
    try:
        code = await stage.gateway.stop(_LEAVE_SECONDS)
    except TimeoutError:
        raise await failure(
            f"the gateway had not left after {_LEAVE_SECONDS:.0f} s", stage.gateway
        ) from None
    if code != 0:
        raise await failure("the gateway did not leave in peace", stage.gateway)


async def _wait_until_sent(stage: Stage, share: float) -> None:
    # Polled, as the picture is: an event for each share would be set by every record sent.
    while stage.progress.sent < share * stage.progress.total:  # noqa: ASYNC110
        await asyncio.sleep(REFRESH_SECONDS / 5)


async def _wait_until_all_has_ended(stage: Stage) -> None:
    progress, moved = stage.progress, time.monotonic()
    before = len(progress.ended)
    while len(progress.ended) < progress.to_end:
        await asyncio.sleep(REFRESH_SECONDS)
        if len(progress.ended) > before:
            before, moved = len(progress.ended), time.monotonic()
        elif time.monotonic() - moved > _STILL_SECONDS:
            stage.show.say(f"No outcome for {_STILL_SECONDS:.0f} s: giving the rest up")
            return


def _rate(stage: Stage) -> float:
    """Records a second: half a minute's worth, within what one small machine delivers."""
    wanted = len(stage.script.events) / _SENDING_SECONDS
    return min(_MOST_RATE, max(_LEAST_RATE, wanted))


# in the background


async def _send(stage: Stage) -> None:
    start, rate = time.time(), _rate(stage)

    def note(source: Source, event: Event) -> None:
        stage.progress.sent += 1
        stage.witness.expected[source] = event.expected
        stage.stories[source] = event.story

    events, servers = stage.script.events, stage.broker.bootstrap_servers
    await send(servers, PLACES.results, events, lambda at: start + at / rate, time.time, note)


async def _count(stage: Stage) -> None:
    async for batch in follow(stage.broker.bootstrap_servers, [PLACES.outcomes]):
        for record in batch:
            ended = ended_of(record)
            stage.progress.note_outcome(ended.source, ended.kind)


async def _refresh(stage: Stage) -> None:
    while True:
        stage.show.refresh()
        await asyncio.sleep(REFRESH_SECONDS)


async def _watch_gateway(stage: Stage) -> None:
    while True:
        await stage.gateway.wait()
        if not stage.gateway_may_end:
            raise await failure("the gateway ended, and nobody had asked it to", stage.gateway)
        await asyncio.sleep(REFRESH_SECONDS)
