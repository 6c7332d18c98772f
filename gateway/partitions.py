"""What happens when partitions come and go, and the one committer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass

from gateway.core import note
from gateway.core.deferred import Deferred
from gateway.core.model import CommitPoint, Partition, Record
from gateway.core.signals import (
    Committed,
    CommitUnknown,
    PartitionsAssigned,
    PartitionsRevoked,
    RetentionOvertook,
    SoughtBack,
)
from gateway.core.watermark import Ticket, Watermark
from gateway.deliver import Deliveries
from gateway.ports import Assigned, CommitFailed, RecordSource, SignalSink
from gateway.settle import Settlement

CatchUp = Callable[[], Awaitable[object]]
"""Waits, for a bounded time, until we know what other replicas have ended. Never raises."""


CONFIRM_SECONDS = 60.0
"""How often everything is committed again that has not moved: a late commit of an earlier owner
may have set the group back since, and would show as lag until the next record comes."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long leaving an assignment may take. Their sum bounds a revocation."""

    calls_seconds: float
    """For the calls under way: the attempt time-out."""
    writes_seconds: float
    """For outcomes and dead letters on their way to the broker."""


class Assignment:
    """What we own from one assignment to the next revocation. Never reused: a new assignment has
    new watermarks and new deliveries, so that nothing old can move anything new.

    A note is believed beside the offset that it was committed with, and only if reading begins
    there: where it does not, offsets may mean other records. `note_key` is the replicas' own.
    """

    def __init__(
        self, assigned: Sequence[Assigned], deliveries: Deliveries, note_key: bytes
    ) -> None:
        self.deliveries = deliveries
        self._note_key = note_key
        self._clusters = {one.partition: one.cluster for one in assigned}
        self._writes_notes = True
        self.watermarks = {
            one.partition: Watermark(one.start, _settled_before(one, note_key)) for one in assigned
        }
        self.deferred = {one.partition: Deferred() for one in assigned}
        self._log_ends = {one.partition: one.log_end for one in assigned}
        self._committed = {
            one.partition: CommitPoint(one.committed, one.note)
            for one in assigned
            if one.committed is not None
        }

    def begin(self, record: Record) -> Ticket | None:
        """The duty for this record; None if it is not ours, or not any more."""
        watermark = self.watermarks.get(Partition(record.topic, record.partition))
        return watermark.begin(record.offset, record.timestamp) if watermark else None

    def may_be_tried_before(self, record: Record) -> bool:
        """An earlier owner may have read this record: it was there when we came."""
        return record.offset < self._log_ends[Partition(record.topic, record.partition)]

    def deferred_of(self, record: Record) -> Deferred:
        """What the record's partition has left in Kafka."""
        return self.deferred[Partition(record.topic, record.partition)]

    def oldest_unsettled(self) -> float | None:
        """The timestamp of the oldest record that is not settled: of each partition's oldest."""
        oldest = (watermark.oldest_unsettled() for watermark in self.watermarks.values())
        stamped = (ticket.timestamp for ticket in oldest if ticket and ticket.timestamp > 0)
        return min(stamped, default=None)

    def unsettled(self) -> int:
        """Records begun and not settled; the deferred are not among them."""
        return sum(watermark.unsettled for watermark in self.watermarks.values())

    def seek_back(self, source: RecordSource) -> dict[str, int]:
        """Reads again what was deferred for targets that may take it now. Returns how many
        partitions were sought back, by target."""
        targets = set[str]().union(*(one.targets() for one in self.deferred.values()))
        wanted = self.deliveries.wanted_back(targets) if targets else []
        return {target: self._seek_back(target, source) for target in wanted}

    def _seek_back(self, target: str, source: RecordSource) -> int:
        sought = 0
        for partition, deferred in self.deferred.items():
            offset = deferred.take_back(target)
            # Two targets may be wanted back at once: the lower offset serves both.
            if offset is not None and offset < (source.position(partition) or 0):
                source.seek(partition, offset)
                sought += 1
        return sought

    def uncommitted(self) -> dict[Partition, CommitPoint]:
        """Where each partition may be committed that has moved since its last commit."""
        points = {partition: self._point(partition) for partition in self.watermarks}
        return {
            partition: point
            for partition, point in points.items()
            if point != self._committed.get(partition)
        }

    def _point(self, partition: Partition) -> CommitPoint:
        watermark = self.watermarks[partition]
        offset = watermark.committable()
        if not self._writes_notes:
            return CommitPoint(offset)
        cluster = self._clusters[partition]
        return CommitPoint(
            offset, note.encode(watermark.settled_bits(), offset, cluster, self._note_key)
        )

    def committed(self, points: Mapping[Partition, CommitPoint]) -> None:
        self._committed.update(points)
        self._writes_notes = True

    def confirm_commits(self) -> None:
        """Commit everything again, whether it has moved or not."""
        self._committed.clear()

    def forget_commits(self) -> None:
        """What is committed now is unknown, for every partition: commit again, without notes, as
        one note that the broker refuses fails the commit of all."""
        self._committed.clear()
        self._writes_notes = False


