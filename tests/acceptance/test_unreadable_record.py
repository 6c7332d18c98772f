"""docs/OPERATIONS.md, "A record that cannot be read": what happens, and how an operator goes on.

Brokers check what they are sent, so the record is spoilt where it lies: on the broker's disk.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition

from gateway.adapters.kafka_client import KafkaConnection
from gateway.adapters.topic_reader import TopicReader, Unread
from gateway.core.model import Partition, Source
from gateway.simulation.broker import KafkaBroker
from tests.acceptance.gateway_process import Stage
from tests.adapters.raw_batches import produce_to, raw_batch
from tests.waiting import wait_until

OPERATIONS = Path(__file__).parents[2] / "docs/OPERATIONS.md"
TOOLS = {
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-dump-log.sh": "kafka.tools.DumpLogSegments",
}


def event() -> bytes:
    return json.dumps({"jobId": str(uuid.uuid4())}).encode()


def log_of(kafka: KafkaBroker, topic: str, partition: int) -> Path:
    [path] = (kafka.data / "kafka").rglob(f"{topic}-{partition}/{0:020}.log")
    return path


def spoil(path: Path, value: bytes) -> None:
    """Turns one byte of this value, where it stands on the disk."""
    content = path.read_bytes()
    with path.open("r+b") as log:
        log.seek(content.index(value) + len(value) // 2)
        log.write(b"\xff")


def documented(tool: str, **names: str) -> list[str]:
    """The command of the page, its placeholders filled in."""
    page = OPERATIONS.read_text()
    found = re.search(rf"^ *{re.escape(tool)} (.*?[^\\])$", page, re.MULTILINE | re.DOTALL)
    assert found, f"{tool} is not in {OPERATIONS.name}"
    words = found[1].replace("\\\n", " ").split()
    for name, value in names.items():
        words = [word.replace(name, value) for word in words]
    assert not [word for word in words if re.fullmatch("[A-Z:+1]{4,}", word)], words
    return words


async def typed(kafka: KafkaBroker, tool: str, **names: str) -> str:
    """What an operator sees who types the command of the page."""
    words = documented(tool, **names)
    command = await asyncio.to_thread(kafka.console_command, TOOLS[tool], *words)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def test_a_record_that_cannot_be_read_stops_its_partition_until_the_group_is_moved_past_it(
    kafka: KafkaBroker, stage: Stage
) -> None:
    topic = stage.topics.results
    place = TopicPartition(topic, 1)
    await produce_to(stage.brokers, place, raw_batch([(event(), [])]))
    bad = [(event(), []), (event(), []), (event(), [])]
    await produce_to(stage.brokers, place, raw_batch(bad))
    await produce_to(stage.brokers, place, raw_batch([(event(), [])]))
    log = log_of(kafka, topic, 1)
    spoil(log, bad[1][0])

    first = await stage.started()

    async def says_where() -> bool:
        report: Any = await first.status()
        return f"{topic}/1/1: " in str(report.get("trouble"))

    await wait_until(says_where, 30, every_seconds=0.1)
    [failure, *_] = first.lines("reading failed")
    assert f"{topic}/1/1: " in failure["error"]
    for partition in (0, 2, 3):
        await produce_to(
            stage.brokers, TopicPartition(topic, partition), raw_batch([(event(), [])])
        )
    outcomes = await stage.wait_outcomes(4)
    assert sorted(o["source"]["partition"] for o in outcomes) == [0, 1, 2, 3]
    assert await first.terminate() == 0
    assert (await stage.committed(4))[1] == 1

    dump = await typed(kafka, "kafka-dump-log.sh", SEGMENT=str(log))
    assert re.search(r"baseOffset: 1 lastOffset: 3 .*isvalid: false", dump), dump
    names = {"HOST:PORT": stage.brokers, "GROUP": stage.group, "TOPIC:PARTITION": f"{topic}:1"}
    moved = await typed(kafka, "kafka-consumer-groups.sh", **names, OFFSET="4")
    assert topic in moved

    second = await stage.started()
    outcomes = await stage.wait_outcomes(5)
    assert [o["source"] for o in outcomes if o["source"]["offset"] == 4] == [
        {"topic": topic, "partition": 1, "offset": 4}
    ]
    assert second.lines("reading failed") == []


async def test_a_replay_says_what_it_could_not_look_through(
    kafka: KafkaBroker, stage: Stage
) -> None:
    topic = stage.topics.results
    bad = event()
    for value in (event(), bad, event()):
        await produce_to(stage.brokers, TopicPartition(topic, 0), raw_batch([(value, [])]))
    await produce_to(stage.brokers, TopicPartition(topic, 1), raw_batch([(event(), [])]))
    spoil(log_of(kafka, topic, 0), bad)
    async with TopicReader(KafkaConnection(stage.brokers), patience_seconds=3.0) as reader:
        found = [one async for one in reader.read(await reader.spans([topic]))]
        assert await reader.read_at(Source(topic, 0, 1)) is None
        beyond = await reader.read_at(Source(topic, 0, 2))
        assert beyond is not None
    unread = [one for one in found if isinstance(one, Unread)]
    assert [one.position for one in unread] == [Source(topic, 0, 1)]
    read = {Partition(*one.source[:2]) for one in found if not isinstance(one, Unread)}
    assert read == {Partition(topic, 0), Partition(topic, 1)}
