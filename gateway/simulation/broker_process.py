"""Java as a process that cannot outlive this one.

On Linux the kernel ends it with the thread that launched it, by SIGKILL, whatever state it is in;
so it is launched by the thread of the event loop, a fork of milliseconds, and not by a helper
thread. It has a session of its own: Ctrl-C in a terminal reaches us and not Java.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_JVM_OPTIONS = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
)

_FREEZE_SECONDS = 5.0

# A fresh interpreter that becomes Java, because code between fork and exec is unsafe where there
# are threads. PR_SET_PDEATHSIG (1) with SIGKILL (9) survives execv; the parent may have died
# before it was set.
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


async def launched(
    java: Sequence[str], jars: Path, command: Sequence[str], folder: Path, log_path: Path
) -> subprocess.Popen[bytes]:
    """Runs `command` (a main class and its arguments) in `folder`, its output in `log_path`.
    `java`: the runtime, and options of its own if there are any."""
    log = await asyncio.to_thread(log_path.open, "ab")
    try:
        return subprocess.Popen(  # noqa: ASYNC220, S603 (see above; the words are our own)
            [
                *(sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())),
                *(*java, *_JVM_OPTIONS, "-cp", f"{jars}/*", *command),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
        )
    finally:
        log.close()


async def wait_for_exit(process: subprocess.Popen[bytes]) -> int:
    """Its status. Polled, so that one event loop may start what another waits for."""
    while (status := process.poll()) is None:  # noqa: ASYNC110 (there is no event to await)
        await asyncio.sleep(0.02)
    return status


def freeze(process: subprocess.Popen[bytes]) -> None:
    """Does nothing any more when it returns (SIGSTOP), unless it has ended. On a busy machine a
    process goes on for a while after the signal was sent; so this waits, at most 5 s."""
    process.send_signal(signal.SIGSTOP)
    until = time.monotonic() + _FREEZE_SECONDS
    while process.poll() is None and time.monotonic() < until:
        if os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG) is not None:
            return
        time.sleep(0.001)


async def end(
    process: subprocess.Popen[bytes], how: signal.Signals, timeout_seconds: float
) -> None:
    """Gone when it returns: asked by signal, killed if it has not obeyed in time."""
    process.send_signal(how)
    process.send_signal(signal.SIGCONT)  # a suspended process hears nothing but SIGKILL
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await wait_for_exit(process)
    finally:
        process.kill()  # does nothing once the exit has been seen
        await asyncio.to_thread(process.wait)
