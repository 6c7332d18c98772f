"""One aiobotocore client a target: opened at its first call, closed at the end.

    target ─► TargetAccess ─► session of its credential source ─► client of its region
                              (profile, role, external id)        and endpoint

All sessions share one loader, so that two hundred roles cost 0.3 MB each instead of 9. Service
models and endpoint rules (0.2 s) are read once; a client takes 5 ms after that. Both happen beside
the event loop.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore import UNSIGNED
from botocore.loaders import Loader, create_loader

from gateway import __version__
from gateway.adapters.aws_credentials import (
    LiveCredentialProvider,
    LiveCredentials,
    assumed_role,
)
from gateway.adapters.aws_examination import NO_RETRIES, NotLean, examined
from gateway.adapters.aws_transport import TRANSPORTS, Transport
from gateway.adapters.aws_wire import give_lean_methods
from gateway.adapters.shared_work import SharedWork, run_aside
from gateway.core.signals import LeanCallRefused, TargetOpened
from gateway.ports import SignalSink

if TYPE_CHECKING:
    from types_aiobotocore_codepipeline import CodePipelineClient

SERVICE = "codepipeline"
SESSION_NAME = "job-result-gateway"


@dataclass(frozen=True, slots=True)
class TargetAccess:
    """How one account and region is reached. None: whatever the environment says."""

    region: str | None = None
    role_arn: str | None = None
    external_id: str | None = field(default=None, repr=False)
    endpoint: str | None = field(default=None, repr=False)
    """A URL; it may hold a password, so it is in no repr."""
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What one client may use. Connections: at least the room's maximum, or a signed request
    would wait for a connection, without bound, while its signature ages."""

    connections: int = 100
    attempt_timeout_seconds: float = 10.0

    @property
    def connect_timeout_seconds(self) -> float:
        return self.attempt_timeout_seconds * 0.3

    @property
    def read_timeout_seconds(self) -> float:
        return self.attempt_timeout_seconds * 0.8


CallPath = Literal["lean", "botocore"]
"""How calls are made: as aws_wire.py makes them, or by botocore alone."""


REHEARSAL = TargetAccess("us-east-1")
"""Stands for all targets: nothing is sent there."""


class CredentialSource(NamedTuple):
    profile: str | None
    role_arn: str | None = None
    external_id: str | None = None


