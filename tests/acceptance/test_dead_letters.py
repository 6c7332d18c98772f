"""`gateway dead-letters`, typed by an operator, on a real Kafka and with a real gateway."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from gateway.adapters.dead_letters import CONNECT, OURS, DeadLetterWriter
from gateway.adapters.kafka_client import KafkaConnection
from gateway.core.model import DeadLetter, Reason, Record
from gateway.simulation.broker import KafkaBroker, Topic, gateway_topics
from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.topics import Stored
from tests.acceptance.conftest import PARTITIONS
from tests.acceptance.gateway_process import Stage, staged
from tests.conftest import Topics
from tests.contracts.logs import Signals
from tests.waiting import wait_until

TOKEN = "a-client-token-that-nobody-may-see"


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: list[str]
    err: list[str]

    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out]

    def summary(self) -> str:
        return self.out[-1].partition(" selected: ")[2]


async def started(stage: Stage, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway", "dead-letters", *arguments),
        env=stage.environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def dead_letters(stage: Stage, *arguments: str) -> Done:
    process = await started(stage, *arguments)
    out, err = await process.communicate()
    done = Done(process.returncode or 0, out.decode().splitlines(), err.decode().splitlines())
    assert "Traceback" not in err.decode(), err.decode()
    return done


async def replay(stage: Stage, *arguments: str) -> Done:
    return await dead_letters(stage, "replay", *arguments)


def event(job: str, **members: Any) -> bytes:
    return json.dumps({"jobId": job, **members}).encode()


def jobs(count: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(count)]


@asynccontextmanager
async def letter_writer(stage: Stage) -> AsyncIterator[DeadLetterWriter]:
    writer = DeadLetterWriter(KafkaConnection(stage.brokers), stage.topics.dead_letters, Signals())
    writer.start()
    yield writer
    await wait_until(lambda: writer.pending() == 0, 30)
    await writer.stop(5)


def letter(of: Stored, **changes: Any) -> DeadLetter:
    record = Record(*of.source, of.timestamp, of.key, of.value, tuple(of.headers))
    made = DeadLetter(record, Reason.EXHAUSTED, "CodePipeline did not answer", time.time(), "d")
    return replace(made, stage="deliver", job_id=(of.key or b"").decode(), **changes)


async def records(stage: Stage) -> list[Stored]:
    return await stage.read(stage.topics.results)


def copies_in(stored: Sequence[Stored]) -> list[Stored]:
    return [record for record in stored if record.header("gateway-replay-of") is not None]


def told(record: Stored, name: str) -> str:
    return (record.header(name) or b"-").decode()


def where(record: Stored) -> str:
    return "/".join(map(str, record.source))


# -- the way of an operator ------------------------------------------------------------------------


async def test_a_dry_run_counts_and_after_a_fix_the_same_command_delivers(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    gateway = await stage.started()
    ids = jobs(6)
    blue = [("gateway-target", b"blue"), ("own", b"header")]
    for job in ids:
        await stage.send(event(job), job.encode(), blue)
    await stage.send(b"{", b"other")
    await stage.wait_outcomes(7)
    before = await records(stage)

    selected = ("--reason", "unroutable", "--rate", "1000")
    dry = await replay(stage, *selected, "--dry-run")
    assert (dry.code, dry.summary()) == (0, "6 would be replayed")
    assert [line.startswith("would be replayed: ") for line in dry.out] == [True] * 6 + [False]
    assert await records(stage) == before

    await gateway.terminate()
    fixed = {"GATEWAY_TARGETS__BLUE__REGION": "us-east-1"}
    await stage.started(**fixed)
    real = await replay(stage, *selected)
    assert (real.code, real.err, real.summary()) == (0, [], "6 replayed")
    outcomes = await stage.wait_outcomes(13)
    assert {o["job"] for o in outcomes if o["outcome"] == "accepted"} == set(ids)
    assert sorted(str(entry.job_id) for entry in simulator.books) == sorted(ids)

    copies = copies_in(await records(stage))
    sources = {where(record): record for record in before}
    for copy in copies:
        source = sources[told(copy, "gateway-replay-of")]
        assert (copy.key, copy.value) == (source.key, source.value)
        assert copy.source.partition == source.source.partition
        assert copy.timestamp > source.timestamp
        assert told(copy, "gateway-original-timestamp") == str(round(source.timestamp * 1000))
        assert copy.headers[:2] == tuple(blue)
        assert not [name for name, _ in copy.headers if name.startswith((CONNECT, OURS))]

    again = await replay(stage, *selected)
    assert (again.code, again.summary()) == (0, "6 replayed before")
    assert copies_in(await records(stage)) == copies


async def test_a_replayed_result_asks_codepipeline_although_its_ending_is_known(
    stage: Stage, simulator: CodePipelineSimulator
) -> None:
    """The operator knows something that the gateway does not."""
    await stage.started()
    [job] = jobs(1)
    for _ in range(2):
        await stage.send(event(job), job.encode())
    outcomes = await stage.wait_outcomes(2)
    assert [outcome["outcome"] for outcome in outcomes] == ["accepted", "duplicate"]
    async with letter_writer(stage) as writer:
        writer.append(letter((await records(stage))[0]), lambda: None)
    assert (await replay(stage, "--all")).summary() == "1 replayed"
    outcomes = await stage.wait_outcomes(3)
    assert outcomes[2]["outcome"] == "already-ended"
    assert len(simulator.books) == 2


async def test_a_value_is_edited_on_its_way(stage: Stage, tmp_path: Path) -> None:
    await stage.started()
    first, second = jobs(2)
    await stage.send(event(first, executionDetails={"percentComplete": 101}), first.encode())
    await stage.send(b"{", second.encode())
    await stage.wait_outcomes(2)
    done = await replay(
        stage, "--reason", "invalid", "--set", "executionDetails.percentComplete=100"
    )
    assert done.summary() == "1 replayed"
    value = tmp_path / "value.json"
    value.write_bytes(event(second))
    refused = await replay(stage, "--all", "--value-from", str(value))
    assert refused.code == 2
    assert refused.err == ["--value-from: needs a selection of one dead letter, not 2"]
    done = await replay(stage, "--job", second, "--value-from", str(value))
    assert done.summary() == "1 replayed"
    outcomes = await stage.wait_outcomes(4)
    assert {o["job"] for o in outcomes if o["outcome"] == "accepted"} == {first, second}


async def test_an_event_that_always_comes_back_is_not_replayed_for_ever(stage: Stage) -> None:
    await stage.started()
    await stage.send(b"{", b"key")
    for count in range(1, 4):
        await stage.wait_outcomes(count)
        done = await replay(stage, "--all", "--max-replays", "2")
        if count < 3:
            assert "1 replayed" in done.summary()
            assert done.code == 0
    assert done.code == 1
    assert done.summary() == "2 replayed before, 1 loop"
    assert next(line for line in done.out if line.startswith("loop: ")).endswith(
        "it has been replayed 2 times and came back each time"
    )
    last = (await records(stage))[-1]
    assert told(last, "gateway-replay") == "2"
    assert told(last, "gateway-original-source") == where((await records(stage))[0])


# -- killed, frozen, together ----------------------------------------------------------------------


async def many_dead_letters(stage: Stage, count: int) -> list[Stored]:
    """Three records of each job, all of them dead-lettered, every tenth of them twice."""
    producer = await stage.producer()
    for number, job in enumerate(jobs(count // 3) * 3):
        value = event(job, executionDetails={"summary": str(number)})
        await producer.send(stage.topics.results, value, job.encode())
    await producer.flush()
    stored = await records(stage)
    async with letter_writer(stage) as writer:
        for record in stored[::-1]:
            writer.append(letter(record), lambda: None)
        for record in stored[::10]:
            writer.append(letter(record), lambda: None)
    return stored


async def test_killed_half_way_and_run_again_nothing_is_sent_twice_nothing_missed_or_reordered(
    stage: Stage,
) -> None:
    stored = await many_dead_letters(stage, 300)
    for _ in range(2):
        process = await started(stage, "replay", "--all", "--rate", "60")
        before = len(copies_in(await records(stage)))

        async def is_half_way(before: int = before) -> bool:
            return len(copies_in(await records(stage))) > before + 40

        await wait_until(is_half_way, 60, every_seconds=0.05)
        process.send_signal(signal.SIGKILL)
        await process.communicate()
    copied = len(copies_in(await records(stage)))
    assert 80 < copied < 290
    done = await replay(stage, "--all", "--rate", "100000")
    assert (done.code, done.err) == (0, [])
    copied = len(copies_in(await records(stage))) - copied
    assert f"{copied} replayed, " in done.summary()
    assert done.summary().endswith("30 repeated")
    copies = copies_in(await records(stage))
    assert sorted(told(copy, "gateway-replay-of") for copy in copies) == sorted(map(where, stored))
    for partition in range(PARTITIONS):
        mine = [copy for copy in copies if copy.source.partition == partition]
        origins = [int(told(copy, "gateway-replay-of").split("/")[2]) for copy in mine]
        assert origins == sorted(origins)
    assert [copy.source.partition for copy in copies if copy.key == stored[0].key] == [
        stored[0].source.partition
    ] * 3


async def test_a_second_replay_beside_a_running_one_does_nothing(stage: Stage) -> None:
    await many_dead_letters(stage, 30)
    first = await started(stage, "replay", "--all", "--rate", "3")

    async def has_begun() -> bool:
        return bool(copies_in(await records(stage)))

    await wait_until(has_begun, 30, every_seconds=0.05)
    second = await replay(stage, "--all", "--rate", "100000")
    assert second.code == 1
    assert second.out == []
    assert second.err[0].startswith("another replay is running")
    first.send_signal(signal.SIGINT)
    out, err = await first.communicate()
    assert (first.returncode, err) == (130, b"stopped; run it again to go on\n")
    assert len(copies_in(await records(stage))) == out.count(b"replayed: ")
    third = await replay(stage, "--all", "--rate", "100000")
    assert third.code == 0
    assert len(copies_in(await records(stage))) == 30


# -- what cannot be replayed -----------------------------------------------------------------------


@pytest.fixture
async def large_stage(
    kafka: KafkaBroker, topic_names: Topics, simulator: CodePipelineSimulator, tmp_path: Path
) -> AsyncIterator[Stage]:
    """One partition that takes records which are too large for the dead-letter topic."""
    results, *others = gateway_topics(*topic_names, partitions=1)
    large = {**results.configs, "max.message.bytes": str(8 << 20)}
    await kafka.create_topics(Topic(results.name, 1, large), *others)
    async with staged(kafka.bootstrap_servers, topic_names, simulator.endpoint, tmp_path) as stage:
        yield stage


async def delete_records(stage: Stage, before: int) -> None:
    """What retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stage.brokers)
    await admin.start()
    place = TopicPartition(stage.topics.results, 0)
    await admin.delete_records({place: RecordsToDelete(before)})
    await admin.close()


