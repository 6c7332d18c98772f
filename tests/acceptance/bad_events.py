"""Records that are no job result, and the good ones that stand closest to them.

Written from the API's documented limits, not from the table in core/requests.py: were a limit
wrong there, it would show here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

Headers = tuple[tuple[str, bytes | None], ...]
MILLION = 1_000_000
NO_KEY = None
JOB_KEY = b"(the job id)"
"""Stands for the job id of the record's own event."""


class Told(NamedTuple):
    """A member, and words of the rule that it breaks."""

    member: str
    words: str


class Bad(NamedTuple):
    """A record, and what has to be said of it."""

    value: bytes
    reason: str
    told: tuple[Told, ...]
    headers: Headers = ()
    key: bytes | None = JOB_KEY


class Good(NamedTuple):
    value: bytes
    headers: Headers = ()
    key: bytes | None = JOB_KEY
    job_id: str = ""
    """Where it is not that of the record's name."""


def job_id(name: str) -> str:
    """The job of the record with this name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


class _Events:
    """Writes the events of a table: each has a job of its own."""

    def __init__(self) -> None:
        self.good: dict[str, Good] = {}
        self.bad: dict[str, Bad] = {}

    def invalid(
        self, name: str, members: Mapping[str, Any], *told: tuple[str, str], **more: Any
    ) -> None:
        """A success of its own job with these members; None takes a member away."""
        event = {"jobId": job_id(name), **members}
        kept = {member: value for member, value in event.items() if value is not ...}
        self.raw(name, json.dumps(kept).encode(), "invalid", *told, **more)

    def third_party(self, name: str, members: Mapping[str, Any], *told: tuple[str, str]) -> None:
        self.invalid(name, {"clientToken": "token", **members}, *told)

    def failure(self, name: str, details: Mapping[str, Any], *told: tuple[str, str]) -> None:
        all_details = {"type": "JobFailed", "message": "exit 1", **details}
        kept = {member: value for member, value in all_details.items() if value is not ...}
        self.invalid(name, {"failureDetails": kept}, *told)

    def malformed(self, name: str, value: bytes, *words: str, **more: Any) -> None:
        self.raw(name, value, "malformed", *(("$", word) for word in words), **more)

    def raw(
        self, name: str, value: bytes, reason: str, *told: tuple[str, str], **more: Any
    ) -> None:
        assert name not in self.bad
        self.bad[name] = Bad(value, reason, tuple(Told(*each) for each in told), **more)

    def takes(self, name: str, members: Mapping[str, Any], **more: Any) -> None:
        event = {"jobId": job_id(name), **members}
        self.takes_raw(name, json.dumps(event).encode(), job_id=event["jobId"], **more)

    def takes_raw(self, name: str, value: bytes, **more: Any) -> None:
        assert name not in self.good
        self.good[name] = Good(value, **{"job_id": job_id(name), **more})


def revision(**members: Any) -> dict[str, Any]:
    made = {"revision": "r", "changeIdentifier": "c", **members}
    return {"currentRevision": {name: item for name, item in made.items() if item is not ...}}


def details(**members: Any) -> dict[str, Any]:
    return {"executionDetails": members}


def plain(name: str) -> bytes:
    return json.dumps({"jobId": job_id(name)}).encode()


def _bytes_that_are_no_object(events: _Events) -> None:
    malformed = events.malformed
    malformed("empty value", b"", "is empty")
    malformed("blanks", b" \t\r\n", "is empty")
    malformed("text", b"all green", "is no JSON")
    malformed("cut off", plain("cut off")[:-1], "ends too early")
    malformed("truncated UTF-8", plain("truncated UTF-8")[:-2] + b"\xe2\x82", "UTF-8")
    malformed("Latin-1", '{"jobId": "Räder"}'.encode("latin-1"), "UTF-8")
    malformed("UTF-16", plain("UTF-16").decode().encode("utf-16"), "UTF-8")
    malformed("UTF-16 without mark", plain("x").decode().encode("utf-16-le"), "is no JSON")
    malformed("byte order mark", b"\xef\xbb\xbf" + plain("byte order mark"), "byte order mark")
    malformed("trailing comma", plain("trailing comma")[:-1] + b",}", "is no JSON")
    malformed("single quotes", plain("single").replace(b'"', b"'"), "is no JSON")
    malformed("two documents", plain("two") * 2, "is no JSON")
    malformed("a comment", b"// done\n" + plain("a comment"), "is no JSON")
    malformed("null", b"null", "must be an object")
    malformed("a string", json.dumps(plain("a string").decode()).encode(), "must be an object")
    malformed("a number", b"17", "must be an object")
    malformed("an array of results", b"[" + plain("an array") + b"]", "not an array")
    malformed("half a surrogate", b'{"jobId": "\\ud800"}', "surrogate")
    malformed("random bytes", bytes(range(1, 256)) * 8, "UTF-8")
    malformed("NUL bytes", b"{" + bytes(64), "is no JSON")
    malformed("Avro framing", b"\0\0\0\0\7\x02\x48" + bytes(range(64)), "Avro")
    malformed("Avro framing alone", b"\0\0\0\0\7", "Avro")
    malformed("an Avro file", b"Obj\x01" + bytes(64), "Avro")
    malformed("Protobuf framing", b"\0\0\0\0\7\0\n\x03abc", "Protobuf")
    malformed("framed and cut off", b"\0\0\0\0\7" + plain("framed")[:-1], "only JSON")
    events.takes_raw("framed JSON", b"\0\0\0\0\7" + plain("framed JSON"))


def _numbers(events: _Events) -> None:
    percent = "$.executionDetails.percentComplete"
    for text in ("NaN", "Infinity", "-Infinity"):
        value = b'{"executionDetails": {"percentComplete": %s}}' % text.encode()
        events.malformed(text, value, "NaN and Infinity")
    value = b'{"executionDetails": {"percentComplete": 1e999}}'
    events.malformed("a number beyond doubles", value, "too large")
    events.invalid("101 percent", details(percentComplete=101), (percent, "<= 100"))
    events.invalid("-1 percent", details(percentComplete=-1), (percent, ">= 0"))
    events.invalid("a huge integer", details(percentComplete=10**40), (percent, "<= 100"))
    value = b'{"executionDetails": {"percentComplete": 1%s}}' % (b"0" * 4000)
    events.malformed("an integer beyond doubles", value, "too large")
    events.invalid("half a percent", details(percentComplete=0.5), (percent, "integer"))
    events.invalid("percent as text", details(percentComplete="50"), (percent, "integer"))
    events.invalid("percent as boolean", details(percentComplete=True), (percent, "integer"))
    events.invalid("percent boxed", details(percentComplete=[50]), (percent, "auto_unbox"))
    events.takes("0 percent", details(percentComplete=0))
    events.takes("100 percent", details(percentComplete=100))


def _moments(events: _Events) -> None:
    created = "$.currentRevision.created"

    def refused(name: str, value: Any, words: str) -> None:
        events.invalid(name, revision(created=value), (created, words))

    refused("epoch milliseconds", 1_700_000_000_000, "milliseconds")
    refused("epoch microseconds", 1_700_000_000_000_000, "microseconds")
    refused("epoch nanoseconds", 1_700_000_000_000_000_000, "nanoseconds")
    refused("a moment far ahead", 4_102_444_800, "day ahead")
    refused("a moment beyond all", 10**40, "day ahead")
    refused("before 2000", 946_684_799, "2000")
    refused("before 2000 as text", "1999-12-31T23:59:59Z", "2000")
    refused("in words", "yesterday", "YYYY-MM-DD")
    refused("basic form", "20150101", "YYYY-MM-DD")
    refused("week date", "2015-W01-1", "YYYY-MM-DD")
    refused("30 February", "2015-02-30", "YYYY-MM-DD")
    refused("created as boolean", True, "epoch seconds")
    refused("created as object", {"$date": 1}, "epoch seconds")
    events.takes("the year 2000", revision(created=946_684_800))
    events.takes("with a zone", revision(created="2015-01-01 10:20:30.123456+05:30"))


_TEXTS = (
    ("$.currentRevision.revision", 1500, lambda text: revision(revision=text)),
    ("$.currentRevision.changeIdentifier", 100, lambda text: revision(changeIdentifier=text)),
    ("$.currentRevision.revisionSummary", 2048, lambda text: revision(revisionSummary=text)),
    ("$.continuationToken", 2048, lambda text: {"continuationToken": text}),
    ("$.executionDetails.summary", 2048, lambda text: details(summary=text)),
    ("$.executionDetails.externalExecutionId", 1500, lambda t: details(externalExecutionId=t)),
    ("$.clientToken", 256, lambda text: {"clientToken": text}),
    ("$.failureDetails.message", 5000, lambda t: _failed(message=t)),
    ("$.failureDetails.externalExecutionId", 1500, lambda t: _failed(externalExecutionId=t)),
)
"""Every string with a length: where it stands, how long it may be, an event that holds it."""


def _failed(**members: Any) -> dict[str, Any]:
    return {"failureDetails": {"type": "JobFailed", "message": "exit 1", **members}}


def _texts(events: _Events) -> None:
    for member, most, event in _TEXTS:
        events.invalid(f"{member} too long", event("x" * (most + 1)), (member, f"1 to {most} "))
        events.invalid(f"{member} empty", event(""), (member, "empty"))
        events.invalid(f"{member} as number", event(17), (member, "string"))
        events.invalid(f"{member} as boolean", event(True), (member, "string"))
        events.takes(f"{member} as long as may be", event("€" * most))
    long_id = {"jobId": "j" * 513, "clientToken": "t"}
    events.invalid("third-party job id too long", long_id, ("$.jobId", "1 to 512 "))
    events.invalid("third-party job id empty", {**long_id, "jobId": ""}, ("$.jobId", "empty"))
    events.takes("third-party job id of 512", {**long_id, "jobId": "\U0001f680" * 512})


def _job_ids(events: _Events) -> None:
    def refused(name: str, value: Any, words: str) -> None:
        events.invalid(name, {"jobId": value}, ("$.jobId", words))

    refused("no job id", ..., "is required")
    refused("job id null", None, "is required")
    refused("job id empty", "", "must match")
    refused("job id as number", 17, "string")
    refused("job id boxed", [job_id("boxed")], "auto_unbox")
    refused("upper-case job id", job_id("upper-case job id").upper(), "must match")
    refused("job id in braces", f"{{{job_id('braces')}}}", "must match")
    refused("job id with a newline", job_id("newline") + "\n", "must match")
    refused("job id one too short", job_id("short")[:-1], "must match")
    refused("a job id of a megabyte", "a" * 900_000, "must match")


def _objects(events: _Events) -> None:
    for name in ("currentRevision", "executionDetails", "outputVariables", "failureDetails"):
        events.invalid(f"{name} as text", {name: "x"}, (f"$.{name}", "object"))
        events.invalid(f"{name} as array", {name: [1]}, (f"$.{name}", "object"))
    required = "is required"
    where = "$.currentRevision."
    events.invalid("no revision", revision(revision=...), (f"{where}revision", required))
    no_change = revision(changeIdentifier=...)
    events.invalid("no change", no_change, (f"{where}changeIdentifier", required))
    events.failure("no type", {"type": ...}, ("$.failureDetails.type", required))
    events.failure("no message", {"message": ...}, ("$.failureDetails.message", required))
    events.failure("another type", {"type": "Whatever"}, ("$.failureDetails.type", "JobFailed"))
    events.failure("type in lower case", {"type": "jobfailed"}, ("$.failureDetails.type", "one of"))
    for kind in (
        *("JobFailed", "ConfigurationError", "PermissionError"),
        *("RevisionOutOfSync", "RevisionUnavailable", "SystemUnavailable"),
    ):
        events.takes(f"failure {kind}", _failed(type=kind))
    events.takes("nulls are absent", {"currentRevision": None, "continuationToken": None})


def _variables(events: _Events) -> None:
    def refused(name: str, value: Any, *told: tuple[str, str]) -> None:
        events.invalid(name, {"outputVariables": value}, *told)

    where = "$.outputVariables"
    refused("variables too large", {"a": "v" * 122_880}, (where, "122880 bytes"))
    refused("variables too large in UTF-8", {"a": "€" * 40_960}, (where, "122880 bytes"))
    refused("variable with a space", {"my var": "x"}, (f'{where}["my var"]', "must match"))
    refused("variable without a name", {"": "x"}, (f'{where}[""]', "must match"))
    refused("variable as number", {"a": 1}, (f"{where}.a", "string"))
    refused("variable as null", {"a": None}, (f"{where}.a", "string"))
    many = {f"bad name {number}": 0 for number in range(40_000)}
    refused("40,000 bad variables", many, ("$", "more rules"))
    both = {"continuationToken": "t", "outputVariables": {"a": "b"}}
    events.invalid("variables beside a token", both, (where, "continuationToken"))
    strange = (where, "is no member of PutThirdPartyJobSuccessResult")
    events.third_party("third party with variables", {"outputVariables": {"a": "b"}}, strange)
    events.takes("variables as large as may be", {"outputVariables": {"a": "v" * 122_879}})
    events.takes("a variable without value", {"outputVariables": {"a@b-c_D9": ""}})


def _strangers(events: _Events) -> None:
    events.invalid("unknown member", {"colour": "red"}, ("$.colour", "is unknown"))
    for wrong, right in (
        ("outputVaribles", "outputVariables"),
        ("currentrevision", "currentRevision"),
        ("execution_details", "executionDetails"),
        ("failureDetail", "failureDetails"),
        ("ContinuationToken", "continuationToken"),
    ):
        meant = f"did you mean {right}?"
        events.invalid(f"misspelt {right}", {wrong: {}}, (f"$.{wrong}", meant))
    misspelt = {"jobId": ..., "job_id": job_id("misspelt jobId")}
    told = (("$.job_id", "did you mean jobId?"), ("$.jobId", "is required"))
    events.invalid("misspelt jobId", misspelt, *told)
    percent = "$.executionDetails.percentcomplete"
    meant = "did you mean percentComplete?"
    events.invalid("misspelt inside", details(percentcomplete=1), (percent, meant))
    both = {**details(summary="ok"), **_failed()}
    strange = ("$.executionDetails", "is no member of PutJobFailureResult")
    events.invalid("success and failure", both, strange)
    tokens = {"clientToken": "t", "clientId": job_id("client")}
    events.invalid("client id beside token", tokens, ("$.clientId", "left out"))
    unknown = {"clientId": job_id("client")}
    events.invalid("client id of nobody", unknown, ("$.clientId", "known here"))
    climbing = {"clientId": "../../../../etc/passwd"}
    events.invalid("client id that climbs", climbing, ("$.clientId", "must match"))
    members = {f"stranger{number}": 1 for number in range(50_000)}
    events.invalid("50,000 strangers", members, ("$", "1000 other members"))


def _keys_twice_and_depth(events: _Events) -> None:
    def twice(name: str, text: str, *members: str) -> None:
        told = [(member, "more than once") for member in members]
        events.raw(name, text.encode(), "malformed", *told)

    first, second = job_id("first"), job_id("second")
    twice("a key twice", f'{{"jobId": "{first}", "jobId": "{second}"}}', "$.jobId")
    twice("an escaped key twice", f'{{"jobId": "{first}", "job\\u0049d": "{second}"}}', "$.jobId")
    inner = f'{{"jobId": "{first}", "outputVariables": {{"a": "1", "a": "1"}}}}'
    twice("a key twice inside", inner, "$.outputVariables.a")
    twice("a key twice, null", f'{{"jobId": "{first}", "colour": null, "colour": 1}}', "$.colour")
    deep = b'{"jobId": ' + b"[" * 100_000
    events.malformed("deep nesting cut off", deep, "")
    for depth in (33, 1_000, 200_000):
        value = b'{"jobId": ' + b"[" * depth + b"]" * depth + b"}"
        events.malformed(f"{depth} levels", value, "deeper than 32")
    objects = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
    events.malformed("5,000 objects deep", objects, "deeper than 32")


def _headers(events: _Events) -> None:
    def refused(name: str, headers: Headers, member: str, words: str) -> None:
        told = (f"header {member}", words)
        events.invalid(name, {}, told, headers=headers)

    operation, target, deadline = "gateway-operation", "gateway-target", "gateway-deadline"
    strange = ((operation, b"\xff\xfe"),)
    refused("operation not UTF-8", strange, operation, "UTF-8")
    refused("operation null", ((operation, None),), operation, "null")
    refused("operation empty", ((operation, b""),), operation, "empty")
    refused("operation unknown", ((operation, b"PutJob"),), operation, "one of")
    another = ((operation, b"put-job-failure-result"),)
    refused("operation of another", another, operation, "names PutJobFailureResult")
    last_is_bad = ((operation, b"PutJobSuccessResult"), (operation, b"\0"))
    refused("operation twice, last bad", last_is_bad, operation, "one of")
    refused("deadline in words", ((deadline, b"tomorrow"),), deadline, "RFC 3339")
    refused("deadline without zone", ((deadline, b"2030-01-01T00:00:00"),), deadline, "RFC 3339")
    refused("target not UTF-8", ((target, b"\xc3\x28"),), target, "UTF-8")
    refused("target null", ((target, None),), target, "null")
    for name, value in (
        ("nowhere", b"nowhere"),
        ("of control", b"\x1b[2J\x00"),
        ("long", b"t" * 5000),
    ):
        told = ("header gateway-target", "no target")
        event = plain(f"target {name}")
        events.raw(f"target {name}", event, "unroutable", told, headers=((target, value),))
    both = ((operation, b"\xff"), ("other", b"\xff\0"))
    events.malformed("bad value and bad header", b"{", "ends too early", headers=both)

    takes = events.takes
    takes(
        "operation twice, last good",
        {},
        headers=((operation, b"x"), (operation, b"put-job-success-result")),
    )
    foreign: Headers = (
        ("", b""),
        ("colour", None),
        ("colour", b"\xff\xfe"),
        ("Räder", b"\0" * 9000),
    )
    takes("foreign headers of any bytes", {}, headers=foreign)
    takes("the target by name", {}, headers=((target, b"default"),))
    takes("a deadline", {}, headers=((deadline, b"2030-01-01t00:00:00.5z"),))
    takes("a deadline long past", {}, headers=((deadline, b"2001-01-01T00:00:00+14:00"),))
    imitated = (("__connect.errors.topic", b"forged"), ("gateway-dead-letter-reason", b"internal"))
    takes("headers of a dead letter", {}, headers=imitated)
    told = ("$.colour", "is unknown")
    events.invalid("forged dead letter", {"colour": 1}, told, headers=imitated)


def _keys(events: _Events) -> None:
    for name, key in (
        *(("no key", NO_KEY), ("an empty key", b""), ("a key of bytes", b"\xff\xfe\0")),
        ("a key of 100 kB", b"k" * 100_000),
    ):
        events.takes(name, {}, key=key)
        events.malformed(f"{name} and no JSON", b"{", "ends too early", key=key)


def _sizes(events: _Events) -> None:
    """Larger than the dead-letter topic takes; the first is no larger than an event may be."""
    summary = "$.executionDetails.summary"
    large = details(summary="x" * 2_000_000)
    events.invalid("2 MB", large, (summary, "1 to 2048 "))
    event = json.dumps({"jobId": job_id("10 MB"), **details(summary="x" * 10 * MILLION)})
    events.malformed("10 MB", event.encode(), "2097152 bytes")
    events.malformed("10 MB of noise", bytes(range(256)) * 40_000, "2097152 bytes")
    wide = (("wide", b"h" * 50_000), ("narrow", b"n")) * 30
    events.malformed("3 MB with headers", b"{" + b" " * 1_500_000, "", headers=wide)


def _made() -> _Events:
    events = _Events()
    for write in (
        *(_bytes_that_are_no_object, _numbers, _moments, _texts, _job_ids, _objects, _variables),
        *(_strangers, _keys_twice_and_depth, _headers, _keys, _sizes),
    ):
        write(events)
    return events


_EVENTS = _made()
GOOD, BAD = _EVENTS.good, _EVENTS.bad
