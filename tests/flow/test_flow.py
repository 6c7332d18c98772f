"""The story of a record, in virtual time."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from gateway.core.backpressure import Budgets
from gateway.core.model import Certainty, CommitPoint, Failure, OutcomeKind, Partition, Reason
from gateway.core.room import RoomBounds
from gateway.core.signals import (
    FarAhead,
    IntakePaused,
    IntakeResumed,
    KeylessRecord,
    PartitionHeld,
    RetentionOvertook,
    TargetHalted,
    TargetResumed,
)
from gateway.core.steps import UNPROVEN
from tests.flow.world import (
    BROKEN,
    CUT,
    ENDED,
    EXPIRED,
    NOT_FOUND,
    REFUSED,
    THROTTLED,
    TOPIC,
    small_world,
)


async def test_a_job_result_is_delivered_published_and_committed():
    async with small_world() as world:
        await world.member()
        world.send("a:succeeded:1")
        await asyncio.sleep(5)
        assert world.codepipeline.called("a") == [b"a:succeeded:1"]
        assert world.kinds() == {"a:succeeded:1": "accepted"}
        assert world.committed() == 1


async def test_results_of_one_job_are_attempted_one_after_the_other_also_through_retries():
    async with small_world() as world:
        world.codepipeline.answers("a", BROKEN, THROTTLED, CUT, None, ENDED)
        await world.member()
        world.send("a:continues:1", "a:failed:2")
        await asyncio.sleep(60)
        assert world.codepipeline.called("a") == [b"a:continues:1"] * 4 + [b"a:failed:2"]
        calls = world.codepipeline.calls
        assert all(one.ended <= two.began for one, two in itertools.pairwise(calls))


async def test_jobs_do_not_wait_for_each_other():
    async with small_world() as world:
        world.codepipeline.answers("slow", *[BROKEN] * 5)
        await world.member()
        world.send("slow:succeeded:1", "quick:succeeded:1")
        await asyncio.sleep(2)
        assert world.kinds() == {"quick:succeeded:1": "accepted"}
        assert world.committed() == 0, "the slow one holds the watermark"
        await asyncio.sleep(120)
        assert world.committed() == 2


async def test_an_exact_repeat_costs_no_call():
    async with small_world() as world:
        await world.member()
        world.send("a:succeeded:1", "a:succeeded:1")
        await asyncio.sleep(5)
        assert len(world.codepipeline.calls) == 1
        kinds = [outcome.kind for outcome in world.outcomes.durable]
        assert kinds == [OutcomeKind.ACCEPTED, OutcomeKind.DUPLICATE]
        assert world.committed() == 2


async def test_a_contradiction_asks_aws_and_is_called_a_conflict():
    async with small_world() as world:
        world.codepipeline.answers("a", None, ENDED)
        await world.member()
        world.send("a:succeeded:1", "a:failed:2")
        await asyncio.sleep(5)
        assert world.kinds() == {"a:succeeded:1": "accepted", "a:failed:2": "conflict"}
        assert not world.dead_letters.durable


@pytest.mark.parametrize("value", ["poison", "crash"])
async def test_poison_is_kept_and_stops_nothing(value):
    async with small_world() as world:
        await world.member()
        world.send(value, "a:succeeded:1")
        await asyncio.sleep(5)
        letter = world.dead_letters.durable[0]
        assert letter.record.value == value.encode()
        assert letter.reason is (Reason.MALFORMED if value == "poison" else Reason.INTERNAL)
        assert world.kinds() == {value: "dead-lettered", "a:succeeded:1": "accepted"}
        assert world.committed() == 2


async def test_a_null_value_is_settled_in_silence():
    async with small_world() as world:
        await world.member()
        world.send(None)
        await asyncio.sleep(3)
        assert world.committed() == 1
        assert not world.outcomes.durable


async def test_an_unroutable_result_costs_no_call():
    async with small_world() as world:
        await world.member()
        world.send("a:succeeded:1:nowhere")
        await asyncio.sleep(3)
        assert world.dead_letters.durable[0].reason is Reason.UNROUTABLE
        assert not world.codepipeline.calls


async def test_nothing_settles_before_its_outcome_is_durable():
    async with small_world() as world:
        world.outcomes._delay_seconds = None
        await world.member()
        world.send("a:succeeded:1")
        await asyncio.sleep(10)
        assert world.outcomes.pending() == 1
        assert world.committed() in (None, 0)
        world.outcomes.flush()
        await asyncio.sleep(2)
        assert world.committed() == 1


async def test_no_outcome_of_a_dead_letter_before_the_dead_letter_is_durable():
    async with small_world() as world:
        world.dead_letters._delay_seconds = None
        await world.member()
        world.send("poison")
        await asyncio.sleep(10)
        assert not world.outcomes.durable
        assert world.committed() in (None, 0)
        world.dead_letters.flush()
        await asyncio.sleep(2)
        assert world.committed() == 1


async def test_an_event_fault_is_dead_lettered_once():
    async with small_world() as world:
        world.codepipeline.answers("a", REFUSED)
        await world.member()
        world.send("a:succeeded:1", "b:succeeded:1")
        await asyncio.sleep(5)
        assert [letter.reason for letter in world.dead_letters.durable] == [Reason.REFUSED]
        assert world.kinds() == {"a:succeeded:1": "dead-lettered", "b:succeeded:1": "accepted"}


async def test_ended_after_an_unknown_answer_is_our_own_acceptance():
    async with small_world() as world:
        world.codepipeline.answers("a", CUT, ENDED)
        await world.member()
        world.send("a:succeeded:1")
        await asyncio.sleep(10)
        (outcome,) = world.outcomes.durable
        assert (outcome.kind, outcome.certainty) == (OutcomeKind.ACCEPTED, Certainty.INFERRED)


async def test_trouble_with_the_account_halts_and_resumes_by_itself():
    async with small_world() as world:
        world.codepipeline.default["default"] = EXPIRED
        member = await world.member()
        world.send(*(f"job{number}:succeeded:1" for number in range(20)))
        await asyncio.sleep(120)
        assert [signal.why for signal in member.told.of(TargetHalted)] == ["ExpiredTokenException"]
        assert len(world.codepipeline.calls) < 40, "one canary at a time, ever more rarely"
        assert not world.dead_letters.durable
        world.codepipeline.default["default"] = None
        await asyncio.sleep(60)
        assert len(member.told.of(TargetResumed)) == 1
        assert set(world.kinds().values()) == {"accepted"}
        assert len(world.outcomes.durable) == 20
        assert world.committed() == 20


async def test_a_halted_operation_does_not_stop_the_others():
    async with small_world() as world:
        world.codepipeline.answers("a", *[EXPIRED] * 50)
        await world.member()
        world.send("a:failed:1", "b:succeeded:1", "c:succeeded:1")
        await asyncio.sleep(10)
        assert world.kinds() == {"b:succeeded:1": "accepted", "c:succeeded:1": "accepted"}


async def test_one_target_in_trouble_does_not_stop_another():
    async with small_world() as world:
        world.codepipeline.default["default"] = EXPIRED
        await world.member()
        world.send("a:succeeded:1", "b:succeeded:1:other")
        await asyncio.sleep(10)
        assert world.kinds() == {"b:succeeded:1:other": "accepted"}


async def test_unknown_jobs_of_an_unproven_target_halt_it_and_proof_settles_them():
    async with small_world() as world:
        world.codepipeline.default["default"] = NOT_FOUND
        member = await world.member()
        world.send(*(f"job{number}:succeeded:1" for number in range(5)))
        await asyncio.sleep(60)
        assert {signal.why for signal in member.told.of(TargetHalted)} == {UNPROVEN}
        assert not world.dead_letters.durable
        assert len({call.job_id for call in world.codepipeline.calls}) > 1, "the canary rotates"
        world.codepipeline.answers("good", None)
        world.send("good:succeeded:1")
        await asyncio.sleep(120)
        assert len(world.dead_letters.durable) == 5
        assert {letter.reason for letter in world.dead_letters.durable} == {Reason.UNKNOWN_JOB}


async def test_the_intake_pauses_at_a_budget_and_goes_on_by_itself():
    async with small_world() as world:
        world.codepipeline.seconds = 20.0
        member = await world.member(Budgets(records=50, bytes=10**9, lanes=1000))
        world.send(*(f"job{number}:succeeded:1" for number in range(400)))
        await asyncio.sleep(10)
        assert member.told.of(IntakePaused)
        assert member.backpressure.records <= 150, "a budget and the batch that went past it"
        world.codepipeline.seconds = 1.0
        await asyncio.sleep(300)
        assert member.told.of(IntakeResumed)
        assert len(world.outcomes.durable) == 400
        assert member.backpressure.records == member.backpressure.bytes == 0
        assert world.committed() == 400


async def test_a_pause_is_applied_again_to_the_next_assignment():
    async with small_world() as world:
        world.outcomes._delay_seconds = None
        member = await world.member(Budgets(records=10, bytes=10**9, lanes=1000))
        world.send(*(f"job{number}:succeeded:1" for number in range(12)))
        await asyncio.sleep(5)
        assert member.backpressure.is_paused
        await member.source.revoked(world.group.generation)
        await member.source.assigned([Partition(TOPIC, 0)], world.group.generation)
        world.send(*(f"more{number}:succeeded:1" for number in range(500)))
        await asyncio.sleep(5)
        assert member.backpressure.records <= 10 + 12 + 100, "a budget, and one batch more"


async def test_a_revocation_waits_for_calls_under_way_only_and_commits():
    async with small_world() as world:
        world.codepipeline.seconds = 5.0
        world.codepipeline.answers("held", *[EXPIRED] * 100)
        member = await world.member()
        world.send("a:succeeded:1", "held:failed:1", "b:succeeded:1")
        await asyncio.sleep(1)
        await member.partitions.partitions_revoked()
        assert world.committed() == 1, "a is settled, held is not"
        assert member.backpressure.records == 0


@pytest.mark.parametrize("group_is_first", [False, True])
async def test_who_leaves_while_the_group_revokes_commits_all_the_same(group_is_first):
    """All members stop at once: each hears of the others' leaving amid its own."""
    async with small_world() as world:
        world.codepipeline.seconds = 5.0
        member = await world.member()
        world.send("a:succeeded:1", "b:succeeded:1")
        await asyncio.sleep(1)
        revocations = [
            lambda: member.partitions.partitions_revoked(),
            lambda: member.source.revoked(world.group.generation),
        ]
        first, second = reversed(revocations) if group_is_first else revocations
        under_way = asyncio.create_task(first())
        await asyncio.sleep(1)
        await second()
        await member.source.stop()
        await under_way
        assert world.committed() == 2


