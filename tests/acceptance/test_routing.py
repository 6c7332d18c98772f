"""Two accounts behind one gateway: a result reaches the account that it names, if its topic may."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from gateway.simulation.broker import KafkaBroker, Topic
from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.service import Rules
from gateway.simulation.sigv4 import AccessKey
from tests.acceptance.gateway_process import Stage

EU = AccessKey("AKIAEUEUEUEUEUEUEUEU", "secret-of-eu", "111111111111")
US = AccessKey("AKIAUSUSUSUSUSUSUSUS", "secret-of-us", "222222222222")
NO_DEFAULT = "header gateway-target: is required: there are several targets and no default"


def configuration(home: Path, both: str, only_eu: str, eu: str, us: str) -> Path:
    """Each account has credentials of its own: a call to the wrong one would be refused."""
    folder = home / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        "".join(
            f"[{name}]\naws_access_key_id = {key.access_key}\n"
            f"aws_secret_access_key = {key.secret_key}\n"
            for name, key in (("eu", EU), ("us", US))
        )
    )
    file = home / "gateway.yaml"
    file.write_text(
        json.dumps(
            {
                "input": {
                    "topics": [both, only_eu],
                    "allowed": {both: ["eu", "us"], only_eu: ["eu"]},
                },
                "targets": {
                    "eu": {"region": "eu-west-1", "profile": "eu", "endpoint": eu},
                    "us": {"region": "us-east-1", "profile": "us", "endpoint": us},
                },
            }
        )
    )
    return file


async def test_results_reach_the_account_that_they_name_and_their_topic_may_reach(
    stage: Stage, kafka: KafkaBroker, simulator: CodePipelineSimulator, tmp_path: Path
) -> None:
    both, only_eu = stage.topics.results, f"{stage.topics.results}-only-eu"
    await kafka.create_topics(Topic(only_eu))
    async with (
        CodePipelineSimulator(Rules(keys=(EU,), takes_any_id=True)) as eu,
        CodePipelineSimulator(Rules(keys=(US,), takes_any_id=True)) as us,
    ):
        file = configuration(tmp_path, both, only_eu, eu.endpoint, us.endpoint)
        topics = f"{both},{only_eu}"
        gateway = await stage.started("--config", str(file), GATEWAY_INPUT__TOPICS=topics)
        cases = [
            (both, b"eu", "eu"),
            (both, b"us", "us"),
            (only_eu, b"eu", "eu"),
            (only_eu, b"us", f'names "us", which topic {only_eu} is not allowed to reach'),
            (both, b"nowhere", 'names "nowhere", which is no target'),
            (both, b"EU", 'names "EU", which is no target'),
            (both, None, NO_DEFAULT),
            (only_eu, None, NO_DEFAULT),
        ]
        jobs = [str(uuid.uuid4()) for _ in cases]
        producer = await stage.producer()
        for job, (topic, target, _) in zip(jobs, cases, strict=True):
            headers = [] if target is None else [("gateway-target", target)]
            value = json.dumps({"jobId": job}).encode()
            await producer.send_and_wait(topic, value, job.encode(), headers=headers)
        outcomes = {each["job"]: each for each in await stage.wait_outcomes(len(cases))}
        assert await gateway.terminate() == 0

        called = {"eu": [], "us": []}
        for name, account in (("eu", eu), ("us", us)):
            for entry in account.books:
                assert entry.applied
                called[name].append(entry.job_id)
    letters = {
        letter.key: letter.header("__connect.errors.exception.message") or b""
        for letter in await stage.read(stage.topics.dead_letters)
    }
    expected = {"eu": [jobs[0], jobs[2]], "us": [jobs[1]]}
    assert {name: sorted(ids) for name, ids in called.items()} == {
        name: sorted(ids) for name, ids in expected.items()
    }
    assert len(simulator.books) == 0, "the ambient account was not asked for"
    for job, (_, _, expectation) in zip(jobs, cases, strict=True):
        outcome = outcomes[job]
        if expectation in called:
            assert (outcome["outcome"], outcome["target"]) == ("accepted", expectation)
            assert job.encode() not in letters
        else:
            assert (outcome["outcome"], outcome["reason"]) == ("dead-lettered", "unroutable")
            assert expectation in letters[job.encode()].decode()
