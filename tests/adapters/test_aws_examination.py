"""Whatever is wrong with the lean call, results are delivered the reference way, and it is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore import UNSIGNED

from gateway.adapters import aws_examination, aws_wire
from gateway.adapters.aws_clients import TargetAccess
from gateway.adapters.aws_examination import NO_RETRIES, SAMPLES, NotLean, examined
from gateway.adapters.aws_signing import Signer
from gateway.adapters.aws_transport import HttptoolsSession
from gateway.adapters.aws_wire import DirectSession, Wire, give_lean_methods
from gateway.core.limits import Structure
from gateway.core.model import Failure, Operation, Verdict
from gateway.core.requests import REQUESTS, examine, wire_body
from gateway.core.retry import verdict
from gateway.core.signals import LeanCallRefused, TargetOpened
from gateway.core.violations import Examination
from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.service import Rules
from tests.adapters.aws_world import (
    LOADER,
    REGION,
    SECRET,
    World,
    answer,
    calling,
    job_result,
    serving,
)

pytestmark = pytest.mark.usefixtures("aws_environment")
ANY_JOB = Rules(takes_any_id=True)
Patch = pytest.MonkeyPatch


def _break_signature(patch: Patch) -> None:
    right = Signer.lines

    def wrong(self: Signer, *arguments: Any) -> str:
        signed = right(self, *arguments)
        return signed[:-1] + ("0" if signed[-1] != "0" else "1")

    patch.setattr(Signer, "lines", wrong)


def _break_body(patch: Patch) -> None:
    patch.setattr(aws_examination, "wire_body", lambda request: wire_body(request) + b" {}")


def _lose_a_member(patch: Patch) -> None:
    patch.setattr(
        aws_examination,
        "wire_body",
        lambda request: wire_body({name: request[name] for name in list(request)[:-1]}),
    )
    patch.setattr(aws_examination, "arguments", lambda body: dict(SAMPLES[Operation.JOB_SUCCESS]))


def _break_header(patch: Patch) -> None:
    patch.setattr(aws_wire, "CONTENT_TYPE", "application/json")


def _add_header(patch: Patch) -> None:
    """What botocore adds inside AWS Lambda."""
    patch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    patch.setenv("_X_AMZN_TRACE_ID", "Root=1")


def _break_everything(patch: Patch) -> None:
    def nothing(*_: object) -> None:
        raise AttributeError("canary")

    patch.setattr(Wire, "lines", nothing)


def _rename_in_aiobotocore(patch: Patch) -> None:
    """What begins with an underscore may have another name at any time."""
    patch.setattr(HttptoolsSession, "_limits", lambda session: session._name_of_old)


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (_break_signature, "signature"),
        (_break_body, "surprise"),
        (_lose_a_member, "body"),
        (_break_header, "headers"),
        (_add_header, "headers"),
        (_break_everything, "surprise"),
        (_rename_in_aiobotocore, "surprise"),
    ],
)
async def test_a_lean_call_that_differs_is_told_at_start_and_not_used(
    break_it: Callable[[Patch], None], why: str, monkeypatch: Patch
) -> None:
    break_it(monkeypatch)
    async with (
        CodePipelineSimulator(ANY_JOB) as simulator,
        calling(TargetAccess(REGION, endpoint=simulator.endpoint), opens=False) as world,
    ):
        await world.clients.warm()
        assert world.signals.heard == [LeanCallRefused("all", why)], "before there is any work"
        assert await world.put() is None
        assert not world.clients.is_lean("t")
        assert [entry.code for entry in simulator.books] == [""]
    assert world.signals.heard[1:] == [
        TargetOpened("t", REGION, simulator.endpoint, f"botocore ({why})"),
        LeanCallRefused("t", why),
    ]


async def test_a_lean_call_that_agrees_is_used_and_nothing_is_said() -> None:
    async with CodePipelineSimulator(ANY_JOB) as simulator:
        async with calling(TargetAccess(REGION, endpoint=simulator.endpoint)) as world:
            assert await world.put() is None
        assert world.clients.is_lean("t")
        assert world.signals.heard == [TargetOpened("t", REGION, simulator.endpoint, "lean")]


async def test_the_examination_sends_nothing() -> None:
    async with (
        CodePipelineSimulator(ANY_JOB) as simulator,
        calling(TargetAccess(REGION, endpoint=simulator.endpoint)),
    ):
        assert len(simulator.books) == 0


@pytest.mark.parametrize("operation", Operation)
def test_the_samples_are_requests_of_which_no_member_is_missing(operation: Operation) -> None:
    """Save a continuation token beside output variables, which would contradict each other."""
    sample, found = SAMPLES[operation], Examination(now=4e9)
    assert examine(operation, sample, found) == sample
    assert not found.violations
    wanted = {member.name for member in REQUESTS[operation].members}
    assert wanted - sample.keys() <= {"continuationToken"}
    for member in REQUESTS[operation].members:
        if isinstance(member.rule, Structure):
            assert {nested.name for nested in member.rule.members} == sample[member.name].keys()


# --- clients for which it is not made ------------------------------------------------------------


async def _client(**options: Any) -> Any:
    session = AioSession()
    session.register_component("data_loader", LOADER)
    session.register("creating-client-class.codepipeline", give_lean_methods)
    usual = {"retries": dict(NO_RETRIES), "http_session_cls": DirectSession}
    creation = session.create_client(
        "codepipeline", region_name=REGION, config=AioConfig(**(usual | options))
    )
    return await creation.__aenter__()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"signature_version": UNSIGNED}, "auth-type"),
        ({"http_session_cls": AIOHTTPSession}, "transport"),
        ({"retries": {"mode": "standard", "total_max_attempts": 2}}, "retries"),
        ({"proxies": {"https": "http://127.0.0.1:1"}}, "proxy"),
        ({"client_cert": "/somewhere/cert.pem"}, "client-certificate"),
    ],
)
async def test_what_it_is_not_made_for_goes_the_reference_way(
    options: dict[str, object], why: str
) -> None:
    client = await _client(**options)
    with pytest.raises(NotLean) as not_lean:
        await examined(client)
    await client.close()
    assert (not_lean.value.why, not_lean.value.is_by_design) == (why, True)
    assert client.wire is None


async def test_a_proxy_of_the_environment_is_used_and_is_no_reason_for_alarm(
    monkeypatch: Patch,
) -> None:
    async with serving(answer(200)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        async with calling(TargetAccess(REGION, endpoint="http://nowhere.invalid")) as world:
            assert await world.put() is None
    [opened] = world.signals.heard
    assert opened == TargetOpened("t", REGION, "http://nowhere.invalid", "botocore (proxy)")


async def test_the_lean_methods_are_botocores_own_for_who_names_members() -> None:
    async with CodePipelineSimulator(ANY_JOB) as simulator:
        os.environ["AWS_ENDPOINT_URL_CODEPIPELINE"] = simulator.endpoint
        client = await _client()
        del os.environ["AWS_ENDPOINT_URL_CODEPIPELINE"]
        answered = await client.put_job_success_result(jobId="11111111-2222-3333-4444-555555555555")
        await client.close()
    assert answered["ResponseMetadata"]["RequestId"]


# --- found wanting later -------------------------------------------------------------------------


def _other(number: int) -> Any:
    result = job_result()
    result.job_id = f"11111111-2222-3333-4444-{number:012}"
    result.body = result.body.replace(b"555555555555", f"{number:012}".encode())
    return result


async def test_a_signature_that_only_aws_refuses_costs_one_call_and_nobody_a_result(
    monkeypatch: Patch,
) -> None:
    async with CodePipelineSimulator(ANY_JOB) as simulator:
        async with calling(TargetAccess(REGION, endpoint=simulator.endpoint)) as world:
            _break_signature(monkeypatch)
            failure = await world.put(_other(1))
            assert failure == Failure("InvalidSignatureException", 400, is_doubtful=True)
            assert verdict(failure) is Verdict.DOUBTFUL
            assert await world.put(_other(1)) is None
            assert await world.put(_other(2)) is None, "all go the reference way now"
        assert [entry.code for entry in simulator.books] == [
            "InvalidSignatureException",
            "",
            "",
        ]
    assert world.signals.heard[1:] == [LeanCallRefused("t", "InvalidSignatureException")]


async def test_a_clock_that_is_wrong_is_no_fault_of_the_lean_call() -> None:
    refusal = answer(400, b'{"__type": "InvalidSignatureException", "message": "expired"}')
    plain = Failure("InvalidSignatureException", 400)
    async with (
        serving(refusal) as endpoint,
        calling(TargetAccess(REGION, endpoint=endpoint)) as world,
    ):
        first = await world.put(_other(1))
        assert first is not None
        assert first.is_doubtful
        assert [await world.put(_other(number)) for number in (1, 1, 2, 3)] == [plain] * 4
    assert len(world.signals.heard) == 1


async def test_no_secret_is_in_what_the_lean_call_is_made_of() -> None:
    async with (
        CodePipelineSimulator(ANY_JOB) as simulator,
        calling(TargetAccess(REGION, endpoint=simulator.endpoint)) as world,
    ):
        await world.put(job_result(Operation.THIRD_PARTY_JOB_FAILURE))
        wire = (await world.clients.ready("t")).wire  # type: ignore[attr-defined]
        signer = wire._signer
        seen = [wire, signer, signer._seal, vars(wire), vars(signer), *world.signals.heard]
    text = repr(seen)
    assert SECRET not in text
    assert "canary" not in text
    assert "Signature=" not in text


def test_the_world_runs_lean_unless_told_otherwise() -> None:
    assert World.call_path == "lean"