async def test_no_attempt_begins_while_the_partitions_may_be_somebody_elses():
    async with small_world() as world:
        world.codepipeline.answers("again", THROTTLED)
        member = await world.member()
        world.send("again:succeeded:1", *(f"job{number}:succeeded:1" for number in range(9)))
        await asyncio.sleep(0.5)
        member.is_owner = False
        begun = len(world.codepipeline.calls)
        assert 0 < begun < 10
        await asyncio.sleep(20)
        assert len(world.codepipeline.calls) == begun, "neither the next ones nor the retry"
        member.is_owner = True
        await asyncio.sleep(10)
        assert set(world.kinds().values()) == {"accepted"}
        assert len(world.kinds()) == 10
        assert len(world.codepipeline.calls) == 11


async def test_after_a_revocation_no_attempt_begins_and_memory_is_given_back_once():
    async with small_world() as world:
        member = await world.member()
        world.log.append(TOPIC, b"a:succeeded:1", b"a")
        (record,) = world.log.records(TOPIC)
        member.flow._admission.admit(record, member.partitions.current)
        await member.partitions.partitions_revoked()
        await asyncio.sleep(5)
        assert not world.codepipeline.calls
        assert member.backpressure.records == member.backpressure.bytes == 0
        assert member.rooms["default"].in_flight == 0


