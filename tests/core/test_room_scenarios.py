from __future__ import annotations

import math

import pytest

from gateway.core.room import CAREFUL_STEP, Room
from tests.core.room_scenarios import (
    SCENARIOS,
    Account,
    Expected,
    Phase,
    Play,
    Scenario,
    violations,
)

NAMES = [scenario.name for scenario in SCENARIOS]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=NAMES)
def test_rooms_keep_within_the_bounds_of_every_scenario(scenario: Scenario):
    assert violations(scenario, seed=1) == []


class NeverShrinks(Room):
    def shrink(self, began, now, *, is_throttle):
        pass


class NeverGrows(Room):
    def grow(self, began, now):
        pass


class ShrinksForEachCall(Room):
    def shrink(self, began, now, *, is_throttle):
        self._shrunk_at = float("-inf")
        super().shrink(began, now, is_throttle=is_throttle)


class KeepsOneCall(Room):
    """As if the floor were a whole call."""

    def _set(self, limit):
        super()._set(max(1.0, limit))


class NeverSpaces(Room):
    """Whoever takes a place the moment it is left keeps it. Grows as the others do."""

    def _set(self, limit):
        super()._set(limit)
        if limit >= 1:
            self._is_spaced, self.opens_at, self._places = False, None, int(limit)


class GrowsByOneARoundTrip(Room):
    """However low the limit of an account that throttles is."""

    def _step(self):
        return 1.0 / self.limit


class GrowsUnasked(Room):
    def grow(self, began, now):
        self.hold_back()
        self.in_flight += 1000
        super().grow(began, now)
        self.in_flight -= 1000


class GrowsNoFasterPastTheThrottle(Room):
    """Though the limit has risen. Slow start is as it was."""

    def _step(self):
        if not self._is_throttled or self.limit < self._slow_start_until:
            return super()._step()
        return min(1.0 / self.limit, CAREFUL_STEP * max(1.0, math.sqrt(self.limit)))


@pytest.mark.parametrize(
    ("broken", "where"),
    [
        (NeverGrows, "falling limit"),
        (NeverGrows, "cliff, throttled"),
        (ShrinksForEachCall, "cliff, silent"),
        (ShrinksForEachCall, "steady limit"),
        (KeepsOneCall, "rate of 5/s"),
        (NeverSpaces, "40 replicas, 20 calls"),
        (GrowsByOneARoundTrip, "40 replicas, 10 calls"),
        (GrowsUnasked, "little demand"),
        (GrowsNoFasterPastTheThrottle, "40 replicas, falling limit"),
    ],
)
def test_a_room_that_learns_wrongly_breaks_a_bound(broken: type[Room], where: str):
    (scenario,) = [scenario for scenario in SCENARIOS if scenario.name == where]
    assert violations(scenario, 1, broken)


def test_a_room_that_never_shrinks_breaks_a_bound():
    account = Account(concurrency=20, jitter=0.5)
    scenario = Scenario("a few seconds", (Phase(6.0, account, Expected(failed=0.05)),))
    assert violations(scenario, 1) == []
    assert violations(scenario, 1, NeverShrinks)


def test_a_scenario_is_the_same_for_the_same_seed():
    scenario = SCENARIOS[NAMES.index("40 replicas, 20 calls")]
    assert Play(scenario, 3).run() == Play(scenario, 3).run() != Play(scenario, 4).run()
