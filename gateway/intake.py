"""Which partitions may be read further."""

from __future__ import annotations

import asyncio

from gateway.core.backpressure import Backpressure
from gateway.core.model import Partition
from gateway.core.signals import FarAhead, IntakePaused, IntakeResumed, PartitionHeld
from gateway.partitions import Assignment
from gateway.ports import RecordSource, SignalSink

RESUME_BELOW = 0.9
"""A partition held for running too far ahead is read again below this share of `skip_ahead`."""


class Intake:
    """Pauses what must not be read further, while polling goes on.

    All partitions when a budget is used up; one partition when it has run `skip_ahead` records
    past one that is not settled, deferred or not, so that what a restart would read again stays
    bounded. What is paused belongs to one assignment: the next one begins with nothing paused.
    """

    def __init__(
        self,
        source: RecordSource,
        backpressure: Backpressure,
        skip_ahead: int,
        signals: SignalSink,
    ) -> None:
        self._source = source
        self._backpressure = backpressure
        self._skip_ahead = skip_ahead
        self._signals = signals
        self._assignment: Assignment | None = None
        self._paused: set[Partition] = set()
        self._held: set[Partition] = set()
        self._far_ahead: set[Partition] = set()
        self._paused_since = 0.0

    def watch_budgets(self, assignment: Assignment) -> None:
        """To be called after every read, and when nothing was read. Cheap."""
        self._belongs_to(assignment)
        backpressure, now = self._backpressure, asyncio.get_running_loop().time()
        lanes = assignment.deliveries.lanes
        if not backpressure.is_paused:
            if (budget := backpressure.exceeded(lanes)) is not None:
                backpressure.is_paused = True
                self._paused_since = now
                self._signals.emit(IntakePaused(budget))
                self._apply(assignment)
        elif backpressure.has_room_again(lanes):
            backpressure.is_paused = False
            self._signals.emit(IntakeResumed(now - self._paused_since))
            self._apply(assignment)

    def watch_skip_ahead(self, assignment: Assignment) -> None:
        """To be called now and then: looks at every partition."""
        self._belongs_to(assignment)
        for place, watermark in assignment.watermarks.items():
            # Where reading stands, which after a seek back is not how far it once was.
            ahead = (self._source.position(place) or 0) - watermark.committable()
            if ahead >= self._skip_ahead / 2 and place not in self._far_ahead:
                self._far_ahead.add(place)
                self._signals.emit(FarAhead(*place, ahead))
            if ahead >= self._skip_ahead and place not in self._held:
                self._held.add(place)
                self._signals.emit(PartitionHeld(*place, ahead))
            elif ahead < self._skip_ahead * RESUME_BELOW:
                self._held.discard(place)
            if not ahead:
                self._far_ahead.discard(place)
        self._apply(assignment)

    def _belongs_to(self, assignment: Assignment) -> None:
        if assignment is not self._assignment:
            self._assignment = assignment
            self._backpressure.is_paused = False
            for of_the_last in (self._paused, self._held, self._far_ahead):
                of_the_last.clear()

    def _apply(self, assignment: Assignment) -> None:
        wanted = set(assignment.watermarks) if self._backpressure.is_paused else self._held
        if wanted != self._paused:
            self._source.pause(wanted - self._paused)
            self._source.resume(self._paused - wanted)
            self._paused = set(wanted)