@pytest.mark.parametrize("code", ["SerializationException", "SignatureDoesNotMatch"])
async def test_a_doubtful_refusal_is_asked_again_at_once_and_halts_nobody(code):
    async with small_world() as world:
        world.codepipeline.answers("a", Failure(code, 400, is_doubtful=True), None)
        member = await world.member()
        world.send("a:succeeded:1", "a:failed:2")
        await asyncio.sleep(5)
        assert world.kinds()["a:succeeded:1"] == "accepted"
        assert world.codepipeline.called("a")[:2] == [b"a:succeeded:1"] * 2, "its lane is kept"
        first, second = world.codepipeline.calls[:2]
        assert second.began - first.ended < 0.01
        assert not world.dead_letters.durable
        assert not member.told.of(TargetHalted)


async def test_a_canary_that_never_left_does_not_keep_others_from_leaving():
    async with small_world() as world:
        world.codepipeline.default["default"] = EXPIRED
        member = await world.member()
        world.send("a:succeeded:1")
        await asyncio.sleep(3.5)
        (halt,) = member.rooms["default"].halts().values()
        assert not halt.is_probing
        halt.next_probe = 0.0
        member.partitions.current.deliveries.nudge()
        assert halt.is_probing
        generation = world.group.generation
        await member.source.revoked(generation)
        world.codepipeline.default["default"] = None
        await member.source.assigned([Partition(TOPIC, 0)], generation)
        await asyncio.sleep(20)
        assert world.kinds() == {"a:succeeded:1": "accepted"}


