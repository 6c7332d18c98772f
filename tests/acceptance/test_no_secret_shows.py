"""Known secrets planted everywhere that one may stand, and looked for everywhere that people look.

The dead-letter topic is the exception: it carries records unchanged, secrets included.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.faults import Fault, FaultKind
from gateway.simulation.service import Rules
from gateway.simulation.sigv4 import DEFAULT_ACCOUNT, AccessKey
from tests.acceptance.gateway_process import KEY, SECRET, GatewayProcess, Stage
from tests.waiting import wait_until

CANARY = "c4n4ry"
ADMIN_TOKEN = f"{CANARY}-admin-token"
CLIENT_ID = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
PATHS = ("/livez", "/readyz", "/metrics", "/status", "/unknown")


@pytest_asyncio.fixture
async def simulator() -> AsyncIterator[CodePipelineSimulator]:
    """One that wants the session token that is planted."""
    key = AccessKey(KEY, SECRET, DEFAULT_ACCOUNT, planted("session-token"))
    async with CodePipelineSimulator(Rules(keys=(key,), takes_any_id=True)) as simulator:
        yield simulator


def planted(name: str) -> str:
    return f"{CANARY}-{name}"


def events() -> list[bytes]:
    """Good ones, refused ones, and every kind of rejection that has seen a secret."""
    variables = {"outputVariables": {"PASSWORD": planted("variable")}}
    third_party = {"clientToken": planted("client-token")}
    good = [
        {"jobId": str(uuid.uuid4()), **variables},
        {"jobId": str(uuid.uuid4()), "continuationToken": planted("continuation-token")},
        {"jobId": "third-party-job", **third_party},
        {"jobId": "looked-up", "clientId": CLIENT_ID},
        {
            "jobId": str(uuid.uuid4()),
            "failureDetails": {"type": "JobFailed", "message": planted("message")},
        },
    ]
    bad: list[object] = [
        {"jobId": planted("job-id"), **variables},
        {"jobId": "x", "clientToken": planted("long" * 100)},
        {"jobId": "x", "clientToken": [planted("list")]},
        {"jobId": "x", **third_party, **variables},
        {"jobId": str(uuid.uuid4()), "continuationToken": planted("both"), **variables},
        {"jobId": str(uuid.uuid4()), "failureDetails": {"type": planted("type"), "message": "x"}},
        {"jobId": str(uuid.uuid4()), "currentRevision": {"created": planted("created")}},
        [planted("array")],
        planted("string"),
    ]
    broken = [
        b'{"jobId": "' + planted("truncated").encode(),
        b'{"clientToken": "' + planted("bytes").encode() + b'\xff"}',
        planted("text").encode(),
        b"\x00\x00\x00\x00\x07" + planted("avro").encode(),
        b'{"a":1,"a":"' + planted("twice").encode() + b'"}',
    ]
    return [*(json.dumps(event).encode() for event in (*good, *bad)), *broken]


async def answers(gateway: GatewayProcess) -> list[str]:
    """What every page answers, headers included, with the token, without, and with a wrong one."""
    address = gateway.lines("gateway started")[-1]["admin"]
    found = []
    async with aiohttp.ClientSession() as session:
        for given in (ADMIN_TOKEN, f"wrong-{CANARY[:3]}", ""):
            for path in PATHS:
                headers = {"Authorization": f"Bearer {given}"}
                async with session.get(f"http://{address}{path}", headers=headers) as answer:
                    found.append(f"{path} {answer.headers} {await answer.text()}")
    return found


def secrets_on_disk(directory: Path) -> dict[str, str]:
    (directory / "tokens").mkdir(parents=True)
    (directory / "tokens" / CLIENT_ID).write_text(planted("token-file"))
    (directory / "digest-key").write_text(planted("digest-key"))
    return {
        "GATEWAY_THIRD_PARTY__CLIENT_TOKENS": str(directory / "tokens"),
        "GATEWAY_ENDINGS__DIGEST_KEY": str(directory / "digest-key"),
        "GATEWAY_ADMIN__TOKEN": ADMIN_TOKEN,
        "AWS_SESSION_TOKEN": planted("session-token"),
    }


@pytest.mark.parametrize("faults", [(), (FaultKind.ACCESS_DENIED, FaultKind.CUT_AFTER)])
async def test_no_secret_shows_in_logs_metrics_status_errors_or_outcomes(
    stage: Stage, simulator: CodePipelineSimulator, tmp_path: Path, faults: tuple[FaultKind, ...]
) -> None:
    for kind in faults:
        simulator.faults.add(Fault(kind, count=2), time.time())
    settings = secrets_on_disk(tmp_path / "secrets")
    settings |= {"GATEWAY_LOG__LEVEL": "debug", "GATEWAY_RETRY__PROBE_FIRST_SECONDS": "0.1"}
    gateway = await stage.started(**settings)
    sent = events()
    for number, event in enumerate(sent):
        headers = [("gateway-operation", planted("operation").encode())] if number % 7 == 6 else []
        await stage.send(event, planted("key").encode(), headers)
    outcomes = await stage.wait_outcomes(len(sent))
    shown = [*await answers(gateway), json.dumps(outcomes)]
    assert await gateway.terminate() == 0
    shown += gateway.log.read_text().splitlines()

    assert any("/metrics" in page and "gateway_deliveries_total{" in page for page in shown)
    assert any("/status" in page and "watermark" in page for page in shown)
    assert any('"record rejected"' in line for line in shown)
    assert [text for text in shown if CANARY in text or SECRET in text] == []


async def test_no_secret_shows_when_brokers_refuse_the_password(
    stage: Stage, tmp_path: Path
) -> None:
    settings = secrets_on_disk(tmp_path / "secrets") | {
        "GATEWAY_LOG__LEVEL": "debug",
        "GATEWAY_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "GATEWAY_KAFKA__SASL_MECHANISM": "PLAIN",
        "GATEWAY_KAFKA__SASL_USERNAME": "gateway",
        "GATEWAY_KAFKA__SASL_PASSWORD": planted("password"),
    }
    gateway = stage.gateway(**settings)
    await gateway.start()
    await wait_until(lambda: gateway.lines("not ready yet"), 30)
    shown = await answers(gateway)
    await gateway.terminate()
    shown += gateway.log.read_text().splitlines()
    assert any('"ready":false' in page for page in shown)
    assert [text for text in shown if CANARY in text or SECRET in text] == []
