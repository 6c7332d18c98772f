"""Two accounts on one topic, and the credentials of one expire for a while, at load.

warm up │ all is well │ "ill" has expired credentials │ all is well, what waited arrives
        └──── T ──────┴────────────── T ──────────────┘
              the throughput of "well" is compared
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.simulation.history import Source
from gateway.simulation.topics import Stored, send
from gateway.simulation.workload import Event

WELL, ILL = "well", "ill"
REGIONS: Mapping[str, str] = {WELL: "us-east-1", ILL: "eu-west-1"}
TARGETS = {name: {"region": region} for name, region in REGIONS.items()}
WARM_UP_SECONDS = 3.0
RESULTS_OF_A_JOB = 2
_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Window:
    """What came of one account's results in a span of time."""

    since: float
    until: float

    def ended(self, outcomes: Sequence[Stored], target: str) -> int:
        told = (json.loads(record.value or b"") for record in outcomes)
        own = (each for each in told if each.get("target") == target)
        return sum(self.since <= each["time"] < self.until for each in own)


@dataclass
class Figures:
    """Before the incident and during it."""

    seconds: float
    rate_per_account: float
    well_before: int
    well_during: int
    ill_before: int
    ill_during: int
    resident_before_bytes: int
    resident_during_bytes: int

    @property
    def kept_share(self) -> float:
        """Of the well account's throughput. What was worked off of a backlog before counts for
        nothing: more than is sent cannot be kept up."""
        sent = self.seconds * self.rate_per_account
        return self.well_during / max(1.0, min(self.well_before, sent))

    @property
    def growth(self) -> float:
        """Of memory."""
        return self.resident_during_bytes / max(1, self.resident_before_bytes)

    def __str__(self) -> str:
        return (
            f"{self.seconds:.0f} s before and {self.seconds:.0f} s with expired credentials, "
            f"{self.rate_per_account:.0f} results a second for each account: the well account "
            f"ended {self.well_before} and {self.well_during} ({self.kept_share:.1%}), the other "
            f"{self.ill_before} and {self.ill_during}; resident memory at most "
            f"{self.resident_before_bytes / 1e6:.0f} and {self.resident_during_bytes / 1e6:.0f} MB"
        )


def events(seconds: float, rate_per_account: float) -> list[Event]:
    """Both accounts in turn; of each job two results that differ, not far from each other."""
    jobs = int(seconds * rate_per_account / RESULTS_OF_A_JOB)
    pairs = [_job(account) for _ in range(jobs) for account in REGIONS]
    gap = 40
    made: list[Event] = []
    for place in range(len(pairs) + gap):
        if place < len(pairs):
            made.append(pairs[place][0])
        if place >= gap:
            made.append(pairs[place - gap][1])
    return made


def _job(account: str) -> tuple[Event, Event]:
    job = str(uuid.uuid4())
    first, second = (_event(account, job, f"result {number}") for number in range(2))
    return first, second


def _event(account: str, job: str, summary: str) -> Event:
    value = json.dumps({"jobId": job, "executionDetails": {"summary": summary}})
    return Event(job.encode(), value.encode(), (("gateway-target", account.encode()),))


class Incident:
    """Sends, and lets the credentials expire when it is time for it."""

    def __init__(self, seconds: float, rate_per_account: float) -> None:
        self.seconds = seconds
        self.rate = rate_per_account
        self.began = 0.0
        """The epoch's second at which the credentials expire."""
        self._resident: list[tuple[float, int]] = []

    async def play(
        self,
        servers: str,
        topic: str,
        expire: Callable[[float], Awaitable[None]],
        pids: Callable[[], Iterable[int]],
    ) -> list[tuple[Source, Event]]:
        """Everything is stored when it returns; where. `expire(seconds)` is awaited once."""
        stored: list[tuple[Source, Event]] = []
        start = time.time()
        script = events(WARM_UP_SECONDS + 2 * self.seconds + 1.0, self.rate)
        gap_seconds = 1 / self.rate / len(REGIONS)
        sending = asyncio.create_task(
            send(
                servers,
                topic,
                script,
                lambda place: start + place * gap_seconds,
                time.time,
                lambda source, event: stored.append((source, event)),
            )
        )
        try:
            await self._sample_until(start + WARM_UP_SECONDS + self.seconds, pids)
            self.began = time.time()
            await expire(self.seconds)
            await self._sample_until(self.began + self.seconds, pids)
        finally:
            await sending
        return stored

    async def _sample_until(self, until: float, pids: Callable[[], Iterable[int]]) -> None:
        while time.time() < until:
            self._resident.append((time.time(), sum(map(resident_bytes, pids()))))
            await asyncio.sleep(_SAMPLE_SECONDS)

    def figures(self, outcomes: Sequence[Stored]) -> Figures:
        before = Window(self.began - self.seconds, self.began)
        during = Window(self.began, self.began + self.seconds)
        counts = [
            window.ended(outcomes, account)
            for account in (WELL, ILL)
            for window in (before, during)
        ]
        return Figures(self.seconds, self.rate, *counts, self._most(before), self._most(during))

    def _most(self, window: Window) -> int:
        return max(
            (size for at, size in self._resident if window.since <= at < window.until), default=0
        )


def resident_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    sizes = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    return sizes[0] * 1024 if sizes else 0
