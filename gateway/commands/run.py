"""`gateway run`: deliver job results until told to stop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import NamedTuple

from gateway.adapters.telemetry import LogAndMetrics
from gateway.config import Settings

WRONG_CONFIGURATION = 2


class WorkerPlace(NamedTuple):
    """Who a worker is to its supervisor: `NUMBER:DESCRIPTOR` on the command line."""

    number: int
    descriptor: int

    @classmethod
    def parse(cls, text: str) -> WorkerPlace:
        """Raises ValueError."""
        number, descriptor = text.split(":")
        return cls(int(number), int(descriptor))


def run(
    settings: Settings,
    *,
    shadow: bool = False,
    workers: int | None = None,
    config: str | None = None,
    as_worker: str | None = None,
) -> int:
    """The exit code: 0 after a stop that was asked for, 2 for what a setting names and cannot be
    used (a port that is taken, a certificate that cannot be read), 1 for everything else."""
    if shadow and workers is not None and workers > 1:
        sentence = "a shadow is one process: each would read everything, in a group of its own"
        print(f"--workers: {sentence}", file=sys.stderr)
        return WRONG_CONFIGURATION
    try:
        place = None if as_worker is None else WorkerPlace.parse(as_worker)
    except ValueError:
        print("--as-worker: is for supervisors, not for you", file=sys.stderr)
        return WRONG_CONFIGURATION
    count = 1 if shadow or place else workers or settings.runtime.workers
    fields = {"worker": place.number} if place else None
    log = settings.log
    telemetry = LogAndMetrics(log.level, log.format, settings.secrets(), fields=fields)
    try:
        if count > 1:
            return asyncio.run(_supervise(settings, telemetry, count, config))
        return asyncio.run(_serve(settings, telemetry, shadow, place))
    except OSError as error:
        print(f"cannot start: {type(error).__name__}: {error.strerror or error}", file=sys.stderr)
        return WRONG_CONFIGURATION
    finally:
        telemetry.close()


async def _serve(
    settings: Settings, telemetry: LogAndMetrics, shadow: bool, place: WorkerPlace | None
) -> int:
    from gateway.adapters.worker_line import inherited
    from gateway.runtime import Gateway  # here: a supervisor needs neither Kafka nor AWS

    line = None if place is None else inherited(place.descriptor)
    return await Gateway(settings, telemetry, is_shadow=shadow, line=line).run()


async def _supervise(
    settings: Settings, telemetry: LogAndMetrics, count: int, config: str | None
) -> int:
    from gateway.supervisor import Supervisor

    def command(worker: int, descriptor: int) -> Sequence[str]:
        ours = [sys.executable, "-m", "gateway", "run", "--as-worker", f"{worker}:{descriptor}"]
        return ours if config is None else [*ours, "--config", config]

    return await Supervisor(settings, telemetry, count, command).run()
