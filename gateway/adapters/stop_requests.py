"""Being told to stop: by SIGTERM and SIGINT, or by whoever started us."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator


class StopRequests:
    """The first signal asks for a drain, the second skips it. `ask_drain` may be called as often
    as one likes: it is never taken for a second signal.

    With a supervisor a drain is skipped only if that says so. An init system may well send a signal
    to all processes at once, and whether ours or the supervisor's order comes first is chance."""

    def __init__(self, *, has_supervisor: bool = False) -> None:
        self._has_supervisor = has_supervisor
        self.drain = asyncio.Event()
        self.at_once = asyncio.Event()

    def received(self) -> None:
        if self.drain.is_set() and not self._has_supervisor:
            self.ask_at_once()
        else:
            self.ask_drain()

    def ask_drain(self) -> None:
        self.drain.set()

    def ask_at_once(self) -> None:
        self.drain.set()
        self.at_once.set()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        kinds = (signal.SIGTERM, signal.SIGINT)
        for kind in kinds:
            loop.add_signal_handler(kind, self.received)
        try:
            yield
        finally:
            for kind in kinds:
                loop.remove_signal_handler(kind)
