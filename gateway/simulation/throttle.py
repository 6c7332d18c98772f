"""How much the simulated account bears, and how long it takes to answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.simulation.answers import Refusal

RATE_EXCEEDED = Refusal("ThrottlingException", "Rate exceeded")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits hold for each (account, region) on its own. None: no limit."""

    rate_per_second: float | None = None
    burst: float | None = None
    """Calls that may come at once; None: one second's worth."""
    concurrency: int | None = None
    latency_seconds: float = 0.0
    latency_spread_seconds: float = 0.0
    """Up to this much is added to each latency, at random."""


@dataclass(slots=True)
class _Account:
    tokens: float
    filled: float
    underway: int = 0


@dataclass(slots=True)
class Throttle:
    """Admits a call or refuses it; an admitted call must leave exactly once.

    The rate is a token bucket. Refused calls take neither a token nor a place.
    """

    limits: Limits
    _accounts: dict[tuple[str, str], _Account] = field(default_factory=dict)

    def enter(self, account: str, region: str, now: float) -> Refusal | None:
        state = self._accounts.get((account, region))
        if state is None:
            state = _Account(self._burst, now)
            self._accounts[account, region] = state
        self._fill(state, now)
        concurrency = self.limits.concurrency
        if concurrency is not None and state.underway >= concurrency:
            return RATE_EXCEEDED
        if self.limits.rate_per_second is not None:
            if state.tokens < 1:
                return RATE_EXCEEDED
            state.tokens -= 1
        state.underway += 1
        return None

    def leave(self, account: str, region: str) -> None:
        self._accounts[account, region].underway -= 1

    @property
    def _burst(self) -> float:
        return max(1.0, self.limits.burst or self.limits.rate_per_second or 1.0)

    def _fill(self, state: _Account, now: float) -> None:
        elapsed = max(0.0, now - state.filled)
        state.tokens = min(
            self._burst, state.tokens + elapsed * (self.limits.rate_per_second or 0.0)
        )
        state.filled = now
