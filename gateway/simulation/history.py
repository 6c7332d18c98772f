"""What happened, as far as it outlives a SIGKILL: the facts that `simulation/judge.py` judges.

Pure: no I/O, no clock, nothing of ours. The facts are the input topic (already read by
`simulation/reading.py`), CodePipeline's books, the outcomes, the dead letters and the commits.
Where a history leaves two explanations open, the questions here answer for the harmless one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

K = TypeVar("K")
V = TypeVar("V")

ACCEPTED = "accepted"
"""The answer of a call that CodePipeline took; every other answer is AWS's error code."""

REJECTIONS = frozenset({"malformed", "invalid", "unroutable", "internal"})
DELIVERED_KINDS = frozenset({"accepted", "duplicate", "already-ended", "conflict"})
ENDED = frozenset({"InvalidJobStateException"})
UNKNOWN_JOB = frozenset({"JobNotFoundException"})
EVENT_FAULTS = frozenset(
    {
        "ValidationException",
        "ValidationError",
        "OutputVariablesSizeExceededException",
        "InvalidClientTokenException",
        "RequestEntityTooLargeException",
        "SerializationException",
        "413",
    }
)
THROTTLES = frozenset({"ThrottlingException"})
REFUSALS = ENDED | UNKNOWN_JOB | EVENT_FAULTS
SECOND_OPINIONS = frozenset({"SerializationException"})
"""Refusals that may be owed to how the request was made: it may be made once more, another way."""
ACCOUNT_FAULTS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "AccessDenied",
        "AccessDeniedException",
        "NotAuthorized",
        "UnauthorizedOperation",
        "OptInRequired",
        "IncompleteSignature",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "UnknownOperationException",
        "401",
        "403",
    }
)


class Source(NamedTuple):
    """Where a record stands in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Content(NamedTuple):
    """What a result says, and of which job: equal for identical copies, client tokens aside."""

    account: str
    job_id: str
    operation: str
    digest: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of an input topic. `content` is None if it cannot be read as a request."""

    source: Source
    timestamp: float
    content: Content | None = None
    is_null: bool = False
    expected: str | None = None
    """What its author meant it to be: `valid`, `rejected` or `skipped`; None: unknown."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one of the four operations, as CodePipeline's books have it."""

    content: Content
    begun: float
    ended: float
    answer: str
    instance: str = ""
    """The process that called."""
    was_applied: bool = False
    was_delivered: bool | None = True
    """Whether the answer reached the caller's side of the connection; None: nobody knows, the
    wire was cut or the caller frozen at that time."""


@dataclass(frozen=True, slots=True)
class Ended:
    """One record of the outcomes topic. `timestamp` is Kafka's, `time` what the outcome says."""

    source: Source
    kind: str
    certainty: str
    timestamp: float
    time: float
    reason: str | None = None
    job_id: str | None = None
    operation: str | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """One record of the dead-letter topic."""

    source: Source
    reason: str
    is_unchanged: bool = True
    """Key, value and headers are the original's, or it says that it was truncated."""
    moment: str = ""
    """When it was written, in its own words: a write made again says the same."""
    appended: float | None = None
    """When the broker took it; None: its timestamp is the original record's."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One committed offset, and the offsets that its note declares settled ahead of it."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    ahead: frozenset[int] = frozenset()


class Lapse(NamedTuple):
    """A process may not have heard in this time that its partitions were gone: it was frozen, or
    cut off from the brokers, and a little later."""

    instance: str
    since: float
    until: float


@dataclass(frozen=True)
class History:
    """Everything that outlived the processes. Times are seconds since the epoch."""

    entries: Sequence[Entry] = ()
    calls: Sequence[Call] = ()
    outcomes: Sequence[Ended] = ()
    letters: Sequence[Letter] = ()
    commits: Sequence[Commit] = ()
    handovers: Sequence[float] = ()
    """When partitions may have changed hands: crashes, and generations of the group after the
    first."""
    generations: Sequence[float] | None = None
    """Those handovers at which partitions were assigned; None: all of them."""
    lapses: Sequence[Lapse] = ()
    starts: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """First offset that was the gateway's to read, where that is not the first one recorded."""
    early_attempts: int = 2
    """Further attempts that a refused first attempt may make because the job may be too young."""
    attempt_timeout_seconds: float = 10.0
    skew_seconds: float = 0.0
    """How far the clocks of brokers, books and gateways may disagree."""
    may_give_up: bool = False
    """The operator has told the gateway to give deliveries up (`on_halt`)."""


_UNREAD = Content("", "", "", "")


class Finding(NamedTuple):
    """A guarantee broken once, as a predicate reports it."""

    guarantee: str
    subject: str
    detail: str
    is_count: bool = False
    """Counts as lost, reordered or needless, besides being a violation."""