async def test_what_was_too_large_to_be_kept_is_read_at_its_source_for_as_long_as_it_is_there(
    large_stage: Stage,
) -> None:
    stage = large_stage
    gateway = await stage.started()
    first, second, third = jobs(3)
    large = event(first, outputVariables={"size": "x" * 3_000_000})
    await stage.send(large, first.encode(), [("own", b"header")])
    await stage.send(event(second, outputVariables={"size": "y" * 3_000_000}), second.encode())
    await stage.send(b"{", third.encode())
    await stage.wait_outcomes(3)
    await gateway.terminate()
    done = await replay(stage, "--job", first)
    assert (done.code, done.summary()) == (0, "1 replayed")
    [copy] = copies_in(await records(stage))
    assert (copy.value, copy.key, copy.headers[0]) == (large, first.encode(), ("own", b"header"))

    await delete_records(stage, 3)
    done = await replay(stage, "--all", "--dry-run")
    assert done.code == 1
    # The last record's copies would all stand behind it, where nothing has been deleted.
    assert done.summary() == "1 would be replayed, 2 gone"
    gone = [line for line in done.out if line.startswith("gone: ")]
    assert f"{stage.topics.results}/0/1 " in gone[1]
    assert gone[1].endswith("it was not kept whole, and its source holds nothing any more"), gone
    done = await replay(stage, "--all")
    assert (done.code, done.summary()) == (1, "1 replayed, 2 gone")


