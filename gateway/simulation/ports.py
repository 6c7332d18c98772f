"""Ports that stay ours while who listens there is away."""

from __future__ import annotations

import socket
import sys

HOST = "127.0.0.1"


class HeldPorts:
    """A port that was taken is given to nobody by the kernel until `release`, not to an outgoing
    connection either; but who asks for it by its number can listen there.

    Each is bound without listening, and shared (SO_REUSEADDR, as Java and asyncio set it too) with
    one who does listen. Only Linux knows that: elsewhere a port is merely found free.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def take(self, port: int = 0) -> int:
        """0: a free one. Raises OSError if somebody has it."""
        held = socket.socket()
        self._held.append(held)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HOST, port))
        found = int(held.getsockname()[1])
        if sys.platform != "linux":
            self.release()
        return found

    def release(self) -> None:
        for held in self._held:
            held.close()
        self._held = []
