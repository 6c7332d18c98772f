"""Judges what happened, from what outlives a SIGKILL. Pure: no I/O, no clock, nothing of ours.

The checker shares no code with what it judges. It is given the input topic (already read by
`simulation/reading.py`), CodePipeline's books, the outcomes, the dead letters and the commits,
and says which guarantees of DESIGN.md, section 8, the history breaks. It never raises a false
alarm: where a history leaves two explanations open, it believes the harmless one.

What it holds to be true, by guarantee:

G1        A record below a committed offset has an outcome (skipped records excepted), a
          dead-lettered one has its dead letter, and no outcome is younger than the first commit
          that passes its record. An outcome's timestamp is never later than its append and a
          commit's never earlier than its arrival, so that comparison is sound, and exact where
          the outcomes topic uses LogAppendTime.
G2        For the results of one job in one partition: within one term (one process between two
          handovers) the calls follow the offsets, and no call begins before the one before it
          has its conclusive answer or has been given up as a dead letter; no later result is
          called for the first time before every earlier one has been called; and one process
          never has two calls for one job open at once. Going back after a handover is a repeat.
G3        A call is a needless repeat if its process had already read the acceptance of the same
          content, or had read as many refusals as the records of that content can ask for, or if
          every record of that content lay below the committed offset, or in the note beside it,
          ever since the process was assigned its partitions. Any other call for content
          that an earlier term had brought to an end is `after_crash`. Retries after unknown
          answers or pressure, and early-result attempts, are no repeats. A record has one
          outcome and one dead letter, one more at most for every handover.
G5        No dead letter whose calls were all refused or throttled for the account's sake.
G8        Every valid record has a call of its content; a rejected or skipped one has none.
truth     Outcomes and dead letters name records that exist and say what the books say.
liveness  In a final history, every record has ended and everything is committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gateway.simulation.history import (
    ACCEPTED,
    ACCOUNT_FAULTS,
    DELIVERED_KINDS,
    REJECTIONS,
    THROTTLES,
    Ended,
    Entry,
    Finding,
    History,
    Letter,
    Lookup,
    Source,
)
from gateway.simulation.order import calls_follow_the_offsets, no_two_calls_at_once, repeats


class Violation(NamedTuple):
    """One guarantee broken once."""

    guarantee: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.guarantee}: {self.subject}: {self.detail}"


@dataclass(frozen=True)
class Judgement:
    """What became of every record, and what is wrong with it."""

    records: int
    """Records that have ended: the sum of `outcomes`."""
    job_results: int
    """`records` less the skipped and the rejected ones."""
    outcomes: dict[str, int]
    """By the kind of each record's first outcome."""
    dead_letters: dict[str, int]
    lost: int
    reordered: int
    repeats_after_crash: int
    repeats_needless: int
    unended: int
    violations: tuple[Violation, ...]

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.reordered or self.repeats_needless or self.violations)


def judge(history: History, is_final: bool = True) -> Judgement:
    """Holds the history against every guarantee. `is_final`: everything should have ended."""
    lookup = Lookup(history)
    findings = [*_commits_pass_only_what_ended(lookup), *_nothing_is_lost(lookup)]
    if is_final:
        findings += _everything_has_ended(lookup)
    lost = {finding.subject for finding in findings if finding.is_count}
    order = [*calls_follow_the_offsets(lookup), *no_two_calls_at_once(lookup)]
    needless, after_crash = repeats(lookup)
    findings += order + needless
    for predicate in (_one_end_a_term, _no_dead_letter_for_the_account, _reports_are_true):
        findings += predicate(lookup)
    return _judgement(lookup, findings, len(lost), _count(order), _count(needless), after_crash)


# G1: what a commit may pass


def _commits_pass_only_what_ended(lookup: Lookup) -> Iterator[Finding]:
    for entry in lookup.entries.values():
        passed_at = lookup.passes.first(entry.source)
        if passed_at is None or lookup.is_skipped(entry):
            continue
        outcome = lookup.first_outcome(entry)
        if outcome is None:
            yield Finding("G1", str(entry.source), "committed, but it never ended", True)
        elif outcome.timestamp > passed_at + lookup.history.skew_seconds:
            late = outcome.timestamp - passed_at
            yield Finding("G1", str(entry.source), f"committed {late:.3f} s before it ended")
        elif outcome.kind == "dead-lettered" and entry.source not in lookup.letters:
            yield Finding("G1", str(entry.source), "committed without its dead letter", True)
        elif _was_letter_late(lookup, entry, passed_at):
            yield Finding("G1", str(entry.source), "committed before its dead letter was durable")


