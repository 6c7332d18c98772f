"""The judge convicts: a clean history stays clean, and each planted breach is reported, alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.simulation.history import (
    ACCEPTED,
    Call,
    Commit,
    Content,
    Ended,
    Entry,
    History,
    Letter,
    Source,
)
from gateway.simulation.judge import Judgement, judge

TOPIC = "job-results"
PROCESS = "first"
NEXT_PROCESS = "second"


def source(offset: int, partition: int = 0) -> Source:
    return Source(TOPIC, partition, offset)


def content(job: str, what: str = "a", operation: str = "PutJobSuccessResult") -> Content:
    return Content("", job, operation, what)


def entry(offset: int, asks: Content | None, partition: int = 0, **more: object) -> Entry:
    return replace(Entry(source(offset, partition), 0.0, asks), **more)  # type: ignore[arg-type]


def call(asks: Content, begun: float, answer: str = ACCEPTED, **more: object) -> Call:
    made = Call(asks, begun, begun + 0.5, answer, PROCESS, was_applied=answer == ACCEPTED)
    return replace(made, **more)  # type: ignore[arg-type]


def ended(offset: int, time: float, asks: Content | None, kind: str = "accepted") -> Ended:
    job_id, operation = (asks.job_id, asks.operation) if asks else (None, None)
    return Ended(source(offset), kind, "confirmed", time, time, job_id=job_id, operation=operation)


def dead(offset: int, time: float, reason: str, asks: Content | None = None) -> Ended:
    return replace(ended(offset, time, asks, "dead-lettered"), reason=reason)


J, K, L, M = content("J"), content("K"), content("L"), content("M")
J_FAILS = content("J", "b", "PutJobFailureResult")
POISON = None

CLEAN = History(
    entries=(
        entry(0, J),  # accepted
        entry(1, K),  # accepted, after a throttle
        entry(2, J),  # a copy: duplicate
        entry(3, J_FAILS),  # conflict
        entry(4, POISON, expected="rejected"),
        entry(5, None, is_null=True),
        entry(6, L),  # refused by CodePipeline
    ),
    calls=(
        call(J, 10.0),
        call(K, 10.0, "ThrottlingException"),
        call(K, 11.0),
        call(J_FAILS, 12.0, "InvalidJobStateException"),
        call(L, 12.0, "ValidationException"),
    ),
    outcomes=(
        ended(0, 11.0, J),
        ended(1, 12.0, K),
        ended(2, 12.0, J, "duplicate"),
        ended(3, 13.0, J_FAILS, "conflict"),
        dead(4, 10.0, "malformed"),
        dead(6, 13.0, "refused", L),
    ),
    letters=(Letter(source(4), "malformed"), Letter(source(6), "refused")),
    commits=(Commit(TOPIC, 0, 1, 11.0), Commit(TOPIC, 0, 7, 13.0)),
)


def plus(history: History, **more: Sequence[object]) -> History:
    """The history with more facts of each kind."""
    grown = {kind: (*getattr(history, kind), *facts) for kind, facts in more.items()}
    return replace(history, **grown)  # type: ignore[arg-type]


def less(history: History, kind: str, *places: int) -> History:
    """The history without the facts of a kind at these places."""
    facts = getattr(history, kind)
    kept = tuple(fact for place, fact in enumerate(facts) if place not in places)
    return replace(history, **{kind: kept})  # type: ignore[arg-type]


def the_one_violation(judgement: Judgement) -> tuple[str, str]:
    [violation] = judgement.violations
    return violation.guarantee, violation.detail


def test_a_clean_history_is_clean_and_counted() -> None:
    assert judge(CLEAN) == Judgement(
        records=7,
        job_results=5,
        outcomes={"accepted": 2, "conflict": 1, "dead-lettered": 2, "duplicate": 1, "skipped": 1},
        dead_letters={"malformed": 1, "refused": 1},
        lost=0,
        reordered=0,
        repeats_after_crash=0,
        repeats_needless=0,
        unended=0,
        violations=(),
    )
    assert judge(CLEAN).is_clean


def test_the_order_in_which_facts_are_given_does_not_matter() -> None:
    chance = random.Random(3)
    shuffled = {
        kind: tuple(chance.sample(getattr(CLEAN, kind), len(getattr(CLEAN, kind))))
        for kind in ("entries", "calls", "outcomes", "letters", "commits")
    }
    assert judge(replace(CLEAN, **shuffled)) == judge(CLEAN)  # type: ignore[arg-type]


# G1


def test_a_commit_past_a_record_that_never_ended_is_reported_as_lost() -> None:
    judgement = judge(less(CLEAN, "outcomes", 1))
    assert the_one_violation(judgement) == ("G1", "committed, but it never ended")
    assert judgement.lost == 1


def test_a_commit_that_was_ahead_of_its_record_is_reported() -> None:
    early = plus(CLEAN, commits=[Commit(TOPIC, 0, 2, 11.5)])
    assert the_one_violation(judge(early)) == ("G1", "committed 0.500 s before it ended")


def test_a_note_that_was_ahead_of_its_record_is_reported() -> None:
    early = plus(CLEAN, commits=[Commit(TOPIC, 0, 1, 11.5, ahead=frozenset({1}))])
    assert the_one_violation(judge(early)) == ("G1", "committed 0.500 s before it ended")


def test_a_commit_past_a_record_without_its_dead_letter_is_reported() -> None:
    judgement = judge(less(CLEAN, "letters", 1))
    assert the_one_violation(judgement) == ("G1", "committed without its dead letter")
    assert judgement.lost == 1


def test_clocks_that_disagree_within_the_stated_skew_are_not_held_against_anyone() -> None:
    early = plus(CLEAN, commits=[Commit(TOPIC, 0, 2, 11.5)])
    assert judge(replace(early, skew_seconds=0.6)).is_clean


def test_records_before_the_start_are_nobodys() -> None:
    unread = less(CLEAN, "outcomes", 0)
    assert not judge(unread).is_clean
    foreign = less(plus(CLEAN, entries=[]), "outcomes", 0, 1, 2, 3, 4, 5)
    foreign = replace(foreign, calls=(), letters=(), starts={(TOPIC, 0): 7})
    assert judge(foreign).is_clean


def test_a_commit_set_back_by_a_late_one_is_no_breach() -> None:
    assert judge(plus(CLEAN, commits=[Commit(TOPIC, 0, 1, 14.0)])).is_clean


# G8, liveness


def test_a_valid_record_that_nobody_called_for_is_lost() -> None:
    judgement = judge(less(CLEAN, "calls", 1, 2))
    assert the_one_violation(judgement) == ("G8", "accepted without any call")
    assert judgement.lost == 1


def test_a_valid_record_that_was_rejected_is_lost() -> None:
    history = plus(
        CLEAN,
        entries=[entry(7, M, expected="valid")],
        outcomes=[dead(7, 12.0, "invalid", M)],
        letters=[Letter(source(7), "invalid")],
        commits=[Commit(TOPIC, 0, 8, 13.0)],
    )
    judgement = judge(history)
    assert the_one_violation(judgement) == ("G8", "valid, yet rejected: invalid")
    assert judgement.lost == 1


def test_a_call_for_a_rejected_record_is_reported() -> None:
    history = plus(
        CLEAN,
        entries=[entry(7, M, expected="rejected")],
        calls=[call(M, 12.0)],
        outcomes=[dead(7, 13.0, "invalid", M)],
        letters=[Letter(source(7), "invalid")],
        commits=[Commit(TOPIC, 0, 8, 13.0)],
    )
    expected = ("G8", "rejected, yet CodePipeline was called for it")
    assert the_one_violation(judge(history)) == expected


def test_poison_that_was_taken_for_a_job_result_is_reported() -> None:
    history = replace(CLEAN, entries=(*CLEAN.entries[:6], entry(6, L, expected="rejected")))
    expected = ("G8", "no job result, yet it ended dead-lettered")
    assert the_one_violation(judge(history)) == expected


def test_a_record_that_has_not_ended_counts_only_in_a_final_history() -> None:
    history = plus(CLEAN, entries=[entry(7, M)])
    assert judge(history, is_final=False).is_clean
    judgement = judge(history)
    assert the_one_violation(judgement) == ("liveness", "has not ended")
    assert (judgement.lost, judgement.unended) == (1, 1)


def test_a_final_history_has_everything_committed() -> None:
    judgement = judge(less(CLEAN, "commits", 1))
    expected = ("liveness", "all has ended, but 1 of 7 is committed")
    assert the_one_violation(judgement) == expected
    assert judge(less(CLEAN, "commits", 1), is_final=False).is_clean


# G2


def with_results(*asks: Content, calls: Sequence[Call], **more: object) -> History:
    """Results of one job, ended after the last call: the accepted one, and conflicts."""
    accepted = {call.content for call in calls if call.answer == ACCEPTED}
    outcomes = tuple(
        ended(place, 100.0, what, "accepted" if what in accepted else "conflict")
        for place, what in enumerate(asks)
    )
    return replace(
        History(
            entries=tuple(entry(place, what) for place, what in enumerate(asks)),
            calls=tuple(calls),
            outcomes=outcomes,
            commits=(Commit(TOPIC, 0, len(asks), 101.0),),
        ),
        **more,  # type: ignore[arg-type]
    )


ENDED_ALREADY = "InvalidJobStateException"
SECOND = content("J", "b")
THIRD = content("J", "c")


def test_a_later_result_called_first_is_reordered() -> None:
    history = with_results(J, SECOND, calls=[call(SECOND, 10.0, ENDED_ALREADY), call(J, 11.0)])
    judgement = judge(history)
    assert the_one_violation(judgement) == ("G2", "called after a later result")
    assert judgement.reordered == 1


def test_a_later_result_called_while_the_earlier_one_is_being_retried_is_reordered() -> None:
    calls = [
        call(J, 10.0, "ThrottlingException"),
        call(SECOND, 11.0),
        call(J, 12.0, ENDED_ALREADY, instance=NEXT_PROCESS),
    ]
    history = with_results(J, SECOND, calls=calls, handovers=(11.8,))
    history = replace(history, outcomes=(ended(0, 100.0, J, "conflict"), ended(1, 100.0, SECOND)))
    judgement = judge(history)
    expected = ("G2", "called before the result ahead of it had ended")
    assert the_one_violation(judgement) == expected
    assert judgement.reordered == 1


def test_a_later_result_called_by_the_first_process_and_the_earlier_by_the_next_is_reordered() -> (
    None
):
    calls = [call(SECOND, 10.0, ENDED_ALREADY), call(J, 20.0, instance=NEXT_PROCESS)]
    judgement = judge(with_results(J, SECOND, calls=calls, handovers=(15.0,)))
    assert the_one_violation(judgement) == ("G2", f"called before {source(0)} was")
    assert judgement.reordered == 1


def test_two_overlapping_calls_for_one_job_are_reported() -> None:
    calls = [call(J, 10.0), call(SECOND, 10.2, ENDED_ALREADY)]
    judgement = judge(with_results(J, SECOND, calls=calls))
    assert the_one_violation(judgement) == ("G2", "two calls of one process at once")
    assert judgement.reordered == 1


def test_overlapping_calls_of_two_processes_are_a_handover() -> None:
    calls = [call(J, 10.0), call(J, 10.2, ENDED_ALREADY, instance=NEXT_PROCESS)]
    judgement = judge(with_results(J, calls=calls, handovers=(10.1,)))
    assert judgement.is_clean
    assert judgement.repeats_after_crash == 1


def test_a_retry_that_overlaps_a_call_whose_answer_never_came_is_no_breach() -> None:
    calls = [
        call(J, 10.0, "", ended=40.0, was_delivered=False, was_applied=True),
        call(J, 20.0, ENDED_ALREADY),
    ]
    history = with_results(J, calls=calls)
    history = replace(history, outcomes=(replace(ended(0, 100.0, J), certainty="inferred"),))
    assert judge(history).is_clean


def test_a_dead_lettered_result_lets_the_next_one_pass() -> None:
    calls = [call(J, 10.0, "InternalFailure"), call(SECOND, 11.0)]
    history = with_results(J, SECOND, calls=calls)
    history = replace(
        history,
        outcomes=(dead(0, 10.9, "exhausted", J), ended(1, 100.0, SECOND)),
        letters=(Letter(source(0), "exhausted"),),
    )
    assert judge(history).is_clean


@pytest.mark.parametrize("how", [{"was_delivered": None}, {"ended": 16.0}])
def test_an_answer_that_may_have_been_read_lets_the_next_one_pass(how: dict[str, object]) -> None:
    """Slow, or sent when the wire was cut: nobody can say that the process had not read it."""
    calls = [call(J, 10.0, **how), call(SECOND, 17.0, ENDED_ALREADY)]
    assert judge(with_results(J, SECOND, calls=calls)).is_clean


def test_an_answer_that_may_not_have_been_read_makes_no_repeat_needless() -> None:
    calls = [call(J, 10.0, was_delivered=None), call(J, 11.0, ENDED_ALREADY)]
    history = with_results(J, calls=calls)
    history = replace(history, outcomes=(replace(ended(0, 100.0, J), certainty="inferred"),))
    assert judge(history).is_clean


def test_going_back_after_a_crash_is_a_repeat_and_not_a_reordering() -> None:
    calls = [call(J, 10.0), call(SECOND, 11.0, ENDED_ALREADY)] + [
        call(what, at, ENDED_ALREADY, instance=NEXT_PROCESS)
        for what, at in ((J, 20.0), (SECOND, 21.0))
    ]
    judgement = judge(with_results(J, SECOND, calls=calls, handovers=(15.0,)))
    assert judgement.is_clean
    assert judgement.repeats_after_crash == 2


def test_copies_between_other_results_are_matched_with_the_record_they_can_be_for() -> None:
    calls = [
        call(J, 10.0, ENDED_ALREADY),
        call(SECOND, 11.0, ENDED_ALREADY),
        call(J, 12.0, ENDED_ALREADY),
    ]
    history = with_results(J, SECOND, J, calls=calls)
    kinds = [
        ended(place, 100.0, what, "already-ended") for place, what in enumerate((J, SECOND, J))
    ]
    assert judge(replace(history, outcomes=tuple(kinds))).is_clean


def test_results_of_one_job_in_two_partitions_have_no_order() -> None:
    history = History(
        entries=(entry(0, J), entry(0, SECOND, partition=1)),
        calls=(call(SECOND, 10.0), call(J, 11.0, ENDED_ALREADY)),
        outcomes=(
            ended(0, 100.0, J, "conflict"),
            replace(ended(0, 100.0, SECOND), source=source(0, 1)),
        ),
        commits=(Commit(TOPIC, 0, 1, 101.0), Commit(TOPIC, 1, 1, 101.0)),
    )
    assert judge(history).is_clean


def test_copies_of_a_result_in_another_partition_may_be_called_at_any_time() -> None:
    calls = [call(what, at, ENDED_ALREADY) for what, at in ((J, 10.0), (SECOND, 11.0), (J, 12.0))]
    history = with_results(J, SECOND, calls=calls)
    copy = replace(ended(0, 100.0, J, "already-ended"), source=source(0, 1))
    history = plus(history, entries=[entry(0, J, partition=1)], outcomes=[copy])
    history = plus(history, commits=[Commit(TOPIC, 1, 1, 101.0)])
    assert judge(replace(history, early_attempts=0)).is_clean


def test_a_write_that_was_made_again_is_no_second_outcome_or_dead_letter() -> None:
    again = plus(CLEAN, outcomes=[CLEAN.outcomes[-1]], letters=[CLEAN.letters[-1]])
    assert judge(again) == judge(CLEAN)


def test_a_result_called_while_the_one_ahead_of_it_is_untried_is_reordered_at_any_time() -> None:
    history = History(entries=(entry(0, J), entry(1, SECOND)), calls=(call(SECOND, 10.0),))
    judgement = judge(history, is_final=False)
    assert the_one_violation(judgement) == ("G2", f"called before {source(0)} was")


def test_a_process_may_go_back_after_a_rebalance() -> None:
    order = ((J, 10.0), (SECOND, 11.0), (J, 20.0), (SECOND, 21.0))
    calls = [call(what, at, ENDED_ALREADY) for what, at in order]
    assert judge(with_results(J, SECOND, calls=calls, handovers=(15.0,))).is_clean
    assert judge(with_results(J, SECOND, calls=calls)).reordered == 1


def test_an_answer_that_may_have_met_a_time_out_proves_nothing() -> None:
    slow = call(J, 10.0, ended=16.0)
    history = with_results(J, calls=[slow, call(J, 15.0, ENDED_ALREADY)])
    assert judge(history).is_clean
    quick = replace(history, attempt_timeout_seconds=60.0)
    assert the_one_violation(judge(quick)) == ("G2", "two calls of one process at once")


def test_a_dead_letter_younger_than_its_commit_is_reported() -> None:
    (letter,) = (one for one in CLEAN.letters if one.source == source(4))
    others = [one for one in CLEAN.letters if one is not letter]
    for appended, is_clean in ((5.0, True), (1000.0, False)):
        timed = replace(CLEAN, letters=(*others, replace(letter, appended=appended)))
        assert judge(timed).is_clean is is_clean


# G3


def test_a_call_after_its_acceptance_was_read_is_needless() -> None:
    judgement = judge(plus(CLEAN, calls=[call(J, 11.0, ENDED_ALREADY)]))
    assert the_one_violation(judgement) == ("G3", "called again after its acceptance")
    assert judgement.repeats_needless == 1


def test_a_call_by_the_next_process_for_what_was_committed_is_needless() -> None:
    again = call(K, 20.0, ENDED_ALREADY, instance=NEXT_PROCESS)
    judgement = judge(plus(CLEAN, calls=[again], handovers=[15.0]))
    expected = ("G3", "called although everything that asks for it was committed")
    assert the_one_violation(judgement) == expected
    assert judgement.repeats_needless == 1
    assert judgement.repeats_after_crash == 0


def test_more_refusals_than_records_that_ask_are_needless() -> None:
    calls = [call(J_FAILS, 14.0, ENDED_ALREADY)]
    judgement = judge(plus(CLEAN, calls=calls))
    assert the_one_violation(judgement) == ("G3", "called again after a conclusive refusal")
    assert judgement.repeats_needless == 1


def test_a_request_that_could_not_be_read_may_be_made_once_more_another_way() -> None:
    unread = "SerializationException"
    twice = with_results(J, calls=[call(J, 10.0, unread), call(J, 11.0)])
    assert judge(twice).is_clean
    calls = [call(J, at, unread) for at in (10.0, 11.0, 12.0)]
    assert judge(with_results(J, calls=calls)).repeats_needless == 1


def test_attempts_for_a_job_that_may_be_too_young_are_no_repeats() -> None:
    calls = [call(J, at, ENDED_ALREADY) for at in (10.0, 11.0, 12.0)]
    history = replace(with_results(J, calls=calls), outcomes=(ended(0, 100.0, J, "already-ended"),))
    assert judge(history).is_clean
    fourth = plus(history, calls=[call(J, 13.0, ENDED_ALREADY)])
    assert judge(fourth).repeats_needless == 1


def test_a_copy_of_a_refused_result_may_ask_again() -> None:
    history = plus(
        CLEAN,
        entries=[entry(7, J_FAILS)],
        calls=[call(J_FAILS, 14.0, ENDED_ALREADY)],
        outcomes=[ended(7, 15.0, J_FAILS, "conflict")],
        commits=[Commit(TOPIC, 0, 8, 16.0)],
    )
    assert judge(history).is_clean


def test_retries_after_unknown_answers_are_no_repeats() -> None:
    calls = [
        call(J, 10.0, "", was_delivered=False, was_applied=True),
        call(J, 11.0, "InternalFailure"),
        call(J, 12.0, ENDED_ALREADY),
    ]
    history = with_results(J, calls=calls)
    history = replace(history, outcomes=(replace(ended(0, 100.0, J), certainty="inferred"),))
    judgement = judge(history)
    assert judgement.is_clean
    assert judgement.repeats_after_crash == 0


def test_a_second_outcome_needs_a_handover() -> None:
    twice = plus(CLEAN, outcomes=[ended(0, 12.5, J, "already-ended")])
    assert the_one_violation(judge(twice)) == ("G3", "a second outcome without a handover")
    after_crash = judge(replace(twice, handovers=(12.2,)))
    assert after_crash.is_clean
    assert after_crash.outcomes == judge(CLEAN).outcomes


def test_a_second_dead_letter_needs_a_handover() -> None:
    twice = plus(CLEAN, letters=[Letter(source(6), "refused", moment="later")])
    assert the_one_violation(judge(twice)) == ("G3", "a second dead letter without a handover")
    after_crash = judge(replace(twice, handovers=(12.2,)))
    assert after_crash.is_clean
    assert after_crash.dead_letters == judge(CLEAN).dead_letters


# G5


@pytest.mark.parametrize("reason", ["refused", "exhausted", "unknown-job"])
def test_a_dead_letter_for_the_accounts_trouble_is_reported(reason: str) -> None:
    history = plus(
        CLEAN,
        entries=[entry(7, M)],
        calls=[call(M, 12.0, "ExpiredTokenException")],
        outcomes=[dead(7, 13.0, reason, M)],
        letters=[Letter(source(7), reason)],
        commits=[Commit(TOPIC, 0, 8, 13.0)],
    )
    guarantee, detail = the_one_violation(judge(history))
    assert guarantee == "G5"
    assert reason in detail


def test_giving_up_is_for_the_operator_to_say() -> None:
    history = plus(
        CLEAN,
        entries=[entry(7, M)],
        outcomes=[dead(7, 13.0, "given-up", M)],
        letters=[Letter(source(7), "given-up")],
        commits=[Commit(TOPIC, 0, 8, 13.0)],
    )
    expected = ("G5", "given up although nobody asked for it")
    assert the_one_violation(judge(history)) == expected
    assert judge(replace(history, may_give_up=True)).is_clean


# truth


def test_a_confirmed_acceptance_that_codepipeline_never_gave_is_reported() -> None:
    calls = (*CLEAN.calls[:2], replace(CLEAN.calls[2], answer=ENDED_ALREADY, was_applied=False))
    history = replace(CLEAN, calls=(*calls, *CLEAN.calls[3:]))
    expected = ("truth", "accepted and confirmed, but CodePipeline never took it")
    assert the_one_violation(judge(history)) == expected


def test_a_duplicate_of_nothing_that_was_applied_is_reported() -> None:
    outcomes = (*CLEAN.outcomes[:3], replace(CLEAN.outcomes[3], kind="duplicate"))
    history = replace(CLEAN, outcomes=(*outcomes, *CLEAN.outcomes[4:]))
    expected = ("truth", "duplicate, but nothing identical was applied")
    assert the_one_violation(judge(history)) == expected


def test_an_outcome_of_no_record_is_reported() -> None:
    history = plus(CLEAN, outcomes=[ended(99, 12.0, J)])
    assert the_one_violation(judge(history)) == ("truth", "an outcome of no known record")


def test_an_outcome_of_a_skipped_record_is_reported() -> None:
    history = plus(CLEAN, outcomes=[ended(5, 12.0, J)])
    expected = ("truth", "a record that asks nothing ended accepted")
    assert the_one_violation(judge(history)) == expected


def test_an_outcome_that_names_another_job_is_reported() -> None:
    outcomes = (replace(CLEAN.outcomes[0], job_id="K"), *CLEAN.outcomes[1:])
    expected = ("truth", "the outcome names another job or operation than its record")
    assert the_one_violation(judge(replace(CLEAN, outcomes=outcomes))) == expected


def test_an_outcome_of_an_unknown_kind_is_reported() -> None:
    outcomes = (replace(CLEAN.outcomes[0], kind="done"), *CLEAN.outcomes[1:])
    expected = ("truth", "no such outcome: done")
    assert the_one_violation(judge(replace(CLEAN, outcomes=outcomes))) == expected


def test_a_dead_letter_of_no_record_is_reported() -> None:
    history = plus(CLEAN, letters=[Letter(source(99), "invalid")])
    assert the_one_violation(judge(history)) == ("truth", "a dead letter of no known record")


def test_a_dead_letter_that_was_changed_is_reported() -> None:
    letters = (replace(CLEAN.letters[0], is_unchanged=False), *CLEAN.letters[1:])
    expected = ("truth", "the dead letter is not its record")
    assert the_one_violation(judge(replace(CLEAN, letters=letters))) == expected


def test_a_dead_letter_of_a_delivered_record_is_reported() -> None:
    history = plus(CLEAN, letters=[Letter(source(0), "exhausted")])
    expected = ("truth", "dead-lettered, yet its outcome is accepted")
    assert the_one_violation(judge(history)) == expected


def test_a_call_that_no_record_asks_for_is_reported() -> None:
    history = plus(CLEAN, calls=[call(content("X"), 12.0)])
    expected = ("truth", "no record asks for this PutJobSuccessResult")
    assert the_one_violation(judge(history)) == expected
