"""`gateway run` as users run it: a process of its own, its log in a file, its admin port open."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaProducer, TopicPartition

from gateway.adapters.kafka_client import KafkaConnection
from gateway.adapters.kafka_positions import committed
from gateway.simulation.topics import Stored, read_all
from tests.conftest import Topics
from tests.waiting import wait_until

KEY = "AKIAIOSFODNN7EXAMPLE"
CALL_PATH = "GATEWAY_AWS__CALL_PATH"
"""Set it to `botocore` round a run of these tests, and they all take the reference way."""
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


class GatewayProcess:
    """Started by `start`; `terminate` and `kill` are SIGTERM and SIGKILL."""

    def __init__(self, environment: dict[str, str], log: Path, *arguments: str) -> None:
        self._environment = environment
        self._arguments = arguments
        self.log = log
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "gateway", "run", *self._arguments),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def terminate(self) -> int:
        """The exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()

    async def kill(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """Log lines whose event begins so."""
        parsed = []
        for line in self.log.read_text().splitlines():
            try:
                parsed.append(json.loads(line))
            except ValueError:
                parsed.append({"event": line})  # a traceback must not be overlooked
        return [line for line in parsed if str(line.get("event", "")).startswith(event)]

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body; (0, "") while nobody answers."""
        started = [line for line in self.lines("gateway started") if "admin" in line]
        if not started:  # workers have no admin server, their supervisor has
            return 0, ""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://{started[-1]['admin']}{path}") as answer,
            ):
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""

    async def status(self) -> dict[str, Any]:
        return dict(json.loads((await self.get("/status"))[1] or "{}"))

    async def wait_ready(self) -> None:
        async def is_ready() -> bool:
            assert self.process is not None
            assert self.process.returncode is None, self.log.read_text()[-3000:]
            return (await self.get("/readyz"))[0] == 200

        await wait_until(is_ready, 30, every_seconds=0.05)


class Stage:
    """A broker with three topics, a simulated CodePipeline, and gateways in between."""

    def __init__(self, brokers: str, topics: Topics, endpoint: str, directory: Path) -> None:
        self.brokers = brokers
        self.topics = topics
        self.group = f"group-{topics.results}"
        self.endpoint = endpoint
        self._directory = directory
        self._gateways: list[GatewayProcess] = []
        self._producer: AIOKafkaProducer | None = None

    def environment(self, **settings: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._directory),
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_CODEPIPELINE": self.endpoint,
            "GATEWAY_KAFKA__BOOTSTRAP_SERVERS": self.brokers,
            "GATEWAY_KAFKA__GROUP_ID": self.group,
            "GATEWAY_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
            "GATEWAY_KAFKA__HEARTBEAT_SECONDS": "0.5",
            "GATEWAY_KAFKA__COMMIT_INTERVAL_SECONDS": "0.2",
            "GATEWAY_INPUT__TOPICS": self.topics.results,
            "GATEWAY_OUTCOMES__TOPIC": self.topics.outcomes,
            "GATEWAY_DEAD_LETTERS__TOPIC": self.topics.dead_letters,
            "GATEWAY_RETRY__EARLY_RESULT_DELAYS_SECONDS": "0.1",
            "GATEWAY_ADMIN__PORT": "0",
            **{name: os.environ[name] for name in (CALL_PATH,) if name in os.environ},
            **settings,
        }

    def gateway(self, *arguments: str, **settings: str) -> GatewayProcess:
        log = self._directory / f"gateway-{len(self._gateways)}.log"
        gateway = GatewayProcess(self.environment(**settings), log, *arguments)
        self._gateways.append(gateway)
        return gateway

    async def started(self, *arguments: str, **settings: str) -> GatewayProcess:
        gateway = self.gateway(*arguments, **settings)
        await gateway.start()
        await gateway.wait_ready()
        return gateway

    async def send(
        self,
        value: bytes | None,
        key: bytes | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        await (await self.producer()).send_and_wait(
            self.topics.results, value, key, headers=headers or []
        )

    async def producer(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self.brokers, enable_idempotence=True, max_request_size=16 << 20
            )
            await self._producer.start()
        return self._producer

    async def read(self, topic: str) -> list[Stored]:
        """Every record of a topic, from its beginning to its present end."""
        return await read_all(self.brokers, [topic])

    async def outcomes(self) -> list[dict[str, Any]]:
        return [json.loads(record.value or b"") for record in await self.read(self.topics.outcomes)]

    async def wait_outcomes(self, count: int, timeout_seconds: float = 30) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        async def are_there() -> bool:
            found[:] = await self.outcomes()
            return len(found) >= count

        await wait_until(are_there, timeout_seconds, every_seconds=0.1)
        return found

    async def committed(self, partitions: int) -> list[int | None]:
        """The group's committed offset of each partition."""
        places = [TopicPartition(self.topics.results, number) for number in range(partitions)]
        points = (await committed(KafkaConnection(self.brokers), self.group, places)).points
        return [points[place].offset if place in points else None for place in places]

    async def close(self) -> None:
        for gateway in self._gateways:
            await gateway.kill()
        if self._producer is not None:
            await self._producer.stop()


@asynccontextmanager
async def staged(
    brokers: str, topics: Topics, endpoint: str, directory: Path
) -> AsyncIterator[Stage]:
    stage = Stage(brokers, topics, endpoint, directory)
    try:
        yield stage
    finally:
        await stage.close()
