"""The mutations: what is changed, what it breaks, and how it is to be found.

Most are what somebody has shipped, or nearly did. Where no simulated world could tell the
difference, the test that does is named.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.mutations.shipped_bugs import SHIPPED_BUGS


class Change(NamedTuple):
    """`old` stands in `file` exactly once."""

    file: str
    old: str
    new: str


class Mutation(NamedTuple):
    name: str
    breaks: str
    changes: tuple[Change, ...]
    found_by: str | None = None
    """A test file, or one test of it; None: the simulation."""

    def files(self) -> list[str]:
        return list(dict.fromkeys(change.file for change in self.changes))

    def modules(self) -> list[str]:
        return [file.removesuffix(".py").replace("/", ".") for file in self.files()]


def _one(
    name: str, breaks: str, file: str, old: str, new: str, found_by: str | None = None
) -> Mutation:
    return Mutation(name, breaks, (Change(f"gateway/{file}", old, new),), found_by)


_ALL = (
    # what may be committed
    _one(
        "commit-position",
        "commits how far was read, not how far was settled",
        "core/watermark.py",
        "        return self._tickets[0].offset if self._tickets else self._position\n",
        "        return self._position\n",
    ),
    _one(
        "deferred-holds-nothing",
        "the watermark passes what was left in Kafka",
        "core/watermark.py",
        "        while tickets and tickets[0].is_settled:\n",
        "        while tickets and (tickets[0].is_settled or tickets[0].is_deferred):\n",
    ),
    _one(
        "note-shifted",
        "the note declares the neighbours of what is settled",
        "core/watermark.py",
        "        ahead = self.committable() - self._origin\n",
        "        ahead = self.committable() + 1 - self._origin\n",
    ),
    _one(
        "note-of-all-read",
        "the note declares settled what was only begun",
        "core/watermark.py",
        "        ticket = Ticket(self, offset, timestamp)\n        self._tickets",
        "        ticket = Ticket(self, offset, timestamp)\n"
        "        self._mark(offset, offset + 1)\n"
        "        self._tickets",
    ),
    _one(
        "note-not-heeded",
        "what the note declares settled is begun all the same",
        "core/watermark.py",
        "        if self._is_marked(offset):\n            return None\n",
        "",
    ),
    _one(
        "note-of-another-base",
        "a note is believed beside an offset that it was not written for",
        "core/note.py",
        "parts[:3] != [VERSION, cluster, str(base)]",
        "parts[:2] != [VERSION, cluster]",
        "tests/core/test_note.py",
    ),
    _one(
        "gaps-after-revocation",
        "what a late read returned to nobody counts as no record",
        "partitions.py",
        "            points = assignment.uncommitted()\n            if not points:",
        "            self._jump_gaps(assignment)\n"
        "            points = assignment.uncommitted()\n            if not points:",
        "tests/regressions/test_shipped_bugs.py",
    ),
    _one(
        "old-watermark-lives-on",
        "a new assignment goes on with the watermarks, and so the tickets, of the last one",
        "partitions.py",
        "        self.was_assigned = True\n",
        "        kept = getattr(self, '_kept', {})\n"
        "        for place in self.current.watermarks.keys() & kept.keys():\n"
        "            self.current.watermarks[place] = kept[place]\n"
        "        self._kept = self.current.watermarks\n"
        "        self.was_assigned = True\n",
    ),
    # durable first, settled second
    _one(
        "settle-before-outcome",
        "a record settles before its outcome is durable",
        "settle.py",
        "        self._outcomes.append(outcome, durable)\n",
        "        durable()\n        self._outcomes.append(outcome, lambda: None)\n",
    ),
    _one(
        "settle-before-dead-letter",
        "a record settles before its dead letter is durable",
        "settle.py",
        "        self._dead_letters.append(letter, partial(self._publish, outcome, durable))\n",
        "        self._dead_letters.append(letter, lambda: None)\n"
        "        self._publish(outcome, durable)\n",
    ),
    _one(
        "redelivery-known-too-soon",
        "a redelivery is settled in silence before the outcome of the first delivery is durable",
        "deliver.py",
        "learn_accepted(delivery.target, delivery.result, None)",
        "learn_accepted(delivery.target, delivery.result, delivery.record.source)",
    ),
    _one(
        "memory-not-given-back",
        "what is forgotten at a revocation goes on using up the budgets",
        "deliver.py",
        "            if id(delivery) not in self._calling:\n"
        "                self._settlement.forget(delivery.size_bytes)\n",
        "            pass\n",
    ),
    # order
    _one(
        "lane-of-its-own",
        "results of one job do not wait for each other",
        "lineup.py",
        "        return (self.target, self.result.job_id)\n",
        '        return (self.target, f"{self.result.job_id} {self.record.offset}")\n',
    ),
    _one(
        "retry-leaves-the-head",
        "while a result waits for its retry, the next one of its job goes",
        "deliver.py",
        "            retry.delay_seconds, self._line_up_again, delivery\n        )\n",
        "            retry.delay_seconds, self._line_up_again, delivery\n        )\n"
        "        if self._lanes.behind(delivery.lane):\n"
        "            self._line_up(next(i for i in self._lanes if i.lane == delivery.lane"
        " and i is not delivery))\n",
    ),
    _one(
        "deferred-jobs-do-not-block",
        "a later result of a job overtakes the one that was left in Kafka",
        "defer.py",
        "        if delivery.deferred.blocks(delivery.target, delivery.result.job_id):\n",
        "        if False:\n",
    ),
    _one(
        "defer-only-the-head",
        "what stood behind a deferred result of its job goes on",
        "deliver.py",
        "        for delivery in self._lanes.drop(head.lane):\n"
        "            self._lineups[head.target].waiting -= 1\n"
        "            self._deferrals.defer(delivery)\n",
        "        follower = self._next_of_lane(head)\n"
        "        self._deferrals.defer(head)\n"
        "        self._to_the_head(follower)\n",
    ),
    _one(
        "seek-to-the-highest",
        "of what was left in Kafka only the last is read again",
        "core/deferred.py",
        "        self._lowest[target] = min(",
        "        self._lowest[target] = max(",
    ),
    _one(
        "no-seek-back",
        "what was left in Kafka is never read again",
        "partitions.py",
        "                source.seek(partition, offset)\n",
        "",
    ),
    _one(
        "deferred-begun-by-nobody",
        "what was left in Kafka is passed over when it is read again",
        "core/watermark.py",
        "        ticket = self._deferred.pop(offset, None)\n",
        "        ticket = None\n",
    ),
    # handing over
    _one(
        "revoke-does-not-stop",
        "after a revocation attempts go on",
        "partitions.py",
        "        assignment.deliveries.stop()\n",
        "",
    ),
    _one(
        "revoke-does-not-wait",
        "partitions go while calls for them are under way",
        "partitions.py",
        "        await _within(self._patience.calls_seconds, assignment.deliveries.wait_calls())\n",
        "",
    ),
    _one(
        "lease-ignored",
        "a process that was expelled goes on beside the new owner",
        "deliver.py",
        "            if self._is_stopped or not self._world.is_owner():\n",
        "            if self._is_stopped:\n",
    )._replace(
        changes=(
            Change(
                "gateway/deliver.py",
                "            if self._is_stopped or not self._world.is_owner():\n",
                "            if self._is_stopped:\n",
            ),
            Change(
                "gateway/deliver.py",
                "        if not self._world.is_owner():\n            return  # asked again",
                "        if False:\n            return  # asked again",
            ),
        )
    ),
    _one(
        "pause-not-applied-again",
        "what was paused is believed to be paused in the next assignment",
        "intake.py",
        "        if assignment is not self._assignment:\n",
        "        if False:\n",
        "tests/flow/test_flow.py",
    ),
    # known endings
    _one(
        "duplicates-without-digest",
        "any later result of an ended job counts as a duplicate",
        "deliver.py",
        "ending.digest is not None and ending.digest == delivery.result.digest",
        "ending.digest is not None",
    ),
    _one(
        "inferred-counts-as-confirmed",
        "a job that somebody has ended counts as ended by this very result",
        "deliver.py",
        "            self._endings.learn_ended(delivery.target, delivery.result.job_id, None)\n",
        "            self._endings.learn_accepted(delivery.target, delivery.result, None)\n",
    ),
    _one(
        "tail-believes-refusals",
        "a conflict that another replica has published counts as an acceptance",
        "core/endings.py",
        "        if not is_acceptance or outcome.certainty is not Certainty.CONFIRMED:\n",
        "        if False:\n",
    ),
    _one(
        "conflict-not-recognised",
        "a contradiction is called already-ended",
        "core/steps.py",
        "    if ending.claim is not None and ending.claim is not claim:\n",
        "    if False:\n",
        "tests/core/test_steps.py",
    ),
    # what answers mean
    _one(
        "uncertainty-forgotten",
        "our own unanswered acceptance counts as somebody else's ending",
        "core/steps.py",
        "    if tries.is_uncertain:\n",
        "    if False:\n",
    ),
    _one(
        "earlier-owner-forgotten",
        "the acceptance of an earlier owner counts as somebody else's ending",
        "partitions.py",
        "        return record.offset < self._log_ends[",
        "        return record.offset < 0 * self._log_ends[",
    ),
    _one(
        "early-results-lost",
        "a result that has overtaken the acknowledgement of its job is given up at once",
        "core/steps.py",
        "    if now.ending is None and _may_be_early(tries, now, rules):\n",
        "    if False:\n",
    ),
    _one(
        "halted-dead-letters",
        "trouble of the account dead-letters the event",
        "core/steps.py",
        "            step = Hold(failed.code)\n        case Verdict.CLOCK",
        "            step = End(OutcomeKind.DEAD_LETTERED, reason=Reason.REFUSED)\n"
        "        case Verdict.CLOCK",
    ),
    _one(
        "throttles-use-up-the-budget",
        "patience with an account that throttles ends in a dead letter",
        "core/retry.py",
        "    return is_target_accepting and may_have_been_read and not is_of_the_account\n",
        "    return is_target_accepting and may_have_been_read\n",
        "tests/core/test_steps.py",
    ),
    _one(
        "first-attempt-refused-for-lateness",
        "a result past its deadline is dead-lettered without any call",
        "deliver.py",
        "            if not self._is_known(head):\n",
        "            if head.deadline < self._world.wall():\n"
        "                self._settlement.end(\n"
        "                    head, End(OutcomeKind.DEAD_LETTERED, reason=Reason.EXPIRED), None\n"
        "                )\n"
        "            elif not self._is_known(head):\n",
    ),
    _one(
        "gives-up-unasked",
        "a halt is waited for only so long, though no operator has said so",
        "core/room.py",
        "        return halt is not None and now - halt.since >= self._give_up_seconds\n",
        "        return halt is not None and now - halt.since >= 2.0\n",
    ),
    _one(
        "wrong-account",
        "the target that an event names is not the one that is called",
        "core/routing.py",
        "            return target\n        return Rejection",
        "            return min(self._targets)\n        return Rejection",
    ),
    # rooms and budgets
    _one(
        "canary-never-back",
        "after its first canary a halted operation is never probed again",
        "core/room.py",
        "        halt.is_probing = False\n        halt.acceptances = 0\n",
        "        halt.acceptances = 0\n",
    ),
    _one(
        "room-not-left",
        "calls that failed go on occupying their room",
        "deliver.py",
        "                self._calling.discard(id(delivery))\n"
        "                lineup.room.leave()\n",
        "                self._calling.discard(id(delivery))\n"
        "                if not delivery.tries.pressures:\n"
        "                    lineup.room.leave()\n",
    ),
    _one(
        "budgets-ignored",
        "reading goes on whatever waits in memory",
        "core/backpressure.py",
        '            return "records"\n',
        "            return None\n",
    )._replace(
        changes=(
            Change(
                "gateway/core/backpressure.py",
                "        if self.records >= budgets.records:\n",
                "        if False:\n",
            ),
            Change(
                "gateway/core/backpressure.py",
                '        return "lanes" if lanes >= budgets.lanes else None\n',
                "        return None\n",
            ),
        )
    ),
    _one(
        "skip-ahead-ignored",
        "a partition runs on without bound past what it holds",
        "intake.py",
        "            if ahead >= self._skip_ahead and place not in self._held:\n",
        "            if False:\n",
    ),
    _one(
        "retry-put-off-counts",
        "an early result whose retry found no place to wait is given up too soon",
        "deliver.py",
        "            delivery.tries.put_off(retry)\n",
        "",
        "tests/flow/test_flow.py",
    ),
    _one(
        "late-commit-stands",
        "what a late commit of an earlier owner has set back shows as lag for ever",
        "partitions.py",
        "            assignment.confirm_commits()\n",
        "            pass\n",
    ),
    # what other replicas tell
    _one(
        "tail-not-waited-for",
        "partitions begin before what their last owner ended was heard",
        "partitions.py",
        "            await self._catch_up()",
        "            pass",
        "tests/flow/test_outcome_tail.py",
    ),
    _one(
        "digest-of-another-key",
        "digests made with another key are compared",
        "core/endings.py",
        "outcome.digest if self._shares_digests and outcome.claim",
        "outcome.digest if outcome.claim",
        "tests/core/test_endings.py",
    ),
    _one(
        "source-is-enough",
        "in a topic made anew a contradiction passes for a redelivery",
        "deliver.py",
        "        says_the_same = ending.claim in (None, delivery.result.claim)\n",
        "        says_the_same = True\n",
        "tests/flow/test_outcome_tail.py",
    ),
    _one(
        "hearsay-overwrites",
        "what somebody tells replaces what this process has seen",
        "core/endings.py",
        "    return known.digest is not None\n",
        "    return False\n",
        "tests/core/test_endings.py",
    ),
)

_SHIPPED = tuple(
    Mutation(bug.name, bug.breaks, (Change(bug.file, bug.old, bug.new),), bug.test)
    for bug in SHIPPED_BUGS
)

MUTATIONS = {mutation.name: mutation for mutation in (*_ALL, *_SHIPPED)}
