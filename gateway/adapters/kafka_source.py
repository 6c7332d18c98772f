"""Records in, commits out: a member of a consumer group that keeps the promises of RecordSource.

    one consumer object      ┌─ assignment ──────────────┐  ┌─ assignment ─────────── …
    joins its group ───────► │ looked up · told · read    │► │ looked up · told · read
                             └───────────────── revoked ─┘  └─

A new assignment makes a new `Reading`; a consumer object that is stuck is replaced. Between two
assignments nothing is returned and nothing can be committed.

**A record that cannot be read** (wrong checksum, unknown codec; a header name that is not UTF-8
can be read, see kafka_salvage) stops its partition and no other: the signal `reading failed` and
`/status` name topic/partition/offset, and it is tried again at growing intervals. To go on without
it, stop all members and move the group past it with Kafka's own tool, then start them again:

    kafka-consumer-groups.sh --bootstrap-server HOST:PORT --group GROUP \\
        --topic TOPIC:PARTITION --reset-offsets --to-offset OFFSET+1 --execute

A batch is compressed as a whole; if one more is not enough, go to the offset after the batch,
which `kafka-dump-log.sh` shows as `lastOffset` + 1. The note beside the commit goes with it.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from gateway.adapters.kafka_assignment import (
    FIRST_DELAY_SECONDS,
    LONGEST_DELAY_SECONDS,
    Assignments,
)
from gateway.adapters.kafka_client import TROUBLE, KafkaConnection, stopped, topics_present
from gateway.adapters.kafka_consumer import ConsumerSettings, joined_at_last
from gateway.adapters.kafka_lease import Lease
from gateway.adapters.kafka_positions import Group
from gateway.adapters.kafka_reading import Reading, explained, stay_in_group, wait_fetched
from gateway.adapters.kafka_watchdog import Lagging
from gateway.core.model import CommitPoint, Partition, Record
from gateway.core.signals import ConsumerRecreated, NotReadyYet, ReadFailed
from gateway.ports import AssignmentListener, CommitFailed, SignalSink, WallClock

STUCK_IN_A_ROW = 3
"""So many consumers stuck one after the other are not the consumers' fault."""


