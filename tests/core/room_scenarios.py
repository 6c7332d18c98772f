"""What rooms have to learn, as data, and a small world in virtual time in which they do.

A scenario is a number of replicas and a few phases of one account that all of them call. Each
phase says what the account bears and how it answers, and what is expected of the rooms in it. The
model is what `deliver.py` does with a room, less everything else: every replica has work without
end, unless the phase says how much, and calls as soon as its room lets it.
"""

from __future__ import annotations

import heapq
import itertools
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from gateway.core.room import ProbeDelays, Room, RoomBounds

REFUSAL_SECONDS = 0.005
"""A throttle is answered at once, whatever a call that is admitted takes."""


@dataclass(frozen=True)
class Account:
    """What the account bears and how it answers."""

    concurrency: float = math.inf
    rate: float = math.inf
    """Calls a second; a second's worth may come at once."""
    latency: float = 0.1
    jitter: float = 0.0
    """The part of the latency that is random: exponential, its mean."""
    errors: float = 0.0
    """The part of the admitted calls that end in a 5xx, whatever the load."""
    outage: str = ""
    """Nothing is accepted: every call is `throttled`, `refused` at once, or `silent`."""

    @property
    def capacity(self) -> float:
        """Calls a second."""
        return 0.0 if self.outage else min(self.rate, self.concurrency / self.latency)


@dataclass(frozen=True)
class Expected:
    """Of the second half of a phase, but for the last three."""

    used: float = 0.0
    """At least this part of the capacity, or of the demand if that is less."""
    failed: float = 1.0
    """At most this part of all calls is throttled or fails."""
    fair: float = 0.0
    """Jain's index of what each replica gets accepted, at least: 1 is the same for all, 1 / n is
    everything for one."""
    recovers: float = math.inf
    """Seconds until 70 % of the capacity are used for two seconds, or for twenty calls."""
    storm: float = math.inf
    """At most so many calls come in any second of the first ten."""
    limit: tuple[float, float] = (0.0, math.inf)
    """Between these the replicas' mean limit ends."""


@dataclass(frozen=True)
class Phase:
    seconds: float
    account: Account
    expected: Expected = Expected()
    demand: float = math.inf
    """Results a second for each replica."""


@dataclass(frozen=True)
class Scenario:
    name: str
    phases: tuple[Phase, ...]
    replicas: int = 1


@dataclass(frozen=True)
class Seen:
    """What became of one phase, in the words of Expected."""

    used: float
    failed: float
    fair: float
    recovers: float
    storm: int
    limit: float
    """The mean of the replicas' at its end."""


@dataclass
class _Call:
    replica: int
    began: float
    ended: float = 0.0
    answer: str = ""


@dataclass
class _Replica:
    number: int
    room: Room
    waiting: float = 0.0
    comes_back: float | None = None


