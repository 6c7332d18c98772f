"""Everything worth telling an operator, in one catalogue.

A signal is a value; `adapters/telemetry.py` turns it into a log line and a metric, by what its
class declares and nothing else. No signal holds request content: job ids, codes, members and
rules only. None is changed once made, which nothing enforces: a frozen one takes 2 µs longer to
make, and every record makes two. Levels: DEBUG and INFO are news, WARN means that something is
wrong and nothing was lost, ERROR means that an operator must act.

Gauges are not here: they are read from `statistics()` when asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from gateway.core.model import OutcomeKind, Reason, Source


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARN = "warning"
    ERROR = "error"


@dataclass(slots=True)
class Signal:
    """`counter` counts the signals by `labels` (names of fields); `amount` names a field to add
    instead of one; `histogram` names a metric that observes the field `observed` by
    `histogram_labels` (fewer than `labels`: each costs a series a bucket)."""

    event: ClassVar[str]
    level: ClassVar[Level]
    help: ClassVar[str]
    counter: ClassVar[str | None] = None
    labels: ClassVar[tuple[str, ...]] = ()
    amount: ClassVar[str | None] = None
    histogram: ClassVar[str | None] = None
    observed: ClassVar[str | None] = None
    histogram_labels: ClassVar[tuple[str, ...]] = ()


@dataclass(slots=True)
class BatchRead(Signal):
    event = "batch read"
    level = Level.DEBUG
    help = "Records read from input topics."
    counter = "gateway_records_read_total"
    amount = "records"
    records: int


@dataclass(slots=True)
class RecordRejected(Signal):
    event = "record rejected"
    level = Level.WARN
    help = "Records that are no job result and go to the dead-letter topic."
    counter = "gateway_records_rejected_total"
    labels = ("reason",)
    source: Source
    reason: Reason
    explanation: str


@dataclass(slots=True)
class RecordSkipped(Signal):
    event = "record skipped"
    level = Level.DEBUG
    help = "Records that ask nothing of the gateway."
    counter = "gateway_records_skipped_total"
    labels = ("why",)
    source: Source
    why: str


@dataclass(slots=True)
class KeylessRecord(Signal):
    event = "record without key: results of one job keep their order only within a partition"
    level = Level.WARN
    help = "Topics on which records without key were seen, once a topic."
    counter = "gateway_keyless_topics_total"
    labels = ("topic",)
    topic: str


@dataclass(slots=True)
class AttemptEnded(Signal):
    event = "attempt ended"
    level = Level.DEBUG
    help = "Calls to CodePipeline by what their answer means, and how long they took."
    counter = "gateway_attempts_total"
    labels = ("target", "operation", "verdict")
    histogram = "gateway_attempt_seconds"
    observed = "seconds"
    histogram_labels = ("target",)
    target: str
    operation: str
    verdict: str
    seconds: float
    code: str = ""


@dataclass(slots=True)
class DeliveryEnded(Signal):
    event = "delivery ended"
    level = Level.DEBUG
    help = "Job results by outcome, and the time from record timestamp to outcome."
    counter = "gateway_deliveries_total"
    labels = ("outcome", "certainty", "target")
    histogram = "gateway_delivery_seconds"
    observed = "seconds"
    histogram_labels = ("target",)
    outcome: OutcomeKind
    certainty: str
    target: str
    source: Source
    job_id: str
    attempts: int
    seconds: float


@dataclass(slots=True)
class DeliveryConflicted(Signal):
    event = "job result contradicts how its job ended"
    level = Level.WARN
    help = "Job results that contradict a known ending of their job."
    counter = "gateway_conflicts_total"
    labels = ("target",)
    source: Source
    target: str
    job_id: str


@dataclass(slots=True)
class DeliveryDeadLettered(Signal):
    event = "delivery dead-lettered"
    level = Level.ERROR
    help = "Valid job results that could not be delivered and go to the dead-letter topic."
    counter = "gateway_dead_letters_total"
    labels = ("reason", "target")
    source: Source
    target: str
    job_id: str
    reason: Reason
    code: str
    attempts: int


@dataclass(slots=True)
class RetryScheduled(Signal):
    event = "retry scheduled"
    level = Level.INFO
    help = "Attempts that will be repeated, by why."
    counter = "gateway_retries_total"
    labels = ("target", "why")
    target: str
    why: str
    job_id: str
    code: str
    attempt: int
    delay_seconds: float


@dataclass(slots=True)
class TargetHalted(Signal):
    event = "target halted: the account is in trouble, results wait"
    level = Level.ERROR
    help = "Halts of a (target, operation)."
    counter = "gateway_halts_total"
    labels = ("target", "operation", "why")
    target: str
    operation: str
    why: str
    code: str


@dataclass(slots=True)
class TargetResumed(Signal):
    event = "target resumed"
    level = Level.INFO
    help = "Halts that have ended."
    counter = "gateway_resumptions_total"
    labels = ("target", "operation")
    target: str
    operation: str
    halted_seconds: float


@dataclass(slots=True)
class ResultDeferred(Signal):
    event = "job result deferred: left in Kafka, to be read again"
    level = Level.DEBUG
    help = "Job results that were left in Kafka because their target cannot take them now."
    counter = "gateway_deferred_total"
    labels = ("target",)
    target: str
    source: Source


@dataclass(slots=True)
class SoughtBack(Signal):
    event = "deferred results are read again"
    level = Level.INFO
    help = "Times that partitions were sought back to their deferred results."
    counter = "gateway_seeks_back_total"
    labels = ("target",)
    target: str
    partitions: int


@dataclass(slots=True)
class FarAhead(Signal):
    event = "a partition has run far ahead of a result that is held"
    level = Level.WARN
    help = "Times that a partition ran half of budgets.skip_ahead past its oldest held record."
    counter = "gateway_far_ahead_total"
    labels = ("topic",)
    topic: str
    partition: int
    records: int


@dataclass(slots=True)
class PartitionHeld(Signal):
    event = "a partition is held: budgets.skip_ahead is used up"
    level = Level.ERROR
    help = "Times that a partition was paused because budgets.skip_ahead was used up."
    counter = "gateway_partitions_held_total"
    labels = ("topic",)
    topic: str
    partition: int
    records: int


@dataclass(slots=True)
class IntakePaused(Signal):
    event = "intake paused: a budget is used up"
    level = Level.INFO
    help = "Times that reading stopped because a budget was used up."
    counter = "gateway_intake_pauses_total"
    labels = ("budget",)
    budget: str


@dataclass(slots=True)
class IntakeResumed(Signal):
    event = "intake resumed"
    level = Level.INFO
    help = "Times that reading went on."
    paused_seconds: float


@dataclass(slots=True)
class PartitionsAssigned(Signal):
    event = "partitions assigned"
    level = Level.INFO
    help = "Assignments received from the group."
    counter = "gateway_assignments_total"
    partitions: int


@dataclass(slots=True)
class PartitionsRevoked(Signal):
    event = "partitions revoked"
    level = Level.INFO
    help = "Revocations, and how long they held up the group."
    counter = "gateway_revocations_total"
    histogram = "gateway_revocation_seconds"
    observed = "seconds"
    partitions: int
    unsettled: int
    seconds: float


@dataclass(slots=True)
class RetentionOvertook(Signal):
    event = "records were deleted by retention before they were settled"
    level = Level.ERROR
    help = "Offsets lost to retention below the committed offset."
    counter = "gateway_retention_overtook_total"
    labels = ("topic",)
    amount = "offsets"
    topic: str
    partition: int
    committed: int
    log_start: int
    offsets: int


@dataclass(slots=True)
class Committed(Signal):
    event = "offsets committed"
    level = Level.DEBUG
    help = "Successful commits."
    counter = "gateway_commits_total"
    partitions: int


@dataclass(slots=True)
class CommitUnknown(Signal):
    event = "commit failed: nothing is lost, results may be repeated"
    level = Level.WARN
    help = "Commits that failed or did not return in time."
    counter = "gateway_commit_failures_total"
    error: str


@dataclass(slots=True)
class ReadFailed(Signal):
    event = "reading failed, trying again"
    level = Level.WARN
    help = "Reads from Kafka that failed."
    counter = "gateway_read_failures_total"
    error: str
    retry_in_seconds: float


@dataclass(slots=True)
class NotReadyYet(Signal):
    event = "not ready yet"
    level = Level.WARN
    help = "Attempts to start consuming that found brokers or topics missing."
    counter = "gateway_start_failures_total"
    why: str
    retry_in_seconds: float


@dataclass(slots=True)
class ConsumerRecreated(Signal):
    event = "consumer recreated: it had stopped yielding records"
    level = Level.WARN
    help = "Times that a stuck consumer was replaced."
    counter = "gateway_consumer_recreations_total"
    why: str


@dataclass(slots=True)
class EndingsLearned(Signal):
    event = "endings learned from the outcomes topic"
    level = Level.DEBUG
    help = "Ended jobs learned from outcomes that other processes, or this one, have written."
    counter = "gateway_endings_learned_total"
    amount = "endings"
    endings: int


@dataclass(slots=True)
class OutcomesIgnored(Signal):
    event = "records of the outcomes topic are no outcomes: ignored, who else may write there?"
    level = Level.WARN
    help = "Records of the outcomes topic that are no outcome of a version that is known."
    counter = "gateway_outcomes_ignored_total"
    amount = "records"
    records: int
    last: Source
    """Where the last of them stands."""
    why: str


@dataclass(slots=True)
class TailBehind(Signal):
    event = "partitions begin before all outcomes were read: some results may be sent again"
    level = Level.WARN
    help = "Assignments that did not wait for the outcomes topic any longer."
    counter = "gateway_tail_behind_total"
    waited_seconds: float


@dataclass(slots=True)
class WriteDelayed(Signal):
    event = "a write to Kafka waits, its record stays unsettled"
    level = Level.WARN
    help = "Writes of outcomes and dead letters that had to be tried again."
    counter = "gateway_write_retries_total"
    labels = ("log",)
    log: str
    error: str


@dataclass(slots=True)
class UnexpectedError(Signal):
    event = "unexpected error: please report this"
    level = Level.ERROR
    help = "Errors that no rule of the gateway covers."
    counter = "gateway_unexpected_errors_total"
    labels = ("where",)
    where: str
    error: str


@dataclass(slots=True)
class InvariantViolated(Signal):
    event = "invariant violated: please report this"
    level = Level.ERROR
    help = "Must be 0: something that the gateway's own logic rules out has happened."
    counter = "gateway_invariant_violations_total"
    labels = ("invariant",)
    invariant: str
    detail: str


@dataclass(slots=True)
class TargetOpened(Signal):
    event = "target opened"
    level = Level.INFO
    help = "Clients made, with their effective endpoint and the way in which they are called."
    target: str
    region: str
    endpoint: str
    call_path: str
    """`lean`, or `botocore` and why."""


@dataclass(slots=True)
class LeanCallRefused(Signal):
    event = "the lean call is not used: botocore makes the calls, at several times the CPU"
    level = Level.WARN
    help = (
        "Times that the lean call differed from botocore's, or that AWS understood botocore only."
    )
    counter = "gateway_lean_call_refusals_total"
    labels = ("target", "why")
    target: str
    why: str
    """What differs (`body`, `url`, `headers`, `signature`, `surprise`), or AWS's code."""