class KafkaSource:
    """RecordSource on aiokafka. `start` it, then call `next_batch` from one task, over and over.

    Guarantees beyond the port's: no way of failing, and no cancellation of `next_batch`, moves
    `position` past a record that was not returned. The caller must not put `next_batch` behind
    `asyncio.wait_for`, which may throw away what has been returned.

    A commit that has timed out may land later (aiokafka shields the request that is under way).
    Its offset and note were true together when it was begun, so it can repeat work, not lose it.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        settings: ConsumerSettings,
        *,
        listener: AssignmentListener,
        signals: SignalSink,
        clock: WallClock,
    ) -> None:
        self._now = asyncio.get_running_loop().time
        self._connection = connection
        self._settings = settings
        self._signals = signals
        self._assignments = Assignments(
            connection,
            Group(settings.group_id, settings.start, clock),
            listener=listener,
            signals=signals,
            changed=self._tell_news,
            look_up_timeout_seconds=2 * settings.request_timeout_seconds,
        )
        self._consumer: AIOKafkaConsumer | None = None
        self._lease = Lease(settings.session_timeout_seconds, self._now)
        self._commit_turn = asyncio.Lock()
        self._trouble: str | None = "not started"
        self._delay = FIRST_DELAY_SECONDS
        self._retry_at = self._called_at = 0.0
        self._news: Future[None] | None = None
        self._out_of_range = asyncio.Event()
        self._lagging = Lagging[TopicPartition]()
        self._waiting_since = self._trouble_at = 0.0
        self._stuck_in_a_row = self._recreations = self._salvaged = 0
        self._failed = asyncio.Event()
        self._failure = ""
        self._watching: Task[None] | None = None
        self._leaving: set[Task[None]] = set()

    # Coming and going

    async def start(self) -> None:
        """Returns when brokers and topics are there and the group is being joined; until then it
        signals NotReadyYet and tries again, for ever. Raises nothing."""
        await self._join()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Leaves the group, within the stop time-out. The listener is not told: whoever stops the
        source has committed first. Nothing is returned and nothing committed afterwards."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        consumer, self._consumer = self._consumer, None
        self._assignments.abandon()
        self._trouble = "stopped"
        if consumer is not None:
            await stopped(consumer, self._settings.stop_timeout_seconds)

    async def wait_failed(self) -> str:
        """Returns, with the reason, when only a new process can help."""
        await self._failed.wait()
        return self._failure

    async def _join(self) -> None:
        self._consumer = consumer = await joined_at_last(
            self._connection, self._settings, self._tell_not_ready
        )
        self._trouble = None
        self._waiting_since = self._now()
        self._lease.follow(consumer)
        consumer.subscribe(self._settings.topics, listener=_Told(self, consumer))

    def _tell_not_ready(self, why: str, retry_in_seconds: float) -> None:
        self._trouble = why
        self._signals.emit(NotReadyYet(why, retry_in_seconds))

    # What the consumer says

    async def revoked(self, consumer: AIOKafkaConsumer) -> None:
        """All partitions are about to go. No commit is begun or under way once this returns."""
        if consumer is not self._consumer:
            return
        await self._assignments.end()
        async with self._commit_turn:
            self._lagging.forget()

    def assigned(self, consumer: AIOKafkaConsumer, partitions: AbstractSet[TopicPartition]) -> None:
        """These partitions are ours."""
        if consumer is self._consumer:
            self._lease.renew()
            self._assignments.begin(consumer, partitions)

    def is_owner(self) -> bool:
        """False as soon as the group may have given our partitions to others without our having
        heard of it: what is begun then may be begun by two."""
        return self._lease.holds()

    # Records

    async def next_batch(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        deadline = self._now() + timeout_seconds
        await asyncio.sleep(0)  # else megabytes of fetched records would be one step of the loop
        while True:
            self._called_at = self._now()
            records = await self._take(max_records)
            remaining = deadline - self._now()
            if records or remaining <= 0:
                return records
            await self._wait_news(remaining)

    async def _take(self, max_records: int) -> list[Record]:
        """Nothing waits between taking a record and returning it."""
        now = self._now()
        if self._consumer is None or now < self._retry_at:
            return []
        try:
            stay_in_group(self._consumer)
        except Exception as error:  # of the membership: authorization, a coordination that died
            self._back_off(error, now)
            return []
        reading = self._assignments.held
        if reading is None or not self._assignments.is_open:
            return []
        self._trouble, self._delay = None, FIRST_DELAY_SECONDS
        salvaged = await reading.salvage(max_records, now)
        self._salvaged += len(salvaged)
        records = salvaged or reading.take(max_records, now)
        if records:
            self._stuck_in_a_row = 0
        if reading.out_of_range and not reading.is_over:
            self._out_of_range.set()
        return records

    def _back_off(self, error: Exception, now: float) -> None:
        self._trouble = explained(error)
        self._trouble_at = now
        self._retry_at = now + self._delay
        self._signals.emit(ReadFailed(self._trouble, self._delay))
        self._delay = min(2 * self._delay, LONGEST_DELAY_SECONDS)

    async def _wait_news(self, timeout_seconds: float) -> None:
        """Returns when there may be something to take, or at the time-out."""
        now = self._now()
        until = now + timeout_seconds
        waits: set[Future[None]] = {self._fresh_news()}
        held = self._assignments.held
        if self._retry_at > now:
            until = min(until, self._retry_at)
        elif held is not None and self._assignments.is_open:
            waits.add(wait_fetched(held.consumer))
            until = min(until, held.next_retry() or until)
        try:
            await asyncio.wait(
                waits, timeout=max(0.0, until - now), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for wait in waits:
                if not wait.cancel() and not wait.cancelled():
                    wait.exception()  # trouble of the membership is told to the next who asks

    def _fresh_news(self) -> Future[None]:
        self._news = asyncio.get_running_loop().create_future()
        return self._news

    def _tell_news(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # What the flow asks of partitions

    def pause(self, partitions: AbstractSet[Partition]) -> None:
        if (held := self._assignments.held) is not None:
            held.pause(TopicPartition(*one) for one in partitions if one in held.positions)

    def resume(self, partitions: AbstractSet[Partition]) -> None:
        if (held := self._assignments.held) is not None:
            held.resume(TopicPartition(*one) for one in partitions if one in held.positions)
            self._tell_news()

    def seek(self, partition: Partition, offset: int) -> None:
        held = self._assignments.held
        if held is not None and partition in held.positions:
            held.seek(TopicPartition(*partition), offset)
            self._tell_news()

    def position(self, partition: Partition) -> int | None:
        held = self._assignments.held
        return None if held is None else held.positions.get(TopicPartition(*partition))

    def log_end(self, partition: Partition) -> int | None:
        held = self._assignments.held
        return None if held is None else held.log_end(TopicPartition(*partition))

    async def commit(self, points: Mapping[Partition, CommitPoint]) -> None:
        held = self._assignments.held
        try:
            async with asyncio.timeout(self._settings.commit_timeout_seconds):
                async with self._commit_turn:
                    if held is None or held is not self._assignments.held:
                        raise CommitFailed("the assignment is over")
                    await self._commit(held, points)
        except CommitFailed:
            raise
        except Exception as error:  # whatever it is, what is committed now is unknown
            raise CommitFailed(explained(error)) from error

    async def _commit(self, held: Reading, points: Mapping[Partition, CommitPoint]) -> None:
        offsets = {
            TopicPartition(*partition): OffsetAndMetadata(point.offset, point.note)
            for partition, point in points.items()
            if partition in held.positions
        }
        if offsets:
            await held.consumer.commit(offsets)

    # The watchdog

    async def _watch(self) -> None:
        try:
            while True:
                why = await self._wait_unusable()
                if self._stuck_in_a_row >= STUCK_IN_A_ROW:
                    self._fail(f"{STUCK_IN_A_ROW} consumers in a row got stuck: {why}")
                    return
                await self._recreate(why)
        except Exception as error:  # a source that nobody watches must not look well
            self._fail(f"the watchdog died: {type(error).__name__}: {error}")

    def _fail(self, why: str) -> None:
        self._failure = why
        self._failed.set()

    async def _wait_unusable(self) -> str:
        """Returns, with the reason, when the consumer has to be replaced."""
        while True:
            try:
                async with asyncio.timeout(self._settings.stuck_after_seconds / 4):
                    await self._out_of_range.wait()
                return self._refuse_positions()
            except TimeoutError:
                pass
            try:
                why = await self._why_stuck()
            except TROUBLE:  # brokers do not answer: nothing is the consumer's fault
                self._lagging.forget()
                self._waiting_since = self._now()
                continue
            if why is not None:
                is_explained = self._now() - self._trouble_at <= self._settings.stuck_after_seconds
                self._stuck_in_a_row += not is_explained
                return why

    def _refuse_positions(self) -> str:
        self._out_of_range.clear()
        held = self._assignments.held
        gone = held.out_of_range if held is not None else {}
        self._assignments.refused.update(gone)
        where = (f"{tp.topic}/{tp.partition}/{offset}" for tp, offset in sorted(gone.items()))
        return f"the log does not hold {', '.join(where)} any more"

    async def _why_stuck(self) -> str | None:
        """Raises one of TROUBLE if the brokers do not answer."""
        now, patience = self._now(), self._settings.stuck_after_seconds
        held = self._assignments.held
        if held is None or not self._assignments.is_open:
            return await self._why_unassigned(now)
        self._waiting_since = now
        if now - self._called_at > patience / 2:
            self._lagging.forget()  # nobody reads
            return None
        readable = held.readable()
        async with asyncio.timeout(self._settings.request_timeout_seconds):
            ends = await held.consumer.end_offsets(list(readable))
        lagging = self._lagging.observe(readable, ends, now)
        return f"lag and no record for {lagging:.0f} s" if lagging >= patience else None

    async def _why_unassigned(self, now: float) -> str | None:
        if self._assignments.is_under_way:
            self._waiting_since = now
        # A group may wait for a member that has died, and then for one that is slow to leave.
        settings = self._settings
        patience = settings.stuck_after_seconds + settings.session_timeout_seconds
        if now - self._waiting_since < patience + settings.rebalance_timeout_seconds:
            return None
        await topics_present(self._connection, ())
        return f"no assignment for {now - self._waiting_since:.0f} s"

    async def _recreate(self, why: str) -> None:
        """A consumer object cannot be restarted (aiokafka#1010)."""
        await self._assignments.end()
        consumer, self._consumer = self._consumer, None
        self._recreations += 1
        self._signals.emit(ConsumerRecreated(why))
        if consumer is not None:
            await self._leave(consumer)
        await self._join()

    async def _leave(self, consumer: AIOKafkaConsumer) -> None:
        """Waits a while for the end of `stop`, and lets it go on: cut short, it would leave a
        member behind whose heartbeats go on and whose partitions nobody reads."""
        leaving = asyncio.create_task(consumer.stop())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._left)
        await asyncio.wait({leaving}, timeout=self._settings.stop_timeout_seconds)

    def _left(self, leaving: Task[None]) -> None:
        self._leaving.discard(leaving)
        if not leaving.cancelled() and (error := leaving.exception()) is not None:
            self._signals.emit(ReadFailed(f"leaving the group: {explained(error)}", 0.0))

    # What operators see

    @property
    def trouble(self) -> str | None:
        """Why no records come, or come from some partitions only. None: all is well."""
        held = self._assignments.held
        if (known := self._trouble or self._assignments.trouble) is not None:
            return known
        if held is None or not self._assignments.is_open:
            return "waiting for the group to assign partitions"
        return "; ".join(sorted(blocked.error for blocked in held.blocked.values())) or None

    def statistics(self) -> dict[str, object]:
        """For /status. Offsets, counts and words; nothing of any record."""
        held = self._assignments.held
        return {
            "group": self._settings.group_id,
            "trouble": self.trouble,
            "partitions": {} if held is None else held.statistics(),
            "records_salvaged": self._salvaged,
            "consumers_recreated": self._recreations,
        }


class _Told(ConsumerRebalanceListener):  # type: ignore[misc]
    """What one consumer object says of its assignments. aiokafka swallows what is raised here."""

    def __init__(self, source: KafkaSource, consumer: AIOKafkaConsumer) -> None:
        self._source = source
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: AbstractSet[TopicPartition]) -> None:
        await self._source.revoked(self._consumer)

    async def on_partitions_assigned(self, assigned: AbstractSet[TopicPartition]) -> None:
        self._source.assigned(self._consumer, assigned)
