"""What runs the simulation is steered over plain HTTP, and mistakes are answered by sentences."""

from __future__ import annotations

import contextlib
import json

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulation.steering import read_fault, read_wishes
from tests.simulation.stock import JOB_ID, boto3_client, code_of


async def ask(simulator, method: str, name: str, body: object = None) -> tuple[int, dict]:
    url = f"{simulator.endpoint}/_simulation/{name}"
    data = body if isinstance(body, bytes) or body is None else json.dumps(body)
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=data) as response,
    ):
        return response.status, await response.json()


async def test_jobs_are_made_as_wished(simulate):
    simulator = await simulate()
    wish = {"id": "p 1", "kind": "third-party", "client_token": "t", "state": "in-progress"}
    status, made = await ask(simulator, "POST", "jobs", [wish, {"count": 2, "state": "created"}])
    assert (status, len(made["jobs"])) == (201, 3)
    await boto3_client(simulator)("PutThirdPartyJobSuccessResult", jobId="p 1", clientToken="t")
    _, shown = await ask(simulator, "GET", "jobs?kind=third-party&state=succeeded")
    assert [job["id"] for job in shown["jobs"]] == ["p 1"]
    _, waiting = await ask(simulator, "GET", "jobs?state=created")
    assert len(waiting["jobs"]) == 2
    assert (await ask(simulator, "GET", "health"))[1] == {"status": "ok", "calls": 1, "jobs": 3}


async def test_a_job_is_made_with_its_time_out(simulate):
    simulator = await simulate()
    await ask(simulator, "POST", "jobs", {"id": JOB_ID, "timeout_seconds": 0})
    late = boto3_client(simulator)("PutJobSuccessResult", jobId=JOB_ID)
    assert await code_of(late) == "InvalidJobStateException"
    _, shown = await ask(simulator, "GET", f"jobs?id={JOB_ID}")
    assert shown["jobs"][0]["state"] == "timed-out"


async def test_an_id_is_made_once_or_nothing_is_made(simulate):
    simulator = await simulate()
    assert (await ask(simulator, "POST", "jobs", {"id": JOB_ID}))[0] == 201
    status, answer = await ask(simulator, "POST", "jobs", [{"count": 5}, {"id": JOB_ID}])
    assert (status, answer["ids"], len(simulator.jobs)) == (409, [JOB_ID], 1)


async def test_more_jobs_than_a_call_could_carry_are_made_at_once(simulate):
    simulator = await simulate()
    wishes = [{"kind": "third-party", "id": f"p-{i}" * 10} for i in range(30_000)]
    status, _ = await ask(simulator, "POST", "jobs", wishes)
    assert (status, len(simulator.jobs)) == (201, 30_000)


async def test_faults_come_and_go(simulate):
    simulator = await simulate()
    body = {"kind": "access-denied", "operations": ["GetJobDetails"], "count": 2}
    status, added = await ask(simulator, "POST", "faults", body)
    assert status == 201
    call = boto3_client(simulator)
    assert await code_of(call("GetJobDetails", jobId=JOB_ID)) == "AccessDeniedException"
    _, shown = await ask(simulator, "GET", "faults")
    (fault,) = shown["faults"]
    assert (fault["id"], fault["left"], fault["kind"]) == (added["id"], 1, "access-denied")
    assert (await ask(simulator, "DELETE", f"faults?id={added['id']}"))[1] == {"faults": []}
    assert await code_of(call("GetJobDetails", jobId=JOB_ID)) == "JobNotFoundException"
    await ask(simulator, "POST", "faults", {"kind": "throttle"})
    assert (await ask(simulator, "DELETE", "faults"))[1] == {"faults": []}


@pytest.mark.parametrize(
    ("method", "name", "body"),
    [
        ("POST", "jobs", b"{"),
        ("POST", "jobs", {"kind": "sourdough"}),
        ("POST", "jobs", {"state": "Sleeping"}),
        ("POST", "jobs", {"count": -1}),
        ("POST", "jobs", {"count": True}),
        ("POST", "jobs", {"count": 2, "id": JOB_ID}),
        ("POST", "jobs", {"id": "no uuid"}),
        ("POST", "jobs", {"timeout": 1}),
        ("POST", "jobs", {"timeout_seconds": "1"}),
        ("POST", "jobs", {"action_type": {"category": "Build"}}),
        ("POST", "jobs", {"action_type": {"category": 1}}),
        ("POST", "jobs", {"kind": "third-party", "client_token": "x" * 257}),
        ("POST", "faults", {}),
        ("POST", "faults", {"kind": "earthquake"}),
        ("POST", "faults", {"kind": "slow", "operations": ["PutJob"]}),
        ("POST", "faults", {"kind": "slow", "count": 0}),
        ("POST", "faults", {"kind": "slow", "applies": "yes"}),
        ("POST", "faults", {"kind": "server-error", "status": 99}),
        ("POST", "faults", ["slow"]),
        ("GET", "books?since=yesterday", None),
        ("DELETE", "faults?id=all", None),
    ],
)
async def test_a_mistake_is_answered_by_a_sentence_and_changes_nothing(
    simulate, method, name, body
):
    simulator = await simulate()
    status, answer = await ask(simulator, method, name, body)
    assert status == 400
    assert answer["error"]
    assert (len(simulator.jobs), list(simulator.faults.in_force(0.0))) == (0, [])


async def test_what_is_not_there_names_what_is(simulate):
    status, answer = await ask(await simulate(), "GET", "nothing")
    assert status == 404
    assert "POST /_simulation/jobs" in answer["error"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=6,
)
known = st.sampled_from(["count", "kind", "id", "state", "action_type", "configuration", "status"])


@pytest.mark.parametrize("read", [read_wishes, read_fault])
@given(body=values | st.dictionaries(known, values))
def test_no_body_whatever_raises_anything_but_a_value_error(read, body):
    with contextlib.suppress(ValueError):
        assert read(body) is not None
