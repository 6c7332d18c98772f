"""ports.DeadLetterLog, kept by the topic writer on a real Kafka and by the simulation."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiokafka import ConsumerRecord

from gateway.adapters.dead_letters import DeadLetterWriter, dead_letter_from_record
from gateway.adapters.kafka_client import KafkaConnection
from gateway.core.model import DeadLetter, Operation, Reason, Record
from gateway.simulation.broker import KafkaBroker
from tests.conftest import FreshTopics
from tests.contracts.logs import QUICK, LogWorld, OnKafka, Signals, in_memory
from tests.contracts.promises import Make, Promises


def dead_letter(number: int, job: str) -> DeadLetter:
    return DeadLetter(
        record=Record(
            topic="job-results",
            partition=1,
            offset=number,
            timestamp=1_790_000_000.25,
            key=job.encode(),
            value=b'{"jobId": "' + job.encode() + b'"}',
            headers=(("gateway-target", b"blue"), ("empty", None), ("gateway-target", b"green")),
        ),
        reason=Reason.REFUSED,
        explanation="refused by CodePipeline: ValidationException",
        time=1_790_000_100.5,
        stage="deliver",
        target="blue",
        job_id=job,
        operation=Operation.JOB_FAILURE,
        error_code="ValidationException",
        attempts=3,
        is_ambiguous=True,
    )


def _read(record: ConsumerRecord) -> DeadLetter:
    read = dead_letter_from_record(record)
    assert read is not None
    assert not read.is_truncated
    return read.letter


@pytest.fixture
def make() -> Make:
    return dead_letter


class TestInMemory(Promises):
    @pytest.fixture
    async def world(self) -> AsyncIterator[LogWorld[DeadLetter]]:
        async with in_memory() as memory:
            yield memory


class TestOnKafka(Promises):
    @pytest.fixture
    async def world(
        self, kafka: KafkaBroker, fresh_topics: FreshTopics
    ) -> AsyncIterator[LogWorld[DeadLetter]]:
        topic = (await fresh_topics(partitions=3)).dead_letters
        connection = KafkaConnection(kafka.bootstrap_servers)
        writer = DeadLetterWriter(connection, topic, Signals(), QUICK)
        writer.start()
        yield OnKafka(writer, kafka, topic, _read)
        await writer.stop(5.0)