async def test_nothing_is_given_up_that_may_be_somebody_elses():
    async with small_world() as world:
        world.give_up_seconds = 10.0
        world.codepipeline.default["default"] = EXPIRED
        member = await world.member()
        world.send(*(f"job{number}:succeeded:1" for number in range(5)))
        await asyncio.sleep(5)
        member.is_owner = False
        await asyncio.sleep(60)
        assert not world.dead_letters.durable
        member.is_owner = True
        await asyncio.sleep(5)
        assert {letter.reason for letter in world.dead_letters.durable} == {Reason.GIVEN_UP}


async def test_what_was_not_settled_is_delivered_by_the_next_owner():
    async with small_world(partitions=2) as world:
        first = await world.member()
        world.codepipeline.default["default"] = EXPIRED
        world.send(*(f"job{number}:succeeded:1" for number in range(10)))
        await asyncio.sleep(5)
        await first.stop()
        world.codepipeline.default["default"] = None
        await world.member()
        await asyncio.sleep(20)
        assert len(world.kinds()) == 10
        assert set(world.kinds().values()) == {"accepted"}


async def test_a_crash_loses_nothing():
    async with small_world(partitions=2) as world:
        first = await world.member()
        world.send(*(f"job{number}:succeeded:1" for number in range(40)))
        await asyncio.sleep(3.5)
        await first.crash()
        await world.member()
        await asyncio.sleep(60)
        assert len(world.kinds()) == 40
        assert world.committed(0) == world.log.end(Partition(TOPIC, 0))
        assert world.committed(1) == world.log.end(Partition(TOPIC, 1))


async def test_a_second_member_takes_over_partitions_without_loss_or_disorder():
    async with small_world(partitions=4) as world:
        await world.member()
        for number in range(60):
            world.send(f"job{number % 15}:continues:{number}")
        await asyncio.sleep(2.5)
        second = await world.member()
        await asyncio.sleep(120)
        assert second.partitions.current is not None
        assert len(second.partitions.current.watermarks) == 2
        assert len(world.kinds()) == 60
        for number in range(15):
            first_calls = list(dict.fromkeys(world.codepipeline.called(f"job{number}")))
            expected = [f"job{number}:continues:{number + 15 * n}".encode() for n in range(4)]
            assert first_calls == expected


async def test_a_failed_commit_is_made_again():
    async with small_world() as world:
        member = await world.member()
        await asyncio.sleep(2)
        member.source.commit_fault = lambda: TimeoutError("no answer")
        world.send("a:succeeded:1")
        await asyncio.sleep(5)
        assert world.committed() == 0
        member.source.commit_fault = lambda: None
        await asyncio.sleep(2)
        assert world.committed() == 1


async def test_a_late_commit_of_an_earlier_owner_does_not_show_as_lag_for_ever():
    async with small_world() as world:
        await world.member()
        world.send("a:succeeded:1", "b:succeeded:1")
        await asyncio.sleep(5)
        world.group.committed[Partition(TOPIC, 0)] = CommitPoint(1)
        await asyncio.sleep(70)
        assert world.committed() == 2


