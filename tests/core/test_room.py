from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import Operation
from gateway.core.room import ProbeDelays, Room, RoomBounds

PUT = Operation.JOB_SUCCESS


def room(initial: int = 4, minimum: float = 1, maximum: int = 16) -> Room:
    return Room(RoomBounds(initial, minimum, maximum), ProbeDelays(1.0, 8.0))


def fill(one: Room, now: float = 0.0) -> None:
    while one.has_place():
        one.enter(now)


def call(one: Room, now: float, seconds: float = 1.0) -> float:
    """One call that goes well, begun as soon as it may be, while others wait. When it ends."""
    if not one.has_place():
        one.hold_back()
        assert one.opens_at is not None
        now = max(now, one.opens_at)
        assert one.reopen(now)
    one.enter(now)
    one.accept(now, now + seconds)
    one.leave()
    return now + seconds


def test_there_is_never_more_room_than_the_limit():
    one = room(initial=4)
    fill(one)
    assert one.in_flight == 4
    one.leave()
    assert one.has_place()


def test_the_limit_grows_only_when_it_held_calls_back():
    one = room(initial=4)
    one.enter(0.0)
    one.grow(0.0, 1.0)
    assert one.limit == 4
    fill(one)
    one.grow(0.0, 1.0)
    assert one.limit == 5


@pytest.mark.parametrize("is_throttle", [True, False])
def test_pressure_halves_once_for_calls_that_were_under_way_together(is_throttle):
    one = room(initial=16)
    one.shrink(began=1.0, now=2.0, is_throttle=is_throttle)
    assert one.limit == 8
    one.shrink(began=1.5, now=2.5, is_throttle=is_throttle)
    assert one.limit == 8
    one.shrink(began=2.1, now=3.0, is_throttle=is_throttle)
    assert one.limit == 4


def test_after_pressure_the_limit_grows_by_one_a_round_trip():
    one = room(initial=16)
    one.shrink(began=1.0, now=2.0, is_throttle=False)
    fill(one)
    for _ in range(8):
        one.grow(3.0, 4.0)
    assert 8.9 < one.limit < 9.1


def test_an_answer_to_a_call_from_before_the_pressure_does_not_grow_the_limit():
    one = room(initial=16)
    fill(one)
    one.shrink(began=1.0, now=2.0, is_throttle=False)
    one.grow(1.0, 3.0)
    assert one.limit == 8


def test_slowness_alone_shrinks_nothing():
    one = room()
    for seconds in (0.1, 1.0, 9.0):
        one.enter(10.0)
        one.accept(10.0, 10.0 + seconds)
        one.leave()
    assert one.limit == 4


def test_below_one_a_call_is_under_way_for_that_part_of_the_time():
    one = room(initial=1, minimum=0.25, maximum=1)
    call(one, 0.0, seconds=2.0)
    one.shrink(began=3.0, now=4.0, is_throttle=True)
    one.shrink(began=5.0, now=6.0, is_throttle=True)
    assert one.limit == 0.25
    one.enter(10.0)
    assert not one.has_place()
    one.leave()
    assert not one.has_place()
    assert one.opens_at == pytest.approx(18.0, abs=0.01), "two seconds of eight"
    assert not one.reopen(17.9)
    assert one.reopen(18.0)
    assert one.has_place()


def test_a_closed_room_grows_only_if_it_kept_somebody_waiting():
    one = room(initial=1, minimum=0.25, maximum=1)
    one.shrink(began=1.0, now=2.0, is_throttle=True)
    one.enter(10.0)
    one.accept(10.0, 11.0)
    assert one.limit == 0.5
    one.hold_back()
    one.accept(10.0, 11.0)
    assert one.limit > 0.5


def test_however_low_the_limit_a_closed_room_opens_within_seconds():
    one = room(initial=1, minimum=0.001, maximum=1)
    call(one, 0.0, seconds=30.0)
    for moment in range(40, 52):
        one.shrink(began=moment + 0.1, now=moment + 0.5, is_throttle=True)
    assert one.limit == 0.001
    one.enter(100.0)
    assert one.opens_at is not None
    assert one.opens_at <= 110.0


