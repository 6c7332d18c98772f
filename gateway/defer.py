"""Which results are left in Kafka for now, and when they are read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.core.model import Operation
from gateway.core.room import ON_PURPOSE
from gateway.core.signals import ResultDeferred
from gateway.lineup import Delivery, Lineup
from gateway.ports import SignalSink
from gateway.settle import Settlement

CANARIES = 10
"""Heads of a halted operation that stay in memory, to be its canaries in turn."""
FIRST_PATIENCE_SECONDS = 1.0
LONGEST_PATIENCE_SECONDS = 60.0


class Deferrals:
    """No target takes more memory than its share, and a halted one takes next to none: what it
    cannot take now is deferred. Once it may be able to again it is wanted back: at once after a
    halt, soon while each reading back leaves less behind than the one before, else ever more
    rarely, since reading back costs work.
    """

    def __init__(self, share: int, settlement: Settlement, signals: SignalSink) -> None:
        self._share = share
        self._settlement = settlement
        self._signals = signals
        self._operations: dict[str, set[Operation]] = {}
        self._resumed: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._patience: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._counts_before: dict[str, int] = {}

    def defer(self, delivery: Delivery) -> None:
        """The record holds the watermark and leaves memory; what was tried is remembered."""
        delivery.ticket.memory = delivery.tries
        delivery.ticket.defer()
        delivery.deferred.add(delivery.target, delivery.result.job_id, delivery.ticket.offset)
        self._operations.setdefault(delivery.target, set()).add(delivery.result.operation)
        self._counts[delivery.target] = self._counts.get(delivery.target, 0) + 1
        self._settlement.forget(delivery.size_bytes)
        self._signals.emit(ResultDeferred(delivery.target, delivery.record.source))

    def must_wait(self, delivery: Delivery, lineup: Lineup, has_lane: bool) -> bool:
        """May it not be admitted now? A job of which something was deferred waits whole."""
        if delivery.deferred.blocks(delivery.target, delivery.result.job_id):
            return True
        if lineup.room.halted(delivery.result.operation) is not None:
            return has_lane or self.is_surplus(delivery, lineup)
        return lineup.waiting >= self._share

    def is_surplus(self, delivery: Delivery, lineup: Lineup) -> bool:
        """Is its operation halted, with canaries enough?"""
        operation = delivery.result.operation
        is_halted = lineup.room.halted(operation) is not None
        return is_halted and lineup.held_of(operation) >= CANARIES

    def resumed(self, target: str) -> None:
        self._resumed.add(target)
        self._patience.pop(target, None)
        self._not_before.pop(target, None)

    def too_many_retries(self, target: str, now: float) -> None:
        """Its retries are deferred, too: leave it alone for a while."""
        self._not_before[target] = now + self._patience.get(target, FIRST_PATIENCE_SECONDS)

    def wanted_back(
        self, targets: Iterable[str], lineups: Mapping[str, Lineup], now: float
    ) -> list[str]:
        """Those of `targets`, of which something is deferred, that should be read again now.
        Whoever asks must do so: the question counts as an attempt."""
        wanted = [target for target in targets if self._is_wanted(target, lineups[target], now)]
        for target in wanted:
            self._operations.pop(target, None)
            is_less = self._is_less_than_last_time(target)
            if target not in self._resumed:
                known = FIRST_PATIENCE_SECONDS if is_less else self._patience.get(target)
                patience = known or FIRST_PATIENCE_SECONDS
                self._not_before[target] = now + patience
                self._patience[target] = min(2 * patience, LONGEST_PATIENCE_SECONDS)
            self._resumed.discard(target)
        return wanted

    def _is_less_than_last_time(self, target: str) -> bool:
        """Was less deferred since the last reading back than had to be read then?"""
        count = self._counts.pop(target, 0)
        before = self._counts_before.get(target)
        self._counts_before[target] = count
        return before is not None and count < before

    def _is_wanted(self, target: str, lineup: Lineup, now: float) -> bool:
        if target in self._resumed:
            return True
        if now < self._not_before.get(target, 0.0):
            return False
        halts, operations = lineup.room.halts(), self._operations.get(target, set())
        # The halt of one operation stops no other.
        is_free = not halts or bool(operations - halts.keys())
        if is_free and lineup.waiting <= self._share / 2:
            return True
        return any(
            operation in operations
            and halt.why != ON_PURPOSE
            and not halt.is_probing
            and (
                not lineup.held_of(operation)  # nobody is left to probe it
                or lineup.room.is_given_up(operation, now)
            )
            for operation, halt in halts.items()
        )
