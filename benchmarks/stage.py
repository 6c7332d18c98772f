"""What the drain and the memory benchmark play on: broker, endpoint and gateway, a process each.

    core A   the process under measurement: gateway, or bare loop
    core B   everything else: broker, endpoint, the driver

Where there are fewer than two cores, or cores cannot be chosen, nothing is pinned.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aiokafka import AIOKafkaProducer

from gateway.simulation.broker import FAST, KafkaBroker, Topic, gateway_topics

HERE = Path(__file__).parent
POLL_SECONDS = 0.05
PATIENCE_SECONDS = 120.0
"""Without a further call for so long, a benchmark gives up."""
LOG_BYTES = 64 << 20
"""Of a partition: what was delivered long ago may go, so that no disk fills up."""
_AT_ONCE = 2000
ANSWERS_TIMED = 30
_TICKS = os.sysconf("SC_CLK_TCK")

_KEPT = {n: value for n, value in os.environ.items() if not n.startswith(("AWS_", "GATEWAY_"))}
ENVIRONMENT = {
    **_KEPT,
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    "AWS_EC2_METADATA_DISABLED": "true",
    "PYTHONPATH": str(HERE.parent),
}


@dataclass(frozen=True)
class Load:
    """How many calls at once, and by which of the gateway's ways."""

    concurrency: int
    call_path: Literal["botocore", "lean"]

    @property
    def room(self) -> dict[str, int]:
        """As large as the loop's concurrency, always."""
        return dict.fromkeys(("initial", "min", "max"), self.concurrency)


class NoProgress(Exception):
    """What was measured has stopped, and where to look."""


@dataclass(frozen=True)
class Cores:
    """Which cores are whose; None: not pinned."""

    measured: int | None
    rest: frozenset[int] | None

    @classmethod
    def here(cls) -> Cores:
        if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
            return cls(None, None)
        *rest, measured = sorted(os.sched_getaffinity(0))
        return cls(measured, frozenset(rest))

    def pin_this_process(self) -> None:
        """And those that it starts from now on."""
        if self.rest is not None:
            os.sched_setaffinity(0, self.rest)

    def pin_measured(self, pid: int) -> None:
        """At once after the start, before it has any threads."""
        if self.measured is not None:
            os.sched_setaffinity(pid, {self.measured})

    def __str__(self) -> str:
        if self.measured is None or self.rest is None:
            return "processes are not pinned to cores"
        rest = ", ".join(map(str, sorted(self.rest)))
        return f"the measured process alone on core {self.measured}, all others on core {rest}"


@dataclass(frozen=True)
class Span:
    """Calls seen by the endpoint, from the first to the last."""

    calls: int
    seconds: float


@dataclass(frozen=True)
class Pace:
    """So many records, or calls."""

    count: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        """CPU of one."""
        return self.cpu_seconds / self.count * 1e6

    def __add__(self, other: Pace) -> Pace:
        return Pace(
            self.count + other.count,
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
        )


class Endpoint:
    """benchmarks/endpoint.py, running."""

    def __init__(self, url: str, plain_port: int | None, ca_bundle: str | None) -> None:
        self.url = url
        self.ca_bundle = ca_bundle
        self._port = plain_port

    async def begin(self) -> None:
        """Forgets the calls seen so far."""
        await self._get("/begin")

    async def span(self) -> Span:
        calls, seconds = (await self._get("/span")).split()
        return Span(int(calls), float(seconds))

    async def answer_seconds(self) -> float:
        """How long an answer takes when nothing else is asked: the median of ANSWERS_TIMED."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        times = []
        try:
            for _ in range(ANSWERS_TIMED):
                began = time.perf_counter()
                writer.write(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
                times.append(time.perf_counter() - began)
        finally:
            writer.close()
        return statistics.median(times)

    async def throttle(self, seconds: float) -> None:
        """Every call is refused for so long."""
        await self._get(f"/throttle/{seconds:g}")

    async def delays(self) -> list[tuple[float, float]]:
        """Of results with a date: seconds from that moment to the arrival, and the arrival."""
        lines = (await self._get("/delays")).splitlines()
        return [(float(delay), float(at)) for delay, at in map(str.split, lines)]

    async def wait_span(self, calls: int, each_poll: Callable[[], None]) -> Span:
        """Returns when so many calls were seen since `begin`. What `each_poll` raises passes."""
        span, moved_at = Span(0, 0.0), time.monotonic()
        while span.calls < calls:
            await asyncio.sleep(POLL_SECONDS)
            seen = await self.span()
            each_poll()
            if seen.calls > span.calls:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > PATIENCE_SECONDS:
                raise NoProgress(f"no call for {PATIENCE_SECONDS:.0f} s, {seen.calls} of {calls}")
            span = seen
        return span

    async def _get(self, path: str) -> str:
        tls = ssl.create_default_context(cafile=self.ca_bundle) if self.ca_bundle else None
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=tls)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"Content-Length: (\d+)", head)
            return (await reader.readexactly(int(found[1]) if found else 0)).decode()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def endpoint(is_tls: bool, latency_seconds: float = 0.0) -> AsyncIterator[Endpoint]:
    command = [sys.executable, str(HERE / "endpoint.py"), "--latency", str(latency_seconds)]
    command += ["--self-signed"] if is_tls else []
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        bundle = (await process.stdout.readline()).decode().strip() if is_tls else None
        yield Endpoint(f"http{'s' if is_tls else ''}://127.0.0.1:{port}", port, bundle)
    finally:
        process.terminate()
        await process.wait()


class MeasuredGateway:
    """`gateway run`, a process of its own, whose CPU and memory are read from /proc."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raises NoProgress if it has ended."""
        if self._process.returncode is not None:
            last = self._log.read_text()[-2000:]
            raise NoProgress(f"the gateway ended with {self._process.returncode}: {last}")

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_bytes(self) -> int:
        found = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0

    def log(self) -> str:
        """What this process, and those before it on this stage, have written."""
        return self._log.read_text()

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        if await self._process.wait() != 0:
            self.check()


