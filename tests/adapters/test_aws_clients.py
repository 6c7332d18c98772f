"""How targets are reached: regions, endpoints, credentials, and what happens when they fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.adapters.attempt_timeouts import AttemptTimeouts
from gateway.adapters.aws_clients import CallPath, TargetAccess, without_user
from gateway.core.model import Failure, Verdict
from gateway.core.retry import verdict
from gateway.core.signals import TargetOpened
from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.service import EXAMPLE_KEY, Rules
from gateway.simulation.sigv4 import AccessKey
from tests.adapters.aws_world import (
    ACCESS_KEY,
    REGION,
    SECRET,
    SecurityTokenService,
    World,
    answer,
    calling,
    job_result,
    serving,
)
from tests.waiting import wait_until

ROLE = "arn:aws:iam::210987654321:role/deliver-results"
ROLE_KEY = AccessKey(
    "ASIAROLEROLEROLEROLE", "role-secret-canary", "210987654321", "role-token-canary"
)


@pytest.fixture(autouse=True)
def files(aws_environment: Path, call_path: CallPath) -> Path:
    """Each test runs on both call paths."""
    return aws_environment


def opened(region: str, endpoint: str) -> TargetOpened:
    """What is told of a target, by the path that the test runs on."""
    path = {"lean": "lean", "botocore": "botocore (set)"}[World.call_path]
    return TargetOpened("t", region, endpoint, path)


@pytest.fixture
async def simulator() -> AsyncIterator[CodePipelineSimulator]:
    async with CodePipelineSimulator(
        Rules(takes_any_id=True, keys=(EXAMPLE_KEY, ROLE_KEY))
    ) as simulator:
        yield simulator


@pytest.fixture
async def sts(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SecurityTokenService]:
    service = SecurityTokenService()
    async with service.serving() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", endpoint)
        yield service


async def put_until_accepted(world: World) -> None:
    """Trouble is remembered for a second: attempts in between share it."""

    async def is_accepted() -> bool:
        return await world.put() is None

    condition: Callable[[], bool | Awaitable[bool]] = is_accepted
    await wait_until(condition, every_seconds=0.05)


# --- where ---------------------------------------------------------------------------------------


async def test_the_effective_endpoint_and_region_are_told(
    simulator: CodePipelineSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CODEPIPELINE", simulator.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-southeast-2")
    async with calling(TargetAccess()) as world:
        assert await world.put() is None
    assert world.signals.heard == [opened("ap-southeast-2", simulator.endpoint)]
    [entry] = simulator.books
    assert entry.caller is not None
    assert entry.caller.region == "ap-southeast-2"


def test_a_password_in_an_endpoint_is_not_told() -> None:
    assert without_user("https://me:secret@host:8443/path") == "https://host:8443/path"
    assert without_user("https://host/") == "https://host/"
    assert "secret" not in repr(TargetAccess(endpoint="https://me:secret@host"))


async def test_no_region_is_a_failure_that_ends_when_there_is_one(
    simulator: CodePipelineSimulator, files: Path
) -> None:
    async with calling(TargetAccess(endpoint=simulator.endpoint), opens=False) as world:
        failure = await world.put()
        assert failure == Failure("NoRegionError", foreign_operation="client")
        assert verdict(failure) is Verdict.ACCOUNT_FAULT
        (files / "config").write_text("[default]\nregion = eu-north-1\n")
        await put_until_accepted(world)
    assert world.signals.heard == [opened("eu-north-1", simulator.endpoint)]


@pytest.mark.parametrize(
    ("access", "code"),
    [
        (TargetAccess(REGION, endpoint="not a url"), "ValueError"),
        (TargetAccess("not a region!"), "InvalidRegionError"),
        (TargetAccess(REGION, profile="absent"), "ProfileNotFound"),
        (TargetAccess(REGION, profile="absent", role_arn=ROLE), "ProfileNotFound"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
async def test_a_target_that_cannot_be_opened_is_the_accounts_fault(
    access: TargetAccess, code: str
) -> None:
    async with calling(access, opens=False) as world:
        failure = await world.put()
    assert failure is not None
    assert (failure.code, failure.is_unknown) == (code, False)
    assert verdict(failure) is Verdict.ACCOUNT_FAULT


async def test_a_client_says_whose_it_is(simulator: CodePipelineSimulator) -> None:
    agents: list[str] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        agents.extend(x for x in head.decode().split("\r\n") if x.lower().startswith("user-agent"))

    async with serving(note) as endpoint, calling(TargetAccess(REGION, endpoint=endpoint)) as world:
        await world.put()
    [agent] = agents
    assert " job-result-gateway/" in agent
    assert agent.endswith(" md/instance#test-1")
    assert agent.count("aiobotocore/") == agent.count(" botocore/") == 1


async def test_a_redirect_is_not_followed_with_a_signed_body() -> None:
    reached: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.readuntil(b"\r\n"))

    async with (
        serving(elsewhere) as other,
        serving(answer(307, b"", f"Location: {other}")) as here,
        calling(TargetAccess(REGION, endpoint=here)) as world,
    ):
        assert await world.put() == Failure("307", 307)
    assert reached == []


async def test_no_library_talks_at_debug_whatever_the_root_logger_says() -> None:
    World(TargetAccess(REGION))
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    try:
        for name in ("botocore.endpoint", "botocore.auth", "aiobotocore.client", "aiokafka.conn"):
            assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)
    finally:
        root.setLevel(level)


# --- who: found credentials ----------------------------------------------------------------------


async def test_a_profile_is_preferred_to_the_environment(
    simulator: CodePipelineSimulator, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASOMEBODYELSE")
    _write_profile(files, "work", SECRET)
    access = TargetAccess(REGION, endpoint=simulator.endpoint, profile="work")
    async with calling(access) as world:
        assert await world.put() is None


async def test_no_credentials_are_a_failure_that_ends_when_there_are_some(
    simulator: CodePipelineSimulator, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    access = TargetAccess(REGION, endpoint=simulator.endpoint)
    async with calling(access, opens=False) as world:
        failure = await world.put()
        assert failure == Failure("NoCredentialsError", foreign_operation="client")
        assert verdict(failure) is Verdict.ACCOUNT_FAULT
        _write_profile(files, "default", SECRET)
        await put_until_accepted(world)


async def test_refused_credentials_are_looked_up_anew(
    simulator: CodePipelineSimulator, files: Path
) -> None:
    (files / "credentials").write_text(
        "[rotated]\naws_access_key_id = AKIAOLD\naws_secret_access_key = old\n"
    )
    access = TargetAccess(REGION, endpoint=simulator.endpoint, profile="rotated")
    async with calling(access) as world:
        failure = await world.put()
        assert failure is not None
        assert failure.code == "UnrecognizedClientException"
        _write_profile(files, "rotated", SECRET)
        await put_until_accepted(world)


async def test_a_credential_process_that_fails_is_the_accounts_fault(files: Path) -> None:
    (files / "config").write_text("[profile p]\ncredential_process = false canary-argument\n")
    async with calling(TargetAccess(REGION, profile="p"), opens=False) as world:
        failure = await world.put()
    assert failure == Failure("CredentialRetrievalError", foreign_operation="client")


def _write_profile(files: Path, name: str, secret: str) -> None:
    (files / "credentials").write_text(
        f"[{name}]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {secret}\n"
    )


# --- who: an assumed role ------------------------------------------------------------------------


def _role(simulator: CodePipelineSimulator) -> TargetAccess:
    return TargetAccess(REGION, ROLE, "external-7", simulator.endpoint)


async def test_a_role_is_assumed_once_for_all_calls_and_for_an_hour(
    simulator: CodePipelineSimulator, sts: SecurityTokenService
) -> None:
    sts.latency_seconds = 0.05
    async with calling(_role(simulator), opens=False) as world:
        await asyncio.gather(*(world.put() for _ in range(50)))
    assert {entry.caller and entry.caller.account for entry in simulator.books} == {"210987654321"}
    [asked] = sts.asked
    assert asked["Action"] == "AssumeRole"
    assert asked["RoleArn"] == ROLE
    assert asked["ExternalId"] == "external-7"
    assert asked["DurationSeconds"] == "3600"
    assert asked["RoleSessionName"] == "job-result-gateway"
    assert f"/{REGION}/sts/" in asked["authorization"]


REFUSALS = [
    (403, "AccessDenied", Verdict.ACCOUNT_FAULT, False),
    (400, "ValidationError", Verdict.ACCOUNT_FAULT, False),
    (403, "ExpiredToken", Verdict.ACCOUNT_FAULT, False),
    (403, "InvalidClientTokenId", Verdict.ACCOUNT_FAULT, False),
    (400, "Throttling", Verdict.PRESSURE, True),
    (503, "ServiceUnavailable", Verdict.PRESSURE, False),
    (500, "InternalFailure", Verdict.PRESSURE, False),
]


@pytest.mark.parametrize(("status", "code", "meaning", "is_throttle"), REFUSALS)
async def test_a_role_that_cannot_be_assumed_says_why_without_a_stampede(
    simulator: CodePipelineSimulator,
    sts: SecurityTokenService,
    status: int,
    code: str,
    meaning: Verdict,
    is_throttle: bool,
) -> None:
    sts.refusal = (status, code)
    async with calling(_role(simulator), opens=False) as world:
        failures = await asyncio.gather(*(world.put() for _ in range(50)))
    expected = Failure(code, status, foreign_operation="AssumeRole", is_throttle=is_throttle)
    assert set(failures) == {expected}
    assert verdict(expected) is meaning
    assert len(simulator.books) == 0
    assert len(sts.asked) == 1, "one call to STS for all, and no retry behind our back"


async def test_attempts_in_quick_succession_share_one_refusal(
    simulator: CodePipelineSimulator, sts: SecurityTokenService
) -> None:
    sts.refusal = (403, "AccessDenied")
    async with calling(_role(simulator), opens=False) as world:
        for _ in range(50):
            assert await world.put() is not None
    assert len(sts.asked) < 10


async def test_a_role_recovers_by_itself(
    simulator: CodePipelineSimulator, sts: SecurityTokenService
) -> None:
    sts.refusal = (403, "AccessDenied")
    async with calling(_role(simulator), opens=False) as world:
        assert await world.put() is not None
        sts.refusal = None
        await put_until_accepted(world)


async def test_a_bad_role_is_the_accounts_fault(sts: SecurityTokenService) -> None:
    async with calling(TargetAccess(REGION, "arn:bad"), opens=False) as world:
        failure = await world.put()
    assert failure == Failure("ParamValidationError", foreign_operation="client")
    assert sts.asked == []


async def test_an_sts_that_cannot_be_reached_is_pressure(
    simulator: CodePipelineSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    async with calling(_role(simulator), opens=False) as world:
        failure = await world.put()
    assert failure == Failure("EndpointConnectionError", foreign_operation="client")
    assert verdict(failure) is Verdict.PRESSURE


async def test_a_slow_sts_outlives_the_attempts_that_wait_for_it(
    simulator: CodePipelineSimulator, sts: SecurityTokenService
) -> None:
    sts.latency_seconds = 3.0
    async with calling(_role(simulator), opens=False) as world:
        world.calls._timeouts = AttemptTimeouts(0.2)
        failure = await world.put()
        assert failure == Failure("AttemptTimeout", foreign_operation="client")
        world.calls._timeouts = AttemptTimeouts(10.0)
        await put_until_accepted(world)
    assert len(sts.asked) == 1


@pytest.mark.parametrize("lifetime_seconds", [30.0, 300.0, 700.0])
async def test_credentials_about_to_expire_are_renewed_without_a_stampede(
    simulator: CodePipelineSimulator, sts: SecurityTokenService, lifetime_seconds: float
) -> None:
    sts.lifetime_seconds = lifetime_seconds
    async with calling(_role(simulator)) as world:
        first = len(sts.asked)
        async with asyncio.timeout(10):
            while len(sts.asked) == first:
                await asyncio.gather(*(world.put() for _ in range(20)))
        calls = len(simulator.books)
    assert calls >= 20
    assert len(sts.asked) < first + 5


@pytest.mark.parametrize("lifetime_seconds", [300.0, 700.0])
async def test_a_failing_renewal_ahead_of_time_fails_no_call(
    simulator: CodePipelineSimulator, sts: SecurityTokenService, lifetime_seconds: float
) -> None:
    sts.lifetime_seconds = lifetime_seconds
    async with calling(_role(simulator)) as world:
        sts.refusal = (500, "InternalFailure")
        async with asyncio.timeout(10):
            while len(sts.asked) == 1:
                await world.put(job_result())
        for _ in range(5):
            assert await world.put() == Failure("InvalidJobStateException", 400)


async def test_a_failing_renewal_at_the_last_moment_says_why(
    simulator: CodePipelineSimulator, sts: SecurityTokenService
) -> None:
    sts.lifetime_seconds = 30.0
    async with calling(_role(simulator)) as world:
        sts.refusal = (403, "AccessDenied")

        async def why() -> bool:
            failure = await world.put()
            return failure == Failure("AccessDenied", 403, foreign_operation="AssumeRole")

        condition: Callable[[], bool | Awaitable[bool]] = why
        await wait_until(condition)


async def test_no_secret_of_a_role_is_logged(
    simulator: CodePipelineSimulator, sts: SecurityTokenService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sts.lifetime_seconds = 700.0
    async with calling(_role(simulator)) as world:
        sts.refusal = (400, "canary")
        async with asyncio.timeout(10):
            while "Refreshing temporary credentials failed" not in caplog.text:
                await world.put()
        text = caplog.text + repr(vars(world.clients)) + repr(world.clients._credentials)
    assert "canary" not in text
    assert SECRET not in text
    assert "Traceback" not in text
