from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.watermark import Watermark


def begun(watermark: Watermark, offset: int):
    ticket = watermark.begin(offset)
    assert ticket is not None
    return ticket


def test_nothing_is_committable_past_an_unsettled_record():
    watermark = Watermark(10)
    first, second = begun(watermark, 10), begun(watermark, 11)
    second.settle()
    assert watermark.committable() == 10
    assert watermark.settled_ahead == 1
    first.settle()
    assert watermark.committable() == 12
    assert watermark.settled_ahead == 0


def test_an_offset_that_never_arrives_holds_nothing_back():
    watermark = Watermark(0)
    first = begun(watermark, 3)
    second = begun(watermark, 9)
    first.settle()
    assert watermark.committable() == 9
    second.settle()
    assert watermark.committable() == 10


def test_a_log_that_ends_in_a_marker_is_committed_to_its_end():
    watermark = Watermark(0)
    begun(watermark, 0).settle()
    watermark.skip_to(2)
    assert watermark.committable() == 2


def test_an_offset_begun_before_is_not_given_out_again():
    watermark = Watermark(5)
    assert watermark.begin(4) is None
    begun(watermark, 5)
    assert watermark.begin(5) is None


def test_a_duty_is_done_once():
    ticket = begun(Watermark(0), 0)
    ticket.settle()
    with pytest.raises(RuntimeError):
        ticket.settle()


def test_a_ticket_of_an_earlier_assignment_moves_no_later_watermark():
    earlier, later = Watermark(0), Watermark(0)
    old = begun(earlier, 0)
    begun(later, 0)
    old.settle()
    assert later.committable() == 0


@given(
    gaps=st.lists(st.integers(1, 4), min_size=1, max_size=60),
    order=st.randoms(use_true_random=False),
)
def test_the_watermark_is_always_the_lowest_unsettled_offset(gaps, order):
    watermark = Watermark(0)
    offsets = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    tickets = {offset: begun(watermark, offset) for offset in offsets}
    unsettled = list(offsets)
    order.shuffle(unsettled)
    while unsettled:
        oldest = watermark.oldest_unsettled()
        assert oldest is not None
        assert watermark.committable() == min(unsettled) == oldest.offset
        assert watermark.unsettled == len(unsettled)
        tickets[unsettled.pop()].settle()
    assert watermark.committable() == offsets[-1] + 1
    assert watermark.oldest_unsettled() is None


def test_a_deferred_record_holds_the_watermark_and_is_yours_to_do_again():
    watermark = Watermark(0)
    first, second = begun(watermark, 0), begun(watermark, 1)
    first.memory = "three attempts"
    first.defer()
    second.settle()
    assert (watermark.committable(), watermark.deferred, watermark.unsettled) == (0, 1, 0)
    assert watermark.begin(1) is None
    again = begun(watermark, 0)
    assert again.memory == "three attempts"
    assert watermark.begin(0) is None
    again.settle()
    assert watermark.committable() == 2


def test_a_deferred_record_cannot_be_settled_before_it_is_read_again():
    ticket = begun(Watermark(0), 0)
    ticket.defer()
    with pytest.raises(RuntimeError):
        ticket.settle()
    with pytest.raises(RuntimeError):
        ticket.defer()


def test_what_an_earlier_owner_settled_is_not_begun_again_and_goes_on_being_told():
    watermark = Watermark(10, [(11, 14), (16, 17)])
    tickets = [watermark.begin(offset) for offset in range(10, 19)]
    assert [ticket is None for ticket in tickets] == [
        *(False, True, True, True, False, False, True, False, False)
    ]
    assert watermark.settled_bits() == 0b1001110
    first = tickets[0]
    assert first is not None
    first.settle()
    assert watermark.committable() == 14
    assert watermark.settled_bits() == 0b100


class Model:
    """Sets, and nothing clever."""

    def __init__(self, start: int, settled: set[int]) -> None:
        self.position = start
        self.gone = set(settled)
        self.begun: set[int] = set()
        self.deferred: set[int] = set()

    def committable(self) -> int:
        return min(self.begun | self.deferred, default=self.position)


@given(
    note=st.sets(st.integers(1, 60)),
    steps=st.lists(
        st.tuples(st.sampled_from("bbbsdra"), st.integers(0, 10)), min_size=1, max_size=150
    ),
)
def test_watermark_and_bits_agree_with_a_model_made_of_sets(note, steps):
    watermark, model = Watermark(0, [(n, n + 1) for n in sorted(note)]), Model(0, note)
    tickets = {}
    for kind, number in steps:
        if kind == "b":
            offset = model.position + max(0, number - 7)
            model.gone |= set(range(model.position, offset))
            model.position = offset + 1
            ticket = watermark.begin(offset)
            assert (ticket is None) == (offset in model.gone)
            if ticket is not None:
                tickets[offset] = ticket
                model.begun.add(offset)
        elif kind in "sd" and model.begun:
            offset = sorted(model.begun)[number % len(model.begun)]
            model.begun.remove(offset)
            if kind == "s":
                tickets[offset].settle()
                model.gone.add(offset)
            else:
                tickets[offset].defer()
                model.deferred.add(offset)
        elif kind == "r":
            for offset in range(model.committable(), model.position):
                assert (watermark.begin(offset) is not None) == (offset in model.deferred)
            model.begun |= model.deferred
            model.deferred.clear()
        elif kind == "a" and not model.begun and not model.deferred:
            watermark.skip_to(model.position + number)
            model.gone |= set(range(model.position, model.position + number))
            model.position += number
        base = model.committable()
        assert watermark.committable() == base
        assert (watermark.unsettled, watermark.deferred) == (len(model.begun), len(model.deferred))
        expected = sum(1 << (offset - base) for offset in model.gone if offset > base)
        assert watermark.settled_bits() >> 1 == expected >> 1
