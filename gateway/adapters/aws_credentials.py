"""What a call is signed with: looked up late, renewed ahead, looked up again when refused.

    client ─► LiveCredentials ─► SharedWork ─► aiobotocore's chain (environment, profile, SSO,
                                 (one at a     web identity, container, instance), or AssumeRole
                                  time)        signed with another LiveCredentials

aiobotocore's own credentials do the looking up and the renewing. What they lack is manners under
load: when a renewal fails, each of a hundred waiting calls would try it again, and the time-out of
one call would cancel the renewal that all are waiting for.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from aiobotocore.credentials import (
    AioAssumeRoleCredentialFetcher,
    AioCredentials,
    AioDeferredRefreshableCredentials,
    AioRefreshableCredentials,
)
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import NoCredentialsError

from gateway.adapters.shared_work import SharedWork, run_aside

ROLE_SECONDS = 3600
"""botocore renews 15 minutes ahead: with AssumeRole's minimum, 900 s, it would call STS on every
request."""
WAIT_BELOW_SECONDS = 60.0
"""With less than this left, calls wait for the renewal. Before, they go on with what they have,
even if renewing fails; botocore would fail them ten minutes early."""
CHECK_EVERY_SECONDS = 1.0
"""How old they are costs aiobotocore 17 µs to say, and every call asks twice."""


class LiveCredentials:
    """Never hands out credentials that it knows to be out of date, and never hides a failure.

    No credentials found is a failure of this attempt only: the next one looks again. Stands where
    aiobotocore expects credentials; `repr` shows none of them.
    """

    method = "gateway"

    def __init__(
        self,
        look_up: Callable[[], Coroutine[Any, Any, AioCredentials | None]],
        signed_with: LiveCredentials | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_up = look_up
        self._signed_with = signed_with
        self._source: AioCredentials | None = None
        self._frozen: ReadOnlyCredentials | None = None
        self._monotonic = monotonic
        self._next_check = monotonic()
        self._renewal = SharedWork(self._renew)

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Raises whatever aiobotocore raises when there are none to be had."""
        if self._frozen is None:
            return await self._renewal.wait()
        now = self._monotonic()
        if now < self._next_check:
            return self._frozen
        if self._has_less_than(WAIT_BELOW_SECONDS):
            return await self._renewal.wait()
        if self._has_less_than(None):
            self._renewal.start()
        else:
            self._next_check = now + CHECK_EVERY_SECONDS
        return self._frozen

    async def get_account_id(self) -> None:
        """For endpoints that name the account; CodePipeline's do not."""

    def get_deferred_property(self, name: str) -> Callable[[], Awaitable[None]]:
        """The same, in the way that endpoint rules ask."""
        return self.get_account_id

    def forget(self) -> None:
        """They were refused: look them up anew before the next call. Files may have been rotated.

        Ignored if they were looked up a moment ago, so that many refusals are one look-up.
        """
        if self._renewal.has_just_ended():
            return
        self._source = self._frozen = None
        self._renewal.forget()
        if self._signed_with is not None:
            self._signed_with.forget()

    async def close(self) -> None:
        await self._renewal.close()

    async def _renew(self) -> ReadOnlyCredentials:
        if self._signed_with is not None:
            await self._signed_with.get_frozen_credentials()
        source = self._source or await run_aside(self._look_up)
        if source is None:
            raise NoCredentialsError
        frozen: ReadOnlyCredentials = await run_aside(source.get_frozen_credentials)
        self._source, self._frozen = source, frozen
        return frozen

    def _has_less_than(self, seconds: float | None) -> bool:
        """None: less than the time at which aiobotocore likes to renew."""
        source = self._source
        return isinstance(source, AioRefreshableCredentials) and source.refresh_needed(seconds)

    def as_they_are(self) -> CredentialsAsTheyAre:
        """What these sign another credentials' renewal with: renewed before it, not within."""
        return CredentialsAsTheyAre(self)

    def current(self) -> ReadOnlyCredentials:
        """The last that were had. Raises NoCredentialsError before the first."""
        if self._frozen is None:
            raise NoCredentialsError
        return self._frozen


class CredentialsAsTheyAre:
    """A renewal runs in an event loop of its own, where no other renewal can be waited for."""

    def __init__(self, live: LiveCredentials) -> None:
        self._live = live

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return self._live.current()


class LiveCredentialProvider:
    """Answers a session's question for credentials, in place of its provider chain."""

    def __init__(self, credentials: LiveCredentials) -> None:
        self._credentials = credentials

    async def load_credentials(self) -> LiveCredentials:
        return self._credentials


def assumed_role(
    client_creator: Callable[..., object],
    signed_with: LiveCredentials,
    role_arn: str,
    external_id: str | None,
    session_name: str,
) -> AioCredentials:
    """Credentials of a role, renewed by AssumeRole through aiobotocore's own machinery."""
    arguments = {"RoleSessionName": session_name, "DurationSeconds": ROLE_SECONDS}
    if external_id is not None:
        arguments["ExternalId"] = external_id
    fetcher = AioAssumeRoleCredentialFetcher(
        client_creator=client_creator,
        source_credentials=signed_with.as_they_are(),
        role_arn=role_arn,
        extra_args=arguments,
        cache={},
    )
    return AioDeferredRefreshableCredentials(
        refresh_using=fetcher.fetch_credentials, method="assume-role"
    )