class AwsClients:
    """A client is open once a target, whoever asks; one that cannot be opened is tried again."""

    def __init__(
        self,
        accesses: Mapping[str, TargetAccess],
        signals: SignalSink,
        limits: CallLimits,
        instance: str,
        loader: Loader | None = None,
        call_path: CallPath = "lean",
        transport: Transport = "httptools",
    ) -> None:
        keep_libraries_quiet()
        self._accesses = dict(accesses)
        self._signals = signals
        self._limits = limits
        self._user_agent_extra = user_agent_extra(instance)
        self._loader = loader or create_loader()
        self._call_path = call_path
        self._http_session = TRANSPORTS[transport]
        self._user_agent: str | None = None
        self._warming = SharedWork(self._warm)
        self._openings = {target: SharedWork(partial(self._open, target)) for target in accesses}
        self._credentials: dict[CredentialSource, LiveCredentials] = {}
        self._signing: dict[str, LiveCredentials] = {}
        self._clients: dict[str, CodePipelineClient] = {}
        self._lean: set[str] = set()

    async def warm(self) -> None:
        """Read what every client needs. Worth doing before joining a group: although it happens in
        a thread, parsing holds the interpreter for up to 40 ms at a time."""
        if self._user_agent is None:
            await self._warming.wait()

    async def ready(self, target: str) -> CodePipelineClient:
        """The target's client, with credentials that are in date.

        Raises what kept it from being opened or its credentials from being had. Nothing has been
        sent to CodePipeline then, and the next call tries again.
        """
        client = self._clients.get(target) or await self._openings[target].wait()
        await self._credentials_for(target).get_frozen_credentials()
        return client

    def is_lean(self, target: str) -> bool:
        """Whether the target's client can be called the lean way."""
        return target in self._lean

    def distrust(self, target: str) -> None:
        """AWS has refused the target's credentials: look for others before the next call."""
        self._credentials_for(target).forget()

    async def close(self) -> None:
        await self._warming.close()
        for opening in self._openings.values():
            await opening.close()
        for credentials in self._credentials.values():
            await credentials.close()
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()

    async def _open(self, target: str) -> CodePipelineClient:
        await self.warm()
        access = self._accesses[target]
        provider = LiveCredentialProvider(self._credentials_of(access))
        client, not_lean = await run_aside(partial(self._build, access, provider))
        self._clients[target] = client
        self._report(target, client, not_lean)
        return client

    async def _build(
        self, access: TargetAccess, provider: LiveCredentialProvider
    ) -> tuple[CodePipelineClient, NotLean | None]:
        session = self._new_session(access.profile)
        session.register_component("credential_provider", provider)
        if self._call_path == "lean":
            session.register(f"creating-client-class.{SERVICE}", give_lean_methods)
        creation = session.create_client(
            SERVICE,
            region_name=access.region,
            endpoint_url=access.endpoint,
            config=self._client_config(),
        )
        client: CodePipelineClient = await creation.__aenter__()
        if self._call_path == "lean":
            return client, await equip(client)
        return client, NotLean("set", is_by_design=True)

    def _report(self, target: str, client: CodePipelineClient, not_lean: NotLean | None) -> None:
        """Where the target is and how it is called; and if that is not as it should be, why."""
        if not_lean is None:
            self._lean.add(target)
        endpoint = without_user(client.meta.endpoint_url)
        call_path = "lean" if not_lean is None else f"botocore ({not_lean.why})"
        self._signals.emit(TargetOpened(target, client.meta.region_name, endpoint, call_path))
        if not_lean is not None and not not_lean.is_by_design:
            self._signals.emit(LeanCallRefused(target, not_lean.why))

    def _credentials_for(self, target: str) -> LiveCredentials:
        """Found without asking for their source again: every call does."""
        known = self._signing.get(target)
        if known is None:
            known = self._signing[target] = self._credentials_of(self._accesses[target])
        return known

    def _credentials_of(self, access: TargetAccess) -> LiveCredentials:
        source = CredentialSource(access.profile, access.role_arn, access.external_id)
        known = self._credentials.get(source)
        if known is None:
            known = self._credentials[source] = self._new_credentials(source, access)
        return known

    def _new_credentials(self, source: CredentialSource, access: TargetAccess) -> LiveCredentials:
        role_arn = source.role_arn
        if role_arn is None:

            async def look_up() -> AioCredentials | None:
                # A new session each time: the files that it has read may have changed.
                return await self._new_session(source.profile).get_credentials()

            return LiveCredentials(look_up)

        own = self._credentials_of(TargetAccess(profile=source.profile))

        async def assume() -> AioCredentials | None:
            session = self._new_session(source.profile)

            def client_creator(service: str, **arguments: Any) -> object:
                region = access.region or session.get_config_variable("region")
                return session.create_client(service, region_name=region, **arguments)

            return assumed_role(client_creator, own, role_arn, source.external_id, SESSION_NAME)

        return LiveCredentials(assume, signed_with=own)

    def _new_session(self, profile: str | None) -> AioSession:
        """Clients made within (STS, SSO) get the same time-outs, and retry nothing either."""
        session = AioSession(profile=profile)
        session.register_component("data_loader", self._loader)
        session.set_default_client_config(AioConfig(**self._common_options()))
        return session

    def _client_config(self) -> AioConfig:
        return AioConfig(
            **self._common_options(),
            max_pool_connections=self._limits.connections,
            # Bodies come from the gateway's own, stricter validation; together with a user agent
            # that is built once instead of at each call this saves a fifth of a call's CPU.
            parameter_validation=False,
            user_agent=self._user_agent,
        )

    def _common_options(self) -> dict[str, Any]:
        return {
            "retries": dict(NO_RETRIES),
            "connect_timeout": self._limits.connect_timeout_seconds,
            "read_timeout": self._limits.read_timeout_seconds,
            "http_session_cls": self._http_session,
            "user_agent_extra": self._user_agent_extra,
        }

    async def _warm(self) -> None:
        self._user_agent = await run_aside(partial(read_ahead, self._loader))
        if self._call_path == "lean":
            await self._rehearse()

    async def _rehearse(self) -> None:
        """Says at the start already, before there is any work, that the lean call is not what it
        should be. Each target is examined again when it is opened."""
        somebody = LiveCredentialProvider(self._credentials_of(TargetAccess()))
        try:
            client, not_lean = await run_aside(partial(self._build, REHEARSAL, somebody))
        except Exception:  # what keeps clients from being made is told when one is needed
            return
        await client.close()
        if not_lean is not None and not not_lean.is_by_design:
            self._signals.emit(LeanCallRefused("all", not_lean.why))


async def equip(client: CodePipelineClient) -> NotLean | None:
    """Gives the client its lean way, if both ways agree; else says why not."""
    try:
        client.wire = await examined(client)
    except NotLean as not_lean:
        return not_lean
    return None


async def read_ahead(loader: Loader) -> str:
    """Fills the loader and every cache on the way to a client, by making two that are thrown
    away. Blocks for 0.2 s. Returns the user agent, without the session's suffix."""
    session = AioSession()
    session.register_component("data_loader", loader)
    config = AioConfig(signature_version=UNSIGNED)
    async with session.create_client("sts", region_name="us-east-1", config=config):
        pass
    async with session.create_client(SERVICE, region_name="us-east-1", config=config) as client:
        user_agent: str = client.meta.config.user_agent
    return user_agent.removesuffix(f" {session.user_agent_extra}")


def user_agent_extra(instance: str) -> str:
    """So that AWS's logs and the simulator's books say which process made a call."""
    return f"job-result-gateway/{__version__} md/instance#{re.sub('[^A-Za-z0-9-]', '-', instance)}"


def without_user(url: str) -> str:
    """The URL as it may be logged: `user:password@` left out."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


QUIET_LIBRARIES = ("aiobotocore", "aiokafka", "botocore", "urllib3")


def keep_libraries_quiet() -> None:
    """No DEBUG lines of these, whatever level the root logger gets: they print client tokens,
    output variables and signatures. Their warnings come without traceback for the same reason: an
    exception's message may quote what it complains about."""
    for name in QUIET_LIBRARIES:
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.INFO))
    logging.getLogger("aiobotocore.credentials").addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = record.exc_text = None
    return True
