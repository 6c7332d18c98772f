"""Until when the group is sure to have kept our partitions for us.

    heartbeat asked ───► answered well          the broker expels us a session time-out after it
    │                                           has last heard us: not before asked + session
    └── ours for sure ─────────────────► then perhaps somebody else's

A member that was frozen, or whose wire to the brokers was cut, does not know that it has been
expelled: the next answer tells it, and until then it would go on beside the new owner.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer


class Lease:
    """`holds` is True only while the group cannot have expelled us for our silence.

    The clock must go on while the process is frozen, as the event loop's does.
    """

    def __init__(self, session_seconds: float, clock: Callable[[], float]) -> None:
        self._session_seconds = session_seconds
        self._clock = clock
        self._until = float("-inf")

    def holds(self) -> bool:
        return self._clock() < self._until

    def renew(self) -> None:
        """The group has just made us a member."""
        self._until = self._clock() + self._session_seconds

    def follow(self, consumer: AIOKafkaConsumer) -> None:
        """From now on each heartbeat that is answered well renews it, from when it was sent.

        aiokafka 0.14 keeps the time of the last one to itself, so its question is asked through
        us. To be called between `start` and the first assignment.
        """
        coordinator = consumer._coordinator
        coordinator._do_heartbeat = self._watched(coordinator._do_heartbeat)

    def _watched(self, ask: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
        async def watched() -> bool:
            asked_at = self._clock()
            is_well = await ask()
            if is_well:
                self._until = max(self._until, asked_at + self._session_seconds)
            return is_well

        return watched
