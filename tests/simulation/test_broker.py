"""The real Kafka: ready when it says so, gone when it says so, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from gateway.simulation import broker_process
from gateway.simulation.broker import (
    FAST,
    BrokerUnavailable,
    KafkaBroker,
    Topic,
    gateway_topics,
)
from tests.conftest import FreshTopics
from tests.waiting import wait_until


def is_running(pid: int) -> bool:
    """A process that nobody has waited for yet (a zombie) has ended all the same."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def thread_states(pid: int) -> set[str]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {(thread / "stat").read_text().rpartition(") ")[2][0] for thread in threads}


async def test_what_is_written_is_read_with_key_and_headers(
    kafka: KafkaBroker, fresh_topics: FreshTopics
) -> None:
    topics = await fresh_topics(partitions=4)
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        await producer.send_and_wait(topics.results, b"v", key=b"k", headers=[("h", b"1")])
    async with AIOKafkaConsumer(
        topics.results,
        bootstrap_servers=kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        group_id="readers",
    ) as consumer:
        record = await consumer.getone()
    assert (record.key, record.value, record.headers) == (b"k", b"v", (("h", b"1"),))


async def test_topics_that_exist_are_left_as_they_are(
    kafka: KafkaBroker, fresh_topics: FreshTopics
) -> None:
    topics = await fresh_topics(partitions=3)
    await kafka.create_topics(Topic(topics.results, partitions=7))
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        assert len(await producer.partitions_for(topics.results)) == 3


async def test_a_topic_that_kafka_refuses_is_named(kafka: KafkaBroker) -> None:
    with pytest.raises(BrokerUnavailable, match="Topic no/good cannot be created"):
        await kafka.create_topics(Topic("no/good"))


async def test_data_and_port_survive_a_stop_and_a_crash(tmp_path: Path) -> None:
    broker = KafkaBroker(tmp_path / "data", properties=FAST)
    async with broker:
        port, pid = broker.port, broker.pid
        await broker.create_topics(*gateway_topics())
        await broker.stop()
        assert pid is not None
        assert not is_running(pid)
        await broker.start()
        await broker.kill()
        await broker.start()
        assert broker.port == port
        async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers) as producer:
            assert len(await producer.partitions_for("job-results")) == 4


async def test_a_port_or_data_in_use_is_one_sentence_and_disturbs_nobody(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    with pytest.raises(BrokerUnavailable, match=f"cannot listen on port {kafka.port}"):
        await KafkaBroker(tmp_path, port=kafka.port).start()
    with pytest.raises(BrokerUnavailable, match="Another Kafka is running on the data"):
        await KafkaBroker(kafka.data).start()
    await kafka.create_topics(Topic("still-there"))


BUSY = """
import threading
for _ in range(3):
    threading.Thread(target=lambda: all(iter(lambda: True, False))).start()
print("busy", flush=True)
"""


def test_a_process_does_nothing_any_more_when_freeze_returns() -> None:
    """Right after the signal was sent a busy one mostly still does, so this looks often."""
    child = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child, child.stdout as output:
        try:
            output.readline()
            for _ in range(50):
                broker_process.freeze(child)
                assert thread_states(child.pid) == {"T"}
                child.send_signal(signal.SIGCONT)
        finally:
            child.kill()


async def test_java_that_cannot_be_run_is_one_sentence(tmp_path: Path) -> None:
    broker = KafkaBroker(tmp_path, java="/nowhere/java")
    with pytest.raises(BrokerUnavailable, match="storage could not be formatted"):
        await broker.start()
    assert broker.pid is None


ORPHAN = """
import asyncio, os, signal, sys
from pathlib import Path
from gateway.simulation.broker import FAST, KafkaBroker

async def main():
    broker = KafkaBroker(Path(sys.argv[1]), properties=FAST)
    await broker.start()
    {before}
    print(broker.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("before", ["pass", "broker.suspend()"])
async def test_a_broker_does_not_outlive_a_parent_that_was_killed(
    tmp_path: Path, before: str
) -> None:
    script = ORPHAN.format(before=before)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(tmp_path)), stdout=subprocess.PIPE
    )
    output, _ = await child.communicate()
    assert child.returncode == -9
    pid = int(output)
    await wait_until(lambda: not is_running(pid), timeout_seconds=5)


def offline(folder: Path) -> dict[str, str]:
    """An environment from which nothing can be fetched: a proxy that refuses."""
    proxy = "http://127.0.0.1:9"
    return os.environ | {"HTTPS_PROXY": proxy, "https_proxy": proxy, "JGO_CACHE_DIR": str(folder)}


def test_without_network_and_jars_there_is_one_sentence(tmp_path: Path) -> None:
    fetch = "from gateway.simulation import broker_jars; broker_jars.fetched()"
    child = subprocess.run(
        [sys.executable, "-c", fetch],
        env=offline(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    last = child.stderr.splitlines()[-1]
    assert (
        "could not be fetched (ConnectionRefusedError): the first start needs the network" in last
    )
    assert not list(tmp_path.rglob("*.jar"))


def test_a_jar_cut_short_is_replaced_and_the_rest_needs_no_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from gateway.simulation import broker_jars

    whole = broker_jars.fetched()
    monkeypatch.setenv("JGO_CACHE_DIR", str(tmp_path))
    copied = broker_jars.folder()
    copied.mkdir()
    for jar in broker_jars.JARS:
        (copied / jar.file_name).symlink_to(whole / jar.file_name)
    victim = min(broker_jars.JARS, key=lambda jar: jar.size_bytes)
    (copied / victim.file_name).unlink()
    (copied / victim.file_name).write_bytes(b"PK")

    reported: list[tuple[int, int]] = []
    fetch: Callable[[broker_jars.Progress], Path] = broker_jars.fetched
    fetch(lambda done, total: reported.append((done, total)))

    assert reported == [(0, victim.size_bytes), (victim.size_bytes, victim.size_bytes)]
    assert (copied / victim.file_name).read_bytes() == (whole / victim.file_name).read_bytes()
