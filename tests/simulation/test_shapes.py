"""The simulator's table of limits is the one in AWS's service model, and it bites at the edge."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.model import Shape as ModelShape
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulation.answers import Refusal
from gateway.simulation.shapes import (
    INPUTS,
    Dictionary,
    Instant,
    Structure,
    Text,
    Whole,
    read_body,
    refused_input,
)

MODEL = Session().get_service_model("codepipeline")
ID = "11111111-2222-4333-8444-555555555555"
REVISION = {"revision": "r", "changeIdentifier": "c"}


def as_modelled(shape: ModelShape) -> Any:
    """The shape of AWS's model in the words of our table."""
    limits = shape.metadata
    match shape.type_name:
        case "string":
            pattern, choices = limits.get("pattern"), tuple(limits.get("enum", ()))
            return Text(limits.get("min", 0), limits.get("max"), pattern, choices)
        case "integer":
            return Whole(limits["min"], limits.get("max"))
        case "timestamp":
            return Instant()
        case "map":
            key, value = as_modelled(shape.key), as_modelled(shape.value)
            return Dictionary(key, value, limits.get("max"))
    members = {name: as_modelled(member) for name, member in shape.members.items()}
    return Structure(frozenset(shape.required_members), members)


@pytest.mark.parametrize("operation", sorted(INPUTS))
def test_the_table_is_the_one_of_aws(operation):
    assert INPUTS[operation] == as_modelled(MODEL.operation_model(operation).input_shape)


def success(**members: Any) -> dict[str, Any]:
    return {"jobId": ID, **members}


def failure(**details: Any) -> dict[str, Any]:
    return {"jobId": ID, "failureDetails": {"type": "JobFailed", "message": "m", **details}}


EDGES = {
    "revision": (lambda n: success(currentRevision=REVISION | {"revision": "x" * n}), 1500),
    "change": (lambda n: success(currentRevision=REVISION | {"changeIdentifier": "x" * n}), 100),
    "revision summary": (
        lambda n: success(currentRevision=REVISION | {"revisionSummary": "x" * n}),
        2048,
    ),
    "continuation": (lambda n: success(continuationToken="x" * n), 2048),
    "summary": (lambda n: success(executionDetails={"summary": "x" * n}), 2048),
    "execution": (lambda n: success(executionDetails={"externalExecutionId": "x" * n}), 1500),
    "percent": (lambda n: success(executionDetails={"percentComplete": n}), 100),
}


@pytest.mark.parametrize("edge", EDGES)
def test_a_limit_is_the_last_value_that_passes(edge):
    make, limit = EDGES[edge]
    assert refused_input("PutJobSuccessResult", make(limit)) is None
    refusal = refused_input("PutJobSuccessResult", make(limit + 1))
    assert refusal is not None
    assert refusal.code == "ValidationException"
    assert str(limit) in refusal.message


@pytest.mark.parametrize(("message", "passes"), [("m" * 5000, True), ("m" * 5001, False), ("", 0)])
def test_a_failure_message_has_1_to_5000_characters(message, passes):
    refusal = refused_input("PutJobFailureResult", failure(message=message))
    assert (refusal is None) == bool(passes)


def test_variables_may_have_122880_bytes_in_all():
    fits = success(outputVariables={"a": "x" * 122_879})
    assert refused_input("PutJobSuccessResult", fits) is None
    refusal = refused_input("PutJobSuccessResult", success(outputVariables={"a": "x" * 122_880}))
    assert refusal is not None
    assert refusal.code == "OutputVariablesSizeExceededException"


def test_every_broken_rule_is_told_in_awss_words():
    refusal = refused_input("PutJobFailureResult", {"jobId": "x", "failureDetails": {"type": "y"}})
    assert refusal is not None
    assert refusal.message.startswith("3 validation errors detected: Value 'x' at 'jobId' failed")
    assert "at 'failureDetails.message' failed to satisfy constraint: Member must not be null" in (
        refusal.message
    )


def test_null_is_absent_and_unknown_members_are_passed_over():
    request = success(currentRevision=None, executionDetails=None, misspelt={"a": [1]})
    assert refused_input("PutJobSuccessResult", request) is None
    refusal = refused_input("PutJobSuccessResult", {"jobId": None})
    assert refusal is not None
    assert refusal.code == "ValidationException"


@pytest.mark.parametrize(
    "request_body",
    [
        {"jobId": 1},
        {"jobId": [ID]},
        success(currentRevision="r"),
        success(currentRevision=REVISION | {"created": "2026-01-01"}),
        success(currentRevision=REVISION | {"created": float("inf")}),
        success(executionDetails={"percentComplete": 50.0}),
        success(executionDetails={"percentComplete": True}),
        success(executionDetails={"percentComplete": "50"}),
        success(outputVariables=[]),
        success(outputVariables={"a": 1}),
    ],
)
def test_a_wrong_json_type_cannot_be_read(request_body):
    refusal = refused_input("PutJobSuccessResult", request_body)
    assert refusal is not None
    assert refusal.code == "SerializationException"


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"{", b"\xff", b"{'a':1}", b"NaN"])
def test_what_is_no_json_object_cannot_be_read(body):
    refusal = read_body(body)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "SerializationException"


def test_no_body_is_an_empty_object():
    assert read_body(b"") == {}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=8,
)
names = st.sampled_from(sorted({member for shape in INPUTS.values() for member in shape.members}))


@given(st.sampled_from(sorted(INPUTS)), st.dictionaries(names, values))
def test_no_request_whatever_raises(operation, request_body):
    refusal = refused_input(operation, request_body)
    assert refusal is None or refusal.code in {
        "ValidationException",
        "SerializationException",
        "OutputVariablesSizeExceededException",
    }
