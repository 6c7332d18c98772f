"""`gateway run`: deliver job results until told to stop."""

from __future__ import annotations

import asyncio
import sys

from gateway.adapters.telemetry import LogAndMetrics
from gateway.config import Settings
from gateway.runtime import Gateway


def run(settings: Settings, *, shadow: bool = False) -> int:
    """The exit code: 0 after a stop that was asked for, 2 for what a setting names and cannot be
    used (a port that is taken, a certificate that cannot be read), 1 for everything else."""
    telemetry = LogAndMetrics(settings.log.level, settings.log.format, settings.secrets())
    try:
        return asyncio.run(_serve(settings, telemetry, shadow))
    except OSError as error:
        print(f"cannot start: {type(error).__name__}: {error.strerror or error}", file=sys.stderr)
        return 2
    finally:
        telemetry.close()


async def _serve(settings: Settings, telemetry: LogAndMetrics, shadow: bool) -> int:
    return await Gateway(settings, telemetry, is_shadow=shadow).run()
