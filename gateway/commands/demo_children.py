"""The processes that the demo starts: none outlives it, and each can say why it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_TAIL_LINES = 12


class Child:
    """One process of ours, and its log.

    Guarantees: it ends when we do, by SIGKILL too (on Linux); Ctrl-C in our terminal does not
    reach it, so that we decide in which order things end. May be started again after its end.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self._arguments = arguments
        self._log = log
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with await asyncio.to_thread(self._log.open, "ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())),
                *(sys.executable, "-m", "gateway", *self._arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self._environment),
            )

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def exit_code(self) -> int | None:
        """None: it has not ended, or was never started."""
        return self._process.returncode if self._process else None

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        return await self._process.wait() if self._process else 0

    async def kill(self) -> None:
        """Gone when it returns, without having been told."""
        self._signal(signal.SIGKILL)
        await self.wait()

    async def stop(self, timeout_seconds: float) -> int:
        """Asks it to end and returns its exit code; kills it after the time-out."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self.wait()
        finally:
            await self.kill()

    async def log_text(self) -> str:
        """Everything that it has said, on both streams."""
        return await asyncio.to_thread(self._log.read_text, errors="replace")

    async def log_tail(self) -> str:
        """Its last words."""
        return "\n".join((await self.log_text()).splitlines()[-_TAIL_LINES:])

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.is_running:
            self._process.send_signal(number)


def environment(**more: str) -> dict[str, str]:
    """Our own, less everything that would make a gateway or an AWS client of ours behave
    differently here than elsewhere."""
    foreign = ("GATEWAY_", "AWS_", "BOTO")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(foreign) and not name.lower().endswith("_proxy")
    }
    nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return kept | nothing | {"AWS_EC2_METADATA_DISABLED": "true"} | more


# Becomes the leader of a session of its own, asks the kernel to be killed with us, and only then
# becomes the program.
_LAUNCHER = """
import os, sys
os.setsid()
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
