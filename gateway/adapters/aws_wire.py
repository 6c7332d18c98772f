"""The lean way of the same call: sign, send and read, and nothing between them.

    client.put_job_success_result(jobId=…)   botocore's own way, as if nothing had happened here
    client.put_job_success_result(b"{…}")    the lean way, over the same session, with the same
                                             credentials, to the same endpoint

Two documented hooks make it: `creating-client-class` gives the four methods their second form, and
`http_session_cls` gives aiobotocore's session a way to send what is ready to be sent. Connections,
TLS, proxies and time-outs stay aiobotocore's; so do credentials, region, endpoint and exceptions.
An answer that is no success is read by botocore's own parser: it is rare, and then every detail
counts. A client may go the lean way only after gateway/adapters/aws_examination.py has compared
both: before that, `client.wire` is None.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Final, NamedTuple, NoReturn

import aiohttp
import orjson
from aiobotocore.httpsession import AIOHTTPSession
from botocore.credentials import ReadOnlyCredentials
from yarl import URL

from gateway.adapters.aws_signing import Signer, SigningScope, UnsendableError, sendable
from gateway.core.model import Operation
from gateway.ports import WallClock

METHODS: Final[Mapping[Operation, str]] = {
    Operation.JOB_SUCCESS: "put_job_success_result",
    Operation.THIRD_PARTY_JOB_SUCCESS: "put_third_party_job_success_result",
    Operation.JOB_FAILURE: "put_job_failure_result",
    Operation.THIRD_PARTY_JOB_FAILURE: "put_third_party_job_failure_result",
}
TARGETS: Final[Mapping[Operation, str]] = {
    operation: f"CodePipeline_20150709.{operation}" for operation in Operation
}
CONTENT_TYPE: Final = "application/x-amz-json-1.1"
ONE_ATTEMPT: Final[Mapping[str, object]] = {"RetryAttempts": 0, "MaxAttemptsReached": True}
"""What botocore's standard retries say where there is no second attempt."""
DATE_FORMAT: Final = "%Y%m%dT%H%M%SZ"

Headers = tuple[tuple[str, str], ...]


def arguments(body: bytes) -> dict[str, Any]:
    """The wire body as keyword arguments for botocore's way.

    `created` becomes a UTC datetime: botocore would read a bare number as local time first. It
    leaves as the same number of seconds, to the microsecond.
    """
    members: dict[str, Any] = orjson.loads(body)
    revision = members.get("currentRevision")
    if revision is not None and "created" in revision:
        revision["created"] = datetime.fromtimestamp(revision["created"], UTC)
    return members


def give_lean_methods(class_attributes: dict[str, Any], **_: object) -> None:
    """For the event `creating-client-class.codepipeline`."""
    class_attributes["wire"] = None
    for operation, name in METHODS.items():
        class_attributes[name] = _with_lean_form(operation, class_attributes[name])


