"""`aws.call_path: lean` and `botocore` do the same, and a lean call that is broken does no harm."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from gateway.simulation.broker import KafkaBroker, gateway_topics
from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.service import Rules
from tests.acceptance.conftest import PARTITIONS
from tests.acceptance.gateway_process import Stage, staged
from tests.conftest import Topics
from tests.waiting import wait_until

_REVISION = {"revision": "r\u00e9", "changeIdentifier": "c", "created": 1_700_000_000.123457}
_FAILURE = {"type": "JobFailed", "message": "line\nbreak \u65e5\u672c \U0001f600"}


def _job(number: int) -> str:
    return f"11111111-2222-3333-4444-{number:012}"


def _results_of(number: int) -> list[dict[str, Any]]:
    """Of each job a result, and to some of them another that AWS or the gateway turns down."""
    job = {"jobId": _job(number)}
    success = {
        **job,
        "currentRevision": _REVISION,
        "executionDetails": {"summary": "\u00fc\\\"'", "percentComplete": number % 101},
        "outputVariables": {"image": "x" * (number * 7), "\u0042-@_": "\u2028"},
    }
    token = {**job, "clientToken": "a token of no account"}
    return [
        [success],
        [success, success],
        [success, {**job, "failureDetails": _FAILURE}],
        [{**job, "failureDetails": _FAILURE}],
        [{**token, "continuationToken": "c", "executionDetails": {"summary": "s"}}],
        [{**token, "failureDetails": {**_FAILURE, "externalExecutionId": "7"}}],
        [{**job, "executionDetails": {"percentComplete": 101}}],
    ][number % 7]


async def _deliver(stage: Stage, simulator: CodePipelineSimulator, path: str) -> tuple[Any, Any]:
    """What the books and the outcomes say of each job, in order."""
    gateway = await stage.started(GATEWAY_AWS__CALL_PATH=path)
    sent = [result for number in range(70) for result in _results_of(number)]
    for result in sent:
        await stage.send(json.dumps(result).encode(), result["jobId"].encode())
    outcomes = await stage.wait_outcomes(len(sent))
    assert await gateway.terminate() == 0
    [opened] = gateway.lines("target opened")
    assert opened["call_path"].partition(" ")[0] == path
    assert not gateway.lines("the lean call is not used")
    calls, ends = defaultdict(list), defaultdict(list)
    for entry in simulator.books:
        calls[entry.job_id].append((entry.operation, entry.request, entry.code, entry.applied))
    for ended in sorted(outcomes, key=lambda ended: ended["source"]["offset"]):
        ends[ended["job"]].append([ended.get(name) for name in ("outcome", "reason", "attempts")])
    return calls, ends


async def test_both_call_paths_leave_identical_books(
    kafka: KafkaBroker, topic_names: Topics, tmp_path: Path
) -> None:
    told = []
    for path in ("botocore", "lean"):
        topics = Topics(*(f"{name}-{path}" for name in topic_names))
        await kafka.create_topics(*gateway_topics(*topics, partitions=PARTITIONS))
        (tmp_path / path).mkdir()
        async with (
            CodePipelineSimulator(Rules(takes_any_id=True)) as simulator,
            staged(kafka.bootstrap_servers, topics, simulator.endpoint, tmp_path / path) as stage,
        ):
            told.append(await _deliver(stage, simulator, path))
    reference, lean = told
    assert lean == reference
    assert len(lean[0]) == 60, "jobs whose results are valid"


async def test_a_broken_signature_is_told_at_start_and_everything_is_delivered(
    stage: Stage, simulator: CodePipelineSimulator, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from gateway.adapters.aws_signing import Signer\n"
        "right = Signer.lines\n"
        "Signer.lines = lambda *arguments: right(*arguments)[:-1] + 'x'\n"
    )
    gateway = await stage.started(PYTHONPATH=str(tmp_path))
    [told] = gateway.lines("the lean call is not used")
    assert (told["target"], told["why"], told["level"]) == ("all", "signature", "warning")
    for number in range(5):
        await stage.send(json.dumps({"jobId": _job(number)}).encode())
    outcomes = await stage.wait_outcomes(5)
    assert {outcome["outcome"] for outcome in outcomes} == {"accepted"}
    assert [entry.code for entry in simulator.books] == [""] * 5, "one call each"


@pytest.mark.parametrize("path", ["lean", "botocore"])
async def test_trouble_with_an_account_halts_and_ends_alike(
    path: str, stage: Stage, simulator: CodePipelineSimulator
) -> None:
    """Wrong credentials: AWS refuses the signature itself."""
    gateway = await stage.started(
        GATEWAY_AWS__CALL_PATH=path, AWS_SECRET_ACCESS_KEY="of somebody else"
    )
    await stage.send(json.dumps({"jobId": _job(1)}).encode())

    async def is_halted() -> bool:
        targets = (await gateway.status()).get("targets", {})
        return bool(targets.get("default", {}).get("halts"))

    await wait_until(is_halted, 20)
    assert await stage.read(stage.topics.dead_letters) == []
    assert not gateway.lines("the lean call is not used"), "botocore was refused likewise"
    assert len(simulator.books) <= 4
