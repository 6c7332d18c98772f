"""The story of a record, from source to settled.

    source ─► decode ─► route ─► lane ─► known ending? ─► room ─► attempt ─► outcome ─► settle
                │         │      └──────────────── deliver.py ───────────┘  └─ settle.py ─┘
                └─rejected┴──────────────────────────────────► dead letter ──────┘
                                                                        commit: partitions.py

Every record that is begun is settled exactly once, or read again by the next owner of its
partition. Admission never waits for AWS: waiting has two named places, a lane (order) and a room
(concurrency), and when too much waits the intake pauses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.core.model import (
    Certainty,
    DeadLetter,
    JobResult,
    Outcome,
    OutcomeKind,
    Reason,
    Record,
    Rejection,
    Skipped,
    Violation,
)
from gateway.core.signals import (
    BatchRead,
    KeylessRecord,
    RecordRejected,
    RecordSkipped,
    UnexpectedError,
)
from gateway.core.steps import Tries
from gateway.core.watermark import Ticket
from gateway.deliver import World
from gateway.intake import Intake
from gateway.lineup import Delivery
from gateway.partitions import Assignment, Partitions
from gateway.ports import RecordSource, SignalSink
from gateway.settle import Settlement

POLL_SECONDS = 0.2
"""How long one read waits for records. While the intake is paused it is also how soon it is
noticed that there is room again."""

TEND_SECONDS = 0.05


class Decoder(Protocol):
    """core/decode.py: never raises."""

    def decode(self, record: Record, now: float) -> JobResult | Rejection | Skipped: ...


class Routes(Protocol):
    """core/routing.py."""

    def route(self, topic: str, named: str | None) -> str | Rejection: ...


class Admission:
    """One record in, synchronously: rejected, skipped, or on its way as a delivery."""

    def __init__(
        self,
        decoder: Decoder,
        routes: Routes,
        deadlines: Mapping[str, float],
        settlement: Settlement,
        world: World,
    ) -> None:
        self._decoder = decoder
        self._routes = routes
        self._deadlines = deadlines
        self._settlement = settlement
        self._world = world
        self._keyless_topics: set[str] = set()

    def admit(self, record: Record, assignment: Assignment) -> None:
        """Begins the record, if it is ours to do."""
        ticket = assignment.begin(record)
        if ticket is None:
            return
        if record.key is None:
            self._warn_of_keyless(record.topic)
        size_bytes = record.size_bytes
        self._settlement.begin(size_bytes)
        meaning = self._understand(record)
        match meaning:
            case JobResult():
                self._route(meaning, record, ticket, size_bytes, assignment)
            case Rejection():
                self._reject(meaning, record, ticket, size_bytes, "decode")
            case Skipped():
                self._world.signals.emit(RecordSkipped(record.source, meaning.why))
                self._settlement.skip(ticket, size_bytes)

    def _understand(self, record: Record) -> JobResult | Rejection | Skipped:
        """One record that we cannot cope with must not stop every owner of its partition in turn:
        an unexpected error while decoding is a rejection."""
        try:
            return self._decoder.decode(record, self._world.wall())
        except Exception as error:  # whatever it is, it is this record's rejection `internal`
            name = type(error).__name__
            self._world.signals.emit(UnexpectedError("decode", name))
            return Rejection(Reason.INTERNAL, (Violation("$", f"could not be read: {name}"),))

    def _route(
        self,
        result: JobResult,
        record: Record,
        ticket: Ticket,
        size_bytes: int,
        assignment: Assignment,
    ) -> None:
        target = self._routes.route(record.topic, result.named_target)
        if isinstance(target, Rejection):
            self._reject(target, record, ticket, size_bytes, "route", result)
            return
        # Kafka's -1, no timestamp, is no reason to take the first throttle for the last.
        written = record.timestamp if record.timestamp >= 0 else self._world.wall()
        own_deadline = written + self._deadlines[target]
        assignment.deliveries.admit(
            Delivery(
                result,
                record,
                ticket,
                size_bytes,
                target,
                own_deadline if result.deadline is None else min(own_deadline, result.deadline),
                assignment.may_be_tried_before(record),
                assignment.deferred_of(record),
                ticket.memory if isinstance(ticket.memory, Tries) else Tries(),
            )
        )

    def _reject(
        self,
        rejection: Rejection,
        record: Record,
        ticket: Ticket,
        size_bytes: int,
        stage: str,
        result: JobResult | None = None,
    ) -> None:
        time = self._world.wall()
        explanation = str(rejection)
        job_id = result.job_id if result else rejection.job_id
        operation = result.operation if result else rejection.operation
        self._world.signals.emit(RecordRejected(record.source, rejection.reason, explanation))
        letter = DeadLetter(
            record, rejection.reason, explanation, time, stage, job_id=job_id, operation=operation
        )
        outcome = Outcome(
            OutcomeKind.DEAD_LETTERED,
            Certainty.CONFIRMED,
            record.source,
            time,
            job_id=job_id,
            operation=operation,
            reason=rejection.reason,
            traceparent=result.traceparent if result else rejection.traceparent,
        )
        self._settlement.dead_letter(letter, outcome, ticket, size_bytes)

    def _warn_of_keyless(self, topic: str) -> None:
        if topic not in self._keyless_topics:
            self._keyless_topics.add(topic)
            self._world.signals.emit(KeylessRecord(topic))


class Flow:
    """Reads, admits, and keeps within the budgets, until told to stop."""

    def __init__(
        self,
        source: RecordSource,
        partitions: Partitions,
        admission: Admission,
        intake: Intake,
        signals: SignalSink,
        max_batch_records: int,
    ) -> None:
        self._source = source
        self._partitions = partitions
        self._admission = admission
        self._intake = intake
        self._signals = signals
        self._max_batch_records = max_batch_records
        self._is_reading = True
        self._tend_again_at = 0.0
        self._untended_records = 0

    async def read(self) -> None:
        """Returns after `stop_reading`, within one poll. Everything read by then has begun."""
        while self._is_reading:
            records = await self._source.next_batch(self._max_batch_records, POLL_SECONDS)
            # From here to the end of the batch nothing is awaited: the assignment that the
            # records belong to cannot change under them.
            if (assignment := self._partitions.current) is not None:
                self._admit(records, assignment)
                self._intake.watch_budgets(assignment)
                self._tend(assignment, len(records))

    def _tend(self, assignment: Assignment, records: int) -> None:
        """What looks at every target and every partition, and so not after every small batch."""
        now = asyncio.get_running_loop().time()
        self._untended_records += records
        if now >= self._tend_again_at or self._untended_records >= self._max_batch_records:
            self._tend_again_at = now + TEND_SECONDS
            self._untended_records = 0
            assignment.deliveries.nudge()
            self._partitions.seek_back()
            self._intake.watch_skip_ahead(assignment)

    def stop_reading(self) -> None:
        self._is_reading = False

    async def drain(self) -> None:
        """Returns when nothing more will come of what has begun, but for what a halt holds."""
        while (assignment := self._partitions.current) is not None:
            if assignment.unsettled() == 0 or assignment.deliveries.is_at_rest():
                return
            await asyncio.sleep(POLL_SECONDS / 4)

    async def commit_every(self, seconds: float) -> None:
        """Commits for ever."""
        while True:
            await asyncio.sleep(seconds)
            await self._partitions.commit()

    def _admit(self, records: Sequence[Record], assignment: Assignment) -> None:
        for record in records:
            self._admission.admit(record, assignment)
        if records:
            self._signals.emit(BatchRead(len(records)))