def _settled_before(one: Assigned, key: bytes) -> list[note.Run]:
    overtaken = one.committed is not None and one.committed < one.start == one.log_start
    if one.committed is None or not (one.start == one.committed or overtaken):
        return []
    return note.decode(one.note, one.committed, one.cluster, key)


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
        note_key: bytes,
        catch_up: CatchUp | None = None,
    ) -> None:
        self._note_key = note_key
        self._catch_up = catch_up
        self._new_deliveries = new_deliveries
        self._settlement = settlement
        self._patience = patience
        self._signals = signals
        self._source: RecordSource | None = None
        self._committing = asyncio.Lock()
        self._revoking = asyncio.Lock()
        self._confirm_at = 0.0
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
        if self._catch_up is not None and assigned:
            await self._catch_up()  # what earlier owners ended last may not be committed
        self.current = Assignment(assigned, self._new_deliveries(), self._note_key)
        self.was_assigned = True
        self._signals.emit(PartitionsAssigned(len(assigned)))

    async def partitions_revoked(self) -> None:
        """No new attempts; calls under way may end; what is settled is committed.

        Who leaves calls this, and so does the source when another member leaves at the same time:
        neither returns before that is done, since the source then takes commits no more.
        """
        async with self._revoking:
            await self._revoke()

    async def _revoke(self) -> None:
        assignment = self.current
        if assignment is None:
            return
        # Only now: what a read still under way returns from here on is nobody's, and passed over.
        self._jump_gaps(assignment)
        self.current = None
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
                self._jump_gaps(assignment)
                self._confirm_in_time(assignment)
                await self._commit(assignment)

    def _confirm_in_time(self, assignment: Assignment) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._confirm_at:
            self._confirm_at = now + CONFIRM_SECONDS
            assignment.confirm_commits()

    def seek_back(self) -> None:
        """Reads again what was deferred and may be tried now."""
        if self.current is not None and self._source is not None:
            for target, partitions in self.current.seek_back(self._source).items():
                self._signals.emit(SoughtBack(target, partitions))

    async def _commit(self, assignment: Assignment) -> None:
        if self._source is not None:
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

    def _jump_gaps(self, assignment: Assignment) -> None:
        """Offsets that no record will ever have (markers, compaction) show as no lag. True only
        while all that was read is admitted."""
        for partition, watermark in assignment.watermarks.items():
            position = self._source.position(partition) if self._source is not None else None
            if position is not None and not watermark.unsettled and not watermark.deferred:
                watermark.skip_to(position)


async def _within(seconds: float, wait: Coroutine[None, None, None]) -> None:
    """Waits no longer than this; what is not done by then stays unsettled."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(wait, seconds)