class Stage:
    """A broker with the gateway's three topics, and an endpoint."""

    def __init__(
        self, broker: KafkaBroker, endpoint: Endpoint, cores: Cores, folder: Path, load: Load
    ) -> None:
        self.endpoint = endpoint
        self.load = load
        self._broker = broker
        self._cores = cores
        self._folder = folder

    def beside(self, endpoint: Endpoint, load: Load | None = None) -> Stage:
        """The same stage with another endpoint, or another load."""
        return Stage(self._broker, endpoint, self._cores, self._folder, load or self.load)

    async def fresh_topic(self, name: str) -> str:
        """For job results, with nothing in it."""
        await self._broker.create_topics(Topic(name, 4))
        return name

    @contextlib.asynccontextmanager
    async def gateway(
        self, topic: str = "job-results", **settings: object
    ) -> AsyncIterator[MeasuredGateway]:
        """Default settings, but for the room. `settings`: more of them, by section."""
        target = {"region": "eu-west-1", "endpoint": self.endpoint.url, "room": self.load.room}
        every = {
            "kafka": {
                "bootstrap_servers": self._broker.bootstrap_servers,
                "group_id": f"gateway-{topic}",
            },
            "input": {"start": "earliest", "topics": [topic]},
            "targets": {"default": target},
            "aws": {"call_path": self.load.call_path},
            "admin": {"port": 0},
        }
        configuration = self._folder / "gateway.yaml"
        configuration.write_text(json.dumps(every | settings))  # JSON is YAML
        arguments = ("-m", "gateway", "run", "--config", str(configuration))
        async with self._measured(*arguments) as gateway:
            yield gateway

    @contextlib.asynccontextmanager
    async def peer(self, topic: str) -> AsyncIterator[MeasuredGateway]:
        """benchmarks/peer.py in the gateway's place."""
        places = (self._broker.bootstrap_servers, topic, self.endpoint.url)
        concurrency = ("--concurrency", str(self.load.concurrency))
        async with self._measured("-m", "benchmarks.peer", *places, *concurrency) as peer:
            yield peer

    @contextlib.asynccontextmanager
    async def _measured(self, *arguments: str) -> AsyncIterator[MeasuredGateway]:
        log = self._folder / "gateway.log"
        with log.open("ab") as output:
            process = await self._started(*arguments, stdout=output)
        gateway = MeasuredGateway(process, log)
        try:
            yield gateway
            await gateway.stop()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def bare(self, client: str, calls: int) -> Pace:
        """benchmarks/bare.py's calls."""
        arguments = (self.endpoint.url, "--client", client, "--calls", str(calls))
        process = await self._started(
            *("-m", "benchmarks.bare", *arguments, "--concurrency", str(self.load.concurrency)),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        found = json.loads(output)
        return Pace(calls, found["seconds"], found["cpu_seconds"])

    @contextlib.asynccontextmanager
    async def producer(self, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._broker.bootstrap_servers,
            enable_idempotence=True,
            **{"linger_ms": 5, **options},
        )
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def _started(self, *arguments: str, stdout: Any) -> asyncio.subprocess.Process:
        bundle = self.endpoint.ca_bundle
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdout=stdout,
            stdin=asyncio.subprocess.DEVNULL,
            env=ENVIRONMENT | ({"AWS_CA_BUNDLE": bundle} if bundle else {}),
        )
        self._cores.pin_measured(process.pid)
        return process


async def send(
    producer: AIOKafkaProducer, events: Iterable[tuple[bytes, bytes]], topic: str = "job-results"
) -> None:
    """All of them are stored when it returns."""
    waiting = []
    for key, value in events:
        waiting.append(await producer.send(topic, value, key))
        if len(waiting) >= _AT_ONCE:
            await asyncio.gather(*waiting)
            waiting.clear()
    await asyncio.gather(*waiting)


@contextlib.asynccontextmanager
async def stage(
    folder: Path, cores: Cores, load: Load, *, is_tls: bool = False
) -> AsyncIterator[Stage]:
    small = {"retention.bytes": str(LOG_BYTES), "segment.bytes": str(LOG_BYTES // 4)}
    topics = [Topic(t.name, t.partitions, {**t.configs, **small}) for t in gateway_topics()]
    async with KafkaBroker(folder / "kafka", properties=FAST) as broker, endpoint(is_tls) as called:
        await broker.create_topics(*topics)
        yield Stage(broker, called, cores, folder, load)
