"""Chaos: real processes, a real Kafka, and everything goes wrong.

    python -m tests.chaos --minutes 3 [--seed S] [--members 4] [--brokers 1] [--rate 60]
                          [--json FILE]
    python -m tests.chaos --two-accounts MINUTES

The seed decides what is sent and what goes wrong, when and to whom; what comes of it depends on the
machine as well. When the storm is over everything is left in peace until all has ended, bounded;
then the history checker judges. Exit code 0: clean. 1: something was lost, reordered or repeated
needlessly, or a process misbehaved; then the replicas' logs are kept, and it says where.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from gateway.simulation.history import History
from gateway.simulation.topics import read_all
from gateway.simulation.workload import Job, workload
from tests.chaos.schedule import Act, schedule
from tests.chaos.stage import PLACES, SESSION_SECONDS, SETTINGS, Stage, leave, set_up
from tests.chaos.storm import Storm, epilogue
from tests.chaos.two_accounts import ILL, REGIONS, TARGETS, Incident
from tests.chaos.verdict import Report, behaviour, judged, recorded

_READY_SECONDS = 60.0
_CALM_SECONDS = 180.0
_AFTER_SECONDS = 5.0


async def storm(stage: Stage, options: argparse.Namespace) -> tuple[Report, History]:
    seconds, members = options.minutes * 60, len(stage.members)
    acts = schedule(options.seed, seconds, members, SESSION_SECONDS, options.brokers)
    # More than the storm is long: it ends with work on its way.
    records = int((60 * options.minutes + _AFTER_SECONDS) * options.rate)
    script = workload(options.seed, records)
    script = replace(script, events=script.events[:records])
    last = epilogue()
    own = [Job(str(event.key, "ascii")) for event in last if event.key]
    await stage.simulator.make_jobs([*script.jobs, *own])
    playing = Storm(stage, say)
    async with _running(stage, playing):
        await stage.wait_all_ready(_READY_SECONDS)
        began = time.monotonic()
        loading = asyncio.create_task(playing.load(script.events, options.rate))
        await playing.play(acts)
        seconds = time.monotonic() - began
        say(f"the storm is over, {playing.ledger.unended} records have not ended")
        await loading
        await playing.load(last, options.rate)
        is_calm = await playing.wait_calm(_CALM_SECONDS)
        say("all has ended" if is_calm else f"{playing.ledger.unended} records have not ended")
        await stage.wait_all_ready(_READY_SECONDS)
        exit_codes = await leave(stage.members)
    say("the history checker reads what outlived the storm")
    history = await recorded(stage, playing.ledger)
    return _report(stage, playing, history, acts, exit_codes, began, seconds), history


@contextlib.asynccontextmanager
async def _running(stage: Stage, playing: Storm) -> AsyncIterator[None]:
    """Replicas are brought back for as long as they are wanted, outcomes are watched."""
    async with asyncio.TaskGroup() as background:
        tasks = [background.create_task(member.run()) for member in stage.members]
        tasks.append(background.create_task(playing.watch()))
        yield
        for task in tasks:
            task.cancel()


def _report(
    stage: Stage,
    playing: Storm,
    history: History,
    acts: list[Act],
    exit_codes: list[int | None],
    began: float,
    seconds: float,
) -> Report:
    judgement = judged(history)
    return Report(
        kills=sum(member.kills for member in stage.members) + playing.broker_kills,
        broker_kills=playing.broker_kills,
        brokers=len(stage.cluster.nodes),
        rolls=sum(member.rolls for member in stage.members),
        acts=dict(Counter(str(act.kind) for act in acts)),
        seconds=round(seconds, 1),
        records=judgement.records,
        outcomes=judgement.outcomes,
        dead_letters=judgement.dead_letters,
        calls=len(history.calls),
        lost=judgement.lost,
        reordered=judgement.reordered,
        repeats_needless=judgement.repeats_needless,
        repeats_after_crash=judgement.repeats_after_crash,
        longest_stall_seconds=round(playing.ledger.longest_stall_seconds, 1),
        stalled_at_seconds=round(playing.ledger.stalled_at - began, 1),
        longest_without_broker_seconds=round(playing.longest_without_broker_seconds, 1),
        unended=judgement.unended,
        faults=[
            *(str(violation) for violation in judgement.violations),
            *behaviour(stage.members, exit_codes),
        ],
    )


def say(sentence: str) -> None:
    print(sentence, flush=True)


async def play(options: argparse.Namespace) -> int:
    playing = asyncio.current_task()
    assert playing is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
    if options.two_accounts:
        return await two_accounts(options.two_accounts * 60, options.members, options.rate)
    async with set_up(options.members, brokers=options.brokers) as stage:
        try:
            report, history = await storm(stage, options)
        except BaseException:
            _keep(stage.folder)
            raise
        if not report.is_clean:
            (_keep(stage.folder) / "history.pickle").write_bytes(pickle.dumps(history))
    if options.json:
        options.json.write_text(report.as_json() + "\n")
    for line in report.lines():
        say(line)
    return 0 if report.is_clean else 1


async def two_accounts(seconds: float, members: int, rate: float) -> int:
    """Nobody is killed: one of two accounts has expired credentials for `seconds`."""
    incident, began = Incident(seconds, rate), time.monotonic()
    more = {
        "targets": TARGETS,
        "input": {**SETTINGS["input"], "allowed": {PLACES.results: list(TARGETS)}},
    }
    async with set_up(members, more, any_job=True) as stage:
        playing = Storm(stage, say)

        async def expire(seconds: float) -> None:
            say(f"the credentials of one account have expired, for {seconds:.0f} s")
            await stage.simulator.add_fault(
                "expired-token", duration_seconds=seconds, regions=[REGIONS[ILL]]
            )

        async with _running(stage, playing):
            await stage.wait_all_ready(_READY_SECONDS)
            script = await incident.play(
                stage.servers, PLACES.results, expire, lambda: [m.pid or 0 for m in stage.members]
            )
            for source, event in script:
                playing.ledger.note_sent(source, event)
            say(f"all is well again, {playing.ledger.unended} results wait")
            await playing.wait_calm(_CALM_SECONDS)
            exit_codes = await leave(stage.members)
        figures = incident.figures(await read_all(stage.servers, [PLACES.outcomes]))
        report = _report(
            stage, playing, await recorded(stage, playing.ledger), [], exit_codes, began, seconds
        )
    is_kept = figures.kept_share >= 0.95 and figures.growth <= 1.1 and not report.dead_letters
    for line in (str(figures), *report.lines(), "kept" if is_kept else "NOT kept"):
        say(line)
    return 0 if report.is_clean and is_kept else 1


def _keep(folder: Path) -> Path:
    """What is needed to find out why."""
    kept = Path(tempfile.mkdtemp(prefix="chaos-kept-"))
    for log in folder.glob("*.log"):
        shutil.copy(log, kept)
    for log in folder.glob("kafka/*/server.log"):
        shutil.copy(log, kept / f"kafka-{log.parent.name}.log")
    say(f"logs: {kept}")
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument(
        "--two-accounts", type=float, metavar="MINUTES", help="that show instead of the storm"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--members", type=int, default=3, choices=(2, 3, 4))
    parser.add_argument("--brokers", type=int, default=3, choices=(1, 3))
    parser.add_argument("--rate", type=float, default=60.0, help="records a second")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    # Our own clients meet a broker that is killed all the time; that is no news.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    say(f"python -m tests.chaos {' '.join(sys.argv[1:])} (seed {options.seed})")
    return asyncio.run(play(options))


if __name__ == "__main__":
    sys.exit(main())
