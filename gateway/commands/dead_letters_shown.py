"""How dead letters are shown to people and machines, secrets hidden.

Guarantee: without `with_secrets`, of a value nothing is shown but the members that the API knows
and the names of others; client tokens and the values of output variables never; of headers only
those whose meaning is known. What strangers wrote cannot move a terminal's cursor.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.commands.explain import HIDDEN
from gateway.core.headers import (
    DEADLINE_HEADER,
    OPERATION_HEADER,
    TARGET_HEADER,
    TRACE_HEADER,
)
from gateway.core.limits import Structure, TextMap
from gateway.core.model import ReadDeadLetter
from gateway.core.replays import OWN_HEADERS, replays_of
from gateway.core.requests import REQUESTS
from gateway.core.timestamps import utc_text

_OPEN_HEADERS = OWN_HEADERS | {
    OPERATION_HEADER,
    TARGET_HEADER,
    DEADLINE_HEADER,
    TRACE_HEADER,
    "content-type",
}
_SECRET_MEMBERS = frozenset({"clientToken"})
_COLUMNS = ("dead letter", "at", "reason", "target", "job", "source", "replays", "explanation")


def fields(found: ReadDeadLetter) -> dict[str, Any]:
    """One line of `list --json`."""
    letter = found.letter
    return {
        "position": str(found.position),
        "source": str(letter.record.source),
        "at": moment(letter.time),
        "reason": str(letter.reason),
        "stage": letter.stage,
        "explanation": letter.explanation,
        "target": letter.target,
        "job": letter.job_id,
        "operation": letter.operation and str(letter.operation),
        "error_code": letter.error_code,
        "attempts": letter.attempts,
        "ambiguous": letter.is_ambiguous,
        "replays": replays_of(letter.record),
        "truncated": found.is_truncated,
    }


def details(found: ReadDeadLetter, *, with_secrets: bool) -> dict[str, Any]:
    """What `show --json` prints."""
    record = found.letter.record
    value_bytes = len(record.value or b"") if found.value_bytes is None else found.value_bytes
    return fields(found) | {
        "timestamp": moment(record.timestamp),
        "key": _as_text(record.key),
        "headers": [
            [name, _as_text(value) if with_secrets or _is_open(name) else HIDDEN]
            for name, value in record.headers
        ],
        "value_bytes": value_bytes,
        "value_sha256": found.value_sha256,
        "value": _as_text(record.value) if with_secrets else shown_value(record.value),
    }


def as_text(details: Mapping[str, Any]) -> Iterator[str]:
    """The same for people."""
    for name, item in details.items():
        if name not in ("headers", "value") and item is not None:
            yield f"{name.replace('_', ' '):<14} {plain(_word(item))}"
    yield "headers"
    for name, item in details["headers"]:
        yield f"  {plain(name):<28} {plain(_word(item))}"
    yield "value" + (" (its beginning)" if details["truncated"] else "")
    shown = details["value"]
    text = shown if isinstance(shown, str) else json.dumps(shown, indent=2, ensure_ascii=False)
    for line in text.splitlines() or [""]:
        yield f"  {plain(line)}"


def table(letters: list[ReadDeadLetter]) -> Any:
    """A rich table, a line for each."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*_COLUMNS, box=None, pad_edge=False, header_style="bold")
    for found in letters:
        told = fields(found)
        cells = [told["position"], told["at"], told["reason"], told["target"], told["job"]]
        cells += [told["source"], told["replays"], told["explanation"]]
        table.add_row(*(Text(plain(_word(cell)), overflow="fold") for cell in cells))
    return table


def shown_value(value: bytes | None) -> Any:
    """The value without anything that may be secret."""
    if value is None:
        return None
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return f"{HIDDEN} ({len(value)} bytes that are no JSON)"
    if not isinstance(document, dict):
        return f"{HIDDEN} (JSON, but no object)"
    return _masked(document, _KNOWN)


def plain(text: str) -> str:
    """Without characters that a terminal would act upon."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def moment(seconds: float) -> str:
    """For people; a number where there is no such moment."""
    try:
        return utc_text(round(seconds, 3))
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"


def _known(structure: Structure) -> dict[str, Any]:
    """By name of a member: what is known inside; None: a plain value, shown as it is."""
    known: dict[str, Any] = {}
    for member in structure.members:
        if isinstance(member.rule, Structure):
            known[member.name] = _known(member.rule)
        elif isinstance(member.rule, TextMap) or member.name in _SECRET_MEMBERS:
            known[member.name] = {}
        else:
            known[member.name] = None
    return known


_KNOWN: dict[str, Any] = {"clientId": None}
for _request in REQUESTS.values():
    _KNOWN |= _known(_request)


def _masked(document: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, item in document.items():
        if item is None or (known.get(name, {}) is None and not isinstance(item, dict | list)):
            shown[name] = item
        elif isinstance(item, dict) and known.get(name) is not None:
            shown[name] = _masked(item, known[name])
        else:
            shown[name] = HIDDEN
    return shown


def _is_open(name: str) -> bool:
    return name in _OPEN_HEADERS or name.startswith("ce_")


def _as_text(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _word(item: Any) -> str:
    if isinstance(item, bool):
        return "yes" if item else "no"
    return "-" if item is None else item if isinstance(item, str) else json.dumps(item)