def test_after_an_outage_the_limit_doubles_until_half_of_what_was_borne():
    one = room(initial=16, minimum=0.25)
    for moment in range(10):
        one.shrink(began=moment + 0.1, now=moment + 0.9, is_throttle=True)
    assert one.limit == 0.25
    now, limits = 20.0, []
    for _ in range(8):
        now = call(one, now)
        limits.append(one.limit)
    assert limits[:6] == [0.25, 0.5, 1.0, 2.0, 3.0, 4.0], "the first was not held back"


def test_errors_without_a_throttle_leave_one_call_while_some_go_well():
    one = room(initial=2, minimum=0.25)
    now = 0.0
    for _ in range(10):
        one.shrink(began=now + 0.1, now=now + 0.2, is_throttle=False)
        assert one.limit >= 1
        one.grow(now + 0.3, now + 0.4)
        now += 1
    for _ in range(10):
        one.shrink(began=now + 0.1, now=now + 0.2, is_throttle=False)
        now += 1
    assert one.limit == 0.25, "nothing goes well any more"


def test_a_timer_that_is_late_does_not_delay_the_calls_after_it():
    one = room(initial=16, minimum=0.25)
    call(one, 0.0, seconds=0.1)
    one.shrink(began=1.0, now=1.1, is_throttle=True)
    one.enter(2.0)
    due = one.opens_at
    assert due is not None
    assert one.reopen(due + 0.001)
    one.enter(due + 0.001)
    assert one.opens_at == pytest.approx(due + 0.1 / 8)


def test_a_limit_that_may_not_change_is_never_spaced():
    one = room(initial=4, minimum=4, maximum=4)
    one.shrink(began=1.0, now=2.0, is_throttle=True)
    fill(one)
    assert (one.limit, one.in_flight, one.opens_at) == (4, 4, None)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0.0, 5.0)), max_size=200))
def test_the_limit_keeps_its_bounds_and_nobody_enters_past_it(answers):
    one = room(initial=4, minimum=0.2, maximum=16)
    now = 0.0
    for is_well, is_throttle, seconds in answers:
        began = now
        while one.has_place() or one.reopen(now):
            one.enter(now)
            assert one.in_flight <= max(1.0, math.ceil(one.limit))
        one.hold_back()
        now += seconds
        if is_well:
            one.grow(began, now)
        else:
            one.shrink(began, now, is_throttle=is_throttle)
        assert 0.2 <= one.limit <= 16
        while one.in_flight:
            one.leave()
        if not one.has_place():
            assert one.opens_at is not None, "else nobody would ever ask again"


def test_a_halt_keeps_its_beginning_and_takes_the_newest_reason():
    one = room()
    assert one.halt(PUT, "expired", "ExpiredToken", now=10.0)
    assert not one.halt(PUT, "denied", "AccessDenied", now=11.0)
    halt = one.halted(PUT)
    assert halt is not None
    assert (halt.since, halt.why, halt.code) == (10.0, "denied", "AccessDenied")
    assert one.halted(Operation.JOB_FAILURE) is None


def test_probes_become_rarer_up_to_a_cap():
    one = room()
    one.halt(PUT, "expired", "ExpiredToken", now=0.0)
    times = []
    for _ in range(6):
        halt = one.halted(PUT)
        assert halt is not None
        times.append(halt.next_probe)
        one.begin_probe(PUT)
        one.probe_failed(PUT, halt.next_probe)
    assert [b - a for a, b in itertools.pairwise(times)] == [2.0, 4.0, 8.0, 8.0, 8.0]


def test_resuming_ends_the_halt():
    one = room()
    one.halt(PUT, "expired", "ExpiredToken", now=0.0)
    assert one.resume(PUT) is not None
    assert one.halted(PUT) is None
    assert one.resume(PUT) is None