async def test_a_drain_finishes_what_has_begun():
    async with small_world() as world:
        member = await world.member()
        world.send(*(f"job{number}:succeeded:1" for number in range(30)))
        await asyncio.sleep(0.5)
        await member.stop()
        assert world.committed() == 30
        assert len(world.codepipeline.calls) == 30


async def test_records_deleted_by_retention_are_never_passed_over_in_silence():
    async with small_world() as world:
        first = await world.member()
        world.send("a:succeeded:1")
        await asyncio.sleep(3)
        await first.stop()
        world.send("b:succeeded:1", "c:succeeded:1")
        world.log.delete_before(Partition(TOPIC, 0), 2)
        second = await world.member()
        await asyncio.sleep(5)
        (signal,) = second.told.of(RetentionOvertook)
        assert (signal.committed, signal.log_start, signal.offsets) == (1, 2, 1)
        assert world.kinds()["c:succeeded:1"] == "accepted"


async def test_records_without_key_are_warned_of_once_a_topic():
    async with small_world() as world:
        member = await world.member()
        for number in range(3):
            world.log.append(TOPIC, f"job{number}:succeeded:1".encode())
        await asyncio.sleep(3)
        assert len(member.told.of(KeylessRecord)) == 1


# -- deferring in place ---------------------------------------------------------------------------


async def test_a_halted_target_is_left_in_kafka_and_the_other_goes_on():
    async with small_world() as world:
        world.codepipeline.default["default"] = EXPIRED
        member = await world.member(Budgets(records=100, bytes=10**9, lanes=1000))
        for number in range(300):
            world.send(f"x{number}:succeeded:1", f"y{number}:succeeded:1:other")
        await asyncio.sleep(200)
        assert len(world.outcomes.durable) == 300, "the other account is not disturbed"
        assert member.backpressure.records <= 20, "a few canaries, nothing else"
        assert world.committed() == 0
        world.codepipeline.default["default"] = None
        await asyncio.sleep(200)
        assert set(world.kinds().values()) == {"accepted"}
        assert len(world.kinds()) == 600
        assert world.committed() == 600
        assert not world.dead_letters.durable
        assert len(world.outcomes.durable) == 600, "nothing twice"


async def test_what_was_deferred_keeps_its_order_whatever_the_operation():
    async with small_world() as world:
        world.codepipeline.default["default"] = EXPIRED
        await world.member()
        for number in range(40):
            world.send(f"job{number}:succeeded:1")
        for number in range(40):
            world.send(f"job{number}:failed:2")
        await asyncio.sleep(60)
        world.codepipeline.default["default"] = None
        await asyncio.sleep(200)
        for number in range(40):
            accepted = [
                call.body
                for call in world.codepipeline.calls
                if call.job_id == f"job{number}" and call.ended is not None
            ]
            last_first = accepted.index(f"job{number}:failed:2".encode())
            assert f"job{number}:succeeded:1".encode() not in accepted[last_first:]
        assert len(world.kinds()) == 80


async def test_the_deferred_survive_a_change_of_owner():
    async with small_world(partitions=2) as world:
        world.codepipeline.default["default"] = EXPIRED
        first = await world.member()
        world.send(*(f"job{number}:succeeded:{n}" for n in range(2) for number in range(50)))
        await asyncio.sleep(30)
        await first.crash()
        await world.member()
        await asyncio.sleep(30)
        world.codepipeline.default["default"] = None
        await asyncio.sleep(200)
        assert len(world.kinds()) == 100
        for number in range(50):
            conclusive = list(dict.fromkeys(world.codepipeline.called(f"job{number}")))
            expected = [f"job{number}:succeeded:{n}".encode() for n in range(2)]
            assert conclusive == expected


