"""A consumer group over the in-memory log: who owns which partition, and what is committed.

    Group       the coordinator: sessions, eager rebalancing, commits
    LogSource   one member: ports.RecordSource
    Service     how well brokers serve one member; perfectly, unless somebody says otherwise

What Kafka does to a gateway happens here, too: members that say nothing are expelled, commits are
late, lost, or land after they were given up and after a rebalance (KAFKA.md, "A late commit does
land"), and an expelled member goes on until it hears of it.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.core.model import CommitPoint, Partition, Record
from gateway.ports import Assigned, AssignmentListener, CommitFailed
from gateway.simulation.log import Log


@dataclass(frozen=True, slots=True)
class Terms:
    """The group's time-outs, in seconds, as Kafka's clients and brokers know them."""

    session: float = 10.0
    heartbeat: float = 1.0
    rebalance: float = 60.0
    commit: float = 5.0


class CommitFate(NamedTuple):
    """What becomes of one commit."""

    sent_after_seconds: float = 0.0
    """Until it reaches the coordinator: longer than the commit time-out, and it lands late."""
    answered_after_seconds: float = 0.0
    is_lost: bool = False


class Service:
    """How well brokers serve one member: here, at once and always."""

    def is_cut_off(self) -> bool:
        """Nothing comes from brokers and nothing gets there."""
        return False

    def look_up_seconds(self) -> float:
        """How long it takes to learn where to begin."""
        return 0.0

    def fetch_seconds(self) -> float:
        return 0.0

    def commit_fate(self) -> CommitFate:
        return CommitFate()


class Commit(NamedTuple):
    """A commit as the coordinator took it."""

    time: float
    place: Partition
    point: CommitPoint


@dataclass(slots=True)
class Expulsion:
    """A member was expelled; `until` it has heard of it, or for ever."""

    name: str
    since: float
    until: float = float("inf")


class _Membership:
    """A member from its joining until it leaves or is expelled; then `gone` is done."""

    def __init__(self, member: LogSource) -> None:
        loop = asyncio.get_running_loop()
        self.member = member
        self.gone: Future[None] = loop.create_future()
        self.heard = loop.time()


class Group:
    """The coordinator: every partition has at most one owner in its eyes, and commits survive."""

    def __init__(self, log: Log, topics: Iterable[str], terms: Terms | None = None) -> None:
        self.log = log
        self.terms = terms or Terms()
        self.committed: dict[Partition, CommitPoint] = {}
        self.commits: list[Commit] = []
        self.generations: list[float] = []
        """When each generation began."""
        self.expulsions: list[Expulsion] = []
        self._places = [place for topic in topics for place in log.partitions(topic)]
        self._memberships: dict[LogSource, _Membership] = {}
        self._rebalancing = asyncio.Lock()
        self._outside = copy_context()

    @property
    def generation(self) -> int:
        return len(self.generations)

    async def join(self, member: LogSource) -> None:
        """Returns when the group knows the member."""
        await asyncio.shield(self._go_on(self._join(member)))

    def leave(self, member: LogSource) -> None:
        """The member goes, politely or not: nobody asks it to commit."""
        if self._remove(member):
            self._go_on(self._rebalance())

    def beat(self, member: LogSource) -> bool:
        """The member lives. False: the group does not know it (any more)."""
        membership = self._memberships.get(member)
        if membership is not None:
            membership.heard = asyncio.get_running_loop().time()
        return membership is not None

    def commit(self, member: LogSource, points: Mapping[Partition, CommitPoint]) -> None:
        """Taken from whoever is a member now, also for what it does not own any more. Raises
        CommitFailed for strangers."""
        if member not in self._memberships:
            raise CommitFailed("unknown member")
        now = asyncio.get_running_loop().time()
        for place, point in points.items():
            self.committed[place] = point
            self.commits.append(Commit(now, place, point))

    def told(self, member: LogSource) -> None:
        """The member has heard that it was expelled."""
        for expulsion in self.expulsions:
            if expulsion.name == member.name:
                expulsion.until = min(expulsion.until, asyncio.get_running_loop().time())

    def _go_on(self, work: Coroutine[Any, Any, None]) -> Task[None]:
        """The coordinator's work does not end with the member that has caused it."""
        return asyncio.get_running_loop().create_task(work, context=self._outside)

    async def _join(self, member: LogSource) -> None:
        async with self._rebalancing:
            if member.is_stopped or member in self._memberships:
                return
            await self._revoke_all()
            if not member.is_stopped:
                self._memberships[member] = membership = _Membership(member)
                self._watch(membership)
            self._assign_all()

    async def _rebalance(self) -> None:
        async with self._rebalancing:
            await self._revoke_all()
            self._assign_all()

    async def _revoke_all(self) -> None:
        """Whoever has not let go of its partitions in time is expelled."""
        asked = [
            (one, one.member.spawn(one.member.revoked(self.generation))) for one in self._members()
        ]
        await asyncio.gather(*(self._wait_revoked(one, answer) for one, answer in asked))

    async def _wait_revoked(self, one: _Membership, answer: Task[None]) -> None:
        await asyncio.wait(
            {answer, one.gone},
            timeout=self.terms.rebalance,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not answer.done():
            self._expel(one.member)

    def _assign_all(self) -> None:
        self.generations.append(asyncio.get_running_loop().time())
        members = self._members()
        shares: list[list[Partition]] = [[] for _ in members]
        for number, place in enumerate(self._places if shares else ()):
            shares[number % len(shares)].append(place)
        for one, share in zip(members, shares, strict=True):
            one.member.spawn(one.member.assigned(share, self.generation))

    def _members(self) -> list[_Membership]:
        return list(self._memberships.values())

    def _watch(self, membership: _Membership) -> None:
        """A session ends when nothing was heard for too long."""
        if membership.gone.done():
            return
        loop = asyncio.get_running_loop()
        left = membership.heard + self.terms.session - loop.time()
        if left > 0:
            loop.call_later(left, self._watch, membership, context=self._outside)
        elif self._expel(membership.member):
            self._go_on(self._rebalance())

    def _expel(self, member: LogSource) -> bool:
        is_member = self._remove(member)
        if is_member:
            now = asyncio.get_running_loop().time()
            self.expulsions.append(Expulsion(member.name, now))
        return is_member

    def _remove(self, member: LogSource) -> bool:
        membership = self._memberships.pop(member, None)
        if membership is not None and not membership.gone.done():
            membership.gone.set_result(None)
        return membership is not None


class _Holding:
    """What a member holds from one assignment to its end."""

    def __init__(self, positions: dict[Partition, int]) -> None:
        self.positions = positions
        self.paused: set[Partition] = set()


class LogSource:
    """ports.RecordSource over a Log, as one member of a Group."""

    def __init__(
        self,
        group: Group,
        listener: AssignmentListener,
        service: Service | None = None,
        name: str = "",
    ) -> None:
        self.name = name
        self._group = group
        self._log = group.log
        self._listener = listener
        self._service = service or Service()
        self._held: _Holding | None = None
        self._is_open = False
        self._is_told = False
        self._turn = asyncio.Lock()
        self._commit_turn = asyncio.Lock()
        self._context: Context = copy_context()
        self._joining: Task[None] | None = None
        self._first: Future[None] | None = None
        self._heard = float("-inf")
        self.is_stopped = False
        self.commit_fault: Callable[[], Exception | None] = lambda: None

    def spawn(self, work: Coroutine[Any, Any, None]) -> Task[None]:
        """Work of this member's process, whoever asks for it."""
        return asyncio.get_running_loop().create_task(work, context=self._context)

    # Coming and going

    async def start(self) -> None:
        """Returns when the member has its first assignment."""
        self._context = copy_context()
        self._first = asyncio.get_running_loop().create_future()
        self._joining = self.spawn(self._join())
        self._beat()
        await asyncio.shield(self._first)

    async def stop(self) -> None:
        """Leaves the group. What is not committed by now is not committed."""
        self.is_stopped = True
        self.lose()
        if not self._service.is_cut_off():
            self._group.leave(self)

    def is_owner(self) -> bool:
        """False as soon as the group may have given our partitions to others without our having
        heard of it."""
        return asyncio.get_running_loop().time() < self._heard + self._group.terms.session

    async def revoked(self, generation: int) -> None:
        """Returns when what was assigned in this generation is let go of, and no commit is under
        way."""
        await self._wait_connected()  # before that it has not heard
        if generation == self._group.generation:
            await self._let_go()

    async def assigned(self, share: Sequence[Partition], generation: int) -> None:
        async with self._turn:
            found = await self._look_up(share)
            is_known = self._group.beat(self) and generation == self._group.generation
            if self.is_stopped or not is_known:
                return
            self._held = held = _Holding({one.partition: one.start for one in found})
            self._is_told = True
            self._heard = asyncio.get_running_loop().time()
            await self._listener.partitions_assigned(found)
            if held is self._held and not self.is_stopped:
                self._is_open = True
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    async def _look_up(self, share: Sequence[Partition]) -> list[Assigned]:
        await self._wait_connected()
        pause = self._service.look_up_seconds() / 2
        await asyncio.sleep(pause)
        found = [self._found(place) for place in share]
        await asyncio.sleep(pause)
        return found

    def lose(self) -> None:
        """No record and no commit passes any more."""
        self._is_open = False
        self._held = None

    async def _let_go(self) -> None:
        self._is_open = False
        async with self._turn:
            # Again: an assignment may have been on its way when the first word was said.
            self._is_open = False
            if self._is_told:
                await self._listener.partitions_revoked()
                self._is_told = False
            self.lose()
        async with self._commit_turn:
            pass

    async def _join(self) -> None:
        await self._wait_connected()
        await self._group.join(self)

    async def _wait_connected(self) -> None:
        while self._service.is_cut_off():  # noqa: ASYNC110  nobody tells when the network is back
            await asyncio.sleep(self._group.terms.heartbeat)

    def _beat(self) -> None:
        if self.is_stopped:
            return
        is_joining = self._joining is not None and not self._joining.done()
        if not self._service.is_cut_off():
            if self._group.beat(self):
                self._heard = asyncio.get_running_loop().time()
            elif not is_joining:
                self._joining = self.spawn(self._rejoin())
        asyncio.get_running_loop().call_later(
            self._group.terms.heartbeat, self._beat, context=self._context
        )

    async def _rejoin(self) -> None:
        """The group has forgotten us: what we hold is somebody else's by now."""
        self._group.told(self)
        await self._let_go()
        await self._join()

    # Records

    async def next_batch(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        await asyncio.sleep(self._service.fetch_seconds())  # 0: as anybody who reads a socket
        batch = self._take(max_records)
        if not batch:
            try:
                await self._log.wait_arrival(timeout_seconds)
            except TimeoutError:
                return ()
            batch = self._take(max_records)
        return batch

    def pause(self, partitions: AbstractSet[Partition]) -> None:
        if self._held is not None:
            self._held.paused |= partitions & self._held.positions.keys()

    def resume(self, partitions: AbstractSet[Partition]) -> None:
        if self._held is not None:
            self._held.paused -= partitions

    def seek(self, partition: Partition, offset: int) -> None:
        if self._held is not None and partition in self._held.positions:
            self._held.positions[partition] = offset

    def position(self, partition: Partition) -> int | None:
        return None if self._held is None else self._held.positions.get(partition)

    def log_end(self, partition: Partition) -> int | None:
        return self._log.end(partition)

    def _found(self, place: Partition) -> Assigned:
        point = self._group.committed.get(place)
        start, end = self._log.start(place), self._log.end(place)
        offset = None if point is None else point.offset
        return Assigned(
            partition=place,
            start=max(start, offset or start),
            log_start=start,
            log_end=end,
            committed=offset,
            note=point.note if point else "",
            cluster="simulated",
        )

    def _take(self, most: int) -> list[Record]:
        batch: list[Record] = []
        held = self._held
        if held is None or not self._is_open or self._service.is_cut_off():
            return batch
        for place, position in held.positions.items():
            if place in held.paused or len(batch) >= most:
                continue
            taken = self._log.read(place, position, most - len(batch))
            batch.extend(taken)
            is_all = not taken or taken[-1].offset == self._log.end(place) - 1
            held.positions[place] = self._log.end(place) if is_all else taken[-1].offset + 1
        return batch

    # Commits

    async def commit(self, points: Mapping[Partition, CommitPoint]) -> None:
        held = self._held
        try:
            async with asyncio.timeout(self._group.terms.commit), self._commit_turn:
                if held is None or held is not self._held:
                    raise CommitFailed("the assignment is over")
                mine = {place: points[place] for place in points if place in held.positions}
                # aiokafka goes on with a commit that nobody waits for any more.
                await asyncio.shield(self._send(mine))
        except TimeoutError as error:
            raise CommitFailed("no answer in time") from error

    def _send(self, points: Mapping[Partition, CommitPoint]) -> Future[None]:
        """Done when the coordinator has answered, never raising when nobody waits any more."""
        answered = asyncio.get_running_loop().create_future()
        self.spawn(self._deliver(points, answered))
        return answered

    async def _deliver(
        self, points: Mapping[Partition, CommitPoint], answered: Future[None]
    ) -> None:
        fate = self._service.commit_fate()
        await asyncio.sleep(fate.sent_after_seconds)
        await self._wait_connected()
        if fate.is_lost or self.is_stopped:
            return
        fault = self.commit_fault()
        try:
            if fault is not None:
                raise CommitFailed(str(fault))
            self._group.commit(self, points)
        except CommitFailed as failed:
            self._answer(answered, failed)
        else:
            await asyncio.sleep(fate.answered_after_seconds)
            self._answer(answered, None)

    @staticmethod
    def _answer(answered: Future[None], failed: CommitFailed | None) -> None:
        if answered.done():
            return
        if failed is None:
            answered.set_result(None)
        else:
            answered.set_exception(failed)
            answered.exception()  # it may be that nobody waits for it any more
