"""What chaos is played on: a real Kafka, a simulated CodePipeline, replicas, and wires to cut.

    build systems ─► Kafka ◄─ relays ─ gateway 0 ─ relay ─► simulated CodePipeline
                     1 2 3 ◄─ relays ─ gateway 1 ─ relay ────►
                           └─ …

Each broker of Kafka, CodePipeline and each gateway are processes of their own; the relays, one from
each gateway to each broker, live in ours. Nothing outlives us.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.commands.demo_children import Child, environment
from gateway.simulation.broker import FAST, Door, Topic, gateway_topics
from gateway.simulation.cluster import KafkaCluster
from gateway.simulation.ports import HeldPorts
from gateway.simulation.recorder import Places
from gateway.simulation.remote import RemoteSimulator
from gateway.simulation.service import EXAMPLE_KEY
from gateway.simulation.topics import MAX_RECORD_BYTES
from tests.chaos.members import Member
from tests.chaos.network import HOST, Cable, Relay
from tests.waiting import wait_until

PLACES = Places()
PARTITIONS = 8
SESSION_SECONDS = 2.0
ATTEMPT_TIMEOUT_SECONDS = 4.0
"""Less, and on a busy machine the time-out of a call that left late meets its answer."""
EARLY_RESULT_DELAYS_SECONDS = (0.3, 0.6)
GRACE_SECONDS = 18.0
"""The sum of the settings below, as `Settings.grace_period_seconds` has it, and a little."""

SETTINGS: Mapping[str, Any] = {
    "kafka": {
        "session_timeout_seconds": SESSION_SECONDS,
        "heartbeat_seconds": 0.4,
        "rebalance_timeout_seconds": 10,
        "commit_interval_seconds": 0.3,
        "commit_timeout_seconds": 2,
    },
    "input": {"topics": [PLACES.results], "start": "earliest"},
    "aws": {"attempt_timeout_seconds": ATTEMPT_TIMEOUT_SECONDS},
    "outcomes": {"write_timeout_seconds": 3},
    "retry": {
        "base_seconds": 0.1,
        "cap_seconds": 2,
        "probe_first_seconds": 0.3,
        "probe_cap_seconds": 1,
        # A lost connection may use up the budget of an event that nothing is wrong with.
        "budget_attempts": 1000,
        "early_result_delays_seconds": list(EARLY_RESULT_DELAYS_SECONDS),
    },
    "shutdown": {"drain_seconds": 2},
    "log": {"format": "json"},
}
"""Everything is short, so that much happens in a minute."""


KAFKA: Mapping[str, str] = {
    **FAST,
    # Who has returned leads again soon, so that the death of any broker is the death of a leader.
    "leader.imbalance.check.interval.seconds": "5",
    "leader.imbalance.per.broker.percentage": "0",
}


@dataclass
class Stage:
    """Everything that has been set up."""

    folder: Path
    cluster: KafkaCluster
    simulator: RemoteSimulator
    members: list[Member]
    to_brokers: list[Cable]
    to_calls: list[Relay]

    @property
    def servers(self) -> str:
        """The brokers' own doors, which no relay disturbs."""
        return self.cluster.bootstrap_servers

    async def wait_all_ready(self, timeout_seconds: float) -> None:
        for member in self.members:
            await wait_until(member.is_ready, timeout_seconds, every_seconds=0.1)