async def test_a_partition_runs_only_so_far_past_what_it_holds():
    async with small_world(partitions=2) as world:
        world.skip_ahead = 200
        world.codepipeline.default["default"] = EXPIRED
        member = await world.member()
        for number in range(500):
            world.log.append(TOPIC, f"x{number}:succeeded:1:other".encode(), b"k", partition=1)
        world.log.append(TOPIC, b"first:succeeded:1", b"k", partition=0)
        for number in range(20):
            world.log.append(TOPIC, f"more{number}:succeeded:1".encode(), b"k", partition=0)
        await asyncio.sleep(5)
        for number in range(500):
            world.log.append(TOPIC, f"y{number}:succeeded:1:other".encode(), b"k", partition=0)
        await asyncio.sleep(300)
        done = [value for value in world.kinds() if value.startswith("y")]
        assert 100 < len(done) <= 300, "held one batch past skip_ahead"
        assert len([value for value in world.kinds() if value.startswith("x")]) == 500
        for kind in (PartitionHeld, FarAhead):
            assert [signal.partition for signal in member.told.of(kind)].count(0) == 1
        world.codepipeline.default["default"] = None
        await asyncio.sleep(300)
        assert len(world.kinds()) == 1021
        assert (world.committed(0), world.committed(1)) == (521, 500)


async def test_a_slow_target_takes_its_share_of_memory_and_no_more():
    async with small_world() as world:
        world.share = 30
        world.codepipeline.answers("x0", *[BROKEN] * 3)
        member = await world.member(Budgets(records=100, bytes=10**9, lanes=1000))
        for number in range(200):
            world.send(f"x{number}:succeeded:1", f"y{number}:succeeded:1:other")
        await asyncio.sleep(400)
        assert len(world.kinds()) == 400
        assert set(world.kinds().values()) == {"accepted"}
        assert world.committed() == 400
        assert member.backpressure.records == 0


async def test_what_had_to_wait_is_read_back_soon_for_as_long_as_that_makes_it_less():
    async with small_world() as world:
        world.share = 4
        await world.member()
        world.send(*(f"job{number}:succeeded:1" for number in range(80)))
        await asyncio.sleep(120)
        assert world.committed() == 80


async def test_a_result_that_is_early_is_not_late_because_it_was_put_off():
    async with small_world() as world:
        world.retries = 1
        world.codepipeline.answers("bad", *[THROTTLED] * 8)
        world.codepipeline.answers("early", *[ENDED] * 4)
        await world.member()
        world.send("bad:succeeded:1", "early:succeeded:1")
        await asyncio.sleep(200)
        assert world.kinds() == {"bad:succeeded:1": "accepted", "early:succeeded:1": "accepted"}


async def test_results_that_fail_for_ever_do_not_stall_the_intake():
    async with small_world() as world:
        world.retries = 4
        for number in range(12):
            world.codepipeline.answers(f"bad{number}", *[THROTTLED] * 5000)
        await world.member(Budgets(records=10, bytes=10**9, lanes=1000))
        for number in range(200):
            if number < 12:
                world.send(f"bad{number}:succeeded:1")
            world.send(f"good{number}:succeeded:1")
        await asyncio.sleep(3000)
        assert len([value for value in world.kinds() if value.startswith("good")]) == 200
        assert not world.dead_letters.durable, "a throttle is the account's, not the event's"


async def test_what_is_throttled_for_ever_does_not_keep_the_untried_waiting():
    async with small_world() as world:
        world.room = RoomBounds(1, 1, 1)
        world.codepipeline.seconds = 0.1
        for number in range(100):
            world.codepipeline.answers(f"bad{number}", *[THROTTLED] * 5000)
        await world.member()
        world.send(*(f"bad{number}:succeeded:1" for number in range(100)))
        await asyncio.sleep(60)
        world.send(*(f"good{number}:succeeded:1" for number in range(100)))
        await asyncio.sleep(25)
        assert len(world.kinds()) == 100, "every second call is theirs: twenty seconds and a bit"


async def test_below_one_call_the_calls_are_spaced_in_time_and_go_on_by_themselves():
    async with small_world() as world:
        world.room = RoomBounds(1, 0.25, 1)
        world.codepipeline.seconds = 0.01
        world.codepipeline.default["default"] = THROTTLED
        member = await world.member()
        world.send(*(f"job{number}:succeeded:1" for number in range(40)))
        await asyncio.sleep(100)
        assert member.rooms["default"].limit == 0.25
        begun = [call.began for call in world.codepipeline.calls]
        assert 200 <= len(begun) <= 300, "0.1 s is the guess of how long a call takes"


