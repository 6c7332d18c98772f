"""What producers can do to a topic, short of breaking Kafka: none of it loses, reorders or wedges.

One `gateway run`, a partition for each kind of hostility, good results in between.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.codec import zstd_encode

from gateway.simulation.broker import KafkaBroker, Topic
from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.faults import Aim, Fault, FaultKind
from gateway.simulation.topics import Stored
from tests.acceptance.gateway_process import GatewayProcess, Stage, staged
from tests.adapters.raw_batches import produce_to, raw_batch
from tests.conftest import Topics
from tests.waiting import wait_until

NOISE, STAMPS, SIZES, CODECS, TRANSACTIONS = range(5)
PARTITIONS = 5
HOT_RESULTS = 15_000
LATEST_MS = 2**63 - 1
POISON = b"{"
OURS = ("gateway-operation", "gateway-target", "gateway-deadline", "traceparent")


def result(job: str, **members: Any) -> bytes:
    return json.dumps({"jobId": job, **members}).encode()


class Hostile:
    """A producer of anything, which remembers what has to become of it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.good: Counter[str] = Counter()
        self.poison: Counter[int] = Counter()

    async def sends(
        self, partition: int, value: bytes, key: bytes | None = b"k", **more: Any
    ) -> None:
        producer = await self._stage.producer()
        await producer.send(self._stage.topics.results, value, key, partition, **more)

    async def sends_good(self, partition: int, key: bytes | None = None, **more: Any) -> str:
        job = str(uuid.uuid4())
        self.good[job] += 1
        await self.sends(partition, result(job), job.encode() if key is None else key, **more)
        return job

    async def sends_poison(self, partition: int, key: bytes = b"k", **more: Any) -> None:
        self.poison[partition] += 1
        await self.sends(partition, POISON, key, **more)

    async def flush(self) -> None:
        await (await self._stage.producer()).flush()


async def noise(hostile: Hostile) -> None:
    """Bytes that mean nothing, and headers of ours that mean nothing."""
    chance = random.Random(11)
    for number in range(3000):
        if number % 50 == 0:
            await hostile.sends_good(NOISE)
        value = chance.randbytes(chance.randrange(200))
        if chance.random() < 0.5:
            value = b'{"jobId":"' + value
        headers = [
            (chance.choice(OURS), chance.choice((None, b"", chance.randbytes(5))))
            for _ in range(chance.randrange(4))
        ]
        hostile.poison[NOISE] += 1
        key = chance.choice((None, b"", chance.randbytes(300)))
        await hostile.sends(NOISE, value, key, headers=headers)


async def stamps(hostile: Hostile, simulator: CodePipelineSimulator) -> None:
    """Times that no clock shows. Kafka's -1 is none at all, and not 56 years ago: such a result is
    tried again like any other."""
    for timestamp_ms in (-1, 0, 1, 10**12, 4_102_444_800_000, 2**62, LATEST_MS):
        await hostile.sends_good(STAMPS, timestamp_ms=timestamp_ms)
        await hostile.sends_poison(STAMPS, timestamp_ms=timestamp_ms)
    job = str(uuid.uuid4())
    aim = Aim(job_ids=frozenset({job}))
    simulator.faults.add(Fault(FaultKind.THROTTLE, aim, count=2), time.time())
    hostile.good[job] += 1
    await hostile.sends(STAMPS, result(job), job.encode(), timestamp_ms=-1)
    tomorrow_ms = int(time.time() * 1000) + 86_400_000
    for _ in range(200):
        await hostile.sends_poison(STAMPS, timestamp_ms=tomorrow_ms)


async def sizes(hostile: Hostile) -> None:
    """Headers by the thousand, keys by the megabyte, and the sizes round what a topic takes."""
    for headers in (
        [(f"h{number}", b"v" * 20) for number in range(10_000)],
        [("gateway-target", b"default")] * 10_000,
        [(f"h{number}", b"v" * 100) for number in range(20_000)],
        [("n" * 60_000, b"x")] * 20,
    ):
        await hostile.sends_good(SIZES, headers=headers)
        await hostile.sends_poison(SIZES, headers=headers)
    for size_bytes in (900_000, 1_047_900, 1_048_500, 3_000_000):
        await hostile.sends_good(SIZES, b"k" * size_bytes)
        await hostile.sends_poison(SIZES, b"k" * size_bytes)


async def slow_to_judge(stage: Stage, hostile: Hostile) -> None:
    """Some kilobytes that hold 24 MB of what takes longest to judge: one batch of them must not
    cost the membership."""
    value = b'{"x":["\\u003a",' + b'{"a":1},' * 130_000 + b"1]}"
    batch = raw_batch([(value, ())] * 20, attributes=4, compress=zstd_encode)
    assert len(batch) < 10_000
    await produce_to(stage.brokers, TopicPartition(stage.topics.results, SIZES), batch)
    hostile.poison[SIZES] += 20
    await hostile.sends_good(SIZES)


@asynccontextmanager
async def producer_of(stage: Stage, **settings: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=stage.brokers, linger_ms=20, **settings)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def codecs(stage: Stage, hostile: Hostile) -> None:
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        async with producer_of(stage, compression_type=codec) as producer:
            jobs = [str(uuid.uuid4()) for _ in range(50)]
            values = [*map(result, jobs), *[POISON * 1000] * 5]
            sent = [await producer.send(stage.topics.results, v, b"k", CODECS) for v in values]
            await asyncio.gather(*sent)
        hostile.good.update(jobs)
        hostile.poison[CODECS] += 5


