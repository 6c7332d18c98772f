"""One run of one worker: its process, its line to us, and what it says.

Guarantees: what it writes reaches our log as whole lines, in its order, until its last one; and
it has ended when `wait_ended` returns.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from gateway.adapters.worker_line import SupervisorEnd, new_line

MOST_BYTES_OF_A_LINE = 1 << 20
"""A longer one is broken: there is none, unless something is wrong."""
LAST_WORDS_SECONDS = 2.0
"""How long we listen after its end: whoever it started may hold its output open."""

Say = Callable[[str], None]


class Lines:
    """Bytes as they come, whole lines as they end."""

    def __init__(self) -> None:
        self._unfinished = b""

    def add(self, data: bytes) -> list[str]:
        """The lines that have ended with `data`, without their ends and without empty ones."""
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        if len(self._unfinished) > MOST_BYTES_OF_A_LINE:
            lines.append(self._unfinished)
            self._unfinished = b""
        return [line.decode("utf-8", "replace") for line in lines if line.strip()]

    def end(self) -> list[str]:
        """What was left unfinished."""
        return self.add(b"\n")


class WorkerProcess:
    """Started by `started`. In a session of its own, so that Ctrl-C reaches us alone: a worker
    would take it, and our order to drain, for being told twice."""

    def __init__(
        self, process: asyncio.subprocess.Process, line: SupervisorEnd, say: Say, complain: Say
    ) -> None:
        self.line = line
        self.began = time.monotonic()
        self.page: bytes | None = None
        """What it has last said of its metrics."""
        self._process = process
        self._listening = [
            asyncio.create_task(_pass_on(process.stdout, say)),
            asyncio.create_task(_pass_on(process.stderr, complain)),
        ]

    @classmethod
    async def started(
        cls,
        command: Callable[[int], Sequence[str]],
        environment: Mapping[str, str],
        say: Say,
        complain: Say,
    ) -> WorkerProcess:
        """`command` is told which descriptor its end of the line is. Lines of its standard output
        are said, those of its standard error are complaints. Raises OSError."""
        line, theirs = await new_line()
        try:
            process = await asyncio.create_subprocess_exec(
                *command(theirs.fileno()),
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            line.close()
            raise
        finally:
            theirs.close()
        return cls(process, line, say, complain)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ran_seconds(self) -> float:
        return time.monotonic() - self.began

    async def wait_ended(self) -> int:
        """Its exit code, negative for a signal, once it has ended and its last words are said."""
        code = await self._process.wait()
        await asyncio.wait(self._listening, timeout=LAST_WORDS_SECONDS)
        for task in self._listening:
            task.cancel()
        self.line.close()
        return code

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()


def described(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def inherited_environment(**more: str) -> dict[str, str]:
    """Ours, and more."""
    return {**os.environ, **more}


async def _pass_on(stream: asyncio.StreamReader | None, say: Say) -> None:
    if stream is None:
        return
    lines = Lines()
    while data := await stream.read(1 << 16):
        for line in lines.add(data):
            say(line)
    for line in lines.end():
        say(line)
