from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import Operation
from gateway.core.room import ProbeDelays, Room, RoomBounds

PUT = Operation.JOB_SUCCESS


def room(initial: int = 4, minimum: int = 1, maximum: int = 16) -> Room:
    return Room(RoomBounds(initial, minimum, maximum), ProbeDelays(1.0, 8.0))


def fill(one: Room) -> None:
    while one.has_place():
        one.enter()


def test_there_is_never_more_room_than_the_limit():
    one = room(initial=4)
    fill(one)
    assert one.in_flight == 4
    one.leave()
    assert one.has_place()


def test_the_limit_grows_only_when_it_held_calls_back():
    one = room(initial=4)
    one.enter()
    one.grow()
    assert one.limit == 4
    fill(one)
    one.grow()
    assert one.limit == 5


def test_pressure_halves_once_for_calls_that_were_under_way_together():
    one = room(initial=16)
    one.shrink(began=1.0, now=2.0)
    assert one.limit == 8
    one.shrink(began=1.5, now=2.5)
    assert one.limit == 8
    one.shrink(began=2.1, now=3.0)
    assert one.limit == 4


def test_after_pressure_the_limit_grows_by_one_a_round_trip():
    one = room(initial=16)
    one.shrink(began=1.0, now=2.0)
    fill(one)
    for _ in range(8):
        one.grow()
    assert 8.9 < one.limit < 9.1


@given(st.lists(st.booleans(), max_size=200))
def test_the_limit_keeps_its_bounds(answers):
    one = room(initial=4, minimum=2, maximum=16)
    for moment, is_accepted in enumerate(answers):
        fill(one)
        if is_accepted:
            one.grow()
        else:
            one.shrink(began=moment - 0.5, now=float(moment))
        assert 2 <= one.limit <= 16
        while one.in_flight > 1:
            one.leave()


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