def _with_lean_form(operation: Operation, stock: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(stock)
    def put(client: Any, body: bytes | None = None, /, **members: Any) -> Any:
        if body is None:
            return stock(client, **members)
        return client.wire.put(operation, body)

    return put


def invocation_id(chance: bytes) -> str:
    """A random UUID (version 4) of 16 random bytes."""
    digits = chance.hex()
    variant = "89ab"[chance[8] >> 4 & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


class Answer(NamedTuple):
    """What came back, in the form in which botocore's parsers want it."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    content: bytes

    def metadata(self) -> dict[str, Any]:
        """botocore's `ResponseMetadata` of an answer that is no error."""
        metadata: dict[str, Any] = {
            "HTTPStatusCode": self.status,
            "HTTPHeaders": self.headers,
            **ONE_ATTEMPT,
        }
        if (request_id := self.headers.get("x-amzn-requestid")) is not None:
            metadata["RequestId"] = request_id
        return metadata


class DirectSession(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore brings no types
    """aiobotocore's transport, except that it follows no redirect, and can `post` at less cost.

    A redirect followed sends a signed body, client token included, to a host that nobody has
    configured, and reads that host's page as CodePipeline's answer.
    """

    async def post(self, url: URL, lines: str, body: bytes) -> Answer:
        """Sends as `send` would send it without a proxy, raises what `send` would raise. `lines`
        are the headers, as `Wire.lines` makes them."""
        try:
            session: aiohttp.ClientSession = self._sessions.get(None)
            if session is None:
                session = await super()._get_session(None)
            response = await session.request(
                "POST", url, headers=headers_in(lines), data=body, allow_redirects=False
            )
            content = await response.read()
            raw_headers = response.raw_headers
            names = {name.decode().lower(): value.decode() for name, value in raw_headers}
            return Answer(response.status, names, content)
        except Exception as error:
            await self.fail(url, error)

    async def fail(self, url: URL, error: Exception) -> NoReturn:
        """Raises what `send` makes of such an error."""
        await self.send(_Failed(str(url), error))
        raise error

    async def _get_session(self, proxy_url: str | None) -> _Unredirected:
        return _Unredirected(await super()._get_session(proxy_url))

    def way_round(self, url: str) -> str | None:
        """What stands between us and the endpoint and is aiobotocore's to deal with, if any."""
        if self._proxy_config.proxy_url_for(url) is not None:
            return "proxy"
        return None if self._cert_file is None else "client-certificate"


class _Unredirected:
    def __init__(self, session: Any) -> None:
        self._session = session

    async def request(self, *arguments: Any, **options: Any) -> Any:
        return await self._session.request(*arguments, allow_redirects=False, **options)


class _Failed:
    """A request that failed in `post`. `send` finds the same error when it looks at the headers,
    and raises what it makes of it: so there is one translation, aiobotocore's own."""

    def __init__(self, url: str, error: Exception) -> None:
        self.url = url
        self._error = error

    @property
    def headers(self) -> NoReturn:
        raise self._error


def headers_in(lines: str) -> Headers:
    return tuple(
        (name, text) for name, _, text in (line.partition(": ") for line in lines.split("\r\n"))
    )


class Wire:
    """One client's four calls. Every request equals, byte for byte, the one that botocore would
    send at that moment with that body; every answer is returned or raised as botocore would."""

    def __init__(
        self,
        client: Any,
        url: str,
        user_agent: str,
        scope: SigningScope,
        wall: WallClock = time.time,
        chance: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._client = client
        self._session: DirectSession = client._endpoint.http_session
        self._credentials = client._request_signer._credentials
        self.url = url
        self._encoded_url = URL(url, encoded=True)
        same = f"Content-Type: {CONTENT_TYPE}\r\nUser-Agent: {sendable(user_agent)}\r\nX-Amz-Date: "
        self._before_date = {
            operation: f"X-Amz-Target: {TARGETS[operation]}\r\n{same}" for operation in Operation
        }
        self._signer = Signer(url, CONTENT_TYPE, scope)
        self._wall = wall
        self._chance = chance
        self._second, self._date = 0, time.strftime(DATE_FORMAT, time.gmtime(0))

    async def put(self, operation: Operation, body: bytes) -> dict[str, Any]:
        """The answer of a success. Raises what botocore raises for anything else."""
        credentials = await self._credentials.get_frozen_credentials()
        invocation = invocation_id(self._chance(16))
        try:
            lines = self.lines(operation, body, credentials, self._wall(), invocation)
        except UnsendableError as error:
            await self._session.fail(self._encoded_url, ValueError(str(error)))
        answer = await self._session.post(self._encoded_url, lines, body)
        if answer.status >= 300:
            await self._refuse(operation, answer)
        return {"ResponseMetadata": answer.metadata()}

    def lines(
        self,
        operation: Operation,
        body: bytes,
        credentials: ReadOnlyCredentials,
        now: float,
        invocation: str,
    ) -> str:
        """The headers as they are sent: all but Host and Accept, which any transport puts round
        them, in the order in which botocore leaves them. Raises UnsendableError."""
        date = self._date_of(now)
        signed = self._signer.lines(TARGETS[operation], body, date, credentials)
        return (
            f"{self._before_date[operation]}{date}\r\n{signed}\r\n"
            f"amz-sdk-invocation-id: {invocation}\r\namz-sdk-request: attempt=1\r\n"
            f"Content-Length: {len(body)}\r\nAccept-Encoding: identity"
        )

    def _date_of(self, now: float) -> str:
        second = int(now)
        if second != self._second:
            self._date = time.strftime(DATE_FORMAT, time.gmtime(second))
            self._second = second
        return self._date

    async def _refuse(self, operation: Operation, answer: Answer) -> NoReturn:
        """botocore's own reading of an answer that is no success."""
        client, endpoint = self._client, self._client._endpoint
        model = client.meta.service_model.operation_model(operation)
        response = {
            "status_code": answer.status,
            "headers": answer.headers,
            "body": answer.content,
            "context": {"operation_name": model.name},
        }
        protocol = model.service_model.resolved_protocol
        parser = endpoint._response_parser_factory.create_parser(protocol)
        parsed = await parser.parse(response, model.output_shape)
        await endpoint._add_modeled_error_fields(response, parsed, model, parser)
        parsed["ResponseMetadata"] |= ONE_ATTEMPT
        code = parsed.get("Error", {}).get("Code")
        raise client.exceptions.from_code(code)(parsed, model.name)
