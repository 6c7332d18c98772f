"""A history written down from a real Kafka says what happened on it, and nothing else."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from gateway.simulation.broker import KafkaBroker
from gateway.simulation.history import ACCEPTED, Commit, Content, Entry, Letter, Source
from gateway.simulation.judge import judge
from gateway.simulation.recorder import Places, Witness, record_history
from gateway.simulation.topics import follow, read_all, send
from gateway.simulation.workload import Event
from tests.conftest import FreshTopics, Topics

JOB = "11111111-2222-3333-4444-555555555555"
SUCCESS = {"jobId": JOB, "executionDetails": {"summary": "done"}}
EVENTS = [
    Event(b"k", json.dumps(SUCCESS).encode()),
    Event(b"k", b"poison", (("h", b"\xff"), ("h", None)), "rejected"),
    Event(b"k", None, (), "skipped"),
]

pytestmark = pytest.mark.asyncio(loop_scope="session")


def places(topics: Topics) -> Places:
    return Places(*topics, group=f"{topics.results}-group")


async def sent(kafka: KafkaBroker, topics: Topics, witness: Witness) -> float:
    """Sends the events and returns the time they are stamped with."""
    start = float(int(time.time()))

    def note(source: Source, event: Event) -> None:
        witness.expected[source] = event.expected

    await send(kafka.bootstrap_servers, topics.results, EVENTS, lambda _: start, time.time, note)
    return start


@asynccontextmanager
async def producer(kafka: KafkaBroker) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
    await made.start()
    yield made
    await made.stop()


async def committed(kafka: KafkaBroker, place: Places, offset: int) -> float:
    """Joins the group, commits, leaves; the time before the commit."""
    consumer = AIOKafkaConsumer(
        place.results,
        group_id=place.group,
        bootstrap_servers=kafka.bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    await consumer.getone()
    before = time.time()
    point = OffsetAndMetadata(offset, "a note – ü")
    await consumer.commit({TopicPartition(place.results, 0): point})
    await consumer.stop()
    return before


def book(sequence: int, **more: object) -> bytes:
    line = {
        "sequence": sequence,
        "begun": 10.0,
        "ended": 10.5,
        "operation": "PutJobSuccessResult",
        "job_id": JOB,
        "request": SUCCESS,
        "access_key": "AKIA",
        "instance": "one",
        "status": 200,
        "code": "",
        "applied": True,
        "delivered": True,
        "fault": None,
    }
    return json.dumps(line | more).encode()


def outcome(source: Source, **more: object) -> bytes:
    told = {
        "version": 1,
        "job": JOB,
        "operation": "PutJobSuccessResult",
        "outcome": "accepted",
        "certainty": "confirmed",
        "reason": None,
        "source": source._asdict(),
        "time": 20.0,
    }
    return json.dumps(told | more).encode()


async def test_sent_events_are_stored_in_order_with_the_moment_they_were_due(
    kafka: KafkaBroker, fresh_topics: FreshTopics
) -> None:
    topics, witness = await fresh_topics(partitions=1), Witness()
    start = await sent(kafka, topics, witness)
    stored = await read_all(kafka.bootstrap_servers, [topics.results])
    assert [(s.key, s.value, tuple(s.headers)) for s in stored] == [
        (event.key, event.value, event.headers) for event in EVENTS
    ]
    assert {s.timestamp for s in stored} == {start}
    assert list(witness.expected.values()) == ["valid", "rejected", "skipped"]
    assert [source.offset for source in witness.expected] == [0, 1, 2]


async def test_a_topic_that_does_not_exist_holds_nothing_and_is_not_created(
    kafka: KafkaBroker, topic_names: Topics
) -> None:
    assert await read_all(kafka.bootstrap_servers, [topic_names.results]) == []
    assert await read_all(kafka.bootstrap_servers, [topic_names.results]) == []


async def test_following_yields_what_stands_there_and_what_comes(
    kafka: KafkaBroker, fresh_topics: FreshTopics
) -> None:
    topics = await fresh_topics(partitions=2)
    await sent(kafka, topics, Witness())
    seen = 0
    async with asyncio.timeout(20):
        async for batch in follow(kafka.bootstrap_servers, [topics.results]):
            seen += len(batch)
            if seen == len(EVENTS):
                await sent(kafka, topics, Witness())
            if seen == 2 * len(EVENTS):
                break


async def test_a_recorded_history_is_what_happened(
    kafka: KafkaBroker, fresh_topics: FreshTopics
) -> None:
    topics, witness = await fresh_topics(partitions=1), Witness()
    place = places(topics)
    start = await sent(kafka, topics, witness)
    first, second, third = witness.expected
    connect = [
        (f"__connect.errors.{name}", str(part).encode()) for name, part in second._asdict().items()
    ]
    async with producer(kafka) as made:
        reason = ("gateway-dead-letter-reason", b"malformed")
        headers = [*EVENTS[1].headers, *connect, reason]
        await made.send_and_wait(topics.dead_letters, b"poison", b"k", headers=headers)
        dead = outcome(second, outcome="dead-lettered", reason="malformed", job=None)
        for value in (outcome(first), dead, b"not an outcome"):
            await made.send_and_wait(topics.outcomes, value)
    before = await committed(kafka, place, 3)
    books = [book(1, ended=None), book(1), book(2, operation="PollForJobs"), b""]
    history = await record_history(kafka.bootstrap_servers, place, books, witness)

    assert [type(e.content) for e in history.entries] == [Content, type(None), type(None)]
    asked = history.entries[0].content
    assert history.entries[1:] == [
        Entry(second, start, None, False, "rejected"),
        Entry(third, start, None, True, "skipped"),
    ]
    [call] = history.calls
    assert call.content == asked
    assert (call.answer, call.instance, call.ended) == (ACCEPTED, "one", 10.5)
    kinds = [(ended.source, ended.kind, ended.reason) for ended in history.outcomes]
    assert kinds[:2] == [(first, "accepted", None), (second, "dead-lettered", "malformed")]
    assert kinds[2][1] == "unreadable"
    assert history.letters == [Letter(second, "malformed")]
    [commit] = history.commits
    assert commit == Commit(topics.results, 0, 3, commit.timestamp)
    assert before - 0.001 <= commit.timestamp <= time.time()
    [violation] = judge(history).violations
    assert violation.detail == "an outcome of no known record"


async def test_every_generation_after_the_first_is_a_handover(
    kafka: KafkaBroker, fresh_topics: FreshTopics
) -> None:
    topics, witness = await fresh_topics(partitions=1), Witness()
    place = places(topics)
    await sent(kafka, topics, witness)
    await committed(kafka, place, 1)
    between = time.time()
    await committed(kafka, place, 2)
    history = await record_history(kafka.bootstrap_servers, place, [], witness)
    assert [commit.offset for commit in history.commits] == [1, 2]
    assert any(between - 0.001 <= handover for handover in history.handovers)


async def test_a_dead_letter_that_differs_from_its_record_is_noticed(
    kafka: KafkaBroker, fresh_topics: FreshTopics
) -> None:
    topics, witness = await fresh_topics(partitions=1), Witness()
    await sent(kafka, topics, witness)
    second = Source(topics.results, 0, 1)
    connect = [
        (f"__connect.errors.{name}", str(part).encode()) for name, part in second._asdict().items()
    ]
    async with producer(kafka) as made:
        for value, more in (
            (b"poison", []),
            (b"poi", [("gateway-dead-letter-truncated", b"true")]),
        ):
            await made.send_and_wait(
                topics.dead_letters, value, b"k", headers=[*connect, *more, *EVENTS[1].headers]
            )
        await made.send_and_wait(topics.dead_letters, b"other", b"k", headers=connect)
        await made.send_and_wait(topics.dead_letters, b"poison", b"k")
    history = await record_history(kafka.bootstrap_servers, places(topics), [], witness)
    assert [letter.is_unchanged for letter in history.letters] == [True, True, False, True]
    assert history.letters[3].source == Source("", -1, -1)


@pytest.mark.parametrize(
    ("more", "answer"),
    [
        ({"code": "ThrottlingException", "status": 400}, "ThrottlingException"),
        ({"fault": "html-200"}, ""),
        ({"code": None, "status": None, "delivered": False}, ""),
    ],
)
async def test_only_a_true_success_counts_as_accepted(
    kafka: KafkaBroker, fresh_topics: FreshTopics, more: dict[str, object], answer: str
) -> None:
    topics = await fresh_topics(partitions=1)
    history = await record_history(
        kafka.bootstrap_servers, places(topics), [book(1, **more)], Witness()
    )
    assert [call.answer for call in history.calls] == [answer]
