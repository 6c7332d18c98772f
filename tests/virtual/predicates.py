"""What only a staged world can see, held against the guarantees: beside `simulation/judge.py`.

The judge believes the harmless explanation wherever a history of real processes leaves two open.
Here the director knows who was well, so less is open.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

from gateway.core.model import Certainty, OutcomeKind
from gateway.simulation.books import Entry
from gateway.simulation.history import grouped
from tests.virtual.aws import ATTEMPT_SECONDS
from tests.virtual.events import EPOCH

if TYPE_CHECKING:
    from tests.virtual.member import Member
    from tests.virtual.run import Stage


def broken(stage: Stage) -> Iterator[str]:
    """Sentences, one for each breach."""
    for predicate in (_one_owner_at_a_time, _no_call_of_the_expelled, _the_ended_have_ended):
        yield from predicate(stage)


def overfull(stage: Stage, member: Member) -> str | None:
    """What one member holds beyond its budgets just now, as a sentence."""
    settings = member.around.configuration
    most = settings.budgets.records + settings.max_batch_records
    if member.backpressure.most_records > most:
        return f"G6: {member.name} has held more than {most} records"
    assignment = member.partitions.current
    if assignment is None:
        return None
    for place, watermark in assignment.watermarks.items():
        # What was read before it was noticed that a partition has run too far ahead.
        reach = settings.skip_ahead + 2 * settings.max_batch_records + stage.holes.get(place, 0)
        if watermark.ahead > reach:
            return f"G4: {member.name} has run more than {reach} ahead in {place.partition}"
    return None


def _one_owner_at_a_time(stage: Stage) -> Iterator[str]:
    """Between processes that were well a partition is handed over after the last call."""
    lapsed = {lapse.member for lapse in stage.lapses}
    of_one_partition = _jobs_of_one_partition(stage)
    calls = [
        call
        for call in stage.codepipeline.books
        if call.instance not in lapsed and call.job_id in of_one_partition and call.delivered
    ]
    for job_id, own in grouped(calls, lambda call: call.job_id).items():
        for before, call in combinations(sorted(own, key=lambda call: call.begun), 2):
            if before.instance != call.instance and _overlap(before, call):
                yield f"G2: {job_id}: called by {before.instance} and {call.instance} at once"


def _overlap(before: Entry, call: Entry) -> bool:
    ended = before.ended if before.ended is not None else float("inf")
    return call.begun < ended and ended - before.begun < ATTEMPT_SECONDS / 2


def _jobs_of_one_partition(stage: Stage) -> set[str]:
    places: dict[str, set[int]] = {}
    for source, sending in stage.sent.items():
        if sending.job_id is not None:
            places.setdefault(sending.job_id, set()).add(source.partition)
    return {job_id for job_id, numbers in places.items() if len(numbers) == 1}


def _no_call_of_the_expelled(stage: Stage) -> Iterator[str]:
    """Who was expelled begins nothing, also while it does not know."""
    for gone in stage.around.group.expulsions:
        for name, time in stage.codepipeline.sent:
            if name == gone.name and gone.since < time < gone.until:
                yield f"G2: {name} called at {time:.3f}, expelled from {gone.since:.3f} on"


def _the_ended_have_ended(stage: Stage) -> Iterator[str]:
    """Where clocks are right: a result is known to be young by them."""
    if any(member.wall_offset_seconds for member in stage.members):
        return
    for written in stage.around.outcomes.written:
        outcome = written.entry
        if outcome.kind not in _ENDED or outcome.certainty is not Certainty.CONFIRMED:
            continue
        job = stage.codepipeline.jobs.get(outcome.job_id or "", EPOCH)
        if job is not None and not job.state.has_ended:
            yield f"truth: {outcome.source} is said to have {outcome.kind}, but {job.id} has not"


_ENDED = frozenset({OutcomeKind.ACCEPTED, OutcomeKind.ALREADY_ENDED, OutcomeKind.CONFLICT})
