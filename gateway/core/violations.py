"""How broken rules are told: which, where, and never a value.

Guarantee: names that come from an event are cut short and made printable, and what is told is
bounded, however much is wrong.
"""

from __future__ import annotations

import difflib
import json
import re
from functools import lru_cache

from gateway.core.model import Violation

MOST_VIOLATIONS = 20
"""Violations spelt out; the rest is counted. 40,000 bad keys must not make a dead letter of 4 MB,
nor hold up the event loop with suggestions."""
LONGEST_NAME = 64
"""Characters of a name from an event that a violation shows."""

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Examination:
    """One event under examination. Holds at most MOST_VIOLATIONS violations, all others counted."""

    __slots__ = ("ignores_unknown", "more", "now", "violations")

    def __init__(self, now: float, *, ignores_unknown: bool = False) -> None:
        self.now = now
        self.ignores_unknown = ignores_unknown
        self.violations: list[Violation] = []
        self.more = 0

    def note(self, member: str, rule: str) -> None:
        if self.is_full:
            self.more += 1
        else:
            self.violations.append(Violation(member, rule))

    @property
    def is_full(self) -> bool:
        """Further violations are counted only: no need to word them."""
        return len(self.violations) >= MOST_VIOLATIONS

    def all_violations(self) -> tuple[Violation, ...]:
        if not self.more:
            return tuple(self.violations)
        return (*self.violations, Violation("$", f"breaks {self.more} more rules"))


@lru_cache(maxsize=1024)
def suggestion(name: str, names: tuple[str, ...], likeness: float = 0.6) -> str | None:
    """The one of `names` that the writer of `name` probably meant: `job_id`, `outputVaribles`."""
    if len(name) > LONGEST_NAME:
        return None
    plain = {_without_case(candidate): candidate for candidate in names}
    found = difflib.get_close_matches(_without_case(name), plain, n=1, cutoff=likeness)
    return plain[found[0]] if found else None


def shown_name(name: str) -> str:
    """A name from an event, quoted, in printable ASCII and cut short: fit for logs."""
    cut = name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "…"
    return json.dumps(cut)


def member_path(path: str, name: str) -> str:
    """`$.executionDetails.summary`; names that are no identifiers as `$["odd name"]`."""
    is_plain = len(name) <= LONGEST_NAME and _PLAIN_NAME.fullmatch(name)
    return f"{path}.{name}" if is_plain else f"{path}[{shown_name(name)}]"


def unknown_rule(meant: str | None) -> str:
    return "is unknown" if meant is None else f"is unknown: did you mean {meant}?"


def _without_case(name: str) -> str:
    return name.replace("_", "").replace("-", "").casefold()