async def test_where_retention_may_have_deleted_a_copy_nothing_is_sent_without_again(
    large_stage: Stage,
) -> None:
    stage = large_stage
    await many_dead_letters(stage, 9)
    assert (await replay(stage, "--all")).summary() == "9 replayed, 1 repeated"
    await stage.send(b"young", b"key")
    await delete_records(stage, 18)
    done = await replay(stage, "--all")
    assert done.code == 1
    assert done.summary() == "1 repeated, 9 forgotten (--again replays the forgotten ones)"
    assert copies_in(await records(stage)) == []
    assert (await replay(stage, "--all", "--again")).code == 0
    assert len(copies_in(await records(stage))) == 9


async def test_what_strangers_wrote_is_passed_over_with_a_sentence(stage: Stage) -> None:
    ours = await many_dead_letters(stage, 3)
    true = letter(ours[0])
    async with letter_writer(stage) as writer:
        foreign = true.record._replace(topic="somebody-elses", offset=7)
        writer.append(replace(true, record=foreign), lambda: None)
        beyond = true.record._replace(partition=PARTITIONS, offset=8)
        writer.append(replace(true, record=beyond), lambda: None)
    [*_, template] = await stage.read(stage.topics.dead_letters)
    strange: list[dict[str, bytes | None]] = [
        {},
        {f"{OURS}version": b"2"},
        {f"{OURS}version": b"\x1b[2J\xff"},
        {f"{OURS}version": None},
        {f"{OURS}reason": b"no such reason"},
        {f"{OURS}at": b"0001-01-01T00:00:00"},
        {f"{OURS}at": b"yesterday"},
        {f"{OURS}attempts": b"9" * 5000},
        {f"{OURS}timestamp": b"9" * 400},
        {f"{CONNECT}offset": b"9" * 30},
        {f"{CONNECT}partition": b"-1"},
        {f"{CONNECT}partition": None},
    ]
    producer = await stage.producer()
    for changes in strange:
        headers = {**dict(template.headers), **changes} if changes else {"x": b"y"}
        await producer.send_and_wait(
            stage.topics.dead_letters, b"value", b"key", headers=list(headers.items())
        )
    done = await replay(stage, "--all")
    assert done.code == 1
    assert done.summary() == "3 replayed, 1 repeated, 2 foreign"
    told = [line.partition(": ")[2] for line in done.err]
    garbled = "a dead letter with a header that is missing or says nothing; passed over"
    unknown = "a dead letter of version {}, of which this gateway knows nothing; passed over"
    assert told == [
        "not a dead letter of the gateway; passed over",
        unknown.format("'2'"),
        unknown.format("'\\x1b[2J\\ufffd'"),
        unknown.format("''"),
        *[garbled] * 8,
    ]
    assert not any("\x1b" in line for line in done.err)
    assert len(copies_in(await records(stage))) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay"],
        ["replay", "--all", "--reason", "invalid"],
        ["replay", "--reason", "nonsense"],
        ["replay", "--since", "yesterday"],
        ["replay", "--at", "somewhere"],
        ["replay", "--all", "--set", "member"],
        ["replay", "--all", "--set", "member={"],
        ["replay", "--all", "--set", "member=NaN"],
        ["replay", "--all", "--header", "name"],
        ["replay", "--all", "--value-from", "no/such/file"],
        ["replay", "--all", "--rate", "0"],
        ["show", "somewhere"],
        ["list", "--until", "x"],
    ],
)
async def test_a_wrong_command_line_is_a_sentence(stage: Stage, arguments: list[str]) -> None:
    done = await dead_letters(stage, *arguments)
    assert (done.code, done.out) == (2, [])
    assert done.err


