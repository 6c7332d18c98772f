"""When a worker that has ended is started again."""

from __future__ import annotations

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 30.0
WELL_AFTER_SECONDS = 60.0
"""Who has run for so long had no trouble with starting."""


class Restarts:
    """The delays of one worker: 1 s and then twice the last one, 30 s at most; 1 s again after it
    has run well for a minute. Never 0: a worker that cannot start must not take the machine."""

    def __init__(self) -> None:
        self._next_seconds = FIRST_SECONDS

    def delay_after(self, ran_seconds: float) -> float:
        """Seconds to wait, now that it has ended after `ran_seconds`."""
        if ran_seconds >= WELL_AFTER_SECONDS:
            self._next_seconds = FIRST_SECONDS
        delay = self._next_seconds
        self._next_seconds = min(LONGEST_SECONDS, delay * 2)
        return delay
