"""The lean call is botocore's, byte for byte: botocore itself is asked, ten thousand times."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.limits import Structure
from gateway.core.model import Operation
from gateway.core.requests import FAILURE_TYPES, REQUESTS, wire_body
from tests.adapters.wire_world import (
    EDGES,
    PLACES,
    Oracle,
    Sent,
    credentials_at_random,
    differences,
    requests_at_random,
)

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
_seconds = st.sampled_from(EDGES) | st.integers(946_684_800, 4_102_444_800)
_leaves: dict[str, st.SearchStrategy[object]] = {
    "percentComplete": st.integers(0, 100),
    "created": _seconds
    | st.builds(lambda s, u: round(s + u / 10**6, 6), _seconds, st.integers(1, 999_999)),
    "outputVariables": st.dictionaries(_texts, _texts, max_size=3),
    "type": st.sampled_from(FAILURE_TYPES),
}


def _members(structure: Structure) -> st.SearchStrategy[dict[str, object]]:
    strategies = {
        member.name: _members(member.rule)
        if isinstance(member.rule, Structure)
        else _leaves.get(member.name, _texts)
        for member in structure.members
    }
    required = {member.name for member in structure.members if member.is_required}
    return st.fixed_dictionaries(
        {name: strategies[name] for name in strategies if name in required},
        optional={name: strategies[name] for name in strategies if name not in required},
    )


_bodies = {operation: _members(request).map(wire_body) for operation, request in REQUESTS.items()}
_printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40)
_credentials = st.builds(
    ReadOnlyCredentials,
    st.text("ABCDEFGHIJ0123456789", min_size=16, max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.none() | _printable,
    st.none(),
)
_sent = st.sampled_from(Operation).flatmap(
    lambda operation: st.builds(
        Sent,
        st.integers(0, len(PLACES) - 1),
        st.just(operation),
        _bodies[operation],
        _credentials,
        st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000),
    )
)


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_CONFIG_FILE", "/nonexistent")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        oracle = Oracle()
        yield oracle
        oracle.close()


@pytest.mark.parametrize("seed", range(10))
def test_ten_thousand_requests_equal_botocores(oracle: Oracle, seed: int) -> None:
    random = Random(seed)
    for number in range(1000):
        assert not differences(oracle, requests_at_random(random)), number


@given(_sent)
def test_any_request_equals_botocores(oracle: Oracle, sent: Sent) -> None:
    assert not differences(oracle, sent)


MIDNIGHT = 1_700_006_400.0


def test_credentials_that_live_for_days_are_used_with_each_days_own_key(oracle: Oracle) -> None:
    random = Random(7)
    credentials = credentials_at_random(random)
    for moment in (-0.001, 0.0, -86_400.5, 86_400.0, 0.999, 1.0):
        sent = requests_at_random(random)._replace(place=0, credentials=credentials)
        assert not differences(oracle, sent._replace(now=MIDNIGHT + moment)), moment


def test_what_one_request_leaves_behind_changes_no_other(oracle: Oracle) -> None:
    """A session token that comes, changes and goes; operations in turns."""
    random, keys = Random(8), ReadOnlyCredentials("AKIDEXAMPLE", "secret", None, None)
    for token in (None, "one", "two", None, "", "one"):
        for operation in Operation:
            sent = requests_at_random(random)
            while sent.operation is not operation:
                sent = requests_at_random(random)
            same = sent._replace(place=1, now=MIDNIGHT, credentials=keys._replace(token=token))
            assert not differences(oracle, same), (token, operation)
