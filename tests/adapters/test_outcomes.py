"""Outcomes as JSON: everything back, nothing of the request, other versions ignored."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.outcomes import outcome_from_json, outcome_to_json
from gateway.core.model import (
    Certainty,
    Claim,
    Operation,
    Outcome,
    OutcomeKind,
    Reason,
    Source,
)

texts = st.text(st.characters(codec="utf-8"), max_size=40)
outcomes = st.builds(
    Outcome,
    kind=st.sampled_from(OutcomeKind),
    certainty=st.sampled_from(Certainty),
    source=st.builds(Source, texts, st.integers(0, 999), st.integers(0, 2**62)),
    time=st.floats(0, 4e9),
    target=st.none() | texts,
    job_id=st.none() | texts,
    operation=st.none() | st.sampled_from(Operation),
    claim=st.none() | st.sampled_from(Claim),
    reason=st.none() | st.sampled_from(Reason),
    attempts=st.integers(0, 10_000),
    digest=st.none() | st.binary(min_size=16, max_size=16),
    traceparent=st.none() | texts,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
OUTCOME = Outcome(
    kind=OutcomeKind.DEAD_LETTERED,
    certainty=Certainty.INFERRED,
    source=Source("job-results", 3, 42),
    time=1_790_000_000.125,
    target="blue",
    job_id="job-1",
    operation=Operation.JOB_FAILURE,
    claim=Claim.FAILED,
    reason=Reason.EXHAUSTED,
    attempts=12,
    digest=bytes(range(16)),
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
)


@given(outcomes)
def test_every_outcome_is_read_back_as_it_was(outcome: Outcome) -> None:
    assert outcome_from_json(outcome_to_json(outcome)) == outcome


def test_the_record_is_what_is_documented() -> None:
    assert orjson.loads(outcome_to_json(OUTCOME)) == {
        "version": 1,
        "target": "blue",
        "job": "job-1",
        "operation": "PutJobFailureResult",
        "outcome": "dead-lettered",
        "certainty": "inferred",
        "reason": "exhausted",
        "claim": "failed",
        "attempts": 12,
        "source": {"topic": "job-results", "partition": 3, "offset": 42},
        "digest": "000102030405060708090a0b0c0d0e0f",
        "time": 1_790_000_000.125,
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }


def changed(**members: object) -> bytes:
    return orjson.dumps(orjson.loads(outcome_to_json(OUTCOME)) | members)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"1",
        b"{}",
        b"\xff",
        changed(version=2),
        changed(version="1"),
        changed(outcome="vanished"),
        changed(source=None),
        changed(source={"topic": "t"}),
        changed(digest="xyz"),
        changed(job=7),
        changed(attempts=[1]),
        changed(attempts=7).replace(b'"attempts":7', b'"attempts":1e400'),
        changed(job="j" * 20_000),
    ],
)
def test_what_is_no_outcome_of_this_version_is_not_read(value: bytes | None) -> None:
    assert outcome_from_json(value) is None


def test_members_of_later_minor_changes_are_ignored() -> None:
    assert outcome_from_json(changed(colour="blue")) == OUTCOME


@given(st.binary(max_size=300))
def test_no_bytes_whatever_raise(value: bytes) -> None:
    outcome_from_json(value)


@given(st.dictionaries(st.sampled_from(sorted(orjson.loads(outcome_to_json(OUTCOME)))), JSON))
def test_no_members_whatever_raise(members: dict[str, object]) -> None:
    outcome_from_json(changed(**members))
