"""Resident memory of a gateway with default budgets, as more and more jobs pass through it.

Events are written a bounded way ahead of the calls, so that the broker's log stays small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from benchmarks.events import events
from benchmarks.stage import MeasuredGateway, Stage, send

AHEAD_RECORDS = 30_000
"""More than the default budget: the intake is paused again and again, as under any backlog."""
STEP_RECORDS = 5_000
MEBIBYTE = 1 << 20
_FIRST_JOB = 1 << 40  # none that another benchmark has ended


@dataclass(frozen=True)
class Grown:
    """Resident bytes after half of the jobs, after all, and the most that were seen."""

    jobs: int
    half_bytes: int
    end_bytes: int
    peak_bytes: int
    readings: list[tuple[int, int]]
    """Jobs delivered, resident bytes."""

    @property
    def growth_mebibytes(self) -> float:
        return (self.end_bytes - self.half_bytes) / MEBIBYTE

    @property
    def peak_mebibytes(self) -> float:
        return self.peak_bytes / MEBIBYTE

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "growth_mebibytes": self.growth_mebibytes}


async def grow(stage: Stage, jobs: int, tell: Callable[[str], None]) -> Grown:
    """`jobs`: an even multiple of STEP_RECORDS, or few."""
    readings: list[tuple[int, int]] = []
    peak = half = 0

    def look(gateway: MeasuredGateway) -> None:
        nonlocal peak
        gateway.check()
        peak = max(peak, gateway.resident_bytes())

    step = min(STEP_RECORDS, jobs // 2)
    await stage.endpoint.begin()
    async with stage.gateway() as gateway, stage.producer() as producer:
        for sent in range(0, jobs, step):
            await send(producer, events(_FIRST_JOB + sent, step))
            delivered = max(0, sent + step - AHEAD_RECORDS)
            if sent + step == jobs // 2:
                delivered = jobs // 2  # all of them, so that both readings are taken at rest
            await stage.endpoint.wait_span(delivered, lambda: look(gateway))
            if delivered and delivered % (10 * step) == 0:
                readings.append((delivered, gateway.resident_bytes()))
                tell(f"{delivered} jobs: {readings[-1][1] / MEBIBYTE:.0f} MiB")
            if delivered == jobs // 2:
                half = gateway.resident_bytes()
        await stage.endpoint.wait_span(jobs, lambda: look(gateway))
        end = gateway.resident_bytes()
        readings.append((jobs, end))
    return Grown(jobs, half, end, max(peak, half, end), readings)
