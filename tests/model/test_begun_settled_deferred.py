"""Watermark, note, lanes and deferring together, against sets and lists.

A machine reads records of few jobs from two partitions, delivers them, leaves some in Kafka, goes
back for them, commits, dies and starts again from offset and note. The reference knows every
record that was ever settled, and nothing else.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core import note
from gateway.core.deferred import Deferred
from gateway.core.lanes import Lanes
from gateway.core.watermark import Ticket, Watermark

CLUSTER, KEY, TARGET = "cluster", b"key", "target"
PLACES = (0, 1)
JOBS = ("a", "b", "c")
SOME_JOBS = st.lists(st.sampled_from(JOBS), min_size=1, max_size=6)


@dataclass
class Place:
    """One partition: its log, what the group has committed, and what one owner makes of it."""

    jobs: dict[int, str] = field(default_factory=dict)
    """Every record: its offset, and the job that it is about."""
    end: int = 0
    committed: int = 0
    noted: str = ""
    settled: set[int] = field(default_factory=set)
    """The reference: whatever was settled, by whomever."""
    position: int = 0
    watermark: Watermark = field(default_factory=lambda: Watermark(0))
    deferred: Deferred = field(default_factory=Deferred)
    known: set[int] = field(default_factory=set)
    """What this owner was told by offset and note, and so does not do again."""

    def open(self) -> None:
        """A new owner, from what is committed."""
        runs = note.decode(self.noted, self.committed, CLUSTER, KEY)
        self.watermark = Watermark(self.committed, runs)
        self.deferred = Deferred()
        self.position = self.committed
        self.known = {offset for run in runs for offset in range(run.start, run.end)}
        self.known |= set(range(self.committed))

    def unsettled(self) -> set[int]:
        return self.jobs.keys() - self.settled


@dataclass
class Delivery:
    place: int
    ticket: Ticket
    job: str


class OneOwnerAfterTheOther(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.places = [Place() for _ in PLACES]
        self.lanes: Lanes[Delivery] = Lanes()
        self.halted: set[str] = set()
        self.delivered: list[tuple[int, int]] = []
        """By this owner: place and offset, in order."""

    # -- what happens ---------------------------------------------------------------------------

    @rule(
        place=st.sampled_from(PLACES), jobs=st.lists(st.sampled_from(JOBS), min_size=1, max_size=6)
    )
    def records_arrive(self, place: int, jobs: list[str]) -> None:
        one = self.places[place]
        for job in jobs:
            one.jobs[one.end] = job
            one.end += 1

    @rule(place=st.sampled_from(PLACES), offsets=st.integers(1, 9))
    def offsets_go_by_without_a_record(self, place: int, offsets: int) -> None:
        self.places[place].end += offsets

    @rule(place=st.sampled_from(PLACES), most=st.integers(1, 5))
    def records_are_read(self, place: int, most: int) -> None:
        one = self.places[place]
        for _ in range(most):
            ahead = [offset for offset in one.jobs if offset >= one.position]
            if not ahead:
                one.position = one.end
                return
            offset = min(ahead)
            one.position = offset + 1
            self._admit(place, offset)

    @rule(job=st.sampled_from(JOBS))
    def the_head_of_a_lane_is_delivered(self, job: str) -> None:
        head = next((one for one in self.lanes if one.job == job), None)
        if head is None:
            return
        self.lanes.finish_head(job)
        self.delivered.append((head.place, head.ticket.offset))
        self.places[head.place].settled.add(head.ticket.offset)
        head.ticket.settle()

    @rule(job=st.sampled_from(JOBS))
    def a_job_is_left_in_kafka(self, job: str) -> None:
        self.halted.add(job)
        for delivery in self.lanes.drop(job):
            self._defer(delivery.place, delivery.ticket, job)

    @rule()
    def what_was_left_is_read_again(self) -> None:
        self.halted.clear()
        for one in self.places:
            lowest = one.deferred.take_back(TARGET)
            if lowest is not None:
                one.position = min(one.position, lowest)

    @rule(place=st.sampled_from(PLACES), has_note=st.booleans())
    def a_commit_lands(self, place: int, has_note: bool) -> None:
        one = self.places[place]
        if not one.watermark.unsettled and not one.watermark.deferred:
            one.watermark.skip_to(one.position)
        one.committed = one.watermark.committable()
        bits = one.watermark.settled_bits()
        one.noted = note.encode(bits, one.committed, CLUSTER, KEY) if has_note else ""

    @precondition(lambda self: self.delivered)
    @rule()
    def the_owner_dies(self) -> None:
        self.lanes, self.delivered = Lanes(), []
        self.halted.clear()
        for one in self.places:
            one.open()

    def _admit(self, place: int, offset: int) -> None:
        one = self.places[place]
        ticket = one.watermark.begin(offset)
        assert (ticket is None) == self._is_not_ours(place, offset)
        if ticket is None:
            return
        job = one.jobs[offset]
        if job in self.halted or one.deferred.blocks(TARGET, job):
            self._defer(place, ticket, job)
        else:
            self.lanes.append(job, Delivery(place, ticket, job))

    def _defer(self, place: int, ticket: Ticket, job: str) -> None:
        ticket.defer()
        self.places[place].deferred.add(TARGET, job, ticket.offset)

    def _is_not_ours(self, place: int, offset: int) -> bool:
        """Told to be settled, settled by us, or on its way."""
        waiting = {(one.place, one.ticket.offset) for one in self.lanes}
        return (
            offset in self.places[place].known
            or (place, offset) in self.delivered
            or (place, offset) in waiting
        )

    # -- what must hold -------------------------------------------------------------------------

    @invariant()
    def nothing_is_committed_that_is_not_settled(self) -> None:
        for one in self.places:
            runs = note.decode(one.noted, one.committed, CLUSTER, KEY)
            told = {offset for run in runs for offset in range(run.start, run.end)}
            assert not one.unsettled() & (told | set(range(one.committed)))
            assert one.watermark.committable() <= min(one.unsettled(), default=one.end)

    @invariant()
    def nothing_is_delivered_twice_by_one_owner_nor_what_it_was_told_of(self) -> None:
        assert len(self.delivered) == len(set(self.delivered))
        for place, offset in self.delivered:
            assert offset not in self.places[place].known

    @invariant()
    def results_of_one_job_in_one_partition_follow_their_offsets(self) -> None:
        for place, one in enumerate(self.places):
            for job in JOBS:
                order = [o for p, o in self.delivered if p == place and one.jobs[o] == job]
                assert order == sorted(order)
                earlier = {o for o in one.unsettled() if one.jobs[o] == job}
                assert not order or not earlier or max(order) < min(earlier)

    @invariant()
    def the_counts_agree(self) -> None:
        for place, one in enumerate(self.places):
            waiting = sum(delivery.place == place for delivery in self.lanes)
            assert one.watermark.unsettled == waiting

    @invariant()
    def what_was_left_will_be_read_again(self) -> None:
        for place, one in enumerate(self.places):
            waiting = {delivery.ticket.offset for delivery in self.lanes if delivery.place == place}
            passed = {offset for offset in one.unsettled() if offset < one.position} - waiting
            lowest = deepcopy(one.deferred).take_back(TARGET)
            assert not passed or (lowest is not None and lowest <= min(passed))

    def teardown(self) -> None:
        """Left in peace, everything ends: from wherever it stands, what was left in Kafka is read
        again, and all is committed."""
        self.what_was_left_is_read_again()
        for place in PLACES:
            self.records_are_read(place, 10_000)
        for job in JOBS:
            while any(one.job == job for one in self.lanes):
                self.the_head_of_a_lane_is_delivered(job)
        for place, one in enumerate(self.places):
            self.a_commit_lands(place, has_note=True)
            assert not one.unsettled()
            assert one.committed == one.end


OneOwnerAfterTheOther.TestCase.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None
)
TestOneOwnerAfterTheOther = OneOwnerAfterTheOther.TestCase
