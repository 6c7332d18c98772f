"""`gateway explain`: what each event of a file would become, or everything that is wrong with it.

A file holds one JSON document, or several one after the other: JSON lines, or documents over many
lines. A document that cannot be read ends before the next line that opens an object at its very
beginning. Events of a file have no topic and no key: they are taken as records of the first input
topic, and `input.key` is not held against them. Without `third_party.client_tokens` every client id
counts as known.

Nothing is called. Client tokens and the values of output variables are shown as `***`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.decode import Decoder
from gateway.core.model import JobResult, Reason, Record, Rejection, Skipped, Violation
from gateway.core.routing import Routes
from gateway.core.timestamps import utc_text

if TYPE_CHECKING:
    from gateway.config import Settings

HIDDEN = "***"
LONGEST_VALUE = 200
"""Characters of a value that people are shown; JSON output has them all."""

_WRONG_USE = 2
_SOME_REJECTED = 1

_SPACE = re.compile(r"[ \t\r\n]*")
_NEXT_DOCUMENT = re.compile(r"\n(?=\{)")
_PLACEHOLDER = re.compile(rb"([:\[,]\s*)(number|integer|timestamp|string)(?=\s*[,}\]])")

Header = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one event would become. Holds no secret."""

    line: int
    verdict: JobResult | Rejection | Skipped
    target: str | None = None

    @property
    def is_call(self) -> bool:
        return isinstance(self.verdict, JobResult)

    def as_text(self, number: int) -> str:
        return "\n".join([f"event {number} (line {self.line}): {self._headline()}", *self._lines()])

    def as_json(self, number: int) -> dict[str, Any]:
        shown: dict[str, Any] = {"event": number, "line": self.line}
        if isinstance(self.verdict, JobResult):
            return shown | {
                "call": {
                    "operation": str(self.verdict.operation),
                    "target": self.target,
                    "members": shown_members(self.verdict),
                }
            }
        if isinstance(self.verdict, Rejection):
            broken = [violation._asdict() for violation in self.verdict.violations]
            return shown | {"rejection": {"reason": str(self.verdict.reason), "violations": broken}}
        return shown | {"skipped": self.verdict.why}

    def _headline(self) -> str:
        if isinstance(self.verdict, JobResult):
            return f"{self.verdict.operation} to target {self.target}"
        if isinstance(self.verdict, Rejection):
            return f"rejected as {self.verdict.reason}"
        return f"skipped, {self.verdict.why}"

    def _lines(self) -> list[str]:
        if isinstance(self.verdict, JobResult):
            pairs = _flat("", shown_members(self.verdict))
            return [f"  {name:<37} {_for_people(name, value)}" for name, value in pairs]
        if isinstance(self.verdict, Rejection):
            return [f"  {violation}" for violation in self.verdict.violations]
        return []


def run(file: str, *, as_json: bool, headers: list[str], config: str | None) -> int:
    """0: each event would be a call. 1: some would not. 2: the file, a header or the configuration
    cannot be used."""
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        parsed_headers = tuple(_header(header) for header in headers)
    except (OSError, ValueError) as fault:
        print(f"{file}: {fault.strerror}" if isinstance(fault, OSError) else fault, file=sys.stderr)
        return _WRONG_USE
    settings = _settings(config)
    if settings is None:
        return _WRONG_USE
    decoder, routes = _parts(settings)
    topic = settings.input.topics[0]
    explanations = list(explain(text, decoder, routes, topic, parsed_headers, time.time()))
    for number, explanation in enumerate(explanations, 1):
        if as_json:
            print(json.dumps(explanation.as_json(number)))
        else:
            print(explanation.as_text(number))
    if not explanations:
        print(f"{file}: no events", file=sys.stderr)
    return 0 if explanations and all(each.is_call for each in explanations) else _SOME_REJECTED


