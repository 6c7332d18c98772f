"""Order and repeats: what CodePipeline's books say of how one job's results were delivered.

The part of `simulation/judge.py` that holds the calls against G2 and G3; see there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from gateway.simulation.history import (
    ACCEPTED,
    ENDED,
    REFUSALS,
    SECOND_OPINIONS,
    UNKNOWN_JOB,
    Call,
    Content,
    Entry,
    Finding,
    Lookup,
    grouped,
)

# G2: order


def calls_follow_the_offsets(lookup: Lookup) -> Iterator[Finding]:
    lanes: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for content, entries in lookup.valid.items():
        lanes[content[:2]].extend(entries)
    for job, entries in lanes.items():
        calls = lookup.calls_by_job.get(job, [])
        if len({entry.content for entry in entries}) > 1 and calls:
            for lane in grouped(entries, lambda entry: entry.source[:2]).values():
                yield from _lane_in_order(lookup, lane, entries, calls)


def _lane_in_order(
    lookup: Lookup, lane: list[Entry], everywhere: list[Entry], calls: list[Call]
) -> Iterator[Finding]:
    """Content that also stands in another partition says nothing about this one's order."""
    partition = lane[0].source[:2]
    elsewhere = {entry.content for entry in everywhere if entry.source[:2] != partition}
    lane = sorted(
        (entry for entry in lane if entry.content not in elsewhere), key=lambda entry: entry.source
    )
    here = {entry.content for entry in lane}
    calls = [call for call in calls if call.content in here]
    for term in grouped(calls, lookup.term).values():
        yield from _term_in_order(lookup, lane, term)
    yield from _first_calls_in_order(lookup, lane)


def _term_in_order(lookup: Lookup, lane: list[Entry], calls: list[Call]) -> Iterator[Finding]:
    """Matches each call with the first record at or after the last one's that it can be for."""
    at, before = 0, None
    for call in calls:
        ahead = range(at, len(lane))
        now = next((place for place in ahead if lane[place].content == call.content), None)
        if now is None:
            entry = next(entry for entry in lane if entry.content == call.content)
            yield Finding("G2", str(entry.source), "called after a later result", True)
            continue
        if before is not None and before.content != call.content:
            behind = [entry for entry in lane[at:now] if entry.content == before.content]
            given_up = any(lookup.is_dead_lettered(entry) for entry in behind)
            if not lookup.may_be_conclusive(before) and not given_up:
                detail = "called before the result ahead of it had ended"
                yield Finding("G2", str(lane[now].source), detail, True)
        at, before = now, call


def _first_calls_in_order(lookup: Lookup, lane: list[Entry]) -> Iterator[Finding]:
    """Across terms: nobody may start on a later result while an earlier one is untried."""
    seen: dict[Content | None, Entry] = {}
    for entry in lane:
        calls = lookup.calls_of(entry)
        if calls and entry.content not in seen:
            overtaken = [e for e in seen.values() if _is_overtaken(lookup, e, calls[0])]
            for earlier in overtaken[:1]:
                detail = f"called before {earlier.source} was"
                yield Finding("G2", str(entry.source), detail, True)
        seen.setdefault(entry.content, entry)


def _is_overtaken(lookup: Lookup, earlier: Entry, later: Call) -> bool:
    calls = lookup.calls_of(earlier)
    if not calls:
        return lookup.first_outcome(earlier) is None
    return calls[0].begun > later.begun and lookup.term(calls[0]) != lookup.term(later)


def no_two_calls_at_once(lookup: Lookup) -> Iterator[Finding]:
    for (_, job_id), calls in lookup.calls_by_job.items():
        for own in grouped(calls, lambda call: call.instance).values():
            for before, call in pairwise(own):
                if lookup.is_answered(before) and call.begun < before.ended:
                    is_distinct = before.content != call.content
                    yield Finding("G2", job_id, "two calls of one process at once", is_distinct)


# G3: repeats


def repeats(lookup: Lookup) -> tuple[list[Finding], int]:
    """The needless ones, and how many others are owed to a crash or a handover.

    Those are counted once for each term that repeats: its further attempts are retries.
    """
    needless: list[Finding] = []
    after_crash = 0
    for content, calls in lookup.calls.items():
        whys = [_why_needless(lookup, call, calls[:at]) for at, call in enumerate(calls)]
        needless += [Finding("G3", content.job_id, why, True) for why in whys if why]
        needed = [call for call, why in zip(calls, whys, strict=True) if not why]
        for term in grouped(needed, lookup.term).values():
            after_crash += _was_ended_by_others(lookup, term[0], calls)
    return needless, after_crash


def _why_needless(lookup: Lookup, call: Call, earlier: list[Call]) -> str:
    own = [
        before
        for before in earlier
        if before.instance == call.instance
        and before.ended <= call.begun
        and lookup.is_conclusive(before)
    ]
    if any(before.answer == ACCEPTED for before in own):
        return "called again after its acceptance"
    if len(own) >= _refusals_allowed(lookup, call, own):
        return "called again after a conclusive refusal"
    copies = [entry.source for entry in lookup.valid.get(call.content, ())]
    # Commits are stamped in whole milliseconds, rounded down.
    margin = 0.001 + lookup.history.skew_seconds
    since, until = lookup.assigned(call) - margin, call.begun - margin
    if copies and all(lookup.passes.throughout(source, since, until) for source in copies):
        return "called although everything that asks for it was committed"
    return ""


def _refusals_allowed(lookup: Lookup, call: Call, own: list[Call]) -> int:
    """Each copy may ask once in each term; more often while its job may only be too young.

    A job that is not found halts its target, whose canary asks again until it is.
    """
    if any(before.answer in UNKNOWN_JOB for before in own):
        return len(own) + 1
    copies = len(lookup.valid.get(call.content, ())) or 1
    terms = 1 + lookup.handovers_until(call.begun)
    accepted = any(
        other.answer == ACCEPTED and other.instance == call.instance and other.ended <= call.begun
        for other in lookup.calls_by_job[call.content[:2]]
        if lookup.is_conclusive(other)
    )
    may_be_young = not accepted and all(before.answer in ENDED for before in own)
    opinions = 2 if any(before.answer in SECOND_OPINIONS for before in own) else 1
    return copies * terms * (opinions + (lookup.history.early_attempts if may_be_young else 0))


def _was_ended_by_others(lookup: Lookup, call: Call, calls: list[Call]) -> bool:
    """Whether an earlier term had already had this content applied or refused."""
    return any(
        before.begun < call.begun and (before.was_applied or before.answer in REFUSALS)
        for before in calls
        if lookup.term(before) != lookup.term(call)
    )
