"""Records that are no job result, one builder for each way to be none.

`null value` asks nothing and is skipped; everything else here must be rejected, and must never
cost a call.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from gateway.simulation.spellings import Request

Headers = tuple[tuple[str, bytes | None], ...]
_TOO_LARGE_BYTES = 2_000_000


def poisoned(
    kind: str, request: Request, chance: random.Random
) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers of a record that a valid request was spoiled into."""
    key: bytes | None = request["jobId"].encode()
    spoil = POISON[kind]
    value = spoil(request) if callable(spoil) else spoil
    if value is not None and chance.random() < 0.2:  # aiokafka sends no record without both
        key = chance.choice((None, b"", b"\xff\xfe", b"k" * 300))
    return key, value, _HEADERS.get(kind, ())


def _json(request: Request) -> bytes:
    return json.dumps(request).encode()


def _with(**members: Any) -> Callable[[Request], bytes]:
    return lambda request: _json(request | members)


def _without(*members: str) -> Callable[[Request], bytes]:
    return lambda request: _json({k: v for k, v in request.items() if k not in members})


def _execution(**members: Any) -> Callable[[Request], bytes]:
    return _with(executionDetails=members)


def _revision(**members: Any) -> Callable[[Request], bytes]:
    return _with(currentRevision={"revision": "r1", "changeIdentifier": "c1"} | members)


def _failed(**members: Any) -> Callable[[Request], bytes]:
    """A failure, spoiled: of a success only the job id is kept."""
    details = {"type": "JobFailed", "message": "exit 1"} | members
    kept = {name: member for name, member in details.items() if member is not None}
    return lambda request: _json({"jobId": request["jobId"], "failureDetails": kept})


def _third_party(**members: Any) -> Callable[[Request], bytes]:
    return lambda request: _json({"jobId": request["jobId"], "clientToken": "t"} | members)


def _text(change: Callable[[str], str]) -> Callable[[Request], bytes]:
    return lambda request: change(json.dumps(request)).encode("utf-8", "surrogatepass")


POISON: dict[str, Callable[[Request], bytes] | bytes | None] = {
    "null value": None,
    # no JSON, or not one object
    "empty value": b"",
    "plain text": b"job done, all green",
    "cut off": lambda request: _json(request)[:-1],
    "truncated UTF-8": lambda request: _json(request)[:-2] + b"\xe2\x82",
    "trailing comma": _text(lambda text: text[:-1] + ",}"),
    "single quotes": _text(lambda text: text.replace('"', "'")),
    "two documents": lambda request: _json(request) * 2,
    "an array of results": lambda request: b"[" + _json(request) + b"]",
    "a string": lambda request: json.dumps(_json(request).decode()).encode(),
    "deep nesting": b'{"jobId":' + b"[" * 100_000,
    "NaN": _text(lambda text: text[:-1] + ', "executionDetails": {"percentComplete": NaN}}'),
    "a key twice": _text(lambda text: '{"jobId": "x", ' + text[1:]),
    "Avro framing": b"\0\0\0\0\7\x02\x48" + bytes(range(64)),
    # members
    "no job id": _without("jobId"),
    "empty job id": _with(jobId=""),
    "upper-case job id": lambda request: _json(request | {"jobId": request["jobId"].upper() + "A"}),
    "job id as number": _with(jobId=17),
    "misspelt member": _with(outputVaribles={"a": "b"}),
    "success and failure": _with(
        failureDetails={"type": "JobFailed", "message": "no"}, executionDetails={"summary": "yes"}
    ),
    "percent 101": _execution(percentComplete=101),
    "percent as text": _execution(percentComplete="50"),
    "percent as boolean": _execution(percentComplete=True),
    "huge integer": _execution(percentComplete=10**40),
    "summary too long": _execution(summary="s" * 2049),
    "empty summary": _execution(summary=""),
    "execution id too long": _execution(externalExecutionId="e" * 1501),
    "revision missing": _with(currentRevision={"changeIdentifier": "c1"}),
    "revision too long": _revision(revision="r" * 1501),
    "change identifier too long": _revision(changeIdentifier="c" * 101),
    "created in milliseconds": _revision(created=1_700_000_000_000),
    "created in words": _revision(created="yesterday"),
    "created before 2000": _revision(created="1999-12-31T23:59:59Z"),
    "token too long": lambda request: _json(
        {"jobId": request["jobId"], "continuationToken": "c" * 2049}
    ),
    "variables beside a token": _with(continuationToken="t", outputVariables={"a": "b"}),
    "variable with a space": _with(outputVariables={"my var": "b"}),
    "variable as number": _with(outputVariables={"a": 1}),
    "variables too large": _with(outputVariables={"a": "v" * 122_881}),
    "unknown failure type": _failed(type="Whatever"),
    "failure without message": _failed(message=None),
    "failure message too long": _failed(message="m" * 5001),
    "client token too long": _third_party(clientToken="t" * 257),
    "third party with variables": _third_party(outputVariables={"a": "b"}),
    "third-party job id too long": _third_party(jobId="j" * 513),
    "too large for a dead letter": _execution(summary="x" * _TOO_LARGE_BYTES),
    # headers
    "header names another operation": _json,
    "header is not UTF-8": _json,
    "unknown target": _json,
    "deadline in words": _json,
}
"""What each kind does to a valid success of a custom job; bytes are sent as they are."""

_HEADERS: dict[str, Headers] = {
    "header names another operation": (("gateway-operation", b"PutJobFailureResult"),),
    "header is not UTF-8": (("gateway-operation", b"\xff\xfe"),),
    "unknown target": (("gateway-target", b"nowhere"),),
    "deadline in words": (("gateway-deadline", b"tomorrow"),),
}
