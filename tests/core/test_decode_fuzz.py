"""No bytes whatever raise, hang or leak: 500 examples each, 10,000 in the nightly profile."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.model import JobResult, Operation, Reason, Record, Rejection, Skipped
from gateway.core.requests import ALL_MEMBERS
from tests.core.examples import CLIENT_ID, JOB_ID, NOW, accepted, decoder, event

SECRET = "xyzzy-plugh-secret"
DECODERS = [
    decoder(unknown_members=unknown, key=key)
    for unknown in ("reject", "ignore")
    for key in ("any", "present", "job-id")
]
HEADERS = ("gateway-operation", "gateway-target", "gateway-deadline", "traceparent", "other")

header_values = (
    st.none()
    | st.binary(max_size=40)
    | st.sampled_from([f"{SECRET}\xff".encode("latin-1"), SECRET.encode()])
    | st.sampled_from([operation.encode() for operation in Operation])
    | st.just(b"2026-11-22T17:00:00Z")
)
headers = st.lists(st.tuples(st.sampled_from(HEADERS), header_values), max_size=5).map(tuple)
keys = st.none() | st.binary(max_size=10) | st.sampled_from([JOB_ID.encode(), SECRET.encode()])

names = st.sampled_from([*ALL_MEMBERS, "clientId", "revision", "summary", "type", "message"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([SECRET, SECRET + "\ud800", JOB_ID, CLIENT_ID, "JobFailed", "2015-01-01"])
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
objects = st.dictionaries(names, trees, max_size=8)


@st.composite
def valid_events(draw: st.DrawFn) -> dict[str, Any]:
    """Valid events with secrets in the places where events hold them."""
    operation = draw(st.sampled_from(Operation))
    made = event(operation)
    if "clientToken" in made:
        made["clientToken"] = SECRET
    if "outputVariables" in made:
        made["outputVariables"] = {"password": SECRET, "url": f"https://{SECRET}"}
    if "failureDetails" in made:
        made["failureDetails"]["message"] = SECRET
    return made


@st.composite
def mutated_events(draw: st.DrawFn) -> bytes:
    """The text of a valid event with a few bytes changed, dropped or put in, perhaps cut short."""
    text = bytearray(json.dumps(draw(valid_events()), ensure_ascii=draw(st.booleans())).encode())
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text) - 1))
        new = draw(st.sampled_from([b"", b'"', b"{", b"}", b",", b":", b"\\", b"\x00", b"\xff"]))
        text[place : place + draw(st.integers(0, 1))] = new
    return bytes(text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text)


def decode_each_way(
    value: bytes | None, key: bytes | None, heads: tuple[tuple[str, bytes | None], ...]
) -> None:
    """Every answer is one of the three, none is a fault of ours, and no rejection tells a value."""
    for each in DECODERS:
        answer = each.decode(Record("t", 0, 0, NOW, key, value, heads), NOW)
        assert isinstance(answer, JobResult | Rejection | Skipped)
        if isinstance(answer, Rejection):
            told = "".join(map(str, answer.violations))
            assert answer.violations
            assert answer.reason is not Reason.INTERNAL, told
            assert SECRET not in told
            assert told.isprintable()
            assert len(told) < 10_000
        if isinstance(answer, JobResult):
            again = accepted(answer.body)
            assert (again.body, again.digest) == (answer.body, answer.digest)


@given(value=st.none() | st.binary(max_size=300), key=keys, heads=headers)
def test_no_random_bytes_raise_or_leak(
    value: bytes | None, key: bytes | None, heads: tuple[tuple[str, bytes | None], ...]
) -> None:
    decode_each_way(value, key, heads)


@given(value=mutated_events(), key=keys, heads=headers)
def test_no_mutated_event_raises_or_leaks(
    value: bytes, key: bytes | None, heads: tuple[tuple[str, bytes | None], ...]
) -> None:
    decode_each_way(value, key, heads)


@given(value=objects, key=keys, heads=headers)
@example(value={"jobId": SECRET, "clientToken": SECRET, "clientId": SECRET}, key=None, heads=())
@example(value={"outputVariables": {"a": [SECRET]}}, key=None, heads=())
@example(value={"currentRevision": {"created": SECRET}}, key=None, heads=())
@example(value={"failureDetails": {"type": SECRET, "message": SECRET * 500}}, key=None, heads=())
def test_no_random_json_raises_or_leaks(
    value: dict[str, Any], key: bytes | None, heads: tuple[tuple[str, bytes | None], ...]
) -> None:
    decode_each_way(json.dumps(value).encode(), key, heads)


@given(value=valid_events())
def test_every_valid_event_is_accepted(value: dict[str, Any]) -> None:
    accepted(value)