def _was_letter_late(lookup: Lookup, entry: Entry, passed_at: float) -> bool:
    times = [letter.appended for letter in lookup.letters.get(entry.source, ())]
    known = [time for time in times if time is not None]
    return bool(known) and min(known) > passed_at + lookup.history.skew_seconds


# G8: nothing lost, nothing called that should not be


def _nothing_is_lost(lookup: Lookup) -> Iterator[Finding]:
    for entry in lookup.entries.values():
        outcome = lookup.first_outcome(entry)
        if outcome is None or lookup.is_skipped(entry):
            continue
        if lookup.is_valid(entry):
            yield from _was_attempted(lookup, entry, outcome)
        elif entry.expected == "rejected" and outcome.reason not in REJECTIONS:
            yield Finding("G8", str(entry.source), f"no job result, yet it ended {outcome.kind}")
        elif lookup.calls_of(entry) and entry.content not in lookup.valid:
            yield Finding("G8", str(entry.source), "rejected, yet CodePipeline was called for it")


def _was_attempted(lookup: Lookup, entry: Entry, outcome: Ended) -> Iterator[Finding]:
    if outcome.reason in REJECTIONS:
        yield Finding("G8", str(entry.source), f"valid, yet rejected: {outcome.reason}", True)
    elif outcome.reason == "given-up":
        if not lookup.history.may_give_up:
            yield Finding("G5", str(entry.source), "given up although nobody asked for it")
    elif not lookup.calls_of(entry):
        yield Finding("G8", str(entry.source), f"{outcome.kind} without any call", True)


def _everything_has_ended(lookup: Lookup) -> Iterator[Finding]:
    ends: dict[tuple[str, int], int] = {}
    unended: set[tuple[str, int]] = set()
    for entry in lookup.entries.values():
        partition = entry.source[:2]
        ends[partition] = max(ends.get(partition, 0), entry.source.offset + 1)
        if lookup.first_outcome(entry) or lookup.is_skipped(entry):
            continue
        unended.add(partition)
        if lookup.passes.first(entry.source) is None:
            yield Finding("liveness", str(entry.source), "has not ended", True)
    for partition in ends.keys() - unended:
        committed = lookup.passes.end(*partition)
        if committed < ends[partition]:
            detail = f"all has ended, but {committed} of {ends[partition]} is committed"
            yield Finding("liveness", "/".join(map(str, partition)), detail)


# G3: one end a term


def _one_end_a_term(lookup: Lookup) -> Iterator[Finding]:
    for source, outcomes in lookup.outcomes.items():
        # A write whose acknowledgement was late is made again: the same moment, the same outcome.
        distinct = {ended.time: ended for ended in reversed(outcomes)}
        for count, ended in enumerate(sorted(distinct.values(), key=lambda e: e.timestamp)):
            if count > lookup.handovers_until(ended.timestamp):
                yield Finding("G3", str(source), "a second outcome without a handover")
    for source, letters in lookup.letters.items():
        if len({letter.moment for letter in letters}) > 1 + len(lookup.handovers):
            yield Finding("G3", str(source), "a second dead letter without a handover")


# G5: the account's trouble is not the event's


def _no_dead_letter_for_the_account(lookup: Lookup) -> Iterator[Finding]:
    for entry in lookup.entries.values():
        outcome = lookup.first_outcome(entry)
        if outcome is None or outcome.kind != "dead-lettered":
            continue
        if outcome.reason in ("expired", "given-up"):  # an operator's words, judged with G8
            continue
        answers = {call.answer for call in lookup.calls_of(entry)}
        if lookup.is_valid(entry) and answers and answers <= ACCOUNT_FAULTS | THROTTLES:
            detail = f"dead-lettered as {outcome.reason}, but only the account was in trouble"
            yield Finding("G5", str(entry.source), detail)