async def test_missing_topics_and_brokers_are_a_sentence(stage: Stage, topic_names: Topics) -> None:
    missing = Topics(topic_names.results, topic_names.outcomes, "no-such-topic")
    broken = Stage(stage.brokers, missing, stage.endpoint, Path("/nonexistent"))
    for command in (["list"], ["replay", "--all"], ["show", "a/0/1"]):
        done = await dead_letters(broken, *command)
        assert done.code == 1
        assert "topic no-such-topic does not exist" in done.err[0]
    broken = Stage("127.0.0.1:1", topic_names, stage.endpoint, Path("/nonexistent"))
    done = await dead_letters(broken, "list")
    assert (done.code, done.out, len(done.err)) == (1, [], 1)


# -- looking ---------------------------------------------------------------------------------------


async def test_dead_letters_are_listed_and_shown_with_their_secrets_hidden(stage: Stage) -> None:
    await stage.started()
    [job] = jobs(1)
    value = {
        "jobId": job,
        "clientToken": TOKEN,
        "outputVariables": {"password": "hunter2"},
        "passwort": "hunter2",
        "executionDetails": {"summary": "built", "pin": 1234},
    }
    headers = [("authorization", b"hunter2"), ("gateway-target", b"default")]
    await stage.send(json.dumps(value).encode(), job.encode(), headers)
    await stage.send(b"hunter2 and no JSON", b"key")
    await stage.wait_outcomes(2)

    listed = await dead_letters(stage, "list", "--json")
    first, second = sorted(listed.json(), key=lambda line: str(line["reason"]))
    assert (listed.code, listed.err) == (0, [])
    assert (first["reason"], first["job"], first["replays"]) == ("invalid", job, 0)
    assert second["reason"] == "malformed"
    only = await dead_letters(stage, "list", "--json", "--reason", "malformed", "--since", "10m")
    assert only.json() == [second]
    people = await dead_letters(stage, "list")
    assert people.out[-1] == "2 dead letters"
    assert any(first["position"] in line and job in line for line in people.out)

    for place in (first["source"], first["position"]):
        shown = await dead_letters(stage, "show", place, "--json")
        [details] = shown.json()
        assert details["value"] == {
            "jobId": job,
            "clientToken": "***",
            "outputVariables": {"password": "***"},
            "passwort": "***",
            "executionDetails": {"summary": "built", "pin": "***"},
        }
        assert details["headers"] == [["authorization", "***"], ["gateway-target", "default"]]
    for place in (first["source"], second["source"]):
        for output in (["--json"], []):
            shown = await dead_letters(stage, "show", place, *output)
            assert shown.code == 0
            assert TOKEN not in "".join(shown.out)
            assert "hunter2" not in "".join(shown.out)
    assert "hunter2" not in "".join(people.out + listed.out)

    everything = await dead_letters(stage, "show", first["source"], "--json", "--with-secrets")
    assert json.loads(everything.json()[0]["value"]) == value
    raw = await dead_letters(stage, "show", second["source"], "--raw")
    assert raw.out == ["hunter2 and no JSON"]
    nothing = await dead_letters(stage, "show", f"{stage.topics.results}/0/999")
    assert nothing.code == 1
