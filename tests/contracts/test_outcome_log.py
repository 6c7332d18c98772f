"""ports.OutcomeLog, kept by the topic writer on a real Kafka and by the simulation."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiokafka import ConsumerRecord

from gateway.adapters.kafka_client import KafkaConnection
from gateway.adapters.outcomes import OutcomeWriter, outcome_from_json
from gateway.core.model import Certainty, Claim, Operation, Outcome, OutcomeKind, Source
from gateway.simulation.broker import KafkaBroker
from tests.conftest import FreshTopics
from tests.contracts.logs import QUICK, LogWorld, OnKafka, Signals, in_memory
from tests.contracts.promises import Make, Promises


def outcome(number: int, job: str) -> Outcome:
    return Outcome(
        kind=OutcomeKind.ACCEPTED,
        certainty=Certainty.CONFIRMED,
        source=Source("job-results", 0, number),
        time=1_790_000_000.25,
        target="default",
        job_id=job,
        operation=Operation.JOB_SUCCESS,
        claim=Claim.SUCCEEDED,
        attempts=1,
        digest=number.to_bytes(16, "big"),
    )


def _read(record: ConsumerRecord) -> Outcome:
    read = outcome_from_json(record.value)
    assert read is not None
    assert record.key == (read.job_id or "").encode()
    return read


@pytest.fixture
def make() -> Make:
    return outcome


class TestInMemory(Promises):
    @pytest.fixture
    async def world(self) -> AsyncIterator[LogWorld[Outcome]]:
        async with in_memory() as memory:
            yield memory


class TestOnKafka(Promises):
    @pytest.fixture
    async def world(
        self, kafka: KafkaBroker, fresh_topics: FreshTopics
    ) -> AsyncIterator[LogWorld[Outcome]]:
        topic = (await fresh_topics(partitions=3)).outcomes
        connection = KafkaConnection(kafka.bootstrap_servers)
        writer = OutcomeWriter(connection, topic, Signals(), QUICK)
        writer.start()
        yield OnKafka(writer, kafka, topic, _read)
        await writer.stop(5.0)
