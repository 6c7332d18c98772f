"""What a person waits for: the command line, from nothing."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.events import events
from benchmarks.stage import ENVIRONMENT

ROUNDS = 7


def help_seconds() -> float:
    return _best(("--help",))


def explain_seconds() -> float:
    ((_, value),) = events(0, 1)
    return _best(("explain", "-"), value)


def _best(arguments: tuple[str, ...], given: bytes = b"") -> float:
    return min(_once(arguments, given) for _ in range(ROUNDS))


def _once(arguments: tuple[str, ...], given: bytes) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        input=given,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began
