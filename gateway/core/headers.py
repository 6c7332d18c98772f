"""What a record's headers ask for: operation, target, deadline, trace, replay.

Guarantee: never raises. A header of ours that is null, not UTF-8 or of another form is a violation
that names the header and holds nothing of its value; foreign headers are not looked at. A trace
that cannot be read is ignored, as W3C Trace Context has it: it must not cost a job its result.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.model import Operation
from gateway.core.timestamps import rfc_3339
from gateway.core.violations import Examination

OPERATION_HEADER = "gateway-operation"
TARGET_HEADER = "gateway-target"
DEADLINE_HEADER = "gateway-deadline"
TRACE_HEADER = "traceparent"
REPLAY_HEADER = "gateway-replay"
"""How often the event has been replayed: a whole number from 1 (core/replays.py writes it)."""


@dataclass(slots=True)
class Headers:
    """What the headers ask for."""

    operation: Operation | None = None
    target: str | None = None
    deadline: float | None = None
    traceparent: str | None = None
    replay: int = 0


NO_HEADERS = Headers()
_OPERATIONS = {str(operation): operation for operation in Operation} | {
    re.sub(r"(?<!^)(?=[A-Z])", "-", operation).lower(): operation for operation in Operation
}
_TRACE_FORM = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_REPLAY_FORM = re.compile("[1-9][0-9]{0,8}", re.ASCII)
_LATER_TRACE_FORM = re.compile(rf"(?!00){_TRACE_FORM.pattern}(-.*)?", re.ASCII)


def read_headers(
    headers: tuple[tuple[str, bytes | None], ...], examination: Examination
) -> Headers:
    """The last header of a name wins, as in Kafka's own clients. Foreign headers are not read."""
    read = Headers()
    for name, value in dict(headers).items():
        reader = _READERS.get(name)
        if reader is not None:
            fault = _text_fault(value) or reader(read, (value or b"").decode())
            if fault and name != TRACE_HEADER:
                examination.note(f"header {name}", fault)
    return read


def _text_fault(value: bytes | None) -> str | None:
    if value is None:
        return "must not be null"
    try:
        value.decode()
    except UnicodeDecodeError:
        return "must be UTF-8"
    return None if value else "must not be empty"


def _read_operation(read: Headers, text: str) -> str | None:
    read.operation = _OPERATIONS.get(text)
    return None if read.operation else f"must be one of {', '.join(Operation)}"


def _read_target(read: Headers, text: str) -> str | None:
    read.target = text
    return None


def _read_deadline(read: Headers, text: str) -> str | None:
    read.deadline = rfc_3339(text)
    return "must be of RFC 3339, with zone" if read.deadline is None else None


def _read_trace(read: Headers, text: str) -> str | None:
    if len(text) > 512 or not (_TRACE_FORM.fullmatch(text) or _LATER_TRACE_FORM.fullmatch(text)):
        return "must be of W3C Trace Context"
    read.traceparent = text
    return None


def _read_replay(read: Headers, text: str) -> str | None:
    if not _REPLAY_FORM.fullmatch(text):
        return "must be a whole number from 1"
    read.replay = int(text)
    return None


_READERS: dict[str, Callable[[Headers, str], str | None]] = {
    OPERATION_HEADER: _read_operation,
    TARGET_HEADER: _read_target,
    DEADLINE_HEADER: _read_deadline,
    TRACE_HEADER: _read_trace,
    REPLAY_HEADER: _read_replay,
}
