"""Requests at random, and botocore as the oracle of what they look like on the wire."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple, TypeVar

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.credentials import ReadOnlyCredentials

from gateway.adapters.aws_examination import (
    NO_RETRIES,
    examined,
    headers_of,
    request_of_botocore,
    respelled,
)
from gateway.adapters.aws_wire import DirectSession, Wire, give_lean_methods, headers_in
from gateway.core.limits import Structure
from gateway.core.model import Operation
from gateway.core.requests import FAILURE_TYPES, REQUESTS, wire_body
from tests.adapters.aws_world import LOADER

T = TypeVar("T")

# Region and, if any, endpoint: ports that are the scheme's own and others, paths as people mistype
# them, queries, IPv6, capitals, and a host that botocore's rules would not make.
PLACES: tuple[tuple[str, str | None, dict[str, object]], ...] = (
    ("eu-west-1", None, {}),
    ("us-gov-west-1", None, {}),
    ("cn-north-1", None, {}),
    ("us-east-1", None, {"use_fips_endpoint": True}),
    ("us-east-2", None, {"use_dualstack_endpoint": True}),
    ("us-west-2", None, {"use_fips_endpoint": True, "use_dualstack_endpoint": True}),
    ("fips-us-east-1", None, {}),
    ("eu-west-1", "http://127.0.0.1:4566", {}),
    ("eu-west-1", "http://localhost:80/", {}),
    ("eu-west-1", "https://localhost:443", {}),
    ("eu-west-1", "https://localhost:80/api", {}),
    ("ap-southeast-2", "https://Gateway.Example.COM:8443/a//b/../c/./d/", {}),
    ("ap-southeast-2", "https://example.com/a%20b/%C3%BC/~x-y_z.!*'()", {}),
    ("ap-southeast-2", "https://example.com/\u00fc b", {}),
    ("eu-north-1", "https://example.com/p?x=1&b=2&a&b=1", {}),
    ("eu-north-1", "https://[2001:db8::1]:9443/", {}),
    ("eu-north-1", "https://vpce-0123456789abcdef0.codepipeline.eu-north-1.vpce.amazonaws.com", {}),
)
ALPHABET = (
    "abcXYZ019 -_.~/+=\"'\\<>&%{}[]\t\r\n\x00\x7f\u00e9\u00df\u0130\u2028\ufeff\u65e5\U0001f600"
)
EDGES = (946_684_800, 1_000_000_000, 1_700_000_000, 2_147_483_647, 2_147_483_648, 4_294_967_296)


class Oracle:
    """One client of each place. Both ways start from it, and neither sends anything."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._made: dict[int, tuple[Any, Wire]] = {}

    def close(self) -> None:
        self._runner.close()

    def client(self, place: int) -> tuple[Any, Wire]:
        if place not in self._made:
            client = self.run(new_client(*PLACES[place]))
            self._made[place] = client, self.run(examined(client))
        return self._made[place]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


async def new_client(region: str, endpoint: str | None, options: dict[str, object]) -> Any:
    session = AioSession()
    session.register_component("data_loader", LOADER)
    session.register("creating-client-class.codepipeline", give_lean_methods)
    creation = session.create_client(
        "codepipeline",
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id="unused",
        aws_secret_access_key="unused",
        config=AioConfig(
            parameter_validation=False,
            retries=dict(NO_RETRIES),
            user_agent="aiobotocore/3 (as the gateway has it: made once)",
            http_session_cls=DirectSession,
            **options,
        ),
    )
    return await creation.__aenter__()


class Sent(NamedTuple):
    """A request and all that its bytes depend on."""

    place: int
    operation: Operation
    body: bytes
    credentials: ReadOnlyCredentials
    now: float


def requests_at_random(random: Random) -> Sent:
    operation = random.choice(list(Operation))
    return Sent(
        random.randrange(len(PLACES)),
        operation,
        wire_body(_structure(random, REQUESTS[operation])),
        credentials_at_random(random),
        random.randrange(4_000_000_000_000) / 1000,
    )


def credentials_at_random(random: Random) -> ReadOnlyCredentials:
    token = random.choice((None, "", _token(random)))
    key = "".join(random.choices("ABCDEFGHIJ0123456789", k=20))
    secret = "".join(random.choices("abcXYZ019/+=\u00fc", k=random.randint(1, 60)))
    return ReadOnlyCredentials(key, secret, token, None)


def _token(random: Random) -> str:
    return "".join(random.choices("abcXYZ019/+== ", k=random.choice((1, 30, 1500))))


def _text(random: Random, most: int) -> str:
    length = random.choice((0, 1, 2, 20, min(most, 300)))
    return "".join(random.choices(ALPHABET, k=length))


def _structure(random: Random, structure: Structure) -> dict[str, object]:
    """Any members, of any length: the serialisers do not mind, and the limits are not theirs."""
    members: dict[str, object] = {}
    for member in structure.members:
        if member.is_required or random.random() < 0.6:
            rule = member.rule
            nested = isinstance(rule, Structure)
            members[member.name] = (
                _structure(random, rule) if nested else _leaf(random, member.name)
            )
    return members


def _leaf(random: Random, name: str) -> object:
    if name == "percentComplete":
        return random.choice((0, 1, 50, 99, 100))
    if name == "created":
        return created_at_random(random)
    if name == "outputVariables":
        return {_text(random, 20): _text(random, 300) for _ in range(random.randint(0, 4))}
    if name == "type":
        return random.choice(FAILURE_TYPES)
    return _text(random, 300)


def created_at_random(random: Random) -> int | float:
    """As core/timestamps.py leaves it: whole, or with at most six decimals."""
    seconds = random.choice((*EDGES, random.randrange(946_684_800, 4_102_444_800)))
    microseconds = random.choice((0, 1, 10, 500_000, 999_999, random.randrange(10**6)))
    return round(seconds + microseconds / 10**6, 6) if microseconds else seconds


@contextlib.contextmanager
def at(now: float) -> Iterator[None]:
    """The moment at which botocore signs."""
    moment = datetime.fromtimestamp(now, UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda: moment)
        yield


def differences(oracle: Oracle, sent: Sent) -> list[str]:
    """What the lean way does otherwise than botocore, for one request."""
    client, wire = oracle.client(sent.place)
    with at(sent.now):
        theirs = oracle.run(
            request_of_botocore(client, sent.operation, sent.body, sent.credentials)
        )
    wanted = headers_of(theirs)
    invocation = dict(wanted)["amz-sdk-invocation-id"]

    def ours(body: bytes) -> tuple[tuple[str, str], ...]:
        lines = wire.lines(sent.operation, body, sent.credentials, sent.now, invocation)
        return headers_in(lines)

    as_sent = dict(ours(sent.body))
    return [
        *(["url"] if (theirs.method, theirs.url) != ("POST", wire.url) else []),
        *(["body"] if respelled(sent.body) != theirs.body else []),
        *(["headers"] if ours(theirs.body) != wanted else []),
        *(["signature"] if as_sent["Authorization"] != signature(theirs, sent) else []),
    ]


def signature(theirs: AWSPreparedRequest, sent: Sent) -> str:
    """botocore's signature for the body as the gateway sends it."""
    before_signing = ("X-Amz-Target", "Content-Type", "User-Agent")
    headers = {name: theirs.headers[name].decode() for name in before_signing}
    request = AWSRequest("POST", theirs.url, headers, sent.body)
    _, region, service, _ = theirs.headers["Authorization"].decode().split(",")[0].split("/")[1:]
    with at(sent.now):
        SigV4Auth(sent.credentials, service, region).add_auth(request)
    return str(request.headers["Authorization"])