@asynccontextmanager
async def set_up(
    members: int,
    more: Mapping[str, Any] | None = None,
    *,
    brokers: int = 1,
    any_job: bool = False,
) -> AsyncIterator[Stage]:
    """Kafka and CodePipeline run in here; `Member.run` starts the replicas. `more` replaces
    sections of the replicas' settings."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        # Else a client's own connection sits there when who was killed comes back.
        ports = HeldPorts()
        stack.callback(ports.release)
        to_brokers = [await _cable(stack, ports, brokers) for _ in range(members)]
        doors = [_doors(to_brokers, place) for place in range(brokers)]
        cluster = KafkaCluster(folder / "kafka", brokers, properties=KAFKA, doors=doors)
        await stack.enter_async_context(cluster)
        await cluster.create_topics(*topics())
        endpoint = await _start_simulator(stack, folder, any_job)
        simulator = await stack.enter_async_context(RemoteSimulator(endpoint))
        port = int(endpoint.rpartition(":")[2])
        to_calls = [await stack.enter_async_context(Relay(port)) for _ in range(members)]
        crew = [
            _member(folder, number, ports.take(), to_brokers[number], to_calls[number], more or {})
            for number in range(members)
        ]
        for member in crew:
            stack.push_async_callback(member.end)
        yield Stage(folder, cluster, simulator, crew, to_brokers, to_calls)


async def _cable(stack: AsyncExitStack, ports: HeldPorts, brokers: int) -> Cable:
    """From one gateway to all brokers."""
    return Cable([await stack.enter_async_context(Relay(ports.take())) for _ in range(brokers)])


def _doors(to_brokers: Sequence[Cable], place: int) -> list[Door]:
    """Of one broker, for all gateways."""
    relays = [cable.relays[place] for cable in to_brokers]
    return [Door(f"RELAY{n}", relay.target_port, relay.port) for n, relay in enumerate(relays)]


def topics() -> list[Topic]:
    """The input takes records that are too large for the dead-letter topic. Outcomes carry the
    broker's time, so that the checker can compare them with commits exactly."""
    results, outcomes, dead_letters = gateway_topics(partitions=PARTITIONS)
    more = {"max.message.bytes": str(MAX_RECORD_BYTES)}
    stamped = {"message.timestamp.type": "LogAppendTime"}
    return [
        Topic(results.name, results.partitions, {**results.configs, **more}),
        Topic(outcomes.name, outcomes.partitions, {**outcomes.configs, **stamped}),
        dead_letters,
    ]


async def _start_simulator(stack: AsyncExitStack, folder: Path, any_job: bool) -> str:
    """Returns its endpoint."""
    arguments = ["simulate", "codepipeline", "--port", "0", "--seed", "1"]
    arguments += ["--latency", "0.01", "--latency-spread", "0.02"]
    arguments += ["--any-job"] if any_job else []
    child = Child("CodePipeline", arguments, folder / "codepipeline.log", environment())
    await child.start()
    stack.push_async_callback(child.kill)

    async def endpoint() -> str | None:
        found = re.search(r"at (http://\S+?);", await child.log_text())
        return found and found[1]

    return str(await wait_until(endpoint, 60, every_seconds=0.05))


def _member(
    folder: Path,
    number: int,
    admin: int,
    to_brokers: Cable,
    to_calls: Relay,
    more: Mapping[str, Any],
) -> Member:
    endpoint = f"http://{HOST}:{to_calls.port}"
    brokers = ",".join(f"{HOST}:{relay.port}" for relay in to_brokers.relays)
    targets = more.get("targets", {"default": {"region": "us-east-1"}})
    settings = {
        **SETTINGS,
        **more,
        "kafka": {**SETTINGS["kafka"], "bootstrap_servers": brokers},
        "targets": {name: {**target, "endpoint": endpoint} for name, target in targets.items()},
        "admin": {"port": admin},
    }
    file = folder / f"gateway-{number}.yaml"
    file.write_text(json.dumps(settings, indent=2))  # JSON is YAML
    variables = environment(
        AWS_ACCESS_KEY_ID=EXAMPLE_KEY.access_key, AWS_SECRET_ACCESS_KEY=EXAMPLE_KEY.secret_key
    )
    return Member(number, file, folder, variables, admin)


async def leave(members: Sequence[Member]) -> list[int | None]:
    """Exit codes after SIGTERM to all; None for one that had to be killed."""
    return list(await asyncio.gather(*(member.leave(GRACE_SECONDS) for member in members)))
