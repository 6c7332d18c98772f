"""Which target a job result goes to.

Guarantee: a topic reaches a target only if it is allowed to. Whoever may write to a topic may
finish any job of the accounts that it reaches, so with two targets or more everything that is not
allowed is refused. With a single target there is nothing to choose and nothing to configure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gateway.core.model import Reason, Rejection, Violation
from gateway.core.violations import shown_name

_MEMBER = "header gateway-target"


class Routes:
    """The targets, the default among them, and which topic may reach which."""

    def __init__(
        self,
        targets: Collection[str],
        default: str | None,
        allowed: Mapping[str, Collection[str]],
    ) -> None:
        """`allowed` maps topics to targets. A single target is the default, and every topic that
        `allowed` does not mention may reach it. Raises ValueError if a name is no target."""
        strangers = {default, *(name for names in allowed.values() for name in names)}
        if not targets or strangers - {None, *targets}:
            raise ValueError(
                "default and allowed must name targets, of which there is at least one"
            )
        self._targets = frozenset(targets)
        self._only = next(iter(self._targets)) if len(self._targets) == 1 else None
        self._default = default if default is not None else self._only
        self._allowed = {topic: frozenset(names) for topic, names in allowed.items()}

    def route(self, topic: str, named: str | None) -> str | Rejection:
        """The target of a job result from `topic` that names `named`; a rejection `unroutable`
        says what would have been possible."""
        target = self._default if named is None else named
        if target is not None and target in self._reachable(topic):
            return target
        return Rejection(Reason.UNROUTABLE, (Violation(_MEMBER, self._why_not(topic, target)),))

    def _reachable(self, topic: str) -> Collection[str]:
        return self._allowed.get(topic, self._targets if self._only else ())

    def _why_not(self, topic: str, target: str | None) -> str:
        if target is None:
            return "is required: there are several targets and no default"
        if target not in self._targets:
            return f"names {shown_name(target)}, which is no target"
        return f"names {shown_name(target)}, which topic {topic} is not allowed to reach"
