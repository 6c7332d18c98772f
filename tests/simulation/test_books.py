"""The books leave nothing out, keep the order, and hold no secret."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid

import aiohttp
import pytest
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError

from gateway.simulation.books import Books, canonical, instance_of
from gateway.simulation.faults import Fault, FaultKind
from gateway.simulation.jobs import JobKind, Wish
from gateway.simulation.service import EXAMPLE_KEY, Rules
from gateway.simulation.throttle import Limits
from tests.simulation.stock import (
    JOB_ID,
    ONE_TRY,
    arguments,
    async_session,
    boto3_client,
    code_of,
)
from tests.waiting import wait_until

ANY = Rules(takes_any_id=True)


async def read_books(simulator, since: int = 0) -> list[dict]:
    url = f"{simulator.endpoint}/_simulation/books?since={since}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return [json.loads(line) for line in (await response.text()).splitlines()]


async def test_an_entry_says_who_asked_what_and_what_became_of_it(simulate):
    simulator = await simulate(ANY)
    agent = "job-result-gateway/1 md/instance#gateway-7f-0 tail"
    await boto3_client(simulator, region="eu-west-1", user_agent=agent)(
        "PutJobSuccessResult", jobId=JOB_ID, continuationToken="é"
    )
    (entry,) = await read_books(simulator)
    request = {"continuationToken": "é", "jobId": JOB_ID}
    text = json.dumps(request, separators=(",", ":"), ensure_ascii=False)
    assert 0 < entry.pop("begun") <= entry.pop("ended")
    assert entry.pop("request_id")
    assert entry == {
        "sequence": 1,
        "operation": "PutJobSuccessResult",
        "job_id": JOB_ID,
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        "request": request,
        "access_key": EXAMPLE_KEY.access_key,
        "account": "111122223333",
        "region": "eu-west-1",
        "instance": "gateway-7f-0",
        "status": 200,
        "code": "",
        "applied": True,
        "applied_sequence": 1,
        "delivered": True,
        "fault": None,
    }


async def test_a_client_token_is_in_no_book(simulate, tmp_path):
    simulator = await simulate(ANY, books_file=tmp_path / "books")
    simulator.jobs.make(Wish(JobKind.THIRD_PARTY, id="p", client_token="c4nary"), 2e9)
    call = boto3_client(simulator)
    put = "PutThirdPartyJobSuccessResult"
    wrong = call(put, jobId="p", clientToken="c4nary-wrong")
    assert await code_of(wrong) == "InvalidClientTokenException"
    await call(put, jobId="p", clientToken="c4nary")
    shown = await read_books(simulator)
    assert [entry["digest"] for entry in shown] == [shown[0]["digest"]] * 2
    assert "c4nary" not in json.dumps(shown)
    await simulator.__aexit__()
    assert "c4nary" not in (tmp_path / "books").read_text()


async def test_the_books_are_complete_and_in_order_under_concurrency(simulate):
    limits = Limits(latency_seconds=0.002, latency_spread_seconds=0.01, concurrency=40)
    simulator = await simulate(Rules(takes_any_id=True, limits=limits, seed=1))
    simulator.faults.add(Fault(FaultKind.CUT_AFTER, probability=0.1, seed=2), 0.0)
    simulator.faults.add(Fault(FaultKind.SERVER_ERROR, probability=0.1, seed=3), 0.0)
    ids = [str(uuid.UUID(int=i, version=4)) for i in range(300)]
    config = AioConfig(retries=ONE_TRY, max_pool_connections=50)
    connection = arguments(simulator, EXAMPLE_KEY, "us-east-1")
    async with async_session.create_client("codepipeline", config=config, **connection) as client:
        places = asyncio.Semaphore(50)

        async def put(job_id: str) -> bool:
            async with places:
                try:
                    await client.put_job_success_result(jobId=job_id)
                except (ClientError, BotoCoreError):
                    return False
                return True

        heard = await asyncio.gather(*map(put, ids))
    shown = await read_books(simulator)
    assert sorted(entry["job_id"] for entry in shown) == ids
    assert [entry["sequence"] for entry in shown] == list(range(1, 301))
    begun = [entry["begun"] for entry in shown]
    assert begun == sorted(begun)
    applied = [entry["applied_sequence"] for entry in shown if entry["applied"]]
    assert sorted(applied) == list(range(1, len(applied) + 1))
    accepted = {e["job_id"] for e in shown if e["delivered"] and e["status"] == 200}
    assert accepted == {job_id for job_id, ok in zip(ids, heard, strict=True) if ok}
    assert 0 < len(accepted) < len(applied) < 300
    assert await read_books(simulator, since=298) == shown[298:]


async def test_a_call_whose_caller_has_gone_is_in_the_books(simulate):
    simulator = await simulate(ANY)
    host, port = simulator.endpoint.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: CodePipeline_20150709.GetJobDetails\r\n"
    writer.write(head + b"Content-Length: 100\r\n\r\nhalf")
    await writer.drain()
    await wait_until(lambda: len(simulator.books) == 1)
    writer.close()
    (entry,) = simulator.books
    await wait_until(lambda: entry.ended is not None)
    assert (entry.operation, entry.applied, entry.delivered) == ("GetJobDetails", False, False)


async def test_the_file_holds_each_call_as_it_begins_and_as_it_ends(simulate, tmp_path):
    file = tmp_path / "books"
    simulator = await simulate(ANY, books_file=file)
    await boto3_client(simulator)("PutJobSuccessResult", jobId=JOB_ID)
    await simulator.__aexit__()
    begun, ended = map(json.loads, (await asyncio.to_thread(file.read_text)).splitlines())
    assert (begun["sequence"], begun["job_id"], begun["ended"]) == (1, JOB_ID, None)
    assert (ended["sequence"], ended["applied"], ended["delivered"]) == (1, True, True)


async def test_a_file_that_cannot_be_written_is_told_at_the_start(simulate, tmp_path):
    with pytest.raises(OSError, match="No such file"):
        await simulate(books_file=tmp_path / "absent" / "books")


@pytest.mark.parametrize(
    ("agent", "instance"),
    [
        ("job-result-gateway/1.0 md/instance#a-B-9 lang/python", "a-B-9"),
        ("Boto3/1.43", None),
        ("", None),
        ("instance#", None),
    ],
)
def test_the_instance_is_read_from_the_user_agent(agent, instance):
    assert instance_of(agent) == instance


def test_requests_that_say_the_same_are_written_the_same():
    one = {"jobId": "j", "clientToken": "a", "executionDetails": {"summary": "s", "a": 1}}
    other = {"executionDetails": {"a": 1, "summary": "s"}, "clientToken": "b", "jobId": "j"}
    assert canonical(one) == canonical(other)
    assert canonical(one | {"jobId": "k"}) != canonical(one)


def test_since_counts_from_the_entry_named():
    books = Books()
    for _ in range(3):
        books.begin(0.0, "GetJobDetails", "r", "")
    assert [entry.sequence for entry in books.since(1)] == [2, 3]
    assert [entry.sequence for entry in books.since(-5)] == [1, 2, 3]
    assert books.since(9) == []
