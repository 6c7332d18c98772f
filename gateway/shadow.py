"""`gateway run --shadow`: the same story with nothing at its end.

Records are read by a group of its own, decoded, validated and routed; no call is made, nothing is
written and nothing committed. What would have become of them is in the log, in the metrics and in
`/status`. Duplicates are found as usual; what only AWS could say (conflicts, refusals) is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.core.model import DeadLetter, Failure, JobResult, Outcome


class NoCalls:
    """ports.CodePipeline that calls nobody: every valid result counts as accepted."""

    async def put(self, target: str, result: JobResult) -> Failure | None:
        return None


class NoLog:
    """ports.OutcomeLog and ports.DeadLetterLog that write nothing: at once as good as durable."""

    trouble: str | None = None

    def start(self) -> None:
        """There is nothing to open."""

    async def stop(self, timeout_seconds: float) -> None:
        """There is nothing to close."""

    def append(self, entry: Outcome | DeadLetter, when_durable: Callable[[], None], /) -> None:
        asyncio.get_running_loop().call_soon(when_durable)

    def pending(self) -> int:
        return 0
