"""When a consumer has stopped working without saying so (aiokafka#1154, #1037, #727)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)


class Lagging(Generic[P]):
    """For how long each partition has had records to read and has not moved.

        position        7 . . . 7 . . . 7 . . . 9
        end of log      7 . . . 8 . . . 9 . . . 9
                                |------ lags ---|

    A partition that was idle does not lag from the moment it fell idle, but from the first look
    that found something behind its position.
    """

    def __init__(self) -> None:
        self._since: dict[P, tuple[int, float]] = {}

    def observe(self, positions: Mapping[P, int], ends: Mapping[P, int], now: float) -> float:
        """The longest of these times, in seconds. Partitions left out start afresh."""
        since = {}
        for partition, position in positions.items():
            if ends[partition] <= position:
                continue
            before, start = self._since.get(partition, (position, now))
            since[partition] = (position, start if before == position else now)
        self._since = since
        return max((now - start for _, start in since.values()), default=0.0)

    def forget(self) -> None:
        """Nothing is known: brokers do not answer, or nobody reads."""
        self._since = {}
