"""What goes wrong, when, and to whom: all of it from one seed, before anything has begun.

Guarantees: the same seed, length and numbers of members and brokers make the same schedule; every
minute has at least `KILLS_A_MINUTE` kills; everything has ended, and every wire is open,
`QUIET_SECONDS` before the end.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

KILLS_A_MINUTE = 20
QUIET_SECONDS = 1.0
ROUND_SECONDS = 5.4
DEATHS_ROUNDS = 4
"""Where there are several brokers, one of them dies in every so many rounds, besides the trouble
that each round has: in about 22 s it is back, and the leaders are, on a slow machine too."""
_NOBODY = -1
_AWAY_SECONDS = (1.0, 6.0)
"""From before the others notice to long after."""
_CALL_FAULTS = ("throttle", "server-error", "cut-before", "cut-after", "timeout-after")


class Kind(StrEnum):
    KILL = "kill"
    FREEZE = "freeze"
    ROLL = "roll"
    KILL_BROKER = "kill broker"
    FREEZE_BROKER = "freeze broker"
    CUT_BROKER = "cut from the broker"
    CUT_CALLS = "cut from CodePipeline"
    OUTAGE = "CodePipeline is down"
    EXPIRED = "credential expired"
    FAULT = "some calls fail"


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that goes wrong. `member` or `broker`: to whom; `seconds`: for how long; `how`: in
    which of its ways."""

    at: float
    kind: Kind
    member: int = _NOBODY
    seconds: float = 0.0
    how: str = ""
    broker: int = _NOBODY
    """Counted from 1, as Kafka does."""


def schedule(
    seed: int, seconds: float, members: int, session_seconds: float, brokers: int = 1
) -> list[Act]:
    """The acts in the order of their beginning. Rounds of `ROUND_SECONDS`: each kills some, and
    has one other trouble of its own; between volleys there is time to do some work, so that there
    is something to be lost."""
    chance = random.Random(seed)
    author = _Author(chance, members, session_seconds, brokers)
    acts: list[Act] = []
    rounds = int((seconds - QUIET_SECONDS) // ROUND_SECONDS)
    troubles = author.troubles(rounds)
    for number in range(rounds):
        start = number * ROUND_SECONDS
        acts += author.volley(start)
        acts += troubles[number](start)
        if brokers > 1 and number % DEATHS_ROUNDS == 0:
            acts += author.death(start)
    ended = (act for act in acts if act.at + act.seconds <= seconds - QUIET_SECONDS)
    return sorted(ended, key=lambda act: (act.at, act.kind, act.member, act.broker))


def kills(acts: Sequence[Act]) -> int:
    return sum(act.kind in (Kind.KILL, Kind.KILL_BROKER) for act in acts)


Trouble = Callable[[float], list[Act]]


class _Author:
    """All chance comes from one source, in one order."""

    def __init__(
        self, chance: random.Random, members: int, session_seconds: float, brokers: int
    ) -> None:
        self._chance = chance
        self._members = members
        self._brokers = brokers
        self._session_seconds = session_seconds

    def volley(self, start: float) -> Iterator[Act]:
        """Two or three kills: of several members at once, or one after the other, or of one again
        while it is starting."""
        at = start + self._chance.uniform(0, 0.3 * ROUND_SECONDS)
        count = min(self._members, self._chance.choice((2, 2, 3)))
        at_once = self._chance.random() < 0.5
        victims = self._chance.sample(range(self._members), count)
        for victim in victims:
            yield Act(at, Kind.KILL, victim if at_once else self._member())
            at += 0.0 if at_once else self._chance.choice((0.3, 0.6, 1.2))

    def troubles(self, rounds: int) -> list[Trouble]:
        """One for each round: all kinds in turn, shuffled anew each time."""
        kinds: list[Trouble] = [
            self._freeze,
            self._roll,
            self.death,
            self._freeze_broker,
            self._cut_broker,
            self._cut_calls,
            self._outage,
            self._expired,
            self._fault,
            self._nothing,
        ]
        chosen: list[Trouble] = []
        while len(chosen) < rounds:
            self._chance.shuffle(kinds)
            chosen += kinds
        return chosen[:rounds]

    def _somewhen(self, start: float) -> float:
        return start + self._chance.uniform(0, ROUND_SECONDS)

    def _member(self) -> int:
        return self._chance.randrange(self._members)

    def _seconds(self) -> float:
        return self._chance.uniform(0.5, 2 * self._session_seconds)

    def _freeze(self, start: float) -> list[Act]:
        seconds = self._session_seconds * self._chance.uniform(1.2, 2.5)
        return [Act(self._somewhen(start), Kind.FREEZE, self._member(), seconds)]

    def _roll(self, start: float) -> list[Act]:
        at = self._somewhen(start)
        return [Act(at + 1.5 * place, Kind.ROLL, place) for place in range(self._members)]

    def death(self, start: float) -> list[Act]:
        """Of a broker. The only one there is comes back at once."""
        at = self._somewhen(start)
        seconds = self._chance.uniform(*_AWAY_SECONDS) if self._brokers > 1 else 0.0
        return [Act(at, Kind.KILL_BROKER, seconds=seconds, broker=self._broker())]

    def _freeze_broker(self, start: float) -> list[Act]:
        at, seconds = self._somewhen(start), self._seconds()
        return [Act(at, Kind.FREEZE_BROKER, seconds=seconds, broker=self._broker())]

    def _broker(self) -> int:
        return self._chance.randint(1, self._brokers) if self._brokers > 1 else 1

    def _cut_broker(self, start: float) -> list[Act]:
        """From all brokers, or from one of several."""
        act = self._cut(Kind.CUT_BROKER, start)
        if self._brokers > 1 and self._chance.random() < 0.5:
            act = replace(act, broker=self._broker())
        return [act]

    def _cut_calls(self, start: float) -> list[Act]:
        return [self._cut(Kind.CUT_CALLS, start)]

    def _cut(self, kind: Kind, start: float) -> Act:
        how = self._chance.choice(("slow", "reset", "half-open", "deaf"))
        return Act(self._somewhen(start), kind, self._member(), self._seconds(), how)

    def _outage(self, start: float) -> list[Act]:
        return [Act(self._somewhen(start), Kind.OUTAGE, seconds=self._seconds())]

    def _expired(self, start: float) -> list[Act]:
        return [Act(self._somewhen(start), Kind.EXPIRED, seconds=self._seconds())]

    def _fault(self, start: float) -> list[Act]:
        how = self._chance.choice(_CALL_FAULTS)
        return [Act(self._somewhen(start), Kind.FAULT, seconds=self._seconds(), how=how)]

    def _nothing(self, start: float) -> list[Act]:
        return []