class Lookup:
    """The history, arranged for looking up. Holds no judgement."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.handovers = sorted(history.handovers)
        generations = history.generations
        self.generations = self.handovers if generations is None else sorted(generations)
        self.entries = {entry.source: entry for entry in history.entries if self._is_ours(entry)}
        self.outcomes = grouped(
            sorted(history.outcomes, key=lambda ended: ended.timestamp), lambda ended: ended.source
        )
        self.letters = grouped(history.letters, lambda letter: letter.source)
        calls = sorted(history.calls, key=lambda call: call.begun)
        self.calls = grouped(calls, lambda call: call.content)
        self.calls_by_job = grouped(calls, lambda call: call.content[:2])
        valid = [entry for entry in self.entries.values() if self.is_valid(entry)]
        self.valid = grouped(valid, lambda entry: entry.content or _UNREAD)
        self.passes = _Passes(history.commits)

    def _is_ours(self, entry: Entry) -> bool:
        return entry.source.offset >= self.history.starts.get(entry.source[:2], 0)

    def first_outcome(self, entry: Entry) -> Ended | None:
        outcomes = self.outcomes.get(entry.source)
        return outcomes[0] if outcomes else None

    def calls_of(self, entry: Entry) -> list[Call]:
        """The calls that this record, or an identical one, can have caused, by when they began."""
        return self.calls.get(entry.content, []) if entry.content else []

    def is_skipped(self, entry: Entry) -> bool:
        return entry.is_null or entry.expected == "skipped"

    def is_valid(self, entry: Entry) -> bool:
        if entry.content is None or self.is_skipped(entry):
            return False
        if entry.expected is not None:
            return entry.expected == "valid"
        outcome = self.first_outcome(entry)
        return outcome is None or outcome.reason not in REJECTIONS

    def is_dead_lettered(self, entry: Entry) -> bool:
        return any(ended.kind == "dead-lettered" for ended in self.outcomes.get(entry.source, ()))

    def is_answered(self, call: Call) -> bool:
        """Whether the caller has surely read the answer: a slow one may have met a time-out."""
        limit = self.history.attempt_timeout_seconds / 2
        return call.was_delivered is True and call.ended - call.begun < limit

    def is_conclusive(self, call: Call) -> bool:
        """Whether the caller has surely read a conclusive answer."""
        return self.is_answered(call) and _concludes(call)

    def may_be_conclusive(self, call: Call) -> bool:
        """Whether the caller may have read one, slow as it was, or cut as the wire was."""
        return call.was_delivered is not False and _concludes(call)

    def term(self, call: Call) -> tuple[str, int]:
        return call.instance, self.handovers_until(call.begun)

    def assigned(self, call: Call) -> float:
        """When the caller was assigned its partitions, at the earliest: from then on it may have
        known what was committed. Minus infinity: from the beginning."""
        skew = self.history.skew_seconds
        known = call.begun - skew
        for lapse in self.history.lapses:
            if lapse.instance == call.instance and lapse.since <= call.begun <= lapse.until:
                known = min(known, lapse.since - skew)
        at = bisect_right(self.generations, known)
        return self.generations[at - 1] if at else float("-inf")

    def handovers_until(self, time: float) -> int:
        return bisect_right(self.handovers, time + self.history.skew_seconds)


def _concludes(call: Call) -> bool:
    return call.answer == ACCEPTED or call.answer in REFUSALS


def _is_conclusion(answer: str) -> bool:
    return answer == ACCEPTED or answer in REFUSALS


class _Passes:
    """When was an offset first declared settled, by a commit above it or by a note?"""

    def __init__(self, commits: Iterable[Commit]) -> None:
        self._reach: dict[tuple[str, int], list[tuple[float, int]]] = defaultdict(list)
        self._ahead: dict[Source, float] = {}
        ordered = sorted(commits, key=lambda commit: commit.timestamp)
        self._commits = grouped(ordered, lambda commit: (commit.topic, commit.partition))
        for commit in ordered:
            self._note(commit)
            reach = self._reach[commit.topic, commit.partition]
            if not reach or commit.offset > reach[-1][1]:
                reach.append((commit.timestamp, commit.offset))

    def _note(self, commit: Commit) -> None:
        for offset in commit.ahead:
            source = Source(commit.topic, commit.partition, offset)
            self._ahead.setdefault(source, commit.timestamp)

    def first(self, source: Source) -> float | None:
        """The time of the first commit that passes this record; None if none does."""
        reach = self._reach.get(source[:2], [])
        at = bisect_right(reach, source.offset, key=lambda step: step[1])
        times = [reach[at][0]] if at < len(reach) else []
        times += [self._ahead[source]] if source in self._ahead else []
        return min(times, default=None)

    def throughout(self, source: Source, since: float, until: float) -> bool:
        """At every moment of this time, what was committed last passed the record: an older
        commit may land after a younger one, and set back what the next owner finds."""
        commits = self._commits.get(source[:2], [])
        first = bisect_right(commits, since, key=lambda commit: commit.timestamp) - 1
        end = bisect_right(commits, until, key=lambda commit: commit.timestamp)
        return first >= 0 and all(
            source.offset < commit.offset or source.offset in commit.ahead
            for commit in commits[first:end]
        )

    def end(self, topic: str, partition: int) -> int:
        reach = self._reach.get((topic, partition))
        return reach[-1][1] if reach else 0


def grouped(values: Iterable[V], key: Callable[[V], K]) -> dict[K, list[V]]:
    """The values by key, each group in the order given."""
    groups: dict[K, list[V]] = defaultdict(list)
    for value in values:
        groups[key(value)].append(value)
    return dict(groups)
