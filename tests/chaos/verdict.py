"""What outlived the chaos, judged; and what the replicas' own logs say of themselves."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway.simulation.history import History
from gateway.simulation.judge import Judgement, judge
from gateway.simulation.recorder import Witness, record_history
from tests.chaos.members import Member
from tests.chaos.stage import (
    ATTEMPT_TIMEOUT_SECONDS,
    EARLY_RESULT_DELAYS_SECONDS,
    PLACES,
    Stage,
)
from tests.chaos.storm import Ledger

_SHOWN = 20
_NEVER = ("invariant violated", "unexpected error")
"""Events of the log that no trouble of the world excuses."""


@dataclass
class Report:
    """The figures of one run. Clean: the judge has nothing to say, and no process misbehaved."""

    kills: int
    """Of gateways and of brokers."""
    broker_kills: int
    brokers: int
    rolls: int
    acts: dict[str, int]
    seconds: float
    records: int
    outcomes: dict[str, int]
    dead_letters: dict[str, int]
    calls: int
    lost: int
    reordered: int
    repeats_needless: int
    repeats_after_crash: int
    longest_stall_seconds: float
    stalled_at_seconds: float
    """After the beginning."""
    longest_without_broker_seconds: float
    unended: int
    faults: list[str] = field(default_factory=list)
    """Sentences: every violation, and everything that a process should not have done."""

    @property
    def is_clean(self) -> bool:
        counts = (self.lost, self.reordered, self.repeats_needless, self.unended)
        return not self.faults and not any(counts)

    @property
    def repeats_per_kill(self) -> float:
        return round(self.repeats_after_crash / max(1, self.kills), 2)

    def as_json(self) -> str:
        figures = asdict(self) | {"repeats_per_kill": self.repeats_per_kill}
        return json.dumps(figures | {"clean": self.is_clean})

    def lines(self) -> Iterator[str]:
        yield f"{self.kills} kills, {self.broker_kills} of them of brokers ({self.brokers} there)"
        yield f"{self.rolls} rolling stops in {self.seconds:.0f} s: {self.acts}"
        yield f"{self.records} records, {self.calls} calls: {self.outcomes}; {self.dead_letters}"
        yield (
            f"{self.lost} lost, {self.reordered} reordered, {self.repeats_needless} needlessly "
            f"repeated; {self.repeats_after_crash} repeated after a crash, "
            f"{self.repeats_per_kill} per kill; longest stall {self.longest_stall_seconds:.1f} s "
            f"(at {self.stalled_at_seconds:.0f} s), longest absence of a "
            f"broker {self.longest_without_broker_seconds:.1f} s"
        )
        for fault in self.faults[:_SHOWN]:
            yield f"  {fault}"
        if len(self.faults) > _SHOWN:
            yield f"  and {len(self.faults) - _SHOWN} more"
        yield "CLEAN" if self.is_clean else "BROKEN"


async def recorded(stage: Stage, ledger: Ledger) -> History:
    witness = Witness(ledger.expected, len(EARLY_RESULT_DELAYS_SECONDS), ATTEMPT_TIMEOUT_SECONDS)
    books = list(as_callers_saw(await stage.simulator.books(), stage.members))
    return await record_history(stage.servers, PLACES, books, witness)


def as_callers_saw(books: Iterable[bytes], members: Iterable[Member]) -> Iterator[bytes]:
    """The books, in which nobody knows whether an answer was delivered that met a cut wire or a
    frozen process: CodePipeline's side of the connection cannot tell."""
    disturbed = {
        instance: member.disturbed for member in members for instance in member.instances()
    }
    for line in books:
        call = json.loads(line)
        spans = disturbed.get(call["instance"], ())
        if call["delivered"] and _meets(call, spans):
            call["delivered"] = None
            yield json.dumps(call).encode()
        else:
            yield line


def _meets(call: dict[str, Any], spans: Sequence[tuple[float, float]]) -> bool:
    ended = float("inf") if call["ended"] is None else call["ended"]
    return any(call["begun"] <= until and ended >= since for since, until in spans)


def judged(history: History) -> Judgement:
    return judge(history, is_final=True)


def behaviour(members: Iterable[Member], exit_codes: Sequence[int | None]) -> Iterator[str]:
    """What processes did that they never should, whatever was done to them."""
    for member, code in zip(members, exit_codes, strict=True):
        # Who is told to go while Python is still starting has begun nothing.
        is_unborn = code == -signal.SIGTERM and not member.instances()
        if code != 0 and not is_unborn:
            how = "had to be killed" if code is None else f"left with exit code {code}"
            yield f"gateway {member.number} {how} after the final SIGTERM"
        if member.unasked:
            yield f"gateway {member.number} ended by itself, {member.unasked} times"
        if member.overdue:
            yield f"gateway {member.number} outstayed its grace period, {member.overdue} times"
        told = Counter(
            f"{line['event']} {line.get('where') or line.get('invariant') or ''} "
            f"{line.get('error') or line.get('detail') or ''}"
            for line in member.lines()
            if str(line["event"]).startswith((*_NEVER, "Traceback"))
        )
        yield from (f"gateway {member.number}, {n} times: {what}" for what, n in told.items())
