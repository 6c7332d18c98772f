from __future__ import annotations

import pytest

from tests.chaos.schedule import KILLS_A_MINUTE, QUIET_SECONDS, Act, Kind, kills, schedule

SESSION_SECONDS = 2.0


def three_minutes(seed: int, brokers: int = 1) -> list[Act]:
    return schedule(seed, 180, 3, SESSION_SECONDS, brokers)


def test_the_same_seed_makes_the_same_schedule_and_another_seed_another() -> None:
    assert three_minutes(7) == three_minutes(7)
    assert three_minutes(7) != three_minutes(8)


@pytest.mark.parametrize("members", [2, 3, 4])
def test_every_minute_has_its_kills(members: int) -> None:
    for seed in range(200):
        acts = schedule(seed, 180, members, SESSION_SECONDS)
        for minute in range(3):
            own = [act for act in acts if minute * 60 <= act.at < minute * 60 + 60]
            assert kills(own) >= KILLS_A_MINUTE


def test_every_kind_of_trouble_comes_within_three_minutes() -> None:
    for seed in range(50):
        assert {act.kind for act in three_minutes(seed)} == set(Kind)


@pytest.mark.parametrize("brokers", [1, 3])
def test_everything_is_over_before_the_end(brokers: int) -> None:
    for seed in range(50):
        acts = three_minutes(seed, brokers)
        assert max(act.at + act.seconds for act in acts) <= 180 - QUIET_SECONDS


def test_of_three_brokers_each_dies_and_is_away_for_a_while() -> None:
    died: set[int] = set()
    for seed in range(50):
        deaths = [act for act in three_minutes(seed, brokers=3) if act.kind is Kind.KILL_BROKER]
        died |= {act.broker for act in deaths}
        assert len(deaths) >= 8
        assert all(act.seconds >= 1.0 for act in deaths)
    assert died == {1, 2, 3}


def test_a_freeze_outlasts_the_session() -> None:
    frozen = [act.seconds for act in three_minutes(1) if act.kind is Kind.FREEZE]
    assert frozen
    assert min(frozen) > SESSION_SECONDS
