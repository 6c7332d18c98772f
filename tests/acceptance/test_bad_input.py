"""Bad input, all of it in one partition, good events in between: one `gateway run` reads it all.

Each bad record has exactly one dead letter that names member and rule, costs no call, and stops
nothing behind it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import TopicPartition

from gateway.simulation.broker import KafkaBroker, Topic, gateway_topics
from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.service import Rules
from gateway.simulation.topics import Stored
from tests.acceptance.bad_events import BAD, GOOD, JOB_KEY, Headers, job_id, plain
from tests.acceptance.gateway_process import Stage, staged
from tests.adapters.raw_batches import produce_to, raw_batch
from tests.conftest import Topics
from tests.waiting import wait_until

LARGEST_BYTES = 16 << 20
KEPT_VALUE_BYTES, KEPT_KEY_BYTES, KEPT_HEADER_BYTES = 64 << 10, 16 << 10, 16 << 10
CONNECT, OURS = "__connect.errors.", "gateway-dead-letter-"
OUTCOME_MEMBERS = {
    *("version", "target", "job", "operation", "outcome", "certainty", "reason", "claim"),
    *("attempts", "source", "digest", "time", "traceparent"),
}
TRUNCATED = ("2 MB", "10 MB", "10 MB of noise", "3 MB with headers")
NULLS = ("null value", "null value under a key of bytes")
STRANGE_NAMES = ("header name not UTF-8", "header name not UTF-8 and no JSON", "all null")
"""One batch that no client of Kafka's writes, with headers whose names are not UTF-8."""