async def transactions(stage: Stage, hostile: Hostile) -> None:
    """Committed and aborted by turns. The log ends in a marker: an offset that nobody is given."""
    for number, is_committed in enumerate((True, False, True, False)):
        name = f"{stage.topics.results}-{number}"
        async with producer_of(stage, transactional_id=name) as producer:
            await producer.begin_transaction()
            jobs = [str(uuid.uuid4()) for _ in range(10)]
            for value in (*map(result, jobs), POISON):
                await producer.send_and_wait(stage.topics.results, value, b"k", TRANSACTIONS)
            if not is_committed:
                await producer.abort_transaction()
                continue
            await producer.commit_transaction()
        hostile.good.update(jobs)
        hostile.poison[TRANSACTIONS] += 1


@asynccontextmanager
async def hostile_stage(
    kafka: KafkaBroker, topics: Topics, simulator: CodePipelineSimulator, directory: Any
) -> AsyncIterator[Stage]:
    """An input topic that takes more than others do."""
    permissive = {
        "max.message.bytes": str(16 << 20),
        "message.timestamp.after.max.ms": str(LATEST_MS),
        "retention.ms": "-1",
    }
    others = (Topic(topics.outcomes, 2), Topic(topics.dead_letters))
    await kafka.create_topics(Topic(topics.results, PARTITIONS, permissive), *others)
    async with staged(kafka.bootstrap_servers, topics, simulator.endpoint, directory) as stage:
        yield stage


async def log_ends(stage: Stage, partitions: Iterable[int]) -> list[int]:
    """As brokers tell them: markers count."""
    producer = await stage.producer()
    ends = []
    for partition in partitions:
        at = await producer.send_and_wait(stage.topics.results, None, b"end", partition)
        ends.append(at.offset + 1)
    return ends


async def wait_committed(stage: Stage, gateway: GatewayProcess, ends: list[int]) -> None:
    async def are_committed() -> bool:
        assert gateway.process is not None
        assert gateway.process.returncode is None
        return [offset or 0 for offset in await stage.committed(len(ends))] == ends

    await wait_until(are_committed, 60, every_seconds=0.1)


def by_partition(letters: list[Stored]) -> Counter[int]:
    return Counter(int(letter.header("__connect.errors.partition") or b"-1") for letter in letters)


async def test_no_records_lose_reorder_or_wedge(
    kafka: KafkaBroker, topic_names: Topics, simulator: CodePipelineSimulator, tmp_path: Any
) -> None:
    async with hostile_stage(kafka, topic_names, simulator, tmp_path) as stage:
        gateway = await stage.started()
        hostile = Hostile(stage)
        await transactions(stage, hostile)
        # 44 records, of which 22 were aborted, and 4 markers.
        await wait_committed_marker(stage, 48)
        await noise(hostile)
        await stamps(hostile, simulator)
        await sizes(hostile)
        await codecs(stage, hostile)
        await hostile.flush()
        await slow_to_judge(stage, hostile)
        await hostile.flush()
        await wait_committed(stage, gateway, await log_ends(stage, range(PARTITIONS)))
        assert await gateway.terminate() == 0

        outcomes = await stage.outcomes()
        sources = [tuple(outcome["source"].values()) for outcome in outcomes]
        assert len(sources) == len(set(sources)), "nothing was done twice"
        accepted = Counter(each["job"] for each in outcomes if each["outcome"] == "accepted")
        assert accepted == hostile.good
        letters = await stage.read(stage.topics.dead_letters)
        assert by_partition(letters) == hostile.poison
        assert len(outcomes) == sum(hostile.good.values()) + sum(hostile.poison.values())
        joined = gateway.lines("(Re-)joining group")
        assert len(joined) == 1, "the membership was never lost"
        assert [line for line in gateway.lines() if line.get("level") == "error"] == []


async def wait_committed_marker(stage: Stage, end: int) -> None:
    async def is_committed() -> bool:
        return (await stage.committed(PARTITIONS))[TRANSACTIONS] == end

    await wait_until(is_committed, 30, every_seconds=0.1)


async def test_one_hot_job_is_finished_in_order_and_does_not_starve_others(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    """More results of one job than the budget of records holds, all but the first superfluous."""
    gateway = await stage.started()
    producer = await stage.producer()
    hot = str(uuid.uuid4())
    value = result(hot)
    for _ in range(HOT_RESULTS):
        await producer.send(stage.topics.results, value, hot.encode(), 0)
    for number in range(20):
        other = result(hot, executionDetails={"summary": f"different {number}"})
        await producer.send(stage.topics.results, other, hot.encode(), 0)
    await producer.flush()
    cold = str(uuid.uuid4())
    await producer.send_and_wait(stage.topics.results, result(cold), cold.encode(), 1)
    await wait_until(lambda: any(entry.job_id == cold for entry in simulator.books), 30)
    outcomes = await stage.wait_outcomes(HOT_RESULTS + 21, 60)
    assert Counter(outcome["outcome"] for outcome in outcomes) == {
        "accepted": 2,
        "duplicate": HOT_RESULTS - 1,
        "already-ended": 20,
    }
    called = [json.loads(entry.request or b"") for entry in simulator.books if entry.job_id == hot]
    said = [request.get("executionDetails", {}).get("summary") for request in called]
    assert said == [None, *(f"different {number}" for number in range(20))]
    assert await gateway.terminate() == 0
