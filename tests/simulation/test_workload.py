"""The workload is what it says: the gateway's own decoder and the checker's reading agree on it."""

from __future__ import annotations

from collections import Counter

import orjson
import pytest

from gateway.core.decode import Decoder
from gateway.core.model import JobResult, Reason, Record, Rejection, Skipped
from gateway.core.routing import Routes
from gateway.simulation.poison import POISON
from gateway.simulation.reading import content_of_event, content_of_request
from gateway.simulation.spellings import SPELLINGS, spelt
from gateway.simulation.workload import REJECTED, SKIPPED, VALID, Event, Workload, workload

SEEDS = (1, 7)
NOW = 1_800_000_000.0


def decoded(event: Event) -> JobResult | Rejection | Skipped:
    decoder = Decoder(
        digest_key=b"k" * 16, unknown_members="reject", key="any", client_token_of=lambda _: None
    )
    record = Record("job-results", 0, 0, NOW, event.key, event.value, event.headers)
    result = decoder.decode(record, NOW)
    if isinstance(result, JobResult):
        target = Routes(["default"], None, {}).route("job-results", result.named_target)
        return target if isinstance(target, Rejection) else result
    return result


def kind_of(result: JobResult | Rejection | Skipped) -> str:
    names = {JobResult: VALID, Rejection: REJECTED, Skipped: SKIPPED}
    return names[type(result)]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_event_is_what_it_is_expected_to_be(seed: int) -> None:
    for event in workload(seed, 400).events:
        result = decoded(event)
        assert kind_of(result) == event.expected, (event.story, result)
        if isinstance(result, Rejection):
            assert result.reason is not Reason.INTERNAL, event.story


@pytest.mark.parametrize("seed", SEEDS)
def test_the_checkers_reading_agrees_with_the_gateways_on_every_result(seed: int) -> None:
    digests: dict[tuple[str, str], bytes] = {}
    for event in workload(seed, 400).events:
        result = decoded(event)
        if isinstance(result, JobResult):
            content = content_of_event(event.value)
            assert content is not None
            assert (content.job_id, content.operation) == (result.job_id, result.operation)
            same = digests.setdefault((content.job_id, content.digest), result.digest)
            assert same == result.digest


@pytest.mark.parametrize("seed", SEEDS)
def test_the_content_of_an_event_is_the_content_of_the_call_it_becomes(seed: int) -> None:
    for event in workload(seed, 400).events:
        result = decoded(event)
        if isinstance(result, JobResult):
            body = orjson.loads(result.body)
            called = content_of_request(result.operation, body)
            assert called == content_of_event(event.value)


def test_the_same_seed_writes_the_same_workload_and_another_does_not() -> None:
    assert workload(3, 50) == workload(3, 50)
    assert workload(3, 50) != workload(4, 50)


def test_every_kind_of_poison_occurs_however_small_the_workload() -> None:
    assert set(POISON) <= stories(workload(1, 1)).keys()


def test_a_workload_of_a_demos_size_tells_every_story() -> None:
    told = stories(workload(1, 2000))
    assert {"plain", "copy", "contradiction", "amended", "continuation", "too late"} <= set(told)
    assert {"wrong token", "unknown job", "keyless", "odd headers"} <= set(told)


def test_copies_are_equal_however_they_are_spelt() -> None:
    revision = {"revision": "r", "changeIdentifier": "c", "created": 1_700_000_000}
    request = {"jobId": "j", "currentRevision": revision, "executionDetails": {"summary": "ü"}}
    assert len({content_of_event(spelt(request, tool)) for tool in SPELLINGS}) == 1


@pytest.mark.parametrize("value", [None, b"", b"[]", b"\xff", b'{"jobId": 1}', b"[" * 100_000])
def test_what_is_no_request_has_no_content(value: bytes | None) -> None:
    assert content_of_event(value) is None


def stories(written: Workload) -> Counter[str]:
    return Counter(event.story for event in written.events)
