"""May the lean way be gone? One sample of each operation goes both ways, and nothing is sent.

    sample ─► the gateway's serialiser ─► wire body ──────────────► the same JSON? ─┐
         └──► botocore: serialise, resolve, sign ─► its request ─► caught ──────────┤
                     its body, its moment, its id └► Wire.headers ► the same bytes? ┘

Any difference, and any surprise, means the reference way: a release of botocore that changes what
it sends costs CPU, never a result. The samples are signed with credentials of their own.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from itertools import cycle
from typing import Any, Final

import orjson
from aiobotocore.credentials import AioCredentials
from botocore.awsrequest import AWSPreparedRequest
from botocore.credentials import ReadOnlyCredentials

from gateway.adapters.aws_signing import SigningScope
from gateway.adapters.aws_wire import (
    DATE_FORMAT,
    METHODS,
    DirectSession,
    Headers,
    Wire,
    arguments,
    headers_in,
)
from gateway.core.model import Operation
from gateway.core.requests import wire_body

_REVISION: Final = {
    "revision": "4f2a9c1",
    "changeIdentifier": "\u00fc\u2028\U0001f600",
    "created": 1700000000.123457,
    "revisionSummary": 'a "quoted" \\ summary\r\n\t</html>',
}
_EXECUTION: Final = {"summary": "\x7f\u00e9", "externalExecutionId": "x", "percentComplete": 100}
_FAILURE: Final = {"type": "JobFailed", "message": "\u65e5\u672c", "externalExecutionId": "7"}
_JOB: Final = {"jobId": "11111111-2222-3333-4444-555555555555"}
_THIRD_PARTY_JOB: Final = {**_JOB, "clientToken": "a sample"}
SAMPLES: Final[Mapping[Operation, Mapping[str, object]]] = {
    Operation.JOB_SUCCESS: {
        **_JOB,
        "currentRevision": _REVISION,
        "executionDetails": _EXECUTION,
        "outputVariables": {"a": "", "b-@_9": "\u00df"},
    },
    Operation.THIRD_PARTY_JOB_SUCCESS: {
        **_THIRD_PARTY_JOB,
        "currentRevision": {**_REVISION, "created": 1700000000},
        "continuationToken": "c",
        "executionDetails": _EXECUTION,
    },
    Operation.JOB_FAILURE: {**_JOB, "failureDetails": _FAILURE},
    Operation.THIRD_PARTY_JOB_FAILURE: {**_THIRD_PARTY_JOB, "failureDetails": _FAILURE},
}
CREDENTIALS: Final = (
    ReadOnlyCredentials("AKIDEXAMPLE", "sample/secret+key", "sample  token/+==", None),
    ReadOnlyCredentials("AKIDEXAMPLE", "sample/secret+key", None, None),
)
NO_RETRIES: Final = {"mode": "standard", "total_max_attempts": 1}
_SIGNED: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/aws4_request, "
)


class NotLean(Exception):
    """`why` is one word of a short list: it becomes a label. `is_by_design`: the lean call is not
    made for such a client, and nothing is wrong."""

    def __init__(self, why: str, *, is_by_design: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.is_by_design = is_by_design


async def examined(client: Any) -> Wire:
    """The wire of a client that nobody calls yet. Raises NotLean, and nothing else."""
    try:
        return await _examined(client)
    except NotLean:
        raise
    except Exception as error:  # a botocore that is not the one this was written for
        raise NotLean("surprise") from error


async def _examined(client: Any) -> Wire:
    session = client._endpoint.http_session
    if not isinstance(session, DirectSession):
        raise NotLean("transport", is_by_design=True)
    if client.meta.config.retries != NO_RETRIES:
        raise NotLean("retries", is_by_design=True)
    wire: Wire | None = None
    for operation, credentials in zip(SAMPLES, cycle(CREDENTIALS), strict=False):
        body = wire_body(SAMPLES[operation])
        theirs = await request_of_botocore(client, operation, body, credentials)
        if (way_round := session.way_round(theirs.url)) is not None:
            raise NotLean(way_round, is_by_design=True)
        wire = wire or Wire(client, theirs.url, _text(theirs.headers["User-Agent"]), _scope(theirs))
        if (difference := _difference(wire, operation, body, theirs, credentials)) is not None:
            raise NotLean(difference)
    assert wire is not None
    return wire


def _scope(theirs: AWSPreparedRequest) -> SigningScope:
    """Region and service as botocore's rules have them: from its own signature."""
    signed = _SIGNED.match(_text(theirs.headers.get("Authorization", "")))
    if signed is None:
        raise NotLean("auth-type", is_by_design=True)
    return SigningScope(*signed.groups())


def _difference(
    wire: Wire,
    operation: Operation,
    body: bytes,
    theirs: AWSPreparedRequest,
    credentials: ReadOnlyCredentials,
) -> str | None:
    if respelled(body) != theirs.body:
        return "body"
    if (theirs.method, theirs.url) != ("POST", wire.url):
        return "url"
    wanted = headers_of(theirs)
    invocation = dict(wanted)["amz-sdk-invocation-id"]
    lines = wire.lines(operation, theirs.body, credentials, moment_of(theirs), invocation)
    ours = headers_in(lines)
    if ours == wanted:
        return None
    return "signature" if _unsigned(ours) == _unsigned(wanted) else "headers"


def _unsigned(headers: Headers) -> list[tuple[str, str]]:
    return [(name, text) for name, text in headers if name != "Authorization"]


def headers_of(theirs: AWSPreparedRequest) -> Headers:
    """Headers as they are handed to aiohttp."""
    headers = ((name, _text(value)) for name, value in theirs.headers.items())
    return (*headers, ("Accept-Encoding", "identity"))


def moment_of(theirs: AWSPreparedRequest) -> float:
    date = datetime.strptime(_text(theirs.headers["X-Amz-Date"]), DATE_FORMAT)
    return date.replace(tzinfo=UTC).timestamp()


def respelled(body: bytes) -> bytes:
    """The same JSON as botocore spells it: with spaces, and ASCII only."""
    return json.dumps(orjson.loads(body)).encode()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class _Caught(Exception):
    def __init__(self, request: AWSPreparedRequest) -> None:
        super().__init__()
        self.request = request


async def request_of_botocore(
    client: Any, operation: Operation, body: bytes, credentials: ReadOnlyCredentials
) -> AWSPreparedRequest:
    """What botocore would send now with these credentials. It is not sent."""
    try:
        async with _catching(client, credentials):
            await getattr(client, METHODS[operation])(**arguments(body))
    except _Caught as caught:
        return caught.request
    raise NotLean("surprise")


@contextlib.asynccontextmanager
async def _catching(client: Any, credentials: ReadOnlyCredentials) -> AsyncIterator[None]:
    """Signs with `credentials` in place of the client's own, and stops before sending."""

    def sign_with(request: Any, **_: object) -> None:
        own = AioCredentials(credentials.access_key, credentials.secret_key, credentials.token)
        request.context.setdefault("signing", {})["request_credentials"] = own

    def catch(request: AWSPreparedRequest, **_: object) -> None:
        raise _Caught(request)

    events = client.meta.events
    events.register_first("before-sign.codepipeline", sign_with)
    events.register_first("before-send.codepipeline", catch)
    try:
        yield
    finally:
        events.unregister("before-sign.codepipeline", sign_with)
        events.unregister("before-send.codepipeline", catch)
