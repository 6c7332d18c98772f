"""What the flow needs from the world, and what the world must promise.

Every promise is checked by tests/contracts, on the real adapter and on the simulation alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from gateway.core.model import (
    CommitPoint,
    DeadLetter,
    Failure,
    JobResult,
    Outcome,
    Partition,
    Record,
)
from gateway.core.signals import Signal


class CommitFailed(Exception):
    """The commit may or may not have landed; what is committed now is unknown."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """One partition as it stands at the moment it became ours."""

    partition: Partition
    start: int
    """Offset of the first record that will be delivered."""
    log_start: int
    log_end: int
    """Offset after the last record at the moment of assignment: what lies below may have been
    tried by an earlier owner."""
    committed: int | None
    """What the group had committed; None if nothing. Below `log_start`: retention overtook us."""
    note: str = ""
    """The metadata beside that commit, from the same read; believed only by core/note.py."""
    cluster: str = ""


class AssignmentListener(Protocol):
    """Told by the source, one call at a time, never both at once."""

    async def partitions_assigned(self, assigned: Sequence[Assigned]) -> None:
        """All partitions of the new assignment, kept ones included: every one starts anew.

        No record of the new assignment is returned by `next_batch` before this has returned.
        """

    async def partitions_revoked(self) -> None:
        """All partitions are about to go (rebalancing is eager). Commits made in here count."""


class RecordSource(Protocol):
    """Records in, commits out."""

    async def next_batch(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """Up to `max_records` records, in offset order within a partition, empty after the
        time-out. Never returns a record of a paused or revoked partition. Must be called
        regularly, also while everything is paused. Never raises for trouble with brokers: it
        signals, waits with back-off and returns nothing.
        """

    def pause(self, partitions: AbstractSet[Partition]) -> None:
        """Return no more records of these. Partitions that are not assigned are ignored."""

    def resume(self, partitions: AbstractSet[Partition]) -> None: ...

    def seek(self, partition: Partition, offset: int) -> None:
        """The next record returned of this partition is the first at or after `offset`."""

    def position(self, partition: Partition) -> int | None:
        """Offset after the last record returned, gaps skipped; None if not assigned."""

    def log_end(self, partition: Partition) -> int | None:
        """Last known end of the log, for lag; None if unknown."""

    async def commit(self, points: Mapping[Partition, CommitPoint]) -> None:
        """Durable when it returns. Raises CommitFailed, also when it takes longer than the
        commit time-out. One call at a time."""


class CodePipeline(Protocol):
    """The four calls. One attempt is one call; nothing behind this retries."""

    async def put(self, target: str, result: JobResult) -> Failure | None:
        """None: CodePipeline has accepted the result (a 2xx with a request id).

        Returns within the attempt time-out. Never raises for anything the world does; only
        cancellation passes.
        """


class OutcomeLog(Protocol):
    """The outcomes topic."""

    def append(self, outcome: Outcome, when_durable: Callable[[], None], /) -> None:
        """Calls `when_durable` exactly once, after the broker has acknowledged the outcome, from
        the event loop, never from within `append`. Tries for ever; waits when brokers are gone.
        """

    def pending(self) -> int:
        """Outcomes appended and not yet durable."""


class DeadLetterLog(Protocol):
    """The dead-letter topic. Same promise as OutcomeLog."""

    def append(self, dead_letter: DeadLetter, when_durable: Callable[[], None], /) -> None: ...

    def pending(self) -> int: ...


class EndingsFeed(Protocol):
    """Whoever wants to know how jobs ended."""

    def learn(self, outcome: Outcome, /) -> bool:
        """True if it was news. Never raises, whatever the outcome says."""

    def knows(self, job_id: str, /) -> bool:
        """True only if nothing that an outcome of this job could say would be news."""


class OutcomeTail(Protocol):
    """The outcomes of all replicas, as they become durable, into an EndingsFeed. Our own ones
    come back, too. Some may be missing and some come again: they are hints, not a ledger."""

    async def wait_caught_up(self, timeout_seconds: float, /) -> bool:
        """Returns when everything that was durable at the moment of the call has been fed, or at
        the time-out: then False. Never raises."""


class SignalSink(Protocol):
    """Where signals go: logs, metrics."""

    def emit(self, signal: Signal) -> None:
        """Never raises, never blocks."""


class WallClock(Protocol):
    def __call__(self) -> float:
        """Seconds since the epoch. May jump."""