async def test_who_waits_for_a_closed_room_is_woken_when_it_opens():
    async with small_world() as world:
        world.room = RoomBounds(1, 0.5, 1)
        world.codepipeline.seconds = 0.01
        world.codepipeline.answers("first", THROTTLED)
        await world.member()
        world.send("first:succeeded:1", *(f"job{number}:succeeded:1" for number in range(60)))
        await asyncio.sleep(2.2)
        assert len(world.codepipeline.calls) >= 60, "two hundredths of a second for each"


async def test_a_closed_room_opens_for_what_comes_later():
    async with small_world() as world:
        world.room = RoomBounds(1, 0.25, 1)
        world.codepipeline.answers("a", THROTTLED, THROTTLED, None)
        member = await world.member()
        world.send("a:succeeded:1")
        await asyncio.sleep(60)
        world.send("b:succeeded:1")
        await asyncio.sleep(1.5)
        assert world.kinds() == {"a:succeeded:1": "accepted", "b:succeeded:1": "accepted"}
        world.send("c:succeeded:1", "d:succeeded:1")
        await asyncio.sleep(30)
        assert len(world.kinds()) == 4
        assert member.rooms["default"].in_flight == 0


async def test_the_breaker_keeps_a_fleet_out_of_the_dead_letters_and_three_acceptances_lift_it():
    async with small_world() as world:
        world.codepipeline.default["default"] = REFUSED
        member = await world.member()
        world.send(*(f"job{number}:succeeded:1" for number in range(300)))
        await asyncio.sleep(60)
        assert [signal.why for signal in member.told.of(TargetHalted)] == ["breaker"]
        assert len(world.dead_letters.durable) < 50
        world.codepipeline.default["default"] = None
        await asyncio.sleep(300)
        assert len(world.kinds()) == 300
        assert len(member.told.of(TargetResumed)) == 1


async def test_a_target_is_given_up_only_when_its_operator_says_so():
    async with small_world() as world:
        world.give_up_seconds = 60.0
        world.codepipeline.default["default"] = EXPIRED
        await world.member()
        world.send(*(f"job{number}:succeeded:1" for number in range(50)))
        await asyncio.sleep(55)
        assert not world.dead_letters.durable
        await asyncio.sleep(200)
        assert {letter.reason for letter in world.dead_letters.durable} == {Reason.GIVEN_UP}
        assert len(world.dead_letters.durable) >= 49, "all but a canary"
        world.codepipeline.default["default"] = None
        await asyncio.sleep(60)
        world.send("late:succeeded:1")
        await asyncio.sleep(30)
        assert world.kinds()["late:succeeded:1"] == "accepted"
        assert world.committed() == 51


async def test_a_target_held_on_purpose_is_not_called_at_all():
    async with small_world() as world:
        member = await world.member()
        member.rooms["default"].hold(0.0)
        world.send("a:succeeded:1", "b:succeeded:1:other")
        await asyncio.sleep(600)
        assert world.kinds() == {"b:succeeded:1:other": "accepted"}
        assert not world.codepipeline.called("a")


# -- notes ----------------------------------------------------------------------------------------


async def test_what_was_settled_ahead_is_not_sent_again_after_a_crash():
    async with small_world() as world:
        world.codepipeline.answers("held", *[EXPIRED] * 1000)
        first = await world.member()
        world.send("held:failed:1", *(f"job{number}:succeeded:1" for number in range(30)))
        await asyncio.sleep(30)
        assert world.committed() == 0
        await first.crash()
        await world.member()
        await asyncio.sleep(60)
        assert all(len(world.codepipeline.called(f"job{number}")) == 1 for number in range(30))


async def test_after_a_failed_commit_the_next_one_carries_no_note():
    async with small_world() as world:
        world.codepipeline.answers("held", *[EXPIRED] * 1000)
        member = await world.member()
        world.send("held:failed:1", "a:succeeded:1")
        await asyncio.sleep(5)
        assert world.group.committed[Partition(TOPIC, 0)].note
        member.source.commit_fault = lambda: TimeoutError("no answer")
        world.send("b:succeeded:1")
        await asyncio.sleep(3)
        member.source.commit_fault = lambda: None
        await asyncio.sleep(1)
        assert world.group.committed[Partition(TOPIC, 0)].note == ""
        await asyncio.sleep(2)
        assert world.group.committed[Partition(TOPIC, 0)].note