def explain(
    text: bytes,
    decoder: Decoder,
    routes: Routes,
    topic: str,
    headers: tuple[Header, ...],
    now: float,
) -> Iterator[Explanation]:
    """What each event of a text would become, in order."""
    line, previous = 1, 0
    for start, value in events_in(text):
        line, previous = line + text.count(b"\n", previous, start), start
        record = Record(topic, 0, start, now, None, value, headers)
        verdict = _decoded(record, decoder, now)
        if not isinstance(verdict, JobResult):
            yield Explanation(line, verdict)
            continue
        target = routes.route(topic, verdict.named_target)
        if isinstance(target, Rejection):
            yield Explanation(line, target)
        else:
            yield Explanation(line, verdict, target)


def events_in(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of each document. What is no JSON is a document too, to be rejected."""
    # One character a byte, so that offsets agree; which bytes are no UTF-8 is the decoder's matter.
    characters = text.decode("latin-1")
    position = _after_space(characters, 0)
    while position < len(characters):
        end = _end_of_document(characters, position)
        yield position, text[position:end].rstrip()
        position = _after_space(characters, end)


def shown_members(result: JobResult) -> dict[str, Any]:
    """The members of the call, secrets hidden."""
    members: dict[str, Any] = json.loads(result.body)
    if "clientToken" in members:
        members["clientToken"] = HIDDEN
    if "outputVariables" in members:
        members["outputVariables"] = dict.fromkeys(members["outputVariables"], HIDDEN)
    return members


def _end_of_document(characters: str, start: int) -> int:
    try:
        return json.JSONDecoder(parse_int=float).raw_decode(characters, start)[1]
    except (ValueError, RecursionError):
        following = _NEXT_DOCUMENT.search(characters, start)
        return following.start() if following else len(characters)


def _after_space(characters: str, position: int) -> int:
    space = _SPACE.match(characters, position)
    return space.end() if space else position


def _decoded(record: Record, decoder: Decoder, now: float) -> JobResult | Rejection | Skipped:
    """Placeholders of reference pages stand there without quotes (`"created": number`): tell what
    is wrong with the members too, not only that such a page is no JSON."""
    verdict = decoder.decode(record, now)
    if not isinstance(verdict, Rejection) or verdict.reason is not Reason.MALFORMED:
        return verdict
    quoted, placeholders = _PLACEHOLDER.subn(rb'\1"\2"', record.value or b"")
    if placeholders:
        second = decoder.decode(record._replace(value=quoted), now)
        if isinstance(second, Rejection) and second.reason is Reason.INVALID:
            missing = Violation("$", "is no JSON: placeholders are to be replaced by values")
            return replace(verdict, violations=(missing, *second.violations))
    return verdict


def _settings(config: str | None) -> Settings | None:
    """Settings as `gateway run` would take them; brokers need not be named, nobody is asked."""
    from gateway.config import ConfigurationError, load

    try:
        return load(config, {"GATEWAY_KAFKA__BOOTSTRAP_SERVERS": "unused:9092"} | dict(os.environ))
    except ConfigurationError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return None


def _parts(settings: Settings) -> tuple[Decoder, Routes]:
    decoder = Decoder(
        digest_key=b"",
        unknown_members=settings.input.unknown_members,
        key="any",
        client_token_of=_client_tokens(settings.third_party.client_tokens),
    )
    return decoder, Routes(settings.targets, None, settings.input.allowed)


def _client_tokens(directory: Path | None) -> Callable[[str], str | None]:
    if directory is None:
        return lambda client_id: HIDDEN

    def look_up(client_id: str) -> str | None:
        try:
            return (directory / client_id).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return None

    return look_up


def _header(argument: str) -> Header:
    name, separator, value = argument.partition("=")
    if not separator:
        raise ValueError("--header: must be NAME=VALUE")
    return name, os.fsencode(value)


def _flat(prefix: str, members: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in members.items():
        if isinstance(value, dict) and value:
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value


def _for_people(name: str, value: object) -> str:
    if value == HIDDEN:
        return HIDDEN
    if name == "currentRevision.created" and isinstance(value, int | float):
        return f"{value} ({utc_text(value)})"
    if not isinstance(value, str):
        return json.dumps(value)
    cut = value if len(value) <= LONGEST_VALUE else value[:LONGEST_VALUE] + "…"
    # A control character in a value must not reach the terminal.
    return json.dumps(cut, ensure_ascii=not cut.isprintable())
