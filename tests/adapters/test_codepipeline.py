"""Every answer, and every way to get none, becomes None or a Failure with the right verdict."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson
import pytest
from aiohttp import ClientConnectorCertificateError, ClientConnectorDNSError, ClientOSError
from aiohttp.client_reqrep import ConnectionKey
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError, SSLError
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.aws_clients import TargetAccess
from gateway.adapters.aws_wire import arguments
from gateway.adapters.codepipeline import WITHHELD, failure_of_call, failure_on_the_way
from gateway.core.model import Failure, JobResult, Operation, Verdict
from gateway.core.retry import verdict
from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.faults import Fault, FaultKind
from gateway.simulation.service import Rules
from tests.adapters.aws_world import (
    JOB_ID,
    REGION,
    SECRET,
    Answering,
    answer,
    calling,
    job_result,
    read_request,
    serving,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("aws_environment", "call_path")
ANY_JOB = Rules(takes_any_id=True)


# --- against the simulator -----------------------------------------------------------------------


@pytest.mark.parametrize("operation", Operation)
async def test_each_operation_reaches_codepipeline_as_it_was_written(operation: Operation) -> None:
    async with CodePipelineSimulator(ANY_JOB) as simulator:
        async with calling(TargetAccess(REGION, endpoint=simulator.endpoint)) as world:
            await world.put(job_result(operation))
        [entry] = simulator.books
    sent = orjson.loads(entry.request or b"")
    wanted = orjson.loads(job_result(operation).body)
    wanted.pop("clientToken", None)
    assert (entry.operation, entry.instance, sent) == (operation, "test-1", wanted)


async def test_an_accepted_result_is_no_failure_and_a_second_one_says_ended() -> None:
    async with (
        CodePipelineSimulator(ANY_JOB) as simulator,
        calling(TargetAccess(REGION, endpoint=simulator.endpoint)) as world,
    ):
        assert await world.put() is None
        assert await world.put() == Failure("InvalidJobStateException", 400)


async def test_a_job_that_codepipeline_does_not_know_says_so() -> None:
    async with (
        CodePipelineSimulator() as simulator,
        calling(TargetAccess(REGION, endpoint=simulator.endpoint)) as world,
    ):
        assert await world.put() == Failure("JobNotFoundException", 400)


async def test_a_hundred_calls_at_once_are_one_client() -> None:
    async with CodePipelineSimulator(ANY_JOB) as simulator:
        async with calling(TargetAccess(REGION, endpoint=simulator.endpoint)) as world:
            failures = await asyncio.gather(*(world.put() for _ in range(100)))
        assert sum(failure is None for failure in failures) == 1
        assert len(simulator.books) == 100
    assert [signal.event for signal in world.signals.heard] == ["target opened"]


FAULTS = [
    (Fault(FaultKind.CUT_BEFORE), Verdict.PRESSURE, True),
    (Fault(FaultKind.CUT_AFTER), Verdict.PRESSURE, True),
    (Fault(FaultKind.TIMEOUT_BEFORE), Verdict.PRESSURE, True),
    (Fault(FaultKind.TIMEOUT_AFTER), Verdict.PRESSURE, True),
    (Fault(FaultKind.SERVER_ERROR), Verdict.PRESSURE, True),
    (Fault(FaultKind.SERVER_ERROR, status=502), Verdict.PRESSURE, True),
    (Fault(FaultKind.HTML_OK), Verdict.PRESSURE, True),
    (Fault(FaultKind.NO_REQUEST_ID), Verdict.PRESSURE, True),
    (Fault(FaultKind.REDIRECT), Verdict.ACCOUNT_FAULT, False),
    (Fault(FaultKind.REDIRECT, status=307), Verdict.ACCOUNT_FAULT, False),
    (Fault(FaultKind.XML_THROTTLE), Verdict.PRESSURE, False),
    (Fault(FaultKind.THROTTLE), Verdict.PRESSURE, False),
    (Fault(FaultKind.EXPIRED), Verdict.ACCOUNT_FAULT, False),
    (Fault(FaultKind.ACCESS_DENIED), Verdict.ACCOUNT_FAULT, False),
    (Fault(FaultKind.NOT_AN_OBJECT), Verdict.PRESSURE, True),
    (Fault(FaultKind.NO_TYPE), Verdict.PRESSURE, True),
    (Fault(FaultKind.NO_TYPE, status=403), Verdict.ACCOUNT_FAULT, False),
    (Fault(FaultKind.NO_TYPE, status=429), Verdict.PRESSURE, False),
    (Fault(FaultKind.NULL_TYPE), Verdict.PRESSURE, False),
]


@pytest.mark.parametrize(("fault", "meaning", "is_unknown"), FAULTS, ids=lambda x: str(x)[:50])
async def test_every_fault_of_the_simulator_is_read_for_what_it_is(
    fault: Fault, meaning: Verdict, is_unknown: bool
) -> None:
    limit = 0.3 if fault.wait_seconds else 5.0
    async with CodePipelineSimulator(ANY_JOB) as simulator:
        simulator.faults.add(fault, 0.0)
        async with calling(TargetAccess(REGION, endpoint=simulator.endpoint), limit) as world:
            failure = await world.put()
        assert failure is not None
        assert (verdict(failure), failure.is_unknown) == (meaning, is_unknown)
        assert len(simulator.books) == 1, "one attempt is one call, and no redirect is followed"


@pytest.mark.parametrize("kind", [FaultKind.XML_THROTTLE, FaultKind.THROTTLE])
async def test_a_throttle_says_that_it_is_one(kind: FaultKind) -> None:
    async with CodePipelineSimulator(ANY_JOB) as simulator:
        simulator.faults.add(Fault(kind), 0.0)
        async with calling(TargetAccess(REGION, endpoint=simulator.endpoint)) as world:
            failure = await world.put()
    assert failure is not None
    assert failure.is_throttle


# --- `created` on the wire -----------------------------------------------------------------------


@pytest.mark.parametrize("created", [1_700_000_000, 1_700_000_000.5, 1_761_350_400.123457])
async def test_created_leaves_as_the_number_that_the_body_holds(created: float) -> None:
    revision = {"revision": "r", "changeIdentifier": "c", "created": created}
    async with CodePipelineSimulator(ANY_JOB) as simulator:
        async with calling(TargetAccess(REGION, endpoint=simulator.endpoint)) as world:
            assert await world.put(job_result(currentRevision=revision)) is None
        [entry] = simulator.books
    assert orjson.loads(entry.request or b"")["currentRevision"]["created"] == created


@given(st.integers(946_684_800 * 10**6, 4_102_444_800 * 10**6))
def test_created_keeps_every_microsecond(microseconds: int) -> None:
    body = orjson.dumps({"currentRevision": {"created": microseconds / 10**6}})
    created = arguments(body)["currentRevision"]["created"]
    elapsed = created - datetime(1970, 1, 1, tzinfo=UTC)
    whole = (elapsed.days * 86_400 + elapsed.seconds) * 10**6 + elapsed.microseconds
    assert whole == microseconds


# --- odd answers ---------------------------------------------------------------------------------


async def _after_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def _at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return


async def _after_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def _within_the_status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 2")
    await writer.drain()


async def _within_the_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nx-amzn-RequestId: 1\r\n\r\n{")
    await writer.drain()


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"\x16\x03\x01 SSH-2.0 what?\r\n\r\n")
    await writer.drain()


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\nx-amzn-RequestId: 1\r\n\r\n")
    while True:  # ends when the caller has left
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


UNKNOWN = [
    _at_once,
    _after_head,
    _after_body,
    _within_the_status,
    _within_the_answer,
    _garbage,
    _drip,
    answer(200, b"<html>Welcome</html>", "Content-Type: text/html", request_id=False),
    answer(200, b"{}", request_id=False),
    answer(204, request_id=False),
    answer(400, b"null"),
    answer(400, b'"x"'),
    answer(400, b'{"__type": 7}'),
    answer(400, b"\xff\xfe"),
    answer(500, b"<html>Oh no</html>"),
    answer(503),
    answer(504, b'{"message": "upstream"}'),
    answer(408),
]


@pytest.mark.parametrize("answering", UNKNOWN)
async def test_without_a_conclusive_answer_the_outcome_is_unknown(answering: Answering) -> None:
    async with serving(answering) as endpoint:
        limit = 0.3 if answering is _drip else 5.0
        async with calling(TargetAccess(REGION, endpoint=endpoint), limit) as world:
            failure = await world.put()
    assert failure is not None
    assert failure.is_unknown
    assert verdict(failure) is Verdict.PRESSURE


def error(status: int, code: str) -> Answering:
    return answer(status, orjson.dumps({"__type": code, "message": "m"}))


CONCLUSIVE = [
    (error(400, "InvalidJobStateException"), "InvalidJobStateException", Verdict.ENDED),
    (error(400, "com.amazonaws.codepipeline#JobNotFoundException"), "JobNotFoundException", None),
    (error(400, "ValidationException:http://internal/"), "ValidationException", None),
    (answer(400, b'{"__type": "JobNotFoundException"}'), "JobNotFoundException", None),
    (answer(413), "413", Verdict.EVENT_FAULT),
    (answer(429), "429", Verdict.PRESSURE),
    (answer(509), "509", Verdict.PRESSURE),
    (answer(401), "401", Verdict.ACCOUNT_FAULT),
    (answer(403, b"<html>Forbidden</html>"), "403", Verdict.ACCOUNT_FAULT),
    (answer(404), "404", Verdict.ACCOUNT_FAULT),
    (answer(501), "501", Verdict.ACCOUNT_FAULT),
    (answer(300), "300", Verdict.ACCOUNT_FAULT),
    (answer(302, b"", "Location: http://127.0.0.1:1/"), "302", Verdict.ACCOUNT_FAULT),
    (answer(308, b"", "Location: http://127.0.0.1:1/"), "308", Verdict.ACCOUNT_FAULT),
    (answer(400, b'{"__type": ""}'), "400", Verdict.PRESSURE),
    (answer(400, b"{}"), "400", Verdict.PRESSURE),
    (error(400, "x" * 5000), "400", Verdict.PRESSURE),
    (error(400, "token=canary secret"), "400", Verdict.PRESSURE),
    (error(400, "NeverSeenException"), "NeverSeenException", Verdict.PRESSURE),
    (error(403, "InvalidSignatureException"), "InvalidSignatureException", Verdict.CLOCK),
]


@pytest.mark.parametrize(("answering", "code", "meaning"), CONCLUSIVE)
async def test_an_answer_is_read_by_its_code_else_by_its_status(
    answering: Answering, code: str, meaning: Verdict | None
) -> None:
    async with (
        serving(answering) as endpoint,
        calling(TargetAccess(REGION, endpoint=endpoint)) as world,
    ):
        failure = await world.put_until_believed()
    assert failure is not None
    assert (failure.code, failure.is_unknown) == (code, False)
    assert meaning is None or verdict(failure) is meaning


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_any_2xx_with_a_request_id_is_acceptance(status: int) -> None:
    async with (
        serving(answer(status)) as endpoint,
        calling(TargetAccess(REGION, endpoint=endpoint)) as world,
    ):
        assert await world.put() is None


# --- no answer, and nothing sent -----------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_refused_connection_is_pressure_and_nothing_has_left() -> None:
    access = TargetAccess(REGION, endpoint=f"http://127.0.0.1:{_free_port()}")
    async with calling(access) as world:
        failure = await world.put()
    assert failure == Failure("EndpointConnectionError")
    assert verdict(failure) is Verdict.PRESSURE


async def test_a_name_that_cannot_be_resolved_has_sent_nothing() -> None:
    async with calling(TargetAccess(REGION, endpoint="http://nonexistent.invalid")) as world:
        failure = await world.put()
    assert failure is not None
    assert failure.code in {"UnknownHost", "EndpointConnectionError"}
    assert not failure.is_unknown


async def test_a_server_that_speaks_no_tls_has_been_sent_nothing() -> None:
    async with serving(_at_once) as endpoint:
        access = TargetAccess(REGION, endpoint=endpoint.replace("http:", "https:"))
        async with calling(access) as world:
            failure = await world.put()
    assert failure is not None
    assert verdict(failure) is Verdict.PRESSURE
    assert not failure.is_unknown


KEY = ConnectionKey("h", 443, True, True, None, None, None)


@pytest.mark.parametrize(
    ("raised", "failure", "meaning"),
    [
        (
            ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_NONAME, "no such name")),
            Failure("UnknownHost"),
            Verdict.ACCOUNT_FAULT,
        ),
        (
            ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_AGAIN, "not just now")),
            Failure("EndpointConnectionError"),
            Verdict.PRESSURE,
        ),
        (
            ClientOSError(104, "Connection reset by peer"),
            Failure("EndpointConnectionError", is_unknown=True),
            Verdict.PRESSURE,
        ),
    ],
    ids=["no such name", "resolver in trouble", "reset"],
)
def test_only_the_error_inside_tells_whether_bytes_have_left(
    raised: Exception, failure: Failure, meaning: Verdict
) -> None:
    wrapping = EndpointConnectionError(endpoint_url="https://h/", error=raised)
    assert failure_of_call(wrapping) == failure
    assert verdict(failure) is meaning


def test_a_certificate_that_is_not_trusted_is_the_endpoints_fault() -> None:
    raised = ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("self-signed"))
    failure = failure_of_call(SSLError(endpoint_url="https://h/", error=raised))
    assert failure == Failure("BadCertificate")
    assert verdict(failure) is Verdict.ACCOUNT_FAULT


def test_an_error_that_no_rule_covers_is_unexpected_and_unknown() -> None:
    failure = failure_of_call(KeyError("canary"))
    assert failure == Failure("KeyError", is_unknown=True)
    assert verdict(failure) is Verdict.UNEXPECTED


@pytest.mark.parametrize(
    "raised", [ParamValidationError(report="canary"), RuntimeError("canary"), ValueError("canary")]
)
def test_trouble_on_the_way_is_never_the_events_fault(raised: Exception) -> None:
    failure = failure_on_the_way(raised)
    assert verdict(failure) is Verdict.ACCOUNT_FAULT
    assert not failure.is_unknown
    assert "canary" not in repr(failure)


def test_an_error_without_any_content_is_still_a_failure() -> None:
    assert failure_of_call(ClientError({}, "PutJobSuccessResult")).code == "UnreadableAnswer"


async def test_cancellation_passes() -> None:
    async with CodePipelineSimulator(ANY_JOB) as simulator:
        simulator.faults.add(Fault(FaultKind.TIMEOUT_BEFORE), 0.0)
        async with calling(TargetAccess(REGION, endpoint=simulator.endpoint)) as world:
            attempt = asyncio.create_task(world.put())
            await wait_until(lambda: len(simulator.books))
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt


# --- no secret anywhere --------------------------------------------------------------------------


@pytest.fixture
def everything_logged() -> Iterator[list[str]]:
    """Every line that any logger lets through, the root at its most talkative."""
    lines: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: lines.append(logging.Formatter().format(record))  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    yield lines
    root.setLevel(level)
    root.removeHandler(listener)


def _results() -> Iterator[JobResult]:
    for operation in Operation:
        yield job_result(operation)
    yield job_result(outputVariables={"canary-variable": "canary-value"})


@pytest.mark.parametrize(
    "said", ["canary-client-token", "It.was.canary-client-token", "canary-message"]
)
async def test_a_code_that_repeats_what_was_sent_is_withheld(said: str) -> None:
    async with (
        serving(error(400, said)) as endpoint,
        calling(TargetAccess(REGION, endpoint=endpoint)) as world,
    ):
        failure = await world.put(job_result(Operation.THIRD_PARTY_JOB_FAILURE))
    assert failure is not None
    assert (failure.code, failure.status) == (WITHHELD, 400)


async def test_a_code_that_is_known_is_kept_whatever_the_request_says() -> None:
    summary = {"summary": "failed with ThrottlingException, JobNotFoundException, NewException"}
    for code in ("ThrottlingException", "JobNotFoundException"):
        async with (
            serving(error(400, code)) as endpoint,
            calling(TargetAccess(REGION, endpoint=endpoint)) as world,
        ):
            failure = await world.put_until_believed(job_result(executionDetails=summary))
        assert failure is not None
        assert failure.code == code


@pytest.mark.parametrize("answering", [error(400, "ValidationException"), *UNKNOWN[:3]])
async def test_no_secret_is_in_a_log_a_failure_or_a_repr(
    answering: Answering, everything_logged: list[str]
) -> None:
    seen: list[object] = []
    async with serving(answering) as endpoint:
        with_password = endpoint.replace("//", "//user:canary-password@")
        async with calling(TargetAccess(REGION, endpoint=with_password)) as world:
            seen += [await world.put(result) for result in _results()]
            seen += [world.clients, vars(world.clients), world.calls, *world.signals.heard]
    text = "\n".join([*map(repr, seen), *everything_logged])
    assert JOB_ID not in text
    assert "canary" not in text
    assert SECRET not in text