@dataclass(slots=True)
class Started(Signal):
    event = "gateway started"
    level = Level.INFO
    help = "Process starts."
    version: str
    instance: str
    mode: str
    admin: str
    """Where the admin server listens: host:port."""


@dataclass(slots=True)
class Draining(Signal):
    event = "draining: no new records are read"
    level = Level.INFO
    help = "Drains begun."
    unsettled: int


@dataclass(slots=True)
class Stopped(Signal):
    event = "gateway stopped"
    level = Level.INFO
    help = "Process ends."
    unsettled: int


@dataclass(slots=True)
class WorkerStarted(Signal):
    event = "worker started"
    level = Level.INFO
    help = "Starts of a worker, by the supervisor of several."
    counter = "gateway_worker_starts_total"
    labels = ("worker",)
    worker: int
    pid: int


@dataclass(slots=True)
class WorkerEnded(Signal):
    event = "a worker has ended by itself: it is started again"
    level = Level.WARN
    help = "Ends of a worker that nobody had asked for."
    counter = "gateway_worker_ends_total"
    labels = ("worker", "how")
    worker: int
    how: str
    """Its exit code, or the signal that ended it."""
    ran_seconds: float
    restart_in_seconds: float


@dataclass(slots=True)
class WorkerSilent(Signal):
    event = "a worker has not answered for a minute: it is killed and started again"
    level = Level.WARN
    help = "Times that a worker hung and was killed."
    counter = "gateway_worker_silences_total"
    labels = ("worker",)
    worker: int
    pid: int


@dataclass(slots=True)
class WorkersLeft(Signal):
    event = "all workers have left"
    level = Level.INFO
    help = "Ends of a supervisor."
    exit_code: int


def catalogue() -> Iterator[type[Signal]]:
    """Every kind of signal, in the order of this file."""
    for value in globals().values():
        if isinstance(value, type) and issubclass(value, Signal) and value is not Signal:
            yield value
