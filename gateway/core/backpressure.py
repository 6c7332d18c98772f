"""May more be read? Budgets for what waits in memory."""

from __future__ import annotations

from dataclasses import dataclass

RESUME_BELOW = 0.7
"""Reading goes on when every budget is used by less than this share: a pause throws prefetched
records away, so it must not flap."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """What may wait in memory at once. A batch that is read already may go past them."""

    records: int
    bytes: int
    lanes: int


class Backpressure:
    """Memory is bounded: past a budget nothing more is read until all are well below."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self.records = 0
        self.bytes = 0
        self.is_paused = False

    def take(self, size_bytes: int) -> None:
        """A record has begun."""
        self.records += 1
        self.bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """A record has settled, or was forgotten."""
        self.records -= 1
        self.bytes -= size_bytes

    def exceeded(self, lanes: int) -> str | None:
        """The name of a budget that is used up, or None."""
        budgets = self._budgets
        if self.records >= budgets.records:
            return "records"
        if self.bytes >= budgets.bytes:
            return "bytes"
        return "lanes" if lanes >= budgets.lanes else None

    def has_room_again(self, lanes: int) -> bool:
        budgets = self._budgets
        return (
            self.records <= budgets.records * RESUME_BELOW
            and self.bytes <= budgets.bytes * RESUME_BELOW
            and lanes <= budgets.lanes * RESUME_BELOW
        )