@dataclass
class Play:
    """One scenario with one seed. `room` makes the rooms, so that others can be tried."""

    scenario: Scenario
    seed: int = 1
    room: Callable[..., Room] = Room
    limits: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = Random(self.seed)
        seeds = [self._chance.getrandbits(32) for _ in range(self.scenario.replicas)]
        self._replicas = [
            _Replica(number, self._room_of(Random(seed))) for number, seed in enumerate(seeds)
        ]
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = itertools.count()
        self._now = 0.0
        self._phase = self.scenario.phases[0]
        self._admitted = 0
        self._tokens = 0.0
        self._filled = 0.0
        self.calls: list[_Call] = []

    def run(self) -> list[Seen]:
        begins = 0.0
        for phase in self.scenario.phases:
            self._at(begins, self._begin_phase, phase)
            begins += phase.seconds
        self._at(begins, self._end_phase)
        while self._events:
            when, _, act, arguments = heapq.heappop(self._events)
            if when > begins:
                break
            self._now = when
            act(*arguments)
        return list(self._seen())

    def _room_of(self, chance: Random) -> Room:
        return self.room(RoomBounds(), ProbeDelays(), math.inf, chance.random)

    # -- the world ------------------------------------------------------------------------------

    def _at(self, when: float, act: Callable[..., None], *arguments: object) -> None:
        heapq.heappush(self._events, (when, next(self._order), act, arguments))

    def _begin_phase(self, phase: Phase) -> None:
        if self._now:
            self._end_phase()
        self._phase = phase
        self._filled, self._tokens = self._now, min(self._tokens, phase.account.rate)
        for replica in self._replicas:
            if phase.demand == math.inf:
                replica.waiting = math.inf
                self._begin_calls(replica)
            else:
                replica.waiting = 0.0
                self._next_arrival(replica, phase)

    def _end_phase(self) -> None:
        self.limits.append(sum(each.room.limit for each in self._replicas) / len(self._replicas))

    def _next_arrival(self, replica: _Replica, phase: Phase) -> None:
        self._at(self._now + self._chance.expovariate(phase.demand), self._arrive, replica, phase)

    def _arrive(self, replica: _Replica, phase: Phase) -> None:
        if phase is self._phase:
            replica.waiting += 1
            self._begin_calls(replica)
            self._next_arrival(replica, phase)

    def _answer_of(self, account: Account) -> tuple[str, float]:
        if account.outage == "silent":
            return "failed", 10.0
        if account.outage:
            answer = "throttled" if account.outage == "throttled" else "failed"
            return answer, REFUSAL_SECONDS * self._chance.uniform(0.5, 1.5)
        if not self._is_admitted(account):
            return "throttled", REFUSAL_SECONDS * self._chance.uniform(0.5, 1.5)
        self._admitted += 1
        seconds = account.latency * (1 - account.jitter)
        if account.jitter:
            seconds += self._chance.expovariate(1 / (account.latency * account.jitter))
        is_well = self._chance.random() >= account.errors
        return "accepted" if is_well else "failed", seconds

    def _is_admitted(self, account: Account) -> bool:
        if self._admitted >= account.concurrency:
            return False
        if account.rate < math.inf:
            tokens = self._tokens + (self._now - self._filled) * account.rate
            self._tokens, self._filled = min(max(1.0, account.rate), tokens), self._now
            if self._tokens < 1:
                return False
            self._tokens -= 1
        return True

    # -- a replica ------------------------------------------------------------------------------

    def _begin_calls(self, replica: _Replica) -> None:
        room = replica.room
        while replica.waiting and (room.has_place() or room.reopen(self._now)):
            replica.waiting -= 1
            room.enter(self._now)
            self._call(replica)
        if room.opens_at is not None and replica.waiting:
            room.hold_back()
            if replica.comes_back != room.opens_at:
                replica.comes_back = room.opens_at
                self._at(room.opens_at, self._begin_calls, replica)

    def _call(self, replica: _Replica) -> None:
        admitted = self._admitted
        answer, seconds = self._answer_of(self._phase.account)
        call = _Call(replica.number, self._now, self._now + seconds, answer)
        self.calls.append(call)
        self._at(call.ended, self._end_call, replica, call, self._admitted > admitted)

    def _end_call(self, replica: _Replica, call: _Call, was_admitted: bool) -> None:
        self._admitted -= was_admitted
        if call.answer == "accepted":
            replica.room.accept(call.began, self._now)
        else:
            is_throttle = call.answer == "throttled"
            replica.room.shrink(call.began, self._now, is_throttle=is_throttle)
        replica.room.leave()
        self._begin_calls(replica)

    # -- what was seen --------------------------------------------------------------------------

    def _seen(self) -> Iterator[Seen]:
        calls = sorted(self.calls, key=lambda call: call.ended)
        ended = [call.ended for call in calls]
        begun = sorted(call.began for call in self.calls)
        begins = 0.0
        for phase, limit in zip(self.scenario.phases, self.limits, strict=True):
            ends, half = begins + phase.seconds, begins + phase.seconds / 2
            later = calls[bisect_left(ended, half) : bisect_left(ended, ends)]
            accepted = [call for call in later if call.answer == "accepted"]
            due = min(phase.account.capacity, phase.demand * len(self._replicas)) or math.inf
            yield Seen(
                used=len(accepted) / (due * phase.seconds / 2),
                failed=1 - len(accepted) / len(later) if later else 0.0,
                fair=self._fairness(accepted),
                recovers=_recovery(
                    [
                        call.ended - begins
                        for call in calls[bisect_left(ended, begins) : bisect_left(ended, ends)]
                        if call.answer == "accepted"
                    ],
                    due,
                ),
                storm=_most_in_a_second(
                    [at - begins for at in begun if begins <= at < begins + 10]
                ),
                limit=limit,
            )
            begins = ends

    def _fairness(self, accepted: list[_Call]) -> float:
        shares = [0] * len(self._replicas)
        for call in accepted:
            shares[call.replica] += 1
        squares = len(shares) * sum(share * share for share in shares)
        return sum(shares) ** 2 / squares if squares else 0.0


