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
