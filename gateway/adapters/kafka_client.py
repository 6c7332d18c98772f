"""How every client of ours reaches the brokers: one value, and the questions asked of all topics.

aiokafka's metadata requests always allow auto-creation, so a topic is looked up in the list of all
topics (`topics_present`) before its name is given to any client. `start()` and `stop()` of its
clients may wait for ever (aiokafka#764, #773): `started` and `stopped` bound both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, Protocol

from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

TROUBLE = (KafkaError, OSError, TimeoutError)
"""What aiokafka raises when brokers cannot be reached or do not answer."""


@dataclass(frozen=True)
class KafkaConnection:
    """How to reach and convince the brokers. Holds secrets: they are kept out of its `repr`."""

    bootstrap_servers: str
    client_id: str = "job-result-gateway"
    security_protocol: str = "PLAINTEXT"
    ssl_context: SSLContext | None = field(default=None, repr=False)
    sasl_mechanism: str = "PLAIN"
    sasl_plain_username: str | None = field(default=None, repr=False)
    sasl_plain_password: str | None = field(default=None, repr=False)
    sasl_oauth_token_provider: AbstractTokenProvider | None = field(default=None, repr=False)
    request_timeout_seconds: float = 10.0

    def options(self) -> dict[str, Any]:
        """Keyword arguments that AIOKafkaConsumer, AIOKafkaProducer and the admin client share."""
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_plain_username,
            "sasl_plain_password": self.sasl_plain_password,
            "sasl_oauth_token_provider": self.sasl_oauth_token_provider,
            "request_timeout_ms": round(self.request_timeout_seconds * 1000),
        }


class Startable(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


async def started(client: Startable, timeout_seconds: float) -> None:
    """Started when it returns. Raises one of TROUBLE within the time-out, the client stopped."""
    try:
        async with asyncio.timeout(timeout_seconds):
            await client.start()
    except BaseException:
        await stopped(client, timeout_seconds)
        raise


async def stopped(client: Startable, timeout_seconds: float) -> None:
    """Returns within the time-out, the client stopped as far as it could be. Raises nothing."""
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait({stopping}, timeout=timeout_seconds)
    if not stopping.done():
        stopping.cancel()
        await asyncio.wait({stopping}, timeout=1.0)
    if stopping.done() and not stopping.cancelled():
        stopping.exception()  # asked for, so that it is not reported as never retrieved


@asynccontextmanager
async def admin_client(connection: KafkaConnection) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client, closed at the end. Raises one of TROUBLE."""
    client = AIOKafkaAdminClient(**connection.options())
    timeout_seconds = 2 * connection.request_timeout_seconds
    try:
        async with asyncio.timeout(timeout_seconds):
            await client.start()
        yield client
    finally:
        closing = asyncio.ensure_future(client.close())
        await asyncio.wait({closing}, timeout=timeout_seconds)
        closing.cancel()


async def topics_present(connection: KafkaConnection, names: Iterable[str]) -> set[str]:
    """Those of `names` that exist, none of them created by the question. Raises one of TROUBLE."""
    async with admin_client(connection) as client:
        async with asyncio.timeout(2 * connection.request_timeout_seconds):
            return set(names) & set(await client.list_topics())
