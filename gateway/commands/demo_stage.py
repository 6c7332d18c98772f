"""What the demo is played on: broker, simulated CodePipeline and gateway, each its own process."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from gateway.commands.demo_children import Child, environment
from gateway.commands.demo_progress import Progress, Show
from gateway.simulation.broker import FAST, KafkaBroker, Topic, gateway_topics
from gateway.simulation.history import Source
from gateway.simulation.recorder import Places, Witness
from gateway.simulation.remote import RemoteSimulator, status_of
from gateway.simulation.service import EXAMPLE_KEY
from gateway.simulation.topics import MAX_RECORD_BYTES
from gateway.simulation.workload import Workload

PLACES = Places()
EARLY_RESULT_DELAYS_SECONDS = (0.3, 0.6)
ATTEMPT_TIMEOUT_SECONDS = 5.0
_READY_SECONDS = 60.0
_LOOK_SECONDS = 0.05

T = TypeVar("T")


class DemoFailed(Exception):
    """A part of the demo did not work; the message is for the person who watches."""


@dataclass
class Stage:
    """Everything that has been set up."""

    broker: KafkaBroker
    simulator: RemoteSimulator
    gateway: Child
    ready_url: str
    script: Workload
    show: Show
    progress: Progress
    witness: Witness
    stories: dict[Source, str] = field(default_factory=dict)
    gateway_may_end: bool = False


@asynccontextmanager
async def set_up(script: Workload, show: Show, progress: Progress) -> AsyncIterator[Stage]:
    """Everything runs and is ready in here, and is gone afterwards, whatever happens."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-demo-")))
        show.say("Starting Apache Kafka")
        broker = KafkaBroker(folder / "kafka", properties=FAST, progress=_download(show))
        await stack.enter_async_context(broker)
        await broker.create_topics(*_topics())
        show.say("Starting a simulated CodePipeline")
        endpoint = await _start_simulator(stack, folder)
        simulator = await stack.enter_async_context(RemoteSimulator(endpoint))
        await simulator.make_jobs(script.jobs)
        port = _free_port()
        gateway = _gateway(folder, broker.bootstrap_servers, endpoint, port)
        stack.push_async_callback(gateway.kill)
        witness = Witness(
            early_attempts=len(EARLY_RESULT_DELAYS_SECONDS),
            attempt_timeout_seconds=ATTEMPT_TIMEOUT_SECONDS,
        )
        ready_url = f"http://127.0.0.1:{port}/readyz"
        stage = Stage(broker, simulator, gateway, ready_url, script, show, progress, witness)
        show.say("Starting the gateway")
        await start_gateway(stage)
        yield stage


def _topics() -> list[Topic]:
    """The input takes records that are too large for the dead-letter topic. Outcomes carry the
    broker's time, so that the checker can compare them with commits exactly."""
    results, outcomes, dead_letters = gateway_topics(
        PLACES.results, PLACES.outcomes, PLACES.dead_letters
    )
    more = {"max.message.bytes": str(MAX_RECORD_BYTES)}
    results = Topic(results.name, results.partitions, {**results.configs, **more})
    stamped = {"message.timestamp.type": "LogAppendTime"}
    outcomes = Topic(outcomes.name, outcomes.partitions, {**outcomes.configs, **stamped})
    return [results, outcomes, dead_letters]


async def _start_simulator(stack: AsyncExitStack, folder: Path) -> str:
    """Returns its endpoint."""
    arguments = ["simulate", "codepipeline", "--port", "0", "--seed", "1"]
    arguments += ["--latency", "0.01", "--latency-spread", "0.02"]
    child = Child(
        "the simulated CodePipeline", arguments, folder / "codepipeline.log", environment()
    )
    await child.start()
    stack.push_async_callback(child.kill)

    async def endpoint() -> str | None:
        found = re.search(r"at (http://\S+?);", await child.log_text())
        return found and found[1]

    return await _soon(endpoint, child)


def _gateway(folder: Path, bootstrap_servers: str, endpoint: str, port: int) -> Child:
    settings = {
        "kafka": {
            "bootstrap_servers": bootstrap_servers,
            # Short, so that the group notices soon that a killed member is gone.
            "session_timeout_seconds": 3,
            "heartbeat_seconds": 1,
        },
        "input": {"topics": [PLACES.results], "start": "earliest"},
        "targets": {"default": {"region": "us-east-1", "endpoint": endpoint}},
        "aws": {"attempt_timeout_seconds": ATTEMPT_TIMEOUT_SECONDS},
        "retry": {
            "base_seconds": 0.1,
            "cap_seconds": 2,
            "probe_first_seconds": 0.3,
            "probe_cap_seconds": 1,
            "early_result_delays_seconds": list(EARLY_RESULT_DELAYS_SECONDS),
        },
        "admin": {"port": port},
        "log": {"format": "json"},
    }
    file = folder / "gateway.yaml"
    file.write_text(json.dumps(settings, indent=2))  # JSON is YAML
    variables = environment(
        AWS_ACCESS_KEY_ID=EXAMPLE_KEY.access_key, AWS_SECRET_ACCESS_KEY=EXAMPLE_KEY.secret_key
    )
    arguments = ["run", "--config", str(file)]
    return Child("the gateway", arguments, folder / "gateway.log", variables)


async def start_gateway(stage: Stage) -> None:
    await stage.gateway.start()

    async def is_ready() -> bool:
        return await status_of(stage.ready_url) == 200

    await _soon(is_ready, stage.gateway)


async def _soon(condition: Callable[[], Awaitable[T | None]], child: Child) -> T:
    """What the condition returns once it is true. Raises DemoFailed if the child ends before, or
    takes too long."""
    try:
        async with asyncio.timeout(_READY_SECONDS):
            while not (answer := await condition()):
                if not child.is_running:
                    raise await failure(f"{child.name} ended before it was ready", child)
                await asyncio.sleep(_LOOK_SECONDS)
            return answer
    except TimeoutError:
        what = f"{child.name} was not ready after {_READY_SECONDS:.0f} s"
        raise await failure(what, child) from None


async def failure(what: str, child: Child) -> DemoFailed:
    """What happened to a child, with its last words."""
    code = f" (exit code {child.exit_code})" if child.exit_code is not None else ""
    return DemoFailed(f"{what}{code}; the end of its log:\n{await child.log_tail()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _download(show: Show) -> Callable[[int, int], None]:
    """Tells of the first download, at every tenth of it."""
    told = -1

    def progress(done_bytes: int, total_bytes: int) -> None:
        nonlocal told
        tenth = 10 * done_bytes // max(1, total_bytes)
        if tenth != told:
            told = tenth
            show.say(f"Fetching Kafka: {done_bytes / 1e6:.0f} of {total_bytes / 1e6:.0f} MB")

    return progress