@dataclass
class Told:
    """What the world knows when the gateway has read everything."""

    topic: str
    offsets: dict[str, int] = field(default_factory=dict)
    """By name of the record."""
    sent: dict[int, float] = field(default_factory=dict)
    """Timestamps by offset."""
    end: int = 0
    committed: list[int | None] = field(default_factory=list)
    letters: dict[int, list[Stored]] = field(default_factory=lambda: defaultdict(list))
    """By the offset of the record."""
    outcomes: dict[int, list[tuple[Stored, dict[str, Any]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    called: list[str | None] = field(default_factory=list)
    """Job ids, one for each call to CodePipeline."""
    log: list[dict[str, Any]] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    def letter(self, name: str) -> Stored:
        [letter] = self.letters[self.offsets[name]]
        return letter

    def outcome(self, name: str) -> dict[str, Any]:
        [(_, outcome)] = self.outcomes[self.offsets[name]]
        return outcome


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def told(kafka: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Told]:
    """Sends every record, waits until the gateway has committed them all, and ends it."""
    topics = Topics("bad-input", "bad-input.outcomes", "bad-input.dead-letters")
    results, *others = gateway_topics(*topics, partitions=1)
    large = {**results.configs, "max.message.bytes": str(LARGEST_BYTES)}
    await kafka.create_topics(Topic(results.name, 1, large), *others)
    directory = tmp_path_factory.mktemp("bad-input")
    async with (
        CodePipelineSimulator(Rules(takes_any_id=True)) as simulator,
        staged(kafka.bootstrap_servers, topics, simulator.endpoint, directory) as stage,
    ):
        told = Told(topics.results)
        gateway = await stage.started()
        await _send_everything(stage, told)
        await _wait_committed(stage, told)
        told.status = await gateway.status()
        told.exit_code = await gateway.terminate()
        told.log = gateway.lines()
        told.called = [entry.job_id for entry in simulator.books]
        await _read_everything(stage, told)
    yield told


async def _send_everything(stage: Stage, told: Told) -> None:
    """Bad and good by turns; half way a batch that no client writes."""
    bad, good = list(BAD), list(GOOD)
    for number in range(max(len(bad), len(good))):
        for name in (*bad[number : number + 1], *good[number : number + 1]):
            await _send(stage, told, name)
        if number == len(bad) // 2:
            await _send_strange_names(stage, told)
    for name in NULLS:
        await _send_record(stage, told, name, b"\xff\xfe", None, ())
    told.end = max(told.offsets.values()) + 1


async def _send(stage: Stage, told: Told, name: str) -> None:
    record = BAD.get(name) or GOOD[name]
    key = _job_of(name).encode() if record.key == JOB_KEY else record.key
    await _send_record(stage, told, name, key, record.value, record.headers)


async def _send_record(
    stage: Stage, told: Told, name: str, key: bytes | None, value: bytes | None, headers: Headers
) -> None:
    """Each with a timestamp of its own, none of which is the present."""
    timestamp_ms = int(time.time() * 1000) - 1_000_000 + len(told.offsets)
    stored = await (await stage.producer()).send_and_wait(
        told.topic, value, key, 0, timestamp_ms, list(headers)
    )
    told.offsets[name] = stored.offset
    told.sent[stored.offset] = timestamp_ms / 1000


async def _send_strange_names(stage: Stage, told: Told) -> None:
    good, bad, null = STRANGE_NAMES
    strange = ((b"\xff\xfe-name", b"value"), (b"", None))
    batch = raw_batch([(plain(good), strange), (b"{", strange), (None, strange)])
    offset = await produce_to(stage.brokers, TopicPartition(told.topic, 0), batch)
    told.offsets |= {good: offset, bad: offset + 1, null: offset + 2}


async def _wait_committed(stage: Stage, told: Told) -> None:
    async def is_all_committed() -> bool:
        told.committed = await stage.committed(1)
        return (told.committed[0] or 0) >= told.end

    await wait_until(is_all_committed, 60, every_seconds=0.1)


async def _read_everything(stage: Stage, told: Told) -> None:
    for letter in await stage.read(stage.topics.dead_letters):
        told.letters[int(letter.header(f"{CONNECT}offset") or b"-1")].append(letter)
    records = await stage.read(stage.topics.outcomes)
    for record, outcome in zip(records, await stage.outcomes(), strict=True):
        told.outcomes[outcome["source"]["offset"]].append((record, outcome))


def _job_of(name: str) -> str:
    return GOOD[name].job_id if name in GOOD else job_id(name)


def _header(letter: Stored, name: str) -> str | None:
    value = letter.header(name)
    return None if value is None else value.decode()


def _without_ours(headers: Any) -> list[tuple[str, bytes | None]]:
    return [(name, value) for name, value in headers if not name.startswith((CONNECT, OURS))]


def _violations(explanation: str) -> list[tuple[str, str]]:
    """Members and their rules, from the sentence that people read."""
    told = (part.split(": ", 1) for part in re.split(r"; (?=\$|header )", explanation))
    return [(member, rule) for member, rule in told]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_has_one_dead_letter_that_names_member_and_rule(told: Told, name: str) -> None:
    bad, letter = BAD[name], told.letter(name)
    assert _header(letter, f"{OURS}reason") == bad.reason
    explanation = _header(letter, f"{CONNECT}exception.message") or ""
    broken = _violations(explanation)
    for member, words in bad.told:
        assert any(words in rule for where, rule in broken if where == member), explanation
    assert len(explanation) <= 4096


@pytest.mark.parametrize("name", [name for name in BAD if name not in TRUNCATED])
def test_a_dead_letter_is_the_record_as_it_was(told: Told, name: str) -> None:
    bad, letter = BAD[name], told.letter(name)
    assert letter.key == (job_id(name).encode() if bad.key == JOB_KEY else bad.key)
    assert letter.value == bad.value
    assert letter.timestamp == told.sent[told.offsets[name]]
    # What a record forges of our own headers is replaced by the truth.
    assert _without_ours(letter.headers) == _without_ours(bad.headers)
    assert _header(letter, f"{OURS}truncated") is None


@pytest.mark.parametrize("name", TRUNCATED)
def test_what_is_too_large_for_the_topic_is_kept_in_part_and_can_be_found(
    told: Told, name: str
) -> None:
    bad, letter = BAD[name], told.letter(name)
    assert letter.value == bad.value[:KEPT_VALUE_BYTES]
    assert letter.key == job_id(name).encode()
    assert letter.timestamp == told.sent[told.offsets[name]]
    assert _header(letter, f"{OURS}truncated") == "true"
    assert _header(letter, f"{OURS}value-bytes") == str(len(bad.value))
    assert _header(letter, f"{OURS}value-sha256") == hashlib.sha256(bad.value).hexdigest()
    kept = _without_ours(letter.headers)
    assert sum(len(header) + len(value or b"") for header, value in kept) <= KEPT_HEADER_BYTES
    dropped = len(bad.headers) - len(kept)
    assert _header(letter, f"{OURS}headers-dropped") == str(dropped)


@pytest.mark.parametrize("name", BAD)
def test_dead_letters_carry_the_headers_of_kafka_connect(told: Told, name: str) -> None:
    bad, letter = BAD[name], told.letter(name)
    stage = {"unroutable": "TRANSFORMATION"}.get(bad.reason, "VALUE_CONVERTER")
    ours = {"unroutable": "route"}.get(bad.reason, "decode")
    expected = {
        f"{CONNECT}topic": told.topic,
        f"{CONNECT}partition": "0",
        f"{CONNECT}offset": str(told.offsets[name]),
        f"{CONNECT}stage": stage,
        f"{CONNECT}class.name": f"gateway.{ours}",
        f"{CONNECT}exception.class.name": bad.reason,
        f"{OURS}version": "1",
        f"{OURS}stage": ours,
        f"{OURS}attempts": "0",
    }
    assert {header: _header(letter, header) for header in expected} == expected
    at = datetime.fromisoformat(_header(letter, f"{OURS}at") or "")
    assert abs(at.timestamp() - time.time()) < 3600
    names = [header for header, _ in letter.headers if header.startswith((CONNECT, OURS))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_has_one_outcome_in_the_documented_schema(told: Told, name: str) -> None:
    outcome = told.outcome(name)
    assert set(outcome) == OUTCOME_MEMBERS
    expected = {
        "version": 1,
        "outcome": "dead-lettered",
        "certainty": "confirmed",
        "reason": BAD[name].reason,
        "attempts": 0,
        "target": None,
        "digest": None,
        "traceparent": None,
        "source": {"topic": told.topic, "partition": 0, "offset": told.offsets[name]},
    }
    assert {member: outcome[member] for member in expected} == expected
    assert abs(outcome["time"] - time.time()) < 3600
    [(record, _)] = told.outcomes[told.offsets[name]]
    assert record.key == (None if outcome["job"] is None else outcome["job"].encode())
    assert outcome["job"] in (None, job_id(name)), "a job id is told only if it is a valid one"


@pytest.mark.parametrize("name", [*GOOD, STRANGE_NAMES[0]])
def test_a_good_record_among_bad_ones_is_accepted(told: Told, name: str) -> None:
    outcome = told.outcome(name)
    assert (outcome["outcome"], outcome["certainty"]) == ("accepted", "confirmed")
    assert (outcome["job"], outcome["attempts"]) == (_job_of(name), 1)
    assert told.letters[told.offsets[name]] == []


def test_bad_records_cost_no_call_and_good_ones_one_each(told: Told) -> None:
    good = [_job_of(name) for name in (*GOOD, STRANGE_NAMES[0])]
    assert sorted(map(str, told.called)) == sorted(good)


def test_null_values_are_skipped_and_counted(told: Told) -> None:
    for name in (*NULLS, STRANGE_NAMES[2]):
        assert told.letters[told.offsets[name]] == []
        assert told.outcomes[told.offsets[name]] == []
    assert told.status["outcomes"]["skipped"] == len(NULLS) + 1


def test_a_header_name_that_is_not_utf_8_is_kept_readable(told: Told) -> None:
    letter = told.letter(STRANGE_NAMES[1])
    assert letter.value == b"{"
    assert ("\ufffd\\xff\\xfe-name", b"value") in letter.headers
    assert ("", None) in letter.headers


def test_everything_is_committed_and_nothing_else_was_published(told: Told) -> None:
    assert told.committed == [told.end]
    assert told.exit_code == 0
    bad = {told.offsets[name] for name in (*BAD, STRANGE_NAMES[1])}
    good = {told.offsets[name] for name in (*GOOD, STRANGE_NAMES[0])}
    assert {offset for offset, letters in told.letters.items() if letters} == bad
    assert {offset for offset, outcomes in told.outcomes.items() if outcomes} == bad | good
    assert told.end == len(bad | good) + len(NULLS) + 1


def test_nothing_unexpected_is_in_the_log(told: Told) -> None:
    assert [line for line in told.log if line.get("level") not in ("info", "warning")] == []
    [keyless] = [line for line in told.log if line["event"].startswith("record without key")]
    assert keyless["topic"] == told.topic


@pytest.mark.parametrize("rule", ["present", "job-id"])
async def test_a_key_rule_rejects_other_keys(stage: Stage, rule: str) -> None:
    job, other = job_id("job"), job_id("other")
    await stage.started(GATEWAY_INPUT__KEY=rule)
    producer = await stage.producer()
    for key in (None, b"", b"\xff\xfe", other.encode(), job.upper().encode()):
        await producer.send(stage.topics.results, plain("job"), key, 0)
    await producer.send_and_wait(stage.topics.results, plain("job"), job.encode(), 0)
    outcomes = await stage.wait_outcomes(6)
    kinds = [outcome["outcome"] for outcome in outcomes if outcome["reason"] is None]
    letters = await stage.read(stage.topics.dead_letters)
    told = [letter.header(f"{CONNECT}exception.message") for letter in letters]
    if rule == "present":
        assert told == [b"key: is required"]
        assert sorted(kinds) == ["accepted", "duplicate", "duplicate", "duplicate", "duplicate"]
    else:
        assert told == [b"key: is required"] + [b"key: must be the job id"] * 4
        assert kinds == ["accepted"]
