"""When a worker that has ended is started again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.restarts import (
    FIRST_SECONDS,
    LONGEST_SECONDS,
    WELL_AFTER_SECONDS,
    Restarts,
)


def test_delays_double_from_a_second_to_half_a_minute() -> None:
    restarts = Restarts()
    assert [restarts.delay_after(0.1) for _ in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]


def test_who_has_run_well_for_a_minute_begins_anew() -> None:
    restarts = Restarts()
    assert [restarts.delay_after(ran) for ran in (5, 59.9, 60, 1, 3600)] == [1, 2, 1, 2, 1]


def test_workers_do_not_share_their_delays() -> None:
    assert Restarts().delay_after(1) == Restarts().delay_after(1)


@given(st.lists(st.floats(0, 1e6)))
def test_a_worker_takes_at_most_a_start_a_second_and_waits_at_most_half_a_minute(
    runs: list[float],
) -> None:
    restarts = Restarts()
    delays = [restarts.delay_after(ran) for ran in runs]
    assert all(FIRST_SECONDS <= delay <= LONGEST_SECONDS for delay in delays)
    for ran, before, delay in zip(runs[1:], delays, delays[1:], strict=False):
        expected = FIRST_SECONDS if ran >= WELL_AFTER_SECONDS else min(LONGEST_SECONDS, before * 2)
        assert delay == expected