def _recovery(times: list[float], due: float) -> float:
    if due == math.inf:
        return math.inf
    window = max(2.0, 20 / due)
    enough = math.ceil(0.7 * due * window)
    for first, last in zip(times, times[enough - 1 :], strict=False):
        if last - first <= window:
            return last
    return math.inf


def _most_in_a_second(times: list[float]) -> int:
    return max((bisect_left(times, at + 1) - i for i, at in enumerate(times)), default=0)


def broken_bounds(phase: Phase, seen: Seen) -> list[str]:
    """What was expected of the phase and did not come about."""
    wanted = phase.expected
    checks = {
        f"used {seen.used:.2f}, at least {wanted.used}": seen.used >= wanted.used,
        f"failed {seen.failed:.3f}, at most {wanted.failed}": seen.failed <= wanted.failed,
        f"fair {seen.fair:.2f}, at least {wanted.fair}": seen.fair >= wanted.fair,
        f"recovers in {seen.recovers:.1f} s, at most {wanted.recovers}": seen.recovers
        <= wanted.recovers,
        f"{seen.storm} calls in a second, at most {wanted.storm}": seen.storm <= wanted.storm,
        f"limit {seen.limit:.2f}, within {wanted.limit}": wanted.limit[0]
        <= seen.limit
        <= wanted.limit[1],
    }
    return [told for told, is_kept in checks.items() if not is_kept]


def violations(scenario: Scenario, seed: int, room: Callable[..., Room] = Room) -> list[str]:
    """Every bound of the scenario that this seed breaks."""
    told = []
    for number, (phase, seen) in enumerate(
        zip(scenario.phases, Play(scenario, seed, room).run(), strict=True), start=1
    ):
        told += [f"{scenario.name}, phase {number}: {what}" for what in broken_bounds(phase, seen)]
    return told


def _one(name: str, account: Account, expected: Expected, replicas: int = 1) -> Scenario:
    seconds = 300.0 if account.capacity <= 20 else 120.0
    return Scenario(name, (Phase(seconds, account, expected),), replicas)


def _calls(concurrency: float, jitter: float = 0.5, **more: float) -> Account:
    return Account(concurrency=concurrency, jitter=jitter, **more)


def _cliff(account: Account, outage: str, storm: float, after: Expected) -> tuple[Phase, ...]:
    """A minute of nothing. `storm` bounds the calls a second from its beginning to the end."""
    return (
        Phase(60, account),
        Phase(60, Account(outage=outage), Expected(storm=storm)),
        Phase(120, account, after),
    )


_AFTER = Expected(used=0.6, failed=0.02, recovers=25, storm=220)
_AFTER_OF_40 = Expected(used=0.68, failed=0.16, fair=0.6, recovers=25, storm=150)

