from __future__ import annotations

from gateway.adapters.kafka_watchdog import Lagging


def test_a_partition_lags_from_the_first_look_that_found_records_behind_it() -> None:
    lagging = Lagging[str]()
    assert lagging.observe({"a": 7}, {"a": 7}, 0.0) == 0.0
    assert lagging.observe({"a": 7}, {"a": 8}, 100.0) == 0.0
    assert lagging.observe({"a": 7}, {"a": 9}, 130.0) == 30.0


def test_a_partition_that_moves_does_not_lag_however_far_behind() -> None:
    lagging = Lagging[str]()
    for step in range(10):
        assert lagging.observe({"a": step}, {"a": 1000}, step * 60.0) == 0.0


def test_the_longest_lag_counts() -> None:
    lagging = Lagging[str]()
    lagging.observe({"a": 0, "b": 0}, {"a": 1, "b": 0}, 0.0)
    assert lagging.observe({"a": 0, "b": 0}, {"a": 1, "b": 1}, 20.0) == 20.0
    assert lagging.observe({"a": 1, "b": 0}, {"a": 1, "b": 1}, 30.0) == 10.0


def test_what_is_left_out_or_forgotten_starts_afresh() -> None:
    lagging = Lagging[str]()
    lagging.observe({"a": 0}, {"a": 1}, 0.0)
    lagging.observe({}, {}, 10.0)
    assert lagging.observe({"a": 0}, {"a": 1}, 20.0) == 0.0
    lagging.forget()
    assert lagging.observe({"a": 0}, {"a": 1}, 50.0) == 0.0
