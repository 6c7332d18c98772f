"""The kinds of rules that members of a request obey, and how a value is held against them.

    Text · Whole · Moment · TextMap · Structure

Guarantee: a check returns the canonical value or notes a violation, and never raises.

Declarations are compiled once (`check_at`), since every event passes here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.core.timestamps import EARLIEST_SECONDS, REVISION_PATTERN, revision_created
from gateway.core.violations import Examination, member_path, suggestion, unknown_rule

MOST_STRANGERS = 1000
"""Unknown members of one object that are looked at: each costs a comparison with known names, and
180,000 of them would hold up the event loop for two seconds."""
_UNBOUNDED = 2**62
_MOST_BYTES_A_CHARACTER = 4
_UNBOXED = "; arrays of one value are not opened (jsonlite: auto_unbox = TRUE)"

Check = Callable[[object, Examination], Any]
"""Returns the canonical value; what it returns after noting a violation means nothing."""


class Rule(Protocol):
    """What a member may be."""

    def check_at(self, path: str) -> Check: ...

    def schema(self) -> dict[str, Any]:
        """JSON Schema, draft 2020-12. What it accepts is accepted, sizes in all excepted."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string. Lengths count characters, as the API documents them."""

    min_length: int = 0
    max_length: int | None = None
    pattern: str | None = None
    """Holds for the whole string: `$` would let a trailing newline pass."""
    choices: tuple[str, ...] = ()

    def check_at(self, path: str) -> Check:
        if self.pattern is None and not self.choices:
            return self._length_check_at(path)
        accepts = self.acceptance()

        def check(value: object, examination: Examination) -> object:
            if type(value) is not str or not accepts(value):
                examination.note(path, self.broken_rule(value))
            return value

        return check

    def _length_check_at(self, path: str) -> Check:
        least, most = self.min_length, _UNBOUNDED if self.max_length is None else self.max_length

        def check(value: object, examination: Examination) -> object:
            if type(value) is not str or not least <= len(value) <= most:
                examination.note(path, self.broken_rule(value))
            return value

        return check

    def acceptance(self) -> Callable[[str], object]:
        """The rule as a function, true if a string obeys it."""
        if self.pattern is not None:
            return re.compile(self.pattern).fullmatch
        if self.choices:
            return frozenset(self.choices).__contains__
        least, most = self.min_length, _UNBOUNDED if self.max_length is None else self.max_length
        return lambda text: least <= len(text) <= most

    def broken_rule(self, value: object) -> str:
        if not isinstance(value, str):
            return "must be a string" + (_UNBOXED if isinstance(value, list) else "")
        if self.choices:
            return f"must be one of {', '.join(self.choices)}"
        if self.pattern is not None:
            return f"must match {self.pattern}"
        if not value:
            return "must not be empty: give it a value, or leave it out if it is optional"
        return f"must be {self.min_length} to {self.max_length} characters long"

    def schema(self) -> dict[str, Any]:
        rules = {
            "minLength": self.min_length or None,
            "maxLength": self.max_length,
            "pattern": f"^{self.pattern}$" if self.pattern else None,
            "enum": list(self.choices) or None,
        }
        return {"type": "string"} | {name: rule for name, rule in rules.items() if rule is not None}


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer. `50.0` is one, as in JSON Schema, and is sent as `50`; `true` is none."""

    minimum: int
    maximum: int

    def check_at(self, path: str) -> Check:
        least, most = self.minimum, self.maximum

        def check(value: object, examination: Examination) -> object:
            if type(value) is float and value.is_integer():
                value = int(value)
            if type(value) is not int or not least <= value <= most:
                examination.note(path, self._broken_rule(value))
            return value

        return check

    def _broken_rule(self, value: object) -> str:
        if type(value) is not int:
            return "must be an integer" + (_UNBOXED if isinstance(value, list) else "")
        return (
            f"must be >= {self.minimum}" if value < self.minimum else f"must be <= {self.maximum}"
        )

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}


@dataclass(frozen=True, slots=True)
class Moment:
    """A timestamp, sent as epoch seconds (core/timestamps.py)."""

    def check_at(self, path: str) -> Check:
        def check(value: object, examination: Examination) -> object:
            seconds = revision_created(value, examination.now)
            if isinstance(seconds, str):
                examination.note(path, seconds + (_UNBOXED if isinstance(value, list) else ""))
            return seconds

        return check

    def schema(self) -> dict[str, Any]:
        number = {"type": "number", "minimum": EARLIEST_SECONDS}
        text = {"type": "string", "pattern": f"^{REVISION_PATTERN}$"}
        return {"anyOf": [number, text], "description": "Epoch seconds, or text; no zone is UTC."}


@dataclass(frozen=True, slots=True)
class TextMap:
    """Names and strings. Canonical order is that of the names.

    The size in all is the sum of the UTF-8 bytes of names and values: how AWS counts is not
    documented, and this is what the documented limit says when taken literally.
    """

    key: Text
    value: Text
    max_total_bytes: int

    def check_at(self, path: str) -> Check:
        accepts_key, accepts_value = self.key.acceptance(), self.value.acceptance()
        surely_fits = self.max_total_bytes // _MOST_BYTES_A_CHARACTER

        def check(value: object, examination: Examination) -> object:
            if type(value) is not dict:
                hint = " (R: a named list)" if isinstance(value, list) else ""
                examination.note(path, f"must be an object of strings{hint}")
                return value
            characters = 0
            for name, text in value.items():
                if type(text) is not str or not accepts_key(name) or not accepts_value(text):
                    self._note_broken(path, name, text, examination)
                else:
                    characters += len(name) + len(text)
            if characters > surely_fits and _bytes_in(value) > self.max_total_bytes:
                examination.note(path, self._size_rule)
            return dict(sorted(value.items()))

        return check

    @property
    def _size_rule(self) -> str:
        return f"must be <= {self.max_total_bytes} bytes in all (names and values, as UTF-8)"

    def _note_broken(self, path: str, name: str, text: object, examination: Examination) -> None:
        if examination.is_full:
            examination.more += 1
            return
        where = member_path(path, name)
        if not self.key.acceptance()(name):
            examination.note(where, f"name {self.key.broken_rule(name)}")
        if type(text) is not str or not self.value.acceptance()(text):
            examination.note(where, self.value.broken_rule(text))

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "propertyNames": self.key.schema(),
            "additionalProperties": self.value.schema(),
            "description": self._size_rule,
        }


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    rule: Rule
    is_required: bool = False

    def step_at(self, path: str) -> tuple[str, bool, bool, str, Check]:
        """Name, is it required, may it be an empty array, where it stands, its check."""
        may_be_empty_list = not self.is_required and isinstance(self.rule, Structure | TextMap)
        return self.name, self.is_required, may_be_empty_list, path, self.rule.check_at(path)


@dataclass(frozen=True, slots=True)
class Structure:
    """An object with the members of a table. Canonical order is that of the table.

    Absent is also what is null and, for an optional object or map, an empty array: R has one empty
    list, and jsonlite writes it as `[]`.
    """

    members: tuple[Member, ...]

    def check_at(self, path: str, foreign: tuple[str, ...] = (), why_foreign: str = "") -> Check:
        """`foreign` names members that would make the event another one. They are refused where
        unknown members are ignored too, and so is what looks like one of them: a misspelt
        `failureDetails` must not turn a failure into a success."""
        steps = [member.step_at(f"{path}.{member.name}") for member in self.members]
        names = tuple(member.name for member in self.members)
        strangers = _Strangers(path, names, foreign, why_foreign)

        def check(value: object, examination: Examination) -> object:
            if type(value) is not dict:
                examination.note(path, "must be an object")
                return value
            canonical = {}
            for name, is_required, may_be_empty_list, where, check_member in steps:
                item = value.get(name)
                if item or not (item is None or (may_be_empty_list and item == [])):
                    canonical[name] = check_member(item, examination)
                elif is_required:
                    examination.note(where, "is required")
            if len(canonical) != len(value):
                strangers.note_in(value, examination)
            return canonical

        return check

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {member.name: member.rule.schema() for member in self.members},
            "required": [member.name for member in self.members if member.is_required],
            "additionalProperties": False,
        }


class _Strangers:
    """What stands in a structure and is none of its members."""

    __slots__ = ("foreign", "names", "path", "why_foreign")

    def __init__(
        self, path: str, names: tuple[str, ...], foreign: tuple[str, ...], why_foreign: str
    ) -> None:
        self.path = path
        self.names = names
        self.foreign = foreign
        self.why_foreign = why_foreign

    def note_in(self, value: dict[str, Any], examination: Examination) -> None:
        if len(value) > len(self.names) + MOST_STRANGERS:
            examination.note(self.path, f"must not have more than {MOST_STRANGERS} other members")
            return
        for name, item in value.items():
            if name in self.names or (name in self.foreign and item is None):
                continue
            if examination.is_full:
                examination.more += 1
            elif name in self.foreign:
                examination.note(member_path(self.path, name), self.why_foreign)
            elif examination.ignores_unknown:
                self._note_lookalike(name, examination)
            else:
                meant = suggestion(name, self.names + self.foreign)
                examination.note(member_path(self.path, name), unknown_rule(meant))

    def _note_lookalike(self, name: str, examination: Examination) -> None:
        meant = suggestion(name, self.foreign, likeness=0.85)
        if meant is not None:
            examination.note(member_path(self.path, name), unknown_rule(meant))


def _bytes_in(texts: dict[str, Any]) -> int:
    pairs = ((name, text) for name, text in texts.items() if isinstance(text, str))
    return sum(len(name.encode()) + len(text.encode()) for name, text in pairs)
