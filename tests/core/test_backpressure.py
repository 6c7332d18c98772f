from __future__ import annotations

import pytest

from gateway.core.backpressure import Backpressure, Budgets


def pressed(records: int = 0, size: int = 0) -> Backpressure:
    backpressure = Backpressure(Budgets(records=10, bytes=1000, lanes=5))
    for _ in range(records):
        backpressure.take(size)
    return backpressure


@pytest.mark.parametrize(
    ("records", "size", "lanes", "budget"),
    [(9, 1, 4, None), (10, 1, 4, "records"), (2, 500, 1, "bytes"), (1, 1, 5, "lanes")],
)
def test_a_used_up_budget_is_named(records, size, lanes, budget):
    assert pressed(records, size).exceeded(lanes) == budget


@pytest.mark.parametrize(
    ("records", "size", "lanes", "has_room"),
    [(7, 1, 3, True), (8, 1, 3, False), (1, 701, 3, False), (7, 1, 4, False)],
)
def test_reading_goes_on_only_when_every_budget_is_well_below(records, size, lanes, has_room):
    assert pressed(records, size).has_room_again(lanes) is has_room


def test_what_is_given_back_may_be_taken_again():
    backpressure = pressed(10, 100)
    for _ in range(10):
        backpressure.give_back(100)
    assert (backpressure.records, backpressure.bytes) == (0, 0)
