from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.lanes import Lanes


def test_only_the_head_of_a_lane_may_be_worked_on():
    lanes: Lanes[str] = Lanes()
    assert lanes.append("a", "a1")
    assert not lanes.append("a", "a2")
    assert lanes.append("b", "b1")
    assert lanes.behind("a") == 1
    assert lanes.finish_head("a") == "a2"
    assert lanes.finish_head("a") is None
    assert len(lanes) == 1


def test_a_lane_that_is_empty_is_gone():
    lanes: Lanes[str] = Lanes()
    lanes.append("a", "a1")
    lanes.finish_head("a")
    assert (len(lanes), lanes.items, lanes.behind("a")) == (0, 0, 0)
    with pytest.raises(KeyError):
        lanes.finish_head("a")


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans())))
def test_each_lane_is_a_fifo(steps):
    lanes: Lanes[int] = Lanes()
    model: dict[int, list[int]] = defaultdict(list)
    for item, (key, is_append) in enumerate(steps):
        if is_append:
            assert lanes.append(key, item) == (not model[key])
            model[key].append(item)
        elif model[key]:
            model[key].pop(0)
            assert lanes.finish_head(key) == (model[key][0] if model[key] else None)
        assert lanes.items == sum(map(len, model.values()))
        assert len(lanes) == sum(map(bool, model.values()))
    assert sorted(lanes) == sorted(item for lane in model.values() for item in lane)
