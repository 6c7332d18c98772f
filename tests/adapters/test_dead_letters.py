"""Dead letters: the record as it was, whatever it was, and none in the way of the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.dead_letters import (
    CONNECT,
    KEPT_VALUE_BYTES,
    OURS,
    DeadLetterWriter,
    dead_letter_from_record,
    smaller,
    whole,
    why_not_read,
)
from gateway.adapters.kafka_client import KafkaConnection
from gateway.commands.dead_letters_shown import as_text, details
from gateway.core.model import DeadLetter, ReadDeadLetter, Reason, Record
from gateway.core.replays import Edit, copied_by, copy_of, in_original_order
from gateway.core.signals import UnexpectedError
from gateway.simulation.broker import KafkaBroker
from tests.conftest import FreshTopics
from tests.contracts.logs import QUICK, Signals, everything_in
from tests.contracts.test_dead_letter_log import dead_letter
from tests.waiting import wait_until

LETTER = dead_letter(42, "job-1")
MEGABYTE = 1_000_000


def with_record(**changes: object) -> DeadLetter:
    return replace(LETTER, record=LETTER.record._replace(**changes))


class Topic:
    """A dead-letter topic, its writer, and what was told of it."""

    def __init__(self, kafka: KafkaBroker, name: str) -> None:
        self.signals = Signals()
        connection = KafkaConnection(kafka.bootstrap_servers)
        self.writer = DeadLetterWriter(connection, name, self.signals, QUICK)
        self._kafka = kafka
        self._name = name

    async def after(self, *letters: DeadLetter) -> list[ConsumerRecord]:
        """All records, once these are durable too; in the order of their sources."""
        for letter in letters:
            self.writer.append(letter, lambda: None)
        await wait_until(lambda: self.writer.pending() == 0, 30)
        records = await everything_in(self._kafka, self._name)
        return sorted(records, key=lambda record: int(header(record, f"{CONNECT}offset")))


@pytest.fixture
async def topic(kafka: KafkaBroker, fresh_topics: FreshTopics) -> AsyncIterator[Topic]:
    topic = Topic(kafka, (await fresh_topics()).dead_letters)
    topic.writer.start()
    yield topic
    await topic.writer.stop(5.0)


def header(record: ConsumerRecord, name: str) -> str:
    return next(value for key, value in record.headers if key == name).decode()


def read(record: ConsumerRecord) -> ReadDeadLetter:
    found = dead_letter_from_record(record)
    assert found is not None
    return found


async def test_connects_own_tools_find_their_headers(topic: Topic) -> None:
    [record] = await topic.after(LETTER)
    assert (record.key, record.value) == (LETTER.record.key, LETTER.record.value)
    assert record.timestamp == 1_790_000_000_250
    assert record.headers[:3] == LETTER.record.headers
    found = {
        name.removeprefix(CONNECT): value.decode()
        for name, value in record.headers
        if name.startswith(CONNECT)
    }
    assert found == {
        "topic": "job-results",
        "partition": "1",
        "offset": "42",
        "stage": "TASK_PUT",
        "class.name": "gateway.deliver",
        "exception.class.name": "ValidationException",
        "exception.message": "refused by CodePipeline: ValidationException",
    }


POISON = {
    "a value of 10 MB": with_record(value=b"v" * 10 * MEGABYTE),
    "a key of 10 MB": with_record(key=b"k" * 10 * MEGABYTE),
    "headers of 10 MB": with_record(headers=(("h", b"h" * 10 * MEGABYTE), ("kept", b"1"))),
    "200,000 headers": with_record(headers=tuple((f"h{n}", b"") for n in range(200_000))),
    "a value as large as a topic takes": with_record(value=b"v" * 1_048_400),
    "no timestamp": with_record(timestamp=-0.001),
    "a timestamp far ahead": with_record(timestamp=9_000_000_000.0),
    "a timestamp beyond Kafka": with_record(timestamp=1e300),
    "no key and no value": with_record(key=None, value=None),
    "header names that are not UTF-8": with_record(headers=(("\udcff\udcfe", b"x"), ("", None))),
    "a long explanation": replace(LETTER, explanation="ä" * MEGABYTE),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
async def test_no_poison_keeps_the_next_from_being_written(
    topic: Topic, poison: DeadLetter
) -> None:
    poisoned, after = await topic.after(poison, dead_letter(43, "job-2"))
    assert read(after).letter == dead_letter(43, "job-2")
    found = read(poisoned).letter
    assert found.record.source == LETTER.record.source
    assert (found.reason, found.job_id) == (LETTER.reason, LETTER.job_id)
    assert topic.signals.of(UnexpectedError) == []


async def test_all_poison_at_once_is_written_with_what_can_be_kept(topic: Topic) -> None:
    letters = [
        replace(poison, record=poison.record._replace(offset=offset))
        for offset, poison in enumerate(POISON.values())
    ]
    healthy = [dead_letter(1000 + n, f"job-{n}") for n in range(50)]
    records = await topic.after(*letters, *healthy)
    assert [read(record).letter.record.offset for record in records] == [
        *range(len(letters)),
        *range(1000, 1050),
    ]
    assert [read(record).letter for record in records[len(letters) :]] == healthy
    intact = {name for name, record in zip(POISON, records, strict=False) if is_intact(record)}
    assert intact == {
        "no timestamp",
        "no key and no value",
        "header names that are not UTF-8",
        "a long explanation",
        "a timestamp far ahead",
        "a timestamp beyond Kafka",
    }


def is_intact(record: ConsumerRecord) -> bool:
    return not read(record).is_truncated


async def test_an_oversize_value_keeps_its_beginning_length_and_hash(topic: Topic) -> None:
    value = bytes(range(256)) * 8000
    [record] = await topic.after(with_record(value=value))
    found = read(record)
    assert found.is_truncated
    assert found.value_bytes == len(value)
    assert found.value_sha256 == hashlib.sha256(value).hexdigest()
    assert found.letter.record == LETTER.record._replace(value=value[:KEPT_VALUE_BYTES])


async def test_a_value_of_a_million_bytes_is_kept_whole(topic: Topic) -> None:
    value = b"v" * 1_000_000
    [record] = await topic.after(with_record(value=value))
    assert not read(record).is_truncated
    assert record.value == value


async def test_a_timestamp_that_the_topic_refuses_is_told_in_a_header(topic: Topic) -> None:
    ahead = replace(with_record(timestamp=9_000_000_000.0), time=9_000_000_000.0)
    [far, refused] = await topic.after(with_record(timestamp=9_000_000_000.0), ahead)
    for record in (far, refused):
        assert read(record).letter.record.timestamp == 9_000_000_000.0
        assert record.timestamp < 9_000_000_000_000
    assert is_intact(far), "what Kafka would refuse is not tried"


def test_a_replayed_dead_letter_does_not_grow() -> None:
    first = whole(LETTER)
    again = replace(LETTER, record=LETTER.record._replace(headers=tuple(first.headers), offset=7))
    second = whole(again)
    assert len(second.headers) == len(first.headers)
    names = [name for name, _ in second.headers]
    assert names.count(f"{OURS}reason") == 1
    assert dict(second.headers)[f"{CONNECT}offset"] == b"7"


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_every_smaller_form_is_bounded_and_the_last_fits_every_topic(poison: DeadLetter) -> None:
    forms = [smaller(poison, level) for level in range(1, 5)]
    assert forms[3] is None
    sizes = [form.size_bytes for form in forms if form is not None]
    assert max(sizes) < 120_000
    assert sizes[-1] < 12_000


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((f"{OURS}version", b"2"),),
        ((f"{OURS}version", b"1"),),
        ((f"{OURS}version", None), ("x", None)),
        tuple((n, v) for n, v in whole(LETTER).headers if n != f"{OURS}reason"),
        ((f"{OURS}reason", b"new-reason"), *whole(LETTER).headers, (f"{OURS}reason", b"new")),
    ],
)
def test_what_is_no_dead_letter_of_ours_is_not_read(
    headers: tuple[tuple[str, bytes | None], ...],
) -> None:
    assert dead_letter_from_record(Record("t", 0, 0, 1.0, None, b"", headers)) is None


texts = st.text(st.characters(codec="utf-8", categories=None), max_size=40)
foreign_names = texts.filter(lambda name: not name.startswith((CONNECT, OURS)))
records = st.builds(
    Record,
    topic=st.just("job-results"),
    partition=st.integers(0, 9),
    offset=st.integers(0, 2**62),
    timestamp=st.integers(-1, 2**40).map(lambda ms: ms / 1000),
    key=st.none() | st.binary(max_size=40),
    value=st.none() | st.binary(max_size=200),
    headers=st.lists(st.tuples(foreign_names, st.none() | st.binary(max_size=20)), max_size=5).map(
        tuple
    ),
)
letters = st.builds(
    DeadLetter,
    record=records,
    reason=st.sampled_from(Reason),
    explanation=texts,
    time=st.integers(0, 2**41).map(lambda ms: ms / 1000),
    stage=st.sampled_from(["decode", "route", "deliver"]),
    target=st.none() | texts,
    job_id=st.none() | texts,
    error_code=st.none() | texts.filter(bool),
    attempts=st.integers(0, 1000),
    is_ambiguous=st.booleans(),
)


@pytest.mark.timeout(600)  # ten thousand examples at night
@given(letters)
def test_every_dead_letter_is_read_back_as_it_was(letter: DeadLetter) -> None:
    message = whole(letter)
    seconds = 1.5 if message.timestamp_ms is None else message.timestamp_ms / 1000
    record = Record("dlq", 0, 0, seconds, message.key, message.value, tuple(message.headers))
    found = dead_letter_from_record(record)
    assert found == ReadDeadLetter(letter, found.position)


header_names = [
    *(f"{CONNECT}{name}" for name in ("topic", "partition", "offset", "exception.message")),
    *(f"{OURS}{name}" for name in ("version", "reason", "stage", "at", "attempts", "timestamp")),
    *(f"{OURS}{name}" for name in ("operation", "value-bytes", "truncated", "null-value")),
]
hostile = st.none() | st.binary(max_size=40) | st.integers(-(2**70), 2**70).map(lambda n: b"%d" % n)
SOUND = dict(whole(LETTER).headers)


@pytest.mark.timeout(600)  # ten thousand examples at night
@given(
    st.dictionaries(st.sampled_from(header_names), hostile | st.just(b"9" * 5000), max_size=4),
    st.sampled_from([b"0001-01-01T00:00:00", b"9999-12-31T23:59:59+00:00", b"", b"1"]),
    st.none() | st.binary(max_size=9),
)
def test_whatever_strangers_write_is_read_or_refused_with_a_sentence(
    forged: dict[str, bytes | None], at: bytes, value: bytes | None
) -> None:
    for base in (SOUND, SOUND | {f"{OURS}at": at}):
        headers = tuple((base | forged).items())
        record = Record("dlq", 0, 7, 1.5, None, value, headers)
        found = dead_letter_from_record(record)
        if found is None:
            assert why_not_read(record).startswith("a dead letter")
            continue
        # What can be read can be shown, selected, ordered and copied.
        assert json.dumps(details(found, with_secrets=True))
        assert list(as_text(details(found, with_secrets=False)))
        assert in_original_order([found, found])
        copied_by(Record("t", 0, 0, 0, *copy_of(found.letter.record, Edit())[1:]))


def test_a_dead_letter_of_an_old_record_outlives_its_topics_retention() -> None:
    """Retention counts from the timestamp: one of last month would be deleted at once."""
    old = with_record(timestamp=LETTER.time - 40 * 86_400)
    recent = with_record(timestamp=LETTER.time - 3600)
    assert whole(old).timestamp_ms is None
    assert whole(recent).timestamp_ms == round((LETTER.time - 3600) * 1000)