SCENARIOS = (
    _one("nothing throttles", Account(), Expected(failed=0.0, limit=(100, 100))),
    _one("steady limit", _calls(20, jitter=0.0), Expected(0.62, 0.01, recovers=5)),
    _one("steady limit, jitter", _calls(20, jitter=0.7), Expected(0.6, 0.01, recovers=10)),
    _one("limit of one call", _calls(1), Expected(0.55, 0.05, recovers=15)),
    _one("rate of 50/s", Account(rate=50), Expected(0.95, 0.02, recovers=5)),
    _one("rate of 5/s", Account(rate=5), Expected(0.9, 0.08, recovers=15)),
    _one("rate of 1/s", Account(rate=1), Expected(0.5, 0.28, recovers=60)),
    _one("5 % errors", _calls(20, errors=0.05), Expected(0.18, 0.08)),
    _one("20 % errors", _calls(20, errors=0.2), Expected(0.05, 0.25)),
    Scenario(
        "slow but well",
        (
            Phase(30, _calls(200)),
            Phase(60, _calls(200, latency=2.0), Expected(0.48, 0.0, limit=(100, 100))),
        ),
    ),
    Scenario(
        "little demand",
        (Phase(60, _calls(50), Expected(0.9, 0.0, limit=(20, 20)), demand=20.0),),
    ),
    Scenario(
        "falling limit",
        (
            Phase(60, _calls(40), Expected(0.6, 0.01)),
            Phase(60, _calls(10), Expected(0.55, 0.02, recovers=10)),
            Phase(60, _calls(2), Expected(0.55, 0.05, recovers=10)),
            Phase(60, _calls(40), Expected(0.6, 0.01, recovers=15)),
        ),
    ),
    Scenario("cliff, throttled", _cliff(_calls(20), "throttled", 25, _AFTER)),
    Scenario("cliff, refused", _cliff(_calls(20), "refused", 25, _AFTER)),
    Scenario("cliff, silent", _cliff(_calls(20), "silent", 40, _AFTER)),
    _one("4 replicas, 20 calls", _calls(20), Expected(0.68, 0.02, fair=0.5), 4),
    _one("40 replicas, 60 calls", _calls(60), Expected(0.82, 0.04, fair=0.7), 40),
    _one("40 replicas, 20 calls", _calls(20), Expected(0.75, 0.09, fair=0.7), 40),
    _one("40 replicas, 10 calls", _calls(10), Expected(0.68, 0.16, fair=0.65), 40),
    _one("40 replicas, 10 calls, in step", _calls(10, 0.0), Expected(0.68, 0.16, fair=0.65), 40),
    _one("40 replicas, 2 calls", _calls(2), Expected(0.5, 0.45, fair=0.7), 40),
    _one("40 replicas, 1 call", _calls(1), Expected(0.5, 0.62, fair=0.75), 40),
    _one(
        "40 replicas, rate of 20/s",
        Account(rate=20, jitter=0.5),
        Expected(0.95, 0.36, fair=0.75),
        40,
    ),
    Scenario(
        "40 replicas, cliff, throttled", _cliff(_calls(10), "throttled", 120, _AFTER_OF_40), 40
    ),
    Scenario("40 replicas, cliff, refused", _cliff(_calls(10), "refused", 120, _AFTER_OF_40), 40),
    Scenario("40 replicas, cliff, silent", _cliff(_calls(10), "silent", 80, _AFTER_OF_40), 40),
    Scenario(
        "40 replicas, falling limit",
        (
            Phase(40, _calls(60), Expected(0.8, 0.04, fair=0.55, recovers=5)),
            Phase(60, _calls(10), Expected(0.68, 0.16, fair=0.5, recovers=5)),
            Phase(40, _calls(60), Expected(0.8, 0.04, fair=0.55, recovers=10, storm=1000)),
        ),
        40,
    ),
)


def table(seeds: range, room: Callable[..., Room] = Room) -> Iterator[str]:
    """As in ADR 0021: the worst of each figure over the seeds."""
    yield "| scenario | used | failed | fair | recovers, s | most calls in 1 s | limit |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for scenario in SCENARIOS:
        plays = [Play(scenario, seed, room).run() for seed in seeds]
        for number, seen in enumerate(zip(*plays, strict=True), start=1):
            name = scenario.name if number == 1 else f"- phase {number}"
            recovers = max(one.recovers for one in seen)
            yield (
                f"| {name} | {min(one.used for one in seen):.2f} "
                f"| {max(one.failed for one in seen):.1%} | {min(one.fair for one in seen):.2f} "
                f"| {'–' if recovers == math.inf else f'{recovers:.1f}'} "
                f"| {max(one.storm for one in seen)} "
                f"| {sum(one.limit for one in seen) / len(seen):.3g} |"
            )


if __name__ == "__main__":
    import sys

    first, count = (int(argument) for argument in sys.argv[1:3])
    for line in table(range(first, first + count)):
        print(line, flush=True)
