"""What goes wrong in a run, and when: all from its seed.

A fault is begun at a moment, and most are ended a while later; in the calm phase all of them are.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from gateway.simulation.faults import Aim, Fault, FaultKind
from gateway.simulation.throttle import Limits
from tests.virtual.aws import SPOILERS, CodePipelineModel
from tests.virtual.brokers import Weather
from tests.virtual.member import Member

Undo = Callable[[], None] | None
_OPERATIONS = ("PutJobSuccessResult", "PutJobFailureResult")


class Stage(Protocol):
    """What faults act upon."""

    chance: Random
    weather: Weather
    codepipeline: CodePipelineModel
    targets: tuple[str, ...]

    def alive(self) -> list[Member]: ...

    def join(self) -> None: ...

    def lapse(self, member: Member) -> Callable[[], None]:
        """The member may not know what has become of it, until the returned function is called."""

    def put_holes(self) -> None: ...


def crash(stage: Stage) -> Undo:
    """SIGKILL, between any two steps."""
    for member in _some(stage):
        member.process.dies_at_step = member.process.steps + stage.chance.randrange(1, 400)
    return stage.join if stage.chance.random() < 0.7 else None


def crash_now(stage: Stage) -> Undo:
    for member in _some(stage):
        member.process.kill()
    return stage.join if stage.chance.random() < 0.7 else None


def join(stage: Stage) -> Undo:
    stage.join()
    return None


def leave(stage: Stage) -> Undo:
    """SIGTERM; now and then a second one on its heels."""
    for member in _some(stage):
        member.terminate()
        if stage.chance.random() < 0.2:
            member.terminate()
    return stage.join if stage.chance.random() < 0.6 else None


def leave_amid_a_fetch(stage: Stage) -> Undo:
    """Told to go at once, while a read is under way that will return when nobody wants it."""
    stage.weather.fetch_seconds = 2.0
    for member in _some(stage):
        member.terminate()
        member.terminate()
    return stage.weather.speed_up


def start_and_stop(stage: Stage) -> Undo:
    """A member is told to go before it has come."""
    stage.join()
    newest = stage.alive()[-1]
    if stage.chance.random() < 0.5:
        newest.terminate()
        return None
    return newest.terminate


def freeze(stage: Stage) -> Undo:
    """SIGSTOP, for longer than the session or not; SIGCONT."""
    [member] = _some(stage)[:1] or [None]
    if member is None or member.process.is_frozen:
        return None
    member.process.freeze()
    over = stage.lapse(member)

    def thaw() -> None:
        member.process.thaw()
        over()

    return thaw


def cut_off(stage: Stage) -> Undo:
    """The network between one member and all brokers is down; CodePipeline can be reached."""
    [member] = _some(stage)[:1] or [None]
    if member is None or member.brokers.is_partitioned:
        return None
    member.brokers.is_partitioned = True
    over = stage.lapse(member)

    def connect() -> None:
        member.brokers.is_partitioned = False
        over()

    return connect


def jump(stage: Stage) -> Undo:
    """A wall clock jumps, forth or back, and stays there."""
    for member in _some(stage):
        member.wall_offset_seconds += stage.chance.choice((-3600.0, -30.0, 5.0, 60.0, 7200.0))
    return None


def outage(stage: Stage) -> Undo:
    stage.weather.is_out = True
    overs = [stage.lapse(member) for member in stage.alive()]

    def back() -> None:
        stage.weather.come_back()
        for over in overs:
            over()

    return back


def read_only(stage: Stage) -> Undo:
    """Too few replicas are in sync: nothing can be written, and members come and go."""
    stage.weather.is_read_only = True
    return stage.weather.come_back


def slow_brokers(stage: Stage) -> Undo:
    stage.weather.seconds = stage.chance.choice((0.2, 1.0, 3.0))
    return stage.weather.speed_up


def slow_fetches(stage: Stage) -> Undo:
    stage.weather.fetch_seconds = stage.chance.choice((0.5, 2.0, 4.0))
    return stage.weather.speed_up


def lost_answers(stage: Stage) -> Undo:
    stage.weather.lost_answers = stage.chance.random()
    stage.weather.doubled_writes = stage.chance.choice((0.0, 0.3))
    return stage.weather.answer_writes


def commits_in_trouble(stage: Stage) -> Undo:
    stage.weather.late_commits = stage.chance.random()
    stage.weather.lost_commits = stage.chance.choice((0.0, 0.4))
    return stage.weather.take_commits


def holes(stage: Stage) -> Undo:
    stage.put_holes()
    return None


def spoiled_calls(stage: Stage) -> Undo:
    kinds = stage.chance.sample(SPOILERS, 3)
    ids = [
        _order(
            stage,
            Fault(
                kind,
                _aim(stage),
                probability=stage.chance.uniform(0.2, 0.9),
                seed=stage.chance.getrandbits(32),
                seconds=stage.chance.choice((0.5, 2.0, 6.0)),
            ),
        )
        for kind in kinds
    ]
    return lambda: _withdraw(stage, ids)


def account_in_trouble(stage: Stage) -> Undo:
    """Expired credentials, or one operation that is not granted: every call of that account."""
    kind = stage.chance.choice((FaultKind.EXPIRED, FaultKind.ACCESS_DENIED, FaultKind.REDIRECT))
    accounts = frozenset({stage.chance.choice(stage.targets)})
    operations: frozenset[str] = frozenset()
    if stage.chance.random() < 0.4:
        operations = frozenset(
            {stage.chance.choice(("PutJobSuccessResult", "PutJobFailureResult"))}
        )
    ids = [_order(stage, Fault(kind, Aim(operations, accounts)))]
    return lambda: _withdraw(stage, ids)


def throttled(stage: Stage) -> Undo:
    throttle, before = stage.codepipeline.throttle, stage.codepipeline.throttle.limits
    throttle.limits = Limits(rate_per_second=stage.chance.choice((0.5, 2.0)), burst=2)

    def lift() -> None:
        throttle.limits = before

    return lift


def slow_calls(stage: Stage) -> Undo:
    aws = stage.codepipeline
    aws.latency_seconds = stage.chance.choice((0.5, 2.0, 3.5))

    def faster() -> None:
        aws.latency_seconds = 0.05

    return faster


FAULTS: dict[Callable[[Stage], Undo], float] = {
    crash: 3.0,
    crash_now: 1.5,
    join: 1.5,
    leave: 2.0,
    leave_amid_a_fetch: 0.7,
    start_and_stop: 0.7,
    freeze: 1.5,
    cut_off: 1.0,
    jump: 0.7,
    outage: 1.0,
    read_only: 1.5,
    slow_brokers: 1.0,
    slow_fetches: 1.0,
    lost_answers: 1.0,
    commits_in_trouble: 2.0,
    holes: 1.0,
    spoiled_calls: 3.0,
    account_in_trouble: 2.5,
    throttled: 1.0,
    slow_calls: 1.0,
}


def _some(stage: Stage) -> list[Member]:
    """One of the living, seldom all; nobody if nobody lives."""
    alive = stage.alive()
    if not alive:
        return []
    return alive if stage.chance.random() < 0.15 else [stage.chance.choice(alive)]


def _aim(stage: Stage) -> Aim:
    if stage.chance.random() < 0.5:
        return Aim()
    return Aim(accounts=frozenset({stage.chance.choice(stage.targets)}))


def _order(stage: Stage, fault: Fault) -> int:
    return stage.codepipeline.faults.add(fault, stage.codepipeline.now())


def _withdraw(stage: Stage, ids: list[int]) -> None:
    for number in ids:
        stage.codepipeline.faults.remove(number)
