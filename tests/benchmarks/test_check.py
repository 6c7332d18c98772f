"""What has moved is told, in the direction that matters; what is noise is not."""

from __future__ import annotations

import pytest

from benchmarks.check import MOST_RUNS, moved, recorded


@pytest.mark.parametrize(
    ("value", "bar", "known", "is_worse"),
    [
        (4.0, ">= 5.5", [6.0, 6.1], True),
        (9.0, ">= 5.5", [6.0, 6.1], False),
        (120.0, "<= 80", [50.0, 60.0], True),
        (20.0, "<= 80", [50.0, 60.0], False),
    ],
)
def test_what_lies_beyond_the_record_has_moved(value, bar, known, is_worse):
    (one,) = moved({"it": (value, bar)}, {"it": known})
    assert (one.is_worse, one.low, one.high) == (is_worse, min(known), max(known))


@pytest.mark.parametrize("value", [5.5, 6.0, 6.6])
def test_what_lies_within_the_spread_has_not_moved(value):
    assert not list(moved({"it": (value, ">= 5.5")}, {"it": [6.0, 6.1]}))


def test_runs_that_differ_much_among_themselves_excuse_more():
    assert not list(moved({"it": (2.5, ">= 1")}, {"it": [4.0, 6.0]}))
    assert list(moved({"it": (2.5, ">= 1")}, {"it": [5.9, 6.0]}))


def test_what_is_not_on_record_has_not_moved():
    assert not list(moved({"new": (1.0, ">= 5")}, {}))


def test_the_record_keeps_what_was_not_measured_and_forgets_the_oldest_run():
    full = [float(number) for number in range(MOST_RUNS)]
    kept = recorded({"it": (99.0, ">= 1")}, {"it": full, "other": [1.0]})
    assert kept == {"it": [*full[1:], 99.0], "other": [1.0]}