# truth: outcomes and dead letters say what the books say


def _reports_are_true(lookup: Lookup) -> Iterator[Finding]:
    for source, outcomes in lookup.outcomes.items():
        entry = lookup.entries.get(source)
        for ended in outcomes:
            detail = _untruth(lookup, entry, ended) if entry else "an outcome of no known record"
            if detail:
                yield Finding("truth", str(source), detail)
    for source, letters in lookup.letters.items():
        detail = _untrue_letter(lookup, source, letters)
        if detail:
            yield Finding("truth", str(source), detail)
    asked = {entry.content for entry in lookup.entries.values()}
    for content in lookup.calls.keys() - asked:
        yield Finding("truth", content.job_id, f"no record asks for this {content.operation}")


def _untruth(lookup: Lookup, entry: Entry, ended: Ended) -> str:
    if lookup.is_skipped(entry):
        return f"a record that asks nothing ended {ended.kind}"
    if ended.kind == "dead-lettered":
        return "" if ended.reason else "dead-lettered without a reason"
    if ended.kind not in DELIVERED_KINDS:
        return f"no such outcome: {ended.kind}"
    if entry.content and (ended.job_id, ended.operation) != entry.content[1:3]:
        return "the outcome names another job or operation than its record"
    calls = lookup.calls_of(entry)
    if calls and ended.kind == "duplicate" and not any(call.was_applied for call in calls):
        return "duplicate, but nothing identical was applied"
    if calls and (ended.kind, ended.certainty) == ("accepted", "confirmed"):
        is_accepted = any(call.was_applied and call.answer == ACCEPTED for call in calls)
        return "" if is_accepted else "accepted and confirmed, but CodePipeline never took it"
    if _was_its_own_doing(lookup, entry, ended):
        return "already-ended and confirmed, but it was this very result that ended the job"
    return ""


def _was_its_own_doing(lookup: Lookup, entry: Entry, ended: Ended) -> bool:
    """A job that a record's own call has ended, without a word about it before."""
    is_first = lookup.first_outcome(entry) is ended
    if not is_first or (ended.kind, ended.certainty) != ("already-ended", "confirmed"):
        return False
    is_alone = entry.content is not None and len(lookup.valid.get(entry.content, ())) == 1
    return is_alone and any(call.was_applied for call in lookup.calls_of(entry))


def _untrue_letter(lookup: Lookup, source: Source, letters: list[Letter]) -> str:
    entry = lookup.entries.get(source)
    if entry is None:
        return "a dead letter of no known record"
    if not all(letter.is_unchanged for letter in letters):
        return "the dead letter is not its record"
    outcome = lookup.first_outcome(entry)
    is_by_setting = outcome is not None and outcome.reason == "conflict"
    if outcome and not (lookup.is_dead_lettered(entry) or is_by_setting or lookup.handovers):
        return f"dead-lettered, yet its outcome is {outcome.kind}"
    return ""


# the sum


def _judgement(
    lookup: Lookup,
    findings: Iterable[Finding],
    lost: int,
    reordered: int,
    needless: int,
    after_crash: int,
) -> Judgement:
    outcomes: Counter[str] = Counter()
    rejected = 0
    for entry in lookup.entries.values():
        outcome = lookup.first_outcome(entry)
        if lookup.is_skipped(entry):
            outcomes["skipped"] += 1
        elif outcome is not None:
            outcomes[outcome.kind] += 1
            rejected += outcome.reason in REJECTIONS
    records = outcomes.total()
    return Judgement(
        records=records,
        job_results=records - outcomes["skipped"] - rejected,
        outcomes=dict(sorted((+outcomes).items())),
        dead_letters=_dead_letters(lookup),
        lost=lost,
        reordered=reordered,
        repeats_after_crash=after_crash,
        repeats_needless=needless,
        unended=len(lookup.entries) - records,
        violations=tuple(Violation(*finding[:3]) for finding in findings),
    )


def _dead_letters(lookup: Lookup) -> dict[str, int]:
    return dict(sorted(Counter(letters[0].reason for letters in lookup.letters.values()).items()))


def _count(findings: Iterable[Finding]) -> int:
    return sum(finding.is_count for finding in findings)
