"""Bytes to one JSON object, or why not.

Guarantee: never raises, takes time linear in the size, and reads an object only if it is exactly
one: UTF-8 without byte order mark, no key twice at any level, no NaN, nesting bounded. Parsers that
keep the last of two keys in silence would let two readers of one record see two results.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from gateway.core.model import Violation
from gateway.core.violations import MOST_VIOLATIONS, member_path

LARGEST_BYTES = 2_097_152
"""No valid request is larger: 122,880 bytes of output variables, each written as an escape of six
bytes, are 737,280; at most some 42,000 variables fit into them, with 16 bytes of quotes, commas and
indentation each: 670,000; the other members are 12,000 characters of at most 12 bytes: 144,000."""
DEEPEST = 32
"""Levels of nesting. Requests have three; the rest is room for envelopes. Below the parser's own
limits, so that these are never what decides."""

Unreadable = tuple[Violation, ...]


def read_object(value: bytes) -> dict[str, Any] | Unreadable:
    """The object that the bytes hold, Confluent's framing taken off."""
    if len(value) > LARGEST_BYTES:
        return _broken(f"must be <= {LARGEST_BYTES} bytes")
    if value[:1] == b"\x00":
        return _read_framed(value)
    return _read_json(value)


def _read_framed(value: bytes) -> dict[str, Any] | Unreadable:
    """Confluent's wire format: a zero byte, four bytes of schema id, the payload."""
    if len(value) > 5 and value[5:6] == b"{":
        document = _read_json(value[5:])
        if isinstance(document, dict):
            return document
        return (*document, Violation("$", "is framed by a schema registry; only JSON is read"))
    return _broken("is Avro or Protobuf (framed by a schema registry): only JSON is read")


def _read_json(text: bytes) -> dict[str, Any] | Unreadable:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _why_unreadable(text, error)
    if type(document) is not dict:
        return _broken(_why_no_object(document))
    # Every level opens with a brace or a bracket: few of them, and nothing needs to be measured.
    if text.count(b"{") + text.count(b"[") > DEEPEST and _is_too_deep(document):
        return _broken(_TOO_DEEP)
    if _has_each_key_once(text, document):
        return document
    return _repeated_keys(text) or document


_TOO_DEEP = f"must not be nested deeper than {DEEPEST} levels"


def _has_each_key_once(text: bytes, document: dict[str, Any]) -> bool:
    """True: no key is repeated. False: perhaps one is, and the slow way has to tell.

    Outside of strings, a colon stands in JSON exactly once for each member; inside, it stands for
    itself unless written as an escape. So without such escapes a text and what was read from it
    hold the same number of colons if and only if no member was dropped on the way. Costs 0.1 of
    reading with a hook.
    """
    return b"\\u003" not in text and text.count(b":") == orjson.dumps(document).count(b":")


def _repeated_keys(text: bytes) -> Unreadable:
    """A violation for each repeated key, by the exact and slow way."""
    repetitive = 0

    def read(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repetitive
        members = dict(pairs)
        if len(members) == len(pairs) or repetitive >= MOST_VIOLATIONS:
            return members
        repetitive += 1
        return _Repetitive(pairs)

    document = json.loads(
        text.decode(),
        object_pairs_hook=read,
        parse_int=_no_number,
        parse_float=_no_number,
    )
    if not repetitive:
        return ()
    return tuple(islice(_repetitions("$", document), MOST_VIOLATIONS))


def _no_number(digits: str) -> None:
    """Numbers are of no interest here, and reading long ones is quadratic."""


class _Repetitive(dict[str, Any]):
    """An object that was given some of its keys more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def repeated(self) -> Iterator[str]:
        times = Counter(name for name, _ in self._pairs)
        return (name for name, count in times.items() if count > 1)


def _repetitions(path: str, value: dict[str, Any] | list[Any]) -> Iterator[Violation]:
    if isinstance(value, _Repetitive):
        for name in value.repeated():
            yield Violation(member_path(path, name), "stands there more than once")
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, dict | list):
                yield from _repetitions(member_path(path, name), item)
    else:
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                yield from _repetitions(f"{path}[{index}]", item)


def _is_too_deep(document: dict[str, Any]) -> bool:
    level: list[dict[str, Any] | list[Any]] = [document]
    for _ in range(DEEPEST):
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
    return bool(level)


def _why_no_object(document: object) -> str:
    if isinstance(document, list):
        return "must be one object, not an array: each result is a record of its own"
    return "must be an object"


def _why_unreadable(text: bytes, error: orjson.JSONDecodeError) -> Unreadable:
    if not text.strip():
        return _broken("is empty")
    if text.startswith(b"\xef\xbb\xbf"):
        return _broken("must be UTF-8 without byte order mark")
    if text.startswith(b"Obj\x01"):
        return _broken("is an Avro file: only JSON is read")
    try:
        text.decode()
    except UnicodeDecodeError as fault:
        return _broken(f"must be UTF-8, is not at byte {fault.start}")
    if "depth" in error.msg:
        return _broken(_TOO_DEEP)
    return _broken(
        f"is no JSON: {_what_is_wrong(error)} (line {error.lineno}, column {error.colno})"
    )


def _what_is_wrong(error: orjson.JSONDecodeError) -> str:
    """In our own words: what a parser says may quote the text, and the text may hold secrets."""
    if error.doc.startswith(("NaN", "Infinity", "-Infinity"), error.pos):
        return "NaN and Infinity are no numbers"
    if "surrogate" in error.msg:
        return "half of a surrogate pair is no character"
    if "infinity" in error.msg:
        return "a number is too large"
    return "it ends too early" if error.pos >= len(error.doc) else "a syntax error"


def _broken(rule: str) -> Unreadable:
    return (Violation("$", rule),)
