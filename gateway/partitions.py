"""What happens when partitions come and go, and the one committer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass

from gateway.core.model import CommitPoint, Partition, Record
from gateway.core.signals import (
    Committed,
    CommitUnknown,
    PartitionsAssigned,
    PartitionsRevoked,
    RetentionOvertook,
)
from gateway.core.watermark import Ticket, Watermark
from gateway.deliver import Deliveries
from gateway.ports import Assigned, CommitFailed, RecordSource, SignalSink
from gateway.settle import Settlement


@dataclass(frozen=True, slots=True)
class Patience:
    """How long leaving an assignment may take. Their sum bounds a revocation."""

    calls_seconds: float
    """For the calls under way: the attempt time-out."""
    writes_seconds: float
    """For outcomes and dead letters on their way to the broker."""


class Assignment:
    """What we own from one assignment to the next revocation. Never reused: a new assignment has
    new watermarks and new deliveries, so that nothing old can move anything new."""

    def __init__(self, assigned: Sequence[Assigned], deliveries: Deliveries) -> None:
        self.deliveries = deliveries
        self.watermarks = {one.partition: Watermark(one.start) for one in assigned}
        self._log_ends = {one.partition: one.log_end for one in assigned}
        self._committed: dict[Partition, int] = {
            one.partition: one.committed for one in assigned if one.committed is not None
        }

    def begin(self, record: Record) -> Ticket | None:
        """The duty for this record; None if it is not ours, or not any more."""
        watermark = self.watermarks.get(Partition(record.topic, record.partition))
        return watermark.begin(record.offset, record.timestamp) if watermark else None

    def may_be_tried_before(self, record: Record) -> bool:
        """An earlier owner may have read this record: it was there when we came."""
        return record.offset < self._log_ends[Partition(record.topic, record.partition)]

    def oldest_unsettled(self) -> float | None:
        """The timestamp of the oldest record that is not settled: of each partition's oldest."""
        oldest = (watermark.oldest_unsettled() for watermark in self.watermarks.values())
        return min((ticket.timestamp for ticket in oldest if ticket), default=None)

    def unsettled(self) -> int:
        return sum(watermark.unsettled for watermark in self.watermarks.values())

    def uncommitted(self) -> dict[Partition, CommitPoint]:
        """Where each partition may be committed that has moved since its last commit."""
        return {
            partition: CommitPoint(watermark.committable())
            for partition, watermark in self.watermarks.items()
            if watermark.committable() != self._committed.get(partition)
        }

    def committed(self, points: Mapping[Partition, CommitPoint]) -> None:
        self._committed.update({partition: point.offset for partition, point in points.items()})

    def forget_commits(self) -> None:
        """What is committed now is unknown, for every partition."""
        self._committed.clear()


class Partitions:
    """Owns the current assignment and is the only one who commits.

    A commit never passes an unsettled record, and none begins after a revocation has begun its
    own. Told by the source (ports.AssignmentListener).
    """

    def __init__(
        self,
        new_deliveries: Callable[[], Deliveries],
        settlement: Settlement,
        patience: Patience,
        signals: SignalSink,
    ) -> None:
        self._new_deliveries = new_deliveries
        self._settlement = settlement
        self._patience = patience
        self._signals = signals
        self._source: RecordSource | None = None
        self._committing = asyncio.Lock()
        self.current: Assignment | None = None
        self.was_assigned = False

    def attach(self, source: RecordSource) -> None:
        """The source that tells us about partitions, and to which we commit."""
        self._source = source

    async def partitions_assigned(self, assigned: Sequence[Assigned]) -> None:
        for one in assigned:
            if one.committed is not None and one.committed < one.log_start:
                self._signals.emit(
                    RetentionOvertook(
                        *one.partition, one.committed, one.log_start, one.log_start - one.committed
                    )
                )
        self.current = Assignment(assigned, self._new_deliveries())
        self.was_assigned = True
        self._signals.emit(PartitionsAssigned(len(assigned)))

    async def partitions_revoked(self) -> None:
        """No new attempts; calls under way may end; what is settled is committed."""
        assignment, self.current = self.current, None
        if assignment is None:
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        assignment.deliveries.stop()
        await _within(self._patience.calls_seconds, assignment.deliveries.wait_calls())
        await _within(self._patience.writes_seconds, self._settlement.wait_durable())
        async with self._committing:
            await self._commit(assignment)
        self._signals.emit(
            PartitionsRevoked(
                len(assignment.watermarks), assignment.unsettled(), loop.time() - began
            )
        )

    async def commit(self) -> None:
        """Commits what has settled since the last commit. Never raises for a failed one."""
        assignment = self.current
        if assignment is None:
            return
        async with self._committing:
            if assignment is self.current:  # else a revocation has overtaken us
                await self._commit(assignment)

    async def _commit(self, assignment: Assignment) -> None:
        if self._source is not None:
            self._jump_gaps(assignment, self._source)
            points = assignment.uncommitted()
            if not points:
                return
            try:
                await self._source.commit(points)
            except CommitFailed as failed:
                assignment.forget_commits()
                self._signals.emit(CommitUnknown(str(failed)))
            else:
                assignment.committed(points)
                self._signals.emit(Committed(len(points)))

    def _jump_gaps(self, assignment: Assignment, source: RecordSource) -> None:
        """Offsets that no record will ever have (markers, compaction) show as no lag."""
        for partition, watermark in assignment.watermarks.items():
            position = source.position(partition)
            if position is not None and watermark.unsettled == 0:
                watermark.skip_to(position)


async def _within(seconds: float, wait: Coroutine[None, None, None]) -> None:
    """Waits no longer than this; what is not done by then stays unsettled."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(wait, seconds)
