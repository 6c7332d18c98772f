"""The history checker's own reading of an event: which job, which operation, which content.

Shares no code with the gateway's decoder, on purpose: two readings that agree are evidence, one
reading used twice is not. It reads leniently and judges nothing: an event with a limit exceeded
still has a content, one that is no request at all has none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.simulation.history import Content

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CREDENTIALS = ("clientToken", "clientId")


def content_of_event(value: bytes | None, account: str = "") -> Content | None:
    """What an event asks for; None if it cannot be read as a request for a job."""
    request = _request(value)
    if request is None or not isinstance(request.get("jobId"), str):
        return None
    is_third_party = any(request.get(member) is not None for member in _CREDENTIALS)
    word = "Failure" if request.get("failureDetails") is not None else "Success"
    operation = f"Put{'ThirdParty' if is_third_party else ''}Job{word}Result"
    return content_of_request(operation, request, account)


def content_of_request(operation: str, request: Mapping[str, Any], account: str = "") -> Content:
    """The content of a request body; equal for identical requests, however they are spelt."""
    kept = {
        name: _canonical(name, member)
        for name, member in request.items()
        if not _is_absent(member) and name not in _CREDENTIALS
    }
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return Content(account, str(request.get("jobId")), operation, digest)


def _request(value: bytes | None) -> dict[str, Any] | None:
    if value is None:
        return None
    if value[:1] == b"\0" and value[5:6] == b"{":  # Confluent's frame: a magic byte, a schema id
        value = value[5:]
    try:
        event = json.loads(value.decode(), object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    if isinstance(event, dict) and "specversion" in event:
        event = event.get("data")
    return event if isinstance(event, dict) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice")
    return members


def _refused(constant: str) -> None:
    raise ValueError(constant)


def _canonical(name: str, member: Any) -> Any:
    if isinstance(member, dict) and name != "outputVariables":
        items = member.items()
        return {key: _canonical(key, value) for key, value in items if not _is_absent(value)}
    if isinstance(member, float) and member.is_integer():
        return int(member)
    return _seconds(member) if name == "created" else member


def _is_absent(member: Any) -> bool:
    """R has one empty list, and writes it as `[]`."""
    return member is None or member == []


def _seconds(created: Any) -> Any:
    """Epoch seconds to the microsecond; what is no time stays as it is."""
    if isinstance(created, bool):
        return created
    if isinstance(created, int | float):
        return round(created, 6)
    try:
        moment = datetime.fromisoformat(str(created))
    except ValueError:
        return created
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    seconds = round((moment - _EPOCH) / timedelta(seconds=1), 6)
    return int(seconds) if seconds.is_integer() else seconds
