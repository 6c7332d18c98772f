"""The table of members and limits: AWS's own model agrees, every limit bites one past its edge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.model import Shape
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.limits import Member, Moment, Structure, Text, TextMap, Whole
from gateway.core.model import Claim, Operation, Violation
from gateway.core.requests import CLIENT_ID, OUTPUT_VARIABLES, REQUESTS, json_schema
from tests.core.examples import EVENTS, JOB_ID, accepted, body_of, event, rejected

MODEL = botocore.session.get_session().get_service_model("codepipeline")
TYPES = {
    Text: "string",
    Whole: "integer",
    Moment: "timestamp",
    TextMap: "map",
    Structure: "structure",
}


# --- the installed model --------------------------------------------------------------------------


def limits_of_shape(shape: Shape) -> dict[str, Any]:
    """What the model says of a shape, in the words of the table."""
    told: dict[str, Any] = {"type": shape.type_name}
    for limit in ("min", "max", "pattern", "enum"):
        if limit in shape.metadata:
            told[limit] = shape.metadata[limit]
    if shape.type_name == "structure":
        told["required"] = sorted(shape.required_members)
        told["members"] = {name: limits_of_shape(each) for name, each in shape.members.items()}
    if shape.type_name == "map":
        told["key"], told["value"] = limits_of_shape(shape.key), limits_of_shape(shape.value)
    return told


def limits_of_rule(rule: Any) -> dict[str, Any]:
    """What the table says of a rule, in the words of the model."""
    told: dict[str, Any] = {"type": TYPES[type(rule)]}
    if isinstance(rule, Text):
        limits = {"min": rule.min_length or None, "max": rule.max_length, "pattern": rule.pattern}
        limits["enum"] = list(rule.choices) or None  # type: ignore[assignment]
        told |= {name: limit for name, limit in limits.items() if limit is not None}
    if isinstance(rule, Whole):
        told |= {"min": rule.minimum, "max": rule.maximum}
    if isinstance(rule, TextMap):
        told |= {"key": limits_of_rule(rule.key), "value": limits_of_rule(rule.value)}
    if isinstance(rule, Structure):
        told["required"] = sorted(each.name for each in rule.members if each.is_required)
        told["members"] = {each.name: limits_of_rule(each.rule) for each in rule.members}
    return told


@pytest.mark.parametrize("operation", Operation)
def test_the_table_says_what_the_installed_model_says(operation: Operation) -> None:
    shape = MODEL.operation_model(operation).input_shape
    assert limits_of_rule(REQUESTS[operation]) == limits_of_shape(shape)


def test_a_client_id_obeys_the_pattern_of_the_model() -> None:
    assert CLIENT_ID.pattern == MODEL.shape_for("ClientId").metadata["pattern"]


@pytest.mark.parametrize("operation", Operation)
def test_a_valid_event_is_what_a_stock_client_would_send(operation: Operation) -> None:
    body = body_of(accepted(event(operation)))
    model = MODEL.operation_model(operation)
    assert not ParamValidator().validate(body, model.input_shape).has_errors()
    sent = create_serializer("json").serialize_to_request(body, model)
    assert json.loads(sent["body"]) == body


# --- every limit, at its edge and one past it -----------------------------------------------------

Path = tuple[str, ...]


def members_of(structure: Structure, path: Path = ()) -> Iterator[tuple[Path, Member]]:
    for member in structure.members:
        yield (*path, member.name), member
        if isinstance(member.rule, Structure):
            yield from members_of(member.rule, (*path, member.name))


EVERY_MEMBER = [
    pytest.param(operation, path, member, id=f"{operation}.{'.'.join(path)}")
    for operation, request in REQUESTS.items()
    for path, member in members_of(request)
]


def with_member(operation: Operation, path: Path, value: object) -> dict[str, Any]:
    """A valid event, with one member replaced, `...` to take it out."""
    made = event(operation)
    if path == ("continuationToken",):
        made.pop("outputVariables", None)
    *parents, name = path
    holder = made
    for parent in parents:
        holder = holder[parent]
    holder[name] = value
    if value is ...:
        del holder[name]
    return made


def shown(path: Path) -> str:
    return ".".join(("$", *path))


def edges(rule: Any) -> tuple[list[object], list[tuple[object, str]]]:
    """Values just within the rule, and values just outside of it with what is said of them."""
    text = [(7, "must be a string"), (True, "must be a string"), (["x"], "must be a string;")]
    if isinstance(rule, Text) and rule.max_length is not None:
        length = f"must be {rule.min_length} to {rule.max_length} characters long"
        fits: list[object] = ["x", "x" * rule.max_length, "\U0001f680" * rule.max_length]
        return fits, [*text, ("", "must not be empty"), ("x" * (rule.max_length + 1), length)]
    if isinstance(rule, Text) and rule.choices:
        close = [rule.choices[0].upper(), rule.choices[0] + " ", ""]
        return [*rule.choices], [*text, *((value, "must be one of") for value in close)]
    if isinstance(rule, Text):
        close = [JOB_ID.upper().replace("1", "A"), JOB_ID + "\n", JOB_ID[:-1], f" {JOB_ID}", ""]
        return [JOB_ID], [*text, *((value, "must match") for value in close)]
    if isinstance(rule, Whole):
        return [rule.minimum, rule.maximum, float(rule.maximum)], [
            (rule.minimum - 1, f"must be >= {rule.minimum}"),
            (rule.maximum + 1, f"must be <= {rule.maximum}"),
            (10**30, f"must be <= {rule.maximum}"),
            (10**300, f"must be <= {rule.maximum}"),
            (0.5, "must be an integer"),
            (True, "must be an integer"),
            ("50", "must be an integer"),
            ([50], "must be an integer;"),
        ]
    if isinstance(rule, Moment):
        return [1_420_070_400, "2015-01-01"], [
            (True, "must be epoch seconds or"),
            ([1_420_070_400], "must be epoch seconds or"),
            ({"$date": 1_420_070_400_000}, "must be epoch seconds or"),
        ]
    if isinstance(rule, TextMap):
        return [{}, {"a": ""}, {"a-Z_9@": "x"}], [
            (["string"], "must be an object of strings (R: a named list)"),
            ("x", "must be an object of strings"),
        ]
    return [], [("x", "must be an object"), (["x"], "must be an object"), (0, "must be an object")]


@pytest.mark.parametrize(("operation", "path", "member"), EVERY_MEMBER)
def test_a_value_at_the_edge_of_a_limit_is_accepted(
    operation: Operation, path: Path, member: Member
) -> None:
    for value in edges(member.rule)[0]:
        accepted(with_member(operation, path, value))


@pytest.mark.parametrize(("operation", "path", "member"), EVERY_MEMBER)
def test_a_value_one_past_a_limit_is_rejected_by_member_and_rule(
    operation: Operation, path: Path, member: Member
) -> None:
    for value, rule in edges(member.rule)[1]:
        (violation,) = rejected(with_member(operation, path, value))
        assert violation.member == shown(path)
        assert violation.rule.startswith(rule)


@pytest.mark.parametrize(("operation", "path", "member"), EVERY_MEMBER)
def test_only_required_members_are_missed(operation: Operation, path: Path, member: Member) -> None:
    for absent in (..., None):
        changed = with_member(operation, path, absent)
        decides_the_kind = path in {("clientToken",), ("failureDetails",)}
        if member.is_required and not decides_the_kind:
            assert rejected(changed) == (Violation(shown(path), "is required"),)
        elif not member.is_required:
            assert accepted(changed).operation is operation


@pytest.mark.parametrize(
    "path", [("currentRevision",), ("executionDetails",), ("outputVariables",)]
)
def test_an_empty_array_is_no_optional_object(path: Path) -> None:
    assert path[0] not in body_of(accepted(with_member(Operation.JOB_SUCCESS, path, [])))


def test_an_empty_array_never_turns_a_failure_into_a_success() -> None:
    (violation,) = rejected(event(Operation.JOB_FAILURE, failureDetails=[]))
    assert violation == Violation("$.failureDetails", "must be an object")


# --- output variables -----------------------------------------------------------------------------


def test_output_variables_are_bounded_in_all_by_bytes_of_names_and_values() -> None:
    room = OUTPUT_VARIABLES.max_total_bytes - len("ab")
    accepted(event(outputVariables={"a": "x" * (room - 6), "b": "\U0001f680é"}))
    (violation,) = rejected(event(outputVariables={"a": "x" * (room - 5), "b": "\U0001f680é"}))
    assert violation.member == "$.outputVariables"
    assert violation.rule.startswith("must be <= 122880 bytes in all")


def test_output_variables_stand_only_where_no_continuation_token_does() -> None:
    both = event(continuationToken="t", outputVariables={"a": "b"})
    assert rejected(both) == (
        Violation("$.outputVariables", "must be left out beside continuationToken"),
    )
    accepted(event(continuationToken=None, outputVariables={"a": "b"}))


@pytest.mark.parametrize("name", ["", "a b", "a.b", "ä", "a\n", "a$"])
def test_a_name_of_a_variable_obeys_its_pattern(name: str) -> None:
    (violation,) = rejected(event(outputVariables={name: "x"}))
    assert violation.rule == r"name must match [A-Za-z0-9@\-_]+"
    assert violation.member.isascii()


@pytest.mark.parametrize("value", [None, 1, True, {}, ["x"]])
def test_a_value_of_a_variable_is_a_string(value: object) -> None:
    (violation,) = rejected(event(outputVariables={"a": value}))
    assert violation.member == "$.outputVariables.a"
    assert violation.rule.startswith("must be a string")


# --- unknown members, and all violations at once --------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("outputVaribles", "outputVariables"),
        ("execution_details", "executionDetails"),
        ("JobId", "jobId"),
        ("FailureDetails", "failureDetails"),
        ("client-token", "clientToken"),
    ],
)
def test_a_misspelt_member_is_named_with_what_was_meant(name: str, meant: str) -> None:
    assert rejected(event(**{name: "x"})) == (
        Violation(
            f"$.{name}" if name.isidentifier() else f'$["{name}"]',
            f"is unknown: did you mean {meant}?",
        ),
    )


def test_unknown_members_are_found_at_every_level() -> None:
    changed = event()
    changed["currentRevision"]["revison"] = "x"
    changed["executionDetails"]["zzz"] = None
    assert rejected(changed) == (
        Violation("$.currentRevision.revison", "is unknown: did you mean revision?"),
        Violation("$.executionDetails.zzz", "is unknown"),
    )


@pytest.mark.parametrize("name", ["x" * 10_000, "\x1b[31mred\r\n", "é\u202e", '"]', "\x00"])
def test_names_from_an_event_are_short_and_printable_in_a_violation(name: str) -> None:
    for violation in rejected(event(outputVariables={name + " ": "x"}, **{name: 1})):
        assert str(violation).isprintable()
        assert str(violation).isascii()
        assert len(violation.member) < 500


def test_all_violations_are_told_at_once_up_to_a_bound() -> None:
    few = event(jobId="x", executionDetails={"percentComplete": 101, "summary": ""}, extra=1)
    assert [violation.member for violation in rejected(few)] == [
        "$.jobId",
        "$.executionDetails.summary",
        "$.executionDetails.percentComplete",
        "$.extra",
    ]
    many = rejected(event(**{f"no{number}": 1 for number in range(900)}))
    assert len(many) == 21
    assert many[-1] == Violation("$", "breaks 880 more rules")


@pytest.mark.parametrize("unknown_members", ["reject", "ignore"])
def test_unknown_members_are_bounded_in_number(unknown_members: str) -> None:
    crowded = event(**{f"no{number}": 1 for number in range(1010)})
    assert rejected(crowded, unknown_members=unknown_members) == (
        Violation("$", "must not have more than 1000 other members"),
    )


def test_ignored_members_are_left_out_of_the_call() -> None:
    extended = event(extra={"a": [1]}, buildNumber=7)
    extended["executionDetails"]["colour"] = "red"
    assert accepted(extended, unknown_members="ignore").body == accepted(event()).body


@pytest.mark.parametrize("name", ["failureDetail", "FailureDetails", "failure_details"])
def test_a_misspelt_failure_is_no_success_even_where_unknown_members_are_ignored(
    name: str,
) -> None:
    misspelt = {"jobId": JOB_ID, name: {"type": "JobFailed", "message": "x"}}
    (violation,) = rejected(misspelt, unknown_members="ignore")
    assert violation.rule == "is unknown: did you mean failureDetails?"


@pytest.mark.parametrize("unknown_members", ["reject", "ignore"])
@pytest.mark.parametrize(
    ("operation", "stranger"),
    [
        (Operation.JOB_FAILURE, "executionDetails"),
        (Operation.THIRD_PARTY_JOB_FAILURE, "continuationToken"),
        (Operation.THIRD_PARTY_JOB_SUCCESS, "outputVariables"),
    ],
)
def test_a_member_of_another_request_is_never_dropped(
    operation: Operation, stranger: str, unknown_members: str
) -> None:
    mixed = event(operation, **{stranger: {"a": "b"}})
    (violation,) = rejected(mixed, unknown_members=unknown_members)
    assert violation.member == f"$.{stranger}"
    assert violation.rule.startswith(f"is no member of {operation}")
    accepted(event(operation, **{stranger: None}))


# --- canonical body and digest --------------------------------------------------------------------


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reordered(item) for name, item in reversed(value.items())}
    return value


@pytest.mark.parametrize("operation", Operation)
def test_order_and_spelling_of_an_event_change_neither_body_nor_digest(
    operation: Operation,
) -> None:
    plain = event(operation)
    other = reordered(plain)
    if "currentRevision" in other:
        other["currentRevision"]["created"] = "2015-01-01T01:00+01:00"
    spaced = json.dumps(other, indent=3).replace("r", "\\u0072").encode()
    one, two = accepted(plain), accepted(spaced)
    assert (one.body, one.digest) == (two.body, two.digest)
    assert len(one.digest) == 16


def test_the_body_has_the_order_of_the_table_and_sorted_names() -> None:
    body = body_of(accepted(reordered(event(outputVariables={"b": "1", "B": "2", "a": "3"}))))
    assert list(body) == ["jobId", "currentRevision", "executionDetails", "outputVariables"]
    assert list(body["currentRevision"])[:2] == ["revision", "changeIdentifier"]
    assert list(body["outputVariables"]) == ["B", "a", "b"]


def test_the_client_token_is_sent_and_left_out_of_the_digest() -> None:
    operation = Operation.THIRD_PARTY_JOB_FAILURE
    one, two = (accepted(event(operation, clientToken=token)) for token in ("one", "two"))
    assert body_of(one)["clientToken"] == "one"
    assert one.digest == two.digest


def test_operation_content_and_key_make_the_digest() -> None:
    results = [accepted(event(operation)) for operation in Operation]
    results.append(accepted(event(executionDetails=None)))
    # Apart from the token these two requests have the same members.
    results.append(accepted({"jobId": JOB_ID}))
    results.append(accepted({"jobId": JOB_ID, "clientToken": "t"}))
    results.extend(accepted(event(), digest_key=key) for key in (b"", b"k" * 64, b"k" * 65))
    assert len({result.digest for result in results}) == len(results)


@pytest.mark.parametrize(
    ("changed", "claim"),
    [
        (event(), Claim.SUCCEEDED),
        (event(outputVariables=..., continuationToken="t"), Claim.CONTINUES),
        (event(Operation.JOB_FAILURE), Claim.FAILED),
        (event(Operation.THIRD_PARTY_JOB_FAILURE), Claim.FAILED),
    ],
)
def test_the_claim_follows_from_the_members(changed: dict[str, Any], claim: Claim) -> None:
    assert accepted(changed).claim is claim


# --- JSON Schema ----------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", Operation)
def test_the_schema_names_every_member_of_every_request(operation: Operation) -> None:
    schema = json_schema()
    assert {"$ref": f"#/$defs/{operation}"} in schema["oneOf"]
    request = schema["$defs"][operation]
    ours = {"clientId"} if "clientToken" in request["properties"] else set()
    assert set(request["properties"]) == {m.name for m in REQUESTS[operation].members} | ours
    assert request["additionalProperties"] is False
    assert set(EVENTS[operation]) <= set(request["properties"])


NAMES = st.text("abcXYZ019@-_", min_size=1, max_size=8)
TEXTS = st.text(max_size=30)


@given(variables=st.dictionaries(NAMES, TEXTS, max_size=8), summary=st.text(min_size=1))
def test_what_is_accepted_reaches_the_body_unchanged(
    variables: dict[str, str], summary: str
) -> None:
    details = {"summary": summary[:2048]}
    body = body_of(accepted(event(outputVariables=variables, executionDetails=details)))
    assert body["outputVariables"] == variables
    assert body["executionDetails"] == details
