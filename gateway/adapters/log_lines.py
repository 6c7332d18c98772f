"""Log lines: one format for our own signals and for what libraries say, on one stream.

Guarantees: writing never blocks the event loop, which would cost the membership in the group
(lines wait for a thread, and past a bound are dropped and counted); and no line holds a secret
that was made known here, whoever wrote it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any, TextIO

import orjson
import structlog

MOST_WAITING_LINES = 10_000
REDACTED = "[redacted]"
CHATTY = ("aiobotocore", "aiohttp", "aiokafka", "asyncio", "boto3", "botocore", "kafka", "urllib3")
"""Libraries that print requests, signatures and tokens at DEBUG: never below INFO, whatever is set
for ours."""

MOST_ALIKE = 10
"""Lines a second from one place in a library; the others are counted in the next line."""
MOST_CHARACTERS = 4_000

_SECRET = re.compile(
    # The look-behind keeps long runs of letters from being tried at every start: linear time.
    r"(?i)(?<![\w-])([\w-]*(?:token|password|passwd|secret|credential|authorization|signature)[\w-]*"
    r"['\"]?\s*[=:]\s*)((?:bearer|basic)\s+)?(['\"]?)[^\s'\",;}&]+\3"
)


class Belt:
    """Secrets that no line may hold. A belt: nothing of ours writes them in the first place."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: list[str] = []
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: str) -> None:
        """From now on no line holds `secret`. Anything shorter than 4 characters is not one."""
        if len(secret) >= 4:
            as_json = orjson.dumps(secret).decode()[1:-1]  # quotes and backslashes are escaped
            self._secrets += sorted({secret, as_json})

    def cover(self, line: str) -> str:
        for secret in self._secrets:
            if secret in line:
                line = line.replace(secret, REDACTED)
        return line


def cover_what_looks_secret(text: str) -> str:
    """Text of others without what stands behind words such as `token=` and `"password": `."""
    return _SECRET.sub(rf"\1{REDACTED}", text[:MOST_CHARACTERS])


class LineWriter:
    """Lines for a stream, written by a thread. Lines past MOST_WAITING_LINES are dropped."""

    def __init__(self, stream: TextIO) -> None:
        self.dropped = 0
        self._stream = stream
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Takes the line. Never blocks, never raises."""
        if self._lines.qsize() < MOST_WAITING_LINES:
            self._lines.put(line)
        else:
            self.dropped += 1

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Returns when all is written, or after the time-out: nobody may be reading."""
        self._lines.put(None)
        self._thread.join(timeout_seconds)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):  # the stream is gone, and logs are no reason to stop
                self.dropped += 1


class Log:
    """Renders events and hands them to the writer. `fields` stand in every line."""

    def __init__(
        self,
        writer: LineWriter,
        belt: Belt,
        is_pretty: bool,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        self._writer = writer
        self._fields = dict(fields or {})
        self._belt = belt
        self._pretty = (
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if is_pretty
            else None
        )

    @property
    def dropped(self) -> int:
        return self._writer.dropped

    def line(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """One line: time, level, event, then the fields. Never raises."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self._pretty is None:
            entry = {"time": now, "level": level, "event": event, **self._fields, **fields}
            line = _as_json(entry)
        else:
            entry = {"timestamp": now, "level": level, "event": event, **self._fields, **fields}
            line = str(self._pretty(None, level, entry))
        self._writer.write(self._belt.cover(line))


def _as_json(entry: dict[str, Any]) -> str:
    try:
        return orjson.dumps(entry, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # half a surrogate pair, from an event: not UTF-8, so it is escaped
        return json.dumps(entry, default=str)


class LibraryLogs(logging.Handler):
    """What libraries log through the standard library, as lines of the same log.

    At most MOST_ALIKE lines a second from one place: a client without its broker says the same
    thing again and again.
    """

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._log = log
        self._clock = clock
        self._places: dict[tuple[str, int], list[float]] = {}

    def _suppressed(self, record: logging.LogRecord) -> int | None:
        """How many alike were left out before this one; None if it is left out itself."""
        now = self._clock()
        place = self._places.setdefault((record.pathname, record.lineno), [now, 0.0, 0.0])
        since, logged, suppressed = place
        if now >= since + 1:
            place[:] = [now, 1.0, 0.0]
            return int(suppressed)
        place[1 if logged < MOST_ALIKE else 2] += 1
        return 0 if logged < MOST_ALIKE else None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if (suppressed := self._suppressed(record)) is None:
                return
            fields: dict[str, Any] = {"logger": record.name}
            if suppressed:
                fields["suppressed"] = suppressed
            event = cover_what_looks_secret(record.getMessage())
            if record.exc_info and record.exc_info[1] is not None:
                fields["error"] = type(record.exc_info[1]).__name__
                fields["where"] = _where(record)
            self._log.line(_level(record), event, fields)
        except Exception:  # as logging itself does: a line that cannot be made is no reason to stop
            self.handleError(record)


def _level(record: logging.LogRecord) -> str:
    """The record's level. aiokafka calls every connection that it cannot make an error; by our
    levels an error is what an operator must act on, and that is told by signals."""
    is_capped = record.name.startswith("aiokafka") and record.levelno > logging.WARNING
    return "warning" if is_capped else record.levelname.lower()


def _where(record: logging.LogRecord) -> str:
    """Where it was raised, without the exception's text: that may hold what it was about."""
    trace = record.exc_info[2] if record.exc_info else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return f"{record.module}:{record.lineno}"
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"


def take_over_library_logs(log: Log, level: str) -> LibraryLogs:
    """Sends everything logged through the standard library to `log`, at `level` or above."""
    handler = LibraryLogs(log)
    least = max(logging.getLevelNamesMapping()[level.upper()], logging.INFO)
    logging.basicConfig(handlers=[handler], level=least, force=True)
    logging.captureWarnings(True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(least)
    return handler


def is_pretty(log_format: str, stream: TextIO = sys.stdout) -> bool:
    """Whether `auto`, `json` or `pretty` means lines for people on this stream."""
    return log_format == "pretty" or (log_format == "auto" and stream.isatty())
